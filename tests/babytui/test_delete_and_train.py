"""Deleting, the trash and the doctor beside processes that train: two never have the same GUID."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import until

from babytui import bakeoff, bakeoff_draft, removal, runs
from babytui.bakeoff import Budget
from engine import events
from engine.config import Config
from engine.errors import BabyError, RunError
from store import examine, repair, trash
from store.lock import Lock
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


def steps(run: runs.Run) -> list[events.Step]:
    return [event for event in run.events()[0] if isinstance(event, events.Step)]


def files(workspace: Workspace, guid: str) -> set[str]:
    return {str(path.relative_to(workspace.root)) for path in workspace.root.rglob("*")
            if guid in str(path) and path.is_file() and ".trash" not in path.parts}


@pytest.fixture
def stopped(tmp_path: Path, text_file: Path) -> Iterator[runs.Run]:
    """A run that was stopped and could go on for long."""
    run = runs.start(Workspace(tmp_path / "w"), Config.read(TINY), [text_file], steps=10_000_000, name="kitten")
    until(lambda: steps(run), "a first step")
    run.command("stop")
    assert run.wait(60) == "stopped"
    yield run
    if run.alive:
        run.command("stop")
        run.wait(60)


def lasts(finding: repair.Finding) -> bool:
    """Whether it stays: a writer locks its file a moment after it was made, when nothing but AGE protects it."""
    end = time.monotonic() + 10
    while finding.still():
        if time.monotonic() > end:
            return True
        time.sleep(0.01)
    return False


def together(*works: Callable[[], object]) -> list[int]:
    """Does each in a process of its own, all at the same moment; their exit codes, 1 for what was refused."""
    wait, go = os.pipe()
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            os.close(go)
            code = 0
            try:
                os.read(wait, 1)  # until the parent closes its end
                work()
            except BabyError:
                code = 1
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                code = 2
            os._exit(code)
        children.append(child)
    os.close(wait)
    os.close(go)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.slow
def test_a_resumed_run_is_not_deleted_and_a_deleted_one_not_resumed(stopped):
    workspace, guid = stopped.workspace, stopped.guid
    whole = {name for name in files(workspace, guid) if "checkpoints" not in name}
    outcomes = set()
    for number in range(12):
        def resume(number=number):
            time.sleep(number % 4 * 0.002)  # so that now the one and now the other comes first
            runs.Run(workspace, guid).resume()

        resumed, deleted = together(resume, lambda: workspace.delete(guid))
        assert 2 not in (resumed, deleted)
        outcomes.add(deleted)
        if deleted == 0:
            assert not files(workspace, guid) and not stopped.dir.exists()
            (item,) = trash.items(workspace.root)
            assert item.state == trash.WHOLE and not Lock.held(item.folder / "runs" / guid / "lock")
            with pytest.raises(BabyError):
                workspace.delete(guid)
            trash.restore(workspace.root, item.folder)
        else:
            assert resumed == 0 and not trash.items(workspace.root)
            with pytest.raises(RunError, match="still training"):
                workspace.delete(guid)
            stopped.command("stop")
            assert stopped.wait(60) == "stopped"
        assert whole <= files(workspace, guid)
    assert outcomes == {0, 1}, "both came first sometimes"
    stopped.resume()
    until(lambda: stopped.status() == "running", "it still can go on")


def test_delete_stop(command, long_run):
    run, where = long_run, ["--workspace", long_run.workspace.root]
    until(lambda: steps(run), "a first step")
    refused = command("delete", run.guid, "--yes", *where)
    assert refused.code == 1 and "--stop" in refused.err and run.alive
    asked = command("delete", run.guid, "--stop", *where)
    assert asked.code == 2 and "will be stopped" in asked.err and run.alive, "nobody can be asked here"
    owner = Lock.owner(run.dir / "lock")
    done = command("delete", run.guid, "--stop", "--yes", "--json", *where)
    assert done.code == 0 and done.data[0]["guid"] == run.guid and "babytui trash restore" in done.err
    assert not files(run.workspace, run.guid) and not run.alive
    os.waitpid(owner, 0)  # it has ended, or will at once
    listed = command("trash", "--json", *where)
    assert [(one["guid"], one["kind"], one["state"]) for one in listed.data] == [(run.guid, "model", "whole")]
    assert command("trash", "restore", run.guid[:6], *where).code == 0
    assert run.workspace.entry(run.guid).has_model and run.status() == "stopped", "it was saved before it went"


def test_a_suspended_run_is_not_waited_for_in_vain(command, long_run):
    owner = Lock.owner(long_run.dir / "lock")
    until(lambda: steps(long_run), "a first step")
    os.kill(owner, signal.SIGSTOP)
    try:
        until(lambda: repair.suspended(owner), "the stop")
        done = command("delete", long_run.guid, "--stop", "--yes", "--workspace", long_run.workspace.root)
        assert done.code == 1 and f"kill -CONT {owner}" in done.err and long_run.dir.is_dir()
    finally:
        os.kill(owner, signal.SIGCONT)


def test_nobody_waits_any_more(long_run):
    until(lambda: steps(long_run), "a first step")
    with pytest.raises(RunError, match="nobody waited"):
        removal.halt(long_run, lambda: False)
    assert long_run.alive


def test_a_run_that_waits_for_its_disk_is_given_up(command, long_run):
    models = long_run.workspace.models
    until(lambda: steps(long_run), "a first step")
    models.rmdir()
    models.write_text("in the way")
    done = command("delete", long_run.guid, "--stop", "--yes", "--workspace", long_run.workspace.root)
    assert done.code == 0 and not long_run.dir.exists()
    models.unlink()


def test_the_doctor_mends_around_a_run(tmp_path, text_file, monkeypatch):
    """Looks and repairs without a break while one trains, saves checkpoints and its model: it ends as if alone."""
    config = Config.read({**TINY, "s_checkpoint_steps": 3, "n_steps": 200})
    alone = runs.start(Workspace(tmp_path / "alone"), config, [text_file], name="kitten")
    assert alone.wait(60) == "finished"
    monkeypatch.setattr(examine, "AGE", 0.0)
    monkeypatch.setattr(examine, "PART_AGE", 0.0)
    workspace = Workspace(tmp_path / "w")
    run = runs.start(workspace, config, [text_file], name="kitten")
    looks = 0
    while True:
        alive = run.alive
        found = [one for one in examine.examine(workspace.root) if one.remedy and lasts(one)]
        repair.mend(workspace.root, found)
        assert not found, "a live process owns whatever there is"
        looks += 1
        if not alive:
            break
    assert run.status() == "finished" and looks > 3 and not trash.items(workspace.root)
    for kind in ("model", "tokenizer"):
        assert workspace.path(kind, run.guid).read_bytes() == alone.workspace.path(kind, alone.guid).read_bytes()
    assert len(steps(run)) == 200


def test_what_a_killed_run_leaves_is_mended_and_it_goes_on(command, long_run, monkeypatch):
    workspace, run = long_run.workspace, long_run
    until(lambda: steps(run), "a first step")
    run.command("checkpoint")
    until(lambda: any(isinstance(event, events.Checkpoint) and event.step for event in run.events()[0]), "a checkpoint")
    os.kill(Lock.owner(run.dir / "lock"), signal.SIGKILL)
    until(lambda: not run.alive, "death")
    with open(run.journal, "ab") as journal:
        journal.write(b'{"event":"st')
    left = workspace.models / f".model_{run.guid}.json.0123456789ab.tmp"
    left.write_bytes(b"half")
    monkeypatch.setattr(examine, "AGE", 0.0)
    where = ["--workspace", workspace.root]
    told = command("doctor", *where)
    assert told.code == 0 and "--repair" in told.err and left.exists()
    assert "died after step" in told.out and f"babytui resume {run.short}" in told.out and "torn" in told.out
    asked = command("doctor", "--repair", *where)
    assert asked.code == 2 and "--yes" in asked.err and str(left) in asked.err and left.exists()
    done = command("doctor", "--repair", "--yes", "--json", *where)
    mended = {item["check"] for item in done.data if item.get("repaired")}
    assert done.code == 0 and mended == {"torn", "temporary"} and not left.exists()
    assert run.journal.read_bytes().endswith(b"}\n")
    assert "nothing to repair" in command("doctor", "--repair", *where).err
    assert command("trash", "restore", "last", *where).code == 0 and left.exists()
    run.resume()
    until(lambda: run.status() == "running", "it to go on")


def test_doctor_tells_many_alike_in_few_lines(command, tmp_path):
    workspace = Workspace(tmp_path / "w").ensure()
    for number in range(30):
        (workspace.models / f"notes{number:02}.txt").touch()
    (workspace.models / "a\x1b[31m.txt").touch()
    done = command("doctor", "--workspace", workspace.root)
    assert done.out.count("is not ours") < 12 and "and 23 more" in done.out and "\x1b" not in done.out
    assert len([one for one in command("doctor", "--json", "--workspace", workspace.root).data
                if one["check"] == "foreign"]) == 31


# --- the trash's verbs ------------------------------------------------------------------------------------------------


def test_from_the_trash_and_back(command, nest):
    workspace, guid = nest
    where = ["--workspace", workspace.root]
    assert "is empty" in command("trash", *where).err and command("trash", "--json", *where).data == []
    before = {path: (workspace.root / path).read_bytes() for path in files(workspace, guid) - {f"runs/{guid}/lock"}}
    assert command("delete", "tiny", "--yes", *where).code == 0
    shown = command("trash", *where)
    assert "tiny" in shown.out and guid[:8] in shown.out and "trash empty" in shown.err
    assert "nothing called" in command("trash", "restore", "nobody", *where).err
    back = command("trash", "restore", "tiny", "--json", *where)
    assert back.code == 0 and back.data[0]["guid"] == guid
    assert {path: (workspace.root / path).read_bytes() for path in before} == before
    assert command("inference", "tiny", "--tokens", "3", "--no-save", *where).code == 0


def test_emptying_asks_and_goes_by_age(command, nest):
    workspace, guid = nest
    where = ["--workspace", workspace.root]
    assert command("trash", "empty", *where).code == 0, "there is nothing to ask about"
    command("delete", "tiny", "--yes", *where)
    folder = trash.find(workspace.root, "last").folder
    refused = command("trash", "empty", *where)
    assert refused.code == 2 and "tiny" in refused.err and "Nothing was deleted" in refused.err and folder.is_dir()
    assert "so old" in command("trash", "empty", "--older-than", "7d", "--yes", *where).err and folder.is_dir()
    manifest = json.loads((folder / trash.MANIFEST).read_text())
    (folder / trash.MANIFEST).write_text(json.dumps({**manifest, "time": manifest["time"] - 8 * 86400}))
    done = command("trash", "empty", "--older-than", "7d", "--yes", "--json", *where)
    assert [one["guid"] for one in done.data] == [guid] and not folder.exists()
    assert command("trash", "restore", "tiny", *where).code == 1
    assert command("trash", "empty", "--older-than", "x", *where).code == 2


def test_what_is_half_in_the_trash_is_not_emptied(command, nest, monkeypatch):
    workspace, guid = nest
    real = os.rename

    def rename(source, target):
        if "tokenizer" in str(source) or (".trash" in str(source) and ".new-" not in str(source)):
            raise OSError(5, "Input/output error")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        done = command("delete", "tiny", "--yes", "--workspace", workspace.root)
        assert done.code == 1 and "disk reports an error" in done.err
    assert "half deleted" in command("trash", "--workspace", workspace.root).out
    done = command("trash", "empty", "--yes", "--workspace", workspace.root)
    assert "stays" in done.err and trash.find(workspace.root, guid).inside()
    assert command("doctor", "--repair", "--yes", "--workspace", workspace.root).code == 0
    assert not files(workspace, guid) and trash.find(workspace.root, guid).state == trash.WHOLE


# --- bake-offs --------------------------------------------------------------------------------------------------------


def test_a_bake_off_at_work_is_stopped_deleted_and_brought_back(command, tmp_path, text_file):
    workspace = Workspace(tmp_path / "w")
    found = bakeoff_draft.draft(workspace, Config.read(TINY), bakeoff_draft.architectures(pairs=["mha/mlp", "gla/mlp"]),
                                [text_file], budget=Budget("steps", 10_000_000), name="oven", jobs=2).start()
    where = ["--workspace", workspace.root]
    until(lambda: len(found.run_guids()) == 2, "both runs")
    live = [runs.Run(workspace, guid) for guid in found.run_guids()]
    until(lambda: all(steps(run) for run in live), "their first steps")
    refused = command("bakeoff", "delete", "oven", "--yes", *where)
    assert refused.code == 1 and "--stop" in refused.err and found.alive
    with pytest.raises(RunError, match="still at work"):
        found.delete()
    done = command("bakeoff", "delete", "oven", "--stop", "--yes", "--json", *where)
    assert done.code == 0 and [one["guid"] for one in done.data] == [found.guid]
    assert not found.dir.exists() and not workspace.entries() and not any(run.alive for run in live)
    (item,) = trash.items(workspace.root)
    assert (item.guid, item.name, item.kind, item.state) == (found.guid, "oven", trash.BAKE_OFF, trash.WHOLE)
    hint = command("trash", "restore", live[0].guid, *where)
    assert hint.code == 1 and f"babytui trash restore {found.short}" in hint.err
    assert command("trash", "restore", "oven", *where).code == 0
    assert bakeoff.find(workspace, "oven").status() == "stopped"
    assert {entry.guid for entry in workspace.entries() if entry.has_model} == {run.guid for run in live}


def test_of_two_that_delete_a_bake_off_one_does(tmp_path):
    workspace = Workspace(tmp_path / "w").ensure()
    guid = "aaaaaaaa-0000-4000-8000-000000000001"
    found = bakeoff.BakeOff(workspace, guid)
    found.dir.mkdir(parents=True)
    (found.dir / "plan.json").write_text(json.dumps({"guid": guid, "name": "oven", "created": 1.0}))
    assert sorted(together(found.delete, found.delete, found.delete)) == [0, 1, 1]
    assert [item.state for item in trash.items(workspace.root)] == [trash.WHOLE]
