"""A GPU's step: the host waits for nothing in it, it is one graph, and it makes what the CPU's makes.

The device is tests/support/strict_xp.py; tests/gpu does the same on a real one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from architectures import ARCHITECTURES, ATTENTIONS, NETWORKS, VOCAB, tiny, wild
from strict_xp import Hardware, installed, no_synchronisation

from engine import registry
from engine.adaptation import Adaptation
from engine.backend import host, xp
from engine.config import Config
from engine.device_step import DeviceTeam
from engine.generate import Decoder, Sampler, stream
from engine.graph import Graph
from engine.model import Model
from engine.optimizer import LossScaler
from engine.parallel import Team
from engine.trainer import BAD_STEPS, Trainer

IDS = np.tile(np.random.default_rng(1).integers(0, VOCAB, 90), 4).astype(np.uint8)
EVERY_VARIANT = [("pre", attention, "mlp") for attention in ATTENTIONS] + [("post", "mha", n) for n in NETWORKS]


@pytest.fixture
def device() -> Iterator[Hardware]:
    """A machine with a GPU."""
    with installed() as hardware:
        yield hardware


def config(architecture: tuple[str, str, str] = ("pre", "mha", "mlp"), **values: Any) -> Config:
    return tiny(architecture, **{"c_device": "gpu", "d_type": "fp32", "n_steps": 40, **values})


def steps(team: Any, numbers: range, scaler: LossScaler, clip: float = 0.0) -> list[tuple[float, float]]:
    """Loss and norm of some steps, each read when it has been made."""
    rng, found = np.random.default_rng(numbers.start), []
    shape = team.model.config.batch_size, team.model.config.n_ctx
    for number in numbers:
        inputs, targets = rng.integers(0, VOCAB, (2, *shape))
        read = team.train(number, inputs, targets, 0.01, clip, scaler)
        loss, norm = read()
        scaler.update(overflowed=not np.isfinite(loss + norm))
        found.append((loss, norm))
    return found


@pytest.mark.parametrize("architecture", EVERY_VARIANT, ids="-".join)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_host_waits_for_no_step(architecture, dropout, device):
    """Not for one that is launched kernel by kernel, nor for one that is a graph; nothing more is held after it."""
    team = DeviceTeam(Model.create(config(architecture, r_dropout=dropout), VOCAB))
    scaler, held = LossScaler(False), []
    ids = np.zeros((2, *team._shape), np.int64)
    for number in range(6):
        with no_synchronisation():
            read = team.train(number, ids[0], ids[1], 0.01, 1.0, scaler)
        assert team._run.captured == (number >= 2)
        loss, norm = read()
        assert np.isfinite(loss) and np.isfinite(norm)
        del read
        held.append((device.used, device.held))
    assert held[3] == held[4] == held[5], "the pool grows from step to step"


@pytest.mark.parametrize("architecture", EVERY_VARIANT[::4], ids="-".join)
def test_large_steps_are_launched_kernel_by_kernel(architecture, device, monkeypatch):
    """And neither wait nor let the pool grow."""
    monkeypatch.setattr("engine.device_step.SMALL", 0)
    team = DeviceTeam(Model.create(config(architecture, r_dropout=0.1), VOCAB))
    ids, held = np.zeros((2, *team._shape), np.int64), []
    for number in range(5):
        with no_synchronisation():
            read = team.train(number, ids[0], ids[1], 0.01, 1.0, LossScaler(False))
        read()
        del read
        held.append((device.used, device.held))
    assert not isinstance(team._run, Graph) and held[1] == held[2] == held[3] == held[4]


@pytest.mark.parametrize("architecture", EVERY_VARIANT, ids="-".join)
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_steps_equal_the_cpus(architecture, d_type, device):
    """Losses, norms, weights and moments, before and after the step has become a graph, with clipping."""
    found = []
    for on in ("gpu", "cpu"):
        model = Model.create(config(architecture, d_type=d_type, c_device=on, r_decay=0.1), VOCAB)
        team: Any = DeviceTeam(model) if on == "gpu" else Team(model)
        told = steps(team, range(6), LossScaler(d_type == "fp16"), clip=0.5)
        shared = team.shared
        found.append((np.array(told), *(host(x) for x in (shared.weights, shared.master, shared.m, shared.v))))
        assert team.updates == 6
    tolerance = 1e-12 if d_type == "fp64" else 1e-5
    for ours, expected in zip(*found, strict=True):
        close = 1e-3 if d_type == "fp16" and ours is found[0][1] else 20 * tolerance
        np.testing.assert_allclose(ours, expected, rtol=0, atol=close * max(1, np.abs(expected).max()))


def test_a_graph_makes_what_kernels_one_by_one_make(device, monkeypatch):
    """Bit for bit, with dropout and accumulation over pieces: its masks and its rate are those of each step."""
    monkeypatch.setattr("engine.device_step.PIECE", 10)
    results = []
    for graphs in (True, False):
        team = DeviceTeam(Model.create(config(r_dropout=0.3, c_momentum="nesterov"), VOCAB))
        if not graphs:
            team._run = team._work
        assert len(team._pieces) > 1
        told = steps(team, range(8), LossScaler(False))
        results.append((told, host(team.shared.weights)))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])
    assert len({loss for loss, _ in results[0][0]}) == 8


def test_a_step_that_is_not_finite_changes_nothing(device):
    """But the loss scale: it is halved on the device as on the host."""
    team = DeviceTeam(Model.create(config(d_type="fp16"), VOCAB))
    scaler = LossScaler(True)
    steps(team, range(4), scaler)
    for weights in (team.shared.weights, team.shared.master):
        team.model.params.views(weights)["lm_head_bias"][0] = np.inf
    before = [host(x) for x in (team.shared.weights, team.shared.m, team.shared.v)]
    steps(team, range(4, 7), scaler)
    after = [host(x) for x in (team.shared.weights, team.shared.m, team.shared.v)]
    assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))
    assert scaler.scale == 2.0**12 and float(team._scale[0]) == 2.0**12 and team.updates == 4


def test_what_is_set_from_outside_is_taken_over(device):
    """Updates and the loss scale of a state; the graph stays."""
    team = DeviceTeam(Model.create(config(), VOCAB))
    first, weights = steps(team, range(4), LossScaler(False)), host(team.shared.master)
    m, v = host(team.shared.m), host(team.shared.v)
    later = steps(team, range(4, 8), LossScaler(False))
    xp = team.shared.m.__class__
    for view, value in ((team.shared.master, weights), (team.shared.m, m), (team.shared.v, v)):
        assert isinstance(view, xp)
        view.set(value)
    team.updates = 4
    team.changed()
    assert steps(team, range(4, 8), LossScaler(False)) == later and first != later
    assert team._run.captured


def test_frozen_weights_and_adapters(device):
    """Adapted matrices follow their factors; the rest stays."""
    found = []
    for on in ("gpu", "cpu"):
        arrays = Model.create(config(c_device="cpu"), VOCAB).export()
        model = Model.from_arrays(config(c_device=on), arrays, adaptation=Adaptation(rank=2))
        team: Any = DeviceTeam(model) if on == "gpu" else Team(model)
        told = steps(team, range(5), LossScaler(False))
        found.append((told, {name: np.array(value) for name, value in model.export().items()}))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for name, value in found[1][1].items():
        np.testing.assert_allclose(found[0][1][name], value, atol=1e-5)


def test_where_capturing_fails_steps_are_launched_one_by_one(device, monkeypatch, caplog):
    """One line in the log, and the same result."""
    expected = steps(DeviceTeam(Model.create(config(), VOCAB)), range(6), LossScaler(False))
    team = DeviceTeam(Model.create(config(), VOCAB))
    work, calls = team._work, []

    def refused() -> None:
        calls.append(device.capture is not None)
        work()
        if device.capture is not None:
            team._loss.get()  # waits

    team._run = Graph(refused, "The training step")
    with caplog.at_level(logging.WARNING):
        found = steps(team, range(6), LossScaler(False))
    assert found == expected
    assert calls == [False, False, True, False, False, False, False]
    assert len(caplog.records) == 1 and "The training step is not captured" in caplog.text


# Whole runs -----------------------------------------------------------------------------------------------------------


def trainer(on: str, **values: Any) -> Trainer:
    options = {name: values.pop(name) for name in ("resume", "last_good") if name in values}
    architecture = values.pop("architecture", ("pre", "mha", "mlp"))
    model = Model.create(config(architecture, c_device=on, **values), VOCAB)
    return Trainer(model, registry.tokenizer.get("char")("abcdefg"), IDS, sample_tokens=3, **options)


def told(event: Any) -> dict[str, Any]:
    """An event without the clock and rounding."""
    return {key: value for key, value in event.to_dict().items()
            if key not in ("time", "seconds", "tokens_per_second", "config", "message")
            and not isinstance(value, (float, dict))}


@pytest.mark.parametrize("architecture", ARCHITECTURES[::25], ids="-".join)
def test_a_run_tells_what_the_cpus_tells(architecture, device):
    both = [list(trainer(on, architecture=architecture)) for on in ("gpu", "cpu")]
    assert [told(event) for event in both[0]] == [told(event) for event in both[1]]
    for ours, theirs in zip(*both, strict=True):
        if ours.kind == "step":
            assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
            assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-4)
            assert ours.learning_rate == theirs.learning_rate
        if ours.kind == "norms":
            for kind in ("gradient", "update", "weight"):
                assert getattr(ours, kind) == pytest.approx(getattr(theirs, kind), rel=2e-3)


@pytest.mark.parametrize("step", [3, 11])
def test_a_run_goes_on_from_a_state(step, device):
    """To the same bytes."""
    whole = trainer("gpu")
    events = list(whole)
    broken, seen = trainer("gpu"), []
    for event in broken:
        seen.append(event)
        if event.kind == "step" and event.step == step:
            state = broken.state()
            break
    again = trainer("gpu", resume=state)
    rest = list(again)[1:]
    assert [told(event) for event in seen + rest] == [told(event) for event in events]
    assert np.array_equal(host(again.model.params.flat), host(whole.model.params.flat))


def test_a_run_that_breaks_goes_back(device):
    """Weights that are not finite any more, from a step on; the state of before is gone on from."""
    run = trainer("gpu", c_not_finite="rollback")
    kept: list[Any] = []
    run._last_good = lambda _: kept[0]
    kinds = []
    for event in run:
        kinds.append((event.kind, getattr(event, "name", "")))
        if event.kind == "sample" and event.step == 6:
            kept.append(run.state())
            run.model.params["lm_head_bias"][0] = np.inf
    assert kinds.count(("alarm", "not-finite")) == BAD_STEPS
    assert kinds.count(("alarm", "rollback")) == 1 and kinds[-1] == ("end", "")
    assert run.step == 40 and np.isfinite(host(run.model.params.flat)).all()


# Decoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", EVERY_VARIANT, ids="-".join)
def test_tokens_of_a_graph(architecture, device):
    """Two replies, past the end of the context, equal the CPU's; the host waits once a token, and holds no more."""
    found = []
    for on in ("gpu", "cpu"):
        model = Model.from_arrays(config(architecture, c_device=on, n_ctx=12, s_window=5),
                                  wild(config(architecture, c_device="cpu", n_ctx=12, s_window=5)).export())
        decoder = Decoder(model, 2, cache=True)
        logits = [decoder.start(np.array([[1, 2], [3, 4]]))]
        for token in range(30):
            if on == "gpu" and token in (4, 5):
                device.synchronisations.clear()
            logits.append(decoder.next(np.array([token % VOCAB, 1])))
            if on == "gpu" and token in (4, 5):
                assert device.synchronisations == {"get": 1}
                assert decoder._step._run.captured
        found.append(np.array(logits))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_many_tokens_hold_no_more_memory(device):
    model = Model.create(config(n_ctx=12), VOCAB)
    tokens, held = stream(model, [1], 60, Sampler(seed=1)), []
    for _ in tokens:
        held.append(device.used)
    assert len(set(held[5:11])) == 1 and max(held[24:]) == max(held[12:24])


def test_the_memory_of_every_graph_is_given_back(device, monkeypatch):
    """CuPy keeps that of a pool which is merely forgotten."""
    model = Model.create(config(n_ctx=12), VOCAB)
    pools = counted(monkeypatch)
    for wanted in (30, 2, 1):
        assert len(list(stream(model, [1], wanted, Sampler(seed=1)))) == wanted
    some = stream(model, [1], 30, Sampler(seed=1))
    for _ in range(5):
        next(some)
    some.close()
    decoder = Decoder(model)
    decoder.start(np.array([[1]]))
    for _ in range(4):
        decoder.next(np.array([1]))
    decoder.start(np.array([[1]]))
    assert len(pools) == 3 and all(pool.emptied for pool in pools)
    team = DeviceTeam(model)
    steps(team, range(4), LossScaler(False))
    assert len(pools) == 4 and not pools[-1].emptied
    team.close()
    assert pools[-1].emptied


def test_what_the_first_call_took_is_given_up_where_two_would_not_fit(device, monkeypatch):
    Model.create(config(), VOCAB)
    default = xp._module.get_default_memory_pool()
    emptied, graphs = [], []
    monkeypatch.setattr(type(default), "free_all_blocks", lambda self, stream=None: emptied.append(device.held))
    for more, times in ((0, 0), (1, 1)):
        graphs.append(Graph(lambda: None, "Work"))
        graphs[-1]()
        monkeypatch.setattr(type(default), "free_bytes", lambda self, more=more: device.memory - device.held + more)
        graphs[-1]()
        assert len(emptied) == times


def test_another_thread_computes_on_the_same_gpu():
    """The device of a new thread is 0."""
    with installed(devices=3) as hardware:
        model = Model.create(config(c_device_gpu_core=2), VOCAB)
        ids = xp.asarray(np.array([[1, 2]]))
        for work in (lambda: list(stream(model, [1], 4, Sampler(seed=1))), lambda: model.logits(ids)):
            hardware.device = 0
            work()
            assert hardware.device == 2


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The pools that are made from now on, which note whether they were emptied."""
    made: list[Any] = []

    class Pool(xp._module.cuda.MemoryPool):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.emptied = False
            made.append(self)

        def free_all_blocks(self, stream: Any = None) -> None:
            self.emptied = True

    monkeypatch.setattr(xp._module.cuda, "MemoryPool", Pool)
    return made
