"""libcuda and NVML in Python, as ctypes would give them, for a machine of any driver and any GPUs."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any


@dataclass
class FakeGpu:
    name: str = "Test GPU"
    capability: tuple[int, int] = (9, 0)
    memory: int = 80 << 30
    free: int = 70 << 30


class FakeCuda:
    """libcuda. version: as cuDriverGetVersion gives it, 12040. init: the status of cuInit."""

    def __init__(self, version: int = 12040, gpus: tuple[FakeGpu, ...] = (FakeGpu(),), init: int = 0):
        self.version, self.gpus, self.init = version, gpus, init
        self.begun = False

    def cuDriverGetVersion(self, place: Any) -> int:
        place._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:
        self.begun = not self.init
        return self.init

    def cuDeviceGetCount(self, place: Any) -> int:
        assert self.begun
        place._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, place: Any, number: int) -> int:
        place._obj.value = number
        return 0

    def cuDeviceGetName(self, buffer: Any, size: int, device: ctypes.c_int) -> int:
        buffer.value = self.gpus[device.value].name.encode()[: size - 1]
        return 0

    def cuDeviceTotalMem_v2(self, place: Any, device: ctypes.c_int) -> int:
        place._obj.value = self.gpus[device.value].memory
        return 0

    def cuDeviceGetAttribute(self, place: Any, attribute: int, device: ctypes.c_int) -> int:
        place._obj.value = self.gpus[device.value].capability[{75: 0, 76: 1}[attribute]]
        return 0

    def cuDeviceGetPCIBusId(self, buffer: Any, size: int, device: ctypes.c_int) -> int:
        buffer.value = f"0000:{device.value:02x}:00.0".encode()
        return 0


class FakeManager:
    """NVML, which numbers GPUs by their place: the other way round than CUDA here."""

    def __init__(self, cuda: FakeCuda, fails: str = ""):
        self.cuda, self.fails = cuda, fails
        self.open = 0

    def nvmlInit_v2(self) -> int:
        self.open += 1
        return 0

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlDeviceGetHandleByPciBusId_v2(self, place: bytes, handle: Any) -> int:
        if self.fails == "handle":
            return 6  # NVML_ERROR_NOT_FOUND
        handle._obj.value = 1000 + int(place.split(b":")[1], 16)
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, place: Any) -> int:
        assert handle.value is not None
        if self.fails == "memory":
            return 3  # NVML_ERROR_NOT_SUPPORTED
        gpu = self.cuda.gpus[handle.value - 1000]
        place._obj.total, place._obj.free, place._obj.used = gpu.memory, gpu.free, gpu.memory - gpu.free
        return 0
