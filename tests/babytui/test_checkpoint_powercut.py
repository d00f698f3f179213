"""The power is cut while a run writes checkpoints: there is always one to go on from, and the journal up to there."""

from __future__ import annotations

import os

import numpy as np
from powercut import Recorder, states

from babytui.checkpoints import BEST, Checkpoints
from store import checkpoint, journal
from store.atomic import TEMPORARY
from store.journal import Journal

LOSSES = {2: 3.0, 4: 2.0, 6: 2.5, 8: None, 10: 1.5, 12: 4.0}


def state(step: int) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    return {"w": np.full(20, step, np.float32)}, {
        "step": step, "looked": step, "due": [], "validation_loss": LOSSES[step]}


def test_there_is_always_a_checkpoint_with_its_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    run = tmp_path / "run"
    run.mkdir()
    spare = tmp_path / "spare"
    spare.mkdir()
    with Recorder(run) as recorder:
        out = Journal(run / "events.jsonl")
        kept = Checkpoints(run / "checkpoints", out, keep=2)
        for step in range(1, 13):
            out.append({"event": "step", "step": step})
            if step in LOSSES:
                out.flush()
                kept._write(state(step), "policy", False)  # what the thread does
                assert kept.told()[-1].error is None
                recorder.note(step)
        recorder.note("rolling back")
        kept._write(state(6), "rollback", True)  # all later ones are given up
        recorder.note("rolled back")
        out.close()
    read: dict[bytes, tuple[int, float | None]] = {}
    later_gone = False
    for told, over, tree in states(recorder):
        (spare / "events.jsonl").write_bytes(tree.get("events.jsonl", b""))
        lines = [line["step"] for line in journal.read(spare / "events.jsonl")[0]]
        found = {}
        for path, data in tree.items():
            name = os.path.basename(path)
            if path.startswith("checkpoints/") and not TEMPORARY.fullmatch(name):
                if data not in read:
                    (spare / "c").write_bytes(data)
                    meta = checkpoint.read(spare / "c")[1]  # every one there is can be read
                    read[data] = meta["step"], meta["validation_loss"]
                found[name] = read[data]
                assert name == BEST or name == f"step_{found[name][0]:09}.safetensors"
        steps = [step for step, _ in found.values()]
        newest, done = max(steps, default=0), [step for step in told if isinstance(step, int)]
        assert lines[:newest] == list(range(1, newest + 1)), "a checkpoint is there and what led to it is not"
        if "rolling back" in told:
            assert newest >= 6
        if "rolled back" in told:
            assert "step_000000006.safetensors" in found
            later_gone |= set(found) == {"step_000000006.safetensors", "step_000000004.safetensors", BEST} or (
                set(found) == {"step_000000006.safetensors", BEST})
        elif done and "rolling back" not in told:
            assert newest >= done[-1], "it was reported as written and is not there"
            best = min(loss for step in done if (loss := LOSSES[step]) is not None)
            assert found[BEST][1] is not None and found[BEST][1] <= best
        assert not over or "rolled back" in told
    assert later_gone and len(read) == len(LOSSES)
