"""Attention to keys and values that are kept from earlier tokens, kv (2, B, k, n, d), shared by the variants with them.

Shapes: q, o (B, k, g, …, d): k heads of keys, each shared by g heads of queries.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.backend import Array, xp
from engine.functional import softmax

_LEAST, _MOST = 1e-25, 1e25  # between these a sum of exponentials has lost nothing to the limits of float32


def attend_kept(q: Array, kv: Array, o: Array, scale: float) -> None:
    """o = softmax(scale·q·kᵀ + causal)·v for the last T tokens of t: q, o (B, k, g, T, d), kv (2, B, k, t, d)."""
    T, t = q.shape[-2], kv.shape[-2]
    s = xp.matmul(q * scale, kv[0, :, :, None].swapaxes(-1, -2))  # (B, k, g, T, t)
    s[..., t - T :] += xp.triu(xp.full((T, T), -np.inf, s.dtype), 1)
    xp.matmul(softmax(s, out=s), kv[1, :, :, None], out=o)


def attender(q: Array, kv: Array) -> Callable[[int], tuple[Array, Array]]:
    """A function of t, how many keys one token's scaled q (B, k, g, d) sees: Σ e_i·v_i, shaped like q, and Σ e_i
    (B, k, g, 1), both kept, e = exp(q·k) up to a factor per head.

    The factor only guards against overflow, and a maximum is slow: it is tried without, and the sums tell whether that
    went well. The caller ignores the overflow.
    """
    n = kv.shape[3]
    keys, values = kv[0].swapaxes(-1, -2), kv[1]
    scores, o = np.empty((*q.shape[:-1], n), q.dtype), np.empty(q.shape, q.dtype)
    flat, ones = scores.reshape(-1, n), np.ones(n, q.dtype)
    total = np.empty(len(flat), q.dtype)
    share = total.reshape(*q.shape[:-1], 1)
    matmul, exp = np.matmul, np.exp

    def attend(t: int) -> tuple[Array, Array]:
        s, seen = scores[..., :t], keys[..., :t]
        matmul(q, seen, s)
        exp(s, s)
        flat[:, :t].dot(ones[:t], total)
        sums = total.tolist()
        if min(sums) < _LEAST or max(sums) > _MOST:
            matmul(q, seen, s)
            s -= s.max(-1, keepdims=True)
            exp(s, s)
            flat[:, :t].dot(ones[:t], total)
        matmul(s, values[..., :t, :], o)
        return o, share

    return attend
