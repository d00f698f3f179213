"""Pure forward and backward passes of what every layer is made of.

Shapes: N rows (tokens), D columns. Buffers come from the tape. Long element-wise chains walk the rows in blocks that
stay in the cache; sums over rows and columns are products with a vector of ones, which is several times faster than
`.sum` and just as exact. On a GPU `xp.kernels` has one kernel for all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import pi, sqrt
from typing import Any

import numpy as np

from engine.backend import Array, xp
from engine.tape import Tape

EPS = 1e-5
_BLOCK = 1 << 18  # bytes of one array that are worked on at a time: several fit a 1 to 2 MB second-level cache
HAS_VECDOT = hasattr(np, "vecdot")  # NumPy 2
_C = sqrt(2 / pi)
_A = 0.044715


@lru_cache(maxsize=256)
def _filled(size: int, value: float, dtype: Any, module: object) -> Array:
    return xp.full(size, value, dtype)


def constant(size: int, value: float, dtype: Any) -> Array:
    """A kept vector (size,) of one value. Never written to."""
    return _filled(size, value, np.dtype(dtype), xp._module)


def blocks(x: Array) -> Iterator[slice]:
    """Slices of the rows of x (N, ...) that are about as large as the cache likes; all of them on a GPU."""
    if xp.kernels:
        return iter((slice(0, len(x)),))
    rows = max(1, _BLOCK * len(x) // max(1, x.nbytes))
    return (slice(start, start + rows) for start in range(0, len(x), rows))


def column_sums(x: Array, out: Array | None = None) -> Array:
    """Σ over rows: (N, D) → (D,)."""
    if xp.kernels:
        return xp.kernels.column_sums(x, out)
    return xp.matmul(constant(len(x), 1.0, x.dtype), x, out=out)


# Layer norm (arXiv 1607.06450) -------------------------------------------------------------------------------------


def layer_norm(x: Array, gamma: Array, beta: Array, tape: Tape) -> Array:
    """y = (x - mean) / sqrt(var + 1e-5) · gamma + beta over the last axis, population variance. x: (N, D)."""
    N, D = x.shape
    if xp.kernels:
        y, *saved = xp.kernels.layer_norm(xp.ascontiguousarray(x), gamma, beta, tape.recording)
        tape.save(*saved)
        return y
    if N == 1 and tape.small(x):  # one token: numbers instead of columns
        one = x[0]
        y = one - float(np.dot(one, constant(D, 1 / D, x.dtype)))
        y *= 1 / sqrt(float(np.dot(y, y)) / D + EPS)
        y *= gamma
        y += beta
        return y[None]
    if tape.small(x):
        y = x - (x @ constant(D, 1 / D, x.dtype))[:, None]
        scale = square_sums(y, y)
        scale *= 1 / D
        scale += EPS
        y /= xp.sqrt(scale, out=scale)[:, None]
        y *= gamma
        y += beta
        return y
    xhat, y = tape.empty(N, D), tape.empty(N, D)
    column, scale = tape.empty(N), tape.empty(N)
    xp.matmul(x, constant(D, 1 / D, x.dtype), out=column)
    xp.subtract(x, column[:, None], out=xhat)
    square_sums(xhat, y, out=scale)
    scale *= 1 / D
    scale += EPS
    xp.sqrt(scale, out=scale)
    xp.reciprocal(scale, out=scale)
    xhat *= scale[:, None]
    xp.multiply(xhat, gamma, out=y)
    y += beta
    tape.save(xhat, scale)
    return y


def layer_norm_backward(dy: Array, gamma: Array, tape: Tape) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta): dx = (dŷ - mean(dŷ) - x̂ · mean(dŷ ⊙ x̂)) / σ with dŷ = dy ⊙ gamma, in place of dy (N, D)."""
    xhat, scale = tape.pop()
    if xp.kernels:
        return xp.kernels.layer_norm_backward(dy, gamma, xhat, scale)
    N, D = dy.shape
    product, m1, m2, share = tape.empty(N, D), tape.empty(N), tape.empty(N), tape.empty(D)
    xp.multiply(dy, xhat, out=product)
    dgamma, dbeta = column_sums(product), column_sums(dy)
    xp.multiply(gamma, 1 / D, out=share)
    xp.matmul(dy, share, out=m1)
    xp.matmul(product, share, out=m2)
    dy *= gamma
    dy -= m1[:, None]
    xhat *= m2[:, None]
    dy -= xhat
    dy *= scale[:, None]
    return dy, dgamma, dbeta


def square_sums(x: Array, scratch: Array, out: Array | None = None) -> Array:
    """Σ x² over the last axis: (N, D) → (N,)."""
    if HAS_VECDOT and xp._module is np:
        return xp.vecdot(x, x, out=out)
    scratch = xp.multiply(x, x, out=scratch if scratch is not x else None)
    return xp.matmul(scratch, constant(x.shape[1], 1.0, x.dtype), out=out)


def dots(x: Array, y: Array, out: Array | None = None) -> Array:
    """Σ x·y over the last axis: (…, d) → (…)."""
    return xp.vecdot(x, y, out=out) if HAS_VECDOT and xp._module is np else xp.sum(x * y, -1, out=out)


# GELU (arXiv 1606.08415), tanh form -----------------------------------------------------------------------------------


def gelu(u: Array, tape: Tape) -> Array:
    """y = u · h with h = ½(1 + tanh(√(2/π)(u + 0.044715 u³))) = σ(2√(2/π)(u + …)). u: (N, F), overwritten.

    When the tape records, dy/du = h + 2u · h(1 - h) · √(2/π)(1 + 3 · 0.044715 u²) is computed while u is in the cache
    and saved in u's place, so that the backward pass is one product.
    """
    if xp.kernels:
        tape.save(u)
        return xp.kernels.gelu(u)
    if tape.small(u):
        t = u * u
        t *= _A * _C
        t += _C
        t *= u
        xp.tanh(t, out=t)
        t += 1.0
        t *= u
        t *= 0.5
        return t
    y = tape.empty(*u.shape)
    w = t = None
    for rows in blocks(u):
        x, h = u[rows], y[rows]
        del w, t  # so that the same two are given again
        w, t = tape.empty(*x.shape), tape.empty(*x.shape)
        xp.multiply(x, x, out=w)
        xp.multiply(w, _A * _C, out=t)
        t += _C
        t *= x
        xp.tanh(t, out=t)
        t += 1.0
        t *= 0.5
        xp.multiply(x, t, out=h)
        if tape.recording:
            w *= 6 * _A * _C
            w += 2 * _C
            w *= h  # 2√(2/π)(1 + 3 · 0.044715 u²) · u · h
            xp.subtract(1.0, t, out=x)
            w *= x
            xp.add(w, t, out=x)
    tape.save(u)
    return y


def gelu_backward(dy: Array, tape: Tape) -> Array:
    """du = dy ⊙ dGELU/du, in place of dy."""
    if xp.kernels:
        return xp.kernels.gelu_backward(dy, tape.pop())
    dy *= tape.pop()
    return dy


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """σ(x) = ½(1 + tanh(x/2)), stable for every x. In place when `out` is x."""
    out = xp.multiply(x, 0.5, out=out)
    xp.tanh(out, out=out)
    out += 1.0
    out *= 0.5
    return out


# Softmax and cross entropy --------------------------------------------------------------------------------------------


def softmax(x: Array, out: Array | None = None) -> Array:
    """Softmax over the last axis, shifted by its maximum. In place when `out` is x."""
    if xp.kernels and out is x:
        return xp.kernels.softmax(x)[0]
    out = xp.subtract(x, x.max(-1, keepdims=True), out=out)
    xp.exp(out, out=out)
    out /= out.sum(-1, keepdims=True)
    return out


def softmax_backward(dy: Array, y: Array) -> Array:
    """dx = y ⊙ (dy - Σ dy ⊙ y), in place of dy."""
    if xp.kernels:
        return xp.kernels.softmax_backward(dy, y)
    dy -= (dy * y).sum(-1, keepdims=True)
    dy *= y
    return dy


def cross_entropy(logits: Array, targets: Array, tape: Tape, scale: float = 1.0) -> Array:
    """Per-token losses -log softmax(logits)[target] in nats, (N,) float64. logits: (N, V), overwritten.

    When the tape records, what `cross_entropy_backward` begins with is left in place of the logits and saved. scale: of
    the losses, as it will be given there; a GPU multiplies with it at once, and with `tape.loss_scale`.
    """
    if xp.kernels:
        tape.save(logits)
        return xp.kernels.cross_entropy(logits, targets, scale, tape.loss_scale if tape.recording else None)
    N = len(logits)
    rows = xp.arange(N)
    logits -= logits.max(-1, keepdims=True)
    chosen = logits[rows, targets].astype(np.float64)
    xp.exp(logits, out=logits)
    total = xp.matmul(logits, constant(logits.shape[1], 1.0, logits.dtype))
    losses = xp.log(total.astype(np.float64)) - chosen
    if tape.recording:
        logits /= total[:, None]
        logits[rows, targets] -= 1.0
    tape.save(logits)
    return losses


def cross_entropy_backward(scale: float, tape: Tape) -> Array:
    """d(scale · Σ losses)/dlogits, (N, V)."""
    dlogits = tape.pop()
    if not xp.kernels:
        dlogits *= scale
    return dlogits


# Embedding ------------------------------------------------------------------------------------------------------------


def gather_rows(matrix: Array, ids: Array, out: Array) -> Array:
    """The rows of a matrix (V, D) at ids (…), which lie within it: out (…, D)."""
    if xp._module is np:
        return np.take(matrix, ids, 0, out, "clip")  # clip: no buffering
    return xp.take(matrix, ids, axis=0, out=out)


def scatter_rows(ids: Array, dx: Array, size: int, tape: Tape) -> Array:
    """Σ of the rows of dx (N, D) that share an id: (size, D). Deterministic."""
    if xp.kernels:
        return xp.kernels.scatter_rows(ids, dx, size)
    if size <= 1024:  # a product with a one-hot matrix beats sorting while the matrix is small
        hot, sums = tape.empty(size, len(ids)), tape.empty(size, dx.shape[1])
        hot.fill(0)
        hot[ids, xp.arange(len(ids))] = 1.0
        return xp.matmul(hot, dx, out=sums)
    order = xp.argsort(ids, kind="stable")
    found, starts = xp.unique(ids[order], return_index=True)
    out = xp.zeros((size, dx.shape[1]), dx.dtype)
    out[found] = xp.add.reduceat(dx[order], starts, axis=0)
    return out
