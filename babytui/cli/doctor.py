"""babytui doctor"""

from __future__ import annotations

import itertools
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
from store.repair import Finding as FileFinding

OK, NOTE, BAD = "ok", "note", "bad"
Finding = tuple[str, str, str]  # what, how it stands, in words
MOST = 8  # lines for findings that are alike
_MARKS = {OK: "✓", NOTE: "·", BAD: "✗"}


def run(arguments: Any) -> int:
    """Check this machine and the workspace: 0 when babytui can work here and what was to be repaired is, else 1."""
    out: Output = arguments.out
    root = workspace_choice.choose(arguments.workspace).root
    checks: list[Callable[[], list[Finding]]] = [_versions, _numpy, _machine, _gpu, _terminal, lambda: _workspace(root),
                                                 _shipped]
    found = [finding for check in checks for finding in check()]
    files = _files(root, arguments.deep)
    if not arguments.json:
        for what, state, text in found:
            out.print(f"{_MARKS[state]} {what:<14} {text}")
        _tell(files, out)
    can = [one for one in files if one.remedy]
    done: list[tuple[FileFinding, str]] = []
    if arguments.repair and can:
        done = _repair(root, can, arguments.yes, out)
    elif can:
        out.say(f"`babytui doctor --repair` mends {'this' if len(can) == 1 else f'{len(can)} of these'}.")
    elif arguments.repair:
        out.say("There is nothing to repair.")
    if arguments.json:
        results = {id(one): not why for one, why in done}
        out.data([{"check": what, "state": state, "value": text} for what, state, text in found] + [
            {"check": one.kind, "state": NOTE, "value": one.text, "path": str(one.path), "remedy": one.remedy,
             "repaired": results.get(id(one), False)} for one in files])
    return 1 if any(state == BAD for _, state, _ in found) or any(why for _, why in done) else 0


def _files(root: Path, deep: bool) -> list[FileFinding]:
    """What is not as it should be in the workspace."""
    if not root.is_dir():
        return []
    from babytui import rebuild
    from store import examine
    from store.workspace import Workspace

    try:
        workspace = Workspace(root)
        shipped = [entry.guid for entry in Workspace(workspace_choice.BOX).entries()]
        return examine.examine(workspace.root, deep=deep, known=shipped,
                               anew=lambda guid: rebuild.possible(workspace, guid))
    except BabyError:
        return []  # told by _workspace


def _tell(files: list[FileFinding], out: Output) -> None:
    """A line for each, but of many alike only the first."""
    for kind, group in itertools.groupby(files, lambda one: one.kind):
        alike = list(group)
        for one in alike[:MOST]:
            out.print(f"{_MARKS[NOTE]} {kind:<14} {one.text}")
        if len(alike) > MOST:
            out.print(f"{_MARKS[NOTE]} {kind:<14} … and {len(alike) - MOST:,} more; --json tells all of them.")


def _repair(root: Path, can: list[FileFinding], yes: bool, out: Output) -> list[tuple[FileFinding, str]]:
    """Mend these, after saying how. What was done, with the reason of what was not."""
    from babytui.cli.asking import agreed
    from store import repair
    from store.workspace import Workspace

    if not yes:
        for remedy in dict.fromkeys(one.remedy for one in can):
            out.warn(f"{remedy}:")
            for one in can:
                if one.remedy == remedy:
                    out.warn(f"  {one.path}")
        if not agreed(f"Do {'this' if len(can) == 1 else f'these {len(can)} things'}?", out, "Nothing was repaired"):
            return []
    done = repair.mend(Workspace(root).root, can)
    mended = [one for one, why in done if not why]
    for one, why in done:
        if why:
            out.warn(f"babytui: {one.path}: {why}")
    if mended:
        back = "; `babytui trash restore last` brings back what moved to the trash" if any(
            one.aside for one in mended) else ""
        out.say(f"{len(mended)} repaired{back}.")
    return done


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
    from engine import device

    driver, packages = device.driver(), device.packages()
    if driver is None and not packages:
        return [("GPU", NOTE, "none; the CPU does everything")]
    found: list[Finding] = []
    if driver is not None:
        found.append(("driver", OK, f"NVIDIA {driver.version or '(version unknown)'}, runs CUDA up to "
                      f"{driver.cuda[0]}.{driver.cuda[1]}"))
    for number, gpu in enumerate(driver.gpus if driver else ()):
        memory = f"{size(gpu.memory)} of memory" + ("" if gpu.free is None else f", {size(gpu.free)} free")
        found.append((f"GPU {number}", OK, f"{gpu.name}, compute capability {gpu.capability}, {memory}"))
    names = ", ".join(f"{package.name} {package.version}" for package in packages)
    if problem := device.advice(driver, packages):
        return [*found, ("CuPy", NOTE, (f"{names}: " if names else "") + problem)]
    try:
        runtime = device.connect(0).cuda.runtime.runtimeGetVersion()
    except BabyError as error:
        return [*found, ("CuPy", NOTE, f"{names}: {error}")]
    return [*found, ("CuPy", OK, f"{names}, CUDA {runtime // 1000}.{runtime % 1000 // 10}; --set c_device=gpu uses it")]


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
        from store import trash
        from store.workspace import Workspace

        try:
            workspace = Workspace(root)
            entries = workspace.entries()
            live = sum(run.alive for run in runs.all_runs(workspace))
            found.append(("models", OK, f"{sum(entry.has_model for entry in entries)} models, {live} live runs"))
            if deleted := trash.items(workspace.root):
                found.append(("trash", OK, f"{len(deleted)} deleted, {size(sum(item.bytes for item in deleted))}; "
                              "`babytui trash` lists it, `babytui trash empty` frees the room"))
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
