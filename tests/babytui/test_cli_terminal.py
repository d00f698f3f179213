"""The command line in a real terminal: what ctrl+c asks, and that a model cannot drive the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from babytui import bakeoff, runs
from store import trash
from store.workspace import Workspace

ROOT = Path(__file__).parents[2]
SET = [word for name, value in {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8,
                                "batch_size": 4}.items() for word in ("--set", f"{name}={value}")]


class Terminal:
    """A command in a pseudo terminal of 100×30, as its session's leader, so that ctrl+c reaches it."""

    def __init__(self, *words: str | Path, home: Path):
        self.seen = b""
        child, self.fd = pty.fork()
        if child == 0:
            os.environ.update(HOME=str(home), PYTHONPATH=str(ROOT), TERM="xterm-256color", LINES="30", COLUMNS="100")
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, [sys.executable, "-P", "-m", "babytui", *map(str, words)])
        self.child = child

    def read_until(self, pattern: str, seconds: float = 60) -> str:
        """Everything so far, once it matches."""
        end = time.monotonic() + seconds
        while not re.search(pattern.encode(), self.seen):
            assert time.monotonic() < end, self.seen[-2000:].decode(errors="replace")
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:
                    break
        return self.seen.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """The exit code; what was printed to the end is in `seen`."""
        while True:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                piece = b""
            if not piece:
                break
            self.seen += piece
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


@pytest.fixture
def training(tmp_path, text_file):
    terminal = Terminal("train", *SET, "--input", text_file, "--steps", "9999999", "--workspace", tmp_path / "w",
                        home=tmp_path)
    terminal.read_until(r"loss \d")
    yield terminal, Workspace(tmp_path / "w")
    for run in runs.all_runs(Workspace(tmp_path / "w")):
        if run.alive:
            run.command("stop")
            run.wait(60)


def test_ctrl_c_asks_and_leaves_the_run_in_the_background(training):
    terminal, workspace = training
    terminal.type("\x03")
    terminal.read_until(r"arry on watching")
    terminal.type("c\n")
    terminal.seen = b""
    terminal.read_until(r"loss \d")
    terminal.type("\x03")
    terminal.read_until(r"arry on watching")
    terminal.type("b\n")
    assert terminal.end() == 0
    run = runs.find(workspace, "last")
    assert run.alive and f"babytui attach {run.guid[:8]}" in terminal.seen.decode()


def test_ctrl_c_twice_stops_and_keeps(training):
    terminal, workspace = training
    terminal.type("\x03")
    terminal.read_until(r"arry on watching")
    terminal.type("\x03")
    assert terminal.end() == 130
    run = runs.find(workspace, "last")
    assert run.status() == "stopped" and workspace.entry(run.guid).has_model


def test_ctrl_c_off_a_terminal_stops_and_keeps(tmp_path, text_file):
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "babytui", "train", *SET, "--input", text_file, "--steps", "9999999",
         "--workspace", tmp_path / "w"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})
    assert "parameters" in process.stderr.readline()
    process.send_signal(2)
    out, err = process.communicate(timeout=120)
    run = runs.find(Workspace(tmp_path / "w"), "last")
    assert process.returncode == 130 and run.status() == "stopped" and out.strip() == run.guid
    assert "stopped and kept" in err and "Traceback" not in err


def test_a_hostile_vocabulary_reaches_no_terminal(trained, tmp_path):
    source, run = trained
    workspace = Workspace(shutil.copytree(source.root, tmp_path / "copy"))
    path = workspace.path("tokenizer", run.guid)
    tokenizer = json.loads(path.read_text())
    evil = ["\x1b", "\x07", "\x9b", "\u202e", "\r", "\x08", "\u2066", "\x7f", "\x0e", "\x90", "\x9d", "\x00"]
    tokenizer["vocab"] = [*evil, *tokenizer["vocab"][len(evil):]]
    path.write_text(json.dumps(tokenizer))
    for words in (["inference"], ["inference", "--json"], ["info"], ["list", "--json"]):
        extra = ["--tokens", "400", "--temperature", "5", "--seed", "1", "--no-save"] if words[0] == "inference" else []
        terminal = Terminal(*words, *extra, "--workspace", workspace.root, home=tmp_path)
        assert terminal.end() == 0
        shown = terminal.seen.decode().replace("\r\n", "\n").replace("\r\x1b[K", "")
        assert not [c for c in shown if c in evil], words
        if words == ["inference"]:
            assert "␛" in shown and "⟨U+202E⟩" in shown
    piped = subprocess.run([sys.executable, "-P", "-m", "babytui", "inference", *extra, "--tokens", "400", "--no-save",
                            "--workspace", workspace.root], capture_output=True, timeout=120,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert piped.returncode == 0 and b"\x1b" in piped.stdout


def test_a_bake_off_is_redrawn_in_place_and_ctrl_c_asks(tmp_path, text_file):
    workspace = Workspace(tmp_path / "w")
    terminal = Terminal("bakeoff", "--attention", "mha", "--network", "mlp,swi", *SET, "--input", text_file, "--steps",
                        "9999999", "--workspace", workspace.root, "--no-color", home=tmp_path)
    try:
        terminal.read_until(r"mha·mlp[^\n]*training")
        terminal.read_until(r"(?:training(?:[^t]|t(?!raining))*){12}")
        assert re.search(rb"\x1b\[\d+A\r", terminal.seen), "up, and over what stood there"
        assert 2 * terminal.seen.count(b"MODEL") < terminal.seen.count(b"training"), "only the rows that changed"
        assert not re.search(rb"\x1b\[\d*m", terminal.seen), "no colours"
        terminal.type("\x03")
        terminal.read_until(r"\[b\]ackground")
        terminal.type("b\n")
        terminal.read_until("bakeoff attach")
        assert terminal.end() == 0
        found = bakeoff.find(workspace, "last")
        assert found.status() == "running" and found.guid in terminal.seen.decode(errors="replace")
        again = Terminal("bakeoff", "resume", "--workspace", workspace.root, home=tmp_path)
        again.read_until(r"mha·mlp[^\n]*training")
        again.type("\x03")
        again.read_until(r"\[b\]ackground")
        again.type("s\n")
        assert again.end() == 130 and found.status() == "stopped"
        assert b"was stopped after 0 of 2" in again.seen
    finally:
        for found in bakeoff.all_bakeoffs(workspace):
            if found.alive:
                found.stop()
                found.wait(60)


def asked(home: Path, answer: str, *words: str | Path) -> tuple[int, str]:
    """The exit code and the screen of a command that asks, when somebody answers."""
    terminal = Terminal(*words, home=home)
    terminal.read_until(r"\[y/N\]")
    terminal.type(answer)
    code = terminal.end()
    return code, terminal.seen.decode()


def test_whoever_sits_there_is_asked_before_anything_goes(nest, tmp_path):
    workspace, guid = nest
    where = ("--workspace", workspace.root)
    path, left = workspace.path("model", guid), workspace.models / ".x.json.0123456789ab.tmp"
    for answer in ("n\n", "\n", "\x04", "yess\n"):
        code, screen = asked(tmp_path, answer, "delete", "tiny", *where)
        assert code == 0 and "Nothing was deleted" in screen and path.exists()
    code, screen = asked(tmp_path, "\x03", "delete", "tiny", *where)
    assert code == 130 and path.exists()
    assert asked(tmp_path, "y\n", "delete", "tiny", *where)[0] == 0 and not path.exists()
    assert "Nothing was deleted" in asked(tmp_path, "n\n", "trash", "empty", *where)[1] and trash.items(workspace.root)
    assert asked(tmp_path, "yes\n", "trash", "empty", *where)[0] == 0 and not trash.items(workspace.root)
    left.touch()
    os.utime(left, (1, 1))
    code, screen = asked(tmp_path, "n\n", "doctor", "--repair", *where)
    assert code == 0 and "Nothing was repaired" in screen and left.exists()
    assert asked(tmp_path, "y\n", "doctor", "--repair", *where)[0] == 0 and not left.exists()
