"""Models: the table, sorting, filtering, info, delete and undo, and broken files."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from babytui import runs
from babytui.tui import backend
from babytui.tui.app import PlaygroundApp
from babytui.tui.feed import Feed
from babytui.tui.panes.model_table import COLUMNS, fitting
from babytui.tui.widgets.bars import TopBar
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.lines import Lines
from engine import events
from engine.config import Config
from store import archive, importing
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
        await pilot.press("enter")
        for key in ("x", "d", "c", "n", "f", "w", "v", "a", "equals_sign"):  # there is nothing that it means
            app.clear_notifications()
            await pilot.press(key)
            await until(pilot, lambda: any("the filter 'zzz'" in note.message for note in app._notifications))
            assert app.screen is app.playground
        await pilot.press("escape")
        await until(pilot, lambda: len(models._shown) == everything and models.table.has_focus)
        before = models._sort
        await pilot.press("o", "O")
        assert models._sort == COLUMNS[(COLUMNS.index(before) + 1) % len(COLUMNS)]
        table = models.table
        assert sum(column.get_render_width(table) for column in table.ordered_columns) <= table.size.width
        await pilot.press("end")
        assert table.cursor_row == table.row_count - 1 > 0
        await pilot.press("home")
        assert table.cursor_row == 0
    rows = [dict.fromkeys(COLUMNS, "x" * 30)]
    assert list(fitting(rows, 1000)) == list(COLUMNS)
    assert set(fitting(rows, 10)) == {"name", "state", "val. loss"}
    assert set(fitting(rows, 10, "steps")) == {"name", "state", "val. loss", "steps"}


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
        await pilot.press("2")
        assert "steps" in app.screen.query_one("#info-report", Lines).plain
        await pilot.press("3")
        assert not app.screen.query_one(LossChart).curve.empty
        await pilot.press("4")
        assert "after training" in app.screen.query_one("#info-replies", Lines).plain
        await pilot.press("5")
        await until(pilot, lambda: table.row_count > 5)
        await pilot.press("6")
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


async def test_what_was_deleted_before_the_app_was_opened_comes_back(playground: Any, until: Any, model: str,
                                                                    workspace: Workspace) -> None:
    workspace.delete(model)
    async with playground(80, 24) as (app, pilot):
        models = app.playground.models
        await pilot.press("f4")
        await until(pilot, lambda: models.table.has_focus)
        await pilot.press("u")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        (line,) = app.screen._options
        assert line.endswith(f"kitten {model[:8]}")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert not workspace.entries()
        await pilot.press("u")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press("enter")
        await until(pilot, lambda: any(row.name == "kitten" for row in models._shown))
        assert workspace.entry("kitten").has_model
        await pilot.press("u")
        await until(pilot, lambda: any("trash is empty" in note.message for note in app._notifications))


async def test_undo_waits_for_a_deletion_that_is_under_way(playground: Any, until: Any, model: str,
                                                           workspace: Workspace, monkeypatch: Any) -> None:
    goes_on, moved = threading.Event(), backend.delete
    monkeypatch.setattr(backend, "delete", lambda *given: (goes_on.wait(60), moved(*given))[1])
    async with playground(80, 24) as (app, pilot):
        models = await ready(app, pilot, until)
        models.table.move_cursor(row=[row.name for row in models._shown].index("kitten"))
        await pilot.press("d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        await pilot.press("y")
        await until(pilot, lambda: app.screen is app.playground)
        await pilot.press("u")
        assert workspace.entry("kitten").has_model
        goes_on.set()
        await until(pilot, lambda: any("is back" in note.message for note in app._notifications))
        assert workspace.entry("kitten").has_model


async def test_a_live_run_is_stopped_and_deleted_when_told(playground: Any, until: Any, workspace: Workspace) -> None:
    run = runs.start(workspace, Config.read({"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8,
                                             "batch_size": 4, "n_steps": 10_000_000}), ["cats"], name="runner")
    async with playground(80, 24) as (app, pilot):
        models = app.playground.models
        await pilot.press("f4")
        await until(pilot, lambda: models.table.has_focus and any(row.live for row in models._shown))
        models.table.move_cursor(row=[row.name for row in models._shown].index("runner"))
        await pilot.press("d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        assert any("still training" in str(line.render()) for line in app.screen.query("Static"))
        assert "Stop and delete" in str(app.screen.query_one("#yes").label)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert run.alive
        await pilot.press("d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        await pilot.press("y")
        await until(pilot, lambda: not run.dir.exists())
        await until(pilot, lambda: not any(row.name == "runner" for row in models._shown))
        await pilot.press("u")
        await until(pilot, lambda: any(row.name == "runner" for row in models._shown))
        assert run.status() == "stopped" and workspace.entry("runner").has_model


async def test_a_deleted_live_run_is_told_of_once_and_called_so(playground: Any, until: Any,
                                                                workspace: Workspace) -> None:
    runs.start(workspace, Config.read({"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8,
                                       "batch_size": 4, "n_steps": 10_000_000}), ["cats"], name="runner")
    async with playground(120, 40) as (app, pilot):
        models, training, told = app.playground.models, app.playground.training, []
        app.notify = lambda text, **_: told.append(text)
        await until(pilot, lambda: training.view.status == "running" and any(row.live for row in models._shown))
        models.delete([next(row for row in models._shown if row.live)])
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        await pilot.press("y")
        await until(pilot, lambda: "runner (deleted)" in str(training.border_title))
        await until(pilot, lambda: any("was deleted" in text for text in told))
        await pilot.pause(0.5)  # in which it could be told again
        assert [text for text in told if "was deleted" in text or "can talk" in text] == [
            "runner was deleted; u brings it back."]
        models.action_undelete()
        await until(pilot, lambda: "runner (stopped)" in str(training.border_title))


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
        backend.models._babies.clear()
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


def test_whoever_watches_a_run_that_is_deleted_is_told_so(workspace: Workspace) -> None:
    told: list[Any] = []
    Feed(runs.Run(workspace, new_guid()), 1, told.append).follow()
    assert [message.delta.status for message in told] == ["deleted"]


# --- marks, filter, names, notes, archives ----------------------------------------------------------------------------

async def three(app: Any, pilot: Any, until: Any, model: str) -> Any:
    """Kitten, a copy of it and the baby that ships, by name."""
    archive.write(app.workspace, model, app.workspace.root / "k.zip")
    importing.bring(app.workspace, app.workspace.root / "k.zip")
    models = await ready(app, pilot, until)
    models.scan(force=True)
    await until(pilot, lambda: len(models._shown) == 3)
    models._sort, models._reverse = "name", False
    models._draw()
    assert [row.name for row in models._shown] == ["baby", "kitten", "kitten 2"]
    return models


async def test_several_are_deleted_and_come_back_together(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        models = await three(app, pilot, until, model)
        models.table.move_cursor(row=0)
        await pilot.press("space", "space", "space", "d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        said = " ".join(str(widget.render()) for widget in app.screen.query("Static"))
        assert "The baby that ships stays" in said and said.count(f"model_{model}.json") == 1
        assert "kitten 2," in said and app.screen._title.startswith("Delete 2 models")
        await pilot.press("y")
        await until(pilot, lambda: [row.name for row in models._shown] == ["baby"])
        assert not app.workspace.entries() and "--stop" not in app.done[0] and model in app.done[0]
        await pilot.press("u")
        await until(pilot, lambda: len(models._shown) == 3)
        assert len(app.workspace.entries()) == 2


async def test_marks_and_filters(playground: Any, until: Any, model: str) -> None:
    async with playground(120, 40) as (app, pilot):
        models = await three(app, pilot, until, model)
        models.table.move_cursor(row=0)
        await pilot.press("space")
        cells = [str(models.table.get_row(row.guid)[0]) for row in models._shown]
        assert cells[0] == "● baby" and cells[1] == "  kitten" and "1 marked" in models.note
        words = app.screen.query_one("#filter-words", Lines)
        both = ["kitten", "kitten 2"]
        for typed, names in [("^kit", both), ("KIT 2$|none", ["kitten 2"]), ("-baby", both), ("params>100k", ["baby"]),
                             ("params<100k", both), ("cats", both), ("val<0.9 mha", ["baby"]), ("steps=12", both)]:
            await pilot.press("slash")
            app.screen.query_one("#filter").value = typed
            await pilot.pause()
            await until(pilot, lambda names=names: [row.name for row in models._shown] == names and not words.display)
        for typed, said in [("[a", "not a regular expression"), ("(a+)+b", "for ever"), ("val<..", "not a number")]:
            app.screen.query_one("#filter").value = typed
            await until(pilot, lambda said=said: said in words.plain and words.display)
        await pilot.press("escape")
        assert len(models._shown) == 3 and not words.display and models.marked
        await pilot.press("escape")
        assert not models.marked


async def test_sorted_by_a_chosen_column(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        models = await three(app, pilot, until, model)
        await pilot.press("s")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press(*"train", "enter")
        await until(pilot, lambda: app.screen is app.playground)
        assert models._sort == "train loss" and models._shown[0].shipped
        await pilot.press("O")
        assert not models._shown[0].shipped


async def test_rename_and_note(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        models = await three(app, pilot, until, model)
        models.table.move_cursor(row=1)
        await pilot.press("n")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press(*"/x", "enter")
        await until(pilot, lambda: "contains '/'" in app.screen.query_one("#ask-words", Lines).plain)
        await pilot.press("backspace", "backspace", "s", "enter")
        await until(pilot, lambda: app.workspace.entry(model).name == "kittens")
        await until(pilot, lambda: "kittens" in [row.name for row in models._shown])
        await pilot.press("a")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press(*"good", "ctrl+j", *"one", "enter")
        await until(pilot, lambda: app.workspace.entry(model).note == "good\none")
        assert any("annotate" in line for line in app.done) and any("rename" in line for line in app.done)
        await until(pilot, lambda: models.chosen.note)
        await pilot.press("n")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press("ctrl+u", *"kitten", "space", "2", "enter")  # taken
        await until(pilot, lambda: any("already the name" in note.message for note in app._notifications))
        models.table.move_cursor(row=0)
        await pilot.press("n")
        await until(pilot, lambda: any("stays as it is" in note.message for note in app._notifications))


async def test_a_new_name_is_seen_wherever_the_old_one_was(playground: Any, until: Any, model: str) -> None:
    """Whoever gave it; the chat signs with it, and the curve is called so."""
    async with playground(120, 40) as (app, pilot):
        chat, training, top = app.playground.chat, app.playground.training, app.playground.query_one(TopBar)
        await until(pilot, lambda: chat.guid == model and training.view.guid == model and training.view.status)
        await until(pilot, lambda: app.playground.models.row(model))
        app.workspace.rename(model, "tabby")
        await until(pilot, lambda: "tabby" in str(chat.border_title) and "tabby" in str(training.border_title))
        await until(pilot, lambda: "tabby" in top.plain)
        assert chat.baby.name == "tabby" and training._curve.name == "tabby"
        assert "kitten" not in str(chat.border_title) + str(training.border_title) + top.plain
        app.workspace.rename(model, "")
        await until(pilot, lambda: model[:8] in str(chat.border_title) and model[:8] in str(training.border_title))


async def test_export(playground: Any, until: Any, model: str, monkeypatch: Any, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    async with playground(80, 24) as (app, pilot):
        models = await three(app, pilot, until, model)
        models.table.move_cursor(row=1)
        for _ in range(2):
            await pilot.press("x")
            await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
            await pilot.press("enter")
        path = tmp_path / f"kitten-{model[:8]}.zip"
        await until(pilot, lambda: any("is there already" in note.message for note in app._notifications))
        await until(pilot, lambda: any(path.name in note.message for note in app._notifications))
        (done,) = importing.bring(Workspace(tmp_path / "other"), path)
        assert done.guid == model and app.done[0].startswith(f"babytui export --to {path}")
        await pilot.press("space", "space", "x")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        path.unlink()
        await pilot.press("enter")
        await until(pilot, lambda: len(list(tmp_path.glob("*.zip"))) == 2)


@pytest.mark.slow
async def test_a_live_run_is_updated_in_place(playground: Any, until: Any, workspace: Workspace) -> None:
    run = runs.start(workspace, Config.read({"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8,
                                             "batch_size": 4, "n_steps": 10_000_000}), ["cats"], name="runner")
    try:
        async with playground(200, 60) as (app, pilot):
            models = app.playground.models
            await pilot.press("f4", "f6")
            await until(pilot, lambda: any(row.live and row.steps for row in models._shown))
            first = models.row(run.guid).steps
            models.scan()
            await until(pilot, lambda: models.scan() or models.row(run.guid).steps > first)
            row = models.row(run.guid)
            cell = str(models.table.get_cell(run.guid, "steps"))
            assert cell == f"{row.steps:,}" and row.train_loss is not None and row.state.startswith("training")
    finally:
        run.command("stop")
        run.wait(60)


@pytest.mark.slow
async def test_from_info_everything_can_be_reached(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        models = await three(app, pilot, until, model)
        models.table.move_cursor(row=1)

        async def info() -> Any:
            await pilot.press("i")
            await until(pilot, lambda: type(app.screen).__name__ == "InfoScreen")
            await until(pilot, lambda: "validation loss" in app.screen.query_one("#facts", Lines).plain)
            return app.screen.query_one("#facts", Lines)

        facts = await info()
        await pilot.press("a")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press(*"mine", "enter")
        await until(pilot, lambda: "mine" in facts.plain)
        await pilot.press("n")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press("s", "enter")
        await until(pilot, lambda: "kittens" in str(app.screen.query_one(".dialog").border_title))
        await pilot.press("x")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press("escape", "equals_sign")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        await info()
        await pilot.press("d")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        await info()
        await pilot.press("w")
        await until(pilot, lambda: app.playground.current == "training" and app.screen is app.playground)
        await pilot.press("f4")
        await info()
        await pilot.press("f")
        await until(pilot, lambda: type(app.screen).__name__ == "FinetuneScreen")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        await info()
        await pilot.press("c")
        await until(pilot, lambda: app.playground.current == "chat" and app.playground.chat.baby is not None
                    and app.playground.chat.baby.guid == model)
