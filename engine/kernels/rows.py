"""Kernels that work on rows: layer norm, softmax, cross entropy, sums over columns. A block of threads has one row.

Shapes: N rows, D columns, all contiguous. Sums over columns have two stages with a fixed order, so that the same
numbers give the same sums.
"""

from __future__ import annotations

import numpy as np

from engine.backend import Array, xp
from engine.functional import EPS
from engine.kernels.launch import Source, parts, threads
from engine.kernels.masks import PHILOX, attention_mask, threshold

_NORM = Source(r"""
// A block normalises a row: xhat = (x - mean)/sqrt(var + eps), y = xhat·gamma + beta, scale = 1/sqrt(var + eps).
extern "C" __global__ void layer_norm(const real *x, const real *gamma, const real *beta, real *y, real *xhat,
                                      real *scale, int D, real eps)
{
    large row = blockIdx.x;
    x += row * D;
    y += row * D;
    real sum = 0;
    for (int i = threadIdx.x; i < D; i += blockDim.x) sum += x[i];
    real mean = block_sum(sum) / D;
    sum = 0;
    for (int i = threadIdx.x; i < D; i += blockDim.x) sum += (x[i] - mean) * (x[i] - mean);
    real inverse = (real)1 / sqrt(block_sum(sum) / D + eps);
    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        real value = (x[i] - mean) * inverse;
        if (xhat) xhat[row * D + i] = value;
        y[i] = value * gamma[i] + beta[i];
    }
    if (xhat && threadIdx.x == 0) scale[row] = inverse;
}

// A block changes a row of dy to dx = scale·(dxhat - mean(dxhat) - xhat·mean(dxhat·xhat)), dxhat = dy·gamma.
extern "C" __global__ void layer_norm_backward(real *dy, const real *gamma, const real *xhat, const real *scale, int D)
{
    large row = blockIdx.x;
    dy += row * D;
    xhat += row * D;
    real first = 0, second = 0;
    for (int i = threadIdx.x; i < D; i += blockDim.x) {
        real value = dy[i] * gamma[i];
        first += value;
        second += value * xhat[i];
    }
    first = block_sum(first) / D;
    second = block_sum(second) / D;
    for (int i = threadIdx.x; i < D; i += blockDim.x)
        dy[i] = (dy[i] * gamma[i] - first - xhat[i] * second) * scale[row];
}
""")

_SUMS = Source(r"""
// Stage one: a block of 32 columns by blockDim/32 rows adds up its part of the rows of x, and of x·y if there is a y.
// first, second: (gridDim.y, D).
extern "C" __global__ void column_parts(const real *x, const real *y, real *first, real *second, large N, int D)
{
    __shared__ real a[32][33], b[32][33];
    int lane = threadIdx.x % 32, group = threadIdx.x / 32, groups = blockDim.x / 32, column = blockIdx.x * 32 + lane;
    large from = N * blockIdx.y / gridDim.y, to = N * (blockIdx.y + 1) / gridDim.y;
    real s = 0, p = 0;
    if (column < D)
        for (large row = from + group; row < to; row += groups) {
            real value = x[row * D + column];
            s += value;
            if (y) p += value * y[row * D + column];
        }
    a[group][lane] = s;
    b[group][lane] = p;
    __syncthreads();
    if (group == 0 && column < D) {
        for (int i = 1; i < groups; i++) {
            s += a[i][lane];
            p += b[i][lane];
        }
        first[(large)blockIdx.y * D + column] = s;
        if (y) second[(large)blockIdx.y * D + column] = p;
    }
}

// Stage two: a thread adds up a column of the parts (n, D), one part after the other.
extern "C" __global__ void column_total(const real *part, real *out, int n, int D)
{
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= D) return;
    real sum = 0;
    for (int i = 0; i < n; i++) sum += part[(large)i * D + column];
    out[column] = sum;
}
""")

_SOFTMAX = Source(PHILOX + r"""
// A block changes a row of s (…, T, t) to p = softmax(scale·s), over the first t - T + i + 1 columns only if causal,
// and writes drop(p) to `dropped` if there is one.
extern "C" __global__ void softmax(real *s, real *dropped, int T, int t, int causal, real scale, int drop, real factor,
                                   int call, const uint *state)
{
    large row = blockIdx.x;
    int seen = causal ? t - T + (int)(row % T) + 1 : t;
    real *own = s + row * t, most = LOWEST, sum = 0;
    for (int i = threadIdx.x; i < seen; i += blockDim.x) most = max(most, own[i] * scale);
    most = block_max(most);
    for (int i = threadIdx.x; i < seen; i += blockDim.x) sum += exp(own[i] * scale - most);
    sum = block_sum(sum);
    large groups = (t + 7) / 8;
    for (int group = threadIdx.x; group < groups; group += blockDim.x) {
        uint mask = dropped ? kept(row * groups + group, drop, call, state) : 0;
        for (int i = group * 8; i < min(group * 8 + 8, t); i++) {
            real p = i < seen ? exp(own[i] * scale - most) / sum : (real)0;
            own[i] = p;
            if (dropped) dropped[row * t + i] = mask >> (i & 7) & 1 ? p * factor : (real)0;
        }
    }
}

// A block changes a row of dy to scale·p·(drop(dy) - sum(drop(dy)·p)).
extern "C" __global__ void softmax_backward(real *dy, const real *p, int t, real scale, int drop, real factor, int call,
                                            const uint *state)
{
    large row = blockIdx.x, groups = (t + 7) / 8;
    dy += row * t;
    p += row * t;
    real sum = 0;
    for (int group = threadIdx.x; group < groups; group += blockDim.x) {
        uint mask = drop ? kept(row * groups + group, drop, call, state) : 0xffu;
        for (int i = group * 8; i < min(group * 8 + 8, t); i++) {
            real d = mask >> (i & 7) & 1 ? dy[i] * factor : (real)0;
            dy[i] = d;
            sum += d * p[i];
        }
    }
    sum = block_sum(sum);
    for (int group = threadIdx.x; group < groups; group += blockDim.x)
        for (int i = group * 8; i < min(group * 8 + 8, t); i++) dy[i] = scale * p[i] * (dy[i] - sum);
}

// A block has a row of logits: its loss, and in place of it share·scale·(softmax - onehot) if there is a scale.
extern "C" __global__ void cross_entropy(real *logits, const large *targets, double *losses, int V, double share,
                                         const double *scale)
{
    large row = blockIdx.x, target = targets[row];
    logits += row * V;
    real most = LOWEST, sum = 0;
    for (int i = threadIdx.x; i < V; i += blockDim.x) most = max(most, logits[i]);
    most = block_max(most);
    for (int i = threadIdx.x; i < V; i += blockDim.x) sum += exp(logits[i] - most);
    sum = block_sum(sum);
    if (threadIdx.x == 0) losses[row] = log((double)sum) - (double)(logits[target] - most);
    if (!scale) return;
    __syncthreads();  // the target's logit has been read
    real by = (real)(share * scale[0]), over = by / sum;
    for (int i = threadIdx.x; i < V; i += blockDim.x)
        logits[i] = exp(logits[i] - most) * over - (i == target ? by : (real)0);
}
""")


# Layer norm -----------------------------------------------------------------------------------------------------------


def layer_norm(x: Array, gamma: Array, beta: Array, recording: bool = True) -> tuple[Array, Array | None, Array | None]:
    """(y, xhat, scale) of x (N, D): xhat = (x - mean)·scale, scale = 1/sqrt(var + 1e-5) (N,), y = xhat·gamma + beta.

    xhat and scale are None unless recording.
    """
    N, D = x.shape
    y = xp.empty(x.shape, x.dtype)
    xhat, scale = (xp.empty(x.shape, x.dtype), xp.empty(N, x.dtype)) if recording else (None, None)
    _NORM.launch("layer_norm", (N,), threads(D), x, gamma, beta, y, xhat, scale, D, EPS, dtype=x.dtype)
    return y, xhat, scale


def layer_norm_twin(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray,
                    recording: bool = True) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """`layer_norm` in NumPy."""
    xhat = x - x.mean(1, keepdims=True)
    scale = 1 / np.sqrt((xhat**2).mean(1) + EPS)
    xhat *= scale[:, None]
    return xhat * gamma + beta, *((xhat, scale) if recording else (None, None))


def layer_norm_backward(dy: Array, gamma: Array, xhat: Array, scale: Array) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) of dy (N, D), dx in place of dy."""
    N, D = dy.shape
    dbeta, dgamma = _sums(dy, xhat)
    _NORM.launch("layer_norm_backward", (N,), threads(D), dy, gamma, xhat, scale, D, dtype=dy.dtype)
    return dy, dgamma, dbeta


def layer_norm_backward_twin(dy: np.ndarray, gamma: np.ndarray, xhat: np.ndarray,
                             scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`layer_norm_backward` in NumPy."""
    dgamma, dbeta, d = (dy * xhat).sum(0), dy.sum(0), dy * gamma
    dy[...] = (d - d.mean(1, keepdims=True) - xhat * (d * xhat).mean(1, keepdims=True)) * scale[:, None]
    return dy, dgamma, dbeta


# Sums over columns ----------------------------------------------------------------------------------------------------


def column_sums(x: Array, out: Array | None = None) -> Array:
    """Σ over rows: (N, D) → (D,)."""
    return _sums(x, None, out)[0]


def column_sums_twin(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """`column_sums` in NumPy."""
    return x.sum(0, out=out)


def _sums(x: Array, y: Array | None, out: Array | None = None) -> tuple[Array, Array | None]:
    """Σ over rows of x (N, D), and of x·y if there is a y."""
    N, D = x.shape
    n, columns = parts(N, 256, 64), -(-D // 32)
    first = xp.empty((n, D), x.dtype)
    second = None if y is None else xp.empty((n, D), x.dtype)
    _SUMS.launch("column_parts", (columns, n), 256, x, y, first, second, np.int64(N), D, dtype=x.dtype)
    sums = total(first, out)
    return sums, None if second is None else total(second)


def total(part: Array, out: Array | None = None) -> Array:
    """Σ over the first axis of parts (n, …), one after the other."""
    out = xp.empty(part.shape[1:], part.dtype) if out is None else out
    _SUMS.launch("column_total", (-(-out.size // 128),), 128, part, out, len(part), int(out.size), dtype=part.dtype)
    return out


# Softmax --------------------------------------------------------------------------------------------------------------


def softmax(s: Array, scale: float = 1.0, causal: bool = False, rate: float = 0.0, state: Array | None = None,
            call: int = 0) -> tuple[Array, Array]:
    """(p, drop(p)) with p = softmax(scale·s) over the last axis of s (…, T, t), in place of s; the same array twice
    when nothing is dropped.

    causal: query i of T sees the first t - T + i + 1 columns, and the others get 0. state, call: see `dropout`.
    """
    T, t = s.shape[-2:]
    dropped, (drop, factor) = xp.empty(s.shape, s.dtype) if rate else None, threshold(rate)
    _SOFTMAX.launch("softmax", (s.size // t,), threads(t), s, dropped, T, t, int(causal), scale, drop, factor, call,
                    state, dtype=s.dtype)
    return s, s if dropped is None else dropped


def softmax_twin(s: np.ndarray, scale: float = 1.0, causal: bool = False, rate: float = 0.0,
                 state: np.ndarray | None = None, call: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`softmax` in NumPy."""
    T, t = s.shape[-2:]
    s *= scale
    if causal:
        s[..., ~np.tri(T, t, t - T, dtype=bool)] = -np.inf
    s -= s.max(-1, keepdims=True)
    np.exp(s, out=s)
    s /= s.sum(-1, keepdims=True)
    return s, s if state is None or not rate else (s * attention_mask(s.shape, rate, state, call)).astype(s.dtype)


def softmax_backward(dy: Array, p: Array, scale: float = 1.0, rate: float = 0.0, state: Array | None = None,
                     call: int = 0) -> Array:
    """The gradient of s, in place of that of drop(p), dy (…, T, t). What is not seen has p = 0 and gets 0."""
    t = p.shape[-1]
    drop, factor = threshold(rate)
    _SOFTMAX.launch("softmax_backward", (p.size // t,), threads(t), dy, p, t, scale, drop, factor, call, state,
                    dtype=p.dtype)
    return dy


def softmax_backward_twin(dy: np.ndarray, p: np.ndarray, scale: float = 1.0, rate: float = 0.0,
                          state: np.ndarray | None = None, call: int = 0) -> np.ndarray:
    """`softmax_backward` in NumPy."""
    if state is not None and rate:
        dy *= attention_mask(p.shape, rate, state, call)
    dy -= (dy * p).sum(-1, keepdims=True)
    dy *= p
    dy *= scale
    return dy


# Cross entropy --------------------------------------------------------------------------------------------------------


def cross_entropy(logits: Array, targets: Array, share: float = 1.0, scale: Array | None = None) -> Array:
    """Losses -log softmax(logits)[target] in nats, (N,) float64. logits: (N, V); targets: (N,) integers, each < V.

    scale: a number on the device, (1,) float64, as a loss scale that changes between steps. With it the gradient of
    share·scale·Σ losses is left in place of the logits.
    """
    N, V = logits.shape
    targets = targets.astype(np.int64, copy=False)
    losses = xp.empty(N, np.float64)
    _SOFTMAX.launch("cross_entropy", (N,), threads(V), logits, targets, losses, V, np.float64(share), scale,
                    dtype=logits.dtype)
    return losses


def cross_entropy_twin(logits: np.ndarray, targets: np.ndarray, share: float = 1.0,
                       scale: np.ndarray | None = None) -> np.ndarray:
    """`cross_entropy` in NumPy."""
    rows, shifted = np.arange(len(logits)), logits - logits.max(1, keepdims=True)
    e = np.exp(shifted)
    sums = e.sum(1)
    if scale is not None:
        logits[...] = e / sums[:, None]
        logits[rows, targets] -= 1
        logits *= logits.dtype.type(share * scale[0])
    losses: np.ndarray = np.log(sums.astype(np.float64)) - shifted[rows, targets]
    return losses
