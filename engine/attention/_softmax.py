"""Causal softmax attention over heads, shared by the variants that use it.

Shapes: q (B, h, T, d), scaled by 1/(√d·τ); k, v (B, h, T, d); views of any layout whose last axis is contiguous. The
query rows are walked in blocks, so that keys in the future of a whole block are never touched. Backwards, with
P = softmax(S) and o = drop(P)·v,

    dv = drop(P)ᵀ·do,   dS = P ⊙ (drop(do·vᵀ) - Δ),   Δ = rowsum(do ⊙ o),   dq = dS·k,   dk = dSᵀ·q,

where Δ = rowsum(P ⊙ drop(do·vᵀ)) has been taken from the (T, d) side, which spares a pass over (T, T).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from engine.backend import Array, xp
from engine.functional import HAS_VECDOT, constant
from engine.tape import Tape

_ROWS = 64
_SAFE = 60.0  # exp(±60) and a million times as much are far from the limits of float32


@lru_cache(maxsize=64)
def _future(n: int, dtype: object, module: object) -> Array:
    """(n, n): 0 on and below the diagonal, -inf above."""
    return xp.triu(xp.full((n, n), -np.inf, dtype), 1)


def _blocks(T: int) -> Iterator[tuple[int, int]]:
    rows = T if T <= 2 * _ROWS else _ROWS
    return ((start, min(start + rows, T)) for start in range(0, T, rows))


def _exponentials(s: Array, q: Array, k: Array, tape: Tape) -> None:
    """exp(s - row maximum) in place, up to a factor per row. s (B, h, n, t) holds q·kᵀ and -inf.

    The shift only guards against overflow. |q_i·k_j| ≤ |q_i||k_j|: while that bound is small, which is the usual case,
    the two passes for the maximum, the slowest of all, are left out.
    """
    if xp._module is np:  # on a GPU the question would cost more than the answer
        largest = [float(xp.vecdot(x, x).max()) if HAS_VECDOT else float((x * x).sum(-1).max()) for x in (q, k)]
        if largest[0] * largest[1] < _SAFE**2:
            xp.exp(s, out=s)
            return
    top = tape.empty(*s.shape[:-1])
    s.max(-1, out=top)
    s -= top[..., None]
    xp.exp(s, out=s)


def attend(q: Array, k: Array, v: Array, o: Array, tape: Tape, rate: float = 0.0) -> Array:
    """o = drop(softmax(q·kᵀ + causal))·v, written to o (B, h, T, d)."""
    B, h, T, _ = q.shape
    for start, end in _blocks(T):
        n = end - start
        s, total = tape.empty(B, h, n, end), tape.empty(B, h, n)
        xp.matmul(q[:, :, start:end], k[:, :, :end].swapaxes(-1, -2), out=s)
        s[..., start:] += _future(n, s.dtype, xp._module)
        _exponentials(s, q[:, :, start:end], k[:, :, :end], tape)
        xp.matmul(s, constant(end, 1.0, s.dtype), out=total)
        xp.reciprocal(total, out=total)
        s *= total[..., None]
        p = s
        if rate and tape.rng is not None:
            p = tape.empty(B, h, n, end)
            p[...] = s
        tape.dropout(p, rate)
        xp.matmul(p, v[:, :, :end], out=o[:, :, start:end])
        tape.save(s)
    return o


def attend_backward(do: Array, q: Array, k: Array, v: Array, o: Array, dq: Array, dk: Array, dv: Array,
                    tape: Tape) -> None:
    """Writes dq, dk, dv (B, h, T, d). The views may be parts of one buffer."""
    B, h, T, d = q.shape
    scratch, delta = tape.empty(B, h, T, d), tape.empty(B, h, T)
    xp.multiply(do, o, out=scratch)
    xp.matmul(scratch, constant(d, 1.0, scratch.dtype), out=delta)
    for start, end in reversed(list(_blocks(T))):
        s = tape.pop()
        mask = tape.pop()
        g, ds = do[:, :, start:end], tape.empty(B, h, end - start, end)
        xp.matmul(g, v[:, :, :end].swapaxes(-1, -2), out=ds)
        p = s
        if mask is not None:
            ds *= mask
            p = mask  # no longer needed as such
            p *= s
        _add_product(p, g, dv[:, :, :end], end == T, tape)
        ds -= delta[:, :, start:end, None]
        ds *= s
        xp.matmul(ds, k[:, :, :end], out=dq[:, :, start:end])
        _add_product(ds, q[:, :, start:end], dk[:, :, :end], end == T, tape)


def _add_product(a: Array, b: Array, out: Array, first: bool, tape: Tape) -> None:
    """out = or += aᵀ·b. The last block of rows comes first and reaches every key."""
    if first:
        xp.matmul(a.swapaxes(-1, -2), b, out=out)
    else:
        part = tape.empty(*a.shape[:2], a.shape[3], b.shape[3])
        xp.matmul(a.swapaxes(-1, -2), b, out=part)
        out += part


def attend_one(q: Array, k: Array, v: Array) -> Array:
    """One query over all kept keys: q (B, h, d), scaled; k, v (B, h, t, d) → (B, h, d)."""
    s = xp.matmul(q[:, :, None], k.swapaxes(-1, -2))  # (B, h, 1, t)
    s -= xp.maximum.reduce(s, -1, keepdims=True)
    xp.exp(s, out=s)
    o = xp.matmul(s, v)[:, :, 0]
    o /= xp.add.reduce(s, -1)
    return o
