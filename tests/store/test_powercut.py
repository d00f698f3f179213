"""The power is cut after any call: whatever the disk had not written yet is there, or not, or NULs in its place.

What was reported as written is there; what was being written is whole or as it was; and what needs another file, as a
checkpoint needs the journal up to its step, is never there without it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from faults import content
from powercut import Recorder, Tree, states

from engine.errors import BabyError
from store import artifacts, checkpoint, journal
from store.atomic import TEMPORARY, make_folder, write_bytes
from store.journal import Journal
from store.workspace import Workspace

GUID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def one_moment(monkeypatch):
    """The same bytes each time; and nothing waits for the real disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)


def lasting(tree: Tree) -> Tree:
    """Without the temporary files that a repair removes."""
    return {path: data for path, data in tree.items() if not TEMPORARY.fullmatch(os.path.basename(path))}


DEEDS = {
    "config": lambda ws, n: artifacts.save_config(ws, GUID, {"n_layers": n}),
    "tokenizer": lambda ws, n: artifacts.save_tokenizer(ws, GUID, "char", ["a", "b"][:n]),
    "model": lambda ws, n: artifacts.save_model(ws, GUID, {"wte_weight": np.full((9, 9), n / 7)}),
    "report": lambda ws, n: artifacts.save_report(ws, GUID, {"babytui_steps": n}),
    "reply": lambda ws, n: artifacts.save_completion(ws, GUID, {"generation": "x" * n}, stamped=True),
    "current": lambda ws, n: ws.save_current({"n_layers": n}),
    "last": lambda ws, n: ws.save_last(GUID, "a" * n),
    "checkpoint": lambda ws, n: (make_folder(ws.run_dir(GUID) / "checkpoints"), checkpoint.write(
        ws.run_dir(GUID) / "checkpoints" / "best.safetensors", {"w": np.full(50, n, np.float32)}, {"step": n})),
}


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "over"])
@pytest.mark.parametrize("name", DEEDS)
def test_a_file_is_whole_or_as_it_was_and_lasts_once_it_was_reported(tmp_path, name, fresh):
    ws = Workspace(tmp_path)
    if not fresh:
        DEEDS[name](ws, 1)
    before = content(tmp_path)
    with Recorder(tmp_path) as recorder:
        DEEDS[name](ws, 2)
    after = content(tmp_path)
    count = 0
    for _, over, tree in states(recorder):
        count += 1
        found = lasting(tree)
        for path in {**before, **after, **found}:
            assert found.get(path) in (before.get(path), after.get(path)), path
        assert not over or found == after, "it was reported as written and is not there"
    assert before != after and count >= 4


def test_the_order_of_syncs_is_what_makes_it_so(tmp_path):
    """The same without one of the syncs is caught: the states above are not too few."""
    for left_out in (0, 1):
        root = tmp_path / str(left_out)
        root.mkdir()
        (root / "a").write_bytes(b"old")
        recorder = Recorder(root)
        with recorder:
            write_bytes(root / "a", b"new content")
        syncs = [at for at, step in enumerate(recorder.log) if step[0] == "sync"]
        assert len(syncs) == 2
        del recorder.log[syncs[left_out]]
        found = [(over, lasting(tree)["a"]) for _, over, tree in states(recorder)]
        torn = any(data not in (b"old", b"new content") for _, data in found)
        forgotten = (True, b"old") in found
        assert (torn, forgotten) == ((True, False) if left_out == 0 else (False, True))


LINES = [{"event": "step", "step": n, "text": "ä" * (n % 40)} for n in range(60)]


def test_of_a_journal_the_synced_lines_last_and_the_others_are_whole_or_ignored(tmp_path):
    path = tmp_path / "run" / "events.jsonl"
    path.parent.mkdir()
    with Recorder(tmp_path) as recorder:
        out = Journal(path)
        for first in range(0, 60, 10):
            for line in LINES[first:first + 10]:
                out.append(line)
            out.flush(sync=first % 20 == 0)
            if first % 20 == 0:
                recorder.note(first + 10)
        out.close()
    spare = tmp_path / "spare.jsonl"
    kinds = set()
    for told, _, tree in states(recorder):
        data = tree.get("run/events.jsonl")
        assert data is not None or not told
        spare.write_bytes(data or b"")
        lines = journal.read(spare)[0]
        synced = max(told, default=0)
        assert lines[:synced] == LINES[:synced]
        assert all(line in LINES for line in lines) and lines == sorted(lines, key=lambda line: line["step"])
        with Journal(spare) as again:
            again.append({"event": "end"})
        after = journal.read(spare)[0]
        assert after[-1] == {"event": "end"} and after[:len(lines)] == lines and len(after) <= len(lines) + 2
        assert spare.read_bytes().endswith(b'\n{"event":"end"}\n') or not lines
        kinds.add((b"\0" in (data or b""), (data or b"\n").endswith(b"\n")))
    assert len(kinds) == 4  # torn and whole, with NULs and without


def test_a_checkpoint_is_never_there_without_the_journal_up_to_its_step(tmp_path):
    """In the order that a worker keeps: the journal is synced, then the checkpoint written."""
    run = tmp_path / "runs" / GUID
    make_folder(run, 0o700)
    with Recorder(tmp_path) as recorder:
        out = Journal(run / "events.jsonl")
        make_folder(run / "checkpoints")
        for step in range(1, 7):
            out.append({"event": "step", "step": step})
            if step % 3 == 0:
                out.flush(sync=True)
                path = run / "checkpoints" / f"step_{step}.safetensors"
                checkpoint.write(path, {"w": np.full(9, step)}, {"step": step})
                recorder.note(step)
                if step == 6:
                    os.unlink(run / "checkpoints" / "step_3.safetensors")  # only when the next one lasts
        out.close()
    spare = tmp_path / "spare"
    spare.mkdir()
    for told, _, tree in states(recorder):
        (spare / "events.jsonl").write_bytes(tree.get(f"runs/{GUID}/events.jsonl", b""))
        lines = [line["step"] for line in journal.read(spare / "events.jsonl")[0]]
        steps = []
        for path, data in lasting(tree).items():
            if path.endswith(".safetensors"):
                (spare / "c.safetensors").write_bytes(data)
                steps.append(checkpoint.read(spare / "c.safetensors")[1]["step"])  # whatever there is can be read
        assert max(steps, default=0) >= max(told, default=0)
        assert lines[:max(steps, default=0)] == list(range(1, max(steps, default=0) + 1))


def test_thinning_leaves_the_old_journal_or_the_new(tmp_path):
    path = tmp_path / "events.jsonl"
    with Journal(path) as out:
        for line in LINES:
            out.append(line)
    before = path.read_bytes()
    with Recorder(tmp_path) as recorder:
        assert journal.thin(path, lambda line: line["step"] % 8 == 0, recent=200) > 0
    for _, over, tree in states(recorder):
        assert lasting(tree)[path.name] in (before, path.read_bytes())
        assert not over or lasting(tree)[path.name] == path.read_bytes()


def furnished(root: Path) -> Workspace:
    ws = Workspace(root).ensure()
    make_folder(ws.run_dir(GUID), 0o700)
    write_bytes(ws.run_dir(GUID) / "plan.json", b'{"name": "first", "created": 5}')
    write_bytes(ws.run_dir(GUID) / "events.jsonl", b'{"event":"end"}\n')
    for name in ("config", "tokenizer", "model", "report"):
        DEEDS[name](ws, 1)
    return ws


def test_deleting_and_bringing_back_lose_nothing(tmp_path):
    """Every file is where it was, or in the trash."""
    ws = furnished(tmp_path / "ws")
    precious = sorted(data for path, data in content(ws.root).items() if not path.endswith("lock"))
    with Recorder(ws.root) as recorder:
        deleted = ws.delete(GUID)
        recorder.note("deleted")
        ws.undelete(deleted)
    last: list[Tree] = []
    for told, over, tree in states(recorder):
        found = {path: data for path, data in lasting(tree).items() if not path.endswith(("lock", "manifest.json"))
                 and not (path.startswith(".trash/") and path.count("/") == 1)}  # what the trash keeps for itself
        assert sorted(found.values()) == precious, "a file was lost, or is there twice"
        if told and not over and f"models/model_{GUID}.json" not in found:
            last.append(found)
        if over:
            assert not any(path.startswith(".trash/") for path in found)
    assert any(all(path.startswith(".trash") for path in found) for found in last)


def test_a_sync_that_failed_is_not_believed_the_second_time(tmp_path, monkeypatch):
    """After an error Linux takes what it could not write for written: it has to be written again."""
    path = tmp_path / "events.jsonl"
    out = Journal(path)
    out.append({"a": 1})
    out.flush(sync=True)
    with Recorder(tmp_path) as recorder:
        out.append({"b": 2})
        real = recorder.fate

        def broken(number: int, name: str) -> OSError | None:
            return OSError(5, "x") if name == "fsync" else None

        recorder.fate = broken
        with pytest.raises(BabyError):
            out.flush(sync=True)
        recorder.log.clear()  # the system has forgotten that these bytes are not on the disk
        recorder.fate = real
        out.flush(sync=True)
        recorder.note("synced")
    out.close()
    for told, _, tree in states(recorder):
        if told:
            assert tree[path.name] == b'{"a":1}\n{"b":2}\n'
