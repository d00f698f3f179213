"""Keys that arrive in one piece: each goes where it would have gone had one waited for the screen before it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual import events
from textual.command import CommandPalette
from textual.keys import _character_to_key
from textual.screen import Screen
from textual.widgets import Input

from babytui.tui import in_order
from babytui.tui.screens.command import CommandScreen
from babytui.tui.screens.info import InfoScreen
from babytui.tui.screens.text import TextScreen
from babytui.tui.widgets.lines import Lines
from store.workspace import Workspace

NAMES = {"\r": "enter", "\x1b": "escape", "\x7f": "backspace", "\x10": "ctrl+p", "\x01": "home"}


def send(app: Any, keys: str) -> None:
    """All keys before the app comes to the first of them."""
    for key in keys:
        name = NAMES.get(key) or _character_to_key(key)
        app.post_message(events.Key(name, key if key.isprintable() else None))


def typed_into(app: Any, screen: type[Screen[Any]]) -> str | None:
    """What stands in the field of a screen; None when it is not in front or has no field yet."""
    fields = app.screen.query(Input) if isinstance(app.screen, screen) else ()
    return fields.first().value if fields else None


@pytest.fixture
def among_models(playground: Any, until: Any, model: str) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(width: int = 80, height: int = 24) -> Any:
        async with playground(width, height) as (app, pilot):
            await pilot.press("f4")
            await until(pilot, lambda: app.playground.models.query_one("#table").row_count >= 1
                        and app.playground.models.chosen is not None)
            yield app, pilot

    return opened


async def test_a_command_is_typed_before_its_line_has_opened(among_models: Any, until: Any) -> None:
    async with among_models() as (app, pilot):
        send(app, ":inputs lisx\x7ft\r")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        assert "cats" in app.screen.query_one(Lines).plain


async def test_letters_for_the_palette(among_models: Any, until: Any) -> None:
    async with among_models() as (app, pilot):
        send(app, "\x10doctor")
        await until(pilot, lambda: typed_into(app, CommandPalette) == "doctor")


async def test_a_dialog_is_filled_in_and_left_and_the_next_key_is_the_panes(among_models: Any, until: Any,
                                                                          workspace: Workspace, model: str) -> None:
    async with among_models() as (app, pilot):
        send(app, "n" + "\x7f" * 6 + "tiger\ri")
        await until(pilot, lambda: isinstance(app.screen, InfoScreen) and workspace.entry(model).name == "tiger"
                    and "n_layers" in "".join(lines.plain for lines in app.screen.query("#info-config").results(Lines)))


async def test_in_and_out_of_screens(among_models: Any, until: Any) -> None:
    """Each escape belongs to the screen that was open when it was typed."""
    async with among_models() as (app, pilot):
        send(app, "i\x1b:x\x1b:abc")
        await until(pilot, lambda: typed_into(app, CommandScreen) == "abc")
        assert len(app.screen_stack) == 2


async def test_a_filter_takes_its_letters(among_models: Any, until: Any) -> None:
    """They are keys of the models' pane otherwise: d would ask to delete."""
    async with among_models() as (app, pilot):
        send(app, "/dim")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "dim")
        assert app.screen is app.playground


async def test_a_paste_comes_after_the_key_before_it(among_models: Any, until: Any) -> None:
    async with among_models() as (app, pilot):
        app.post_message(events.Key("colon", ":"))
        app.post_message(events.Paste("train --preset\t3m"))
        await until(pilot, lambda: typed_into(app, CommandScreen) == "train --preset 3m")


@pytest.mark.slow
async def test_a_long_burst_into_the_prompt_is_whole(playground: Any, until: Any, model: str) -> None:
    text = "the cat sat on the mat and " * 12
    async with playground() as (app, pilot):
        await pilot.press("f5")
        prompt = app.playground.chat.query_one("#prompt")
        await until(pilot, lambda: prompt.has_focus)
        send(app, text + "xyz\x7f\x7f\x7f")
        await until(pilot, lambda: prompt.text == text)


class Stuck(Screen[None]):
    """Does not come back from a key until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.freed = asyncio.Event()

    async def on_key(self, event: events.Key) -> None:
        if event.key == "x":
            await self.freed.wait()


async def test_keys_do_not_wait_for_ever(among_models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "LOOK", 0.001)
    async with among_models() as (app, _pilot):
        stuck = Stuck()
        await app.push_screen(stuck)
        send(app, "x\x10")
        async with asyncio.timeout(60):
            while typed_into(app, CommandPalette) is None:
                await asyncio.sleep(0)  # Pilot would wait for the screen that does not answer
        stuck.freed.set()
