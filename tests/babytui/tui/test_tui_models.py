"""Models: the table, sorting, filtering, info, delete and undo, and broken files."""

from __future__ import annotations

from typing import Any

from babytui.tui import backend
from babytui.tui.app import PlaygroundApp
from babytui.tui.panes.models import COLUMNS, fitting
from babytui.tui.widgets.lines import Lines
from engine import events
from store.atomic import write_json
from store.journal import Journal
from store.lock import Lock
from store.workspace import Workspace, new_guid


async def ready(app: Any, pilot: Any, until: Any) -> Any:
    models = app.playground.models
    await pilot.press("f4")
    await until(pilot, lambda: models.table.has_focus and any(row.name == "kitten" for row in models._shown))
    return models


async def test_a_model_is_listed_with_its_numbers(playground: Any, until: Any, model: str) -> None:
    async with playground(200, 60) as (app, pilot):
        models = await ready(app, pilot, until)
        await pilot.press("f6")  # alone on the screen it has room for every column
        await until(pilot, lambda: len(models.table.columns) == len(COLUMNS))
        row = next(row for row in models._shown if row.name == "kitten")
        cells = [str(cell) for cell in models.table.get_row(row.guid)]
        assert cells[0] == "kitten" and "mha+mlp pre" in cells and "cats" in cells and "newborn" in cells


async def test_filter_sort_and_columns_that_fit(playground: Any, until: Any, model: str) -> None:
    async with playground(60, 20) as (app, pilot):
        models = await ready(app, pilot, until)
        everything = len(models._shown)
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: not models._shown)
        await pilot.press("escape")
        await until(pilot, lambda: len(models._shown) == everything and models.table.has_focus)
        before = models._sort
        await pilot.press("o", "O")
        assert models._sort == COLUMNS[(COLUMNS.index(before) + 1) % len(COLUMNS)]
        table = models.table
        assert sum(column.get_render_width(table) for column in table.ordered_columns) <= table.size.width
    rows = [dict.fromkeys(COLUMNS, "x" * 30)]
    assert list(fitting(rows, 1000)) == list(COLUMNS)
    assert set(fitting(rows, 10)) == {"name", "state", "val. loss"}


async def test_info_shows_everything_and_tensors_when_asked(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        models = await ready(app, pilot, until)
        models.table.move_cursor(row=[row.name for row in models._shown].index("kitten"))
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen).__name__ == "InfoScreen")
        await until(pilot, lambda: "validation loss" in app.screen.query_one("#facts", Lines).plain)
        assert "n_emb" in app.screen.query_one("#info-config", Lines).plain
        table = app.screen.query_one("#info-tensors")
        assert table.row_count == 0
        await pilot.press("3")
        await until(pilot, lambda: table.row_count > 5)
        await pilot.press("4")
        await until(pilot, lambda: model in app.screen.query_one("#info-files", Lines).plain)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)


async def test_delete_asks_lists_and_can_be_undone(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        models = await ready(app, pilot, until)
        path = app.workspace.path("model", model)
        models.table.move_cursor(row=[row.name for row in models._shown].index("kitten"))
        await pilot.press("d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        assert any(path.name in str(line.render()) for line in app.screen.query("Static"))
        await pilot.press("enter")  # the safe button has the focus
        await until(pilot, lambda: app.screen is app.playground)
        assert path.exists()
        await pilot.press("d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        await pilot.press("y")
        await until(pilot, lambda: not any(row.name == "kitten" for row in models._shown))
        assert not path.exists()
        await pilot.press("u")
        await until(pilot, lambda: any(row.name == "kitten" for row in models._shown))
        assert path.exists()


async def test_to_the_form_to_the_chat_and_to_the_curve(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        models = await ready(app, pilot, until)
        models.table.move_cursor(row=[row.name for row in models._shown].index("kitten"))
        await pilot.press("e")
        await until(pilot, lambda: app.playground.config.form.raw("n_emb") == "8")
        assert app.playground.current == "config"
        await pilot.press("f4", "w")
        await until(pilot, lambda: app.playground.training.view.status == "finished")
        assert app.playground.current == "training"
        await pilot.press("f4", "c")
        await until(pilot, lambda: app.playground.current == "chat" and app.playground.chat.guid == model)


async def test_a_broken_file_is_named_and_hides_nothing(playground: Any, until: Any, model: str) -> None:
    async with playground(120, 40) as (app, pilot):
        models = await ready(app, pilot, until)
        app.workspace.path("model", model).write_text("{broken")
        models.table.move_cursor(row=[row.name for row in models._shown].index("kitten"))
        backend._babies.clear()
        await pilot.press("c")
        await until(pilot, lambda: "JSON" in app.playground.chat.query_one("#pace").plain)
        assert any(row.name == "kitten" for row in models._shown)


async def test_the_baby_in_the_box_talks_at_once(until: Any, model: str, workspace: Any, home: Any,
                                                 monkeypatch: Any) -> None:
    monkeypatch.setattr("babytui.workspace_choice.BOX", workspace.root)
    app = PlaygroundApp(Workspace(home / "fresh"))
    async with app.run_test(size=(80, 24)) as pilot:
        chat = app.playground.chat
        await until(pilot, lambda: chat.baby is not None)
        assert chat.guid == "baby"
        await pilot.press(*"The", "enter")
        await until(pilot, lambda: chat.last_reply())
        await pilot.press("f4")
        await until(pilot, lambda: [row.name for row in app.playground.models._shown] == ["baby"])
        await pilot.press("d")
        await until(pilot, lambda: any("stays" in n.message for n in app._notifications))
        await pilot.press("enter")
        await until(pilot, lambda: "n_emb" in getattr(app.screen.query("#info-config").first(), "plain", "")
                    if app.screen.query("#info-config") else False)


def test_a_live_run_shows_its_size_and_its_last_loss(workspace: Workspace) -> None:
    guid = new_guid()
    folder = workspace.run_dir(guid)
    folder.mkdir(parents=True)
    plan = {"guid": guid, "name": "live", "config": {"n_ctx": 8, "n_steps": 10}, "created": 1.0}
    write_json(folder / "plan.json", plan)
    log = Journal(folder / "events.jsonl")
    told = [events.Start(step=0, config={}, parameters=1234, vocab_size=9, steps=10, tokens_per_step=8, train_tokens=90,
                         validation_tokens=10),
            events.Evaluation(step=2, train_loss=2.0, validation_loss=1.5, tokens=16, seconds=0.1)]
    for event in told:
        log.append(event.to_dict())
    log.close()
    with Lock(folder / "lock"):
        found = backend.rows(workspace)
    assert found is not None
    row = next(row for row in found[0] if row.guid == guid)
    assert (row.live, row.parameters, row.validation_loss, row.tokens) == (True, 1234, 1.5, 16)
