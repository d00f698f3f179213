"""The page of settings: what is changed holds at once and is kept; keys by the names of actions; vim's keys."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import DataTable

from babytui import settings
from babytui.tui import bindings
from babytui.tui.bindings import clashes, ids, key_of, keymap, keys_of, meet
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.lines import Lines


@pytest.fixture(autouse=True)
def _own_keys() -> Any:
    yield
    keymap({})


@pytest.fixture
def file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of an empty home; nothing in the environment."""
    monkeypatch.delenv("BABYTUI_THEME", raising=False)
    monkeypatch.setenv("COLORTERM", "truecolor")
    return settings.path()


def held(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text()) if file.exists() else {}


async def opened(app: Any, pilot: Any, until: Any, *keys: str) -> Any:
    await pilot.press("f4")
    await until(pilot, lambda: app.playground.query_one("#models").has_focus_within)
    await pilot.press("comma")
    await until(pilot, lambda: type(app.screen).__name__ == "SettingsScreen" and app.screen.focused is not None)
    await pilot.press(*keys)
    return app.screen


async def test_what_is_changed_holds_at_once_and_is_kept(playground: Any, until: Any, file: Path) -> None:
    async with playground(80, 24) as (app, pilot):
        screen = await opened(app, pilot, until)
        assert screen.focused.name == "theme"
        await pilot.press("right", "right")
        await until(pilot, lambda: app.theme == "light")
        await until(pilot, lambda: held(file).get("theme") == "light")
        for name, value in {"sampler.temperature": "0.3", "chart.axis": "tokens", "chart.smoothing": "0.9"}.items():
            screen.query_one("#setting-rows").fields[name].value = value
        await until(pilot, lambda: app.playground.chat.query_one("#sampling").fields["temperature"].value == "0.3")
        chart = app.playground.query_one(LossChart)
        await until(pilot, lambda: (chart.options.by, chart.options.smoothing) == ("tokens", 0.9))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert held(file) == {"theme": "light", "sampler": {"temperature": 0.3},
                              "chart": {"axis": "tokens", "smoothing": 0.9}}
    async with playground(80, 24) as (app, _):
        assert app.theme == "light"
        assert app.playground.chat.query_one("#sampling").settings()[0]["temperature"] == 0.3
        assert app.playground.query_one(LossChart).options.by == "tokens"


async def test_a_wrong_value_is_told_beside_its_field_and_not_kept(playground: Any, until: Any, file: Path) -> None:
    async with playground(80, 24) as (app, pilot):
        rows = (await opened(app, pilot, until)).query_one("#setting-rows")
        rows.fields["sampler.top_p"].value = "7"
        await until(pilot, lambda: rows.query(".problem"))
        assert "from 0 to 1" in str(rows.query_one(".problem").render())
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert not file.exists()


async def test_a_file_that_cannot_be_written_is_told_and_the_setting_holds(playground: Any, until: Any,
                                                                          file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("]oops\n")
    async with playground(80, 24) as (app, pilot):
        await until(pilot, lambda: any("line 1" in n.message for n in app._notifications))
        await opened(app, pilot, until, "right", "right")
        await until(pilot, lambda: any("holds until you quit" in n.message for n in app._notifications))
        assert app.theme == "light" and file.read_text() == "]oops\n"


@pytest.mark.slow
async def test_what_is_changed_outside_holds_in_the_open_app(playground: Any, until: Any, file: Path) -> None:
    async with playground(120, 40) as (app, pilot):
        app.keep("theme", "dark")
        file.write_text('theme = "light"\nvim = true\nmouse = 7\n[keys]\nmaximise = "f13"\n[sampler]\ntop_k = 9\n')
        await until(pilot, lambda: app.theme == "light")
        assert app.chosen["vim"] and app.chosen["sampler.top_k"] == 9 and keys_of("maximise") == ["F13"]
        assert app.playground.chat.query_one("#sampling").fields["top_k"].value == "9"
        assert any("line 3" in n.message for n in app._notifications)
        await pilot.press("f13")
        await until(pilot, lambda: app.playground.maximised)
        app.apply("theme", "mono")  # for this session only
        file.write_text('theme = "light"\nvim = false\n')
        await until(pilot, lambda: not app.chosen["vim"])
        assert app.theme == "mono" and keys_of("maximise")[0] == "F6"


@pytest.mark.slow
async def test_the_page_fits(playground: Any, until: Any, file: Path) -> None:
    async with playground(60, 20) as (app, pilot):
        screen = await opened(app, pilot, until)
        for width, height in ((60, 20), (80, 24), (160, 45), (60, 20)):
            await pilot.resize_terminal(width, height)
            await until(pilot, lambda size=(width, height): screen.size == size)
            box = screen.query_one(".dialog").region
            assert box.x >= 0 and box.right <= width and box.bottom <= height
            help = screen.query_one("#setting-help", Lines)
            assert help.region.bottom < box.bottom
            assert all(len(line) <= help.size.width for line in help.plain.split("\n"))
            assert screen.query_one("#setting-rows").region.height >= 4


# --- keys -------------------------------------------------------------------------------------------


async def test_a_key_is_set_works_is_named_and_goes_back(playground: Any, until: Any, file: Path) -> None:
    async with playground(120, 40) as (app, pilot):
        screen = await opened(app, pilot, until, "f3", *"maximise")
        table = screen.query_one("#keys-table", DataTable)
        await until(pilot, lambda: table.row_count == 1)
        await pilot.press("enter", "f13")
        await until(pilot, lambda: held(file) == {"keys": {"maximise": "f13"}})
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert ("F13", "zoom") in app.playground.query_one("#keybar").hints
        assert keys_of("maximise") == ["F13"] and key_of("maximise") == "F13"
        await pilot.press("f6")
        assert not app.playground.maximised
        await pilot.press("f13")
        await until(pilot, lambda: app.playground.maximised)
        app.keep("keys.maximise", None)
        await pilot.press("f6")
        await until(pilot, lambda: not app.playground.maximised)
        assert held(file) == {}


@pytest.mark.slow
async def test_a_taken_key_is_named_and_given_up_by_the_other(playground: Any, until: Any, file: Path) -> None:
    async with playground(120, 40) as (app, pilot):
        screen = await opened(app, pilot, until, "f3", *"checkpoint")
        table = screen.query_one("#keys-table", DataTable)
        await until(pilot, lambda: "checkpoint" in table.shown and table.id_ == "checkpoint")
        await pilot.press("enter", "p")
        await until(pilot, lambda: "p is the key of pause (training)" in app.screen.query_one("#press", Lines).plain)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert held(file) == {}
        await pilot.press("enter", "p", "enter")
        await until(pilot, lambda: held(file) == {"keys": {"pause": "", "checkpoint": "p"}})
        called: list[str] = []
        app.playground.training.action_command = lambda name: called.append(name)
        await pilot.press("escape", "escape", "f3")
        await until(pilot, lambda: app.playground.query_one("#training").has_focus_within)
        await pilot.press("p", "c")
        await until(pilot, lambda: called)
        assert called == ["checkpoint"]


async def test_swapped_keys_both_work(playground: Any, until: Any, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text('[keys]\npause = "s"\nstop = "p"\n"show.models" = "f3"\n"show.training" = "f4,2"\n')
    async with playground(120, 40) as (app, pilot):
        called: list[str] = []
        app.playground.training.action_command = lambda name: called.append(name)
        await pilot.press("f4")
        await until(pilot, lambda: app.playground.current == "training")
        assert str(app.playground.training.border_title).startswith("F4 Training")
        await pilot.press("s", "p")
        await until(pilot, lambda: called == ["pause", "stop"])
        await pilot.press("f3")
        await until(pilot, lambda: app.playground.current == "models")


def test_no_two_actions_share_a_key_where_both_work() -> None:
    keymap({})
    for id_, (_, default, _) in ids().items():
        for key in filter(None, default.split(",")):
            assert not clashes(id_, key), (id_, key, clashes(id_, key))


async def test_no_key_of_a_place_hides_one_of_another_there(playground: Any) -> None:
    """Also the keys that are no actions, such as those of a pane's lists."""
    async with playground(120, 40) as (app, _):
        places = [(app, "app"), (app.playground, "playground"),
                  *((app.playground.query_one(f"#{name}"), name) for name in bindings.PANES)]
        for node, name in places:
            found = {(key, binding.action) for key, several in node._bindings.key_to_bindings.items()
                     for binding in several if not key.startswith("unset_")}
            double = [key for key in {key for key, _ in found} if len([k for k, _ in found if k == key]) > 1]
            assert not double, (name, double)
            for key, action in found - {("ctrl+c", "screen.copy_text")}:  # the app's comes before that
                if not any(action == does for _, (where, _, a) in ids().items() if where == name
                           for does in (a.does, *(d for _, d in a.also.values()))):
                    assert not [other for other, (where, default, _) in ids().items()
                                if meet(name, where) and key in default.split(",")], (name, key, action)


def test_places_where_keys_meet() -> None:
    assert meet("app", "bakeoff") and meet("playground", "chat") and meet("models", "models")
    assert not meet("models", "chat") and not meet("playground", "bakeoff")


def test_every_id_can_be_set_and_its_new_key_is_what_is_said() -> None:
    assert set(ids()) == set(settings.key_actions())
    assert {id_: default for id_, (_, default, _) in ids().items()} == settings.default_keys()
    for id_ in ids():
        keymap({id_: "f19"})
        assert keys_of(id_) == ["F19"]
    keymap({"train": "", "commands": "f20"})
    assert key_of("train") == "F20 train"


# --- vim's keys -------------------------------------------------------------------------------------


async def test_vims_keys_move_where_no_text_is_typed(playground: Any, until: Any, file: Path, model: str) -> None:
    async with playground(120, 40) as (app, pilot):
        table = app.playground.models.table
        await until(pilot, lambda: table.row_count >= 2)
        await pilot.press("f4", "g")
        assert not app.chosen["vim"]
        app.keep("vim", True)
        last = table.row_count - 1
        for key, row in (("G", last), ("g", 0), ("j", 1), ("k", 0), ("ctrl+d", last), ("ctrl+u", 0)):
            await pilot.press(key)
            await until(pilot, lambda row=row: table.cursor_row == row)
        await pilot.press("f2")
        await until(pilot, lambda: app.focused is not None and app.focused.name == "text")
        await pilot.press("j")
        await until(pilot, lambda: app.focused.name == "preset")
        before = app.focused.value
        await pilot.press("l")
        assert app.focused.value != before
        await pilot.press("j", "j", "h", "i")
        assert app.focused.name == "name" and app.focused.value == "jhi"
        await pilot.press("f5", *"jkgG")
        await until(pilot, lambda: app.playground.chat.prompt.text == "jkgG")


async def test_vims_keys_scroll_pages_and_narrow_lists(playground: Any, until: Any, file: Path) -> None:
    async with playground(80, 24) as (app, pilot):
        app.keep("vim", True)
        app.search_themes()
        await until(pilot, lambda: type(app.screen).__name__ == "ChooseThemeScreen")
        await pilot.press("g")
        assert app.screen._typed == "g"


def test_the_bindings_know_the_panes() -> None:
    from babytui.tui.screens.playground import NAMES

    assert bindings.PANES == NAMES
