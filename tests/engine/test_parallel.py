"""Several processes: the same bytes as one, a sentence when one dies, and nothing left behind."""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from architectures import VOCAB, tiny

import engine
from engine import data, events, parallel, registry
from engine.errors import FormatError, RunError
from engine.model import Model
from engine.parallel import Team
from engine.parameters import Gradients
from engine.trainer import Trainer

ROOT = str(Path(engine.__file__).parents[1])
TEXT = np.random.default_rng(1).integers(0, VOCAB, 3000).astype(np.uint8)
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def lanes_of(batch: int, n_ctx: int, **values):
    """A configuration whose batch is cut into several lanes."""
    return tiny(("pre", "moh", "moe"), batch_size=batch, n_ctx=n_ctx, n_experts=2, **{"n_steps": 4, **values})


def trainer(config, cores: int, **options) -> Trainer:
    tokenizer = registry.tokenizer.get("char")("abcdefg")
    return Trainer(Model.create(config, VOCAB), tokenizer, TEXT, sample_tokens=2, cores=cores, **options)


def outcome(config, cores: int) -> tuple[bytes, list]:
    t = trainer(config, cores)
    assert t.team.processes == min(cores, len(data.lanes(config, t.model.params.trained)))
    told = [(e.step, e.loss, e.gradient_norm) for e in t if isinstance(e, events.Step)]
    moments = t.team.shared.m.tobytes() + t.team.shared.v.tobytes() + t.team.shared.master.tobytes()
    return t.model.params.flat.tobytes() + moments, told


@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_any_number_of_processes_gives_the_same_bytes(d_type):
    config = lanes_of(24, 64, d_type=d_type, r_dropout=0.2)
    assert [len(lane) for lane in data.lanes(config)] == [1, 1, 1, 1]
    alone = outcome(config, 1)
    assert len(alone[1]) == 4 and alone[0] != outcome(config.replace(n_seed=2), 1)[0]
    assert outcome(config, 2) == alone
    assert outcome(config, 3) == alone


def test_lanes_of_several_pieces():
    config = lanes_of(512, 48, d_type="fp32", n_layers=1, n_steps=1, r_dropout=0.2)
    assert len(data.lanes(config)) == 16 and {len(lane) for lane in data.lanes(config)} == {2}
    assert outcome(config, 3) == outcome(config, 1)


def test_lanes_add_up_to_the_gradient_of_the_batch():
    config = lanes_of(24, 64)
    model = Model.create(config, VOCAB)
    inputs, targets = np.random.default_rng(3).integers(0, VOCAB, (2, 24, 64))
    whole = Gradients(model.params)
    loss = model.loss_and_gradients(inputs, targets, whole)
    expected = whole.finish().copy()
    team = Team(model, 2)
    try:
        found, norm = team.gradient(0, inputs, targets, 4.0)
        np.testing.assert_allclose(team.shared.gradients[0], 4 * expected, rtol=1e-9, atol=1e-14)
        assert found == pytest.approx(loss, rel=1e-12)
        assert norm == pytest.approx(4 * np.linalg.norm(expected), rel=1e-12)
    finally:
        team.close()


def test_shards_drop_different_values():
    """Lanes of equal rows would lose the same values if the stream did not depend on the lane."""
    config = lanes_of(24, 64, r_dropout=0.5)
    team = Team(Model.create(config, VOCAB), 1)
    same = np.tile(np.random.default_rng(3).integers(0, VOCAB, (1, 64)), (24, 1))
    team.gradient(0, same, same, 1.0)
    assert len(set(team.shared.losses.tolist())) == 4


def test_no_more_processes_than_lanes():
    one = trainer(lanes_of(3, 6), 8)
    assert one.team.processes == 1
    list(one)


def test_a_run_goes_on_with_another_number_of_processes():
    config = lanes_of(24, 64, d_type="fp32", r_dropout=0.1)
    whole = outcome(config, 1)
    first = trainer(config, 2)
    run = iter(first)
    for event in run:
        if isinstance(event, events.Step) and event.step == 2:
            break
    state = first.state()
    run.close()
    rest = trainer(config, 3, resume=state)
    told = [(e.step, e.loss, e.gradient_norm) for e in rest if isinstance(e, events.Step)]
    assert told == whole[1][2:]
    assert rest.model.params.flat.tobytes() == whole[0][: rest.model.params.flat.nbytes]


# What is left behind --------------------------------------------------------------------------------------------------


def children() -> set[int]:
    """Processes that this one started and that are not gone, zombies included."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(rest[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def shared_files() -> set[str]:
    """Temporary files in the shared memory of this machine (other programs have theirs, under other names)."""
    folder = Path("/dev/shm")
    return {path.name for path in folder.glob(tempfile.gettempprefix() + "*")} if folder.is_dir() else set()


@linux
def test_nothing_is_left_after_a_run():
    before = children(), shared_files()
    t = trainer(lanes_of(24, 64), 3)
    run = iter(t)
    while not isinstance(next(run), events.Step):  # workers come with the first step
        assert children() == before[0]
    assert len(children() - before[0]) == 2 and shared_files() == before[1], "not even a name while it runs"
    list(run)
    assert (children(), shared_files()) == before


@linux
def test_nothing_is_left_when_a_run_is_dropped_in_the_middle():
    before = children()
    run = iter(trainer(lanes_of(24, 64), 3))
    while not isinstance(next(run), events.Step):
        pass
    run.close()
    assert children() == before


def test_an_engine_where_the_user_stands_is_not_taken_for_ours(tmp_path, monkeypatch):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert list(trainer(lanes_of(24, 64, n_steps=1), 2))[-1].reason == "finished"


@pytest.mark.slow
@linux
def test_no_open_file_is_left():
    def one_run() -> None:
        list(trainer(lanes_of(24, 64, n_steps=1), 2))

    one_run()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        one_run()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


@linux
def test_no_worker_is_left_when_a_trainer_cannot_be_made():
    before = children()
    arrays, meta = trainer(lanes_of(24, 64, n_emb=16, head_size=16), 1).state()
    with pytest.raises(FormatError):
        trainer(lanes_of(24, 64), 3, resume=(arrays, meta))
    gc.collect()
    assert children() == before


@linux
def test_no_worker_is_left_by_a_trainer_that_is_never_used():
    before = children()
    t = trainer(lanes_of(24, 64), 3)
    del t
    gc.collect()
    assert children() == before


@linux
@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_is_killed_ends_the_run_in_a_sentence(which):
    before = children()
    t = trainer(lanes_of(24, 64, n_steps=50), 3)
    with pytest.raises(RunError, match="signal 9") as caught:
        for event in t:
            if isinstance(event, events.Step) and event.step == 2:
                os.kill(sorted(children() - before)[which], signal.SIGKILL)
    assert str(caught.value).endswith(".") and "resume" in str(caught.value)
    assert children() == before, "the others ended too, and none is a zombie"


_PARENT = """
import sys
import time
import numpy as np
from engine.config import Config
from engine.model import Model
from engine.parallel import Team
team = Team(Model.create(Config.read({"n_ctx": 64, "n_emb": 8, "head_size": 8, "n_layers": 1, "batch_size": 24}), 7), 3)
ids = np.zeros((24, 64), int)
team.gradient(0, ids, ids, 1.0)
print(*[worker._process.pid for worker in team._workers], flush=True)
while True:
    team.gradient(0, ids, ids, 1.0)
    team.update(0.0, 1.0)
    print("step", flush=True)
    while sys.argv[1] == "between":
        time.sleep(0.01)  # a signal that comes just before a read would not end it
"""


@linux
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open")
@pytest.mark.parametrize("when", ["within", "between"])  # steps
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_when_their_parent_is_killed(how, when):
    before = shared_files()
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, when], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": ROOT})
    workers = []
    try:
        workers = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2 and parent.stdout.readline() == "step\n"
        os.kill(parent.pid, how)
        assert parent.wait(60) != 0
        for worker in workers:
            assert select.select([worker], [], [], 30)[0], "the worker goes on without its parent"
        assert shared_files() == before
    finally:
        parent.kill()
        parent.wait()
        parent.stdin.close()
        parent.stdout.close()
        for worker in workers:
            os.close(worker)


def test_without_room_in_memory_the_shared_file_lies_elsewhere(monkeypatch):
    asked = 0

    def full(descriptor, offset, size):
        nonlocal asked
        asked += 1
        if asked < refused:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    refused = 2
    os.close(parallel._unlinked_file(1 << 20))
    assert asked == 2
    asked, refused = 0, 3
    with pytest.raises(RunError, match="no room for 1 MiB"):
        parallel._unlinked_file(1 << 20)
