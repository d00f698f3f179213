"""Kernels that add up over time or over tokens: the averages of aft and nft, the depthwise convolution of gla, and the
gradient of an embedding.

Shapes (B, T, D). Every sum has a fixed order: the same numbers give the same sums.
"""

from __future__ import annotations

import numpy as np

from engine.backend import Array, xp
from engine.kernels.launch import Source, parts, strided
from engine.kernels.rows import total
from engine.scan import CLIP

_CHANNELS = 32  # of a block, side by side
_CHUNKS = 16  # of time, each a thread's; a block has so many for each of its channels

_AVERAGE = Source(r"""
__device__ __forceinline__ real weight_of(real k, real factor)
{
    return exp(min(max(k * factor, -CLIP), CLIP));
}

// A block has 32 channels of a sequence, time cut into 16 chunks. Twice through a chunk: first its sum, then with the
// sum of those before it. k, v: rows at strides, y, b, a: (B, T, D), a or none.
extern "C" __global__ void average(const real *k, large kb, large kt, const real *v, large vb, large vt, real *y,
                                   real *a, real *b, int T, int D, real factor)
{
    __shared__ real first[16][33], second[16][33];
    int lane = threadIdx.x % 32, chunk = threadIdx.x / 32, channel = blockIdx.x * 32 + lane;
    int size = (T + 15) / 16, from = chunk * size, to = min(from + size, T);
    k += blockIdx.y * kb + channel;
    v += blockIdx.y * vb + channel;
    large at = (large)blockIdx.y * T * D + channel;
    real sum = 0, weights = 0;
    if (channel < D)
        for (int t = from; t < to; t++) {
            real w = weight_of(k[t * kt], factor);
            sum += w * v[t * vt];
            weights += w;
        }
    first[chunk][lane] = sum;
    second[chunk][lane] = weights;
    __syncthreads();
    if (channel >= D) return;
    sum = weights = 0;
    for (int i = 0; i < chunk; i++) {
        sum += first[i][lane];
        weights += second[i][lane];
    }
    for (int t = from; t < to; t++) {
        real w = weight_of(k[t * kt], factor);
        sum += w * v[t * vt];
        weights += w;
        y[at + (large)t * D] = sum / weights;
        b[at + (large)t * D] = weights;
        if (a) a[at + (large)t * D] = sum;
    }
}

// With r the sum from t on of dy/b and s that of dy·y/b: dv = w·r, dk = factor·w·(v·r - s), 0 where k is clipped.
extern "C" __global__ void average_backward(const real *dy, const real *k, large kb, large kt, const real *v, large vb,
                                            large vt, const real *y, const real *b, real *dk, large dkb, large dkt,
                                            real *dv, large dvb, large dvt, int T, int D, real factor)
{
    __shared__ real first[16][33], second[16][33];
    int lane = threadIdx.x % 32, chunk = threadIdx.x / 32, channel = blockIdx.x * 32 + lane;
    int size = (T + 15) / 16, from = chunk * size, to = min(from + size, T);
    k += blockIdx.y * kb + channel;
    v += blockIdx.y * vb + channel;
    dk += blockIdx.y * dkb + channel;
    dv += blockIdx.y * dvb + channel;
    large at = (large)blockIdx.y * T * D + channel;
    real r = 0, s = 0;
    if (channel < D)
        for (int t = to - 1; t >= from; t--) {
            real share = dy[at + (large)t * D] / b[at + (large)t * D];
            r += share;
            s += share * y[at + (large)t * D];
        }
    first[chunk][lane] = r;
    second[chunk][lane] = s;
    __syncthreads();
    if (channel >= D) return;
    r = s = 0;
    for (int i = 15; i > chunk; i--) {
        r += first[i][lane];
        s += second[i][lane];
    }
    for (int t = to - 1; t >= from; t--) {
        real share = dy[at + (large)t * D] / b[at + (large)t * D], clipped = k[t * kt] * factor;
        r += share;
        s += share * y[at + (large)t * D];
        real w = weight_of(k[t * kt], factor);
        dk[t * dkt] = clipped > -CLIP && clipped < CLIP ? factor * w * (v[t * vt] * r - s) : (real)0;
        dv[t * dvt] = w * r;
    }
}
""".replace("CLIP", f"(real){CLIP}"))

_CONVOLUTION = Source(r"""
// A thread has a channel of a token: c = max(0, bias + Σ_i weight[channel, i]·n[t + i - before]), n being 0 outside.
extern "C" __global__ void convolve(const real *n, const real *weight, const real *bias, real *c, large size, int T,
                                    int D, int K, int before)
{
    large at = (large)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size) return;
    int channel = at % D, t = at / D % T;
    real sum = bias[channel];
    for (int i = max(0, before - t); i < min(K, T - t + before); i++)
        sum += weight[channel * K + i] * n[at + (large)(i - before) * D];
    c[at] = max(sum, (real)0);
}

// dn = Σ_i weight[channel, i]·dc[t - i + before] where c > 0.
extern "C" __global__ void convolve_backward(const real *dc, const real *c, const real *weight, real *dn, large size,
                                             int T, int D, int K, int before)
{
    large at = (large)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size) return;
    int channel = at % D, t = at / D % T;
    real sum = 0;
    for (int i = max(0, t + before - T + 1); i < min(K, t + before + 1); i++) {
        large there = at + (large)(before - i) * D;
        if (c[there] > 0) sum += weight[channel * K + i] * dc[there];
    }
    dn[at] = sum;
}

// Stage one of the gradients of weight and bias: a block of 32 channels by 8 has a part of the tokens (gridDim.y parts)
// and one place i of the kernel (gridDim.z = K + 1, the last is the bias). part: (gridDim.y, K + 1, D).
extern "C" __global__ void convolve_parts(const real *dc, const real *c, const real *n, real *part, large tokens,
                                          int T, int D, int K, int before)
{
    __shared__ real found[8][33];
    int lane = threadIdx.x % 32, group = threadIdx.x / 32, channel = blockIdx.x * 32 + lane, i = blockIdx.z;
    large from = tokens * blockIdx.y / gridDim.y, to = tokens * (blockIdx.y + 1) / gridDim.y;
    real sum = 0;
    if (channel < D)
        for (large token = from + group; token < to; token += 8) {
            large at = token * D + channel;
            int there = (int)(token % T) + i - before;
            if (c[at] <= 0) continue;
            if (i == K) sum += dc[at];
            else if (there >= 0 && there < T) sum += dc[at] * n[at + (large)(i - before) * D];
        }
    found[group][lane] = sum;
    __syncthreads();
    if (group || channel >= D) return;
    for (int j = 1; j < 8; j++) sum += found[j][lane];
    part[((large)blockIdx.y * gridDim.z + i) * D + channel] = sum;
}
""")

_ROWS = Source(r"""
// A block has an id and a part of the tokens. It looks at 256 tokens at a time, and adds up the rows of those that have
// the id, in their order; a thread has 1024 of D columns at most, every 256th. part: (gridDim.y, gridDim.x, D).
extern "C" __global__ void scatter_rows(const large *ids, const real *dx, real *part, large N, int D)
{
    __shared__ uint found[8];
    large from = N * blockIdx.y / gridDim.y, to = N * (blockIdx.y + 1) / gridDim.y;
    for (int first = 0; first < D; first += 1024) {
        real sum[4] = {0, 0, 0, 0};
        for (large start = from; start < to; start += 256) {
            large token = start + threadIdx.x;
            uint ballot = __ballot_sync(ALL, token < to && ids[token] == blockIdx.x);
            __syncthreads();
            if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = ballot;
            __syncthreads();
            for (int warp = 0; warp < 8; warp++)
                for (uint left = found[warp]; left; left &= left - 1) {
                    const real *row = dx + (start + warp * 32 + __ffs(left) - 1) * D;
                    for (int i = 0; i < 4; i++) {
                        int column = first + threadIdx.x + 256 * i;
                        if (column < D) sum[i] += row[column];
                    }
                }
        }
        for (int i = 0; i < 4; i++) {
            int column = first + threadIdx.x + 256 * i;
            if (column < D) part[((large)blockIdx.y * gridDim.x + blockIdx.x) * D + column] = sum[i];
        }
    }
}
""")


# Averages over time ---------------------------------------------------------------------------------------------------


def average(k: Array, v: Array, factor: float = 1.0, sums: bool = False) -> tuple[Array, Array, Array | None]:
    """(y, weights, sums): y_t = Σ_{i≤t} e^{k_i} v_i / Σ_{i≤t} e^{k_i} per channel, with factor·k clipped to ±20 for k;
    the lower sum, and the upper one if asked for. As engine/scan.py's `average`, but k is left as it is.

    k, v: (B, T, D), views whose channels are contiguous.
    """
    B, T, D = k.shape
    y, b, a = (xp.empty(k.shape, k.dtype) if wanted else None for wanted in (True, True, sums))
    _AVERAGE.launch("average", (-(-D // _CHANNELS), B), _CHANNELS * _CHUNKS, *strided(k, 2), *strided(v, 2), y,
                    a, b, T, D, factor, dtype=k.dtype)
    return y, b, a


def average_twin(k: np.ndarray, v: np.ndarray, factor: float = 1.0,
                 sums: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """`average` in NumPy."""
    w = np.exp(np.clip(k * k.dtype.type(factor), -CLIP, CLIP))
    a, b = np.cumsum(w * v, 1), np.cumsum(w, 1)
    return a / b, b, a if sums else None


def average_backward(dy: Array, k: Array, v: Array, y: Array, weights: Array, dk: Array, dv: Array,
                     factor: float = 1.0) -> None:
    """Writes dk, dv (B, T, D), views whose channels are contiguous, from dy, contiguous, and what `average` was given
    and gave."""
    B, T, D = k.shape
    _AVERAGE.launch("average_backward", (-(-D // _CHANNELS), B), _CHANNELS * _CHUNKS, dy, *strided(k, 2),
                    *strided(v, 2), y, weights, *strided(dk, 2), *strided(dv, 2), T, D, factor, dtype=k.dtype)


def average_backward_twin(dy: np.ndarray, k: np.ndarray, v: np.ndarray, y: np.ndarray, weights: np.ndarray,
                          dk: np.ndarray, dv: np.ndarray, factor: float = 1.0) -> None:
    """`average_backward` in NumPy."""
    scaled, share = k * k.dtype.type(factor), dy / weights
    w = np.exp(np.clip(scaled, -CLIP, CLIP))
    r, s = (np.cumsum(x[:, ::-1], 1)[:, ::-1] for x in (share, share * y))
    dk[...] = np.where(np.abs(scaled) < CLIP, factor * w * (v * r - s), 0)
    dv[...] = w * r


# Depthwise convolution ------------------------------------------------------------------------------------------------


def convolve(n: Array, weight: Array, bias: Array, before: int) -> Array:
    """c_t = max(0, bias + Σ_i weight[:, i] ⊙ n_{t+i-before}), zeros outside the text. n: (B, T, D) contiguous; weight:
    (D, K) contiguous; before: how many earlier tokens the kernel reaches, K - 1 when it is causal."""
    c, (_, T, D) = xp.empty(n.shape, n.dtype), n.shape
    _CONVOLUTION.launch("convolve", (-(-n.size // 256),), 256, n, weight, bias, c, np.int64(n.size), T, D,
                        weight.shape[1], before, dtype=n.dtype)
    return c


def convolve_twin(n: np.ndarray, weight: np.ndarray, bias: np.ndarray, before: int) -> np.ndarray:
    """`convolve` in NumPy."""
    c, T = np.zeros_like(n) + bias, n.shape[1]
    for i in range(weight.shape[1]):
        t = np.arange(max(0, before - i), min(T, T + before - i))
        c[:, t] += n[:, t + i - before] * weight[:, i]
    return np.maximum(c, 0)


def convolve_backward(dc: Array, c: Array, n: Array, weight: Array, before: int) -> tuple[Array, Array, Array]:
    """(dn, dweight, dbias) of `convolve`, which gave c. dweight is a (D, K) view. dc: (B, T, D) contiguous, kept."""
    _, T, D = n.shape
    K, tokens, dn = weight.shape[1], n.size // D, xp.empty(n.shape, n.dtype)
    _CONVOLUTION.launch("convolve_backward", (-(-n.size // 256),), 256, dc, c, weight, dn, np.int64(n.size), T, D, K,
                        before, dtype=n.dtype)
    part = xp.empty((parts(tokens, 256, 64), K + 1, D), n.dtype)
    _CONVOLUTION.launch("convolve_parts", (-(-D // 32), len(part), K + 1), 256, dc, c, n, part, np.int64(tokens), T, D,
                        K, before, dtype=n.dtype)
    both = total(part)
    return dn, both[:K].T, both[K]


def convolve_backward_twin(dc: np.ndarray, c: np.ndarray, n: np.ndarray, weight: np.ndarray,
                           before: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`convolve_backward` in NumPy."""
    dc = dc * (c > 0)
    dn, dweight, T = np.zeros_like(n), np.zeros_like(weight), n.shape[1]
    for i in range(weight.shape[1]):
        t = np.arange(max(0, before - i), min(T, T + before - i))
        dn[:, t + i - before] += dc[:, t] * weight[:, i]
        dweight[:, i] = (dc[:, t] * n[:, t + i - before]).sum((0, 1))
    return dn, dweight, dc.sum((0, 1))


# Embedding ------------------------------------------------------------------------------------------------------------


def scatter_rows(ids: Array, dx: Array, size: int) -> Array:
    """Σ of the rows of dx (N, D) that share an id: (size, D). ids: (N,) integers, each < size."""
    N, D = dx.shape
    ids = ids.astype(np.int64, copy=False)
    n = parts(N, 256, max(1, 1024 // size))
    part = xp.empty((n, size, D), dx.dtype)
    _ROWS.launch("scatter_rows", (size, n), 256, ids, dx, part, np.int64(N), D, dtype=dx.dtype)
    return part[0] if n == 1 else total(part)


def scatter_rows_twin(ids: np.ndarray, dx: np.ndarray, size: int) -> np.ndarray:
    """`scatter_rows` in NumPy."""
    out = np.zeros((size, dx.shape[1]), dx.dtype)
    np.add.at(out, ids, dx)
    return out
