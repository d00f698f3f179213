"""The app on a link of 10 kB/s, with a run to watch: how many bytes come before a key's echo, and what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from babytui import runs
from engine.config import Config
from store.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))
from pty_app import PtyApp

ROOT = Path(__file__).resolve().parents[2]
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
F5 = b"\x1b[15~"

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, text_file):
    workspace = Workspace(tmp_path / "w")
    run = runs.start(workspace, Config.read(TINY), [text_file], steps=10_000_000)
    yield tmp_path
    if run.alive:
        run.command("stop")
        run.wait(60)


def opened(folder: Path, rate: float, answers: bool, **settings: str) -> PtyApp:
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "BABYTUI_TOUR": "false", **settings}
    return PtyApp([sys.executable, "-P", "-m", "babytui", "--workspace", str(folder / "w")], 120, 40, environment, rate,
                  answers)


def ahead(app: PtyApp, keys: bytes) -> list[int]:
    """Bytes that come before the echo of each key, from the fewest to the most."""
    counts = []
    for key in keys:
        app.read(0.3)
        start = len(app.output)
        app.type(bytes([key]))
        app.wait_for(bytes([key]), 60, start)
        counts.append(app.output.index(key, start) - start)
        app.type(b"\x7f")
    return sorted(counts)


def test_few_bytes_come_before_an_echo(folder):
    """Half of them within half a second of the link, nine of ten within two. A frame of the whole screen is 13 kB."""
    with opened(folder, 10e3, True) as app:
        app.wait_for(b"tokens known", 60)
        app.type(F5)
        app.read(5)
        counts = ahead(app, b"QZXJKVWYUG")
        assert counts[5] < 5_000 and counts[8] < 20_000, counts
        app.type(b"\x11")
        assert app.wait(60) == 0
    assert b"\x1b[?1049l" in app.output


def test_a_step_that_was_chosen_is_kept_and_paints_in_few_colours(folder):
    """`thin` on a quick link: hardly any true colour, in fewer bytes, and `full` has it."""
    true, sent = {}, {}
    for pace in ("thin", "full"):
        with opened(folder, float("inf"), True, BABYTUI_PACE=pace) as app:
            app.wait_for(b"tokens known", 60)
            app.read(3)
            true[pace], sent[pace] = app.output.count(b"8;2;"), len(app.output)
    assert 10 * true["thin"] < true["full"], true
    assert sent["thin"] < sent["full"], sent


def test_a_terminal_that_answers_nothing_is_asked_once(folder):
    with opened(folder, float("inf"), False) as app:
        app.wait_for(b"tokens known", 60)
        app.read(3)
        assert app.output.count(PtyApp.QUESTION) == 1
        app.type(b"\x11")
        assert app.wait(60) == 0
