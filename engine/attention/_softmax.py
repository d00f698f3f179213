"""Causal softmax attention over heads, shared by the variants that use it.

Shapes: q (B, h, T, d), scaled by 1/(√d·τ); k, v (B, h, T, d); views of any layout whose last axis is contiguous. The
query rows are walked in blocks, so that keys in the future of a whole block are never touched. With e = exp(s - max),
l = Σ e and P = e/l, the division by l is left to the (T, d) side: o = (e·v)/l, and with do' = do/l backwards,

    dv = eᵀ·do',   dS = e ⊙ (do'·vᵀ - Δ'),   Δ' = rowsum(do' ⊙ o),   dq = dS·k,   dk = dSᵀ·q,

which also holds with dropout on P when e is masked for dv and do'·vᵀ is masked for dS.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from engine.backend import Array, xp
from engine.functional import constant
from engine.tape import Tape

_ROWS = 64


@lru_cache(maxsize=64)
def _future(n: int, dtype: object, module: object) -> Array:
    """(n, n): 0 on and below the diagonal, -inf above."""
    return xp.triu(xp.full((n, n), -np.inf, dtype), 1)


def _blocks(T: int) -> Iterator[tuple[int, int]]:
    rows = T if T <= 2 * _ROWS else _ROWS
    return ((start, min(start + rows, T)) for start in range(0, T, rows))


def attend(q: Array, k: Array, v: Array, o: Array, tape: Tape, rate: float = 0.0) -> Array:
    """o = drop(softmax(q·kᵀ + causal))·v, written to o (B, h, T, d)."""
    B, h, T, _ = q.shape
    for start, end in _blocks(T):
        n = end - start
        s, top, l = tape.empty(B, h, n, end), tape.empty(B, h, n), tape.empty(B, h, n)
        xp.matmul(q[:, :, start:end], k[:, :, :end].swapaxes(-1, -2), out=s)
        s[..., start:] += _future(n, s.dtype, xp._module)
        s.max(-1, out=top)
        s -= top[..., None]
        xp.exp(s, out=s)
        xp.matmul(s, constant(end, 1.0, s.dtype), out=l)
        xp.reciprocal(l, out=l)
        p = s
        if rate and tape.rng is not None:
            p = tape.empty(B, h, n, end)
            p[...] = s
        tape.dropout(p, rate)
        xp.matmul(p, v[:, :, :end], out=o[:, :, start:end])
        o[:, :, start:end] *= l[..., None]
        tape.save(s, l)
    return o


def attend_backward(do: Array, q: Array, k: Array, v: Array, o: Array, dq: Array, dk: Array, dv: Array,
                    tape: Tape) -> None:
    """Writes dq, dk, dv (B, h, T, d). The views may be parts of one buffer."""
    B, h, T, d = q.shape
    for start, end in reversed(list(_blocks(T))):
        s, l = tape.pop()
        mask = tape.pop()
        n = end - start
        g, delta, ds = tape.empty(B, h, n, d), tape.empty(B, h, n), tape.empty(B, h, n, end)
        xp.multiply(do[:, :, start:end], l[..., None], out=g)
        scratch = tape.empty(B, h, n, d)
        xp.multiply(g, o[:, :, start:end], out=scratch)
        xp.matmul(scratch, constant(d, 1.0, g.dtype), out=delta)
        xp.matmul(g, v[:, :, :end].swapaxes(-1, -2), out=ds)
        p = s
        if mask is not None:
            ds *= mask
            p = mask  # no longer needed as such
            p *= s
        _add_product(p, g, dv[:, :, :end], end == T, tape)
        ds -= delta[..., None]
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
