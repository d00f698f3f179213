"""Every action of the registry: reached by a key or the palette in the app, and by a command in the shell; and what is
done in the app is offered as the command line that does the same."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from babytui import actions, commandline
from babytui.actions import APP, CLI, SHELL, Action
from babytui.tui.bindings import ids
from babytui.tui.commands import commands
from babytui.tui.screens.bakeoff import BakeOffScreen
from babytui.tui.screens.candidates import CandidatesScreen
from babytui.tui.screens.choose import ChooseScreen
from babytui.tui.screens.compare import CompareScreen
from babytui.tui.screens.info import InfoScreen
from babytui.tui.screens.microscope import MicroscopeScreen
from babytui.tui.screens.overlay import OverlayScreen
from babytui.tui.screens.scrubber import ScrubberScreen

IN_APP = list(actions.offered(APP))
SCREENS = {screen.node: screen for screen in (
    BakeOffScreen, CandidatesScreen, CompareScreen, InfoScreen, MicroscopeScreen, OverlayScreen, ScrubberScreen)}
ALWAYS = ("", "app", "playground", "config", "training", "models", "chat")

MOVES = {
    "maximise", "chart nearer", "chart farther", "chart whole", "chart earlier", "chart later", "cursor back",
    "cursor on", "mark before", "mark after", "older run", "newer run", "first checkpoint", "last checkpoint",
    "previous token", "next token", "previous reply", "next reply", "previous branch", "next branch", "branches",
    "bakeoff back",
}
"""What only moves about in a view of the app: a cursor, a zoom, a place in a list."""
ARRANGES = {"mark", "filter", "sort", "sort by", "turn", "take old value", "take rate"}
"""What arranges a list or a form of the app: in the shell, the words of the command are the form."""
TERMINAL = {"copy", "copy command", "suspend"}
"""What the terminal does with a shell, or what only the app has to offer."""
SESSION = {"stop reply", "search history", "chart norms"}
"""In the shell ctrl+c and its own history do these; norms are told by `attach`."""


def named(action: Action) -> str:
    return action.name


@pytest.mark.parametrize("action", IN_APP, ids=named)
def test_a_key_or_the_palette_reaches_it(action: Action) -> None:
    """One has its own key, the palette's and the command line's have theirs, and lead to all others."""
    assert action.name in ("commands", "command line") or any(
        keys for keys in (action.key, ids().get(actions.find("commands").id, ("", "", None))[1]) if keys)
    assert action.run or action.app, "nothing does it"
    assert action.node in ALWAYS or action.node in SCREENS


@pytest.mark.parametrize("action", IN_APP, ids=named)
def test_the_shell_does_it_or_there_is_a_reason(action: Action) -> None:
    reasons = [group for group in (MOVES, ARRANGES, TERMINAL, SESSION) if action.name in group]
    if SHELL in action.where:
        assert commandline.match(action.name.split(), SHELL) == (action, [])
        assert not reasons
    elif action.same:
        assert not reasons
        if action.same != "--help":
            same, _ = commandline.match(shlex.split(action.same), SHELL)
            assert same.run and SHELL in same.where
    else:
        assert len(reasons) == 1, "neither a command of the shell, nor one that shows the same, nor a reason"


async def test_the_palette_lists_what_can_be_done(playground: Any) -> None:
    """Of a screen that is not in front what its command can do alone; on the screen itself, everything of it."""
    async with playground(80, 24) as (app, _pilot):
        listed = {command.title for command in commands(app)}
        reached = {action.name for action in IN_APP if action.run or action.node in ALWAYS}
        assert listed == reached, sorted(listed ^ reached)
        for name in SCREENS:
            app.screen.node = name
            assert {action.name for action in IN_APP if action.node == name} <= {
                command.title for command in commands(app)}


def same_as(line: str, name: str, /, **values: Any) -> None:
    """Whether a line of `copy command` is this action with these values."""
    arguments = commandline.parse(line, SHELL)
    assert arguments.action.name == name and CLI in arguments.action.where
    assert {key: getattr(arguments, key) for key in values} == values


async def test_what_is_done_is_offered_as_a_command(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        root = {"workspace": str(app.workspace.root)}
        await until(pilot, lambda: app.playground.chat.baby is not None)
        await pilot.press("f4")
        await until(pilot, lambda: app.playground.models.chosen is not None)
        await pilot.press("w")
        await until(pilot, lambda: app.playground.current == "training" and app.done)
        same_as(app.done[0], "attach", guid=model, **root)
        await pilot.press("f4", "i")
        await until(pilot, lambda: isinstance(app.screen, InfoScreen))
        same_as(app.done[0], "info", guid=model, **root)
        await pilot.press("v" if "info" in actions.find("look").also else "f12")
        screen = await until(pilot, lambda: isinstance(app.screen, MicroscopeScreen) and app.screen)
        await until(pilot, lambda: screen.scope is not None)
        same_as(app.done[0], "look", guid=model, what="attention", **root)
        await pilot.press("escape", "escape", "f5")
        app.playground.chat.query_one("#prompt").text = "The cat"
        app.playground.chat.action_candidates()
        await until(pilot, lambda: isinstance(app.screen, CandidatesScreen))
        same_as(app.done[0], "candidates", guid=model, prompt="The cat", temperature=0.8, **root)
        await pilot.press("escape")
        app.playground.chat.action_scrub()
        await until(pilot, lambda: isinstance(app.screen, ScrubberScreen) and " scrub " in app.done[0])
        same_as(app.done[0], "scrub", guid=model, prompt="The cat", seed=1, **root)
        await pilot.press("escape")
        app.keep("sampler.top_k", 5)
        same_as(app.done[0], "settings", name="sampler.top_k", value="5", **root)
        app.playground.action_copy_command()
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and app.screen.query("OptionList"))
        assert app.screen._options[0] == app.done[0] and len(app.done) >= 6
