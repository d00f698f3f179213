"""CUDA kernels on a CPU: the very source that NVRTC is given, compiled by g++ and run thread by thread.

`RawModule` stands in for cupy.RawModule, `arrays` for the array module `xp`: NumPy with RawModule beside it, whose
fresh arrays hold NaN and lie between guarded margins that are looked at after every launch. A kernel that reads a
number that nobody has written, or beside an array, computes NaN; one that writes there is told on.

Arguments are checked against the kernel's parameters as no driver does it: their number, their sizes, and whether a
pointer is asked for.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
import types
import weakref
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).parent
_ENTRY = re.compile(r'extern "C"\s+__global__\s+void\s+(?:__launch_bounds__\(([^)]*)\)\s+)?(\w+)\s*\(')
_DYNAMIC = re.compile(r"extern\s+__shared__\s+([\w ]+?)\s+(\w+)\[\];")
_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra",
          "-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-parameter", "-Wno-attributes",
          "-Wno-sign-compare")
_MARGIN = 256  # bytes on either side of a guarded array
_MOST_SHARED = 48 << 10  # bytes that a block has on every GPU without asking

order = 1  # in which order a block's threads take turns, 1 or -1
launches: list[str] = []  # the kernels that were launched, by name


class LaunchError(RuntimeError):
    """What a GPU would have crashed at, hung at, or silently computed nonsense at."""


def compiler() -> str | None:
    """The C++ compiler, None where there is none."""
    return shutil.which("g++")


class RawModule:
    """cupy.RawModule as far as the engine uses it. options: as for NVRTC; only -D counts."""

    def __init__(self, *, code: str, options: Sequence[str] = (), backend: str = "nvrtc",
                 name_expressions: None = None):
        assert backend == "nvrtc" and name_expressions is None
        self._bounds = {name: bound for bound, name in _ENTRY.findall(code)}
        self._library = _compiled(code, tuple(options), tuple(self._bounds))

    def get_function(self, name: str) -> Function:
        """A kernel."""
        return Function(self._library, name)


class Function:
    """A kernel: call it with grid, block, arguments and bytes of shared memory."""

    def __init__(self, library: ctypes.CDLL, name: str):
        self.name = name
        self.max_dynamic_shared_size_bytes = _MOST_SHARED
        self._run = getattr(library, f"run_{name}")
        self._run.restype = ctypes.c_char_p
        sizes = getattr(library, f"sizes_{name}")
        sizes.restype = ctypes.POINTER(ctypes.c_int)
        found = sizes()
        self._sizes = []
        while found[len(self._sizes)]:
            self._sizes.append(found[len(self._sizes)])

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...],
                 shared_mem: int = 0) -> None:
        grid, block = (*grid, 1, 1)[:3], (*block, 1, 1)[:3]
        if not (0 < grid[0] < 1 << 31 and 0 < grid[1] < 1 << 16 and 0 < grid[2] < 1 << 16):
            raise LaunchError(f"{self.name}: no GPU takes a grid of {grid}")
        if not 0 < prod(block) <= 1024:
            raise LaunchError(f"{self.name}: no GPU takes a block of {block}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise LaunchError(f"{self.name}: {shared_mem} bytes of shared memory were not asked for")
        values = [self._value(n, x, size) for n, (x, size) in enumerate(zip(args, self._sizes, strict=True))]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        launches.append(self.name)
        failed = self._run(*map(ctypes.c_uint, (*grid, *block)), ctypes.c_size_t(shared_mem), ctypes.c_int(order),
                           pointers)
        if failed:
            raise LaunchError(f"{self.name}: {failed.decode()}")
        check(self.name)

    def _value(self, number: int, x: Any, size: int) -> Any:
        """The argument as C has it. A pointer is an array, or np.intp(0) for none."""
        if size < 0:
            if isinstance(x, np.intp) and x == 0:
                return ctypes.c_void_p(0)
            data = getattr(x, "data", None)
            if hasattr(data, "ptr"):
                return ctypes.c_void_p(data.ptr)
            if isinstance(x, np.ndarray):
                return ctypes.c_void_p(x.ctypes.data)
            raise LaunchError(f"{self.name}: argument {number} is a {type(x).__name__} and should be an array")
        if not isinstance(x, np.generic) or x.itemsize != size:
            raise LaunchError(f"{self.name}: argument {number} is {x!r} and should be a NumPy number of {size} bytes")
        return (ctypes.c_ubyte * size).from_buffer_copy(x.tobytes())


def _compiled(code: str, options: tuple[str, ...], names: tuple[str, ...]) -> ctypes.CDLL:
    key = hashlib.sha256("\0".join((code, *options)).encode()).hexdigest()[:24]
    if key not in _libraries:
        source, library = _folder() / f"{key}.cpp", _folder() / f"{key}.so"
        entries = "".join(
            f'extern "C" const char *run_{name}(unsigned gx, unsigned gy, unsigned gz, unsigned x, unsigned y, '
            f"unsigned z, size_t shared, int order, void **args) {{\n"
            f"    return cuda::run({{gx, gy, gz}}, {{x, y, z}}, shared, order, "
            f"[=] {{ cuda::call({name}, args); }});\n}}\n"
            f'extern "C" const int *sizes_{name}() {{ return cuda::sizes({name}); }}\n' for name in names)
        code = _ENTRY.sub(lambda found: f"__global__ void {found[2]}(", code)
        code = _DYNAMIC.sub(r"\1 *\2 = (\1 *)cuda::dynamic.data();", code)
        defined = "".join(f"#define {flag[2:].replace('=', ' ', 1)}\n" for flag in options if flag.startswith("-D"))
        source.write_text(f'#include "cuda_on_cpu.h"\n{defined}#line 1 "kernels.cu"\n{code}\n{entries}')
        made = _gpp(f"-I{_folder()}", "-shared", str(source), "-o", str(library))
        if made.returncode:
            raise LaunchError(f"g++ does not take the source:\n{made.stderr}")
        warnings.extend(line for line in made.stderr.splitlines() if "warning:" in line and "kernels.cu" in line)
        _libraries[key] = ctypes.CDLL(str(library))
    return _libraries[key]


def _gpp(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([compiler() or "g++", *_FLAGS, *arguments], capture_output=True, text=True)


warnings: list[str] = []  # of the compiler
_libraries: dict[str, ctypes.CDLL] = {}
_made: list[Path] = []


def _folder() -> Path:
    if not _made:
        folder = Path(tempfile.mkdtemp(prefix="cuda_on_cpu_"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        shutil.copy(_HERE / "cuda_on_cpu.h", folder)
        _gpp("-x", "c++-header", str(folder / "cuda_on_cpu.h"))  # parsed once for all
        _made.append(folder)
    return _made[0]


# Guarded memory -------------------------------------------------------------------------------------------------------

_guarded: dict[int, tuple[weakref.ref[np.ndarray], int, int]] = {}  # owners, and which of their bytes are an array's


def empty(shape: int | Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """An array whose bytes are all 255, which is NaN for floats, between margins of the same."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    size = prod(shape) * np.dtype(dtype).itemsize
    owner = np.full(size + 3 * _MARGIN, 255, np.uint8)
    start = _MARGIN + -owner.ctypes.data % 64
    key = id(owner)
    _guarded[key] = weakref.ref(owner, lambda _: _guarded.pop(key, None)), start, start + size
    return np.ndarray(shape, dtype, buffer=owner, offset=start)


def guarded(x: Any) -> np.ndarray:
    """A guarded copy of x, C-contiguous."""
    x = np.asarray(x)
    copy = empty(x.shape, x.dtype)
    copy[...] = x
    return copy


def check(name: str = "a kernel") -> None:
    """LaunchError when something was written into a margin."""
    for reference, start, end in list(_guarded.values()):
        owner = reference()
        if owner is None:
            continue
        if (owner[:start] != 255).any() or (owner[end:] != 255).any():
            raise LaunchError(f"{name} wrote beside an array of {end - start} bytes")


class _Arrays(types.ModuleType):
    """NumPy, but for what is guarded."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


arrays: Any = _Arrays("cuda_on_cpu.arrays")
arrays.RawModule = RawModule
arrays.empty = empty
