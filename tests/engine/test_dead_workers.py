"""A worker process that dies, at any moment, costs the step it died in at most: the state is whole and can be resumed.

Real processes that kill themselves with SIGKILL, at a chosen moment or from outside at any.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from architectures import VOCAB, tiny

from engine import data, events, parallel, registry
from engine.adaptation import Adaptation
from engine.errors import RunError
from engine.model import Model
from engine.optimizer import blocks
from engine.trainer import Trainer

TEXT = np.random.default_rng(1).integers(0, VOCAB, 3000).astype(np.uint8)
STEPS = 5
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

# In the worker of this rank, what a phase does at its `AT`th call is half of it, or rubbish, and then death.
_DOOMED = """
import json, os, signal, sys
from engine import parallel
from engine.optimizer import AdamW

calls = 0

def doomed(kind, name, spoil):
    whole = getattr(kind, name)
    def half(self, *arguments):
        global calls
        calls += 1
        if calls == {at}:
            spoil(self, *arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self, *arguments)
    setattr(kind, name, half)

def spoil_gradient(hand, *_):
    for gradients in hand.gradients.values():
        for view in gradients.joined.values():
            view[...] = 7

def spoil_fold(hand, *_):
    for block in hand.blocks[:1]:
        hand.shared.gradients[0, hand.slices[block]] *= 7

def spoil_scratch(optimizer, *_):
    for buffer in optimizer._scratch:
        buffer[::2] = 7

def spoil_block(optimizer, weights, here):
    for array in (optimizer.m, optimizer.v, weights):
        array[here][::3] = 7

def spoil_matrices(hand, *_):
    for adapter in hand.model.params.adapters[hand.adapters]:
        hand.model.params.joined[adapter.tensor][adapter.index][...] = 7

phases = {{"gradient": (parallel.Hand, "gradient", spoil_gradient), "fold": (parallel.Hand, "fold", spoil_fold),
          "prepare": (AdamW, "prepare", spoil_scratch), "commit": (AdamW, "commit", spoil_block),
          "correct": (parallel.Hand, "correct", spoil_matrices)}}
if json.loads(sys.argv[1])["rank"] == {rank}:
    if {phase!r} == "start":
        os.kill(os.getpid(), signal.SIGKILL)
    doomed(*phases[{phase!r}])
parallel.work()
"""


def config(**values):
    """Four lanes, and several blocks for each of three processes."""
    return tiny(batch_size=24, n_ctx=64, n_emb=64, head_size=64, d_type="fp32", n_steps=STEPS, r_dropout=0.1, **values)


def trainer(conf, cores: int, resume=None, adaptation: Adaptation | None = None) -> Trainer:
    tokenizer = registry.tokenizer.get("char")("abcdefg")
    model = Model.from_arrays(conf, Model.create(conf, VOCAB).export(), adaptation=adaptation)
    return Trainer(model, tokenizer, TEXT, sample_tokens=2, cores=cores, resume=resume)


def states(conf, **options) -> dict[int, dict[str, bytes]]:
    """What a run that nothing happens to holds after each step."""
    t, found = trainer(conf, 1, **options), {}
    found[0] = contents(t)
    for event in t:
        if isinstance(event, events.Step):
            found[event.step] = contents(t)
    return found


def contents(t: Trainer) -> dict[str, bytes]:
    arrays = {name: array.tobytes() for name, array in t.state()[0].items()}
    return {**arrays, "used": t.model.params.flat.tobytes()}


@pytest.mark.parametrize(("phase", "at", "rank", "d_type"), [
    ("gradient", 3, 1, "fp32"), ("prepare", 8, 1, "fp16"), ("commit", 8, 2, "fp32"),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in [
        ("start", 0, 1, "fp32"), ("fold", 3, 2, "fp32"), ("gradient", 1, 2, "fp32"), ("prepare", 1, 2, "fp32"),
        ("commit", 1, 1, "fp32"), ("commit", 8, 1, "fp16")])])
def test_whatever_a_worker_dies_in(monkeypatch, phase, at, rank, d_type):
    """A step whose update has begun is finished; another is as if it had not begun."""
    conf = config().replace(d_type=d_type)
    own = len(parallel._share(len(blocks(Model(conf, VOCAB).params.trained)), rank, 3))
    survived = -(-at // own) if phase in ("prepare", "commit") else max(at - 1, 0)
    assert len(data.lanes(conf)) == 4 and own > 1 and survived < STEPS
    expected = states(conf)
    t = trainer(conf, 3)
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "_PROGRAM", _DOOMED.format(phase=phase, at=at, rank=rank))
        seen = []
        with pytest.raises(RunError, match="signal 9") as caught:
            seen.extend(event.step for event in t if isinstance(event, events.Step))
    assert str(caught.value).endswith(".") and "resume" in str(caught.value)
    assert seen == list(range(1, survived + 1)) and t.step == survived
    assert t.team.whole and contents(t) == expected[survived]
    rest = trainer(conf, 2, resume=t.state())
    list(rest)
    assert contents(rest) == expected[STEPS]
    if phase == "gradient":
        list(t)  # the same one goes on as well
        assert contents(t) == expected[STEPS]


@pytest.mark.parametrize("phase", ["commit", "correct"])
def test_adapters(monkeypatch, phase):
    """Their matrices are brought up to date in a phase of its own."""
    conf, adaptation = config(r_decay=0.2), Adaptation(rank=16)
    expected = states(conf, adaptation=adaptation)
    t = trainer(conf, 3, adaptation=adaptation)
    monkeypatch.setattr(parallel, "_PROGRAM", _DOOMED.format(phase=phase, at=2, rank=2))
    with pytest.raises(RunError, match="signal 9"):
        list(t)
    assert t.step and contents(t) == expected[t.step]


def test_a_death_in_the_last_update_changes_nothing(monkeypatch):
    conf = config(n_layers=1).replace(n_steps=1)
    t = trainer(conf, 3)
    monkeypatch.setattr(parallel, "_PROGRAM", _DOOMED.format(phase="commit", at=1, rank=1))
    assert list(t)[-1].reason == "finished" and contents(t) == states(conf)[1]


def test_a_death_is_noticed_while_another_is_waited_for(monkeypatch):
    """The first worker never answers; the second dies. What is stopped does not end by itself, so the test ends it."""
    stops = _DOOMED.format(phase="gradient", at=2, rank=2).replace(
        "parallel.work()", "if json.loads(sys.argv[1])['rank'] == 1:\n"
        "    doomed(parallel.Hand, 'gradient', lambda *_: os.kill(os.getpid(), signal.SIGSTOP)); calls = -1\n"
        "parallel.work()").replace("calls == 2", "calls == 2 or calls == 1 and json.loads(sys.argv[1])['rank'] == 1")
    monkeypatch.setattr(parallel, "_PROGRAM", stops)
    t = trainer(config(), 3)
    noticed = threading.Event()
    error = parallel.Worker.error

    def tells(worker):
        assert worker.rank == 2
        noticed.set()
        os.kill(t.team._workers[0]._process.pid, signal.SIGKILL)
        return error(worker)

    monkeypatch.setattr(parallel.Worker, "error", tells)
    with pytest.raises(RunError, match="signal 9"):
        list(t)
    assert noticed.is_set()


def test_a_worker_that_cannot_be_started(monkeypatch):
    def refuses(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    t = trainer(config(), 3)
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(parallel.subprocess, "Popen", refuses)
        with pytest.raises(RunError, match=r"temporarily unavailable.*c_device_cpu_cores"):
            list(t)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
def test_killed_at_any_time():
    """From outside, and nobody knows what it was doing."""
    conf = config().replace(n_steps=60)
    expected, rng, died = states(conf), random.Random(1), set()
    for _ in range(30):
        t = trainer(conf, 3)
        run = iter(t)
        while not isinstance(next(run), events.Step):
            pass
        victim = rng.choice(t.team._workers)._process.pid
        timer = threading.Timer(rng.random() * 0.3, os.kill, (victim, signal.SIGKILL))
        timer.start()
        with pytest.raises(RunError, match="signal 9"):
            list(run)
        timer.join()
        assert contents(t) == expected[t.step]
        died.add(t.step)
    assert len(died) > 2  # a busy machine does few steps in that time
