"""AdamW against the textbook, number by number; norms and loss scaling by hand."""

from __future__ import annotations

from math import inf, isfinite, isnan, sqrt

import numpy as np
import pytest
import twins

from engine import optimizer
from engine.config import Config
from engine.optimizer import SCRATCH, AdamW, LossScaler, block_size, blocks, squared_sums
from engine.parameters import Gradients, Parameters, Tensor


def parameters(*tensors: Tensor, seed: int = 0) -> Parameters:
    params = Parameters(tensors, np.float64)
    params.flat[...] = np.random.default_rng(seed).standard_normal(len(params.flat))
    return params


SMALL = (Tensor("matrix", (5, 3)), Tensor("bias", (7,)), Tensor("frozen", (4, 4), frozen=True),
         Tensor("biases", (2, 3), decays=False), Tensor("other", (3, 20)))


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.7, 0.999), (0.0, 0.5), (0.0, 0.0)])
def test_adamw_equals_the_textbook(betas, nesterov):
    params, rng = parameters(*SMALL), np.random.default_rng(1)
    ours = AdamW(params, 0.3, betas, nesterov=nesterov)
    names = ["matrix", "bias", "biases", "other"]
    decays = {"matrix": 0.3, "bias": 0.0, "biases": 0.0, "other": 0.3}
    books = {name: twins.AdamW(params[name].size, *betas, nesterov=nesterov) for name in names}
    expected = {name: params[name].ravel().tolist() for name in names}
    frozen = params["frozen"].copy()
    for update in range(1, 31):
        gradients = Gradients(params)
        given = {name: rng.standard_normal(params[name].shape) * 10.0 ** rng.integers(-9, 3) for name in names}
        if update % 4 == 0:
            given["matrix"][...] = 0
        for name in names:
            gradients.joined[name][...] = given[name]
        rate, scale = 0.01 * update, 1 / update
        ours.step(params.flat, gradients.flat, rate, scale, update)
        for name in names:
            expected[name] = books[name].step(expected[name], (scale * given[name]).ravel().tolist(), rate,
                                              [decays[name]] * params[name].size)
            np.testing.assert_allclose(params[name].ravel(), expected[name], rtol=1e-12, atol=1e-12, err_msg=name)
    assert np.array_equal(params["frozen"], frozen)


def test_tensors_longer_than_a_block():
    """The border between what decays and what does not lies inside a block; the order of the blocks is nothing."""
    size = block_size()
    tensors = Tensor("matrix", (size + 100, 1)), Tensor("bias", (size + 50,))
    gradient = np.random.default_rng(2).standard_normal(parameters(*tensors).trained)
    whole, parts = parameters(*tensors), parameters(*tensors)
    before = whole.flat.copy()
    one, other = AdamW(whole, 0.2), AdamW(parts, 0.2)
    assert [(here.start, here.stop) for here in blocks(whole.trained)] == \
        [(0, size), (size, 2 * size), (2 * size, whole.trained)]
    for update in (1, 2):
        one.step(whole.flat, gradient, 0.1, 1.0, update)
        other.begin(0.1, 1.0, update)
        for here in reversed(blocks(whole.trained)):
            other.prepare(parts.flat, gradient, here)
            other.commit(parts.flat, here)
    assert np.array_equal(whole.flat, parts.flat) and np.array_equal(one.v, other.v)
    some = [0, 1, size - 1, size, size + 99, whole.decayed, 2 * size - 1, 2 * size, whole.decayed + size + 49]
    book = twins.AdamW(len(some))
    expected = before[some].tolist()
    for _ in range(2):
        expected = book.step(expected, gradient[some].tolist(), 0.1, [0.2 if i < whole.decayed else 0.0 for i in some])
    np.testing.assert_allclose(whole.flat[some], expected, rtol=1e-12)


def test_a_half_that_was_broken_off_can_be_repeated():
    """By an optimizer that has nothing but the shared arrays, whatever had been written."""
    gradient, here = np.random.default_rng(3).standard_normal(parameters(*SMALL).trained), slice(0, 60)
    whole, broken = parameters(*SMALL), parameters(*SMALL)
    one, first = AdamW(whole, 0.1), AdamW(broken, 0.1)
    scratch = np.zeros((SCRATCH, here.stop))
    first, again = (AdamW(broken, 0.1, moments=(first.m, first.v), scratch=scratch) for _ in range(2))
    for update in (1, 2):
        for each in (one, first, again):
            each.begin(0.1, 1.0, update)
        one.prepare(whole.flat, gradient, here)
        one.commit(whole.flat, here)
        first.prepare(broken.flat, gradient, here)
        scratch[:, 20:] = -1  # not all of it was written
        again.prepare(broken.flat, gradient, here)
        again.commit(broken.flat, here)
        first.m[30:60] = first.v[:30] = broken.flat[10:50] = -1
        first.commit(broken.flat, here)
        for ours, theirs in ((whole.flat, broken.flat), (one.m, first.m), (one.v, first.v)):
            assert np.array_equal(ours, theirs)


def test_moments_go_on():
    gradient = np.random.default_rng(3).standard_normal(parameters(*SMALL).trained)
    whole, broken = parameters(*SMALL), parameters(*SMALL)
    one, first = AdamW(whole, 0.1), AdamW(broken, 0.1)
    for update in (1, 2, 3):
        one.step(whole.flat, gradient, 0.1, 1.0, update)
    first.step(broken.flat, gradient, 0.1, 1.0, 1)
    second = AdamW(broken, 0.1, moments=(first.m.copy(), first.v.copy()))
    for update in (2, 3):
        second.step(broken.flat, gradient, 0.1, 1.0, update)
    assert np.array_equal(whole.flat, broken.flat)


def test_no_gradient_and_no_decay_change_nothing():
    params = parameters(*SMALL)
    before = params.flat.copy()
    AdamW(params, 0.0).step(params.flat, np.zeros(params.trained), 0.1, 1.0, 1)
    assert np.array_equal(params.flat, before)


def test_decay_alone_shrinks_matrices_alone():
    params = parameters(*SMALL)
    before = {name: view.copy() for name, view in params.items()}
    AdamW(params, 0.5).step(params.flat, np.zeros(params.trained), 0.1, 1.0, 1)
    for name, view in params.items():
        shrunk = 0.95 if name in ("matrix", "other") else 1.0
        np.testing.assert_allclose(view, shrunk * before[name], rtol=1e-14)


def test_numbers_of_the_paper():
    config = Config.read()
    assert (config.r_beta1, config.r_beta2) == (0.85, 0.99) and optimizer.EPS == 1e-8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squared_sums(dtype):
    x = np.random.default_rng(4).standard_normal(1000).astype(dtype)
    assert squared_sums(x) == pytest.approx(sum(float(value) ** 2 for value in x), rel=1e-5)
    x[3] = np.nan
    assert isnan(squared_sums(x))
    x[3] = inf
    assert not isfinite(squared_sums(x))


def test_squares_that_overflow_single_precision():
    """3e20² does not fit float32, but the norm does."""
    assert sqrt(squared_sums(np.full(4, 3e20, np.float32))) == pytest.approx(6e20, rel=1e-6)


# Loss scaling ---------------------------------------------------------------------------------------------------------


def test_the_scale_halves_and_doubles():
    scaler = LossScaler(True)
    begun = scaler.scale
    scaler.update(True)
    scaler.update(True)
    assert scaler.scale == begun / 4
    for _ in range(LossScaler.CALM - 1):
        scaler.update(False)
    assert scaler.scale == begun / 4
    scaler.update(False)
    assert scaler.scale == begun / 2
    for _ in range(LossScaler.CALM - 1):
        scaler.update(False)
    scaler.update(True)  # calm begins anew
    scaler.update(False)
    assert scaler.scale == begun / 4


def test_the_scale_stays_within_bounds():
    scaler = LossScaler(True)
    for _ in range(100):
        scaler.update(True)
    assert scaler.scale == 1.0
    for _ in range(40 * LossScaler.CALM):
        scaler.update(False)
    assert scaler.scale == 2.0**24


def test_the_scale_is_a_power_of_two():
    assert np.log2(LossScaler(True).scale) % 1 == 0, "so that dividing by it again loses nothing"


def test_an_idle_scaler_does_nothing():
    scaler = LossScaler(False)
    for overflowed in (True, False, True):
        scaler.update(overflowed)
    assert scaler.scale == 1.0


def test_a_scaler_goes_on_from_its_state():
    scaler, again = LossScaler(True), LossScaler(True)
    scaler.update(True)
    for _ in range(LossScaler.CALM - 1):
        scaler.update(False)
    again.restore(scaler.state())
    for each in (scaler, again):
        each.update(False)
    assert again.state() == scaler.state() and again.scale == LossScaler(True).scale
