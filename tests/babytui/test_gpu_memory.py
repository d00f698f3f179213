"""A run on a GPU whose memory runs out: it says so, keeps what it has learnt, and goes on to the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_driver import FakeCuda, FakeGpu, FakeManager
from outcome import outcome
from strict_xp import installed

from babytui import process, runs
from babytui.runs import Run
from babytui.worker import Worker
from engine import device
from engine.config import Config
from engine.errors import RunError
from engine.estimate import estimate
from engine.events import Alarm, Checkpoint, End
from store import atomic
from store.workspace import Workspace

GUID = "00000000-0000-4000-8000-000000000001"
CONFIG = Config.read({"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 1, "n_ctx": 16, "batch_size": 4,
                      "n_steps": 5, "s_checkpoint_steps": 2, "c_device": "gpu"})
TEXT = "".join(f"The cat sat on mat {i % 7}. The dog saw the cat.\n" for i in range(60))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """The worker leaves the signals of the tests alone."""
    monkeypatch.setattr(process, "heed", lambda stop: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def planned(root: Path) -> Run:
    """A run that was begun, but whose process has done nothing yet."""
    run = Run(Workspace(root / "workspace").ensure(), GUID)
    (root / "cats.txt").write_text(TEXT)
    run.dir.mkdir(mode=0o700)
    atomic.write_json(run.dir / "plan.json", {
        "guid": GUID, "created": 1.0, "name": "tiny", "config": CONFIG.to_dict(), "texts": [str(root / "cats.txt")],
        "notes": [], "dataset": "cats", "prompt": "The", "time_budget": None})
    return run


@pytest.mark.slow
def test_a_run_without_memory_keeps_its_checkpoint_and_goes_on(tmp_path):
    for name in ("warm", "whole"):  # constants are kept from the first one on
        (tmp_path / name).mkdir()
        run = planned(tmp_path / name)
        with installed() as hardware:
            assert Worker(run, 0, False).run_to_end() == 0
            total = hardware.allocations
    expected = outcome(run.workspace, GUID)
    (tmp_path / "short").mkdir()
    run = planned(tmp_path / "short")
    with installed(fails=frozenset(range(int(0.7 * total), total))):
        assert Worker(run, 0, False).run_to_end() == 1
    told, _ = run.events(0)
    end, alarms = told[-1], [event for event in told if isinstance(event, Alarm)]
    assert isinstance(end, End) and end.reason == "failed" and run.status() == "failed"
    assert "memory" in end.message and "GPU has run out" in end.message and "; lower " in end.message
    assert [alarm.message for alarm in alarms] == [end.message]
    assert any(isinstance(event, Checkpoint) and event.step > 0 for event in told)
    with installed():
        assert Worker(run, 0, True).run_to_end() == 0
    assert run.status() == "finished" and outcome(run.workspace, GUID) == expected


def test_a_run_that_is_far_too_large_is_not_begun(monkeypatch):
    cuda = FakeCuda(gpus=(FakeGpu(memory=2 << 30, free=1 << 30),))
    libraries = {device._DRIVERS: cuda, device._MANAGERS: FakeManager(cuda)}
    monkeypatch.setattr(device, "_library", lambda names: libraries[names])
    config = CONFIG.replace(batch_size=512, n_ctx=512, n_emb=512, head_size=512, n_layers=8)
    assert estimate(config).training_bytes > 8 << 30
    with pytest.raises(RunError, match=r"the GPU has 2 GiB; lower batch_size to"):
        runs.need_memory(config, 65)
    runs.need_memory(CONFIG, 65)
