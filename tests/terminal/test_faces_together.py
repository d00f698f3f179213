"""Two apps and the command line on one run: each steers it, all of them see what became of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from babytui import runs
from engine.config import Config
from store import journal
from store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from pty_app import PtyApp

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable, "-P", "-m", "babytui"]
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
F3 = b"\x1bOR"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[runs.Run]:
    text = tmp_path / "cats.txt"
    text.write_text("The cat sat on the mat. The dog saw the cat and ran.\n" * 40)
    started = runs.start(Workspace(tmp_path / "nest"), Config.read(TINY), [text], steps=100_000_000, name="long")
    yield started
    if started.alive:
        started.command("stop")
        started.wait(60)


def everywhere(words: dict[PtyApp, str], seconds: float = 60) -> None:
    """Until each has shown its word since `mark`; all are read, so that none is held up."""
    end = time.monotonic() + seconds
    while left := [(face, word) for face, word in words.items() if word.encode() not in face.output[face.mark:]]:
        assert time.monotonic() < end, [(word, bytes(face.output[face.mark:])[-500:]) for face, word in left]
        for face in words:
            face.read(0.02)


def mark(*faces: PtyApp) -> None:
    for face in faces:
        face.read(0.1)
        face.mark = len(face.output)


def commands(run: runs.Run) -> list[str]:
    """What the run says it was told."""
    return [event.command for event in run.events()[0] if event.kind == "control"]


def test_two_apps_and_a_command_line_on_one_run(run, tmp_path):
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    where = ["--workspace", str(run.workspace.root)]
    with (PtyApp([*PYTHON, *where], 120, 40, environment) as first,
          PtyApp([*PYTHON, *where], 80, 24, environment) as second,
          PtyApp([*PYTHON, "attach", run.guid, *where], 100, 30, environment) as line):
        everywhere({first: "tokens known", second: "tokens known", line: "tokens/s"})
        for face in (first, second):
            face.type(F3)
        everywhere({first: "(running)", second: "(running)"})

        mark(first, second, line)
        first.type(b"p")
        everywhere({first: "(paused)", second: "(paused)", line: "pause"})
        assert run.status() == "paused"

        mark(first, second, line)
        told = subprocess.run([*PYTHON, "resume", run.guid, "--json", *where], capture_output=True, timeout=120,
                              check=True, env={**os.environ, **environment})
        assert json.loads(told.stdout)["status"] == "running"
        everywhere({first: "(running)", second: "(running)", line: "resume"})

        mark(first, second, line)
        first.type(b"p")
        second.type(b"p")  # both at once: it waits once
        everywhere({first: "(paused)", second: "(paused)"})
        mark(first, second, line)
        second.type(b"r")
        everywhere({first: "(running)", second: "(running)", line: "resume"})

        mark(first, second, line)
        second.type(b"s")
        everywhere({first: "(stopped)", second: "(stopped)", line: "was stopped and kept"})
        assert line.wait(60) == 0
        for face in (first, second):
            face.type(b"\x11")
            assert face.wait(60) == 0
    assert run.status() == "stopped" and run.workspace.entry(run.guid).has_model
    assert commands(run) == ["pause", "resume", "pause", "resume", "stop"]
    asked, _ = journal.read(run.dir / "control.jsonl")
    assert [word["command"] for word in asked] == ["pause", "resume", "pause", "pause", "resume", "stop"]


def test_many_command_lines_at_once_tear_no_line(run):
    """What is asked for by eight processes at the same time arrives whole, each once."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    where = ["--workspace", str(run.workspace.root)]
    started = [subprocess.Popen([*PYTHON, "checkpoint", run.guid, "-q", *where], env=environment,
                                stdout=subprocess.PIPE) for _ in range(8)]
    assert [one.wait(120) for one in started] == [0] * 8
    paths = [Path(one.stdout.read().decode().strip()) for one in started]
    assert all(path.parent == run.dir / "checkpoints" for path in paths)
    asked, _ = journal.read(run.dir / "control.jsonl")
    assert [word["command"] for word in asked] == ["checkpoint"] * 8 == commands(run)
    assert run.status() == "running"
