"""AdamW on the flat buffers with all of a step's decisions made on the device: the gradient's norm, clipping, whether
the update is made at all, the loss scale. The host is never waited for.

`State` names the numbers of a (len(State),) float64 array on the device that carries them from kernel to kernel and
from step to step. The equations are those of engine/optimizer.py.
"""

from __future__ import annotations

from enum import IntEnum
from math import isfinite, sqrt

import numpy as np

from engine.backend import Array, xp
from engine.kernels.launch import Source, parts
from engine.optimizer import EPS, LossScaler


class State(IntEnum):
    """Places in the array. RATE is written before a step, the others are carried along."""

    RATE = 0  # learning rate
    SCALE = 1  # what the gradient has been multiplied with
    UPDATES = 2  # made so far
    CALM = 3  # steps since the last overflow
    NORM = 4  # of the last gradient, unscaled; not finite when an element was not
    GOOD = 5  # 1 when the last gradient and loss were finite, so that the update is made
    SKIPPED = 6  # updates that were not made, so far
    SHARE1 = 7  # and on: what `AdamW.begin` works out
    SHARE2 = 8
    KEPT = 9
    SIZE = 10
    EPS = 11


_SOURCE = Source("\n".join(f"#define {place.name} {place.value}" for place in State) + r"""
__device__ __forceinline__ double sum_of_doubles(double x)
{
    __shared__ double found[256];
    found[threadIdx.x] = x;
    __syncthreads();
    for (int half = blockDim.x / 2; half; half /= 2) {
        if (threadIdx.x < half) found[threadIdx.x] += found[threadIdx.x + half];
        __syncthreads();
    }
    return found[0];
}

// Stage one: a block of 256 adds up the squares of its part of g.
extern "C" __global__ void square_parts(const real *g, double *part, large n)
{
    large from = n * blockIdx.x / gridDim.x, to = n * (blockIdx.x + 1) / gridDim.x;
    double sum = 0;
    for (large i = from + threadIdx.x; i < to; i += blockDim.x) sum += (double)g[i] * (double)g[i];
    sum = sum_of_doubles(sum);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

// Stage two: one block adds up the parts, and one thread decides what becomes of the step.
extern "C" __global__ void begin(const double *part, int n, const double *loss, double *state, double clip,
                                 double beta1, double beta2, double decay, double eps, int nesterov, int scaled,
                                 int calm)
{
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += part[i];
    sum = sum_of_doubles(sum);
    if (threadIdx.x) return;
    double norm = sqrt(sum) / state[SCALE], scale = 1 / state[SCALE];
    bool good = isfinite(norm) && (!loss || isfinite(loss[0]));
    state[NORM] = norm;
    state[GOOD] = good;
    if (good) {
        if (clip > 0 && norm > clip) scale *= clip / norm;
        double updates = state[UPDATES] += 1;
        double unbias1 = 1 - pow(beta1, updates + nesterov), unbias2 = 1 - pow(beta2, updates);
        state[SHARE1] = (1 - beta1) * scale;
        state[SHARE2] = scale * sqrt(1 - beta2);
        state[KEPT] = 1 - state[RATE] * decay;
        state[SIZE] = state[RATE] * sqrt(unbias2) / unbias1;
        state[EPS] = eps * sqrt(unbias2);
    } else {
        state[SKIPPED] += 1;
    }
    if (!scaled) return;
    state[CALM] = good ? state[CALM] + 1 : 0;
    if (!good) {
        state[SCALE] = max(1.0, state[SCALE] / 2);
    } else if (state[CALM] >= calm) {
        state[SCALE] = min(16777216.0, state[SCALE] * 2);
        state[CALM] = 0;
    }
}

// A thread updates every 256th of a block's 1024 weights. mask: 1 where a weight is trained; what is held does not
// decay.
extern "C" __global__ void adamw(real *p, const real *g, real *m, real *v, const real *mask, const double *state,
                                 large n, large decayed, real beta1, real beta2, int nesterov)
{
    if (state[GOOD] == 0) return;
    real share1 = (real)state[SHARE1], share2 = (real)state[SHARE2], keep = (real)state[KEPT];
    real size = (real)state[SIZE], eps = (real)state[EPS];
    large from = (large)blockIdx.x * 1024;
    for (large i = from + threadIdx.x; i < min(from + 1024, n); i += blockDim.x) {
        real added = g[i] * share1, root = g[i] * share2;
        real first = m[i] * beta1 + added, second = v[i] * beta2 + root * root;
        m[i] = first;
        v[i] = second;
        if (nesterov) first = first * beta1 + added;
        real left = p[i];
        if (i < decayed) left *= mask ? mask[i] * (keep - 1) + 1 : keep;
        p[i] = left - first / (sqrt(second) + eps) * size;
    }
}
""")


def initial_state(scale: float = 1.0, updates: int = 0, calm: int = 0) -> np.ndarray:
    """A fresh (len(State),) float64 array, on the host. scale: the loss scale. updates, calm: to continue from."""
    state = np.zeros(len(State))
    state[[State.SCALE, State.UPDATES, State.CALM]] = scale, updates, calm
    return state


def begin(g: Array, state: Array, clip: float, betas: tuple[float, float], decay: float, *, loss: Array | None = None,
          nesterov: bool = False, scaled: bool = False) -> None:
    """Look at the whole gradient g (n,), and write into state whether and how the next update is made.

    clip: the largest norm, 0 = any. loss: (1,) float64 on the device; when it is not finite, no update is made. scaled:
    whether the loss scale is dynamic: it is then halved when the step is skipped, and doubled after LossScaler.CALM
    good ones, both for the next step.
    """
    n = parts(g.size, 4096, 1024)
    part = xp.empty(n, np.float64)
    _SOURCE.launch("square_parts", (n,), 256, g, part, np.int64(g.size), dtype=g.dtype)
    _SOURCE.launch("begin", (1,), 256, part, n, loss, state, *map(np.float64, (clip, *betas, decay, EPS)),
                   int(nesterov), int(scaled), LossScaler.CALM, dtype=g.dtype)


def begin_twin(g: np.ndarray, state: np.ndarray, clip: float, betas: tuple[float, float], decay: float, *,
               loss: np.ndarray | None = None, nesterov: bool = False, scaled: bool = False) -> None:
    """`begin` in NumPy."""
    norm, scale = float(np.sqrt(np.sum(g.astype(np.float64) ** 2)) / state[State.SCALE]), 1 / state[State.SCALE]
    good = isfinite(norm) and (loss is None or isfinite(loss[0]))
    state[[State.NORM, State.GOOD]] = norm, good
    if good:
        scale *= clip / norm if clip and norm > clip else 1
        updates = state[State.UPDATES] = state[State.UPDATES] + 1
        unbias1, unbias2 = 1 - betas[0] ** (updates + nesterov), 1 - betas[1] ** updates
        state[State.SHARE1 :] = ((1 - betas[0]) * scale, scale * sqrt(1 - betas[1]), 1 - state[State.RATE] * decay,
                                 state[State.RATE] * sqrt(unbias2) / unbias1, EPS * sqrt(unbias2))
    else:
        state[State.SKIPPED] += 1
    scaler = LossScaler(scaled)
    scaler.restore({"scale": state[State.SCALE], "calm": state[State.CALM]})
    scaler.update(overflowed=not good)
    state[[State.SCALE, State.CALM]] = scaler.scale, scaler.calm


def adamw(p: Array, g: Array, m: Array, v: Array, state: Array, betas: tuple[float, float], decayed: int,
          mask: Array | None = None, *, nesterov: bool = False) -> None:
    """Update weights p and moments m, v in place as `begin` has decided, all (n,) and of one dtype.

    decayed: how many weights decay; they come first. mask: (n,), 1 where a weight is trained, or None.
    """
    _SOURCE.launch("adamw", (-(-p.size // 1024),), 256, p, g, m, v, mask, state, np.int64(p.size), np.int64(decayed),
                   *betas, int(nesterov), dtype=p.dtype)


def adamw_twin(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, state: np.ndarray,
               betas: tuple[float, float], decayed: int, mask: np.ndarray | None = None, *,
               nesterov: bool = False) -> None:
    """`adamw` in NumPy."""
    if not state[State.GOOD]:
        return
    share1, share2, keep, size, eps = state[State.SHARE1 :].astype(p.dtype)
    b1, b2 = p.dtype.type(betas[0]), p.dtype.type(betas[1])
    m[...] = m * b1 + g * share1
    v[...] = v * b2 + (g * share2) ** 2
    first = m * b1 + g * share1 if nesterov else m
    p[:decayed] *= keep if mask is None else mask[:decayed] * (keep - 1) + 1
    p -= first / (np.sqrt(v) + eps) * size
