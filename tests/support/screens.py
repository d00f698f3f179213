"""Every pane and screen of the app, each opened the way a person would, on the same workspace every time.

A new screen is one line in SCREENS: its name and the keys that open it, with what has to be so between them. One that
begins with `after(name)` goes on from another, and is seen in the same opening of the app.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nursery
import pytest

from babytui.tui.app import PlaygroundApp
from store.workspace import Workspace

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))
THEMES = ("dark", "light", "ansi")
PYTHON, TEXTUAL = (3, 11), "8.2.8"  # that the pictures were made on
PICTURES = sys.version_info[:2] == PYTHON and version("textual") == TEXTUAL and sys.platform == "linux"
Ready = Callable[[Any], Any]
_PATIENCE = 60.0  # seconds; a busy machine takes its time


def screen(name: str) -> Ready:
    """Whether the screen in front is of the class with this name."""
    return lambda app: type(app.screen).__name__ == name


def has(selector: str, test: Callable[[Any], Any]) -> Ready:
    """Whether a widget is on the screen in front and `test` holds for it."""
    return lambda app: (found := app.screen.query(selector)) and test(found.first())


def says(selector: str, word: str) -> Ready:
    """Whether such a widget shows this word."""
    return has(selector, lambda widget: word in widget.plain)


def _models(app: Any) -> Any:
    return app.playground.query_one("#table").row_count == 5


class After(str):
    """The screen from which one goes on, in place of a first key."""


def after(name: str) -> After:
    """The first step of a screen that goes on from another; only one can."""
    return After(name)


def _seeded(app: Any) -> bool:
    """The chat's replies are the same every time, and short."""
    fields = app.playground.query_one("#sampling").fields
    fields["seed"].value, fields["tokens"].value = "7", "120"
    return True


def _written(app: Any) -> Any:
    return not app.playground.chat.writing and app.playground.chat.talk.path


_KITTEN = (_models, "down", lambda app: app.playground.models.chosen.name == "kitten")
_TRAINING = ("f3", says("#numbers", "240"))
SCREENS: dict[str, tuple[str | Ready, ...]] = {
    "config": ("f2", says("#cost", "parameters")),
    "help config": (after("config"), "f1", screen("HelpScreen")),
    "training": _TRAINING,
    "training cursor": (after("training"), "left", "left", has("#chart", lambda chart: chart.options.cursor)),
    "training overlay": (after("training cursor"), "0", "o", screen("OverlayScreen"), says("#overlay-words", "of at")),
    "training norms": (after("training overlay"), "escape", screen("PlaygroundScreen"), "n", screen("NormsScreen")),
    "rate": (after("training norms"), "escape", screen("PlaygroundScreen"), "e", screen("RateScreen")),
    "rate wrong": (after("rate"), "x", says("#rate-words", "number")),
    "help training": (after("rate wrong"), "escape", screen("PlaygroundScreen"), "f1", screen("HelpScreen")),
    "scrubber": (after("help training"), "escape", screen("PlaygroundScreen"), "t", screen("ScrubberScreen"),
                 says("#scrub-place", "step 180"), has("#scrub-track", lambda track: "●" in track.plain)),
    "command line": (*_TRAINING, "colon", screen("CommandScreen")),
    "command completing": (after("command line"), *"train", "space", *"--set", "space", *"n_",
                           has("CompletionList", lambda found: found.display)),
    "command chosen": (after("command completing"), "tab", "tab",
                       has("CompletionList", lambda found: found.chosen > 0)),
    "command wrong": (after("command chosen"), "escape", screen("PlaygroundScreen"), "colon", screen("CommandScreen"),
                      *"trian", "enter", says("#command-hint", "trian")),
    "settings": (*_TRAINING, "comma", screen("SettingsScreen"), says("#setting-help", "theme")),
    "settings choice": (after("settings"), *["down"] * 4, says("#setting-help", "chart.axis"), "enter",
                        screen("ChooseScreen")),
    "settings keys": (after("settings choice"), "escape", screen("SettingsScreen"), "f3", says("#key-help", ":")),
    "settings new key": (after("settings keys"), "enter", screen("PressKeyScreen")),
    "tour 1": (*_TRAINING, "colon", screen("CommandScreen"), *"tour", "enter", screen("TourScreen")),
    **{f"tour {number}": (after(f"tour {number - 1}"), "enter",
                          has(".dialog", lambda box, number=number: str(box.border_title).startswith(str(number))))
       for number in (2, 3, 4)},
    "models": ("f4", _models),
    "help models": (after("models"), "f1", screen("HelpScreen")),
    "rename": (after("help models"), "escape", *_KITTEN, "n", screen("AskScreen")),
    "rename wrong": (after("rename"), "slash", says("#ask-words", "/")),
    "annotate": (after("rename wrong"), "escape", screen("PlaygroundScreen"), "a", screen("AskScreen")),
    "delete": (after("annotate"), "escape", screen("PlaygroundScreen"), "d", screen("ConfirmScreen")),
    "finetune": (after("delete"), "escape", screen("PlaygroundScreen"), "f", screen("FinetuneScreen")),
    "info": ("f4", *_KITTEN, "enter", screen("InfoScreen"), says("#facts", "param")),
    "info report": (after("info"), "2"),
    "info curve": (after("info report"), "3"),
    "info texts": (after("info curve"), "4"),
    "info tensors": (after("info texts"), "5", lambda app: app.screen.query_one("#info-tensors").row_count),
    "tensor": (after("info tensors"), "enter", screen("TensorScreen"), "right"),
    "compare": ("f4", *_KITTEN, "space", "down", "equals_sign", screen("CompareScreen"),
                says("#compare-facts", "differs")),
    "compare curves": (after("compare"), "2"),
    "compare replies": (after("compare curves"), "3", *"The", "enter", says("#ask-words", "token")),
    "chat": ("f5", says("#pace", "ready")),
    "chat candidates": (after("chat"), *"The", "escape", "c", screen("CandidatesScreen"),
                        says("#candidates-rows", "left")),
    "chat history": (after("chat candidates"), "escape", screen("PlaygroundScreen"), "slash", screen("HistoryScreen")),
    "chat reply": (_models, lambda app: app.playground.chat.baby is not None, "f4", *["down"] * 4,
                   lambda app: app.playground.models.chosen.name == "baby", "c",
                   lambda app: app.playground.chat.guid == app.playground.models.chosen.guid, says("#pace", "ready"),
                   _seeded, "f5", *"Once", "space", *"upon", "space", *"a", "space", *"time", "enter", _written),
    "chat token": (after("chat reply"), "escape", "left", "left", "left"),
    "help": ("f1", screen("HelpScreen")),
    "bake-off": ("f10", screen("BakeOffScreen"), lambda app: len(app.screen.rows) == 6),
    "bake-off form": (after("bake-off"), "n", screen("BakeOffForm")),
    **{f"microscope {view}": (*(["f5", says("#pace", "ready"), "f12", screen("MicroscopeScreen")] if not before
                                else [after(f"microscope {before}")]), str(number), says(selector, word))
       for number, (before, view, selector, word) in enumerate((
           ("", "attention", "#scope-reading", "output"), ("attention", "gates", "#scope-reading", "mean"),
           ("gates", "lens", "#scope-reading", "rank"), ("lens", "loss", "#scope-what", "mean"),
           ("loss", "tensors", "#scope-what", "tensors"), ("tensors", "norms", "#scope-page", "norm"),
           ("norms", "stream", "#scope-reading", "mean")), 1)},
    "palette": ("ctrl+p", screen("CommandPalette")),
    "palette found": (after("palette"), *"check", has("CommandList", lambda found: found.option_count < 12)),
    "told": ("f4", _models, "u", lambda app: len(app._notifications)),
}
TOLD = ("told",)  # those that show what is told in a corner


def walks() -> list[list[str]]:
    """The screens in the order in which one goes through them; each list is one opening of the app."""
    found: list[list[str]] = []
    for name, steps in SCREENS.items():
        if isinstance(steps[0], After):
            walk = next(walk for walk in found if walk[-1] == steps[0])  # one goes on from each
            walk.append(name)
        else:
            found.append([name])
    return found


async def until(pilot: Any, condition: Callable[[], Any], what: str) -> None:
    """Waits while the app goes on; AssertionError when it does not become so."""
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        await pilot.pause(0.01)


async def settled(app: Any, pilot: Any, told: bool = False, looks: int = 6) -> None:
    """Nothing is being computed or moved; several looks in a row. told: what is told in a corner stays."""
    calm = 0

    def still() -> bool:
        nonlocal calm
        if not told:
            app.clear_notifications()
        busy = any(worker.is_running and worker.group not in _FOLLOWING for worker in app.workers)
        moving = bool(app.animator._animations) or bool(app.screen._dirty_widgets)
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        same, app.__dict__["_was_shown"] = shown == app.__dict__.get("_was_shown"), shown
        calm = 0 if busy or moving or not same else calm + 1
        return calm >= looks

    await until(pilot, still, "the screen to stand still")


_FOLLOWING = {"follow", "feed"}  # threads that wait for more as long as a screen is open


@contextmanager
def same_every_time() -> Iterator[Workspace]:
    """The workspace that is shown, in a home of its own. No clock, setting or figure of this machine is on the screen,
    and the folder's name is as long every time (`steady` makes it the same)."""
    folder = Path(tempfile.mkdtemp(prefix="babytui-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BABYTUI_")]:
            patch.delenv(name)
        for name in ("NO_COLOR", "COLORTERM", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("BABYTUI_TOUR", "false")
        patch.setenv("HOME", str(folder))
        patch.setenv("TZ", "UTC")
        time.tzset()
        patch.chdir(folder)
        patch.setattr("engine.estimate.calibrate", lambda config, seconds=0.5: 1e9)
        patch.setattr("babytui.tui.feed.resident", lambda process: 70_000_000)
        patch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(200 << 30, 100 << 30, 100 << 30))
        patch.setattr("babytui.library.Generation.tokens_per_second", property(lambda reply: 1000.0))
        patch.setattr("babytui.library.Generation.prefill_seconds", property(lambda reply: 0.002, lambda *_: None),
                      raising=False)
        patch.setattr("textual.notifications.Notification.time_left", property(lambda note: 3600.0))
        patch.setattr("babytui.workspace_choice.BOX", nursery.box(folder / "box"))
        try:
            yield nursery.nursery(folder / "nest")
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def steady(text: str, made: Workspace) -> str:
    """A screen's text with the same folder every time."""
    return text.replace(made.root.parent.name, "babytui-nursery1")


async def dress(app: Any, pilot: Any, theme: str, told: bool = False) -> None:
    """Shows it in this theme, standing still."""
    palette = app.theme != theme and type(app.screen).__name__ == "CommandPalette"
    if palette:  # it keeps the colours that it was opened with
        typed = app.screen.query_one("Input").value
        await pilot.press("escape")
    app.theme = theme
    if palette:
        await settled(app, pilot, told)
        await pilot.press("ctrl+p", *typed)
    for field in (field for shown in app.screen_stack for field in shown.query("Input, TextArea")):
        field.cursor_blink = False
    await settled(app, pilot, told, looks=6 if palette else 2)


@asynccontextmanager
async def opened(name: str, made: Workspace, size: tuple[int, int], theme: str) -> AsyncIterator[tuple[Any, Any]]:
    """The app with the screen `name` in front, standing still; (app, pilot)."""
    walk = next(walk for walk in walks() if name in walk)
    async with walking(made, size) as (app, pilot):
        for before in walk[:walk.index(name) + 1]:
            await go(app, pilot, before)
        await dress(app, pilot, theme, name in TOLD)
        yield app, pilot


@asynccontextmanager
async def walking(made: Workspace, size: tuple[int, int]) -> AsyncIterator[tuple[Any, Any]]:
    """The app as it is after its start; (app, pilot)."""
    for kept in made.outputs.glob("conversation_*.json"):  # of a walk before
        kept.unlink()
    with nursery.Trainee(made):
        app = PlaygroundApp(made)
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: app.playground.ready, "the panes")
            await until(pilot, lambda: app.playground.chat.baby is not None, "the model")
            yield app, pilot


async def go(app: Any, pilot: Any, name: str) -> None:
    """Takes the steps to a screen from the one before it."""
    for step in SCREENS[name]:
        if isinstance(step, After):
            continue
        if isinstance(step, str):
            await pilot.press(step)
        else:
            await until(pilot, lambda step=step: step(app), f"{name} at {step}")
    await settled(app, pilot, name in TOLD)
