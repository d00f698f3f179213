"""What is said when something does not work names the key that helps, and it is the person's key."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import babytui.tui
from babytui.tui.bindings import keymap
from babytui.tui.messages import Failed

SAYS = {"Failed", "notify", "_say", "_warn", "NotFound"}
A_KEY = re.compile(r"\bF\d+\b|\bctrl\+\w")


@pytest.fixture(autouse=True)
def _own_keys() -> Any:
    yield
    keymap({})


def said(source: str) -> list[tuple[int, str]]:
    """The text that is written out inside of calls that tell the person something, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in SAYS:
                found += [(inner.lineno, inner.value) for argument in node.args for inner in ast.walk(argument)
                          if isinstance(inner, ast.Constant) and isinstance(inner.value, str)]
    return found


def test_the_check_finds_a_key_that_is_written_out():
    assert [text for _, text in said('self.notify(f"{x} can talk: F5.")') if A_KEY.search(text)] == [" can talk: F5."]
    assert not [text for _, text in said("f(Failed(f\"{key_of('train')} starts one\"))") if A_KEY.search(text)]


def test_no_sentence_has_a_key_written_out():
    wrong = [f"{path.name}:{line}: {text}" for path in Path(babytui.tui.__path__[0]).rglob("*.py")
             for line, text in said(path.read_text(encoding="utf-8")) if A_KEY.search(text)]
    assert not wrong


async def test_sentences_name_the_keys_of_the_person(playground: Any, until: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("BABYTUI_KEYS", "train=f8; quit=ctrl+x; continue=f9; show.chat=f12")
    async with playground(80, 24) as (app, pilot):
        told = lambda word: any(word in n.message for n in app._notifications)  # noqa: E731
        assert "Train (F8)" in str(app.playground.query_one("#train").label)
        await pilot.press("f3")
        await until(pilot, lambda: app.playground.query_one("#training").has_focus_within)
        await pilot.press("p")
        await until(pilot, lambda: told("F8 starts one"))
        await pilot.press("ctrl+c")
        await until(pilot, lambda: told("ctrl+x quits"))
        app.apply("keys.train", "f7")
        await until(pilot, lambda: "Train (F7)" in str(app.playground.query_one("#train").label))
        await pilot.resize_terminal(40, 10)
        await until(pilot, lambda: "press ctrl+x" in str(app.playground.query_one("#too-small").render()))


async def test_a_bug_in_a_thread_is_told_with_what_looks_for_its_cause(playground: Any, until: Any) -> None:
    from babytui.tui.threads import in_thread

    async with playground(80, 24) as (app, pilot):
        in_thread(app.playground, lambda: 1 / 0, "test")
        await until(pilot, lambda: any("ctrl+p doctor" in n.message and "ZeroDivisionError" in n.message
                                       for n in app._notifications))
        assert Failed("x").severity == "error"
