"""Comparing: what differs, curves over one another, the same prompt and seed in several models."""

from __future__ import annotations

import re
from typing import Any

import pytest

from babytui import comparison
from babytui.library import load
from babytui.tui.screens.compare import DIFFERS, fact_lines, reply_lines
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.lines import Lines
from store import importing
from store.workspace import Workspace


@pytest.fixture
def pair(trained: Any, workspace: Workspace) -> list[str]:
    """The finished model "tiny" twice in the workspace of the app."""
    source, _ = trained
    importing.bring(workspace, source.root)
    importing.bring(workspace, source.root)
    return [entry.guid for entry in workspace.entries()]


async def opened(app: Any, pilot: Any, until: Any, *keys: str) -> Any:
    models = app.playground.models
    await pilot.press("f4")
    await until(pilot, lambda: models.table.has_focus and len(models._shown) == 3)
    models._sort_by("name")
    for row in [n for n, row in enumerate(models._shown) if not row.shipped]:
        models.table.move_cursor(row=row)
        await pilot.press("space")
    await pilot.press("equals_sign")
    await until(pilot, lambda: type(app.screen).__name__ == "CompareScreen" and app.screen.found)
    return app.screen


def plain(lines: Any) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


@pytest.mark.parametrize("size", [(60, 20), pytest.param((80, 24), marks=pytest.mark.slow),
                                  pytest.param((160, 45), marks=pytest.mark.slow)])
async def test_the_same_prompt_and_seed_beside_each_other(playground: Any, until: Any, pair: list[str],
                                                         size: tuple[int, int]) -> None:
    async with playground(*size) as (app, pilot):
        screen = await opened(app, pilot, until)
        facts = screen.query_one("#compare-facts", Lines)
        await until(pilot, lambda: "configurations are the same" in facts.plain)
        assert "parameters" in facts.plain and "n_emb" not in facts.plain
        await pilot.press("a")
        assert "n_emb" in facts.plain
        await pilot.press("2")
        chart = screen.query_one(LossChart)
        assert chart.display and [curve.empty for curve in chart.curves] == [False, False]
        await pilot.press("3", *"The", "enter")
        await until(pilot, lambda: not screen.writing and screen.replies[1].pieces)
        alone = load(pair[0], app.workspace).generate("The", 120, seed=1, temperature=0.8)
        text = "".join(alone)
        assert ["".join(reply.pieces) for reply in screen.replies] == [text, text]
        await until(pilot, lambda: "write the same" in screen.query_one("#ask-words", Lines).plain)
        await pilot.press("escape", "r")  # out of the field, another seed
        await until(pilot, lambda: not screen.writing and screen.replies[0].pieces)
        assert "".join(screen.replies[0].pieces) != text
        assert any("compare" in line and "--prompt The" in line for line in app.done)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)


async def test_what_cannot_be_written_is_said(playground: Any, until: Any, pair: list[str]) -> None:
    async with playground(80, 24) as (app, pilot):
        screen = await opened(app, pilot, until)
        await pilot.press("3")
        words = screen.query_one("#ask-words", Lines)
        screen.query_one("#ask-tokens").value = "many"
        await pilot.press("enter")
        assert "whole numbers" in words.plain
        screen.query_one("#ask-tokens").value = "0"
        await pilot.press("enter")
        assert "1 to 5000" in words.plain
        screen.query_one("#ask-tokens").value = "9"
        await pilot.press("{", "enter")
        await until(pilot, lambda: all(reply.problem for reply in screen.replies))
        await until(pilot, lambda: "'{'" in screen.query_one("#reply-0", Lines).plain)


async def test_one_alone_asks_for_another(playground: Any, until: Any, pair: list[str]) -> None:
    async with playground(80, 24) as (app, pilot):
        models = app.playground.models
        await pilot.press("f4")
        await until(pilot, lambda: models.table.has_focus and len(models._shown) == 3)
        await pilot.press("equals_sign")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen).__name__ == "CompareScreen" and app.screen.found)
        assert len(app.screen.found.models) == 2


def test_columns_that_have_no_room_are_scrolled_to(trained: Any, tmp_path: Any) -> None:
    source, _ = trained
    workspace = Workspace(tmp_path / "w")
    for _ in range(5):
        importing.bring(workspace, source.root)
    found = comparison.compare(workspace, [entry.guid for entry in workspace.entries()])
    for width in (58, 78, 158):
        for first in range(3):
            lines = fact_lines(found, width, first=first, everything=True)
            assert all(len(line) <= width for line in plain(lines))
        head = plain(fact_lines(found, width))[0]
        heads = [name.strip() for name in re.split(r"\s{2,}", head)]  # "tiny" is a part of "tiny 2"
        shown = sum(model.label[:8] in [name[:8] for name in heads] for model in found.models)
        assert shown and (f"← {5 - shown} more →" in head) == (shown < 5)
    labels = [model.label for model in found.models]
    assert len(set(labels)) == 5  # names that are alike carry their GUID


@pytest.mark.parametrize("width", [1, 4, 9, 30, 200])
@pytest.mark.parametrize(("opening", "pieces", "differ"), [
    ("The cat", [" ", "s", "a", "t\n", "\n", "on the mat, and so on"], 2), ("\n", ["a", "\x1b[31m", "b"], 1),
    ("", ["你好", "。", "x"], None), ("a\tb", ["c"], 1), ("word ", ["one ", "two ", "three "], 0), ("", [], None)])
def test_a_reply_keeps_every_character(opening: str, pieces: list[str], differ: int | None, width: int) -> None:
    lines = reply_lines(opening, pieces, differ, width)
    text = "".join(piece for line in lines for piece, _ in line)
    whole = (opening + "".join(pieces)).expandtabs(4).replace("\x1b", "␛")
    assert text.replace(DIFFERS, "").replace(" ", "") == "".join(whole.split())
    assert text.count(DIFFERS) == (differ is not None)
    if differ is not None and differ < len(pieces) and pieces[differ].strip():
        at = text.index(DIFFERS) + 1
        assert text[at:].replace(" ", "").startswith(pieces[differ].strip().replace("\x1b", "␛").replace(" ", ""))
