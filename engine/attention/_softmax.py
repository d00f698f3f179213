"""Causal softmax attention over heads, shared by the variants that use it.

Shapes: q, o (B, k, g, T, d); k, v (B, k, 1, T, d): k heads of keys, each shared by g heads of queries and never
repeated; views of any layout whose last axis is contiguous. Sequences and query rows are walked in blocks that stay in
the cache, and keys in the future of a whole block are never touched.

Of the weights P = E/r, with E = exp(scale·q·kᵀ) and r its row sums, only E is ever made: o = drop(E)·v/r. Backwards,
with do' = do/r and Δ = rowsum(do' ⊙ o),

    dv = drop(E)ᵀ·do',   dS = scale·E ⊙ (drop(do'·vᵀ) - Δ),   dq = dS·k,   dk = dSᵀ·q,

where Δ is taken from the (T, d) side, and -Δ is one more column of do', beside a column of ones of v: of all that is
(T, T), forwards only the exponential and the mask of the diagonal are passes of their own, backwards only the product
with E. Products with a transposed right factor are slow while matrices are small: kᵀ and vᵀ are copied, and on that way
multiplied by the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product

import numpy as np

from engine.backend import Array, xp
from engine.functional import constant, dots
from engine.tape import Tape

_ROWS = 64
_BLOCK = 1 << 20  # bytes of the weights of a block
SAFE = 1e26  # a row sum between this and its inverse has lost nothing to overflow or underflow of float32


@lru_cache(maxsize=64)
def _future(n: int, dtype: object, module: object) -> Array:
    """(n, n): 0 on and below the diagonal, -inf above."""
    return xp.triu(xp.full((n, n), -np.inf, dtype), 1)


def _blocks(q: Array) -> Iterator[tuple[slice, int, int]]:
    """Blocks of q: which sequences, and from which row to which."""
    B, k, g, T, _ = q.shape
    if xp.kernels:
        return iter([(slice(0, B), 0, T)])
    rows = T if T <= 2 * _ROWS else _ROWS
    many = max(1, _BLOCK // (k * g * rows * T * q.itemsize))
    return ((slice(first, min(first + many, B)), start, min(start + rows, T))
            for first, start in product(range(0, B, many), range(0, T, rows)))


def exponentials(s: Array, total: Array, scores: Callable[[], None]) -> None:
    """s (…, t) = exp(scores) up to a factor per row, total (…) the row sums. `scores` writes its values to s.

    Shifting a row by its maximum only guards against overflow, and finding it takes two of the slowest passes. So it is
    tried without: the row sums tell whether that went well, as it nearly always does.
    """
    ones = constant(s.shape[-1], 1.0, s.dtype)
    scores()
    if xp._module is np:  # on a GPU the question would cost more than the answer
        with np.errstate(over="ignore"):
            np.exp(s, out=s)
            np.matmul(s, ones, out=total)
        if total.min() > 1 / SAFE and total.max() < SAFE:
            return
        scores()
    s -= s.max(-1)[..., None]
    xp.exp(s, out=s)
    xp.matmul(s, ones, out=total)


def attend(q: Array, k: Array, v: Array, o: Array, scale: float, tape: Tape, rate: float = 0.0) -> Array:
    """o = drop(softmax(scale·q·kᵀ + causal))·v, written to o."""
    B, K, g, T, d = q.shape
    if xp.kernels and xp.kernels.fits(d, q.dtype):
        rate, call = (rate, tape.call()) if tape.rng is not None else (0.0, 0)
        tape.save(xp.kernels.attention(q, k, v, o, scale, 0, rate, tape.rng, call), rate, call)
        return o
    across = tape.empty(B, K, 1, d, T)
    xp.multiply(k.swapaxes(-1, -2), scale, out=across)
    for which, start, end in _blocks(q):
        n = end - start
        s = tape.empty(which.stop - which.start, K, g, n, end)
        share, part = tape.empty(*s.shape[:-1]), tape.empty(*s.shape[:-1], d)

        def scores(s: Array = s, which: slice = which, start: int = start, end: int = end) -> None:
            xp.matmul(q[which, :, :, start:end], across[which, ..., :end], out=s)
            s[..., start:] += _future(end - start, s.dtype, xp._module)

        exponentials(s, share, scores)
        xp.reciprocal(share, out=share)
        xp.matmul(tape.dropout(s, rate, keep=True), v[which, :, :, :end], out=part)
        xp.multiply(part, share[..., None], out=o[which, :, :, start:end])
        tape.save(s, share)
    return o


def attend_backward(do: Array, q: Array, k: Array, v: Array, o: Array, dq: Array, dk: Array, dv: Array, scale: float,
                    tape: Tape) -> None:
    """Writes dq, dk, dv, shaped like q, k, v. The views may be parts of one buffer."""
    B, K, g, T, d = q.shape
    if xp.kernels and xp.kernels.fits(d, q.dtype):
        lse, rate, call = tape.pop()
        xp.kernels.attention_backward(do, q, k, v, o, lse, dq, dk, dv, scale, 0, rate, tape.rng, call)
        return
    across, wide, delta = tape.empty(B, K, 1, d + 1, T), tape.empty(B, K, g, T, d + 1), tape.empty(B, K, g, T)
    xp.multiply(v.swapaxes(-1, -2), scale, out=across[..., :d, :])
    across[..., d, :] = scale
    wide[..., :d] = do
    xp.multiply(dots(do, o, out=delta), -1.0, out=wide[..., d])
    for which, start, end in reversed(list(_blocks(q))):
        s, share = tape.pop()
        mask = tape.pop_mask(*s.shape)
        rows, seen = (which, slice(None), slice(None), slice(start, end)), (which, slice(None), slice(None), slice(end))
        ds, both = tape.empty(*s.shape), wide[rows]
        both *= share[..., None]
        p = s
        if mask is None:
            xp.matmul(both, across[which, ..., :end], out=ds)
        else:
            xp.matmul(both[..., :d], across[which, ..., :d, :end], out=ds)
            ds *= mask
            ds += scale * both[..., d:]
            p = mask  # no longer needed as such
            p *= s
        ds *= s
        add_product(p, both[..., :d], dv[seen], end == T, tape)
        xp.matmul(ds, k[seen], out=dq[rows])
        add_product(ds, q[rows], dk[seen], end == T, tape)


def add_product(a: Array, b: Array, out: Array, first: bool, tape: Tape) -> None:
    """out = (first) or += Σ over the group of aᵀ·b. The last block of rows comes first and reaches every key."""
    if first and a.shape[2] == 1:
        xp.matmul(a.swapaxes(-1, -2), b, out=out)
        return
    part = tape.empty(*a.shape[:3], a.shape[-1], b.shape[-1])
    xp.matmul(a.swapaxes(-1, -2), b, out=part)
    if a.shape[2] > 1:
        part = xp.sum(part, 2, keepdims=True, out=tape.empty(*part.shape[:2], 1, *part.shape[3:]))
    if first:
        out[...] = part
    else:
        out += part
