"""libcublas in slow Python: the same functions, reading and writing memory through pointers as BLAS would, by columns.

Arguments are checked as cuBLAS checks them. `calls` notes every product as (m, n, k, matrices).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

SUCCESS, INVALID_VALUE, NOT_SUPPORTED = 0, 7, 15
_KINDS = {0: np.float32, 1: np.float64, 2: np.float16}
_SUMS: dict[int, Any] = {64: np.float16, 68: np.float32, 70: np.float64, 74: np.float32, 77: np.float32}
_ALLOWED = {np.float32: (68, 74, 77), np.float64: (70,), np.float16: (64, 68)}


class _Function:
    """A function of a shared library, of which ctypes lets the types be set."""

    def __init__(self, call: Callable[..., int]):
        self.call = call
        self.argtypes: Any = None
        self.restype: Any = None

    def __call__(self, *given: Any) -> int:
        assert self.argtypes is not None and len(given) == len(self.argtypes)
        for value, kind in zip(given, self.argtypes, strict=True):
            assert isinstance(value, int), value
            bits = 8 * ctypes.sizeof(kind)
            assert -(1 << (bits - 1)) <= value < (1 << bits), (value, kind)
        return self.call(*given)


class FakeCublas:
    """What `ctypes.CDLL("libcublas.so")` would be."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int, int]] = []
        self.computed: list[int] = []  # the compute type of each product
        self.workspaces: dict[int, tuple[int, int]] = {}
        self.streams: dict[int, int] = {}
        self.destroyed: list[int] = []
        for name in ("cublasCreate_v2", "cublasDestroy_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2",
                     "cublasGemmStridedBatchedEx"):
            setattr(self, name, _Function(getattr(self, "_" + name.removeprefix("cublas"))))

    def _Create_v2(self, place: int) -> int:
        handle = 1000 + len(self.streams)
        self.streams[handle] = 0
        ctypes.c_void_p.from_address(place).value = handle
        return SUCCESS

    def _Destroy_v2(self, handle: int) -> int:
        assert handle in self.streams and handle not in self.destroyed
        self.destroyed.append(handle)
        return SUCCESS

    def _SetStream_v2(self, handle: int, stream: int) -> int:
        self.streams[handle] = stream
        self.workspaces.pop(handle, None)  # cuBLAS goes back to its own
        return SUCCESS

    def _SetWorkspace_v2(self, handle: int, pointer: int, size: int) -> int:
        if pointer % 256:
            return INVALID_VALUE
        self.workspaces[handle] = pointer, size
        return SUCCESS

    def _GemmStridedBatchedEx(self, handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, a: int,
                              a_kind: int, lda: int, stride_a: int, b: int, b_kind: int, ldb: int, stride_b: int,
                              beta: int, c: int, c_kind: int, ldc: int, stride_c: int, count: int, compute: int,
                              algo: int) -> int:
        assert handle in self.workspaces, "no workspace since the stream was set"
        kind = _KINDS[a_kind]
        if not a_kind == b_kind == c_kind or compute not in _ALLOWED[kind] or algo != -1:
            return NOT_SUPPORTED
        a_shape, b_shape = (k, m) if transa else (m, k), (n, k) if transb else (k, n)
        if (min(m, n, k) < 0 or transa not in (0, 1) or transb not in (0, 1) or lda < max(1, a_shape[0])
                or ldb < max(1, b_shape[0]) or ldc < max(1, m) or not 0 < count <= 65535):
            return INVALID_VALUE
        self.calls.append((m, n, k, count))
        self.computed.append(compute)
        sums = _SUMS[compute]
        scalar = ctypes.c_double if sums is np.float64 else ctypes.c_float
        one, zero = scalar.from_address(alpha).value, scalar.from_address(beta).value
        for i in range(count):
            left = _matrix(a, kind, a_shape, lda, i * stride_a)
            right = _matrix(b, kind, b_shape, ldb, i * stride_b)
            target = _matrix(c, kind, (m, n), ldc, i * stride_c)
            left, right = left.T if transa else left, right.T if transb else right
            made = one * (left.astype(sums) @ right.astype(sums))
            target[...] = made + zero * target.astype(sums) if zero else made  # with beta 0 it is not read
        return SUCCESS


def _matrix(pointer: int, kind: Any, shape: tuple[int, int], leading: int, offset: int) -> np.ndarray:
    """The matrix by columns that lies `offset` elements after the pointer."""
    size = np.dtype(kind).itemsize
    rows, columns = shape
    length = max(1, (columns - 1) * leading + rows)
    raw = np.frombuffer((ctypes.c_char * (length * size)).from_address(pointer + offset * size), kind)
    return np.lib.stride_tricks.as_strided(raw, shape, (size, leading * size))
