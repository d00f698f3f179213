"""How much memory another process takes, where the system says so."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path


def resident(process: int) -> int | None:
    """Bytes of memory that a process holds at present; None when it is gone or the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if os.path.isdir("/proc/self"):
        return None
    with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):  # macOS has no /proc
        done = subprocess.run(["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, timeout=2,
                              stdin=subprocess.DEVNULL, check=False)
        return int(done.stdout) * 1024
    return None
