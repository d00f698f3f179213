"""A real run in its own process: start, pause, resume, checkpoint, stop, die, continue."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from waiting import until

from babytui import process, runs
from babytui.blas import THREADS
from engine import events
from engine.config import Config
from engine.errors import ConfigError, NotFound, RunError, TextError, UsageError
from store.lock import Lock
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


def of_kind(run: runs.Run, kind: type) -> list:
    return [event for event in run.events()[0] if isinstance(event, kind)]


def commands(run: runs.Run) -> list[str]:
    return [event.command for event in of_kind(run, events.Control)]


def test_a_run_from_start_to_its_artifacts(trained):
    workspace, run = trained
    told = run.events()[0]
    assert isinstance(told[0], events.Start) and told[0].dataset == "cats"
    assert isinstance(told[-1], events.End) and told[-1].reason == "finished" and told[-1].step == 30
    assert [event.step for event in told if isinstance(event, events.Step)] == list(range(1, 31))
    assert any(isinstance(event, events.Checkpoint) and event.reason == "end" for event in told)
    assert all(event.text.startswith("The") for event in told if isinstance(event, events.Sample))
    entry = workspace.entry("tiny")
    assert entry.guid == run.guid and entry.has_model and not entry.problems
    assert entry.validation_loss == pytest.approx(told[-1].validation_loss)
    for kind in ("config", "tokenizer", "model", "report", "completion"):
        assert workspace.path(kind, run.guid).is_file()
    assert workspace.last()["last_uuid"] == run.guid
    report = json.loads(workspace.path("report", run.guid).read_text())
    assert report["dataset"] == "cats" and report["babytui_steps"] == 30
    assert len(report["batch_logs"]) == 30 and report["batch_logs"][0].startswith("Epoch 1/")
    config = json.loads(workspace.path("config", run.guid).read_text())
    assert config["runtime"]["model_params"] == told[0].parameters and config["s_head"] == 8


def test_pause_resume_checkpoint_rate_stop(long_run):
    run = long_run
    assert run.alive and run.status() in runs.LIVE
    until(lambda: of_kind(run, events.Step), "a first step")
    run.command("pause")
    until(lambda: run.status() == "paused", "pause")
    paused_at = of_kind(run, events.Control)[-1].step
    run.command("pause")  # again changes nothing
    run.command("learning_rate", 0.002)
    until(lambda: "learning_rate" in commands(run), "learning rate")
    assert commands(run) == ["pause", "learning_rate"]
    assert max(event.step for event in run.events()[0]) == paused_at
    run.command("resume")
    until(lambda: run.status() == "running", "resume")
    until(lambda: of_kind(run, events.Step)[-1].step > paused_at, "steps after resuming")
    rate = next(event.learning_rate for event in of_kind(run, events.Step) if event.step == paused_at + 1)
    assert rate == pytest.approx(0.002, rel=1e-3)
    run.command("checkpoint")
    until(lambda: any(one.step > paused_at for one in of_kind(run, events.Checkpoint)), "checkpoint")
    run.command("stop")
    assert run.wait(60) == "stopped"
    end = of_kind(run, events.End)[-1]
    assert end.reason == "stopped" and run.workspace.entry(run.guid).has_model
    names = sorted(path.name for path in (run.dir / "checkpoints").iterdir())
    assert 1 <= len([name for name in names if name.startswith("step_")]) <= 3 and len(names) <= 4
    with pytest.raises(RunError, match="not running"):
        run.command("pause")
    run.workspace.delete(run.guid)
    with pytest.raises(RunError, match="not there any more; `babytui trash`"):
        run.command("pause")


def test_a_killed_run_is_seen_as_dead_and_continues(long_run):
    run = long_run
    until(lambda: of_kind(run, events.Step), "a first step")
    run.command("checkpoint")
    saved = until(lambda: [one.step for one in of_kind(run, events.Checkpoint) if one.reason == "command"], "it")[-1]
    os.kill(Lock.owner(run.dir / "lock"), signal.SIGKILL)
    until(lambda: not run.alive, "death")
    assert run.status() == "died"
    assert not run.workspace.entry(run.guid).has_model
    run.resume()
    until(lambda: len(of_kind(run, events.Start)) == 2, "the second start")
    assert of_kind(run, events.Start)[-1].step == saved
    until(lambda: run.status() == "running", "running again")
    run.command("stop")
    assert run.wait(60) == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_stops_and_keeps(long_run, number):
    until(lambda: of_kind(long_run, events.Step), "a first step")
    os.kill(Lock.owner(long_run.dir / "lock"), number)
    assert long_run.wait(60) == "stopped"
    assert long_run.workspace.entry(long_run.guid).has_model


def test_a_hang_up_changes_nothing(long_run):
    until(lambda: of_kind(long_run, events.Step), "a first step")
    os.kill(Lock.owner(long_run.dir / "lock"), signal.SIGHUP)
    seen = of_kind(long_run, events.Step)[-1].step
    until(lambda: of_kind(long_run, events.Step)[-1].step > seen, "more steps")


def test_following_ends_with_the_run(tmp_path, text_file):
    run = runs.start(Workspace(tmp_path / "w"), Config.read(TINY), [text_file], steps=5)
    kinds = [event.kind for event in run]
    assert kinds[0] == "start" and kinds[-1] == "end" and kinds.count("step") == 5


def test_time_budget(tmp_path, text_file):
    run = runs.start(Workspace(tmp_path / "w"), Config.read(TINY), [text_file], steps=10_000_000, time_budget=0.05)
    assert list(run)[-1].reason == "time" and run.status() == "finished"


def test_finding_runs(long_run):
    workspace = long_run.workspace
    assert runs.find(workspace, "last") == runs.find(workspace, long_run.guid[:6]) == long_run
    assert runs.find(workspace, long_run.name) == long_run
    assert [run.guid for run in runs.all_runs(workspace)] == [long_run.guid]
    with pytest.raises(NotFound):
        runs.find(workspace, "nobody")
    with pytest.raises(RunError, match="train"):
        workspace.delete(long_run.guid)
    with pytest.raises(UsageError):
        long_run.command("dance")
    with pytest.raises(UsageError):
        long_run.command("learning_rate", float("nan"))


def test_what_is_wrong_is_said_before_anything_is_written(tmp_path, text_file):
    workspace = Workspace(tmp_path / "w")
    good = Config.read(TINY)
    short = tmp_path / "short.txt"
    short.write_text("abc")
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(TextError, match="window"):
        runs.start(workspace, good, [short])
    with pytest.raises(TextError, match="empty"):
        runs.start(workspace, good, [empty])
    with pytest.raises(NotFound, match="no text"):
        runs.start(workspace, good, ["not-there"])
    with pytest.raises(TextError, match="'ß'"):
        runs.start(workspace, good, [text_file], prompt="ß")
    with pytest.raises(ConfigError, match="n_heads"):
        runs.start(workspace, good.replace(n_heads=3), [text_file])
    with pytest.raises(UsageError, match="name"):
        runs.start(workspace, good, [text_file], name="baby")
    assert not list(Path(workspace.root).glob("**/plan.json")) and not runs.all_runs(workspace)


def test_a_failure_in_the_process_is_one_sentence(tmp_path, text_file, monkeypatch):
    monkeypatch.setattr("babytui.texts.check", lambda *_: 20)  # as if the text had changed in between
    short = tmp_path / "short.txt"
    short.write_text("abc")
    workspace = Workspace(tmp_path / "w")
    with pytest.raises(RunError, match="window"):
        runs.start(workspace, Config.read(TINY), [short])
    assert not runs.all_runs(workspace)


def test_a_failure_later_is_told_by_the_run(long_run, monkeypatch):
    run = long_run
    until(lambda: of_kind(run, events.Step), "a first step")
    run.command("checkpoint")
    until(lambda: of_kind(run, events.Checkpoint), "checkpoint")
    run.command("stop")
    assert run.wait(60) == "stopped"
    Path(run.plan["texts"][0]).write_text("Another text altogether. " * 100)
    (run.dir / "text.txt").unlink()  # as of a text that is too long to be kept
    with pytest.raises(RunError, match="text has changed"):
        run.resume()
    assert run.status() == "failed" and run.dir.is_dir()
    assert "Traceback" in (run.dir / "worker.log").read_text()


def test_a_disk_without_room_is_said_before_training(tmp_path, text_file, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(RunError, match="free some space"):
        runs.start(Workspace(tmp_path / "w"), Config.read(TINY), [text_file])
    assert not (tmp_path / "w" / "runs").exists() or not list((tmp_path / "w" / "runs").iterdir())


def test_a_model_that_cannot_be_written_waits_until_it_can(long_run):
    run, models = long_run, long_run.workspace.models
    until(lambda: of_kind(run, events.Step), "a first step")
    models.rmdir()
    models.write_text("in the way")
    run.command("stop")
    until(lambda: any(alarm.name == "disk" for alarm in of_kind(run, events.Alarm)), "the alarm")
    assert run.alive
    models.unlink()
    assert run.wait(60) == "stopped" and run.workspace.entry(run.guid).has_model


def test_every_process_has_one_blas_thread():
    assert all(process.environment()[name] == "1" for name in THREADS)


def test_several_processes_end_with_the_run(tmp_path):
    text = tmp_path / "long.txt"
    text.write_text("The cat sat on the mat. The dog saw the cat and ran.\n" * 400)
    wide = Config.read({**TINY, "n_ctx": 64, "batch_size": 32, "c_device_cpu_cores": 2})
    run = runs.start(Workspace(tmp_path / "w"), wide, [text], steps=10_000_000)
    until(lambda: of_kind(run, events.Step), "a first step")
    session = Lock.owner(run.dir / "lock")
    run.command("stop")
    assert run.wait(60) == "stopped"

    def of_the_session() -> list[Path]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(stat)
        return found

    until(lambda: not of_the_session(), "the processes of the run to end")
