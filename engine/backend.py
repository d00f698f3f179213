"""NumPy or CuPy behind one `xp`, the number formats, random streams, and kept buffers.

`xp` is the array module in use: `xp.exp(x, out=y)`. `use("gpu")` turns the whole process to CuPy.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # np.ndarray or cupy.ndarray

# What weights are stored in, and what is computed in. On a CPU halves are storage only.
STORAGE = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}
COMPUTE = {"fp16": np.float32, "fp32": np.float32, "fp64": np.float64}


class _Arrays:
    """The array module in use. Attributes are looked up once and then plain, so that `xp.exp` costs nothing extra.

    kernels: engine.kernels where the module's arrays lie on a GPU, else None. Other functions of the module may be
    replaced too, by what does the same there.
    """

    def __init__(self, module: ModuleType):
        self._switch(module)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        self.__dict__[name] = value
        return value

    def _switch(self, module: ModuleType, kernels: Any = None, **replaced: Any) -> None:
        self.__dict__.clear()
        self.__dict__.update({"_core": 0, **replaced}, _module=module, kernels=kernels)


xp: Any = _Arrays(np)
chosen: tuple[str, int] | None = None  # the device that this process's models are for, where somebody has decided


def use(device: str, core: int = 0, tensor: bool = False, halves: bool = False) -> None:
    """Compute on "cpu" or "gpu" from now on. ConfigError when there is no usable CuPy or GPU.

    tensor: matrix products may round what they read to TF32, halves: to half precision; both sum in float32.
    """
    if device == "cpu":
        xp._switch(np)
        return
    from engine import cublas, kernels
    from engine.device import connect

    cupy = connect(core)
    xp._switch(cupy, kernels, _core=core, matmul=cublas.products(cupy, "fp16" if halves else "tf32" if tensor else ""))


def stay() -> None:
    """Let this thread compute where `use` was told to: CUDA's device belongs to a thread, and is 0 in a new one."""
    if xp._core:
        xp._module.cuda.Device(xp._core).use()


def host(x: Array) -> np.ndarray:
    """`x` as a NumPy array, copied from the GPU if it lies there."""
    return x if isinstance(x, np.ndarray) else x.get()


def random(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """The stream of (seed, purpose, numbers): always the same numbers, independent of every other stream.

    `numbers` are whatever the purpose depends on: step, layer, shard, epoch.
    """
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *numbers])))


class Arena:
    """Buffers that are used again instead of being allocated.

    `empty` hands out an array of which nobody else holds a reference or a view; letting go of it gives it back. After
    one training step every later step finds all its buffers here. CuPy keeps a pool of its own.

    A pass asks for the same buffers in the same order every time: what the last one was given is remembered as a plan,
    and only where that does not fit is a buffer searched for.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._most = 0  # bytes in use at once, as far as seen
        self._plan: dict[int, tuple[Sequence[int], Any, tuple[np.ndarray, np.ndarray]]] = {}
        self._next = 0

    def begin(self) -> None:
        """A pass begins."""
        self._next = 0

    def empty(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        """An uninitialised array, aligned to 64 bytes."""
        if xp._module is not np:
            return xp.empty(shape, dtype)
        number = self._next
        self._next = number + 1
        planned = self._plan.get(number)
        if (planned is not None and planned[0] == shape and planned[1] is dtype
                and _count(planned[2][0]) == _UNUSED[0] and _count(planned[2][1]) == _UNUSED[1]):
            return planned[2][0]
        pair = self._find(shape, dtype)
        self._plan[number] = shape, dtype, pair
        return pair[0]

    def _find(self, shape: Sequence[int], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Of the buffers that nobody uses the one handed out last, as it is still in the cache; or a new one."""
        key = (shape, dtype)
        kept = self._kept.get(key, [])
        for number in reversed(range(len(kept))):
            if _count(kept[number][0]) == _UNUSED[0] and _count(kept[number][1]) == _UNUSED[1]:
                pair = kept.pop(number)
                kept.append(pair)
                return pair
        pair = _aligned(shape, dtype)
        self._trim(pair[1].nbytes)
        self._kept.setdefault(key, []).append(pair)
        return pair

    def _trim(self, more: int) -> None:
        """Let go of the oldest unused buffers when far more is kept than was ever in use: shapes come and go."""
        pairs = [(key, pair) for key, kept in self._kept.items() for pair in kept]
        unused = [(key, pair) for key, pair in pairs if _references(pair) == _UNUSED]
        idle = sum(pair[1].nbytes for _, pair in unused)
        total = sum(pair[1].nbytes for _, pair in pairs) + more
        self._most = max(self._most, total - idle)
        for key, pair in unused:
            if total <= 3 * self._most:
                break
            self._plan.clear()
            self._kept[key] = [kept for kept in self._kept[key] if kept is not pair]
            if not self._kept[key]:
                del self._kept[key]
            total -= pair[1].nbytes

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return sum(owner.nbytes for kept in self._kept.values() for _, owner in kept)


def _aligned(shape: Sequence[int], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """An array that begins on a cache line, and the owner of its memory."""
    itemsize = np.dtype(dtype).itemsize
    owner = np.empty(prod(shape) * itemsize + 64, np.uint8)
    start = -owner.ctypes.data % 64
    return np.ndarray(shape, dtype, buffer=owner, offset=start), owner


def _references(pair: tuple[np.ndarray, np.ndarray]) -> tuple[int, int]:
    """References to the array, and to its owner (which every view of the array holds)."""
    return _count(pair[0]), _count(pair[1])


_count = sys.getrefcount


_UNUSED = _references(_aligned((1,), np.float32))  # counted, not assumed: interpreters differ


def zeros(size: int, dtype: Any) -> Array:
    """A flat, zeroed buffer aligned to 64 bytes."""
    if xp._module is not np:
        return xp.zeros(size, dtype)
    array, _ = _aligned((size,), dtype)
    array.fill(0)
    return array


def pinned(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An uninitialised array on the host that a GPU copies from and to by itself, while the host goes on."""
    size = prod(shape)
    memory = xp._module.cuda.alloc_pinned_memory(size * np.dtype(dtype).itemsize)
    return np.frombuffer(memory, dtype, size).reshape(shape)
