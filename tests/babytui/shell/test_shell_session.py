"""The shell's editing, through prompt_toolkit's pipe: keys in, lines out, history, completion, toolbar."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from waiting import until

from babytui import runs, settings
from babytui.cli.output import Output
from babytui.cli.watching import Watch
from babytui.history import History
from babytui.shell.session import Commands, Remembered, Screen, Session, screen
from babytui.shell.shell import Shell
from babytui.shell.watcher import Board, Watcher, told
from babytui.streams import behind
from store.workspace import Workspace

ENTER, ALT_ENTER, TAB, DOWN, UP, CTRL_C, CTRL_D, RIGHT = "\r", "\x1b\r", "\t", "\x1b[B", "\x1b[A", "\x03", "\x04", (
    "\x1b[C")


class Typed(Shell):
    """Remembers the lines instead of doing them."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.lines: list[tuple[str, bool]] = []
        self.ready = False

    def missing(self, text: str) -> list[str]:
        """None before it is read, and here nobody reads it beside the keys."""
        return super().missing(text) if self.ready else []

    def take(self, line: str) -> int:
        self.lines.append((line, False))
        self.leaving = line == "/quit"
        return 0

    def reply(self, prompt: str, *, skip: bool = False) -> int:
        self.lines.append((prompt, skip))
        return 0


@pytest.fixture
def typed(nest: Any, home: Path) -> Any:
    """`typed(keys)`: the lines that a session hears, and the shell."""

    def run(keys: str, ready: bool = False) -> tuple[list[tuple[str, bool]], Typed]:
        shell = Typed(nest[0], history=History("prompts", home))
        if ready:
            shell.baby()
            shell.ready = True
        with create_pipe_input() as pipe:
            pipe.send_text(keys)
            assert Session(shell, input=pipe, output=DummyOutput()).run() == 0
        return shell.lines, shell

    return run


def test_lines_and_the_end(typed):
    lines, shell = typed(f"The cat{ENTER}/list{ENTER}{CTRL_D}")
    assert [line for line, _ in lines] == ["The cat", "/list"]
    assert shell.history.entries == ["The cat", "/list"]


def test_more_lines_than_one(typed):
    assert [line for line, _ in typed(f"a{ALT_ENTER}b\\{ENTER}c{ENTER}{CTRL_D}")[0]] == ["a\nb\nc"]


def test_ctrl_c_drops_the_line(typed):
    assert [line for line, _ in typed(f"wrong{CTRL_C}right{ENTER}{CTRL_D}")[0]] == ["right"]


def test_history_comes_back_without_repetitions(typed):
    typed(f"one{ENTER}two{ENTER}two{ENTER}{CTRL_D}")
    lines, shell = typed(f"{UP}{UP}{ENTER}{CTRL_D}")
    assert [line for line, _ in lines] == ["one"] and shell.history.entries == ["one", "two", "one"]
    lines, shell = typed(f"{UP}{ENTER}{CTRL_D}")
    assert [line for line, _ in lines] == ["one"] and shell.history.entries == ["one", "two", "one"]


def test_a_quit_leaves(typed):
    assert [line for line, _ in typed(f"/quit{ENTER}never{ENTER}")[0]] == ["/quit"]


def test_unknown_symbols_need_enter_twice(typed):
    assert typed(f"The é{ENTER}{ENTER}{CTRL_D}", ready=True)[0] == [("The é", True)]
    assert typed(f"The é{ENTER}{CTRL_C}The{ENTER}{CTRL_D}", ready=True)[0] == [("The", False)]
    assert typed(f"The é{ENTER}a{ENTER}{ENTER}{CTRL_D}", ready=True)[0] == [("The éa", True)], "another text"


def test_what_is_pasted_is_what_is_seen(typed):
    pasted = "\x1b[200~a\x1b[31m\r\nb\u202e\x1b[201~"
    assert [line for line, _ in typed(f"{pasted}{ENTER}{CTRL_D}")[0]] == ["a␛[31m\nb⟨U+202E⟩"]


def test_vi_or_emacs(typed, monkeypatch):
    assert [line for line, _ in typed(f"abc\x01x{ENTER}{CTRL_D}")[0]] == ["xabc"]
    monkeypatch.setenv("BABYTUI_SHELL_EDITING", "vi")
    assert settings.get("shell.editing") == "vi"
    lines, _ = typed(f"abc\x1bIx{ENTER}{CTRL_D}")
    assert [line for line, _ in lines] == ["xabc"]


@pytest.fixture
def session(nest: Any, home: Path) -> Iterator[Session]:
    with create_pipe_input() as pipe:
        yield Session(Shell(nest[0], history=History("prompts", home)), input=pipe, output=DummyOutput())


def test_completions_of_slashes_only(nest, home):
    commands = Commands(Shell(nest[0], history=History("prompts", home)))

    def found(text: str, at: int | None = None) -> list[tuple[str, int]]:
        document = Document(text, len(text) if at is None else at)
        return [(one.text, one.start_position) for one in commands.get_completions(document, None)]

    assert found("/tra") == [("train", -3), ("trash", -3)] and found("tra") == found("//tra") == found("/tra", 0) == []
    assert found("/train --set n_emb=")[0][1] == 0 and ("--preset", -5) in found("/train --pre")
    assert found("/info ti") == [("tiny", -2)]
    assert commands.hint("/train --preset ", 16).startswith("--preset:") and commands.hint("train", 5) == ""


def test_prompt_and_mouse(session):
    prompt = session._session()
    assert prompt.editing_mode is EditingMode.EMACS and not prompt.mouse_support
    assert "".join(text for _, text in session._message()) == "tiny > "


# --- the terminal --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*hostile.SEQUENCES.values(), hostile.PAYLOAD])
def test_nothing_that_is_written_drives_the_terminal(text):
    stream = io.StringIO()
    output = Screen(stream, lambda: Size(24, 80), enable_cpr=False)
    output.write(text)
    output.flush()
    assert hostile.driven(stream.getvalue().encode(), hostile.CLI) == []
    assert len(stream.getvalue()) == len(text), "a cell for a cell, or the line would not fit"


def test_the_terminal_is_not_asked_where_its_cursor_is():
    found = screen(io.StringIO())
    assert not found.responds_to_cpr and found.get_rows_below_cursor_position() == 1
    assert found.get_size() == Size(rows=24, columns=80)


def test_history_of_strangers_is_only_shown(tmp_path):
    kept = History("prompts", tmp_path)
    kept.add(hostile.PAYLOAD)
    assert list(Remembered(kept).load_history_strings()) == [hostile.PAYLOAD]
    stream = io.StringIO()
    Screen(stream, lambda: Size(24, 80)).write(hostile.PAYLOAD)
    assert "\x1b" not in stream.getvalue()


# --- runs in the background ----------------------------------------------------------------------------------------


def test_a_live_run_is_watched_and_its_end_told(long_run):
    heard: list[str] = []
    watcher = Watcher(long_run.workspace, lambda: "all", heard.append)
    watcher.look()
    until(lambda: watcher.look() or "loss" in watcher.text, "a step")
    assert re.match(r"cats \d+/10000000  loss \d", watcher.text)
    long_run.command("pause")
    until(lambda: watcher.look() or "(paused)" in watcher.text, "it pauses")
    long_run.command("resume")
    long_run.command("stop")
    until(lambda: watcher.look() or not watcher.text, "it is over")
    assert any("was stopped and kept" in line for line in heard)
    assert any(re.search(r"step \d+: ", line) for line in heard)
    assert all(line.isprintable() for line in heard)


def test_what_a_command_told_is_not_told_again(long_run):
    heard: list[str] = []
    watcher = Watcher(long_run.workspace, lambda: "ends", heard.append)
    watcher.look()
    long_run.command("stop")
    long_run.wait(60)
    watcher.skip()
    watcher.look()
    assert heard == [] and watcher.text == ""


def test_a_run_that_dies_is_told(long_run):
    import os
    import signal

    from store.lock import Lock

    heard: list[str] = []
    how = ["off"]
    watcher = Watcher(long_run.workspace, lambda: how[0], heard.append)
    watcher.look()
    how[0] = "ends"
    owner = until(lambda: Lock.owner(long_run.dir / "lock"), "its process has taken over")
    os.kill(owner, signal.SIGKILL)
    until(lambda: not long_run.alive, "it is dead")
    until(lambda: watcher.look() or heard, "it is told")
    assert "died" in heard[0] and "/resume" in heard[0]


def test_a_strangers_runs_are_told_as_marks(tmp_path):
    workspace = hostile.workspace(tmp_path)
    watcher = Watcher(workspace, lambda: "all", print)
    watcher.look()
    assert watcher.text == ""
    run = runs.Run(workspace, hostile.RUN)
    watch = Watch(run, Output(quiet=True))
    said = [told(watch, event, "all") for event in run.events()[0]]
    assert any("end␛[31m" in line for line in said) and all(line.isprintable() for line in said)


def test_nothing_is_told_while_a_command_runs():
    shown: list[str] = []
    board = Board(shown.append)
    board.add("one")
    assert shown == []
    board.open()
    board.add("two")
    assert shown == ["one", "two"]
    board.close()
    board.add("three")
    assert shown == ["one", "two"]
    board.drop()  # the command has told it
    board.add("four")
    board.open()
    assert shown == ["one", "two", "four"]


def test_an_empty_workspace(home):
    watcher = Watcher(Workspace(home / "none"), lambda: "ends", print)
    watcher.look()
    assert watcher.text == "" and Shell(Workspace(home / "none")).name


def test_the_stream_behind_the_guard_is_used():
    stream = io.StringIO()
    assert screen(behind(stream)).stdout is stream  # type: ignore[arg-type]
