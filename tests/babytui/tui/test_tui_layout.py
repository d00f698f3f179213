"""Every pane at every size: there, reachable with one key, inside the screen, and not cut off."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len
from textual.geometry import Region

from babytui.tui.screens.playground import NAMES
from babytui.tui.widgets.lines import Lines

SIZES = [(60, 20), (80, 24), (120, 40), (200, 60)]
SCROLLED = ("Form", "Sampling", "DataTable")
KEYS = dict(zip(("f2", "f3", "f4", "f5"), NAMES, strict=True))


def shown(app: Any) -> list[str]:
    return [name for name in NAMES if app.playground.query_one(f"#{name}").display]


async def resized(app: Any, pilot: Any, until: Any, width: int, height: int) -> None:
    await pilot.resize_terminal(width, height)
    await until(pilot, lambda: app.playground.size == (width, height))
    await until(pilot, lambda: len(shown(app)) == (len(NAMES) if width >= 120 else 1))
    await pilot.pause()


async def test_panes_are_reachable_and_inside_the_screen(playground: Any, until: Any) -> None:
    async with playground(*SIZES[0]) as (app, pilot):
        for width, height in SIZES:
            await resized(app, pilot, until, width, height)
            for key, name in KEYS.items():
                await pilot.press(key)
                pane = app.playground.query_one(f"#{name}")
                await until(pilot, lambda pane=pane: pane.has_focus_within)
                assert shown(app) == (list(NAMES) if width >= 120 else [name])
                check_inside(pane, name, Region(0, 0, width, height))


def check_inside(pane: Any, name: str, screen: Region) -> None:
    for widget in pane.query("*"):
        scrolled = any(type(w).__name__ in SCROLLED for w in (widget, *widget.ancestors))
        empty = isinstance(widget, Lines) and not widget.plain
        if widget.display and not scrolled and not empty and widget.is_on_screen:
            assert widget.region.area > 0, (name, widget)
            assert screen.contains_region(widget.region), (name, widget, widget.region)
    for lines in pane.query(Lines):
        if lines.display and lines.size.area:
            assert all(cell_len(line) <= lines.size.width for line in lines.plain.splitlines()), lines


async def test_nothing_overlaps(playground: Any, until: Any) -> None:
    async with playground(*SIZES[-1]) as (app, pilot):
        for width, height in reversed(SIZES):
            await resized(app, pilot, until, width, height)
            panes = [app.playground.query_one(f"#{name}") for name in shown(app)]
            bars = [app.playground.query_one("#topbar"), app.playground.query_one("#keybar")]
            regions = [widget.region for widget in (*panes, *bars)]
            for n, one in enumerate(regions):
                assert one.area
                assert not any(one.overlaps(other) for other in regions[n + 1:])
            assert sum(region.area for region in regions) == width * height


async def test_resizing_and_maximising(playground: Any, until: Any) -> None:
    async with playground(120, 40) as (app, pilot):
        await pilot.press("f4", "f6")
        await until(pilot, lambda: shown(app) == ["models"])
        await pilot.press("f6")
        await until(pilot, lambda: shown(app) == list(NAMES))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: shown(app) == ["models"])
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: shown(app) == list(NAMES))


async def test_too_small_is_said(playground: Any, until: Any) -> None:
    async with playground(50, 12) as (app, pilot):
        message = app.playground.query_one("#too-small")
        assert message.display and "babytui needs 60×18" in str(message.render())
        assert not app.playground.query_one("#panes").display
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: not message.display)


async def test_digits_and_tabs_work_outside_fields(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f4")
        await until(pilot, lambda: app.playground.query_one("#models").has_focus_within)
        await pilot.press("2")
        await until(pilot, lambda: shown(app) == ["training"])
        await pilot.click("#topbar", offset=(3, 0))
        await until(pilot, lambda: shown(app) == ["config"])


async def test_the_page_of_keys_and_ctrl_c(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f1")
        await until(pilot, lambda: type(app.screen).__name__ == "HelpScreen")
        text = app.screen.query_one(Lines).plain
        for word in ("F2 ctrl+g 1", "F9 ctrl+t", "ctrl+z", "let a run wait", "move models to the trash",
                     "ctrl+j"):
            assert word in text
        await pilot.press("ctrl+c")
        await until(pilot, lambda: app.screen is app.playground)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: any("ctrl+q quits" in n.message for n in app._notifications))


async def test_the_palette_offers_the_registered_actions(playground: Any, until: Any) -> None:
    from babytui import actions

    async with playground(80, 24) as (app, pilot):
        commands = {command.title: command for command in app.get_system_commands(app.screen)}
        for name in ("train", "info", "delete", "pause", "resume", "stop", "checkpoint", "runs", "doctor", "Theme"):
            assert name in commands
        assert commands["pause"].help == actions.find("pause").help + " · p"
        commands["show models"].callback()
        await until(pilot, lambda: app.playground.current == "models")
        commands["chart log"].callback()
        await until(pilot, lambda: app.playground.training.chart.options.log_y)
        assert app.playground.current == "training"


async def test_keys_come_back_when_the_terminal_grows_again(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.resize_terminal(50, 12)
        await until(pilot, lambda: app.playground.query_one("#too-small").display)
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: app.playground.chat.prompt.has_focus)
        await pilot.press(*"hi")
        assert app.playground.chat.prompt.text == "hi"
