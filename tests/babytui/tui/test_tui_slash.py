"""Slash commands in the chat's prompt: completed above it, refused with a sentence, run; and texts that are none."""

from __future__ import annotations

from typing import Any

import pytest

from babytui.tui.panes.sampling import Sampling
from babytui.tui.screens.text import TextScreen
from babytui.tui.widgets.completions import CompletionList
from babytui.tui.widgets.lines import Lines


@pytest.fixture
def talking(playground: Any, until: Any, model: str) -> Any:
    """The playground with the chat ready."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(width: int = 80, height: int = 24) -> Any:
        async with playground(width, height) as (app, pilot):
            chat = app.playground.chat
            await until(pilot, lambda: chat.baby is not None and chat.prompt.has_focus)
            yield app, pilot, chat, chat.query_one("#completions", CompletionList)

    return opened


def items(shown: Any) -> list[str]:
    return [one.text for one in shown.items]


@pytest.mark.parametrize("size", [(60, 20), pytest.param((80, 24), marks=pytest.mark.slow),
                                  pytest.param((160, 45), marks=pytest.mark.slow)])
async def test_a_slash_offers_commands_above_the_prompt(talking: Any, until: Any, size: tuple[int, int]) -> None:
    async with talking(*size) as (_app, pilot, chat, shown):
        assert not shown.display
        await pilot.press("slash")
        await until(pilot, lambda: "train" in items(shown))
        await until(pilot, lambda: shown.region.bottom == chat.prompt.region.y and shown.region.height == 8)
        await pilot.press(*"tra")
        await until(pilot, lambda: items(shown) == ["train", "trash"])
        await pilot.press("down")
        assert chat.prompt.text == "/train" and shown.chosen == 0
        await pilot.press("tab")
        assert chat.prompt.text == "/trash" and chat.prompt.has_focus
        await pilot.press("up", *" --set n_e")
        await until(pilot, lambda: "n_emb=" in items(shown))
        assert chat.prompt.text == "/train --set n_e"
        await pilot.press("escape")
        assert not shown.display and chat.prompt.has_focus
        await pilot.press(*["backspace"] * len("/train --set n_e"))
        await until(pilot, lambda: not shown.display and chat.prompt.text == "")
        assert "not in its vocabulary" not in chat.query_one("#pace", Lines).plain


async def test_enter_runs_it(talking: Any, until: Any) -> None:
    async with talking() as (app, pilot, chat, shown):
        await pilot.press(*"/info kitten", "enter")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        assert "kitten" in app.screen.query_one(Lines).plain
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert chat.prompt.text == "" and not shown.display
        await pilot.press("up")
        assert chat.prompt.text == "/info kitten" and not shown.display
        await pilot.press(*["backspace"] * 12, *"/show models", "enter")
        await until(pilot, lambda: app.playground.current == "models")


async def test_what_cannot_be_run_stays_and_is_said(talking: Any, until: Any) -> None:
    async with talking() as (app, pilot, chat, _shown):
        await pilot.press(*"/lsit", "enter")
        await until(pilot, lambda: "did you mean list?" in chat.query_one("#pace", Lines).plain)
        assert chat.prompt.text == "/lsit" and app.screen is app.playground


async def test_two_slashes_are_a_text(talking: Any, until: Any) -> None:
    async with talking() as (_app, pilot, chat, shown):
        chat.query_one(Sampling).fields["tokens"].value = "5"
        await pilot.press("slash", "slash", *"The")
        await until(pilot, lambda: not shown.display)
        await pilot.press("enter", "enter")  # the slash is not in its vocabulary
        await until(pilot, lambda: not chat.writing and chat.last_reply())
        assert chat.last_reply().startswith("The")
        await pilot.press(*"The /", "enter", "enter")
        await until(pilot, lambda: not chat.writing and not chat.prompt.text)
        assert not shown.display


async def test_quit_is_a_command_too(talking: Any, until: Any) -> None:
    async with talking() as (app, pilot, _chat, _shown):
        await pilot.press(*"/q", "enter")
        await until(pilot, lambda: not app.is_running)
