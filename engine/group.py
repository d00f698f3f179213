"""A group of processes that train one model, on one machine or several: how arrays pass between them.

`Group` is the interface. Who starts the processes, and what carries the arrays between hosts, is not the engine's
business (babytui/mpi.py has MPI). Between GPUs arrays go by NCCL where every rank has a GPU of its own, otherwise
through the hosts' memory: `between_devices` chooses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np

from engine import backend
from engine.backend import Array, xp
from engine.errors import RunError


class RankLost(RunError):
    """A rank has died, or cannot be reached. The message names it."""


class Group(ABC):
    """The processes ("ranks") of a run, seen from one of them.

    rank: which one this is, from 0. size: how many there are. hosts: the machine of each. What arrives between two
    ranks arrives in the order in which it was sent. Arrays are C-contiguous; the receiver knows shape and dtype.
    Whatever waits here raises RunError as soon as it is known that a rank has died or failed.
    """

    rank: int
    size: int
    hosts: list[str]

    @property
    def machines(self) -> str:
        """The hosts in a line, with their numbers of ranks when there are several: "a (2), b (1)"."""
        counts = {host: self.hosts.count(host) for host in self.hosts}
        return ", ".join(f"{host} ({count})" if len(counts) > 1 else host for host, count in counts.items())

    @abstractmethod
    def send(self, array: Array, to: int) -> None:
        """Send, and return at once; `array` must not change before `flush`."""

    @abstractmethod
    def receive(self, array: Array, source: int) -> None:
        """Fill `array` with what `source` sent; wait for it."""

    @abstractmethod
    def broadcast(self, array: Array, root: int) -> None:
        """Fill `array` in every rank with that of `root`. Every rank calls it."""

    @abstractmethod
    def flush(self) -> None:
        """Wait until everything that was sent has left its array."""

    @abstractmethod
    def check(self) -> None:
        """RunError when it is known that a rank has died or failed."""

    @abstractmethod
    def fail(self, message: str) -> None:
        """Tell rank 0 that this rank cannot go on; its next `check` raises `message`."""


class Devices(Group):
    """Base of groups that carry device arrays themselves and leave those of the host to another group."""

    def __init__(self, hosts: Group):
        self.inner = hosts
        self.rank, self.size, self.hosts = hosts.rank, hosts.size, hosts.hosts

    def flush(self) -> None:
        self.inner.flush()

    def check(self) -> None:
        self.inner.check()

    def fail(self, message: str) -> None:
        self.inner.fail(message)


class Staged(Devices):
    """Device arrays are copied to the host and sent from there."""

    def send(self, array: Array, to: int) -> None:
        self.inner.send(backend.host(array), to)

    def receive(self, array: Array, source: int) -> None:
        here = np.empty(array.shape, array.dtype)
        self.inner.receive(here, source)
        _fill(array, here)

    def broadcast(self, array: Array, root: int) -> None:
        here = np.ascontiguousarray(backend.host(array))
        self.inner.broadcast(here, root)
        if self.rank != root:
            _fill(array, here)


class Nccl(Devices):
    """Device arrays go from GPU to GPU, in the order of the current stream.

    The communicator's id passes through the host group. `flush` waits for the stream and looks meanwhile after the
    other ranks: NCCL itself would wait for a dead one for ever.
    """

    def __init__(self, hosts: Group, nccl: ModuleType | Any):
        super().__init__(hosts)
        self._types = {np.dtype(kind): getattr(nccl, f"NCCL_{name}") for kind, name in
                       ((np.float16, "FLOAT16"), (np.float32, "FLOAT32"), (np.float64, "FLOAT64"),
                        (np.int64, "INT64"), (np.uint8, "UINT8"))}
        self._errors: tuple[type[Exception], ...] = (nccl.NcclError,)
        found = np.empty(129, np.int64)  # whether the id is bytes (CuPy 14) or a tuple of signed numbers, and the id
        if self.rank == 0:
            name = nccl.get_unique_id()
            found[0], found[1:] = isinstance(name, bytes), list(name)
        hosts.broadcast(found, 0)
        numbers = found[1:].tolist()
        name = bytes(number & 255 for number in numbers) if found[0] else tuple(numbers)
        self._nccl = self._try(nccl.NcclCommunicator, self.size, name, self.rank)

    def send(self, array: Array, to: int) -> None:
        if isinstance(array, np.ndarray):
            self.inner.send(array, to)
        else:
            self._try(self._nccl.send, array.data.ptr, array.size, self._types[array.dtype], to, _stream().ptr)

    def receive(self, array: Array, source: int) -> None:
        if isinstance(array, np.ndarray):
            self.inner.receive(array, source)
        else:
            self._try(self._nccl.recv, array.data.ptr, array.size, self._types[array.dtype], source, _stream().ptr)

    def broadcast(self, array: Array, root: int) -> None:
        if isinstance(array, np.ndarray):
            self.inner.broadcast(array, root)
        else:
            self._try(self._nccl.broadcast, array.data.ptr, array.data.ptr, array.size, self._types[array.dtype], root,
                      _stream().ptr)

    def flush(self) -> None:
        super().flush()
        stream = _stream()
        try:
            while not stream.done:
                self.check()
                self._try(self._nccl.check_async_error)
        except RunError:
            with suppress(*self._errors):
                self._nccl.abort()
            raise

    def _try(self, do: Any, *arguments: Any) -> Any:
        try:
            return do(*arguments)
        except self._errors as error:
            raise RunError(f"The GPUs of this run cannot reach each other (NCCL: {error}); the run can be resumed with "
                           "any number of ranks, or without.") from None


def _fill(array: Array, values: np.ndarray) -> None:
    array[...] = xp.asarray(values) if not isinstance(array, np.ndarray) else values


def _stream() -> Any:
    return xp.cuda.get_current_stream()


def between_devices(group: Group) -> Group:
    """The group that carries arrays of `xp`: itself on CPUs, NCCL where every rank has a GPU of its own and CuPy has
    NCCL, else through the hosts. Every rank calls it, after it has chosen its GPU."""
    if xp._module is np:
        return group
    nccl = _nccl()
    place = np.zeros(64, np.uint8)  # which GPU this is: its PCI bus id
    if nccl is not None:
        name = xp.cuda.runtime.deviceGetPCIBusId(xp.cuda.runtime.getDevice()).encode()[:64]
        place[: len(name)] = list(name)
    places = gather(group, place)
    own = {(host, bytes(bus)) for host, bus in zip(group.hosts, places, strict=True) if bus.any()}
    return Nccl(group, nccl) if nccl is not None and len(own) == group.size else Staged(group)


def gather(group: Group, array: np.ndarray) -> list[np.ndarray]:
    """The host arrays of all ranks, in every rank."""
    found = []
    for rank in range(group.size):
        found.append(array.copy() if rank == group.rank else np.empty_like(array))
        group.broadcast(found[-1], rank)
    return found


def _nccl() -> ModuleType | None:
    """CuPy's NCCL; None when this CuPy has none."""
    try:
        from cupy.cuda import nccl
    except ImportError:
        return None
    return nccl if nccl.available else None
