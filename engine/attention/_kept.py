"""Attention to keys and values that are kept from earlier tokens, kv (2, B, k, n, d), shared by the variants with them.

Shapes: q, o (B, k, g, …, d): k heads of keys, each shared by g heads of queries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from engine.attention._softmax import SAFE
from engine.backend import Array, xp
from engine.functional import softmax


def attend_kept(q: Array, kv: Array, o: Array, scale: float) -> None:
    """o = softmax(scale·q·kᵀ + causal)·v for the last T tokens of t: q, o (B, k, g, T, d), kv (2, B, k, t, d)."""
    T, t = q.shape[-2], kv.shape[-2]
    s = xp.matmul(q * scale, kv[0, :, :, None].swapaxes(-1, -2))  # (B, k, g, T, t)
    s[..., t - T :] += xp.triu(xp.full((T, T), -np.inf, s.dtype), 1)
    xp.matmul(softmax(s, out=s), kv[1, :, :, None], out=o)


def attend_at(q: Array, kv: Array, o: Array, scale: float, place: Array) -> None:
    """o = softmax(scale·q·kᵀ)·v up to key `place` (1,), an array: q, o (B, k, g, 1, d), kv (2, B, k, n, d)."""
    s = xp.matmul(q * scale, kv[0, :, :, None].swapaxes(-1, -2))  # (B, k, g, 1, n)
    s += xp.where(xp.arange(s.shape[-1]) <= place, 0.0, -np.inf).astype(s.dtype)
    xp.matmul(softmax(s, out=s), kv[1, :, :, None], out=o)


def attender(q: Array, n: int) -> Callable[[int, Array, Array], tuple[Array, Array]]:
    """A function of t, how many of at most n keys one token's scaled q (B, k, g, d) sees, of the keys (B, k, d, n) and
    of the values (B, k, n, d): Σ e_i·v_i, shaped like q, and Σ e_i (B, k, g, 1), both kept, e = exp(q·k) up to a factor
    per head.

    The factor only guards against overflow, and a maximum is slow: it is tried without, and the sums tell whether that
    went well. The caller ignores the overflow.
    """
    heads = q.shape[:-1]
    o, share = np.empty(q.shape, q.dtype), np.empty((*heads, 1), q.dtype)
    total = share.reshape(-1)
    scores, ones = np.empty(total.size * n, q.dtype), np.ones(n, q.dtype)
    matmul, exp = np.matmul, np.exp

    @cache
    def views(t: int) -> tuple[Array, Array, Array, Array]:
        """The place of all scores, as a line, by heads, and by rows; and t ones."""
        line = scores[: total.size * t]
        return line, line.reshape(*heads, t), line.reshape(-1, t), ones[:t]

    def attend(t: int, keys: Array, values: Array) -> tuple[Array, Array]:
        line, s, rows, some = views(t)
        seen = keys[..., :t]
        matmul(q, seen, s)
        exp(line, line)
        rows.dot(some, total)
        sums = total.tolist()
        if min(sums) < 1 / SAFE or max(sums) > SAFE:
            matmul(q, seen, s)
            s -= s.max(-1, keepdims=True)
            exp(line, line)
            rows.dot(some, total)
        matmul(s, values[..., :t, :], o)
        return o, share

    return attend
