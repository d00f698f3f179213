"""Kernels that treat every number alone: GELU and the gated units. A thread has one number at a time.

Shapes: N rows, F columns. A bias is added on the way, so that no pass is spent on it.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import numpy as np

from engine.backend import Array, xp
from engine.kernels.launch import Source, strided

_C = sqrt(2 / pi)
_A = 0.044715
_PER_BLOCK = 1024  # numbers

_SOURCE = Source(r"""
// h = (1 + tanh(c·(u + a·u³)))/2, which GELU multiplies u with.
__device__ __forceinline__ real half_of(real u, real a, real c)
{
    return (real)0.5 * (tanh(c * (u + a * u * u * u)) + (real)1);
}

// A thread changes every 256th of a block's 1024 numbers: y = u·h of u = x + bias.
extern "C" __global__ void gelu(const real *x, const real *bias, real *y, large n, int F, real a, real c)
{
    large from = (large)blockIdx.x * 1024;
    for (large i = from + threadIdx.x; i < min(from + 1024, n); i += blockDim.x) {
        real u = x[i] + (bias ? bias[i % F] : (real)0);
        y[i] = u * half_of(u, a, c);
    }
}

// dy is multiplied by h + 2u·h·(1 - h)·c·(1 + 3a·u²).
extern "C" __global__ void gelu_backward(real *dy, const real *x, const real *bias, large n, int F, real a, real c)
{
    large from = (large)blockIdx.x * 1024;
    for (large i = from + threadIdx.x; i < min(from + 1024, n); i += blockDim.x) {
        real u = x[i] + (bias ? bias[i % F] : (real)0), h = half_of(u, a, c);
        dy[i] *= h + 2 * u * h * (1 - h) * c * (1 + 3 * a * u * u);
    }
}

__device__ __forceinline__ real sigmoid(real x)
{
    return (real)0.5 * (tanh((real)0.5 * x) + (real)1);
}

// All of shape (G, N, F), each with three strides. y = (u + bu)·gate, gate = σ(z) or, with swish, z·σ(z), z = z + bz.
extern "C" __global__ void gated(const real *u, large ug, large un, large uf, const real *z, large zg, large zn,
                                 large zf, const real *ubias, const real *zbias, real *y, large yg, large yn, large yf,
                                 large N, int F, large n, int swish)
{
    large from = (large)blockIdx.x * 1024;
    for (large i = from + threadIdx.x; i < min(from + 1024, n); i += blockDim.x) {
        large f = i % F, row = i / F % N, g = i / F / N;
        real a = u[g * ug + row * un + f * uf] + (ubias ? ubias[f] : (real)0);
        real b = z[g * zg + row * zn + f * zf] + (zbias ? zbias[f] : (real)0);
        y[g * yg + row * yn + f * yf] = a * sigmoid(b) * (swish ? b : (real)1);
    }
}

// u and z are replaced by their gradients.
extern "C" __global__ void gated_backward(const real *dy, large yg, large yn, large yf, real *u, large ug, large un,
                                          large uf, real *z, large zg, large zn, large zf, const real *ubias,
                                          const real *zbias, large N, int F, large n, int swish)
{
    large from = (large)blockIdx.x * 1024;
    for (large i = from + threadIdx.x; i < min(from + 1024, n); i += blockDim.x) {
        large f = i % F, row = i / F % N, g = i / F / N;
        real *to_u = u + g * ug + row * un + f * uf, *to_z = z + g * zg + row * zn + f * zf;
        real a = *to_u + (ubias ? ubias[f] : (real)0), b = *to_z + (zbias ? zbias[f] : (real)0);
        real d = dy[g * yg + row * yn + f * yf], s = sigmoid(b);
        *to_u = d * s * (swish ? b : (real)1);
        *to_z = d * a * s * (swish ? 1 + b * (1 - s) : 1 - s);
    }
}

// x += bias, row by row.
extern "C" __global__ void add_bias(real *x, const real *bias, large n, int F)
{
    large from = (large)blockIdx.x * 1024;
    for (large i = from + threadIdx.x; i < min(from + 1024, n); i += blockDim.x) x[i] += bias[i % F];
}
""")


def _launch(name: str, n: int, *args: Any, dtype: Any) -> None:
    if n:
        _SOURCE.launch(name, (-(-n // _PER_BLOCK),), 256, *args, dtype=dtype)


def gelu(x: Array, bias: Array | None = None) -> Array:
    """y = u·½(1 + tanh(√(2/π)(u + 0.044715 u³))) of u = x + bias (arXiv 1606.08415). x: (N, F), contiguous, left as it
    is: the gradient is worked out from it. bias: (F,) or None."""
    y = xp.empty(x.shape, x.dtype)
    _launch("gelu", x.size, x, bias, y, np.int64(x.size), x.shape[-1], _A, _C, dtype=x.dtype)
    return y


def gelu_twin(x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """`gelu` in NumPy."""
    u = x if bias is None else x + bias
    y: np.ndarray = u * 0.5 * (1 + np.tanh(_C * (u + _A * u**3)))
    return y


def gelu_backward(dy: Array, x: Array, bias: Array | None = None) -> Array:
    """du = dy·dGELU/du, in place of dy (N, F). x, bias: as `gelu` was given them."""
    _launch("gelu_backward", x.size, dy, x, bias, np.int64(x.size), x.shape[-1], _A, _C, dtype=x.dtype)
    return dy


def gelu_backward_twin(dy: np.ndarray, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """`gelu_backward` in NumPy."""
    u = x if bias is None else x + bias
    h = 0.5 * (1 + np.tanh(_C * (u + _A * u**3)))
    dy *= h + 2 * u * h * (1 - h) * _C * (1 + 3 * _A * u**2)
    return dy


def _three(x: Array) -> list[Any]:
    """x (N, F) or (G, N, F), and its strides as of three axes, as arguments."""
    return strided((x if x.ndim == 3 else x[None])[..., None], 3)


def gated(u: Array, z: Array, swish: bool, ubias: Array | None = None, zbias: Array | None = None,
          out: Array | None = None) -> Array:
    """y = (u + ubias) ⊙ σ(z + zbias), or with `swish` (z + zbias)·σ(z + zbias) instead of σ: GLU (arXiv 1612.08083),
    SwiGLU (arXiv 2002.05202).

    u, z, out: (N, F) or (G, N, F), views of any strides; out is made contiguous when it is None. Biases (F,) or None.
    """
    out = xp.empty(u.shape, u.dtype) if out is None else out
    _launch("gated", u.size, *_three(u), *_three(z), ubias, zbias, *_three(out), np.int64(u.shape[-2]), u.shape[-1],
            np.int64(u.size), int(swish), dtype=u.dtype)
    return out


def gated_twin(u: np.ndarray, z: np.ndarray, swish: bool, ubias: np.ndarray | None = None,
               zbias: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """`gated` in NumPy."""
    a, b = u + (0 if ubias is None else ubias), z + (0 if zbias is None else zbias)
    s = 0.5 * (1 + np.tanh(0.5 * b))
    y: np.ndarray = a * s * b if swish else a * s
    if out is None:
        return y
    out[...] = y
    return out


def gated_backward(dy: Array, u: Array, z: Array, swish: bool, ubias: Array | None = None,
                   zbias: Array | None = None) -> tuple[Array, Array]:
    """(du, dz) in place of u and z, which are as `gated` was given them, from dy, shaped like them, of any strides."""
    _launch("gated_backward", u.size, *_three(dy), *_three(u), *_three(z), ubias, zbias, np.int64(u.shape[-2]),
            u.shape[-1], np.int64(u.size), int(swish), dtype=u.dtype)
    return u, z


def gated_backward_twin(dy: np.ndarray, u: np.ndarray, z: np.ndarray, swish: bool, ubias: np.ndarray | None = None,
                        zbias: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`gated_backward` in NumPy."""
    a, b = u + (0 if ubias is None else ubias), z + (0 if zbias is None else zbias)
    s = 0.5 * (1 + np.tanh(0.5 * b))
    u[...], z[...] = dy * s * (b if swish else 1), dy * a * s * (1 + b * (1 - s) if swish else 1 - s)
    return u, z


def add_bias(x: Array, bias: Array) -> Array:
    """x (N, F), contiguous, with bias (F,) added to its rows, in place."""
    _launch("add_bias", x.size, x, bias, np.int64(x.size), x.shape[-1], dtype=x.dtype)
    return x


def add_bias_twin(x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """`add_bias` in NumPy."""
    x += bias
    return x
