"""Long runs: what a process holds does not grow with steps, events or minutes. Linux only: reads /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
import storm
from waiting import until

from babytui import process, runs
from engine import events
from engine.config import Config
from store.workspace import Workspace

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
TINIEST = {"n_layers": 1, "n_emb": 2, "head_size": 2, "n_heads": 1, "n_ctx": 2, "batch_size": 1}
TEXT = "The cat sat on the mat. The dog saw the cat and ran.\n" * 40
MIB = 1 << 20
GUID = "00000000-0000-4000-8000-000000000001"
ATTACH_SECONDS = 1.0  # of work to attach to a journal of a million events


def held(pid: int) -> dict[str, int]:
    """Resident bytes, open files and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"resident": int(status["VmRSS"].split()[0]) << 10, "threads": int(status["Threads"]),
            "files": len(os.listdir(f"/proc/{pid}/fd"))}


def flat(looks: list[dict[str, int]], mebibytes: float, spare: int = 0) -> None:
    """After the first quarter nothing grows by more than that: of 200 000 steps, not 42 bytes each. spare: files and
    threads that come and go (a checkpoint's, a look at the lock)."""
    early, late = looks[:len(looks) // 4], looks[len(looks) // 4:]
    for what, allowed in (("resident", mebibytes * MIB), ("files", spare), ("threads", spare)):
        most = max(look[what] for look in late)
        assert most <= max(look[what] for look in early) + allowed, f"{what} grew: {[look[what] for look in looks]}"


@pytest.mark.slow
def test_two_hundred_thousand_steps(tmp_path):
    """The worker and a command line that watches it from the beginning to the end."""
    text = tmp_path / "cats.txt"
    text.write_text(TEXT)
    run = runs.start(Workspace(tmp_path / "w"), Config.read(TINIEST), [text], steps=200_000)
    worker = storm.workers(tmp_path / "w")[0].pid
    watch = storm.babytui(["attach", run.guid, "--workspace", tmp_path / "w"], tmp_path / "watch.log")
    of_worker, of_watch = [], []
    for event in run.follow():
        if isinstance(event, events.Step) and event.step % 5000 == 0 and event.step < 200_000:
            of_worker.append(held(worker))
            of_watch.append(held(watch.pid))
    assert run.status() == "finished" and event.step == 200_000
    assert watch.wait(60) == 0
    flat(of_worker, 6, spare=2)
    flat(of_watch, 3, spare=2)
    steps = [event.step for event in run.events()[0] if isinstance(event, events.Step)]
    assert steps == list(range(1, 200_001)) or len(steps) < 200_000  # thinned by now


@pytest.mark.slow
def test_two_processes_hold_no_more_after_many_steps(tmp_path):
    """A run of two lanes: the worker and its lane."""
    text = tmp_path / "cats.txt"
    text.write_text(TEXT)
    wide = Config.read({**TINIEST, "n_ctx": 64, "batch_size": 12, "c_device_cpu_cores": 2})
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    run = runs.start(Workspace(tmp_path / "w"), wide, [text], steps=10_000)
    worker = storm.workers(tmp_path / "w")[0].pid
    until(lambda: storm.lanes(worker), "the lane's process")
    lane = storm.lanes(worker)[0].pid
    looks: dict[int, list[dict[str, int]]] = {worker: [], lane: []}
    for event in run.follow():
        if isinstance(event, events.Step) and event.step % 250 == 0 and event.step < 10_000:
            for pid, found in looks.items():
                found.append(held(pid))
    assert run.status() == "finished"
    flat(looks[worker], 6, spare=2)
    flat(looks[lane], 3)


# --- a million events -------------------------------------------------------------------------------------------------

def line_of(step: int) -> bytes:
    """A step's line as the worker writes it, but faster."""
    return (b'{"event":"step","step":%d,"time":%.3f,"loss":%.6f,"learning_rate":0.004,'
            b'"gradient_norm":1.2345678901234567,"epoch":%.4f,"tokens":%d,"seconds":%.4f,"tokens_per_second":31234.567890123}\n'
            % (step, 1.7e9 + step / 1000, 1 + 2e6 / (1e6 + step), step / 15, step * 32, step / 1000))


def long_run(workspace: Workspace, steps: int) -> runs.Run:
    """A run whose journal has so many steps; its process has died."""
    run = runs.Run(workspace.ensure(), GUID)
    run.dir.mkdir(mode=0o700)
    config = Config.read({**TINIEST, "n_steps": 2 * steps}).to_dict()
    (run.dir / "plan.json").write_bytes(orjson.dumps(
        {"guid": GUID, "created": 1.7e9, "name": "long", "config": config, "texts": [], "dataset": "cats"}))
    start = events.Start(step=0, time=1.7e9, config=config, parameters=100, vocab_size=20, steps=2 * steps,
                         dataset="cats", tokens_per_step=32, train_tokens=1900, validation_tokens=200)
    with open(run.journal, "wb") as file:
        file.write(orjson.dumps(start.to_dict()) + b"\n")
        for first in range(1, steps + 1, steps // 20):
            last = min(first + steps // 20, steps + 1)
            file.write(b"".join(line_of(step) for step in range(first, last)))
            for event in (events.Evaluation(step=last - 1, train_loss=2.5, validation_loss=2.0 + 1 / last, tokens=0,
                                            seconds=last / 1000),
                          events.Sample(step=last - 1, prompt="The", text=f"The cat of {last}"),
                          events.Checkpoint(step=last - 1, path="checkpoints/none.safetensors", reason="policy")):
                file.write(orjson.dumps(event.to_dict()) + b"\n")
    return run


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A run with a million steps in its journal, 217 MB. Only for reading."""
    return long_run(Workspace(tmp_path_factory.mktemp("million")), 1_000_000)


def test_the_fast_lines_are_those_of_the_worker(tmp_path):
    step = events.Step(step=7, time=1.7e9 + 0.007, loss=2.999986, learning_rate=0.004, gradient_norm=1.2345678901234567,
                       epoch=0.4667, tokens=224, seconds=0.007, tokens_per_second=31234.567890123)
    assert orjson.loads(line_of(7)) == pytest.approx(step.to_dict())
    assert list(orjson.loads(line_of(7))) == list(step.to_dict())
    run = long_run(Workspace(tmp_path), 100)
    assert [event.step for event in run.events()[0] if isinstance(event, events.Step)] == list(range(1, 101))
    assert run.status() == "died"


@pytest.mark.slow
def test_attaching_to_a_million_events(million):
    """From the command to its last word; the run's process has died, so it ends by itself."""
    begun = os.times()
    found = subprocess.run(storm.command(["attach", GUID, "--json", "--workspace", million.workspace.root]),
                           capture_output=True, env=process.environment(), check=False)
    ended = os.times()
    assert found.returncode == 1 and orjson.loads(found.stdout)["steps"] == 1_000_000, found.stderr.decode()
    worked = ended.children_user - begun.children_user + ended.children_system - begun.children_system
    assert worked < ATTACH_SECONDS  # on a machine with nothing else to do it takes as long


@pytest.mark.slow
def test_watching_a_million_events_holds_few(million):
    """A command line that reads all of them one by one, not only the last: its memory is that of a few."""
    program = ("import resource, sys\nfrom babytui import runs\nfrom store.workspace import Workspace\n"
               "run = runs.Run(Workspace(sys.argv[1]), sys.argv[2])\n"
               "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
               "events = run.follow()\nfirst = [next(events) for _ in range(50_000)]\nfirst.clear()\nbefore = used()\n"
               "print(50_000 + sum(1 for _ in events), used() - before)")
    found = subprocess.run([sys.executable, "-P", "-c", program, str(million.workspace.root), GUID],
                           capture_output=True, env=process.environment(), check=True)
    count, grown = map(int, found.stdout.split())
    assert count == 1_000_061
    assert grown < 8 << 10, f"{grown} KiB"  # a piece of the journal is 1 MiB


# --- gaps -------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_what_a_machine_slept_through_is_only_a_gap(tmp_path):
    """All processes of a run and the one that watches it stand still for a while, as when the lid is closed; the model
    is that of a run that went through."""
    text = tmp_path / "cats.txt"
    text.write_text(TEXT)
    wide = {**TINIEST, "n_ctx": 64, "batch_size": 12}  # two lanes
    models = []
    for name, sleeps in (("awake", False), ("asleep", True)):
        run = runs.start(Workspace(tmp_path / name), Config.read(wide), [text], steps=600, prompt="The")
        watch = storm.babytui(["attach", run.guid, "--workspace", tmp_path / name], tmp_path / f"{name}.log")
        if sleeps:
            session = storm.workers(tmp_path / name)[0].pid
            next(event for event in run if isinstance(event, events.Step) and event.step >= 50)
            for group in (session, watch.pid):
                os.killpg(group, signal.SIGSTOP)
            until(lambda session=session: all(found.state == "T" for found in storm.processes()
                                                    if found.session == session), "the processes to stand still")
            assert run.alive and run.status() == "running"
            reached = run.last_events(1)[0].step
            time.sleep(1.5)  # the sleep is what is tested
            assert run.last_events(1)[0].step == reached and run.status() == "running"
            for group in (session, watch.pid):
                os.killpg(group, signal.SIGCONT)
        assert run.wait(60) == "finished" and watch.wait(60) == 0
        told = run.events()[0]
        assert not [event for event in told if isinstance(event, (events.Alarm, events.Control))]
        assert [event.step for event in told if isinstance(event, events.Step)] == list(range(1, 601))
        if sleeps:
            assert max(later.time - earlier.time for earlier, later in pairwise(told) if later.step >= reached) > 1.4
        models.append(storm.artifacts_of(run.workspace, run.guid))
    assert set(models[0]) >= {"model", "tokenizer", "report", "completion"}
    storm.same(models[1], models[0])
