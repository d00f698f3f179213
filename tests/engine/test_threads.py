"""When a second thread joins a reply, played with made-up times; and that it changes no bit."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import tiny, wild

from engine import prepared, processor, threads
from engine.config import Config
from engine.generate import Sampler, stream
from engine.model import Model

real = pytest.mark.skipif(threads.openblas() is None, reason="NumPy's BLAS is no OpenBLAS that can be found")


def play(calls: int, seconds, spare=lambda own: True, exact=lambda: True) -> list[int]:
    """The threads of each of so many calls that take seconds(call, threads)."""
    pace = threads.pacing(spare, exact)
    used = [next(pace)]
    for call in range(calls - 1):
        used.append(pace.send(seconds(call, used[-1])))
    return used


def test_two_are_kept_while_they_are_faster():
    used = play(2000, lambda call, n: 1.0 / n)
    assert used[:3] == [1, 1, 1] and used[3:7] == [2, 2, 2, 2]
    assert used.count(1) < 2000 * 0.02, "one is measured again now and then, no more"
    assert used[300:].count(1) >= 3


def test_two_that_are_slower_are_tried_ever_more_rarely():
    used = play(5000, lambda call, n: [1.0, 30.0][n - 1])
    tries = [call for call, n in enumerate(used) if n == 2]
    assert len(tries) <= 9, "a single call is enough of it"
    gaps = np.diff(tries)
    assert (gaps[1:] >= gaps[:-1]).all() and gaps[-1] > 1000


def test_two_that_are_hardly_faster_are_not_kept():
    used = play(1000, lambda call, n: [1.0, 0.95][n - 1])
    assert used.count(2) <= 4 * 6


def test_a_single_slow_call_ends_it():
    """Another program starts at call 100: the next one with two threads takes long, and then one goes on."""
    used = play(400, lambda call, n: 30.0 if n == 2 and call >= 100 else 1.0 / n, lambda own: True)
    assert used[50:100].count(1) == 0
    assert used[101] == 1 and used[101:].count(2) <= 4


def test_nothing_is_tried_while_the_system_is_busy():
    assert set(play(500, lambda call, n: 1.0 / n, lambda own: False)) == {1}


def test_nothing_is_tried_where_results_would_differ():
    assert set(play(500, lambda call, n: 1.0 / n, exact=lambda: False)) == {1}


def test_it_ends_when_the_system_gets_busy_and_begins_again():
    busy = [False]

    def seconds(call, n):
        busy[0] = 100 <= call < 200
        return 1.0 / n

    used = play(400, seconds, lambda own: not busy[0])
    assert used[50:99].count(1) == 0 and used[120:200].count(2) == 0 and used[300:].count(2) > 80


@pytest.mark.parametrize(("running", "own", "expected"), [(1, 1, True), (2, 1, False), (2, 2, True), (3, 2, False)])
def test_a_core_to_spare(running, own, expected, monkeypatch, tmp_path):
    said = tmp_path / "loadavg"
    said.write_text(f"0.50 0.40 0.30 {running}/812 4711\n")
    monkeypatch.setattr(threads, "open", lambda *_args, **_options: said.open(encoding="ascii"), raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 2)
    assert threads.spare(own) is expected


def test_a_system_that_does_not_say(monkeypatch):
    def missing(*_args, **_options):
        raise FileNotFoundError

    monkeypatch.setattr(threads, "open", missing, raising=False)
    assert threads.spare(1) is False


@pytest.fixture
def two_cores(monkeypatch):
    """A machine that has them, and one thread at first."""
    blas = threads.openblas()
    monkeypatch.setattr(processor, "cores", lambda: 2)
    before = blas.threads
    blas.threads = 1
    yield blas
    blas.threads = before


@real
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(385, 1216), (385, 1536), (1537, 384), (513, 2048)])
def test_outputs_are_split_and_not_sums(shape, dtype, two_cores):
    assert threads.exact(*shape, np.dtype(dtype))
    assert two_cores.threads == 1


@real
def test_the_same_text_with_two_threads(two_cores, monkeypatch):
    config = Config.read({"n_ctx": 16, "n_emb": 384, "head_size": 384, "n_heads": 6, "n_layers": 1})
    model, seen = Model.create(config, 65), []

    class Seen(prepared.Prepared):
        def __call__(self, *given):
            seen.append(two_cores.threads)
            return super().__call__(*given)

    monkeypatch.setattr(prepared, "Prepared", Seen)
    found = []
    for spare in (False, True):
        monkeypatch.setattr(threads, "spare", lambda own, answer=spare: answer)
        found.append([(token.id, token.logits.tobytes()) for token in stream(model, [1], 60, Sampler(seed=1))])
        assert two_cores.threads == 1
    assert found[0] == found[1]
    assert set(seen) == {1, 2}, "the second reply had a second thread"


@real
@pytest.mark.parametrize("changes", [{"c_device_cpu_cores": 1}, {"n_emb": 8, "head_size": 8}], ids=str)
def test_where_a_second_thread_is_not_wanted(changes, two_cores):
    config = Config.read({"n_ctx": 16, "n_emb": 384, "head_size": 384, "n_heads": 4, "n_layers": 1, **changes})
    shapes = {(config.n_emb + 1, 4 * config.n_emb)}
    step = lambda: None  # noqa: E731
    assert threads.paced(step, config, shapes, np.float32) is step


@real
def test_the_users_own_choice_stands(two_cores):
    config = Config.read({"n_emb": 384, "head_size": 384})
    two_cores.threads = 2
    step = lambda: None  # noqa: E731
    assert threads.paced(step, config, {(385, 1536)}, np.float32) is step
    assert two_cores.threads == 2


def test_a_model_whose_products_are_widened():
    """Columns of zeros beside q, k and v change nothing."""
    config = tiny(("pre", "moh", "mlp"), n_emb=384, head_size=384, n_heads=6, n_layers=1)
    model, ids = wild(config), np.array([[1, 2, 3, 4]])
    states = model.state(1)
    model.prefill(ids[:, :1], states)
    step = prepared.Prepared(model, states, 1)
    assert (385, 1216) in step.shapes
    whole = model.logits(ids)
    for t in range(1, 4):
        np.testing.assert_allclose(step(ids[:, t], t), whole[:, t], rtol=1e-9, atol=1e-9)
