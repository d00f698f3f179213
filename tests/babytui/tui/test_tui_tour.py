"""The tour: over the real panes, shown once, never in the way."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from textual.geometry import Region

from babytui import settings
from babytui.tui.bindings import ids, keymap
from babytui.tui.screens.tour import STEPS, TourScreen, beside
from babytui.tui.widgets.lines import Lines

SIZES = [(60, 20), pytest.param(80, 24, marks=pytest.mark.slow), (120, 40),
         pytest.param(200, 60, marks=pytest.mark.slow)]


@pytest.fixture
def first(home: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As at the first start of all."""
    monkeypatch.delenv("BABYTUI_TOUR", raising=False)
    yield settings.path()
    keymap({})


def touring(app: Any) -> bool:
    return type(app.screen).__name__ == "TourScreen" and bool(app.screen.query_one("#tour", Lines).plain)


@pytest.mark.parametrize(("width", "height"), SIZES)
async def test_four_steps_point_to_their_panes_and_it_is_shown_once(playground: Any, until: Any, first: Any, width: int,
                                                                    height: int) -> None:
    async with playground(width, height) as (app, pilot):
        await until(pilot, lambda: touring(app))
        for n, step in enumerate(STEPS, 1):
            box = app.screen.query_one(".dialog")
            await until(pilot, lambda n=n, box=box: str(box.border_title).startswith(f"{n} of 4"))
            assert app.playground.current == step.pane and app.playground.query_one(f"#{step.pane}").display
            await until(pilot, lambda box=box: Region(0, 0, width, height).contains_region(box.region))
            lines = app.screen.query_one("#tour", Lines)
            assert all(len(line) <= lines.size.width for line in lines.plain.splitlines())
            await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.playground)
        await until(pilot, first.exists)
        assert tomllib.loads(first.read_text()) == {"tour": False}
    async with playground(width, height) as (app, pilot):
        await pilot.pause()
        assert app.screen is app.playground


async def test_the_panel_has_its_place_by_its_present_size(playground: Any, until: Any, first: Any,
                                                           monkeypatch: Any) -> None:
    """Also when what was to come after the refresh came before the panel was laid out."""
    monkeypatch.setattr(TourScreen, "call_after_refresh", lambda screen, call: call())
    async with playground(60, 20) as (app, pilot):
        await until(pilot, lambda: touring(app))
        heights = set()
        for step in STEPS:
            box, panes = app.screen.query_one(".dialog"), app.playground.query_one("#panes").region
            await until(pilot, lambda step=step, box=box: str(box.border_title).endswith(step.title))
            await until(pilot, lambda box=box, panes=panes: box.region.bottom == panes.bottom - 1)
            heights.add(box.region.height)
            await pilot.press("right")
        assert len(heights) > 1


async def test_esc_skips_and_any_other_key_does_what_it_does(playground: Any, until: Any, first: Any) -> None:
    async with playground(120, 40) as (app, pilot):
        await until(pilot, lambda: touring(app))
        await pilot.press("f4")
        await until(pilot, lambda: str(app.screen.query_one(".dialog").border_title).startswith("3 of 4"))
        await pilot.press("left", "escape")
        await until(pilot, lambda: app.playground.chat.prompt.has_focus)
        await until(pilot, lambda: app.screen is app.playground)
        assert app.playground.current == "chat"
        app.act("tour")
        await until(pilot, lambda: touring(app))
        await pilot.press("f6")
        await until(pilot, lambda: app.screen is app.playground and app.playground.maximised)
        app.playground.action_show("chat")
        app.act("tour")
        await until(pilot, lambda: touring(app))
        await pilot.press("f5", "H")
        await until(pilot, lambda: app.screen is app.playground and app.playground.chat.prompt.text == "H")


async def test_it_tells_the_keys_of_the_person(playground: Any, until: Any, first: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("BABYTUI_KEYS", "train=f8; continue=; show.config=f9")
    async with playground(80, 24) as (app, pilot):
        await until(pilot, lambda: touring(app))
        told = app.screen.query_one("#tour", Lines).plain
        assert "F9  go to the form" in told and "F8  train a model" in told


async def test_the_environment_keeps_it_away(playground: Any, until: Any, home: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.pause()
        assert app.screen is app.playground and not settings.path().exists()


def test_steps_name_actions_that_there_are() -> None:
    assert len(STEPS) == 4
    assert {id_ for step in STEPS for id_ in ("show." + step.pane, *step.actions)} <= set(ids())


@pytest.mark.parametrize("pane", [Region(0, 1, 46, 38), Region(46, 1, 74, 15), Region(0, 1, 60, 18),
                                  Region(100, 1, 100, 30)])
def test_the_panel_stays_on_the_screen_and_off_the_title(pane: Region) -> None:
    screen = Region(0, 0, max(60, pane.right), max(20, pane.bottom + 1))
    x, y = beside(pane, screen, 44, 9)
    panel = Region(x, y, 44, 9)
    assert screen.contains_region(panel)
    assert not panel.overlaps(Region(pane.x, pane.y, pane.width, 1))
