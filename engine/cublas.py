"""Matrix products on a GPU: one function with the meaning of `np.matmul`, on cublasGemmStridedBatchedEx.

CuPy's own matmul sums halves in another type, ignores TF32 in batches, copies transposed operands, and refuses to be
captured into a graph. So libcublas, which CuPy has loaded, is called directly: with a handle and a workspace of our
own, transposition as a flag, and any layout that BLAS can express as it lies in memory.

BLAS stores matrices by columns. A row-major C (n, m) is to it Cᵀ (m, n) by columns, so that C = A·B is asked for as
Cᵀ = Bᵀ·Aᵀ. Operands that lie by columns are flagged as transposed; where the result does, all is the other way round.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

Array = Any

# of library_types.h and cublas_api.h
REAL = {"e": 2, "f": 0, "d": 1}  # cudaDataType_t by the character of a dtype
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_16F, COMPUTE_32F_FAST_TF32 = 68, 70, 74, 77  # cublasComputeType_t
DEFAULT = -1  # cublasGemmAlgo_t
FAST = {"": COMPUTE_32F, "tf32": COMPUTE_32F_FAST_TF32, "fp16": COMPUTE_32F_FAST_16F}
WORKSPACE = 32 << 20  # bytes; what NVIDIA recommends for the largest chips
_MOST = 65535  # matrices in one call: some of cuBLAS's kernels count them in a grid's third dimension
_SONAMES = ("libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "cublas64_13.dll", "cublas64_12.dll")
_LOG = logging.getLogger(__name__)


class Gemm(NamedTuple):
    """Arguments of cublasGemmStridedBatchedEx, in elements, without pointers and types.

    swapped: whether the first operand is b. offsets: where each call begins in a, b and out, and how many
    matrices it makes; there are several where the batch does not lie at one stride.
    """

    swapped: bool
    transa: int
    transb: int
    m: int
    n: int
    k: int
    lda: int
    stridea: int
    ldb: int
    strideb: int
    ldc: int
    stridec: int
    offsets: tuple[tuple[int, int, int, int], ...]


def by_rows(rows: int, columns: int, strides: Sequence[int]) -> int:
    """The leading dimension of a matrix whose rows are contiguous; 0 when they are not. strides: in elements."""
    if columns > 1 and strides[1] != 1:
        return 0
    if rows == 1:
        return max(1, columns)
    return strides[0] if strides[0] >= max(1, columns) else 0


def by_columns(rows: int, columns: int, strides: Sequence[int]) -> int:
    """The leading dimension of a matrix whose columns are contiguous; 0 when they are not."""
    return by_rows(columns, rows, (strides[1], strides[0]))


def expressible(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether BLAS can read the matrices (…, r, c) as they lie. strides: in elements."""
    r, c = shape[-2:]
    return bool(by_rows(r, c, strides[-2:]) or by_columns(r, c, strides[-2:]))


@lru_cache(maxsize=4096)
def plan(a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...], a_strides: tuple[int, ...],
         b_strides: tuple[int, ...], out_strides: tuple[int, ...]) -> Gemm:
    """How out (…, n, m) = a (…, n, k) · b (…, k, m) is asked for. Batches broadcast; every array is `expressible`.

    a, b, out: shapes. Strides are in elements.
    """
    n, k, m = a[-2], a[-1], b[-1]
    batch = _batch(out[:-2], _spread(a, a_strides, out), _spread(b, b_strides, out), out_strides[:-2])
    lda, ldc = a_strides[-2], out_strides[-2]
    while batch and batch[-1][2] == 0:  # the same b for all: their rows may be those of one matrix
        size, a_step, _, out_step = batch[-1]
        if n == 1:
            steps = a_step, out_step
        elif (a_step, out_step) == (n * lda, n * ldc):
            steps = lda, ldc
        else:
            break
        if not by_rows(n * size, k, (steps[0], a_strides[-1])) or not by_rows(n * size, m, (steps[1], out_strides[-1])):
            break
        n, (lda, ldc) = n * size, steps
        batch.pop()
    count, sa, sb, sc = batch.pop(max(range(len(batch)), key=lambda i: batch[i][0])) if batch else (1, 0, 0, 0)
    offsets = []
    for place in product(*(range(size) for size, *_ in batch)):
        begin = [sum(i * dim[which] for i, dim in zip(place, batch, strict=True)) for which in (1, 2, 3)]
        for first in range(0, count, _MOST):
            many = min(_MOST, count - first)
            offsets.append((begin[0] + first * sa, begin[1] + first * sb, begin[2] + first * sc, many))
    a_rows, b_rows = by_rows(n, k, (lda, a_strides[-1])), by_rows(k, m, b_strides[-2:])
    a_columns, b_columns = by_columns(n, k, (lda, a_strides[-1])), by_columns(k, m, b_strides[-2:])
    if c_rows := by_rows(n, m, (ldc, out_strides[-1])):
        return Gemm(True, int(not b_rows), int(not a_rows), m, n, k, b_rows or b_columns, sb, a_rows or a_columns, sa,
                    c_rows, sc, tuple(offsets))
    c_columns = by_columns(n, m, (ldc, out_strides[-1]))
    return Gemm(False, int(not a_columns), int(not b_columns), n, m, k, a_columns or a_rows, sa, b_columns or b_rows,
                sb, c_columns, sc, tuple(offsets))


def _spread(shape: tuple[int, ...], strides: tuple[int, ...], out: tuple[int, ...]) -> list[int]:
    """The batch strides of an operand over the batch of the result: 0 where it is used again."""
    missing = len(out) - len(shape)
    return [0] * missing + [stride if size > 1 else 0 for size, stride in zip(shape[:-2], strides[:-2], strict=True)]


def _batch(sizes: Sequence[int], *strides: Sequence[int]) -> list[tuple[int, ...]]:
    """(size, stride of a, of b, of out) of the dimensions of a batch, as few as possible."""
    dims: list[tuple[int, ...]] = []
    for size, *steps in zip(sizes, *strides, strict=True):
        if size == 1:
            continue
        if dims and all(before == size * step for before, step in zip(dims[-1][1:], steps, strict=True)):
            dims[-1] = (dims[-1][0] * size, *steps)
        else:
            dims.append((size, *steps))
    return dims


_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
_GEMM = (_POINTER, _INT, _INT, _INT, _INT, _INT, _POINTER, _POINTER, _INT, _INT, _LONG, _POINTER, _INT, _INT, _LONG,
         _POINTER, _POINTER, _INT, _INT, _LONG, _INT, _INT, _INT)


class Library:
    """The functions of libcublas that are used. RuntimeError with cuBLAS's status where one fails."""

    def __init__(self, library: Any):
        self._create = self._function(library, "cublasCreate_v2", (_POINTER,))
        self._destroy = self._function(library, "cublasDestroy_v2", (_POINTER,))
        self._stream = self._function(library, "cublasSetStream_v2", (_POINTER, _POINTER))
        self._workspace = self._function(library, "cublasSetWorkspace_v2", (_POINTER, _POINTER, ctypes.c_size_t))
        self.gemm = self._function(library, "cublasGemmStridedBatchedEx", _GEMM)

    @staticmethod
    def _function(library: Any, name: str, types: tuple[Any, ...]) -> Any:
        function = getattr(library, name)
        function.argtypes, function.restype = types, _INT
        return function

    def create(self) -> int:
        """A new handle on the current device."""
        handle = ctypes.c_void_p()
        check(self._create(ctypes.addressof(handle)))
        return int(handle.value or 0)

    def destroy(self, handle: int) -> None:
        """Give a handle back; waits for what was launched with it."""
        self._destroy(handle)

    def use(self, handle: int, stream: int, workspace: int, size: int) -> None:
        """Let the handle work in this stream, with `size` bytes of scratch memory at `workspace`."""
        check(self._stream(handle, stream))
        check(self._workspace(handle, workspace, size))  # setting a stream has forgotten it


def check(status: int) -> None:
    """RuntimeError if cuBLAS has failed."""
    if status:
        raise RuntimeError(f"A matrix product failed on the GPU: cuBLAS answered with status {status}.")


def library(cupy: Any) -> Library | None:
    """The libcublas that CuPy has loaded; None where it cannot be called directly."""
    _ = cupy.cuda.cublas  # is loaded when it is asked for
    names: list[str] = []
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            names += {line.split(maxsplit=5)[-1].strip() for line in maps if "libcublas.so" in line}
    except OSError:
        pass
    for name in (*names, *_SONAMES):
        try:
            return Library(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue
    return None


class Handle:
    """A handle of cuBLAS on the current device with its workspace. It is given back with the thread that it is for."""

    def __init__(self, library: Library, workspace: Any):
        self._library, self._workspace = library, workspace
        self._stream: int | None = None
        self._number = library.create()

    def on(self, stream: int) -> int:
        """The handle, set to a stream."""
        if stream != self._stream:
            self._library.use(self._number, stream, self._workspace.ptr, WORKSPACE)
            self._stream = stream
        return self._number

    def __del__(self) -> None:
        ending = sys is None or sys.is_finalizing()  # modules may be gone, the driver too
        if not ending and hasattr(self, "_number"):
            self._library.destroy(self._number)


class Products:
    """Products of CuPy arrays. fast: "" for products of full exactness, "tf32" or "fp16" for those of float32 arrays on
    tensor cores, which read them in that format and sum in float32.

    Handles and their workspaces belong to the thread that uses them, as the stream that they work in does.
    """

    def __init__(self, cupy: Any, library: Library, fast: str = ""):
        self._cupy, self._library = cupy, library
        self._compute = {"e": COMPUTE_32F, "f": FAST[fast], "d": COMPUTE_64F}
        self._scalars = {char: (kind(1), kind(0)) for char, kind in
                         (("e", ctypes.c_float), ("f", ctypes.c_float), ("d", ctypes.c_double))}
        self._own = threading.local()

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """a (…, n, k) · b (…, k, m) → (…, n, m), as np.matmul: vectors and broadcast batches too.

        out: of the result's shape and type, written to. It may not overlap a or b.
        """
        char = a.dtype.char
        if char != b.dtype.char or char not in REAL or a.ndim == 0 or b.ndim == 0:
            return self._cupy.matmul(a, b, out=out)
        if a.ndim == 1 or b.ndim == 1:
            return self._vectors(a, b, out)
        if a.shape[-1] != b.shape[-2]:
            raise ValueError(f"Matrices of {a.shape} and {b.shape} cannot be multiplied.")
        batch = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*batch, a.shape[-2], b.shape[-1])
        if out is None:
            out = self._cupy.empty(shape, a.dtype)
        elif out.shape != shape or out.dtype != a.dtype:
            raise ValueError(f"The result {shape} {a.dtype} does not fit into {out.shape} {out.dtype}.")
        if not out.size:
            return out
        if not a.shape[-1]:
            out.fill(0)
            return out
        a, a_strides = self._readable(a)
        b, b_strides = self._readable(b)
        target, target_strides = out, _strides(out)
        if not expressible(shape, target_strides):
            target = self._cupy.empty(shape, a.dtype)
            target_strides = _strides(target)
        self._multiply(a, b, target, plan(a.shape, b.shape, shape, a_strides, b_strides, target_strides))
        if target is not out:
            out[...] = target
        return out

    def _vectors(self, a: Array, b: Array, out: Array | None) -> Array:
        """A product with a vector, which is a matrix of one row or column."""
        left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        if out is None:
            shape = (*batch, *(() if a.ndim == 1 else (left.shape[-2],)), *(() if b.ndim == 1 else (right.shape[-1],)))
            out = self._cupy.empty(shape, a.dtype)
        whole = out
        if b.ndim == 1:
            whole = whole[..., None]
        if a.ndim == 1:
            whole = whole[..., None, :]
        self.matmul(left, right, whole)
        return out

    def _readable(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """The array, or a copy if BLAS cannot read it, and its strides in elements."""
        strides = _strides(x)
        if expressible(x.shape, strides):
            return x, strides
        x = self._cupy.ascontiguousarray(x)
        return x, _strides(x)

    def _multiply(self, a: Array, b: Array, out: Array, gemm: Gemm) -> None:
        handle, char, size = self._handle(), a.dtype.char, a.dtype.itemsize
        one, zero = map(ctypes.addressof, self._scalars[char])
        kind, compute, call = REAL[char], self._compute[char], self._library.gemm
        a_begin, b_begin, c_begin = a.data.ptr, b.data.ptr, out.data.ptr
        for a_offset, b_offset, c_offset, count in gemm.offsets:
            first, second = a_begin + a_offset * size, b_begin + b_offset * size
            if gemm.swapped:
                first, second = second, first
            check(call(handle, gemm.transa, gemm.transb, gemm.m, gemm.n, gemm.k, one, first, kind, gemm.lda,
                       gemm.stridea, second, kind, gemm.ldb, gemm.strideb, zero, c_begin + c_offset * size, kind,
                       gemm.ldc, gemm.stridec, count, compute, DEFAULT))

    def _handle(self) -> int:
        """This thread's handle for the device in use, set to its current stream."""
        device = self._cupy.cuda.runtime.getDevice()
        handles = self._own.__dict__.setdefault("handles", {})
        if device not in handles:
            handles[device] = Handle(self._library, self._cupy.cuda.alloc(WORKSPACE))
        found: Handle = handles[device]
        return found.on(self._cupy.cuda.get_current_stream().ptr)


def _strides(x: Array) -> tuple[int, ...]:
    size = x.dtype.itemsize
    return tuple(stride // size for stride in x.strides)


@lru_cache(maxsize=8)
def products(cupy: Any, fast: str = "") -> Any:
    """`Products.matmul` of the loaded libcublas, or CuPy's where that cannot be called directly."""
    found = library(cupy)
    if found is None:
        _LOG.warning("libcublas was not found beside CuPy; products are CuPy's, and nothing is captured into a graph.")
        return cupy.matmul
    return Products(cupy, found, fast).matmul
