"""A run that is killed, stopped or refused by the disk goes on to the bytes of one that never was."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from outcome import outcome
from waiting import fill, until

from babytui import checkpoints, finetuning, runs, worker
from engine import events
from engine.config import Config
from store import checkpoint
from store.lock import Lock
from store.workspace import Workspace

slow = pytest.mark.slow
# two lanes, so that two processes have something to do; a word or two of everything that keeps a state
BASE = {"n_layers": 1, "n_emb": 16, "head_size": 16, "n_heads": 2, "n_ctx": 32, "batch_size": 24, "n_steps": 40,
        "r_dropout": 0.1, "c_shuffle": True, "s_checkpoint_steps": 3, "c_device_cpu_cores": 2}
TEXT = "".join(f"The cat sat on mat {i % 7}. The dog saw the cat and ran {'far ' * (i % 3)}away.\n" for i in range(300))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "cats.txt"
    path.write_text(TEXT)
    return path


def begin(folder: Path, text: Path, **values) -> runs.Run:
    return runs.start(Workspace(folder), Config.read({**BASE, **values}), [text], name="tiny", prompt="The")


def whole(folder: Path, text: Path, **values) -> dict[str, bytes]:
    """What a run leaves that nobody disturbs."""
    run = begin(folder, text, **values)
    assert run.wait(60) == "finished"
    return outcome(run.workspace, run.guid)


def of_kind(run: runs.Run, kind: type) -> list:
    return [event for event in run.events()[0] if isinstance(event, kind)]


def kill_at(run: runs.Run, step: int) -> None:
    """kill -9 as soon as the journal tells of this step."""
    for event in run:
        if isinstance(event, events.Step) and event.step >= step:
            break
    kill(run)


def kill(run: runs.Run) -> None:
    owner = Lock.owner(run.dir / "lock")
    if owner is not None:
        os.kill(owner, signal.SIGKILL)
    until(lambda: not run.alive, "its death")


@contextmanager
def processors(count: int) -> Iterator[None]:
    """What is started here may use so many cores; a machine with fewer has them all used."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot take processors away")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("d_type", "before", "after"), [
    ("fp32", 2, 1), pytest.param("fp32", 1, 2, marks=slow), pytest.param("fp16", 2, 1, marks=slow),
    pytest.param("fp64", 1, 2, marks=slow)])
def test_killed_twice_and_the_same_bytes(tmp_path, text, d_type, before, after):
    expected = whole(tmp_path / "a", text, d_type=d_type, c_device_cpu_cores=1)
    with processors(before):
        run = begin(tmp_path / "b", text, d_type=d_type)
    kill_at(run, 11)
    assert run.status() == "died" and not run.workspace.entry(run.guid).has_model
    with processors(after):
        run.resume()
    kill_at(run, 29)
    with processors(before):
        run.resume()
    assert run.wait(60) == "finished"
    starts = of_kind(run, events.Start)
    assert starts[0].step == 0 and len(starts) == 3 and 0 < starts[1].step <= starts[2].step
    assert outcome(run.workspace, run.guid) == expected
    names = [path.name for path in (run.dir / "checkpoints").iterdir()]
    assert len(names) == 2 and checkpoints.BEST in names, "a finished run keeps the last one and the best"


@pytest.mark.parametrize("gone", [pytest.param(True, marks=slow), False])
def test_a_run_keeps_its_text(tmp_path, text, gone):
    """The file may have lain in a folder that a restart of the machine empties, in Windows' encoding and line ends."""
    text.write_bytes(TEXT.replace("\n", "\r\n").replace("far", "fär").encode("cp1252"))
    expected = whole(tmp_path / "a", text)
    run = begin(tmp_path / "b", text)
    kill_at(run, 12)
    if gone:
        text.unlink()
    else:
        text.write_text("Another text altogether. " * 400)
    run.resume()
    assert run.wait(60) == "finished"
    assert outcome(run.workspace, run.guid) == expected
    assert not {"text.txt", "reserve"} & {path.name for path in run.dir.iterdir()}


@pytest.mark.slow
def test_a_run_without_any_checkpoint_begins_again(tmp_path, text):
    expected = whole(tmp_path / "a", text)
    run = begin(tmp_path / "b", text)
    kill_at(run, 7)
    for path in (run.dir / "checkpoints").iterdir():
        path.unlink()
    run.resume()
    assert run.wait(60) == "finished" and of_kind(run, events.Start)[1].step == 0
    assert outcome(run.workspace, run.guid) == expected


def test_damaged_checkpoints_are_passed_over(tmp_path, text):
    expected = whole(tmp_path / "a", text)
    run = begin(tmp_path / "b", text)
    kill_at(run, 20)
    newest, second, *_ = checkpoints.listed(run.dir / "checkpoints")
    damaged = bytearray(newest.read_bytes())
    damaged[-5] ^= 1
    newest.write_bytes(damaged)
    second.write_bytes(second.read_bytes()[:1000])
    foreign = run.dir / "checkpoints" / "step_000000999.safetensors"  # whole, but of another model
    arrays, meta = checkpoint.read(checkpoints.listed(run.dir / "checkpoints")[-1])
    checkpoint.write(foreign, {name: array for name, array in arrays.items() if "wte" not in name}, meta)
    run.resume()
    assert run.wait(60) == "finished"
    told = [alarm.message for alarm in of_kind(run, events.Alarm)]
    assert ["does not fit" in told[0], newest.name in told[1], second.name in told[2]] == [True] * 3
    assert outcome(run.workspace, run.guid) == expected


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path, text):
    expected = whole(tmp_path / "a", text)
    run = begin(tmp_path / "b", text)
    for stop in (9, 17):
        for event in run:
            if isinstance(event, events.Step) and event.step >= stop:
                run.command("stop")
                break
        if run.wait(60) == "finished":  # it was faster
            break
        assert run.workspace.entry(run.guid).has_model, "a stopped run keeps its model"
        run.resume()
    assert run.wait(60) == "finished"
    assert outcome(run.workspace, run.guid) == expected


@pytest.mark.slow
def test_a_learning_rate_that_was_set_is_not_lost(tmp_path, text):
    """The command came after the last checkpoint: it is taken from the journal, at its step."""
    run = begin(tmp_path / "a", text, s_checkpoint_steps=0, n_steps=4000)
    until(lambda: of_kind(run, events.Step), "a step")
    run.command("learning_rate", 0.0005)
    until(lambda: any(event.command == "learning_rate" for event in of_kind(run, events.Control)), "the command")
    at = of_kind(run, events.Control)[0].step
    until(lambda: of_kind(run, events.Step)[-1].step >= at + 20, "steps after it")
    first = {event.step: event for event in of_kind(run, events.Step)}
    kill(run)
    run.resume()
    until(lambda: len(of_kind(run, events.Start)) == 2, "the second start")
    assert of_kind(run, events.Start)[1].step == 0, "there was only the checkpoint of the start"

    def again() -> dict[int, events.Step]:
        told = run.events()[0]
        second = max(i for i, event in enumerate(told) if isinstance(event, events.Start))
        return {event.step: event for event in told[second:] if isinstance(event, events.Step)}

    until(lambda: max(again(), default=0) >= max(first), "the same steps")
    run.command("stop")
    told = again()
    assert all((told[step].loss, told[step].learning_rate, told[step].gradient_norm)
               == (event.loss, event.learning_rate, event.gradient_norm) for step, event in first.items())
    assert first[at + 1].learning_rate == pytest.approx(0.0005, rel=1e-3)
    run.wait(60)


def test_a_learning_rate_that_was_set_before_the_checkpoint_is_not_set_again(tmp_path, text):
    """The checkpoint holds it, as far as the schedule has gone since."""
    run = begin(tmp_path / "a", text, s_checkpoint_steps=0, n_steps=4000, c_schedule="cosine")
    until(lambda: of_kind(run, events.Step), "a step")
    run.command("learning_rate", 0.0005)
    until(lambda: any(event.command == "learning_rate" for event in of_kind(run, events.Control)), "the command")
    at = of_kind(run, events.Control)[0].step
    until(lambda: of_kind(run, events.Step)[-1].step >= at + 200, "steps after it")
    run.command("checkpoint")
    until(lambda: any(saved.reason == "command" for saved in of_kind(run, events.Checkpoint)), "the checkpoint")
    saved = next(saved.step for saved in of_kind(run, events.Checkpoint) if saved.reason == "command")
    until(lambda: of_kind(run, events.Step)[-1].step >= saved + 20, "steps after it")
    kill(run)
    first = {event.step: event for event in of_kind(run, events.Step) if event.step > saved}
    run.resume()
    until(lambda: len(of_kind(run, events.Start)) == 2, "the second start")
    assert of_kind(run, events.Start)[1].step == saved
    run.command("stop")
    run.wait(60)
    told = run.events()[0]
    second = max(i for i, event in enumerate(told) if isinstance(event, events.Start))
    again = {event.step: event for event in told[second:] if isinstance(event, events.Step)}
    both = first.keys() & again.keys()
    assert both and all((first[step].learning_rate, first[step].loss) == (again[step].learning_rate, again[step].loss)
                        for step in both)
    assert first[saved + 1].learning_rate != pytest.approx(0.0005, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("values", [pytest.param({}, id="all"), pytest.param({"lora": 2}, id="lora")])
def test_fine_tuning_is_taken_up_too(tmp_path, text, values):
    from engine.adaptation import Adaptation

    home = Workspace(tmp_path / "w")
    base = begin(home.root, text, n_steps=4)
    assert base.wait(60) == "finished"
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("cat", "yak") * 2)
    adaptation = Adaptation(rank=values.get("lora", 0))
    results = []
    for killed in (False, True):
        prepared = finetuning.prepare(finetuning.open_base(base.guid, home), home, [other],
                                      changes={"n_steps": 30, "s_checkpoint_steps": 2}, adaptation=adaptation, name="")
        run = finetuning.start(home, prepared)
        if killed:
            kill_at(run, 12)
            run.resume()
        assert run.wait(60) == "finished", run.tail(3)
        results.append(outcome(home, run.guid))
    assert results[0] == results[1] and ("adapter" in results[0]) == bool(values)


def test_many_resume_one_run_and_one_does(tmp_path, text):
    run = begin(tmp_path / "w", text, n_steps=100_000)
    kill_at(run, 3)
    program = ("import sys; from babytui import runs; from store.workspace import Workspace; "
               "runs.Run(Workspace(sys.argv[1]), sys.argv[2]).resume()")
    import sys

    many = [subprocess.Popen([sys.executable, "-c", program, str(run.workspace.root), run.guid],
                             env={**os.environ, "PYTHONPATH": str(Path(runs.__file__).parents[1])}) for _ in range(4)]
    assert [child.wait(60) for child in many] == [0] * 4
    until(lambda: run.status() == "running", "it goes on")
    assert len(of_kind(run, events.Start)) == 2, "one process took it up"
    run.command("stop")
    assert run.wait(60) == "stopped"


def test_a_run_is_alive_before_its_process_is(tmp_path, text, monkeypatch):
    """The lock is taken before the folder has its name, and handed over: nobody can delete or start it in between."""
    seen = []

    def look(words, work, log, lock):
        seen.append((work.alive, work.status(), Lock(work.dir / "lock").acquire()))
        return spawn(words, work, log, lock)

    spawn = runs.spawn
    monkeypatch.setattr(runs, "spawn", look)
    run = begin(tmp_path / "w", text, n_steps=5)
    assert seen == [(True, "starting", False)]
    assert run.wait(60) == "finished"
    assert not list(run.dir.parent.glob(".new-*"))


# A disk that refuses --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_makes_the_run_wait(tmp_path, text):
    expected = whole(tmp_path / "a", text, n_steps=400, s_checkpoint_steps=20)
    run = begin(tmp_path / "b", text, n_steps=400, s_checkpoint_steps=20)
    folder = run.dir / "checkpoints"
    until(lambda: of_kind(run, events.Checkpoint), "a checkpoint")
    run.command("pause")
    until(lambda: run.status() == "paused", "the pause")
    until(lambda: of_kind(run, events.Checkpoint)[-1].reason == "command", "its checkpoint")
    folder.rename(tmp_path / "away")
    folder.write_text("in the way")
    run.command("resume")
    until(lambda: any(alarm.name == "disk" for alarm in of_kind(run, events.Alarm)), "the alarm")
    assert run.status() == "paused" and run.alive
    at = of_kind(run, events.Step)[-1].step
    assert at < 400
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert run.wait(60) == "finished"
    assert outcome(run.workspace, run.guid) == expected


@pytest.mark.parametrize("stop", [False, pytest.param(True, marks=slow)])
def test_a_full_disk_is_told_on_the_disk_and_waited_for(small_disk, tmp_path, text, stop):
    run = begin(small_disk / "w", text, n_steps=100_000, n_checkpoints=1)
    until(lambda: of_kind(run, events.Checkpoint), "a checkpoint")
    hog = fill(small_disk)
    until(lambda: any(alarm.name == "disk" for alarm in of_kind(run, events.Alarm)), "the alarm, in the reserve")
    assert run.status() == "paused" and "the disk is full" in of_kind(run, events.Alarm)[-1].message
    if stop:
        run.command("stop")
        until(lambda: sum(alarm.name == "disk" for alarm in of_kind(run, events.Alarm)) == 2 or not run.alive,
              "the second alarm: the model cannot be written")
        assert run.alive
    time.sleep(3 * worker.RETRY_SECONDS)  # what was written into the reserve's room is no sign of more
    assert [one.command for one in of_kind(run, events.Control) if one.command != "stop"][-1] == "pause" and run.alive
    at = of_kind(run, events.Step)[-1].step
    hog.unlink()
    if not stop:
        until(lambda: of_kind(run, events.Step)[-1].step > at, "steps after it")
        assert [event.command for event in of_kind(run, events.Control)][-2:] == ["pause", "resume"]
        run.command("stop")
    assert run.wait(60) == "stopped" and run.workspace.entry(run.guid).has_model
    assert [event.step for event in of_kind(run, events.Step)] == list(range(1, of_kind(run, events.End)[0].step + 1))


def test_whoever_lost_the_lock_of_a_run_ends_and_writes_nothing_more(tmp_path, text):
    """Its file was removed, as by somebody who brings a backup back, and another process took the run up."""
    run = begin(tmp_path / "a", text, n_steps=100_000)
    until(lambda: of_kind(run, events.Step), "a step")
    first = Lock.owner(run.dir / "lock")
    (run.dir / "lock").unlink()
    until(lambda: run.alive and run.status() == "running", "it to take the lock again")
    assert Lock.owner(run.dir / "lock") == first
    other = Lock(run.dir / "lock")
    (run.dir / "lock").unlink()
    if not other.acquire():
        pytest.skip("the run was quicker")
    until(lambda: "another process has it" in (run.dir / "worker.log").read_text(), "the first to end")
    size = run.journal.stat().st_size
    assert not any(isinstance(event, events.End) for event in run.last_events(5))
    other.release()
    assert run.status() == "died" and run.journal.stat().st_size == size
    run.resume()
    run.command("stop")
    assert run.wait(60) == "stopped"


def test_commands_that_cannot_be_read_are_told_and_cost_nothing(tmp_path, text):
    run = begin(tmp_path / "a", text, n_steps=100_000)
    until(lambda: of_kind(run, events.Step), "a step")
    (run.dir / "control.jsonl").unlink(missing_ok=True)
    (run.dir / "control.jsonl").mkdir()
    until(lambda: any(alarm.name == "control" for alarm in of_kind(run, events.Alarm)), "the alarm")
    at = of_kind(run, events.Step)[-1].step
    until(lambda: of_kind(run, events.Step)[-1].step > at + 100, "it goes on")
    assert len([alarm for alarm in of_kind(run, events.Alarm) if alarm.name == "control"]) == 1
    (run.dir / "control.jsonl").rmdir()
    run.command("stop")
    assert run.wait(60) == "stopped"


@slow
def test_a_disk_that_vanishes_and_comes_back(tmp_path, text):
    """A folder that is mounted elsewhere stands for a stick or a share: its files are whole while it is away."""
    real, seen = tmp_path / "real", tmp_path / "seen"
    for folder in (real, seen):
        folder.mkdir()

    def mount() -> bool:
        return subprocess.run(["mount", "--bind", str(real), str(seen)], capture_output=True).returncode == 0

    if not mount():
        pytest.skip("only root can mount")
    try:
        run = begin(seen / "w", text, n_steps=100_000, s_checkpoint_steps=200)
        until(lambda: of_kind(run, events.Checkpoint), "a checkpoint")
        journal = real / "w" / "runs" / run.guid / "events.jsonl"
        subprocess.run(["umount", "-l", str(seen)], check=True)
        size = -1
        while size != (size := journal.stat().st_size):  # until nothing is written any more
            time.sleep(0.5)
        assert not (seen / "w").exists() and Lock.held(journal.with_name("lock"))
        assert mount()
        until(lambda: [event.command for event in of_kind(run, events.Control)] == ["pause", "resume"], "it goes on")
        assert "does not exist" in of_kind(run, events.Alarm)[-1].message
        at = of_kind(run, events.Step)[-1].step
        until(lambda: of_kind(run, events.Step)[-1].step > at, "steps after it")
        run.command("stop")
        assert run.wait(60) == "stopped" and run.workspace.entry(run.guid).has_model
        last = of_kind(run, events.End)[0].step
        assert [event.step for event in of_kind(run, events.Step)] == list(range(1, last + 1))
    finally:
        subprocess.run(["umount", "-l", str(seen)], check=False)


# Numbers gone wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["rollback", pytest.param("stop", marks=slow)])
def test_numbers_that_are_not_finite(tmp_path, text, choice):
    """A rate of 10, set by hand, multiplies the weights by 1 - 10·10 at every step; half of the old rate does not."""
    run = begin(tmp_path / "w", text, n_steps=600, r_decay=10, c_not_finite=choice, c_schedule="constant",
                s_checkpoint_steps=10, s_warmup="none")
    until(lambda: len(of_kind(run, events.Checkpoint)) > 2, "checkpoints")
    run.command("learning_rate", 10.0)
    assert run.wait(60) == ("failed" if choice == "stop" else "finished")
    alarms = of_kind(run, events.Alarm)
    assert any(alarm.name == "not-finite" for alarm in alarms), alarms
    back = [alarm for alarm in alarms if alarm.name == "rollback"]
    assert bool(back) == (choice == "rollback")
    if back:
        told = run.events()[0]
        after = told[told.index(back[0]) + 1]
        assert isinstance(after, events.Start) and after.step < back[0].step
        rates = [event.learning_rate for event in told[told.index(after):] if isinstance(event, events.Step)]
        assert rates[-1] <= 0.002
        assert isinstance(told[-1], events.End) and told[-1].step == 600 and told[-1].validation_loss < 4
    assert not run.workspace.entry(run.guid).problems
