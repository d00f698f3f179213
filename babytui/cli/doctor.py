"""babytui doctor"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from babytui import __version__, blas, workspace_choice
from babytui.cli.output import Output, size
from engine import processor
from engine.errors import BabyError

OK, NOTE, BAD = "ok", "note", "bad"
Finding = tuple[str, str, str]  # what, how it stands, in words


def run(arguments: Any) -> int:
    """Check this machine and the workspace: 0 when babytui can work here, else 1."""
    out: Output = arguments.out
    root = workspace_choice.folder(arguments.workspace)
    checks: list[Callable[[], list[Finding]]] = [_versions, _numpy, _machine, _gpu, _terminal, lambda: _workspace(root),
                                                 _shipped]
    found = [finding for check in checks for finding in check()]
    if arguments.json:
        out.data([{"check": what, "state": state, "value": text} for what, state, text in found])
    else:
        marks = {OK: "✓", NOTE: "·", BAD: "✗"}
        for what, state, text in found:
            out.print(f"{marks[state]} {what:<14} {text}")
    return 1 if any(state == BAD for _, state, _ in found) else 0


def _versions() -> list[Finding]:
    found: list[Finding] = [("babytui", OK, f"{__version__} in {Path(__file__).resolve().parents[2]}")]
    good = sys.version_info >= (3, 11)
    found.append(("Python", OK if good else BAD, f"{platform.python_version()} ({sys.executable})"
                  + ("" if good else "; 3.11 or newer is needed")))
    from importlib.metadata import PackageNotFoundError, version

    for package in ("textual", "orjson", "safetensors", "prompt_toolkit"):
        try:
            found.append((package, OK, version(package)))
        except PackageNotFoundError:
            found.append((package, BAD, f"is missing; run pip install {package}"))
    return found


def _numpy() -> list[Finding]:
    try:
        import numpy as np
    except ImportError as error:
        return [("numpy", BAD, f"is missing or broken ({error}); run pip install numpy")]
    kernel = blas.kernel()
    using = f", kernel {kernel[0]}, {kernel[1]} thread(s)" if kernel else ""
    return [("numpy", OK, np.__version__), ("BLAS", OK, blas.name() + using)]


def _machine() -> list[Finding]:
    usable = processor.cores()
    limits = ", ".join(f"{name}={os.environ[name]}" for name in blas.THREADS if os.environ.get(name, "1") != "1")
    found: list[Finding] = [("cores", OK, f"{usable} usable" + (f" ({limits})" if limits else ""))]
    memory = _memory()
    if memory:
        total, free = memory
        found.append(("memory", OK if free > 512e6 else NOTE, f"{size(free)} free of {size(total)}"))
    return found


def _memory() -> tuple[float, float] | None:
    """Bytes of memory in all and free, where the system says so."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            values = {line.split(":")[0]: float(line.split()[1]) * 1024 for line in lines}
        return values["MemTotal"], values["MemAvailable"]
    except (OSError, KeyError, ValueError):
        return None


def _gpu() -> list[Finding]:
    has_gpu = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    try:
        import cupy
    except ImportError:
        advice = "; pip install 'babytui[gpu]' (CUDA 12) or 'babytui[gpu13]' (CUDA 13) uses it" if has_gpu else ""
        return [("GPU", NOTE, f"{'there is an NVIDIA GPU, but CuPy is not installed' if has_gpu else 'none'}{advice}; "
                 "the CPU does everything")]
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        return [("GPU", OK, f"{count} × {name}, CuPy {cupy.__version__}; use it with --set c_device=gpu")]
    except Exception as error:  # CuPy has many ways to find a driver unusable
        return [("GPU", NOTE, f"CuPy {cupy.__version__} is installed but finds no GPU ({str(error).splitlines()[0]})")]


def _terminal() -> list[Finding]:
    if not sys.stdout.isatty():
        return [("terminal", NOTE, "none here (the output goes to a pipe or a file); the playground needs one")]
    columns, lines = shutil.get_terminal_size()
    term, truecolor = os.environ.get("TERM", "unknown"), os.environ.get("COLORTERM", "")
    colours = ("none ($NO_COLOR)" if os.environ.get("NO_COLOR") else "16 million" if truecolor in ("truecolor", "24bit")
               else "256" if "256" in term else "8 or 16")
    small = columns < 60 or lines < 20
    text = f"{columns}×{lines}, {term}, colours: {colours}" + ("; the playground wants at least 60×20" if small else "")
    utf8 = "utf" in (sys.stdout.encoding or "").lower()
    return [("terminal", NOTE if small else OK, text + ("" if utf8 else "; not UTF-8"))]


def _workspace(root: Path) -> list[Finding]:
    there = workspace_choice.existing(root)
    writable = os.access(there, os.W_OK | os.X_OK)
    state = "writable" if writable else "not writable; give another with --workspace"
    if not root.exists():
        state += ", does not exist yet"
    found: list[Finding] = [("workspace", OK if writable else BAD, f"{root} ({state})")]
    try:
        free = shutil.disk_usage(there).free
        found.append(("disk", OK if free > 1e9 else NOTE, f"{size(free)} free"))
    except OSError as error:
        found.append(("disk", NOTE, f"cannot be asked ({error.strerror})"))
    if root.exists():
        from babytui import runs
        from store.workspace import Workspace

        try:
            workspace = Workspace(root)
            entries = workspace.entries()
            live = sum(run.alive for run in runs.all_runs(workspace))
            found.append(("models", OK, f"{sum(entry.has_model for entry in entries)} models, {live} live runs"))
            found += [("file", NOTE, problem) for entry in entries for problem in entry.problems]
        except BabyError as error:
            found.append(("models", BAD, str(error)))
    return found


def _shipped() -> list[Finding]:
    from babytui.library import SHIPPED, locate
    from store.workspace import Workspace

    try:
        box, guid = locate(SHIPPED, Workspace(workspace_choice.BOX))
        return [("baby", OK, f"{box.entry(guid).parameters or 0:,} parameters ship with this installation")]
    except BabyError as error:
        return [("baby", NOTE, str(error))]
