"""Waiting for another process: looked at again and again until it is so, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true value of `condition`; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.005)
    return value


def fill(folder: Path) -> Path:
    """A file that takes all the room of the disk that this folder is on."""
    with open(folder / "hog", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return folder / "hog"
