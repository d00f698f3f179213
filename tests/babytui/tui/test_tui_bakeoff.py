"""The bake-off's screen: its form, the live table, its models, and what goes wrong; at every size."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from rich.cells import cell_len
from textual.geometry import Region
from textual.widgets import Button

from babytui.bakeoff import BakeOff, Budget
from babytui.bakeoff_draft import architectures, draft
from babytui.cli import parser
from babytui.tui.screens.bakeoff import BakeOffScreen
from babytui.tui.screens.bakeoff_form import BakeOffForm
from babytui.tui.screens.bakeoff_lines import key_lines
from babytui.tui.widgets.checklist import Checklist
from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.results import fitting, row_cells
from engine import registry
from engine.config import Config
from store import journal, trash
from store.lock import Lock
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4, "n_rank": 9}


def start(workspace: Workspace, pairs: list[str], budget: Budget) -> BakeOff:
    return draft(workspace, Config.read(TINY), architectures(pairs=pairs), ["cats"], budget=budget).start()


@pytest.fixture
def done(workspace: Workspace) -> BakeOff:
    """A finished bake-off of three, of which one failed."""
    found = start(workspace, ["mha/mlp", "aft/mlp", "mha/lor"], Budget("steps", 6))
    assert found.wait(60) == "finished"
    return found


@pytest.fixture
def endless(workspace: Workspace) -> Iterator[BakeOff]:
    """One at work until the test ends it."""
    found = start(workspace, ["mha/mlp", "aft/mlp"], Budget("steps", 10_000_000))
    yield found
    if found.alive:
        found.stop()
        found.wait(60)


async def opened(app: Any, pilot: Any, until: Any) -> BakeOffScreen:
    await pilot.press("f10")
    await until(pilot, lambda: isinstance(app.screen, BakeOffScreen) and app.screen.rows)
    return app.screen


def plain(screen: Any, name: str) -> str:
    return screen.query_one(f"#bakeoff-{name}", Lines).plain


def names(screen: BakeOffScreen) -> list[str]:
    return [row.architecture.label for row in screen.table.shown]


def told(app: Any, text: str) -> bool:
    return any(text in note.message for note in app._notifications)


async def test_from_the_form_to_the_trash(playground: Any, until: Any, workspace: Workspace) -> None:
    workspace.save_current(TINY)
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f10")
        await until(pilot, lambda: isinstance(app.screen, BakeOffForm))  # there was none, so a new one is offered
        form = app.screen
        await until(pilot, lambda: form.draft is not None)
        assert len(form.draft.architectures) == len(registry.attention.names()) * len(registry.network.names())
        assert "are left out" not in plain(form, "cost") and "is left out: n_rank 9" in plain(form, "cost")
        attentions, networks = form.query(Checklist)
        attentions.choose(["mha", "aft"])
        networks.choose([])
        await until(pilot, lambda: "at least one" in plain(form, "cost"))
        networks.choose(["mlp"])
        form.form.fields["amount"].value = "no"
        await until(pilot, lambda: form.query(".problem"))
        await pilot.press("f9")
        assert isinstance(app.screen, BakeOffForm) and form.form.fields["amount"].has_focus
        form.form.fields["amount"].value = "8"
        form.form.fields["name"].value = "Nest"
        await until(pilot, lambda: form.draft is not None and form.draft.budget == Budget("steps", 8))
        await until(pilot, lambda: "2 runs of 8 steps" in plain(form, "cost"))
        await pilot.press("f8")
        await until(pilot, lambda: told(app, "babytui bakeoff"))
        line = next(note.message for note in app._notifications if "babytui bakeoff" in note.message)
        given = parser.parse(shlex.split(line)[1:])
        assert (given.attention, given.network, given.steps, given.name) == (["aft,mha"], ["mlp"], 8, "Nest")
        assert "n_rank=9" in given.set and "n_emb=8" in given.set
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, BakeOffScreen) and app.screen.status == "finished", 60)
        screen = app.screen
        assert plain(screen, "head").startswith("Nest  finished  2 of 2 done")
        assert [row.state for row in screen.rows] == ["done", "done"]
        values = {row.architecture.label: row.values for row in screen.rows}
        best = sorted(values, key=lambda name: values[name]["validation_loss"])
        assert names(screen) == best
        await pilot.press("O")
        assert names(screen) == best[::-1]
        await pilot.press("o", "o", "o")
        assert screen.table.sorted_by == "tokens_per_second" and "tok/s" in plain(screen, "words")
        assert names(screen) == sorted(values, key=lambda name: -values[name]["tokens_per_second"])
        await pilot.press("x")
        await until(pilot, lambda: told(app, "table.csv and table.json"))
        folder = screen.progress.bakeoff.dir
        assert [row["attention"] for row in json.loads((folder / "table.json").read_text())] == \
            [name.split("·")[0] for name in names(screen)]
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen).__name__ == "InfoScreen")
        await until(pilot, lambda: screen.chosen.values["guid"] in app.screen.query_one("#facts", Lines).plain)
        await pilot.press("escape", "l")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press("escape", "d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        await pilot.press("y")
        await until(pilot, lambda: not folder.exists())
        (item,) = trash.items(workspace.root)
        assert not workspace.entries() and (item.name, item.kind) == ("Nest", trash.BAKE_OFF)
        assert len([path for path in item.inside() if path.startswith("models/")]) == 2
        await until(pilot, lambda: app.screen is screen and screen.progress is None)
        await pilot.press("escape")
        assert app.screen is app.playground


@pytest.mark.parametrize(("width", "height"), [(60, 20), pytest.param(80, 24, marks=pytest.mark.slow),
                                               pytest.param(160, 45, marks=pytest.mark.slow)])
async def test_everything_is_inside_the_screen(playground: Any, until: Any, done: BakeOff, width: int,
                                               height: int) -> None:
    async with playground(width, height) as (app, pilot):
        screen = await opened(app, pilot, until)
        await until(pilot, lambda: screen.table.row_count == 3)
        assert names(screen)[-1] == "mha·lor", "what failed stands last"
        assert screen.table.virtual_size.width <= width
        await pilot.press("end", "down", "down", "down")
        await until(pilot, lambda: "n_rank 9" in plain(screen, "words"))
        check_inside(screen, width, height)
        await pilot.press("c")
        await until(pilot, lambda: told(app, "has no model"))
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, BakeOffForm) and app.screen.draft)
        check_inside(app.screen, width, height)
        box = app.screen.query_one(".dialog")
        for widget in (*box.query(Checklist), *app.screen.form.fields.values(), app.screen.query_one("#start", Button)):
            assert box.region.contains_region(widget.region), widget
        assert all(widget.size.width >= 9 for widget in app.screen.form.fields.values())


def check_inside(screen: Any, width: int, height: int) -> None:
    for lines in screen.query(Lines):
        assert Region(0, 0, width, height).contains_region(lines.region), lines
        assert all(cell_len(line) <= lines.size.width or line.startswith("mha·lor: ")
                   for line in lines.plain.splitlines()), lines.plain


async def test_chat_and_watch_go_to_the_playground(playground: Any, until: Any, done: BakeOff) -> None:
    async with playground(80, 24) as (app, pilot):
        screen = await opened(app, pilot, until)
        guid = screen.table.shown[0].values["guid"]
        await pilot.press("c")
        await until(pilot, lambda: app.playground.chat.guid == guid)
        assert app.screen is app.playground and app.playground.current == "chat"
        screen = await opened(app, pilot, until)
        await pilot.press("w")
        await until(pilot, lambda: app.playground.training.view.guid == guid)
        assert app.playground.current == "training"


@pytest.mark.slow
async def test_live_stopped_killed_and_resumed(playground: Any, until: Any, endless: BakeOff) -> None:
    async with playground(80, 24) as (app, pilot):
        screen = await opened(app, pilot, until)
        await until(pilot, lambda: screen.rows[0].state == "training" and screen.rows[0].values.get("steps"))
        assert "running" in plain(screen, "head") and "mha·mlp training" in plain(screen, "now")
        await pilot.press("d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        assert any("at work" in str(line.render()) for line in app.screen.query("Static"))
        await pilot.press("n")
        await until(pilot, lambda: app.screen is screen)
        os.kill(Lock.owner(endless.dir / "lock"), signal.SIGKILL)
        await until(pilot, lambda: screen.status == "died")
        assert "r goes on" in plain(screen, "now")
        await pilot.press("r")
        await until(pilot, lambda: screen.status == "running")
        await pilot.press("s")
        await until(pilot, lambda: screen.status == "stopped", 40)
        assert screen.rows[0].state == "stopped" and not journal.read(endless.results)[0]
        await pilot.press("escape")
        assert app.screen is app.playground


async def test_only_a_changed_row_is_painted(playground: Any, until: Any, done: BakeOff) -> None:
    async with playground(80, 24) as (app, pilot):
        screen = await opened(app, pilot, until)
        await until(pilot, lambda: screen.table.row_count == 3)
        await pilot.pause()
        painted: list[tuple[Region, ...]] = []
        table, refresh = screen.table, screen.table.refresh

        def watch(*regions: Region, **options: bool) -> Any:
            if not table._quiet:
                painted.append(regions)
            return refresh(*regions, **options)

        table.refresh = watch  # type: ignore[method-assign]
        screen.rows[0].values["tokens_per_second"] = 12.0
        screen._draw()
        assert [[region.height for region in regions] for regions in painted] == [[1]]
        painted.clear()
        screen._draw()
        assert not painted


@pytest.mark.slow
async def test_the_playground_behind_is_not_painted_and_hears_of_another_size(playground: Any, until: Any,
                                                                             endless: BakeOff) -> None:
    async with playground(120, 40) as (app, pilot):
        await until(pilot, lambda: app.playground.training.view.step)
        assert len(shown := [pane for pane in app.playground.query(".pane") if pane.display]) == 4, shown
        screen = await opened(app, pilot, until)
        assert app._background_screens == [] and not app.playground.is_current
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: screen.size.width == 80 and screen.table.virtual_size.width <= 80)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, BakeOffForm))
        assert screen in app._background_screens, "a dialog shows what it stands on"
        await pilot.press("escape", "escape")
        assert app.screen is app.playground and app.playground.tabbed
        await until(pilot, lambda: [pane.size.width for pane in app.playground.query(".pane") if pane.display] == [76])


@pytest.mark.parametrize("width", [30, 58, 78, 158])
def test_keys_take_the_lines_they_need(width: int) -> None:
    lines = ["".join(text for text, _ in line) for line in key_lines(width)]
    assert all(cell_len(line) <= width for line in lines)
    assert " ".join(lines).count("back") == 1 and len(lines) == {30: 4, 58: 2, 78: 2, 158: 1}[width]


def test_columns_are_dropped_in_order(done: BakeOff) -> None:
    from babytui.bakeoff_progress import Progress

    texts = [row_cells(row) for row in Progress(done).look()]
    before: set[str] = set()
    for width in (30, 50, 70, 90, 120):
        there = fitting(texts, width)
        assert {"model", "validation_loss", "tokens_per_second", "run"} <= set(there) and before <= set(there)
        assert width < 50 or sum(there.values()) + 2 * len(there) <= width
        before = set(there)


async def test_checklist_with_keys(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f10")
        await until(pilot, lambda: isinstance(app.screen, BakeOffForm))
        attentions, networks = app.screen.query(Checklist)
        assert attentions.has_focus and attentions.chosen == list(registry.attention.names())
        await pilot.press("a")
        assert attentions.chosen == []
        await pilot.press("down", "space", "j", "x")
        assert attentions.chosen == list(registry.attention.names()[1:3])
        await pilot.press(*["down"] * 5)
        assert networks.has_focus, "the end of a list leads on"
        await pilot.press("up")
        assert attentions.has_focus
        await pilot.press("a")
        assert len(attentions.chosen) == len(attentions.names)
        await pilot.press("escape", "escape")
        assert app.screen is app.playground
