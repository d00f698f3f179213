"""CUDA C sources, compiled when first launched: once for every dtype and set of constants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from engine.backend import Array, xp

NONE = np.intp(0)  # the pointer of an array that is not there
SHARED = 48 << 10  # bytes of shared memory that a block has on every GPU

# What all sources begin with. `real` is the dtype that a source is compiled for.
PRELUDE = r"""
typedef unsigned int uint;
typedef unsigned long long wide;
typedef long long large;
#define ALL 0xffffffffu
#define LOWEST (sizeof(real) == 8 ? (real)-1.7e308 : (real)-3.4e38f)

__device__ __forceinline__ real warp_sum(real x)
{
    for (int bits = 16; bits; bits >>= 1) x += __shfl_xor_sync(ALL, x, bits);
    return x;
}

__device__ __forceinline__ real warp_max(real x)
{
    for (int bits = 16; bits; bits >>= 1) x = max(x, __shfl_xor_sync(ALL, x, bits));
    return x;
}

// Over a block of whole warps, in one dimension; every thread gets the result, always summed in the same order.
__device__ __forceinline__ real block_sum(real x)
{
    __shared__ real parts[32];
    x = warp_sum(x);
    if (blockDim.x == 32) return x;
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (uint i = 0; i < blockDim.x / 32; i++) x += parts[i];
    return x;
}

__device__ __forceinline__ real block_max(real x)
{
    __shared__ real parts[32];
    x = warp_max(x);
    if (blockDim.x == 32) return x;
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    x = parts[0];
    for (uint i = 1; i < blockDim.x / 32; i++) x = max(x, parts[i]);
    return x;
}
"""


class Source:
    """CUDA C with kernels in it, each `extern "C" __global__`. It may use what PRELUDE defines, and names of constants.

    Parameters of kernels are pointers, `real`, `int`, or what a NumPy number given for them is. An array is contiguous,
    or given by `strided` with its strides.
    """

    def __init__(self, code: str):
        self.code = PRELUDE + code

    def launch(self, name: str, grid: Sequence[int], block: int, *args: Any, dtype: Any, shared: int = 0,
               **constants: int) -> None:
        """Start a kernel on the current stream. Python's integers become int, its floats `real`, None a null pointer.

        grid: blocks in up to three dimensions. block: threads, in one. dtype: what `real` is. shared: bytes of dynamic
        shared memory. constants: macros.
        """
        kind = np.dtype(dtype)
        function = _function(xp._module, self.code, name, kind, shared, tuple(constants.items()))
        function(tuple(grid), (block,), tuple(_argument(x, kind) for x in args), shared_mem=shared)


def options(dtype: Any, constants: dict[str, int]) -> tuple[str, ...]:
    """What a source is compiled with."""
    real = {"f": "float", "d": "double"}[np.dtype(dtype).char]
    return ("-std=c++17", f"-Dreal={real}", *(f"-D{name}={value}" for name, value in constants.items()))


@lru_cache(maxsize=1024)
def _function(module: Any, code: str, name: str, kind: np.dtype, shared: int,
              constants: tuple[tuple[str, int], ...]) -> Any:
    function = _module(module, code, kind, constants).get_function(name)
    if shared > SHARED:
        function.max_dynamic_shared_size_bytes = shared
    return function


@lru_cache(maxsize=256)
def _module(module: Any, code: str, kind: np.dtype, constants: tuple[tuple[str, int], ...]) -> Any:
    return module.RawModule(code=code, options=options(kind, dict(constants)))


def _argument(x: Any, kind: np.dtype) -> Any:
    if type(x) is float:  # a NumPy number stays what it is
        return kind.type(x)
    if isinstance(x, int):
        return np.int32(x)
    if x is None:
        return NONE
    if isinstance(x, _Strided):
        return x.array
    if hasattr(x, "strides") and x.ndim and not x.flags.c_contiguous:
        raise ValueError(f"a kernel was given an array {x.shape} with strides {x.strides} that it does not know of")
    return x


class _Strided(NamedTuple):
    """An array whose strides are arguments of their own."""

    array: Array


def strided(x: Array, axes: int) -> list[Any]:
    """An array and the strides of its first axes in elements, as arguments. ValueError unless its last axis is
    contiguous."""
    if x.shape[-1] > 1 and x.strides[-1] != x.itemsize:
        raise ValueError(f"the last axis of an array {x.shape} with strides {x.strides} is not contiguous")
    return [_Strided(x), *(np.int64(stride // x.itemsize) for stride in x.strides[:axes])]


def threads(columns: int, most: int = 256) -> int:
    """Threads of a block that works on a row: whole warps, a power of two, about four columns for each."""
    size = 32
    while size < most and size * 4 < columns:
        size *= 2
    return size


def parts(size: int, per_part: int, most: int) -> int:
    """Into how many parts a sum over `size` is cut; depends on nothing else, so that sums are the same everywhere."""
    return max(1, min(most, -(-size // per_part)))
