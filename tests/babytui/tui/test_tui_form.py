"""Config: stepping, validation in words, presets, the suggested rate, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from textual.events import Key

from babytui.actions import SHELL
from babytui.completion import Completer
from babytui.tui.widgets.fields import ChoiceField, FormButton, NumberField, SwitchField, stepped
from babytui.tui.widgets.lines import Lines
from engine.config import PARAMETERS, PRESETS, Config
from engine.errors import UsageError
from store.workspace import Workspace


@pytest.mark.parametrize(("text", "direction", "step", "low", "high", "whole", "words", "result"), [
    ("64", 1, "pow2", 1, 4096, True, (), "128"),
    ("65", 1, "pow2", 1, 4096, True, (), "128"),
    ("65", -1, "pow2", 1, 4096, True, (), "64"),
    ("64", -1, "pow2", 1, 4096, True, (), "32"),
    ("1", -1, "pow2", 1, 4096, True, (), "1"),
    ("4096", 1, "pow2", 1, 4096, True, (), "4096"),
    ("0.001", 1, "pow2", 0, 10, False, (), "0.002"),
    ("0.1", 1, 0.05, 0, 0.95, False, (), "0.15"),
    ("0.95", 1, 0.05, 0, 0.95, False, (), "0.95"),
    ("auto", 1, "pow2", 1, None, True, ("auto",), "1"),
    ("1", -1, "pow2", 1, None, True, ("auto",), "auto"),
    ("auto", -1, "pow2", 1, None, True, ("auto",), "auto"),
    ("rubbish", 1, 500, 0, None, True, (), "1"),
    ("nan", 1, "pow2", 1, 8, True, (), "1"),
    ("", -1, 1, 0, 4, True, (), "1"),
])
def test_stepping(text: str, direction: int, step: Any, low: Any, high: Any, whole: bool, words: Any,
                  result: str) -> None:
    assert stepped(text, direction, step, low, high, whole, words) == result


async def test_form_has_the_right_widget_for_every_parameter(playground: Any) -> None:
    async with playground() as (app, _pilot):
        fields = app.playground.config.form.fields
        kinds = {"choice": ChoiceField, "bool": SwitchField, "int": NumberField, "float": NumberField}
        for name, parameter in PARAMETERS.items():
            assert isinstance(fields[name], kinds[parameter.kind]), name


async def test_a_wrong_value_gets_a_sentence_under_its_field(playground: Any, until: Callable[..., Any]) -> None:
    async with playground(80, 24) as (app, pilot):
        form = app.playground.config.form
        await pilot.press("f2")
        form.fields["n_layers"].focus()
        await pilot.press("end", "x")
        await until(pilot, lambda: form.query(".problem"))
        assert "n_layers must be a whole number from 1 to 1024, not '2x'." in str(form.query_one(".problem").render())
        assert "-wrong" in form.fields["n_layers"].classes
        await pilot.press("f9")
        await pilot.pause()
        assert not list(app.workspace.runs.glob("*"))
        await pilot.press("backspace")
        await until(pilot, lambda: not form.query(".problem"))


async def test_values_that_contradict_each_other(playground: Any, until: Callable[..., Any]) -> None:
    async with playground() as (app, pilot):
        form = app.playground.config.form
        form.fields["head_size"].value = "64"
        form.fields["n_heads"].value = "5"
        problem = await until(pilot, lambda: list(form.query(".problem")))
        assert "n_heads 5 does not divide head_size 64; the nearest that does is 4." in str(problem[0].render())
        for key in ("ctrl+s", "f9"):  # they are neither saved nor trained
            form.fields["head_size"].focus()
            app.clear_notifications()
            await pilot.press(key)
            await until(pilot, lambda: any("n_heads 5 does not" in note.message for note in app._notifications))
            assert form.fields["n_heads"].has_focus and app.screen is app.playground
        assert not list(app.workspace.runs.glob("*"))


async def test_plus_and_minus_step_and_keep_the_preset_honest(playground: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        form = app.playground.config.form
        await pilot.press("f2")
        assert form.raw("preset") == "newborn"
        form.fields["n_layers"].focus()
        assert form.raw("n_layers") == "2"
        await pilot.press("plus")
        assert form.raw("n_layers") == "4"
        assert form.raw("preset") == "custom"
        await pilot.press("minus")
        assert form.raw("preset") == "newborn"
        form.fields["r_learn"].focus()
        await pilot.press("end", "ctrl+u", *"1e-4")
        assert form.raw("r_learn") == "1e-4"


async def test_a_key_with_alt_types_nothing(playground: Any, until: Callable[..., Any]) -> None:
    """Terminals send its letter with it. alt+o is a key of this pane."""
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f2")
        field = app.playground.config.form.fields["n_emb"]
        field.focus()
        await pilot.pause()
        app.post_message(Key("alt+o", "o"))
        await until(pilot, lambda: app.screen is not app.playground)
        await pilot.press("escape")
        assert field.value == str(PRESETS["newborn"]["n_emb"])


async def test_arrows_go_on_from_the_button(playground: Any, until: Callable[..., Any]) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f2")
        form = app.playground.config.form
        form.fields["text"].focus()
        await until(pilot, lambda: app.focused is form.fields["text"])
        await pilot.press("up")
        await until(pilot, lambda: isinstance(app.focused, FormButton))
        await pilot.press("down")
        await until(pilot, lambda: app.focused is form.fields["text"])


async def test_a_preset_fills_the_form(playground: Any, until: Callable[..., Any]) -> None:
    async with playground(80, 24) as (app, pilot):
        form = app.playground.config.form
        form.fields["preset"].value = "6m"
        await until(pilot, lambda: form.read()[0].get("n_ctx") == 16)
        values, wrong = form.read()
        assert not wrong and values["n_layers"] == PRESETS["6m"]["n_layers"]


async def test_what_is_read_late_does_not_undo_a_choice(playground: Any, until: Callable[..., Any]) -> None:
    """The threads that read the files may answer between a person's choice and its being dealt with."""
    async with playground(80, 24) as (app, pilot):
        config = app.playground.config
        config.form.fields["preset"].value = "6m"
        config.on_config_pane_remembered(config.Remembered({}, ("", {}), ""))
        config.on_config_pane_texts_found(config.TextsFound(["cats"], {"n_ctx": 32}))
        await until(pilot, lambda: config.form.read()[0]["n_ctx"] == PRESETS["6m"]["n_ctx"])
        assert config.form.raw("preset") == "6m" and config.form.raw("text") == "cats"


async def test_another_batch_size_suggests_a_rate(playground: Any, until: Callable[..., Any]) -> None:
    async with playground(80, 24) as (app, pilot):
        config = app.playground.config
        await pilot.press("f2")
        rate, batch = float(config.form.raw("r_learn")), int(config.form.raw("batch_size"))
        config.form.fields["batch_size"].focus()
        await pilot.press("plus")
        help_text = config.query_one("#help")
        await until(pilot, lambda: "is suggested" in " ".join(help_text.plain.split()))
        await pilot.press("f7")
        assert float(config.form.raw("r_learn")) == pytest.approx(rate * int(config.form.raw("batch_size")) / batch)
        assert "suggested" not in help_text.plain


async def test_the_cost_follows_the_form(playground: Any, until: Callable[..., Any]) -> None:
    async with playground() as (app, pilot):
        cost = app.playground.config.query_one("#cost")
        await until(pilot, lambda: "parameters" in cost.plain and "≈" in cost.plain)
        before = cost.plain
        app.playground.config.form.fields["n_emb"].value = "128"
        await until(pilot, lambda: cost.plain != before and "parameters" in cost.plain)
        for name in ("model file", "memory", "FLOPs/step", "needs", "steps", "time here"):
            assert name in cost.plain


async def test_the_list_of_a_choice(playground: Any, until: Callable[..., Any]) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f2")
        form = app.playground.config.form
        form.fields["c_sequence"].focus()
        await pilot.press("enter")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press(*"post", "enter")
        await until(pilot, lambda: app.screen is app.playground)
        assert form.raw("c_sequence") == "post"


async def test_the_form_as_a_command_line(playground: Any, until: Callable[..., Any]) -> None:
    async with playground(80, 24) as (app, pilot):
        form = app.playground.config.form
        form.fields["name"].value = "my baby"
        await pilot.pause()
        app.did("pause", {"guid": "abc"})
        await pilot.press("f4", "Y")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.screen is app.playground)
        line = app.clipboard
        assert line.startswith("babytui train") and "--set n_layers=2" in line and "--name 'my baby'" in line


# --- saved configurations, those of models, and what the last run had -------------------------------------------------

async def form(app: Any, pilot: Any, until: Any) -> Any:
    await pilot.press("f2")
    config = app.playground.config
    await until(pilot, lambda: config._cost is not None and config._last[0])
    return config


async def test_what_differs_from_the_last_run_is_marked(playground: Any, until: Any, model: str) -> None:
    async with playground(120, 40) as (app, pilot):
        config = await form(app, pilot, until)
        assert config._last[0] == "kitten"
        config.load_values(app.workspace.entry(model).config, "kitten")
        await until(pilot, lambda: config.note == "")
        field = config.form.fields["n_emb"]
        field.focus()
        await pilot.press("plus")
        await until(pilot, lambda: config.note == "1 not as in kitten")
        row = "".join(segment.text for segment in field.render_lines(field.outer_size.region)[0])
        assert row.split() == ["16", "was", "8", "-", "+"]
        await until(pilot, lambda: "had 8: F8 takes it" in " ".join(
            app.screen.query_one("#help", Lines).plain.split()))
        config.form.fields["c_shuffle"].focus()
        await pilot.press("plus")
        await until(pilot, lambda: config.note.startswith("2 not"))
        assert "was off" in config.form.fields["c_shuffle"].render().plain
        await pilot.press("f8")
        await until(pilot, lambda: config.note.startswith("1 not"))
        field.focus()
        await pilot.press("f8")
        await until(pilot, lambda: config.note == "" and field.value == "8")


async def test_a_configuration_is_saved_and_found_again(playground: Any, until: Any, model: str) -> None:
    async with playground(80, 24) as (app, pilot):
        config = await form(app, pilot, until)
        field = config.form.fields["n_emb"]
        field.focus()
        field.value = "96"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press(*"6m", "enter")
        await until(pilot, lambda: "preset already" in app.screen.query_one("#ask-words", Lines).plain)
        await pilot.press("backspace", "backspace", *"mine", "enter")
        await until(pilot, lambda: config.form.raw("preset") == "mine")
        assert app.workspace.preset("mine")["n_emb"] == 96
        assert "mine" in config.form.fields["preset"].options
        config.form.fields["preset"].value = "3m"
        await until(pilot, lambda: field.value == "128")
        config.form.fields["preset"].value = "mine"
        await until(pilot, lambda: field.value == "96")
        field.value = "97"
        await until(pilot, lambda: config.form.raw("preset") == "custom")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: type(app.screen).__name__ == "AskScreen")
        await pilot.press(*"mine", "enter")
        await until(pilot, lambda: type(app.screen).__name__ == "ConfirmScreen")  # it would be replaced
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert app.workspace.preset("mine")["n_emb"] == 96
        await pilot.press("alt+o")
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseScreen")
        await pilot.press(*"kitt", "enter")
        await until(pilot, lambda: field.value == "8")


@pytest.mark.slow
def test_a_saved_configuration_is_a_preset_of_the_command_line(home: Any) -> None:
    workspace = Workspace(home / "w").ensure()
    path = workspace.save_preset("odd one", {**Config.read({"n_emb": 24}).values})
    assert path.parent == workspace.settings / "presets" and workspace.presets() == {"odd one": path}
    words = [sys.executable, "-m", "babytui", "estimate", "--workspace", str(workspace.root), "--json", "--preset"]
    found = json.loads(subprocess.run([*words, "odd one"], capture_output=True, text=True, check=True).stdout)
    small = json.loads(subprocess.run([*words, "newborn", "--set", "n_emb=24"], capture_output=True, text=True,
                                      check=True).stdout)
    assert found.keys() == small.keys() and found["parameters"] != 0
    wrong = subprocess.run([*words, "odd"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "newborn" in wrong.stderr and "odd one." in wrong.stderr
    assert any("odd one" in one.text for one in Completer(workspace, SHELL).complete("train --preset o", 16))
    path.write_text('{"n_emb": "wide"}')
    broken = subprocess.run([*words, "odd one"], capture_output=True, text=True, check=False)
    assert broken.returncode == 1 and "odd one.json" in broken.stderr and broken.stderr.count("\n") == 1
    for name in ("../x", "a/b", ".hidden", ""):
        with pytest.raises(UsageError):
            workspace.save_preset(name, {})
    doctor = subprocess.run([sys.executable, "-m", "babytui", "doctor", "--workspace", str(workspace.root)],
                            capture_output=True, text=True, check=False)
    assert "not ours" not in doctor.stdout + doctor.stderr


async def test_a_full_field_says_so_and_does_not_ring(playground: Any, until: Callable[..., Any]) -> None:
    from babytui.tui.widgets.fields import NumberField as Field

    async with playground(80, 24) as (app, pilot):
        rung: list[int] = []
        app.bell = lambda: rung.append(1)
        await pilot.press("f2")
        field = app.playground.config.form.query(Field).first()
        before = field.value
        field.insert_text_at_cursor("1" * (field.max_length + 1))
        await until(pilot, lambda: any("24 characters at most" in note.message for note in app._notifications))
        assert field.value == before and not rung
