"""Causal softmax attention over heads, shared by the variants that use it.

Shapes: q, o (B, k, g, T, d), q scaled by 1/(√d·τ); k, v (B, k, 1, T, d): k heads of keys, each shared by g heads of
queries and never repeated; views of any layout whose last axis is contiguous. The query rows are walked in blocks, so
that keys in the future of a whole block are never touched. Backwards, with P = softmax(S) and o = drop(P)·v,

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


def exponentials(s: Array, q: Array, k: Array, tape: Tape) -> None:
    """exp(s - row maximum) in place, up to a factor per row. s (…, n, t) holds q·kᵀ and -inf.

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
    """o = drop(softmax(q·kᵀ + causal))·v, written to o."""
    *heads, T, _ = q.shape
    for start, end in _blocks(T):
        n = end - start
        s, total = tape.empty(*heads, n, end), tape.empty(*heads, n)
        xp.matmul(q[..., start:end, :], k[..., :end, :].swapaxes(-1, -2), out=s)
        s[..., start:] += _future(n, s.dtype, xp._module)
        exponentials(s, q[..., start:end, :], k[..., :end, :], tape)
        xp.matmul(s, constant(end, 1.0, s.dtype), out=total)
        xp.reciprocal(total, out=total)
        s *= total[..., None]
        p = tape.dropout(s, rate, keep=True)
        xp.matmul(p, v[..., :end, :], out=o[..., start:end, :])
        tape.save(s)
    return o


def attend_backward(do: Array, q: Array, k: Array, v: Array, o: Array, dq: Array, dk: Array, dv: Array,
                    tape: Tape) -> None:
    """Writes dq, dk, dv, shaped like q, k, v. The views may be parts of one buffer."""
    *heads, T, d = q.shape
    scratch, delta = tape.empty(*q.shape), tape.empty(*heads, T)
    xp.multiply(do, o, out=scratch)
    xp.matmul(scratch, constant(d, 1.0, scratch.dtype), out=delta)
    for start, end in reversed(list(_blocks(T))):
        s = tape.pop()
        mask = tape.pop()
        g, ds = do[..., start:end, :], tape.empty(*heads, end - start, end)
        xp.matmul(g, v[..., :end, :].swapaxes(-1, -2), out=ds)
        p = s
        if mask is not None:
            ds *= mask
            p = mask  # no longer needed as such
            p *= s
        add_product(p, g, dv[..., :end, :], end == T, tape)
        ds -= delta[..., start:end, None]
        ds *= s
        xp.matmul(ds, k[..., :end, :], out=dq[..., start:end, :])
        add_product(ds, q[..., start:end, :], dk[..., :end, :], end == T, tape)


def add_product(a: Array, b: Array, out: Array, first: bool, tape: Tape) -> None:
    """out = (first) or += Σ over the group of aᵀ·b. The last block of rows comes first and reaches every key."""
    if first and a.shape[2] == 1:
        xp.matmul(a.swapaxes(-1, -2), b, out=out)
        return
    part = tape.empty(*a.shape[:3], a.shape[-1], b.shape[-1])
    xp.matmul(a.swapaxes(-1, -2), b, out=part)
    if a.shape[2] > 1:
        part = part.sum(2, keepdims=True)
    if first:
        out[...] = part
    else:
        out += part
