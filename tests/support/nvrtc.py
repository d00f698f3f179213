"""NVRTC and ptxas out of NVIDIA's packages on PyPI, without a GPU or a driver: what they make of a source."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Use(NamedTuple):
    """What a kernel takes on a GPU. registers: of a thread. spilled: bytes of them that do not fit and go to memory.
    shared: bytes of static shared memory of a block."""

    registers: int
    spilled: int
    shared: int


def _packaged(part: str, pattern: str) -> Path | None:
    """A file of an installed package nvidia.<part>."""
    try:
        found = importlib.util.find_spec(f"nvidia.{part}")
    except ModuleNotFoundError:
        return None
    places = found.submodule_search_locations if found else None
    return next((path for place in places or () for path in sorted(Path(place).rglob(pattern))), None)


def library() -> Path | None:
    """libnvrtc (pip install nvidia-cuda-nvrtc-cu12), None where it is not installed."""
    return _packaged("cuda_nvrtc", "libnvrtc.so.*[0-9]")


def assembler() -> Path | None:
    """ptxas (pip install nvidia-cuda-nvcc-cu12), None where it is not installed."""
    return _packaged("cuda_nvcc", "ptxas")


def compiled(code: str, options: Sequence[str], architecture: str) -> tuple[str, str]:
    """(PTX, what the compiler said) for an architecture such as "compute_70". SyntaxError when it does not compile."""
    nvrtc = ctypes.CDLL(str(library()))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None) == 0
    flags = [flag.encode() for flag in (*options, f"--gpu-architecture={architecture}")]
    failed = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if failed:
        raise SyntaxError(log.value.decode())
    nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetPTX(program, ptx)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx.value.decode(), log.value.decode()


def assembled(ptx: str, architecture: str) -> dict[str, Use]:
    """What each kernel takes when assembled for an architecture such as "sm_70"."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernels.ptx")
        source.write_text(ptx)
        made = subprocess.run([str(assembler()), "-v", f"-arch={architecture}", str(source), "-o", f"{folder}/cubin"],
                              capture_output=True, text=True, check=True)
    found = {}
    for part in made.stderr.split("Compiling entry function")[1:]:
        name = re.search(r"'(\w+)'", part)
        spilled = re.search(r"(\d+) bytes spill stores", part)
        used = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        assert name and used
        found[name[1]] = Use(int(used[1]), int(spilled[1]) if spilled else 0, int(shared[1]) if shared else 0)
    return found
