"""Work on a GPU that is launched as one CUDA graph instead of kernel by kernel.

A launch costs the host some microseconds, as long as a small kernel runs; a graph of hundreds of them is one launch. It
does what was launched while it was captured, on the same memory: so the work reads what changes from arrays that stay
where they are, and what it allocates comes from a pool that only it uses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from engine.backend import xp

_LOG = logging.getLogger(__name__)


class Graph:
    """`work`, a function of no arguments that waits for nothing and copies nothing from or to the host.

    The first call launches it plainly: sources are compiled, constants are made. The second one does so on a stream of
    its own, which fills the pool; the third captures. Where capturing fails, work is launched plainly ever after, and
    the log says why once. captured: whether it is a graph by now.
    """

    def __init__(self, work: Callable[[], None], name: str):
        self._work, self._name = work, name
        self._calls = 0
        self._stream: Any = None
        self._pool: Any = None
        self._graph: Any = None
        self._plain = False

    @property
    def captured(self) -> bool:
        return self._graph is not None

    def __call__(self) -> None:
        """Have the work done, on the current stream."""
        self._calls += 1
        if self._calls == 3 and not self._plain:
            self._capture()
        if self._graph is not None:
            self._graph.launch()
        elif self._calls == 2 and not self._plain:
            self._rehearse()
        else:
            self._work()

    def _rehearse(self) -> None:
        """On the stream that will be captured: what it frees there is in the pool for it."""
        cuda = xp._module.cuda
        self._stream, self._pool = cuda.Stream(non_blocking=True), cuda.MemoryPool()
        kept = xp._module.get_default_memory_pool()
        if kept.free_bytes() > cuda.Device().mem_info[0]:  # what the first call took; pools do not share
            kept.free_all_blocks()
        current = cuda.get_current_stream()
        self._stream.wait_event(current.record())
        with cuda.using_allocator(self._pool.malloc), self._stream:
            self._work()
        current.wait_event(self._stream.record())

    def _capture(self) -> None:
        cuda = xp._module.cuda
        graph = None
        try:
            with cuda.using_allocator(self._pool.malloc), self._stream:
                self._stream.begin_capture()
                try:
                    self._work()
                finally:
                    graph = self._stream.end_capture()
        except (RuntimeError, ValueError, MemoryError) as error:  # of CUDA, CuPy, cuBLAS and its pool
            graph = None
            _LOG.warning("%s is not captured into a CUDA graph, and launched kernel by kernel: %s", self._name, error)
        self._graph = graph
        if graph is None:  # not before: the error's traceback holds arrays of the pool
            self.close()

    def close(self) -> None:
        """Give back the pool's memory, which CuPy keeps of one that is merely forgotten; work is launched plainly from
        now on."""
        pool, self._graph, self._pool, self._stream, self._plain = self._pool, None, None, None, True
        if pool is not None:
            pool.free_all_blocks()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # the interpreter is ending
            pass
