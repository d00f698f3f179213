"""The plug is pulled at some moment of a run: everything that is there can be read, and the run goes on to the same
bytes."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from outcome import outcome
from powercut import Recorder, Tree, some_state

from babytui import process
from babytui.runs import Run
from babytui.worker import Worker
from engine.config import Config
from engine.errors import BabyError
from store import artifacts, atomic, checkpoint
from store.atomic import TEMPORARY
from store.workspace import Workspace

GUID = "00000000-0000-4000-8000-000000000001"
CONFIG = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 1, "n_ctx": 16, "batch_size": 4, "n_steps": 24,
          "s_checkpoint_steps": 4, "n_checkpoints": 2, "c_device_cpu_cores": 1, "c_shuffle": True}
TEXT = "".join(f"The cat sat on mat {i % 7}. The dog saw the cat.\n" for i in range(60))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """The worker leaves the signals of the tests alone, and nothing waits for the real disk."""
    monkeypatch.setattr(process, "heed", lambda stop: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def planned(root: Path, text: Path) -> Run:
    """A run that was begun, but whose process has done nothing yet."""
    run = Run(Workspace(root).ensure(), GUID)
    run.dir.mkdir(mode=0o700)
    atomic.write_json(run.dir / "plan.json", {
        "guid": GUID, "created": 1.0, "name": "tiny", "config": Config.read(CONFIG).to_dict(), "texts": [str(text)],
        "notes": [], "dataset": "cats", "prompt": "The", "time_budget": None})
    return run


def laid(root: Path, tree: Tree) -> Run:
    """The files of a state of the disk."""
    ws = Workspace(root).ensure()
    for path, data in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return Run(ws, GUID)


def check(run: Run) -> None:
    """Whatever bears its own name is whole."""
    ws = run.workspace
    for path in (run.dir / "checkpoints").glob("*.safetensors"):
        if not TEMPORARY.fullmatch(path.name):
            checkpoint.read(path)
    for kind, read in {"config": artifacts.load_config, "tokenizer": artifacts.load_vocabulary,
                       "model": artifacts.load_model, "report": artifacts.load_report,
                       "completion": artifacts.load_completion}.items():
        if ws.path(kind, GUID).exists():
            read(ws, GUID)
    entry = ws.entry(GUID)
    assert not entry.problems and (not entry.has_model or ws.path("tokenizer", GUID).exists())
    assert entry.report is None or entry.report["babytui_steps"] == CONFIG["n_steps"]
    if run.status() == "finished":
        assert all(ws.path(kind, GUID).exists() for kind in ("config", "tokenizer", "model", "report", "completion"))
        assert ws.last()["last_uuid"] == GUID


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_after_a_power_cut_a_run_goes_on_to_the_same_bytes(tmp_path, seed):
    dice = random.Random(seed)
    text = tmp_path / "cats.txt"
    text.write_text(TEXT)
    run = planned(tmp_path / "whole", text)
    with Recorder(run.workspace.root, everyone=True) as recorder:
        assert Worker(run, 0, False).run_to_end() == 0
    expected = outcome(run.workspace, GUID)
    assert run.status() == "finished" and len(recorder.log) > 100
    resumed = 0
    for number in range(40):
        told, tree = some_state(recorder, dice.randrange(len(recorder.log) + 1), dice)
        cut = laid(tmp_path / str(number), tree)
        check(cut)
        if number % 5 == 0 and cut.status() != "finished":
            resumed += 1
            assert Worker(cut, 0, True).run_to_end() == 0, told
            assert cut.status() == "finished" and outcome(cut.workspace, GUID) == expected
            check(cut)
    cut = laid(tmp_path / "end", some_state(recorder, len(recorder.log), dice)[1])
    assert resumed > 3 and cut.status() == "finished" and outcome(cut.workspace, GUID) == expected
    with pytest.raises(BabyError, match="finished"):
        cut.resume()
