"""What there is to compute on besides the processor: NVIDIA's driver, its GPUs and their memory, and CuPy.

The driver is asked through libcuda and NVML, by ctypes, so that a missing or mismatched CuPy can be told from a
missing GPU. A driver runs programs of its own CUDA version and of every earlier one: cupy-cuda12x works from a driver
of CUDA 12 on, cupy-cuda13x from one of CUDA 13 on. The packages overwrite each other's files: only one may be there.

Nothing here is asked while c_device is cpu. Imports no arrays.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, RunError

if TYPE_CHECKING:
    from engine.config import Config

OLDEST, NEWEST = 12, 13  # major CUDA versions that CuPy 14 has packages for
CONTEXT = 512 << 20  # bytes, about, that CUDA, cuBLAS and the kernels take before the first array
_PACKAGE = re.compile(r"cupy(?:-cuda(\d+)x|-cuda(\d\d)\d|-rocm.*)?")
_DRIVERS = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_MANAGERS = ("libnvidia-ml.so.1", "libnvidia-ml.so", "nvml.dll")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_REASONS = {2: "it is out of memory", 3: "it could not begin", 34: "it is a stub without a driver behind it",
            100: "there is no GPU", 803: "its parts are of different versions; restart the machine",
            804: "this GPU cannot run with so old a driver", 999: "unknown; restart the machine"}


@dataclass(frozen=True)
class Gpu:
    """One GPU. capability: "9.0". memory and free in bytes, free None where the driver does not tell."""

    name: str
    capability: str
    memory: int
    free: int | None = None


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver. cuda: the newest CUDA version that it runs, (12, 4); version: its own, "550.54.15", or "".
    gpus: in CUDA's order. problem: why it gives none."""

    cuda: tuple[int, int]
    version: str = ""
    gpus: tuple[Gpu, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Package:
    """An installed distribution of CuPy. cuda: the major CUDA version that it is built for, None where its name does
    not say."""

    name: str
    version: str
    cuda: int | None


# The driver -----------------------------------------------------------------------------------------------------------


def _library(names: tuple[str, ...]) -> Any:
    """The first of these shared libraries that is there; None when none is."""
    for name in names:
        with suppress(OSError):
            return ctypes.CDLL(name)
    return None


def driver() -> Driver | None:
    """NVIDIA's driver as libcuda tells it; None when there is none. Creates no CUDA context."""
    library = _library(_DRIVERS)
    if library is None:
        return None
    number = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(number)):
        number.value = 0
    cuda = number.value // 1000, number.value % 1000 // 10
    if status := library.cuInit(0):
        return Driver(cuda, _version(), problem=_REASONS.get(status, f"CUDA error {status}"))
    library.cuDeviceGetCount(ctypes.byref(number))
    gpus = tuple(_gpu(library, device) for device in range(number.value))
    return Driver(cuda, _version(), gpus, "" if gpus else _REASONS[100])


def _gpu(library: Any, number: int) -> Gpu:
    device, value, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    parts = []
    for attribute in (_MAJOR, _MINOR):
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        parts.append(str(value.value))
    place = ctypes.create_string_buffer(64)
    known = not library.cuDeviceGetPCIBusId(place, len(place), device)
    return Gpu(name.value.decode(errors="replace"), ".".join(parts), size.value,
               _free(place.value) if known else None)


class _Memory(ctypes.Structure):
    """nvmlMemory_t"""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _free(place: bytes) -> int | None:
    """Free bytes of the GPU at a PCI address: CUDA itself would tell only within a context, which takes half a GiB."""
    library = _library(_MANAGERS)
    if library is None or library.nvmlInit_v2():
        return None
    handle, memory = ctypes.c_void_p(), _Memory()
    try:
        if (library.nvmlDeviceGetHandleByPciBusId_v2(place, ctypes.byref(handle))
                or library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))):
            return None
        return int(memory.free)
    finally:
        library.nvmlShutdown()


def _version() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else ""


# CuPy -----------------------------------------------------------------------------------------------------------------


def packages() -> list[Package]:
    """The installed distributions of CuPy, without importing one."""
    found = {}
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if match := _PACKAGE.fullmatch(name):
            cuda = match[1] or match[2]
            found[name] = Package(name, distribution.version, int(cuda) if cuda else None)
    return [found[name] for name in sorted(found)]


def install_line(cuda: tuple[int, int] | None) -> str:
    """The command that installs the CuPy of a driver's CUDA version, with the libraries that it needs."""
    return f"pip install 'cupy-cuda{min(max(cuda[0] if cuda else OLDEST, OLDEST), NEWEST)}x[ctk]'"


def advice(found: Driver | None, installed: list[Package]) -> str:
    """What is in the way of a GPU and what to do about it, as a sentence; "" when nothing is known to be."""
    if found is None:
        return "No NVIDIA driver was found; install the driver of the GPU, or set c_device to cpu."
    if found.cuda[0] < OLDEST:
        return (f"The NVIDIA driver is too old: it runs CUDA {_dotted(found.cuda)}, and CuPy needs {OLDEST}; update "
                "the driver, or set c_device to cpu.")
    if found.problem:
        return f"The NVIDIA driver gives no GPU ({found.problem}); set c_device to cpu."
    line, names = install_line(found.cuda), " ".join(package.name for package in installed)
    if not installed:
        return (f"CuPy is not installed; run {line} (the driver runs CUDA {_dotted(found.cuda)}), or set c_device to "
                "cpu.")
    if len(installed) > 1:
        return (f"Several packages of CuPy are installed, which overwrite each other: {names.replace(' ', ', ')}; run "
                f"pip uninstall -y {names}, then {line}.")
    (package,) = installed
    if package.cuda is not None and package.cuda > found.cuda[0]:
        return (f"{package.name} needs CUDA {package.cuda}, but the driver runs CUDA {_dotted(found.cuda)} at most; "
                f"run pip uninstall -y {package.name}, then {line}.")
    if package.cuda is not None and package.cuda < OLDEST:
        return (f"{package.name} is for CUDA {package.cuda}, of which libraries are no longer made; run "
                f"pip uninstall -y {package.name}, then {line}.")
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def connect(core: int) -> Any:
    """CuPy, with GPU number `core` in use. ConfigError, with what to do, when it or a GPU is missing."""
    try:
        import cupy
    except Exception as error:  # a library that is missing shows in many ways
        raise ConfigError(_why(error, "CuPy cannot be imported"), "c_device") from None
    failure = getattr(cupy.cuda.runtime, "CUDARuntimeError", RuntimeError)
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        if core < count:
            cupy.cuda.Device(core).use()
    except failure as error:
        raise ConfigError(_why(error, "CuPy finds no GPU"), "c_device") from None
    if core >= count:
        there = "is 1 GPU" if count == 1 else f"are {count} GPUs"
        raise ConfigError(f"c_device_gpu_core is {core}, but there {there}, counted from 0.", "c_device_gpu_core")
    return cupy


def _why(error: Exception, what: str) -> str:
    """The sentence that fits best: what is known to be in the way, else what CuPy says."""
    found, installed = driver(), packages()
    if known := advice(found, installed):
        return f"c_device is gpu, but it cannot be used. {known}"
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    cuda = installed[0].cuda if installed else None
    line = install_line((cuda, 0) if cuda else found.cuda if found else None)
    return (f"c_device is gpu, but {what} ({said}); run {line} if a library of CUDA is missing, or set c_device to "
            "cpu.")


# Memory ---------------------------------------------------------------------------------------------------------------


def memory(core: int) -> tuple[int, int] | None:
    """(free, total) bytes of a GPU: free is what this process's arrays may take in all, those that it has included.
    None where nothing tells. Imports no CuPy."""
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        with suppress(Exception):  # no GPU, or a broken driver: then nobody knows
            free, total = cupy.cuda.Device(core).mem_info
            return int(free + cupy.get_default_memory_pool().total_bytes()), int(total)
    found = driver()
    if found is None or core >= len(found.gpus):
        return None
    gpu = found.gpus[core]
    return None if gpu.free is None else (max(0, gpu.free - CONTEXT), gpu.memory)


@contextmanager
def guarded(config: Config, suggestion: Callable[[], str]) -> Iterator[None]:
    """Memory of the GPU that runs out in this block is a RunError that says so, and what could be done.

    suggestion: gives the end of the sentence. Elsewhere MemoryError passes as it is.
    """
    try:
        yield
    except MemoryError as error:
        if config.c_device != "gpu":
            raise
        room = memory(config.c_device_gpu_core)
        of = f" of {room[1] / 2**30:.1f} GiB" if room else ""
        said = re.search(r"allocating ([\d,]+) bytes", str(error))
        wanted = int(said[1].replace(",", "")) if said else 0
        size = f"{wanted / 2**20:,.1f} MiB" if wanted > 1 << 18 else f"{wanted:,} bytes"
        more = f": {size} more could not be had" if wanted else ""
        release()
        raise RunError(f"The memory{of} of the GPU has run out{more}; {suggestion()}.") from error


def release() -> None:
    """Give back to CUDA what CuPy's pool holds and nobody uses."""
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
