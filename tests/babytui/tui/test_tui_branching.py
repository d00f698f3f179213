"""The chat as a tree: the cursor over tokens, candidates and forks, branches, edits, files, receipts, history."""

from __future__ import annotations

import shlex
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hostile
import pytest
from textual.widgets import Input, OptionList

from babytui import checkpoint_models, receipts, runs
from babytui.__main__ import main
from babytui.history import PROMPTS, History
from babytui.tui.app import PlaygroundApp
from babytui.tui.panes.sampling import Sampling
from babytui.tui.screens.branches import BranchesScreen
from babytui.tui.screens.candidates import CandidatesScreen
from babytui.tui.screens.confirm import ConfirmScreen
from babytui.tui.screens.history import HistoryScreen
from babytui.tui.screens.save import SaveScreen
from babytui.tui.screens.scrubber import ScrubberScreen
from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.transcript import Transcript
from babytui.visible import visible
from engine.config import Config

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


@pytest.fixture
def talking(playground: Any, until: Any, model: str) -> Any:
    """The playground with the chat ready, and a reply of 30 tokens with the seed 7."""

    @asynccontextmanager
    async def opened(width: int = 100, height: int = 30, reply: bool = True) -> Any:
        async with playground(width, height) as (app, pilot):
            app.playground.action_show("chat")
            chat = app.playground.chat
            await until(pilot, lambda: chat.baby is not None and chat.prompt.has_focus)
            setting(chat, tokens=30, seed=7)
            if reply:
                await pilot.press(*"The", "enter")
                await until(pilot, lambda: chat.last_reply())
                await pilot.press("escape")
                assert chat.transcript.has_focus
            yield app, pilot, chat

    return opened


def setting(chat: Any, **values: Any) -> None:
    for name, value in values.items():
        chat.query_one(Sampling).fields[name].value = str(value)


def pace(chat: Any) -> str:
    return str(chat.query_one("#pace", Lines).plain)


def said(app: Any) -> str:
    return " ".join(note.message for note in app._notifications)


async def test_the_cursor_goes_over_tokens(talking: Any) -> None:
    async with talking() as (_app, pilot, chat):
        reply = chat.talk.last
        await pilot.press("left")
        assert chat.pointed == (reply, 29) and "token 30 of 30" in pace(chat)
        await pilot.press("h", "h", "left")
        assert chat.pointed == (reply, 26) and f"‘{visible(reply.piece(26), newlines=False)}’" in pace(chat)
        assert f"{100 * reply.probabilities[26]:.1f} %" in pace(chat)
        marked = [chat.transcript._marked(row) for row in chat.transcript._rows]
        (row, (start, end)), = [(row, mark) for row, mark in zip(chat.transcript._rows, marked, strict=True) if mark]
        assert end - start == 1 and (row.text + "\n")[start:end] == reply.piece(26)
        await pilot.press("right", "l", "right", "right")
        assert chat.pointed is None
        await pilot.press(*["left"] * 35)
        assert chat.pointed == (reply, 0)
        await pilot.press("escape")
        assert chat.prompt.has_focus and chat.pointed is None


async def test_candidates_are_chosen_and_fork(talking: Any, until: Any) -> None:
    async with talking() as (app, pilot, chat):
        first = chat.talk.last
        setting(chat, top_k=4)
        await pilot.press(*["left"] * 20, "c")
        await until(pilot, lambda: isinstance(app.screen, CandidatesScreen) and app.screen._table)
        screen = app.screen
        assert screen._at == 10 and screen._table.rows[screen._row].id == first.ids[10]
        rows = screen.query_one("#candidates-rows", Lines).plain
        assert "model" in rows and "top-k" in rows and "temp." in rows and "█" in rows
        assert "off: repetition, top-p, min-p" in screen.query_one("#candidates-facts", Lines).plain
        await pilot.press("left")
        await until(pilot, lambda: screen._at == 9 and screen._table)
        await pilot.press("home", "down" if screen._table.rows[0].id == first.ids[9] else "home")
        chosen = screen._table.rows[screen._row]
        assert chosen.id != first.ids[9]
        await pilot.press("enter")
        await until(pilot, lambda: not chat.writing and chat.talk.last is not first and chat.talk.last.parts)
        fork = chat.talk.last
        assert list(fork.ids[:9]) == list(first.ids[:9]) and fork.ids[9] == chosen.id and len(fork) == 40
        assert chat.talk.place(fork) == (2, 2) and chat.transcript.blocks[0].margin == "you 2/2"
        assert fork.probabilities[9] == pytest.approx(chosen.after)
        assert chat.transcript.blocks[-1].text == fork.reply
        await pilot.press("[")
        assert chat.talk.last is first and "branch 1 of 2" in pace(chat)
        assert chat.transcript.blocks[-1].text == first.reply
        await pilot.press("]")
        assert chat.talk.last is fork


async def test_the_next_token_is_chosen_before_anything_was_said(talking: Any, until: Any) -> None:
    async with talking(reply=False) as (app, pilot, chat):
        await pilot.press(*"The", "escape", "c")
        await until(pilot, lambda: isinstance(app.screen, CandidatesScreen) and app.screen._table)
        assert "The" in app.screen.query_one("#candidates-place", Lines).plain
        await pilot.press("down", "enter")
        await until(pilot, lambda: chat.last_reply())
        assert chat.last_reply().startswith("The") and chat.prompt.text == "" and len(chat.talk.last) == 31
        assert chat.talk.last.parts[0].chosen == chat.talk.last.ids[0]


async def test_fork_writes_anew_from_the_cursor(talking: Any, until: Any) -> None:
    async with talking() as (app, pilot, chat):
        first = chat.talk.last
        await pilot.press("f")
        assert "Choose the token" in said(app)
        await pilot.press("left", "left", "f")
        await until(pilot, lambda: not chat.writing and chat.talk.last is not first)
        fork = chat.talk.last
        await until(pilot, lambda: fork.parts[-1].tokens == 30)
        assert list(fork.ids[:28]) == list(first.ids[:28]) and len(fork) == 58
        assert fork.parts[-1].sampler.seed != 7 and fork.parts[-1].keep == 28 and fork.parts[-1].chosen is None


async def test_edit_and_resend(talking: Any, until: Any) -> None:
    async with talking() as (_app, pilot, chat):
        first = chat.talk.last
        await pilot.press("e")
        assert chat.prompt.text == "The" and chat.prompt.has_focus
        await pilot.press("escape")
        assert chat.prompt.text == "" and "not edited" in pace(chat)
        await pilot.press("escape", "e", *" cat", "enter")
        await until(pilot, lambda: not chat.writing and chat.talk.last is not first)
        assert chat.talk.last.prompt == "The cat" and chat.talk.place(chat.talk.last) == (2, 2)
        await pilot.press("escape", "b")
        screen = await until(pilot, lambda: app_screen(chat, BranchesScreen))
        options = screen.query_one(OptionList)
        texts = [str(options.get_option_at_index(i).prompt) for i in range(2)]
        assert texts[0].startswith("○ The") and texts[1].startswith("● The cat") and "edited" in texts[1]
        await pilot.press("up", "enter")
        await until(pilot, lambda: chat.talk.last is first)
        assert "The cat" not in chat.transcript.plain.split("\n")[0]


def app_screen(chat: Any, kind: type) -> Any:
    return chat.app.screen if isinstance(chat.app.screen, kind) else None


async def test_replies_of_a_path_and_a_new_conversation(talking: Any, until: Any) -> None:
    async with talking() as (app, pilot, chat):
        await pilot.press("escape", *"cat", "enter")
        await until(pilot, lambda: len(chat.talk.path) == 2 and chat.last_reply())
        first, second = chat.talk.path
        await pilot.press("escape", "H")
        assert chat.pointed == (second, 0)
        await pilot.press("H")
        assert chat.pointed == (first, 0)
        await pilot.press("f7")  # the chosen one is written again, and what followed stays with the old branch
        await until(pilot, lambda: len(chat.talk.path) == 1 and not chat.writing)
        await pilot.press("[")
        assert chat.talk.path == [first, second]
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: chat.talk.path == [])
        assert chat.transcript.blocks == []


async def test_a_conversation_is_saved_and_a_reply_replayed(talking: Any, until: Any, home: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    async with talking() as (app, pilot, chat):
        reply = chat.talk.last
        await pilot.press("s")
        screen = await until(pilot, lambda: app_screen(chat, SaveScreen))
        field = screen.query_one(Input)
        assert field.value.endswith(".txt")
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: field.value.endswith(".json"))
        field.value = str(home / "reply.json")
        await pilot.press("enter")
        await until(pilot, lambda: (home / "reply.json").exists() and not app_screen(chat, SaveScreen))
        assert list(receipts.load(home / "reply.json").ids) == list(reply.ids)
        await pilot.press("s")
        screen = await until(pilot, lambda: app_screen(chat, SaveScreen))
        screen.query_one(Input).value = str(home / "reply.json")
        await pilot.press("enter")
        await until(pilot, lambda: "is there already" in screen.query_one("#save-facts", Lines).plain)
        await pilot.press("enter")
        await until(pilot, lambda: not app_screen(chat, SaveScreen))
        assert (home / "reply.json").read_text() == reply.text + "\n"
        await pilot.press("y")
        line = await until(pilot, lambda: "--replay" in app.clipboard and app.clipboard)
        assert app.done[0] == line
        text = reply.text
    capsys.readouterr()
    assert main(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.slow
async def test_history_is_searched_and_survives(talking: Any, until: Any) -> None:
    for older in ("once upon", "The dog", "a cat"):
        History(PROMPTS).add(older)
    async with talking() as (_app, pilot, chat):
        await pilot.press("slash")
        screen = await until(pilot, lambda: app_screen(chat, HistoryScreen))
        assert screen._found == ["The", "a cat", "The dog", "once upon"]
        await pilot.press(*"the", "down", "enter")
        await until(pilot, lambda: chat.prompt.has_focus and chat.prompt.text == "The dog")
        chat.prompt.text = "draft"
        await pilot.press("up", "up")
        assert chat.prompt.text == "a cat"
        await pilot.press("down", "down")
        assert chat.prompt.text == "draft"
    assert History(PROMPTS).entries[-1] == "The"


async def test_what_needs_a_reply_says_so(talking: Any) -> None:
    async with talking(reply=False) as (app, pilot, chat):
        await pilot.press("escape")
        for key in ("f", "e", "b", "s", "y", "n", "f7", "f8"):
            before = len(app._notifications)
            await pilot.press(key)
            assert len(app._notifications) >= before and "Nothing was said yet" in said(app), key
        await pilot.press("left", "H", "right")
        assert chat.pointed is None


@pytest.mark.slow
async def test_talk_to_a_model_that_is_training(playground: Any, until: Any, workspace: Any, model: str) -> None:
    config = Config.read({**TINY, "s_checkpoint_steps": 200})
    run = runs.start(workspace, config, ["cats"], steps=10_000_000, name="now")
    try:
        async with playground(100, 30) as (app, pilot):
            chat = app.playground.chat
            await until(pilot, lambda: app.playground.training._run is not None and checkpoint_models.kept(run))
            app.playground.action_show("training")
            await pilot.press("a")
            await until(pilot, lambda: chat.baby is not None and chat.baby.step is not None)
            await until(pilot, lambda: chat.prompt.has_focus)
            setting(chat, tokens=5, seed=1)
            steps = []
            for _ in range(2):
                old = chat.baby.step
                await until(pilot, lambda old=old: checkpoint_models.find(run, "last").step > old)
                await pilot.press(*"The", "enter")
                await until(pilot, lambda: chat.last_reply() and not chat.writing)
                steps.append(chat.talk.last.origin.step)
                assert steps[-1] > old
                assert f"now, step {steps[-1]:,}" in chat.transcript.plain and f"step {steps[-1]:,}" in pace(chat)
            assert steps[1] > steps[0] and f"step {steps[1]:,}" in chat.note
            run.command("stop")
            await until(pilot, lambda: run.status() == "stopped")
            await until(pilot, lambda: chat.baby.step is None)
    finally:
        if run.alive:
            run.command("stop")
            run.wait(60)


async def test_the_scrubber(playground: Any, until: Any, workspace: Any) -> None:
    config = Config.read({**TINY, "s_checkpoint_steps": 10, "n_checkpoints": 6})
    run = runs.start(workspace, config, ["cats"], steps=50, name="spaced", prompt="The")
    assert run.wait(60) == "finished"
    async with playground(80, 24) as (app, pilot):
        await until(pilot, lambda: app.playground.training._run is not None)
        app.playground.action_show("training")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, ScrubberScreen) and app.screen.frame)
        screen = app.screen
        places = screen.scrubber.places
        assert screen.frame.label == "model" and places[-1] is None and len(places) >= 5
        await until(pilot, lambda: "the same as step 50" in screen.query_one("#scrub-place", Lines).plain)
        assert "n_checkpoints" in screen.query_one("#scrub-facts", Lines).plain
        for index in range(len(places) - 2, -1, -1):
            await pilot.press("left")
            await until(pilot, lambda index=index: screen.frame.label == screen.scrubber.label(index)
                        and "compared" not in screen.query_one("#scrub-place", Lines).plain)
            assert screen.frame.opening == "The"
            before = screen.scrubber.ready(index - 1) if index else None
            place = screen.frame.differs(before)
            transcript = screen.query_one("#scrub-text", Transcript)
            if place is not None:
                _, start, end = transcript._mark
                assert start == 3 + place and end == start + 1  # the prompt, and a character for a token
                assert f"token {place + 1} is the first" in screen.query_one("#scrub-place", Lines).plain
        await pilot.press("home", "end", "l")
        await until(pilot, lambda: screen.frame.label == "model")
        seed = screen._sampling["seed"]
        before = screen.frame.reply
        await pilot.press("s")
        await until(pilot, lambda: screen.scrubber.sampling["seed"] == seed + 1 and screen.frame.reply != before)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)


async def test_other_models_reply_in_their_own_words(talking: Any, until: Any) -> None:
    """A reply of another vocabulary cannot be gone on from; its prompt can be sent again."""
    async with talking() as (app, pilot, chat):
        chat.load("baby", "baby")
        await until(pilot, lambda: chat.guid == "baby")
        await pilot.press("c")
        await pilot.press("f8")
        assert said(app).count("another vocabulary") == 2
        await pilot.press("f7")
        await until(pilot, lambda: not chat.writing and len(chat.talk.branches()) == 2)
        assert chat.talk.last.origin.guid != chat.talk.branches()[0][1].origin.guid


@pytest.mark.slow
async def test_words_that_would_drive_the_terminal(until: Any, home: Path) -> None:
    """A model whose every token is an escape sequence, markup or an override: the new screens show marks."""
    app = PlaygroundApp(hostile.workspace(home))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.playground.ready)
        chat = app.playground.chat
        app.playground.action_show("chat")
        await until(pilot, lambda: chat.baby is not None and chat.prompt.has_focus)
        chat.load(hostile.GUID, "stranger")
        await until(pilot, lambda: chat.guid == hostile.GUID and chat.baby.guid == hostile.GUID)
        setting(chat, tokens=20, seed=1, temperature=2)
        await pilot.press("enter")
        await until(pilot, lambda: chat.last_reply())
        reply = chat.talk.last
        assert any(not piece.isprintable() for piece in map(reply.piece, range(len(reply))))
        shown = []
        await pilot.press("escape", *["left"] * 5)
        for _ in range(10):
            await pilot.press("left")
            shown.append(pace(chat))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CandidatesScreen) and app.screen._table)
        shown += [lines.plain for lines in app.screen.query(Lines)]
        await pilot.press("escape", "b")
        await until(pilot, lambda: isinstance(app.screen, BranchesScreen))
        options = app.screen.query_one(OptionList)
        shown += [str(options.get_option_at_index(i).prompt) for i in range(options.option_count)]
        await pilot.press("escape", "s")
        await until(pilot, lambda: isinstance(app.screen, SaveScreen))
        await pilot.press("escape")
        History(PROMPTS).add("\x1b]0;owned\x07 [red]x[/]")
        chat.prompt.past = History(PROMPTS)
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, HistoryScreen))
        options = app.screen.query_one(OptionList)
        shown += [str(options.get_option_at_index(i).prompt) for i in range(options.option_count)]
        assert "␛]0;owned" in shown[-2] + shown[-1] and "[red]x[/]" in shown[-2] + shown[-1]
        assert all(text.replace("\n", "").isprintable() for text in shown)
        assert chat.transcript.plain.replace("\n", "").isprintable()


async def test_the_scrubber_of_a_model_without_checkpoints(talking: Any, until: Any) -> None:
    """The model that ships has no run: the one place is the model itself. Of an unknown one the screen says so."""
    async with talking(60, 20, reply=False) as (app, pilot, _chat):
        app.push_screen(ScrubberScreen(app.workspace, "baby", "The", {"seed": None, "max_tokens": 5}))
        screen = await until(pilot, lambda: isinstance(app.screen, ScrubberScreen) and app.screen)
        await until(pilot, lambda: screen.frame is not None)
        assert screen.frame.label == "model" and screen._sampling["seed"] == 1 and len(screen.frame.ids) == 5
        await pilot.press("left", "right")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.playground)
        app.push_screen(ScrubberScreen(app.workspace, "nobody", "The", {"seed": 1, "max_tokens": 5}))
        screen = await until(pilot, lambda: isinstance(app.screen, ScrubberScreen) and app.screen)
        await until(pilot, lambda: any("nobody" in lines.plain for lines in screen.query(Lines)))
        assert "n_checkpoints" in screen.query_one("#scrub-facts", Lines).plain
        await pilot.press("left", "s", "escape")
        await until(pilot, lambda: app.screen is app.playground)


async def test_what_comes_while_it_is_hidden_is_wrapped_as_before(talking: Any, until: Any) -> None:
    """Below 120 columns a pane is hidden by another."""
    async with talking(80, 24) as (_app, pilot, chat):
        await pilot.press("f3")
        await until(pilot, lambda: not chat.transcript.region)
        chat.transcript.add("one two three four five six seven eight nine ten")
        await pilot.press("f5")
        await until(pilot, lambda: chat.transcript.region)
        shown = [row.text for row in chat.transcript._rows]
        chat.transcript._rewrap()
        assert shown == [row.text for row in chat.transcript._rows]


async def test_the_microscope_reads_what_was_said(talking: Any) -> None:
    async with talking() as (_app, _pilot, chat):
        said = chat.text_to_look_at()
        assert said == chat.chosen_exchange.text and said.startswith("The") and len(said) > 3
        assert said.count(chat.last_reply()) == 1 and said == chat.last_reply()
