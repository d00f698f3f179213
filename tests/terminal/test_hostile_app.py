"""The playground on a stranger's workspace, in a real pty: every pane and dialog, and nothing reaches the terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import hostile
import pytest
from hostile import APP, GUID, PAYLOAD, driven

from babytui import runs
from store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from pty_app import PtyApp

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable, "-P", "-m", "babytui"]
F2, F3, F4, F5, F7, F9, F10 = (b"\x1bOQ", b"\x1bOR", b"\x1bOS", b"\x1b[15~", b"\x1b[18~", b"\x1b[20~", b"\x1b[21~")
PASTE, PASTED = b"\x1b[200~", b"\x1b[201~"
ESC, ENTER, DOWN = b"\x1b", b"\r", b"\x1b[B"


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Workspace]:
    made = hostile.workspace(tmp_path)
    yield made
    for run in runs.all_runs(made):
        if run.alive:
            run.command("stop")
            run.wait(60)


def environment(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "ESCDELAY": "50"}


class Visit:
    """Keys, each followed by what must then appear."""

    def __init__(self, terminal: PtyApp):
        self.terminal = terminal

    def __call__(self, keys: bytes, *words: str) -> None:
        self.terminal.type(keys)
        for word in words:
            self.terminal.wait_for(word.encode(), 60)

    def settle(self, keys: bytes = b"") -> None:
        """Until nothing more is painted."""
        self.terminal.type(keys)
        while self.terminal.read(0.4):
            pass


def visits(wide: bool) -> list[tuple[bytes, list[str]]]:
    """Keys, and what must have been seen after them, as marks."""
    pasted = PASTE + PAYLOAD.encode() + PASTED
    return [
        (F3, ["runner␛[31m", "log", "samples", "step"]),
        (F4, ["stranger"]), (b"/", ["regular expression"]), (b"stranger", ["with 'stranger'"]), (ENTER, []),
        (ENTER, [f"{GUID}"]), (b"2", ["reason␛[31m"]), (b"3", []), (b"4", ["␛"]), (b"5", ["wte"]),
        (b"6", ["␛]0;root␇"] if wide else []),
        (ESC, []), (b"f", ["Fine-tune stranger"]), (pasted + b"\t\t\t" + pasted, []), (ESC, []),
        (b"d", ["Delete stranger?"]), (b"n", []), (b"e", ["F2 Config"]),
        (F2, ["c_attention"]), (ENTER, ["text␛]0;text␇"]), (ESC, []),
        (F10, ["bake␛[31m", "gla␛[31m"]), (DOWN, []), (b"\x1b[A", ["error␛[31m"]), (b"l", ["bake-offs"]), (ESC, []),
        (b"d", ["Delete bake␛[31m"]), (b"n", []), (ESC, []),
        (b"\x10", []), (b"doctor", []), (ENTER, []), (ENTER, []), (ESC, []), (ESC, []),
        (b"\x10", []), (pasted, []), (ESC, []),
        (F5, []), (PASTE + b"typed" + PAYLOAD.encode() + PASTED, ["[/nothing]"]), (ENTER, ["not in its vocabulary"]),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(160, 45), (80, 24)])
def test_nothing_that_is_shown_drives_the_terminal(stranger, tmp_path, width, height):
    with PtyApp([*PYTHON, "--workspace", str(stranger.root)], width, height, environment(tmp_path)) as terminal:
        terminal.wait_for(b"tokens known", 60)  # the stranger's model is read
        go = Visit(terminal)
        go(b"a\r", "500 tokens")  # of which hardly one is harmless
        go.settle(ESC)
        for keys, words in visits(width > 120):
            go(keys, *words)
            go.settle()
        terminal.type(b"\x11")
        assert terminal.wait(60) == 0
    assert driven(terminal.output, APP) == []
    assert b"Traceback" not in terminal.output and b"should not happen" not in terminal.output
    assert not [run for run in runs.all_runs(stranger) if run.alive]


@pytest.mark.slow
def test_a_paste_presses_no_keys(stranger, tmp_path):
    """F9 in it would train, ctrl+q leave, F4 d y delete."""
    before = sorted(path.name for path in stranger.models.iterdir())
    with PtyApp([*PYTHON, "--workspace", str(stranger.root)], 120, 40, environment(tmp_path)) as terminal:
        terminal.wait_for(b"tokens known", 60)
        go = Visit(terminal)
        go(PASTE + b"one\x1b[20~two\x1bOSdy\x11three\x1b[20" + PASTED, "one␛[20~two␛OSdy␑three␛[20")
        for piece in (PASTE[:3], PASTE[3:] + b"four\x1b", b"[20~five\x1b[2", b"01~"):  # cut anywhere by a slow link
            terminal.type(piece)
            terminal.read(0.02)
        terminal.wait_for("four␛[20~five".encode(), 60)
        go(b"six", "six")
        go.settle(F4)
        terminal.type(b"\x11")
        assert terminal.wait(60) == 0
    assert not [run for run in runs.all_runs(stranger) if run.alive]
    assert sorted(path.name for path in stranger.models.iterdir()) == before and not stranger.trash.exists()
    assert driven(terminal.output, APP) == []


@pytest.mark.slow
def test_bytes_that_are_no_text_are_no_end(stranger, tmp_path):
    with PtyApp([*PYTHON, "--workspace", str(stranger.root)], 120, 40, environment(tmp_path)) as terminal:
        terminal.wait_for(b"tokens known", 60)
        go = Visit(terminal)
        go.settle(b"\xff\xfe\x80")
        go(b"still here", "still here")
        terminal.type(b"\x11")
        assert terminal.wait(60) == 0


def test_a_bug_gives_the_terminal_back_and_shows_marks(tmp_path):
    """Errors often quote what they choke on."""
    code = ("import sys; from babytui.tui import app, screens\n"
            "from babytui.tui.screens.playground import PlaygroundScreen as P\n"
            "from babytui.streams import guarded\n"
            "def bug(self): raise RuntimeError(sys.argv[1])\n"
            "P.action_train = bug\n"
            "with guarded(): sys.exit(app.main(sys.argv[2]))")
    with PtyApp([sys.executable, "-P", "-c", code, hostile.evil("raised"), str(tmp_path / "w")], 120, 40,
                environment(tmp_path)) as terminal:
        terminal.wait_for(b"tokens known", 60)
        terminal.type(F9)
        assert terminal.wait(60) == 1
    assert "RuntimeError: raised␛[31m" in terminal.output.decode() and b"\x1b[?1049l" in terminal.output
    assert driven(terminal.output, APP) == []


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_terminal_obeys_none_of_it(stranger, tmp_path):
    """tmux would take title, clipboard and bell from what it is shown."""
    socket = f"babytui-{uuid.uuid4().hex[:8]}"

    def tmux(*words: str) -> str:
        return subprocess.run(["tmux", "-f", "/dev/null", "-L", socket, *words], capture_output=True, text=True,
                              timeout=120, check=False, env={**os.environ, **environment(tmp_path),
                                                            "BABYTUI_WORKSPACE": str(stranger.root)}).stdout

    def shows(word: str) -> None:
        end = time.monotonic() + 60
        while word not in (screen := tmux("capture-pane", "-p")):
            assert time.monotonic() < end, screen
            time.sleep(0.05)

    try:
        tmux("new-session", "-d", "-x", "160", "-y", "45", f"exec {sys.executable} -P -m babytui")
        tmux("set-option", "-g", "set-clipboard", "on")
        shows("tokens known")
        title = tmux("display-message", "-p", "#{pane_title}")
        tmux("send-keys", "a", "Enter")
        shows("500 tokens")  # of which hardly one is harmless
        tmux("send-keys", "F10")
        shows("bake␛[31m")
        assert tmux("display-message", "-p", "#{pane_title}") == title != "owned"
        assert tmux("show-buffer") == "" and "!" not in tmux("list-windows", "-F", "#{window_flags}")
    finally:
        tmux("kill-server")
    assert GUID in {entry.guid for entry in stranger.entries()}
