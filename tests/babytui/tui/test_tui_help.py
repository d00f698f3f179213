"""Help: about where one is, from the registries, found by typing, with the keys that hold now."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from babytui import actions
from babytui.tui import guide
from babytui.tui.bindings import ids, keymap
from babytui.tui.widgets.lines import Lines
from engine import registry
from engine.config import PARAMETERS


@pytest.fixture(autouse=True)
def _own_keys() -> Any:
    yield
    keymap({})


def text(sections: list[guide.Section], width: int = 100, wanted: str = "") -> str:
    return "\n".join("".join(part for part, _ in line) for line in guide.lines(sections, width, wanted))


async def helped(app: Any, pilot: Any, until: Any, key: str = "f1") -> str:
    await pilot.press(key)
    await until(pilot, lambda: type(app.screen).__name__ == "HelpScreen" and app.screen.query_one(Lines).plain)
    return app.screen.query_one("#help-lines", Lines).plain


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_is_told_whole(name):
    parameter, told = PARAMETERS[name], text(guide.parameter(name), 1000)
    for part in (parameter.help, parameter.allowed):
        assert part in told
    for what in ("size", "speed", "quality"):
        assert (getattr(parameter, what) in told) or getattr(parameter, what) == "none"


@pytest.mark.parametrize(("name", "kind"), [("c_attention", registry.attention), ("c_network", registry.network)])
def test_every_variant_has_its_equation_source_and_cost(name, kind):
    import importlib

    sections = guide.parameter(name, "swi" if name == "c_network" else "gla")
    assert sections[1].title.endswith(", the present one")
    assert {s.title.removesuffix(", the present one") for s in sections[1:]} == set(kind.names())
    for section in sections[1:]:
        doc = importlib.import_module(f"{kind.package}.{section.title.split(',')[0]}").__doc__ or ""
        told = " ".join(row.text for row in section.rows)
        assert told.split() == doc.split()  # nothing is left out
        assert any(row.kind == guide.FORMULA for row in section.rows)
        assert "FLOPs" in told and "arameters" in told


def test_every_key_of_every_place_is_told():
    told = [guide.everywhere(), *guide.others([])]
    for id_, (node, default, action) in ids().items():
        if default:
            place = guide.everywhere() if guide.place_of(node) == "everywhere" else guide.place(node)
            assert any(row.text == action.help for row in place.rows), id_
            assert any(section.title == place.title for section in told), id_


@pytest.mark.parametrize("width", [24, 50, 72, 104])
def test_no_line_is_wider_than_its_place(width):
    sections = [*guide.parameter("c_attention"), *guide.parameter("r_learn"), guide.everywhere(), *guide.others([])]
    for line in guide.lines(sections, width):
        assert sum(cell_len(part) for part, _ in line) <= width, line


async def test_the_parameter_under_the_cursor_comes_first(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f2")
        await until(pilot, lambda: app.focused is not None and app.focused.name == "text")
        app.playground.config.form.fields["c_attention"].focus()
        await until(pilot, lambda: app.focused.name == "c_attention")
        told = await helped(app, pilot, until)
        assert told.startswith("c_attention\n") and "Multi-head attention" in told and "softmax" in told
        assert told.index("c_attention") < told.index("\nConfig\n") < told.index("\nEverywhere\n")
        await pilot.press("f1")
        await until(pilot, lambda: app.screen is app.playground)


async def test_where_one_is_comes_first_and_typing_finds(playground: Any, until: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f4")
        await until(pilot, lambda: app.playground.query_one("#models").has_focus_within)
        told = await helped(app, pilot, until, "question_mark")
        assert told.startswith("Models\n") and "move models to the trash" in told
        await pilot.press(*"let wait")
        await until(pilot, lambda: len(app.screen.query_one("#help-lines", Lines).plain.splitlines()) <= 4)
        found = app.screen.query_one("#help-lines", Lines).plain
        assert actions.find("pause").help in found and "Training" in found
        await pilot.press(*" qqq")
        await until(pilot, lambda: "Nothing here says" in app.screen.query_one("#help-lines", Lines).plain)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen.query_one("#help-lines", Lines).plain == told)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)


async def test_a_dialog_has_help_of_its_own(playground: Any, until: Any, home: Any) -> None:
    async with playground(80, 24) as (app, pilot):
        app.action_settings()
        await until(pilot, lambda: type(app.screen).__name__ == "SettingsScreen" and app.screen.focused is not None)
        settings_screen = app.screen
        told = await helped(app, pilot, until)
        assert told.startswith("theme\n") and "$BABYTUI_THEME" in told and "\nSettings\n" in told
        assert "focus next" not in told and "copy selected" not in told
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is settings_screen)


async def test_help_names_the_keys_of_the_person(playground: Any, until: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("BABYTUI_KEYS", "pause=P")
    async with playground(80, 24) as (app, pilot):
        await pilot.press("f3")
        told = await helped(app, pilot, until)
        assert any(line.split()[:1] == ["P"] and actions.find("pause").help in line for line in told.splitlines())
