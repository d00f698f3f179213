"""A run one of whose worker processes is killed: it ends in a sentence, and goes on to the bytes it would have had."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from babytui import runs
from engine import events
from engine.config import Config
from store.lock import Lock
from store.workspace import Workspace

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
WIDE = Config.read({"n_layers": 1, "n_emb": 32, "head_size": 32, "n_heads": 2, "n_ctx": 64, "batch_size": 24,
                    "c_device_cpu_cores": 2})
STEPS = 60


def worker_of(run: runs.Run) -> int:
    """The first process that the run's own has started, as soon as there is one."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        parent = Lock.owner(run.dir / "lock")
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                    return int(stat.parent.name)
            except OSError:
                continue
    raise AssertionError("no worker was started")


def started(folder: Path, config: Config = WIDE) -> runs.Run:
    folder.mkdir()
    text = folder / "cats.txt"
    text.write_text("The cat sat on the mat. The dog saw the cat and ran.\n" * 400)
    return runs.start(Workspace(folder / "w"), config, [text], steps=STEPS)


def model_of(run: runs.Run) -> bytes:
    return run.workspace.path("model", run.guid).read_bytes()


@pytest.mark.parametrize("after", [0, pytest.param(7, marks=pytest.mark.slow)])
def test_a_killed_worker_costs_a_step_at_most(tmp_path, after):
    """after: steps; 0: as soon as the worker is there, while it is still starting."""
    run = started(tmp_path / "a")
    if after:
        next(event for event in run if isinstance(event, events.Step) and event.step >= after)
    os.kill(worker_of(run), signal.SIGKILL)
    assert run.wait(60) == "failed"
    told = run.events()[0]
    *_, checkpoint, alarm, end = told
    steps = [event.step for event in told if isinstance(event, events.Step)]
    assert (end.reason, end.step) == ("failed", len(steps)) and steps == list(range(1, len(steps) + 1))
    assert len(steps) >= after and (after or not steps)
    assert end.message == alarm.message and "signal 9" in end.message and end.message.count(". ") == 0
    assert (checkpoint.reason, checkpoint.step) == ("failed" if steps else "start", end.step)
    assert (run.dir / checkpoint.path).is_file()
    assert len(list((run.dir / "checkpoints").iterdir())) <= 4
    run.resume()
    assert run.wait(60) == "finished"
    whole = started(tmp_path / "b", WIDE.replace(c_device_cpu_cores=1))
    assert whole.wait(60) == "finished"
    assert model_of(run) == model_of(whole)
