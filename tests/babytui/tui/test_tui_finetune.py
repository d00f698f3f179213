"""The form that lets a model learn another text: what it costs as it is typed, mistakes in their place, the run."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from textual.widgets import Button

from babytui import runs
from babytui.cli import parser
from babytui.tui.widgets.lines import Lines


async def opened(app: Any, pilot: Any, until: Any, name: str = "kitten") -> Any:
    """The form of a model, with its cost."""
    models = app.playground.models
    await pilot.press("f4")
    await until(pilot, lambda: models.table.has_focus and any(row.name == name for row in models._shown))
    models.table.move_cursor(row=[row.name for row in models._shown].index(name))
    await pilot.press("f")
    await until(pilot, lambda: type(app.screen).__name__ == "FinetuneScreen")
    await until(pilot, lambda: "parameters" in said(app.screen))
    return app.screen


def said(screen: Any) -> str:
    return screen.query_one("#finetune-cost", Lines).plain


def problems(screen: Any) -> list[str]:
    return [str(line.render()) for line in screen.query(".problem")]


async def go_to(screen: Any, pilot: Any, name: str) -> None:
    screen.form.fields[name].focus()
    await pilot.pause()


async def test_from_the_table_to_the_curve(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        screen = await opened(app, pilot, until)
        assert "all trained" in said(screen) and "none" in said(screen).splitlines()[-1]
        fields = screen.form.fields
        assert fields["text"].value == "cats" and fields["name"].placeholder == "kitten-cats"
        assert 30 <= int(fields["n_steps"].placeholder) <= 1000 and float(fields["r_learn"].placeholder) > 0
        await go_to(screen, pilot, "rank")
        await pilot.press("plus", "plus")
        await go_to(screen, pilot, "target")
        await pilot.press(*"*_q_weight")
        # 8 × 2 and 2 × 8; slow keys let the cost of a lower rank, or of a part of the pattern, be shown before
        await until(pilot, lambda: " 32 trained" in said(screen))
        assert fields["rank"].value == "2" and "full training" in said(screen)
        await go_to(screen, pilot, "n_steps")
        await pilot.press("9", "down", "down", *"clever")
        await pilot.press("f9")
        await until(pilot, lambda: app.screen is app.playground)
        training = app.playground.training
        await until(pilot, lambda: training.view.guid == model + "_finetuned" and training.view.status == "finished")
        assert training.view.done == 9
        assert "clever from kitten" in training.note and app.playground.current == "training"
        await pilot.press("f4")
        await until(pilot, lambda: any(row.name == "clever" and row.has_model for row in app.playground.models._shown))
        models = app.playground.models
        models.table.move_cursor(row=[row.name for row in models._shown].index("clever"))
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen).__name__ == "InfoScreen")
        await until(pilot, lambda: "kitten" in app.screen.query_one("#facts", Lines).plain)
        assert "rank 2 on *_q_weight" in app.screen.query_one("#facts", Lines).plain


MISTAKES = [
    ("rank", "9", "rank 9"), ("rank", "x", "whole number"), ("n_steps", "0", "at least 1"),
    ("r_learn", "99", "0 to 10"), ("freeze", "*", "frozen"), ("freeze", "wte*, nothing*", "nothing*"),
    ("target", "*", "rank"), ("name", "kitten", "already"), ("prompt", "Ω", "Ω"),
]


async def test_a_mistake_stands_under_its_field(playground: Any, until: Any, model: str) -> None:
    async with playground(60, 20) as (app, pilot):
        screen = await opened(app, pilot, until)
        for field, typed, sentence in MISTAKES:
            await go_to(screen, pilot, field)
            await pilot.press("end", *("backspace" for _ in str(screen.form.raw(field))), *typed)
            await until(pilot, lambda says=sentence: problems(screen) and says in problems(screen)[0])
            rows = list(screen.form.children)
            assert rows[rows.index(screen.form.fields[field]) + 1].has_class("problem")
            app.clear_notifications()
            await pilot.press("f9")
            await until(pilot, lambda: not screen._starting)
            await until(pilot, lambda says=sentence: any(says in note.message for note in app._notifications))
            assert screen.form.fields[field].has_focus
            assert app.screen is screen and problems(screen)
            await pilot.press("end", *("backspace" for _ in typed))
            await until(pilot, lambda: not problems(screen) and "parameters" in said(screen))
        assert len(runs.all_runs(app.workspace)) == 1


@pytest.mark.slow
async def test_everything_can_be_seen_on_a_small_terminal(playground: Any, until: Any, model: str) -> None:
    async with playground(60, 20) as (app, pilot):
        screen = await opened(app, pilot, until)
        form = screen.form
        for name in form.fields:
            assert form.region.contains_region(form.fields[name].region), name
            await pilot.press("down")
        assert app.screen.region.contains_region(screen.query_one("#start").region)
        assert all(len(line) <= 54 for line in said(screen).splitlines())
        for name in ("text", *form.fields):
            await go_to(screen, pilot, name)
            help_ = screen.query_one("#finetune-help", Lines)
            assert help_.plain and help_.size.height >= len(help_.lines)


async def test_the_same_as_a_command(playground: Any, until: Any, model: str, monkeypatch: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        screen = await opened(app, pilot, until)
        copied: list[str] = []
        monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
        await go_to(screen, pilot, "freeze")
        await pilot.press(*"wte* wpe*")
        await go_to(screen, pilot, "r_learn")
        await pilot.press(*"0.5", "f8")
        given = parser.parse(shlex.split(copied[0])[1:])
        assert (given.guid, given.input, given.set, given.freeze) == (model, ["cats"], ["r_learn=0.5"],
                                                                      ["wte*", "wpe*"])
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)


async def test_the_baby_that_ships_and_a_text_of_other_symbols(playground: Any, until: Any, model: str,
                                                               workspace: Any) -> None:
    (workspace.inputs / "greek.txt").write_text("αβγδε\n" * 60 + "\x1b", encoding="utf-8")
    async with playground(160, 45) as (app, pilot):
        screen = await opened(app, pilot, until, "baby")
        screen.form.fields["text"].value = "greek"
        await until(pilot, lambda: "␛ α β γ δ ε" in said(screen))
        assert screen.query_one("#start", Button).label.plain == "Start (F9)"  # type: ignore[union-attr]
        (workspace.inputs / "greek.txt").write_text("αβγδε" * 60, encoding="utf-8")
        await go_to(screen, pilot, "n_steps")
        await pilot.press("5")
        await until(pilot, lambda: "knows no symbol of greek" in " ".join(said(screen).split()))


async def test_a_run_without_a_model_is_not_a_base(playground: Any, until: Any, model: str, workspace: Any) -> None:
    workspace.path("model", model).unlink()
    async with playground(80, 24) as (app, pilot):
        models = app.playground.models
        await pilot.press("f4")
        await until(pilot, lambda: any(row.name == "kitten" for row in models._shown))
        models.table.move_cursor(row=[row.name for row in models._shown].index("kitten"))
        await pilot.press("f")
        await until(pilot, lambda: any("no model yet" in note.message for note in app._notifications))
        assert app.screen is app.playground
