"""The real app in a real terminal: tmux draws it, keys drive it, a run outlives it. Skipped where tmux is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from babytui import runs
from store.workspace import Workspace

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
ROOT = Path(__file__).resolve().parents[2]
TEXT = "The cat sat on the mat. The dog saw the cat and ran.\n" * 40


class Tmux:
    """One window of a tmux server of its own."""

    def __init__(self, width: int, height: int, command: str):
        self._socket = f"babytui-{uuid.uuid4().hex[:8]}"
        self._run("new-session", "-d", "-x", str(width), "-y", str(height), command)

    def _run(self, *words: str) -> str:
        return subprocess.run(["tmux", "-f", "/dev/null", "-L", self._socket, *words], capture_output=True, text=True,
                              check=True, timeout=120).stdout

    def keys(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def screen(self) -> str:
        return self._run("capture-pane", "-p")

    def wait_for(self, condition: Callable[[str], bool], seconds: float = 60) -> str:
        """The screen as soon as the condition holds for it."""
        end = time.monotonic() + seconds
        while not condition(screen := self.screen()):
            assert time.monotonic() < end, f"it did not appear on\n{screen}"
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def nest(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "nest").ensure()
    (workspace.inputs / "cats.txt").write_text(TEXT)
    return workspace


@pytest.fixture
def terminal(nest: Workspace) -> Iterator[Callable[[int, int], Tmux]]:
    opened: list[Tmux] = []

    def start(width: int, height: int) -> Tmux:
        command = f"cd {ROOT} && exec {sys.executable} -m babytui --workspace {nest.root}; sleep 60"
        opened.append(Tmux(width, height, command))
        return opened[-1]

    yield start
    for tmux in opened:
        tmux.close()
    for run in runs.all_runs(nest):
        if run.alive:
            run.command("stop")
            run.wait(60)


@pytest.mark.parametrize(("width", "height", "all_four"), [
    (80, 24, False), *(pytest.param(*size, marks=pytest.mark.slow) for size in ((60, 20, False), (120, 40, True)))])
def test_every_pane_is_one_key_away(terminal: Callable[[int, int], Tmux], width: int, height: int,
                                    all_four: bool) -> None:
    tmux = terminal(width, height)
    screen = tmux.wait_for(lambda s: "F5 Chat" in s and "temperature" in s and "^Q quit" in s)
    assert len(screen.rstrip("\n").split("\n")) == height
    if all_four:
        for title in ("F2 Config", "F3 Training", "F4 Models", "F5 Chat"):
            assert title in screen
    tmux.keys("F2")
    tmux.wait_for(lambda s: "n_layers" in s and "Train (F9)" in s)
    tmux.keys("F3")
    tmux.wait_for(lambda s: "The loss curve appears here." in s)
    tmux.keys("F4")
    tmux.wait_for(lambda s: "val. loss" in s)
    tmux.keys("C-q")
    tmux.wait_for(lambda s: "F5 Chat" not in s)


def test_a_run_outlives_the_app_and_is_found_again(terminal: Callable[[int, int], Tmux], nest: Workspace) -> None:
    (nest.settings / "current.json").write_text('{"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, '
                                                '"batch_size": 4, "n_steps": 100000000}')
    tmux = terminal(80, 24)
    tmux.wait_for(lambda s: "temperature" in s)
    tmux.keys("F2")
    tmux.wait_for(lambda s: "parameters 1,217" in s)
    tmux.keys("F9")
    tmux.wait_for(lambda s: "(running)" in s and "tokens/s" in s)
    tmux.keys("C-q")
    tmux.wait_for(lambda s: "(running)" not in s)
    assert runs.find(nest, "last").alive
    again = terminal(80, 24)
    again.wait_for(lambda s: "%" in s and "loss" in s)
    again.keys("F3")
    again.wait_for(lambda s: "(running)" in s)
    again.keys("s")
    again.wait_for(lambda s: "(stopped)" in s)


def test_suspending_and_coming_back_paints_everything(tmp_path: Path) -> None:
    tmux = Tmux(80, 24, "bash --norc")
    try:
        tmux.keys(f"cd {ROOT} && clear && {sys.executable} -m babytui --workspace {tmp_path} --no-mouse",
                  "Enter")
        before = tmux.wait_for(lambda s: "F5 Chat" in s and "tokens known" in s)  # when the baby is there, all rests
        tmux.keys("C-z")
        tmux.wait_for(lambda s: "Stopped" in s)
        tmux.keys("fg", "Enter")
        tmux.wait_for(lambda s: s.split("\n")[:2] == before.split("\n")[:2] and "temperature" in s)
        tmux.keys("C-q")
        tmux.wait_for(lambda s: "temperature" not in s)
    finally:
        tmux.close()
