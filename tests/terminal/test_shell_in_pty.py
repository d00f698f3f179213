"""The shell in a real terminal: it paints, streams, is interrupted and ended, and gives the terminal back as it was."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import pytest
from hostile import SEQUENCES, driven
from waiting import until

from babytui import runs
from engine.config import Config
from store import journal
from store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from pty_app import PtyApp

ROOT = Path(__file__).resolve().parents[2]
REPL = [sys.executable, "-P", "-m", "babytui", "repl"]
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
# prompt_toolkit's: moves, colours, erasing, and the modes for the cursor, wrapping, pastes and the keyboard
OWN = re.compile(r"\x1b\[[0-9;]*[ABCDHJKm]|\x1b\[\?(?:25|7|12|2004|1)[hl]|\x1b\[\d* q|\r(?!forged)|\n|"
                 r"(?<!\x08)\x08(?!\x08)")
Open = Callable[..., PtyApp]


@pytest.fixture
def workspace(tmp_path: Path, text_file: Path) -> Workspace:
    """A workspace with one model, "tiny"."""
    run = runs.start(Workspace(tmp_path / "w"), Config.read(TINY), [text_file], name="tiny", steps=5)
    assert run.wait(60) == "finished"
    return run.workspace


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Open]:
    """`shell(workspace, *words, **environment)`: the shell in a terminal of 80 × 24, at its first prompt."""
    opened: list[PtyApp] = []

    def start(place: Workspace, *words: str, ready: bytes = b" > ", **env: str) -> PtyApp:
        environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state"), **env}
        app = PtyApp([*REPL, "--workspace", str(place.root), *words], 80, 24, environment)
        opened.append(app)
        app.before = termios.tcgetattr(app._master)  # type: ignore[attr-defined]
        app.wait_for(ready, 60)
        return app

    yield start
    for app in opened:
        app.close()


def given_back(app: PtyApp) -> None:
    """Modes of the line and of the terminal as they were."""
    assert termios.tcgetattr(app._master) == app.before  # type: ignore[attr-defined]
    text = bytes(app.output)
    for mode in (b"\x1b[?2004", b"\x1b[?25"):
        last = max(text.rfind(mode + b"h"), text.rfind(mode + b"l"))
        assert last < 0 or text[last + len(mode):][:1] == (b"l" if mode == b"\x1b[?2004" else b"h")


def said(app: PtyApp, start: int = 0) -> str:
    """What was written after a place, without sequences."""
    return OWN.sub("", app.output[start:].decode("utf-8", "replace").replace("\r\n", "⏎")).replace("⏎", "\n")


def shows(app: PtyApp, text: str, start: int = 0) -> None:
    """Waits until a text was written after a place, whatever stands between its characters."""
    until(lambda: app.read(0.02) is not None and text in said(app, start), repr(text))


def interrupt(app: PtyApp) -> None:
    """What ctrl+c is while no line is read: the line discipline of a controlling terminal sends the signal."""
    app.process.send_signal(signal.SIGINT)


def test_commands_replies_and_the_end(workspace, shell):
    app = shell(workspace)
    start = len(app.output)
    app.type(b"/list --json\r")
    app.wait_for(b'"name": "tiny"', 60, start)
    app.type(b"/set tokens 30\r/set seed 1\r")
    app.wait_for(b"the same seed", 60, start)
    start = len(app.output)
    app.type(b"The cat\r")
    app.wait_for(b"seed 1", 60, start)
    import babytui

    want = "The cat" + "".join(babytui.load("tiny", workspace.root).stream("The cat", 30, temperature=0.8, seed=1))
    assert want.replace("\n", "") in said(app, start).replace("\n", "")
    app.wait_for(b"\x1b[?2004h", 60, app.output.index(b"seed 1", start))  # a line is read again
    app.type(b"\x04")
    assert app.wait(60) == 0
    given_back(app)
    assert driven(bytes(app.output), OWN) == []


def test_ctrl_c_stops_a_reply_and_drops_a_line(workspace, shell):
    app = shell(workspace)
    app.type(b"/set tokens 1000000\r")
    app.wait_for(b"at most", 60)
    start = len(app.output)
    app.type(b"The cat\r")
    until(lambda: app.read(0.05) is not None and len(app.output) > start + 2000, "it streams")
    interrupt(app)
    app.wait_for(b", stopped", 60, start)
    app.wait_for(b" > ", 60, app.output.rfind(b", stopped"))
    start = len(app.output)
    app.type(b"nonsense\x03/follow\r")
    shows(app, "\nends\n", start)
    app.type(b"/quit\r")
    assert app.wait(60) == 0
    given_back(app)


def test_what_is_typed_while_a_reply_streams_is_not_in_its_middle(workspace, shell):
    app = shell(workspace)
    app.type(b"/set tokens 1000000\r")
    app.wait_for(b"at most", 60)
    start = len(app.output)
    app.type(b"The cat\r")
    until(lambda: app.read(0.05) is not None and len(app.output) > start + 2000, "it streams")
    app.type(b"QQQQ")
    until(lambda: app.read(0.05) is not None and len(app.output) > start + 20_000, "it streams on")
    interrupt(app)
    app.wait_for(b", stopped", 60, start)
    assert b"QQQQ" not in app.output[start:app.output.rfind(b", stopped")]


@pytest.mark.parametrize(("number", "while_"), [(signal.SIGTERM, "prompt"), (signal.SIGHUP, "prompt"),
                                                (signal.SIGTERM, "reply"), (signal.SIGHUP, "reply")])
def test_a_signal_ends_it_and_the_terminal_is_given_back(workspace, shell, number, while_):
    app = shell(workspace)
    if while_ == "reply":
        app.type(b"/set tokens 1000000\r")
        app.wait_for(b"at most", 60)
        start = len(app.output)
        app.type(b"The cat\r")
        until(lambda: app.read(0.05) is not None and len(app.output) > start + 2000, "it streams")
    app.process.send_signal(number)
    assert app.wait(60) == 128 + number
    given_back(app)
    assert b"Traceback" not in app.output


def test_a_run_goes_on_in_the_background_and_is_told_above_the_prompt(workspace, shell, text_file):
    app = shell(workspace)
    words = " ".join(f"--set {name}={value}" for name, value in TINY.items())
    app.type(f"/train --detach --name long --steps 100000000 --input {text_file} {words}\r".encode())
    app.wait_for(b"long trains in the background", 60)
    run = runs.find(workspace, "long")
    try:
        start = len(app.output)
        app.wait_for(b"tokens/s", 60, start)  # in the toolbar
        app.type(b"half a line")
        shows(app, "half a line", start)
        start = len(app.output)
        run.command("stop")
        app.wait_for(b"was stopped and kept", 60, start)
        shows(app, "tiny > half a line", app.output.rfind(b"was stopped and kept"))  # painted again below
    finally:
        if run.alive:
            run.command("stop")
    app.type(b"\x03\x04")
    assert app.wait(60) == 0
    given_back(app)
    assert driven(bytes(app.output), OWN) == []


def test_ctrl_c_at_a_watched_run_asks(workspace, shell, text_file):
    app = shell(workspace)
    words = " ".join(f"--set {name}={value}" for name, value in TINY.items())
    app.type(f"/train --name long --steps 100000000 --input {text_file} {words}\r".encode())
    app.wait_for(b"left", 60)
    run = runs.find(workspace, "long")
    interrupt(app)
    app.wait_for(b"[b]ackground", 60)
    app.type(b"s\n")
    assert run.wait(40) == "stopped"
    app.wait_for(b"Look at it", 60)
    shows(app, "tiny > ", app.output.rfind(b"Look at it"))
    app.type(b"/quit\r")
    assert app.wait(60) == 0


def test_history_is_kept_and_private(workspace, shell, tmp_path):
    app = shell(workspace)
    app.type(b"/follow all\r")
    shows(app, "\nall\ntiny > ")
    app.type(b"\x04")
    assert app.wait(60) == 0
    kept = tmp_path / "state" / "babytui" / "prompts.jsonl"
    assert [line["text"] for line in journal.read(kept)[0]] == ["/follow all"]
    assert kept.stat().st_mode & 0o777 == 0o600
    app = shell(workspace)
    start = len(app.output)
    app.type(b"\x1b[A")
    shows(app, "/follow all", start)
    app.type(b"\r")
    shows(app, "\nall\n", start)


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_dumb_terminal_gets_no_sequences(workspace, shell, env):
    app = shell(workspace, ready=b"> ", **env)
    app.type(b"/list\n/set tokens 5\nThe \\\ncat\n")
    app.wait_for(b"5 tokens in", 60)
    app.type(b"\x04")
    assert app.wait(60) == 0
    assert b"\x1b" not in app.output and b"tiny" in app.output and b"... " in app.output
    given_back(app)


def test_no_colour(workspace, shell):
    app = shell(workspace, NO_COLOR="1")
    app.type(b"/tra")
    app.wait_for(b"trash", 60)
    app.type(b"\x03\x04")
    assert app.wait(60) == 0
    # attributes, but none of the colours 30 to 49 and 90 to 107
    codes = {int(code) for found in re.findall(rb"\x1b\[([0-9;]*)m", bytes(app.output)) for code in found.split(b";")
             if code}
    assert not {code for code in codes if 30 <= code < 50 or 90 <= code < 108}


def test_a_strangers_workspace_does_not_drive_it(tmp_path, shell):
    place = hostile.workspace(tmp_path)
    app = shell(place, COLUMNS="400")
    start = len(app.output)
    app.type(f"/model {hostile.GUID}\r/set tokens 300\r/set seed 1\r".encode())
    app.wait_for(b"the same seed", 60, start)
    for line in (b"a\r", b"/list\r", b"/runs\r", b"/bakeoff list\r", b"/inputs list\r", b"/follow all\r"):
        start = len(app.output)
        app.type(line)
        app.wait_for(b" > ", 60, start)
    shows(app, "\nall\n")
    for text in ("/info ", "/attach ", "/bakeoff show ", "/train --input ", "/delete x"):
        app.type(text.encode())
        app.read(0.3)
        app.type(b"\t\x03")
        app.read(0.2)
    app.type(b"\x1b[200~" + SEQUENCES["clipboard"].replace("\x07", "").encode() + b"\x1b[201~")
    app.read(0.3)
    app.type(b"\x03\x04")
    assert app.wait(60) == 0
    assert driven(bytes(app.output), OWN) == []
    given_back(app)
    os.stat(place.root)
