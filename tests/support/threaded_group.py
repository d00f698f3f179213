"""A group whose ranks are threads of this process, and the ranks but 0 of it at work."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from engine import ranks
from engine.errors import RunError
from engine.group import Group


class Hall:
    """What the ranks of one group have in common. sent: bytes that went from rank to rank, by (from, to)."""

    def __init__(self, size: int):
        self.size = size
        self.queues = {(a, b): queue.Queue() for a in range(size) for b in range(size)}
        self.sent = dict.fromkeys(self.queues, 0)
        self.failed = ""


class Threaded(Group):
    """Arrays are copied when they are flushed, so that one that changes too early is noticed."""

    def __init__(self, hall: Hall, rank: int):
        self.hall, self.rank, self.size = hall, rank, hall.size
        self.hosts = ["here"] * hall.size
        self._pending = []

    def send(self, array, to):
        assert array.flags.c_contiguous
        self._pending.append((array, array.copy()))
        self.hall.sent[self.rank, to] += array.nbytes
        self.hall.queues[self.rank, to].put(array.copy())

    def receive(self, array, source):
        assert array.flags.c_contiguous
        while True:
            self.check()
            try:
                found = self.hall.queues[source, self.rank].get(timeout=0.05)
                break
            except queue.Empty:
                continue
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        array[...] = found

    def broadcast(self, array, root):
        if self.rank == root:
            for other in range(self.size):
                if other != root:
                    self.send(array, other)
            self.flush()
        else:
            self.receive(array, root)

    def flush(self):
        for array, before in self._pending:
            assert array.tobytes() == before.tobytes(), "changed before it was flushed"
        self._pending = []

    def check(self):
        if self.hall.failed:
            raise RunError(self.hall.failed)

    def fail(self, message):
        self.hall.failed = message


@contextmanager
def group(size: int, cores: int = 1) -> Iterator[Threaded]:
    """Rank 0 of a group whose other ranks follow it, each in a thread; they have ended afterwards."""
    hall = Hall(size)
    zero = Threaded(hall, 0)

    def work(rank: int) -> None:
        try:
            with np.errstate(all="ignore"):
                ranks.follow(Threaded(hall, rank), lambda config: cores, lambda config: 0)
        except (RunError, MemoryError):
            pass

    threads = [threading.Thread(target=work, args=(rank,), name=f"rank {rank}") for rank in range(1, size)]
    for thread in threads:
        thread.start()
    try:
        yield zero
    finally:
        ranks.tell(zero, b"e")
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
