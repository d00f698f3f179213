"""The blockwise attention core against softmax written out in float64: blocks, and scores of any size."""

from __future__ import annotations

import numpy as np
import pytest

from engine import backend
from engine.attention import _softmax
from engine.attention._softmax import attend, attend_backward
from engine.backend import Arena
from engine.tape import Tape


def written_out(q, k, v, do, scale=1.0):
    """(o, dq, dk, dv) of causal softmax attention, (B, k, g, T, d), in float64."""
    q, k, v, do = (x.astype(np.float64) for x in (q, k, v, do))
    s = scale * (q @ k.swapaxes(-1, -2))
    s = np.where(np.tril(np.ones(s.shape[-2:], bool)), s, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    dp = do @ v.swapaxes(-1, -2)
    ds = scale * p * (dp - (dp * p).sum(-1, keepdims=True))
    return (p @ v, ds @ k, (ds.swapaxes(-1, -2) @ q).sum(2, keepdims=True),
            (p.swapaxes(-1, -2) @ do).sum(2, keepdims=True))


def run(q, k, v, do, dtype, rate=0.0, scale=1.0):
    """The same by the engine, and the masks of dropout by block."""
    q, k, v, do = (x.astype(dtype) for x in (q, k, v, do))
    tape = Tape(Arena(), dtype, recording=True, rng=backend.random(1, "dropout") if rate else None)
    o, dq, dk, dv = (np.empty_like(x) for x in (q, q, k, v))
    attend(q, k, v, o, scale, tape, rate)
    attend_backward(do, q, k, v, o, dq, dk, dv, scale, tape)
    assert len(tape) == 0
    return o, dq, dk, dv


def arrays(B, K, g, T, d, size=1.0):
    rng = np.random.default_rng(B + 10 * T)
    return (size * rng.standard_normal((B, K, g, T, d)), size * rng.standard_normal((B, K, 1, T, d)),
            rng.standard_normal((B, K, 1, T, d)), rng.standard_normal((B, K, g, T, d)))


@pytest.mark.parametrize("rows, block", [(64, 1 << 20), (4, 1 << 20), (4, 1), (64, 1), (5, 2000)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (3, 2, 1, 23, 3), (3, 2, 4, 23, 3), (5, 1, 2, 9, 8)])
def test_blocks_change_nothing(monkeypatch, shape, rows, block):
    monkeypatch.setattr(_softmax, "_ROWS", rows)
    monkeypatch.setattr(_softmax, "_BLOCK", block)
    given = arrays(*shape)
    for found, expected in zip(run(*given, np.float64, scale=0.3), written_out(*given, scale=0.3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [1.0, 6.0, 30.0, 1000.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_any_size(size, dtype):
    """Sums of plain exponentials overflow or vanish from a score of 88 on; half of the rows here are all below."""
    q, k, v, do = arrays(2, 2, 1, 70, 4, size)
    q[..., 35:, :], k[..., 35:, 0] = -np.abs(q[..., 35:, :]), np.abs(k[..., 35:, 0])
    for found, expected in zip(run(q, k, v, do, dtype), written_out(*(x.astype(dtype) for x in (q, k, v, do))),
                               strict=True):
        scale = max(1.0, np.abs(expected).max())
        error = 2e-5 * max(1.0, size**2) if dtype == np.float32 else 1e-12 * max(1.0, size**2)  # of the scores
        np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=error)
        assert np.isfinite(found).all()


def test_dropped_weights_get_no_gradient_and_the_others_that_of_their_share(monkeypatch):
    """The derivative by finite differences in float64, over several blocks; the same stream drops the same weights."""
    monkeypatch.setattr(_softmax, "_ROWS", 3)
    given = list(arrays(2, 2, 2, 8, 3))
    do = given[3]
    found = run(*given, np.float64, rate=0.4, scale=0.7)
    rng = np.random.default_rng(0)
    for part in range(3):
        direction = rng.standard_normal(given[part].shape)
        values = []
        for sign in (1, -1):
            moved = list(given)
            moved[part] = given[part] + sign * 1e-6 * direction
            values.append((run(*moved, np.float64, rate=0.4, scale=0.7)[0] * do).sum())
        np.testing.assert_allclose((found[part + 1] * direction).sum(), (values[0] - values[1]) / 2e-6, rtol=1e-6)
