"""Causal softmax attention that never makes the (T, T) weights (Dao et al., FlashAttention, arXiv 2205.14135; two
passes backwards without atomics, so that the same numbers give the same gradients).

Shapes as in engine/attention/_softmax.py: q, o (B, k, g, T, d); k, v (B, k, 1, t, d): k heads of keys, each shared by g
heads of queries and never repeated; views of any strides whose last axis is contiguous. Query i stands at position
t - T + i and sees the keys up to it, with a window the last `window` of them.

A block of 256 threads, as 16 by 16, has a tile of queries (backwards for dk and dv: of keys) and walks the tiles of the
other kind. Scores are a product of two tiles in shared memory, a thread having every 16th column of a few rows next to
each other; of a row only its maximum and sum are carried from tile to tile. With P = exp(scale·q·kᵀ - lse) and
Δ = rowsum(do ⊙ o),

    o = drop(P)·v,   dv = drop(P)ᵀ·do,   dS = scale·P ⊙ (drop(do·vᵀ) - Δ),   dq = dS·k,   dk = dSᵀ·q.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backend import Array, xp
from engine.kernels.launch import SHARED, Source, strided
from engine.kernels.masks import PHILOX, attention_mask, threshold

_MOST = 128  # channels of a head

# Constants: D channels, WIDE = D rounded up to 16, tiles of QUERIES and KEYS, DROPOUT 0 or 1.
_TILES = PHILOX + r"""
#define ROW (WIDE + 1)   // of a tile: an odd number of banks apart
#define SCORES (KEYS + 1)
#define QR (QUERIES / 16)
#define KR (KEYS / 16)
#define CR (WIDE / 16)

// Rows first … first + rows of a (n, D) matrix into a tile, zeros beyond.
__device__ __forceinline__ void load(real *tile, const real *from, large stride, int first, int rows, int n,
                                     real factor)
{
    for (int i = threadIdx.x; i < rows * WIDE; i += 256) {
        int row = i / WIDE, column = i % WIDE;
        bool inside = first + row < n && column < D;
        tile[row * ROW + column] = inside ? from[(first + row) * stride + column] * factor : (real)0;
    }
}

// Which weights of a tile are kept, eight to a byte, (QUERIES, KEYS / 8). row: of the first query among all rows.
__device__ __forceinline__ void draw(unsigned char *mask, large row, int first, int keys, uint drop, uint call,
                                     const uint *state)
{
#if DROPOUT
    large groups = (keys + 7) / 8;
    for (int i = threadIdx.x; i < QUERIES * (KEYS / 8); i += 256) {
        int group = first / 8 + i % (KEYS / 8);
        mask[i] = group < groups ? kept((row + i / (KEYS / 8)) * groups + group, drop, call, state) : 0;
    }
#endif
}

__device__ __forceinline__ real masked(const unsigned char *mask, int row, int column, real factor)
{
#if DROPOUT
    return mask[row * (KEYS / 8) + column / 8] >> (column & 7) & 1 ? factor : (real)0;
#else
    return 1;
#endif
}

// scores[r][c] = Σ_x a[ty·QR + r][x]·b[tx + 16c][x]
__device__ __forceinline__ void product(real (&scores)[QR][KR], const real *a, const real *b, int ty, int tx)
{
    for (int r = 0; r < QR; r++)
        for (int c = 0; c < KR; c++) scores[r][c] = 0;
#pragma unroll 8
    for (int x = 0; x < WIDE; x++) {
        real left[QR], right[KR];
        for (int r = 0; r < QR; r++) left[r] = a[(ty * QR + r) * ROW + x];
        for (int c = 0; c < KR; c++) right[c] = b[(tx + 16 * c) * ROW + x];
        for (int r = 0; r < QR; r++)
            for (int c = 0; c < KR; c++) scores[r][c] += left[r] * right[c];
    }
}

__device__ __forceinline__ bool sees(int position, int key, int keys, int window)
{
    return key <= position && key < keys && (!window || key > position - window);
}
"""

_FORWARD = Source(_TILES + r"""
// grid: (tiles of queries, k·g, B). lse: (B, k·g, T).
extern "C" __global__ void __launch_bounds__(256) attention(
    const real *q, large qb, large qk, large qg, large qt, const real *k, large kb, large kk, large kt, const real *v,
    large vb, large vk, large vt, real *o, large ob, large ok, large og, large ot, real *lse, int group, int T,
    int keys, int window, real scale, int drop, real factor, int call, const uint *state)
{
    extern __shared__ real memory[];
    __shared__ unsigned char mask[QUERIES * KEYS / 8];
    real *Q = memory, *other = Q + QUERIES * ROW, *P = other + KEYS * ROW;  // the keys, then the values
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16, first = blockIdx.x * QUERIES, before = keys - T;
    int head = blockIdx.y / group, member = blockIdx.y % group;
    large row = ((large)blockIdx.z * gridDim.y + blockIdx.y) * T + first;
    q += blockIdx.z * qb + head * qk + member * qg;
    k += blockIdx.z * kb + head * kk;
    v += blockIdx.z * vb + head * vk;
    o += blockIdx.z * ob + head * ok + member * og;
    load(Q, q, qt, first, QUERIES, T, scale);
    real most[QR], sum[QR], out[QR][CR];
    for (int r = 0; r < QR; r++) {
        most[r] = LOWEST;
        sum[r] = 0;
        for (int c = 0; c < CR; c++) out[r][c] = 0;
    }
    int start = window ? max(0, before + first - window + 1) / KEYS * KEYS : 0;
    int end = min(keys, before + first + QUERIES);
    for (; start < end; start += KEYS) {
        __syncthreads();
        load(other, k, kt, start, KEYS, keys, 1);
        draw(mask, row, start, keys, drop, call, state);
        __syncthreads();
        real s[QR][KR];
        product(s, Q, other, ty, tx);
        for (int r = 0; r < QR; r++) {
            int i = ty * QR + r;
            real top = most[r];
            for (int c = 0; c < KR; c++)
                if (sees(before + first + i, start + tx + 16 * c, keys, window)) top = max(top, s[r][c]);
            for (int bits = 8; bits; bits >>= 1) top = max(top, __shfl_xor_sync(ALL, top, bits));
            real shrink = exp(most[r] - top);
            most[r] = top;
            sum[r] *= shrink;
            for (int c = 0; c < CR; c++) out[r][c] *= shrink;
            for (int c = 0; c < KR; c++) {
                int j = tx + 16 * c;
                real p = sees(before + first + i, start + j, keys, window) ? exp(s[r][c] - top) : (real)0;
                sum[r] += p;
                P[i * SCORES + j] = p * masked(mask, i, j, factor);
            }
        }
        __syncthreads();
        load(other, v, vt, start, KEYS, keys, 1);
        __syncthreads();
        for (int j = 0; j < KEYS; j++)
            for (int r = 0; r < QR; r++) {
                real p = P[(ty * QR + r) * SCORES + j];
                for (int c = 0; c < CR; c++) out[r][c] += p * other[j * ROW + tx + 16 * c];
            }
    }
    for (int r = 0; r < QR; r++) {
        int i = ty * QR + r;
        for (int bits = 8; bits; bits >>= 1) sum[r] += __shfl_xor_sync(ALL, sum[r], bits);
        if (first + i >= T) continue;
        for (int c = 0; c < CR; c++)
            if (tx + 16 * c < D) o[(first + i) * ot + tx + 16 * c] = out[r][c] / sum[r];
        if (tx == 0) lse[row + i] = most[r] + log(sum[r]);
    }
}
""")

_BACKWARD = Source(_TILES + r"""
// A warp has a row: delta = Σ do·o. grid: (rows of T / 8, k·g, B).
extern "C" __global__ void attention_delta(const real *d, large db, large dk, large dg, large dt, const real *o,
                                           large ob, large ok, large og, large ot, real *delta, int group, int T)
{
    int i = blockIdx.x * 8 + threadIdx.x / 32, head = blockIdx.y / group, member = blockIdx.y % group;
    real sum = 0;
    if (i < T) {
        d += blockIdx.z * db + head * dk + member * dg + i * dt;
        o += blockIdx.z * ob + head * ok + member * og + i * ot;
        for (int x = threadIdx.x % 32; x < D; x += 32) sum += d[x] * o[x];
    }
    sum = warp_sum(sum);
    if (i < T && threadIdx.x % 32 == 0) delta[((large)blockIdx.z * gridDim.y + blockIdx.y) * T + i] = sum;
}

// What dq and dk, dv share: of a tile P·mask and dS, from the tiles of q, do, k, v.
__device__ __forceinline__ void gradients(real *P, real *S, const real *Q, const real *O, const real *K, const real *V,
                                          const unsigned char *mask, const real *lse, const real *delta, int first,
                                          int start, int T, int keys, int window, real scale, real factor,
                                          int ty, int tx)
{
    real s[QR][KR], d[QR][KR];
    product(s, Q, K, ty, tx);
    product(d, O, V, ty, tx);
    for (int r = 0; r < QR; r++)
        for (int c = 0; c < KR; c++) {
            int i = ty * QR + r, j = tx + 16 * c;
            bool seen = first + i < T && sees(keys - T + first + i, start + j, keys, window);
            real p = seen ? exp(s[r][c] * scale - lse[i]) : (real)0, keep = masked(mask, i, j, factor);
            if (P) P[i * SCORES + j] = p * keep;
            S[i * SCORES + j] = seen ? p * (d[r][c] * keep - delta[i]) * scale : (real)0;
        }
}

// grid: (tiles of queries, k·g, B).
extern "C" __global__ void __launch_bounds__(256) attention_queries(
    const real *d, large db, large dh, large dg, large dt, const real *q, large qb, large qk, large qg, large qt,
    const real *k, large kb, large kk, large kt, const real *v, large vb, large vk, large vt, const real *lse,
    const real *delta, real *dq, large dqb, large dqk, large dqg, large dqt, int group, int T, int keys, int window,
    real scale, int drop, real factor, int call, const uint *state)
{
    extern __shared__ real memory[];
    __shared__ unsigned char mask[QUERIES * KEYS / 8];
    real *Q = memory, *O = Q + QUERIES * ROW, *K = O + QUERIES * ROW, *V = K + KEYS * ROW, *S = V + KEYS * ROW;
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16, first = blockIdx.x * QUERIES, before = keys - T;
    int head = blockIdx.y / group, member = blockIdx.y % group;
    large row = ((large)blockIdx.z * gridDim.y + blockIdx.y) * T + first;
    d += blockIdx.z * db + head * dh + member * dg;
    q += blockIdx.z * qb + head * qk + member * qg;
    k += blockIdx.z * kb + head * kk;
    v += blockIdx.z * vb + head * vk;
    dq += blockIdx.z * dqb + head * dqk + member * dqg;
    load(Q, q, qt, first, QUERIES, T, 1);
    load(O, d, dt, first, QUERIES, T, 1);
    real out[QR][CR];
    for (int r = 0; r < QR; r++)
        for (int c = 0; c < CR; c++) out[r][c] = 0;
    int start = window ? max(0, before + first - window + 1) / KEYS * KEYS : 0;
    int end = min(keys, before + first + QUERIES);
    for (; start < end; start += KEYS) {
        __syncthreads();
        load(K, k, kt, start, KEYS, keys, 1);
        load(V, v, vt, start, KEYS, keys, 1);
        draw(mask, row, start, keys, drop, call, state);
        __syncthreads();
        gradients(0, S, Q, O, K, V, mask, lse + row, delta + row, first, start, T, keys, window, scale, factor, ty, tx);
        __syncthreads();
        for (int j = 0; j < KEYS; j++)
            for (int r = 0; r < QR; r++) {
                real s = S[(ty * QR + r) * SCORES + j];
                for (int c = 0; c < CR; c++) out[r][c] += s * K[j * ROW + tx + 16 * c];
            }
    }
    for (int r = 0; r < QR; r++)
        for (int c = 0; c < CR; c++)
            if (first + ty * QR + r < T && tx + 16 * c < D) dq[(first + ty * QR + r) * dqt + tx + 16 * c] = out[r][c];
}

// grid: (tiles of keys, k, B). A block adds up what all queries of its group have to say to its keys.
extern "C" __global__ void __launch_bounds__(256) attention_keys(
    const real *d, large db, large dh, large dg, large dt, const real *q, large qb, large qk, large qg, large qt,
    const real *k, large kb, large kk, large kt, const real *v, large vb, large vk, large vt, const real *lse,
    const real *delta, real *dk, large dkb, large dkk, large dkt, real *dv, large dvb, large dvk, large dvt, int group,
    int T, int keys, int window, real scale, int drop, real factor, int call, const uint *state)
{
    extern __shared__ real memory[];
    __shared__ unsigned char mask[QUERIES * KEYS / 8];
    real *Q = memory, *O = Q + QUERIES * ROW, *K = O + QUERIES * ROW, *V = K + KEYS * ROW, *S = V + KEYS * ROW;
    real *P = S + QUERIES * SCORES;
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16, start = blockIdx.x * KEYS, before = keys - T;
    k += blockIdx.z * kb + blockIdx.y * kk;
    v += blockIdx.z * vb + blockIdx.y * vk;
    dk += blockIdx.z * dkb + blockIdx.y * dkk;
    dv += blockIdx.z * dvb + blockIdx.y * dvk;
    load(K, k, kt, start, KEYS, keys, 1);
    load(V, v, vt, start, KEYS, keys, 1);
    real outk[KR][CR], outv[KR][CR];
    for (int r = 0; r < KR; r++)
        for (int c = 0; c < CR; c++) outk[r][c] = outv[r][c] = 0;
    int from = max(0, start - before) / QUERIES * QUERIES;
    int end = window ? min(T, start + KEYS - 1 + window - before) : T;
    for (int member = 0; member < group; member++)
        for (int first = from; first < end; first += QUERIES) {
            large row = (((large)blockIdx.z * gridDim.y + blockIdx.y) * group + member) * T + first;
            __syncthreads();
            load(Q, q + blockIdx.z * qb + blockIdx.y * qk + member * qg, qt, first, QUERIES, T, 1);
            load(O, d + blockIdx.z * db + blockIdx.y * dh + member * dg, dt, first, QUERIES, T, 1);
            draw(mask, row, start, keys, drop, call, state);
            __syncthreads();
            gradients(P, S, Q, O, K, V, mask, lse + row, delta + row, first, start, T, keys, window, scale, factor, ty,
                      tx);
            __syncthreads();
            for (int i = 0; i < QUERIES; i++)
                for (int r = 0; r < KR; r++) {
                    real p = P[i * SCORES + ty * KR + r], s = S[i * SCORES + ty * KR + r];
                    for (int c = 0; c < CR; c++) {
                        outv[r][c] += p * O[i * ROW + tx + 16 * c];
                        outk[r][c] += s * Q[i * ROW + tx + 16 * c];
                    }
                }
        }
    for (int r = 0; r < KR; r++)
        for (int c = 0; c < CR; c++) {
            int j = start + ty * KR + r, x = tx + 16 * c;
            if (j >= keys || x >= D) continue;
            dk[j * dkt + x] = outk[r][c];
            dv[j * dvt + x] = outv[r][c];
        }
}
""")


def _shared(queries: int, keys: int, wide: int, itemsize: int, backward: bool) -> int:
    """Bytes of shared memory that the tiles take."""
    tiles = 2 * (queries + keys) if backward else queries + keys
    return itemsize * (tiles * (wide + 1) + (1 + backward) * queries * (keys + 1))


def _tiles(d: int, dtype: Any, backward: bool) -> tuple[int, int] | None:
    """Queries and keys of a tile: the largest that fit; None when none do."""
    wide, itemsize = -(-d // 16) * 16, np.dtype(dtype).itemsize
    for queries, keys in ((64, 32), (32, 32), (16, 16)):
        fits = _shared(queries, keys, wide, itemsize, backward) + queries * keys // 8 <= SHARED
        if fits and not (backward and queries > keys):  # backwards both kinds are walked
            return queries, keys
    return None


def fits(d: int, dtype: Any) -> bool:
    """Whether there are kernels for heads of d channels: up to 128, in float64 up to 80."""
    return d <= _MOST and _tiles(d, dtype, True) is not None


def _constants(d: int, dtype: Any, rate: float, backward: bool) -> tuple[dict[str, int], int]:
    """Constants of the source, and bytes of shared memory. ValueError for heads that are too large."""
    tiles = _tiles(d, dtype, backward) if d <= _MOST else None
    if tiles is None:
        raise ValueError(f"there is no kernel for heads of {d} channels in {np.dtype(dtype)}")
    wide = -(-d // 16) * 16
    shared = _shared(*tiles, wide, np.dtype(dtype).itemsize, backward)
    return {"D": d, "WIDE": wide, "QUERIES": tiles[0], "KEYS": tiles[1], "DROPOUT": int(rate > 0)}, shared


def attention(q: Array, k: Array, v: Array, o: Array, scale: float, window: int = 0, rate: float = 0.0,
              state: Array | None = None, call: int = 0) -> Array:
    """o = drop(softmax(scale·q·kᵀ + causal))·v is written; returns lse (B, k·g, T), the logarithms of the rows' sums.

    window: how many keys a query sees, itself included; 0 = all. rate, state, call: see `dropout`. ValueError for heads
    that do not fit, see `fits`.
    """
    (B, K, g, T, d), keys = q.shape, k.shape[-2]
    constants, shared = _constants(d, q.dtype, rate, False)
    lse = xp.empty((B, K * g, T), q.dtype)
    k, v = k[:, :, 0], v[:, :, 0]
    _FORWARD.launch("attention", (-(-T // constants["QUERIES"]), K * g, B), 256, *strided(q, 4), *strided(k, 3),
                    *strided(v, 3), *strided(o, 4), lse, g, T, keys, window, scale, *threshold(rate), call, state,
                    dtype=q.dtype, shared=shared, **constants)
    return lse


def attention_twin(q: np.ndarray, k: np.ndarray, v: np.ndarray, o: np.ndarray, scale: float, window: int = 0,
                   rate: float = 0.0, state: np.ndarray | None = None, call: int = 0) -> np.ndarray:
    """`attention` in NumPy."""
    p, lse = _weights(q, k, scale, window)
    if state is not None and rate:
        p = (p * attention_mask(p.shape, rate, state, call)).astype(p.dtype)
    o[...] = p @ v
    return lse


def attention_backward(do: Array, q: Array, k: Array, v: Array, o: Array, lse: Array, dq: Array, dk: Array, dv: Array,
                       scale: float, window: int = 0, rate: float = 0.0, state: Array | None = None,
                       call: int = 0) -> None:
    """Writes dq, dk, dv, shaped like q, k, v, from do and what `attention` was given and gave. The views may be parts
    of one buffer, but of no other's."""
    (B, K, g, T, d), keys = q.shape, k.shape[-2]
    constants, shared = _constants(d, q.dtype, rate, True)
    delta = xp.empty(lse.shape, lse.dtype)
    k, v, dk, dv = (x[:, :, 0] for x in (k, v, dk, dv))
    _BACKWARD.launch("attention_delta", (-(-T // 8), K * g, B), 256, *strided(do, 4), *strided(o, 4), delta, g,
                     T, dtype=q.dtype, **constants)
    given = (*strided(do, 4), *strided(q, 4), *strided(k, 3), *strided(v, 3), lse, delta)
    rest = (g, T, keys, window, scale, *threshold(rate), call, state)
    _BACKWARD.launch("attention_queries", (-(-T // constants["QUERIES"]), K * g, B), 256, *given, *strided(dq, 4),
                     *rest, dtype=q.dtype, shared=shared, **constants)
    _BACKWARD.launch("attention_keys", (-(-keys // constants["KEYS"]), K, B), 256, *given, *strided(dk, 3),
                     *strided(dv, 3), *rest, dtype=q.dtype, shared=shared, **constants)


def attention_backward_twin(do: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, o: np.ndarray, lse: np.ndarray,
                            dq: np.ndarray, dk: np.ndarray, dv: np.ndarray, scale: float, window: int = 0,
                            rate: float = 0.0, state: np.ndarray | None = None, call: int = 0) -> None:
    """`attention_backward` in NumPy."""
    p, _ = _weights(q, k, scale, window)
    mask = 1.0 if state is None or not rate else attention_mask(p.shape, rate, state, call)
    ds = scale * p * (do @ v.swapaxes(-1, -2) * mask - (do * o).sum(-1, keepdims=True))
    dq[...] = ds @ k
    dk[...] = (ds.swapaxes(-1, -2) @ q).sum(2, keepdims=True)
    dv[...] = ((p * mask).swapaxes(-1, -2) @ do).sum(2, keepdims=True)


def _weights(q: np.ndarray, k: np.ndarray, scale: float, window: int) -> tuple[np.ndarray, np.ndarray]:
    """softmax(scale·q·kᵀ + causal) (B, k, g, T, t), and the logarithms of its rows' sums (B, k·g, T)."""
    T, t = q.shape[-2], k.shape[-2]
    ago = np.arange(t - T, t)[:, None] - np.arange(t)
    s = np.where((ago >= 0) & (ago < (window or t)), scale * (q @ k.swapaxes(-1, -2)), -np.inf).astype(q.dtype)
    most = s.max(-1, keepdims=True)
    e = np.exp(s - most)
    sums = e.sum(-1, keepdims=True)
    return e / sums, (most + np.log(sums)).reshape(q.shape[0], -1, T)
