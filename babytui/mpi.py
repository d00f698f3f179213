"""The ranks of a run as MPI has them. Imports mpi4py: only for processes that an MPI launcher started.

MPI itself would wait for a dead rank for ever. So nothing here blocks: whoever waits looks meanwhile whether the ranks
on its machine live, and the others' launcher ends what is left when a machine is lost.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from engine.config import Config
from engine.errors import RunError
from engine.group import Group, RankLost

_DATA, _FAIL, _STOP = range(3)
_SPIN = 3e-3  # seconds that a rank looks for a message before it sleeps
_LONGEST = 0.01  # seconds that it then sleeps at a time
_LOOK = 0.05  # seconds between two looks at the others
_SLICE = 1 << 26  # bytes that are broadcast at a time
_yield: Callable[[], object] = getattr(os, "sched_yield", lambda: None)


class Mpi(Group):
    """All processes that the launcher started. stopping: whether one of them was told to end (known in rank 0)."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        people = self._comm.allgather((platform.node(), os.getpid(), _processors()))
        self.hosts = [host for host, _, _ in people]
        self._near = {rank: pid for rank, (host, pid, _) in enumerate(people)
                      if host == self.hosts[self.rank] and rank != self.rank and _lives(pid)}
        self._processors = [cores for host, _, cores in people if host == self.hosts[self.rank]]
        self._sent: list[tuple[Any, np.ndarray]] = []
        self._looked = 0.0
        self.stopping = False
        self._told_to_stop = False

    def send(self, array: np.ndarray, to: int) -> None:
        self._sent = [sent for sent in self._sent if not self._do(sent[0].Test)]
        self._sent.append((self._do(self._comm.Isend, array, to, _DATA), array))

    def receive(self, array: np.ndarray, source: int) -> None:
        self._wait(self._do(self._comm.Irecv, array, source, _DATA))

    def broadcast(self, array: np.ndarray, root: int) -> None:
        raw = array.reshape(-1).view(np.uint8)
        for start in range(0, raw.size, _SLICE):
            self._wait(self._do(self._comm.Ibcast, raw[start : start + _SLICE], root))

    def flush(self) -> None:
        for request, _ in self._sent:
            self._wait(request)
        self._sent = []

    def check(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        if self.rank == 0:
            while self._do(self._comm.Iprobe, MPI.ANY_SOURCE, _STOP):
                self._do(self._comm.recv, source=MPI.ANY_SOURCE, tag=_STOP)
                self.stopping = True
            if self._do(self._comm.Iprobe, MPI.ANY_SOURCE, _FAIL):
                raise RunError(self._do(self._comm.recv, source=MPI.ANY_SOURCE, tag=_FAIL))
        elif self.stopping and not self._told_to_stop:
            self._told_to_stop = True
            self._do(self._comm.isend, None, 0, _STOP)
        for rank, pid in self._near.items():
            if not _lives(pid):
                raise RankLost(f"Rank {rank} of this run, on {self.hosts[rank]}, died; the weights are those of the "
                               "last whole step, from which the run can be resumed with any number of ranks.")

    def fail(self, message: str) -> None:
        self._comm.isend(message, 0, _FAIL)

    def linger(self, seconds: float = 60.0) -> None:
        """Wait, after `fail`, for rank 0 to save what there is; it ends all ranks then. A rank that ended before would
        have the launcher kill rank 0."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (0 not in self._near or _lives(self._near[0])):
            self._comm.Iprobe(0, _DATA)  # lets MPI deliver what was sent
            time.sleep(_LOOK)

    def abort(self) -> None:
        """End all ranks at once, this one too."""
        MPI.COMM_WORLD.Abort(1)

    def cores(self, config: Config) -> int:
        """Processes that this rank may use: its part of the processors that it shares with other ranks, and at most
        c_device_cpu_cores; one on a GPU."""
        if config.c_device == "gpu":
            return 1
        mine = self._processors[sum(host == self.hosts[self.rank] for host in self.hosts[: self.rank])]
        share = sum(1 / sum(core in others for others in self._processors) for core in mine)
        return max(1, min(config.c_device_cpu_cores or len(mine), int(share + 1e-9)))

    def gpu(self, config: Config) -> int:
        """Which GPU this rank computes on: they are dealt out among the ranks of a machine, from c_device_gpu_core on.
        """
        number = sum(host == self.hosts[self.rank] for host in self.hosts[: self.rank])
        try:
            import cupy

            count = int(cupy.cuda.runtime.getDeviceCount())
        except Exception:  # whatever is missing is told when the GPU is used
            count = 0
        return (config.c_device_gpu_core + number) % count if count else config.c_device_gpu_core

    def _wait(self, request: Any) -> None:
        """Until a request is done. Others get the processor if they need it."""
        begun = time.monotonic()
        while not self._do(request.Test):
            waited = time.monotonic() - begun
            if waited > _SPIN:
                time.sleep(min(waited / 20, _LONGEST))
            else:
                _yield()
            self.check()

    def _do(self, do: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return do(*arguments, **named)
        except MPI.Exception as error:
            raise RankLost(f"The ranks of this run have lost each other ({error}); the weights are those of the last "
                           "whole step, from which the run can be resumed with any number of ranks.") from None


def _processors() -> tuple[int, ...]:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _lives(pid: int) -> bool:
    """Whether there is such a process. One of another user counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
