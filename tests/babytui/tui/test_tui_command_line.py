"""The app's command line: opened, completed, recalled, refused, and run by the same code as `babytui`."""

from __future__ import annotations

from typing import Any

import pytest
from textual.containers import VerticalScroll

from babytui import actions, commandline, runs
from babytui.actions import APP, CLI
from babytui.capture import OUT, caught
from babytui.history import COMMANDS, History
from babytui.tui.screens.command import CommandScreen
from babytui.tui.screens.confirm import ConfirmScreen
from babytui.tui.screens.text import TextScreen, columns
from babytui.tui.widgets.completions import CompletionList
from babytui.tui.widgets.lines import Lines
from babytui.visible import cells

NAMED = {"\t": "tab", "\x15": "ctrl+u", "\x7f": "backspace", " ": "space", "-": "minus", "_": "underscore"}


@pytest.fixture
def typing(playground: Any, until: Any, model: str) -> Any:
    """The playground with the models' pane in front, so that no letter goes into a field."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(width: int = 80, height: int = 24) -> Any:
        async with playground(width, height) as (app, pilot):
            await pilot.press("f4")
            await until(pilot, lambda: app.playground.models.query_one("#table").row_count >= 1)
            await pilot.press("colon")
            await until(pilot, lambda: isinstance(app.screen, CommandScreen) and app.screen.input.has_focus)
            yield app, pilot, app.screen

    return opened


def items(screen: Any) -> list[str]:
    return [one.text for one in screen.query_one(CompletionList).items]


def notes(app: Any) -> str:
    """What was told in the corner, or on a page."""
    page = app.screen.query_one(Lines).plain if isinstance(app.screen, TextScreen) else ""
    return "\n".join([*(note.message for note in app._notifications), page])


@pytest.mark.parametrize("size", [(60, 20), pytest.param((80, 24), marks=pytest.mark.slow),
                                  pytest.param((160, 45), marks=pytest.mark.slow)])
async def test_it_completes(typing: Any, until: Any, size: tuple[int, int]) -> None:
    async with typing(*size) as (_app, pilot, screen):
        assert set(items(screen)) >= {"train", "list", "show"}
        await pilot.press(*"tra")
        await until(pilot, lambda: items(screen) == ["train", "trash"])
        await pilot.press("tab")
        assert screen.input.value == "train" and screen.query_one(CompletionList).chosen == 0
        await pilot.press("tab")
        assert screen.input.value == "trash"
        await pilot.press("tab")
        assert screen.input.value == "tra"
        await pilot.press("shift+tab", "shift+tab", *" --pre", "tab", *" 3")
        assert screen.input.value == "train --preset 3"
        await until(pilot, lambda: items(screen) == ["3m"])
        shown = screen.query_one(CompletionList)
        assert shown.region.bottom == screen.query_one("#command-line").region.y
        assert screen.query_one("#command").region.bottom == size[1]
        assert "--preset" in screen.query_one("#command-hint", Lines).plain


async def test_keys_that_come_all_at_once_are_taken_in_their_order(typing: Any, until: Any) -> None:
    """As a fast typist, a slow link or a paste without brackets sends them."""
    from textual import events

    async with typing() as (app, pilot, screen):
        for character in "lisp\x15trai\x7f\x7fain --set n_e\t":
            key = NAMED.get(character, character)
            app.post_message(events.Key(key, character))
        await until(pilot, lambda: screen.input.value.startswith("train --set n_emb="))


async def test_models_of_the_workspace_are_offered(typing: Any, until: Any) -> None:
    async with typing() as (_app, pilot, screen):
        await pilot.press(*"info k")
        await until(pilot, lambda: items(screen) == ["kitten"])
        await pilot.press("down")
        assert screen.input.value == "info kitten"


async def test_what_is_wrong_stays_and_is_said(typing: Any, until: Any) -> None:
    async with typing() as (app, pilot, screen):
        await pilot.press(*"train --stpes 3", "enter")
        await until(pilot, lambda: "did you mean --steps" in screen.query_one("#command-hint", Lines).plain)
        assert app.screen is screen and screen.input.value == "train --stpes 3"
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        assert History(COMMANDS).entries == []


@pytest.mark.slow
async def test_long_output_is_a_page_as_the_command_line_prints_it(typing: Any, until: Any, workspace: Any) -> None:
    async with typing() as (app, pilot, _screen):
        await pilot.press(*"info kitten", "enter")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        with caught() as said:
            assert commandline.run("info kitten", APP, workspace.root) == 0
        assert app.screen.query_one(Lines).plain.rstrip() == said.text().rstrip()
        assert app.done[0] == f"babytui info --workspace {workspace.root} kitten"
        await pilot.press("escape", "colon", "up")
        await until(pilot, lambda: isinstance(app.screen, CommandScreen) and app.screen.input.value == "info kitten")


async def test_a_run_begins_in_the_background_and_opens_its_pane(typing: Any, until: Any, workspace: Any) -> None:
    line = "train --steps 5 --name typed --input cats --set n_emb=8 --set n_ctx=8 --set n_layers=1"
    async with typing() as (app, pilot, screen):
        screen.input.value = line
        await pilot.press("enter")
        await until(pilot, lambda: app.playground.current == "training")
        run = runs.find(workspace, "typed")
        await until(pilot, lambda: "typed" in app.playground.training.note)
        await until(pilot, lambda: run.status() == "finished", 60)


async def test_a_question_is_a_dialog(typing: Any, until: Any, workspace: Any, model: str) -> None:
    async with typing() as (app, pilot, _screen):
        for key, left in (("n", 1), ("y", 0)):
            await pilot.press(*"delete kitten", "enter")
            await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
            await pilot.press(key)
            await until(pilot, lambda left=left: not isinstance(app.screen, ConfirmScreen)
                        and len(workspace.entries()) == left)
            said = "Nothing was deleted" if left else "kitten is in the trash"
            await until(pilot, lambda said=said: said in notes(app))
            if left:
                await pilot.press("colon")


async def test_errors_are_told(typing: Any, until: Any) -> None:
    async with typing() as (app, pilot, _screen):
        await pilot.press(*"info nobody", "enter")
        await until(pilot, lambda: "nobody" in notes(app))
        assert app.screen is app.playground


async def test_an_error_names_the_command_that_helps(typing: Any, until: Any) -> None:
    async with typing() as (app, pilot, screen):
        await pilot.press(*"rename", "enter")
        await until(pilot, lambda: "see help rename." in screen.query_one("#command-hint", Lines).plain)
        await pilot.press("home", *"help ", "enter")
        await until(pilot, lambda: isinstance(app.screen, TextScreen))
        assert "its new name" in app.screen.query_one(Lines).plain


@pytest.mark.slow
async def test_what_only_the_app_does_is_done_by_its_name(typing: Any, until: Any) -> None:
    async with typing() as (app, pilot, _screen):
        await pilot.press(*"show config", "enter")
        await until(pilot, lambda: app.playground.current == "config")
        await pilot.press("f4", "colon", *"attach kitten", "enter")
        await until(pilot, lambda: app.playground.current == "training")
        await pilot.press("f4", "colon", *"exit", "enter")
        await until(pilot, lambda: not app.is_running)


async def test_backspace_in_an_empty_line_leaves(typing: Any, until: Any) -> None:
    async with typing() as (app, pilot, _screen):
        await pilot.press("a", "backspace", "backspace")
        await until(pilot, lambda: app.screen is app.playground)


async def test_the_palette_asks_for_what_a_command_needs(playground: Any, until: Any, workspace: Any) -> None:
    """Every action without a way of its own in the app is typed, or run when there is nothing to type."""
    async with playground(80, 24) as (app, pilot):
        for action in actions.offered(APP):
            if action.app or CLI not in action.where or not action.arguments:
                continue
            app.act(action.name)
            await until(pilot, lambda: isinstance(app.screen, CommandScreen))
            assert app.screen.input.value == action.name + " "
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.playground)
        app.act("runs")
        await until(pilot, lambda: "no runs" in notes(app))


async def test_output_reads_the_same_as_the_command_lines(typing: Any, until: Any, workspace: Any,
                                                          command: Any) -> None:
    async with typing(160, 45) as (app, pilot, screen):
        screen.input.value = "inference kitten --prompt The --tokens 60 --seed 5 --no-save --quiet"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextScreen) or "The" in notes(app))
        shown = app.screen.query_one(Lines).plain if isinstance(app.screen, TextScreen) else notes(app)
    with caught() as said:
        commandline.run("inference kitten --prompt The --tokens 60 --seed 5 --no-save --quiet", APP, workspace.root)
    assert shown.strip("\n") == said.text(OUT).strip("\n")


@pytest.mark.slow
async def test_all_faces_make_the_same_model(typing: Any, until: Any, workspace: Any, command: Any) -> None:
    """The same line as a command, in the shell and in the app: the same files, byte for byte, and the same words."""
    from babytui.shell.shell import Shell

    words = ["train", "--steps", "6", "--input", "cats", "--set", "n_emb=8", "--set", "n_ctx=8", "--set", "n_layers=1",
             "--set", "head_size=8", "--set", "n_heads=2"]
    assert command(*words, "--name", "one", "--workspace", workspace.root).code == 0
    with caught() as said:
        assert Shell(workspace, history=History("prompts", workspace.root)).take("/" + " ".join(
            [*words, "--name", "two"])) == 0
    assert said.text(OUT).strip() == runs.find(workspace, "two").guid
    async with typing() as (_app, pilot, screen):
        screen.input.value = " ".join([*words, "--name", "three"])
        await pilot.press("enter")
        await until(pilot, lambda: any(run.name == "three" and run.status() == "finished"
                                       for run in runs.all_runs(workspace)), 60)
    made = [runs.find(workspace, name) for name in ("one", "two", "three")]
    for kind in ("model", "tokenizer"):
        contents = {workspace.path(kind, run.guid).read_bytes() for run in made}
        assert len(contents) == 1, kind
    assert len({str(run.plan["config"]) + str(run.plan["texts"]) for run in made}) == 1


@pytest.mark.parametrize("size", [(60, 20), (140, 45)])
@pytest.mark.parametrize("line", ["curve kitten", pytest.param("runs", marks=pytest.mark.slow),
                                  pytest.param("look kitten --prompt mat --what attention", marks=pytest.mark.slow)])
async def test_what_it_prints_is_laid_out_for_its_page(typing: Any, until: Any, size: tuple[int, int],
                                                       line: str) -> None:
    async with typing(*size) as (app, pilot, screen):
        screen.input.value = line
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TextScreen) and app.screen.query_one(Lines).size.width > 1)
        page = app.screen.query_one(Lines)
        lines = page.plain.split("\n")
        assert page.size.width == columns(size[0]) + (not app.screen.query_one(VerticalScroll).show_vertical_scrollbar)
        assert max(map(cells, lines)) <= page.size.width
        assert not line.startswith("curve") or max(map(cells, lines)) > page.size.width - 8
