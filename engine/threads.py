"""A second BLAS thread for the large products of a reply, while a core has nothing else to do.

OpenBLAS splits the product of a vector and a matrix between its threads from `SPLIT` numbers on. That halves the time
that the matrix takes to come through the cache; but beside other work the threads wait for each other's turns, and a
token takes ten to fifty times as long as with one. So a second thread is tried only when the system has a core to
spare, kept only while it is measured to be faster, and let go of at the first token that is slow.

Results do not depend on the choice: the outputs are split, not the sums, and `exact` looks whether that is so here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np

from engine import backend, processor
from engine.config import Config

SPLIT = 460_800  # 4 · 115,200, interface/gemv.c
_LOOK = 3  # calls to measure one way
_FASTER = 0.9  # of the time with one thread: what two have to stay below
_SLOW = 2.0  # times the time with one thread: enough of two
_SHORT, _LONG = 16, 1024  # calls until two are tried again; the longer the more often it was in vain
_STRETCH, _GLANCE = 256, 16  # calls with two until one is measured again, and until others are looked for


class OpenBlas:
    """The loaded OpenBLAS: its kernels' name, and the number of its threads in this process."""

    def __init__(self, library: Any, prefix: str, suffix: str):
        import ctypes

        self._get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}")
        self._set = getattr(library, f"{prefix}openblas_set_num_threads{suffix}")
        name = getattr(library, f"{prefix}openblas_get_corename{suffix}")
        name.restype = ctypes.c_char_p
        self.kernels: str = name().decode()

    @property
    def threads(self) -> int:
        return self._get()

    @threads.setter
    def threads(self, number: int) -> None:
        self._set(number)


@lru_cache(maxsize=1)
def openblas() -> OpenBlas | None:
    """NumPy's BLAS if it is an OpenBLAS and the system tells where it lies."""
    import ctypes

    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            libraries = {line.split(maxsplit=5)[-1].strip() for line in maps if "openblas" in line}
        for path in libraries:
            library = ctypes.CDLL(path)
            for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", ""), ("scipy_", "")):
                try:
                    return OpenBlas(library, prefix, suffix)
                except AttributeError:
                    continue
    except OSError:
        pass
    return None


@lru_cache(maxsize=64)
def exact(rows: int, columns: int, dtype: Any) -> bool:
    """Whether x·W, W (rows, columns), has the same bits with one and with two threads."""
    blas = openblas()
    rng = backend.random(0, "threads")
    for _ in range(2):
        x, weight = (rng.random(shape, np.float32).astype(dtype) for shape in ((1, rows), (rows, columns)))
        one = x.dot(weight)
        with _Two(blas):
            two = x.dot(weight)
        if not np.array_equal(one, two):
            return False
    return True


class _Two:
    """Two threads inside, one outside."""

    def __init__(self, blas: Any):
        self._blas = blas

    def __enter__(self) -> None:
        self._blas.threads = 2

    def __exit__(self, *_: Any) -> None:
        self._blas.threads = 1


def spare(own: int) -> bool:
    """Whether the system has a core for a second thread, when `own` of its running threads are ours."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            running = int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return running - own + 2 <= (os.cpu_count() or 1)


def pacing(spare: Callable[[int], bool], exact: Callable[[], bool]) -> Generator[int, float, None]:
    """Yields the number of threads for the next call and is sent the seconds that it took. exact: whether two threads
    give the same results, asked when there is a core to spare for them."""
    pause, own = _SHORT, 1
    while True:
        alone = yield 1
        for _ in range(_LOOK - 1):
            alone = min(alone, (yield 1))
        if spare(own) and exact():
            times = [(yield 2)]  # it has to wake up first
            while times[-1] < _SLOW * alone and len(times) <= _LOOK:
                times.append((yield 2))
            if len(times) > _LOOK and max(times[1:]) < _FASTER * alone:
                for call in range(_STRETCH):
                    if (yield 2) > _SLOW * alone or (call % _GLANCE == 0 and not spare(2)):
                        break
                pause, own = _SHORT, 2  # ours still spins for a while
                continue
            pause = min(2 * pause, _LONG)
        own = 1
        for _ in range(pause):
            yield 1


def paced(step: Callable[..., np.ndarray], config: Config, shapes: set[tuple[int, ...]],
          dtype: Any) -> Callable[..., np.ndarray]:
    """`step`, which multiplies a vector with matrices of these shapes, with one or two threads, whichever is faster.

    Itself when a second thread cannot help or is not wanted: small products, one core (also by c_device_cpu_cores),
    another BLAS, or another number of threads than one, which its user has chosen.
    """
    large = [(rows, columns) for rows, columns in shapes if rows * columns >= SPLIT]
    allowed = min(config.c_device_cpu_cores or 2, processor.cores())
    blas = openblas() if large and allowed > 1 and config.n_ctx * config.d_head < SPLIT else None
    if blas is None or blas.threads != 1:
        return step
    pace = pacing(spare, lambda: all(exact(*shape, np.dtype(dtype)) for shape in large))
    two = _Two(blas)
    threads = next(pace)

    def call(*given: Any) -> np.ndarray:
        nonlocal threads
        begun = perf_counter()
        if threads == 2:
            with two:
                out = step(*given)
        else:
            out = step(*given)
        threads = pace.send(perf_counter() - begun)
        return out

    return call
