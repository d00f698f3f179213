"""cupy.cuda.nccl as far as a group uses it, for ranks that are threads and devices that are strict_xp's."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


class NcclError(RuntimeError):
    pass


class Network:
    """What the communicators of one id have in common. calls: (rank, what, elements) of everything that was asked."""

    def __init__(self) -> None:
        self.queues: dict[tuple[int, int], queue.Queue] = {}
        self.calls: list[tuple[int, str, int]] = []
        self.lock = threading.Lock()

    def between(self, a: int, b: int) -> queue.Queue:
        with self.lock:
            return self.queues.setdefault((a, b), queue.Queue())


def module(network: Network, old: bool) -> ModuleType:
    """old: as before CuPy 14, with an id of signed numbers instead of bytes."""
    made = ModuleType("cupy.cuda.nccl")
    kinds = {"FLOAT16": 2, "FLOAT32": 4, "FLOAT64": 8, "INT64": 8, "UINT8": 1}
    for name, size in kinds.items():
        setattr(made, f"NCCL_{name}", size)
    raw = bytes((37 * i + 200) % 256 for i in range(128))

    class Communicator:
        def __init__(self, ndev, comm_id, rank):
            expected = tuple((b ^ 128) - 128 for b in raw) if old else raw
            if type(comm_id) is not type(expected) or comm_id != expected:
                raise NcclError("NCCL_ERROR_INVALID_ARGUMENT: another id")
            self.size, self.rank, self.aborted = ndev, rank, False

        def _note(self, what, count):
            network.calls.append((self.rank, what, count))

        def send(self, buffer, count, kind, peer, stream):
            self._note("send", count)
            network.between(self.rank, peer).put(ctypes.string_at(buffer, count * kind))

        def recv(self, buffer, count, kind, peer, stream):
            self._note("recv", count)
            data = network.between(peer, self.rank).get(timeout=30)
            assert len(data) == count * kind
            ctypes.memmove(buffer, data, len(data))

        def broadcast(self, source, target, count, kind, root, stream):
            self._note("broadcast", count)
            if self.rank == root:
                for other in range(self.size):
                    if other != root:
                        network.between(root, other).put(ctypes.string_at(source, count * kind))
            else:
                data = network.between(root, self.rank).get(timeout=30)
                assert len(data) == count * kind
                ctypes.memmove(target, data, len(data))

        def check_async_error(self):
            pass

        def abort(self):
            self._note("abort", 0)

    made.available, made.NcclError, made.NcclCommunicator = True, NcclError, Communicator
    made.get_unique_id = lambda: tuple((b ^ 128) - 128 for b in raw) if old else raw
    return made


@contextmanager
def installed(gpus: int, old: bool = False) -> Iterator[Network]:
    """NCCL in the installed stand-in for CuPy; threads have `gpus` GPUs in turn, by the rank in their names."""
    network = Network()
    cuda, runtime = sys.modules["cupy.cuda"], sys.modules["cupy.cuda.runtime"]
    made = module(network, old)

    def bus(device: int) -> str:
        name = threading.current_thread().name
        rank = int(name.rpartition(" ")[2]) if name.startswith("rank ") else 0
        return f"0000:{rank % gpus:02x}:00.0"

    runtime.deviceGetPCIBusId = bus
    cuda.Stream.done = property(lambda stream: True)  # what is launched there has been done
    cuda.nccl = sys.modules["cupy.cuda.nccl"] = made
    try:
        yield network
    finally:
        del sys.modules["cupy.cuda.nccl"], cuda.nccl, cuda.Stream.done, runtime.deviceGetPCIBusId
