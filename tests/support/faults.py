"""Calls of the operating system that fail once, or that the process is killed at, one after the other.

`os.fdopen` gives files whose reads and writes are calls of this layer too. Nothing waits for the disk: what a power cut
leaves is another matter, see support/powercut.py.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CODES = [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EINTR, errno.EDQUOT, errno.EROFS]
CALLS = ("open", "close", "read", "write", "pread", "pwrite", "fsync", "ftruncate", "fchmod", "replace", "rename",
         "link", "unlink", "mkdir", "rmdir", "lstat", "stat", "fstat", "listdir", "scandir")
WRITES = ("write", "pwrite")


class Layer:
    """Counts the calls of the thread that enters it (everyone: of all threads), and lets one of them meet its fate.

    fate(number, name) → None, an OSError to raise, or "kill" (before), "killed" (after), "torn" (killed in the middle
    of a write), "short" (half of it is written). `calls`: the names so far.
    """

    def __init__(self, fate: Callable[[int, str], Any] = lambda number, name: None, *, everyone: bool = False):
        self.fate, self.everyone = fate, everyone
        self.calls: list[str] = []
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}
        self._flock, self._fdopen = fcntl.flock, os.fdopen

    def __enter__(self) -> Layer:
        self._thread = threading.get_ident()
        for name in CALLS:
            setattr(os, name, self._wrapped(name, self._real[name]))
        fcntl.flock = self._wrapped("flock", self._flock)
        os.fdopen = self._open_file
        return self

    def __exit__(self, *_: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)
        fcntl.flock, os.fdopen = self._flock, self._fdopen

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._concerned():
                return real(*args, **kwargs)
            return self.call(name, real, *args, **kwargs)

        return call

    def _concerned(self) -> bool:
        return self.everyone or threading.get_ident() == self._thread

    def call(self, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        fate = self.fate(len(self.calls), name)
        self.calls.append(name)
        if name == "fsync":
            real = lambda descriptor: None  # noqa: E731
        if fate == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fate in ("torn", "short"):
            place = 1 if name in WRITES else 0
            data = memoryview(args[place]).cast("B")
            args = (*args[:place], data[:(len(data) + 1) // 2], *args[place + 1:])
        if isinstance(fate, OSError):
            if name == "close":
                real(*args, **kwargs)  # Linux closes, and then tells of the error
            raise fate
        found = real(*args, **kwargs)
        if fate in ("killed", "torn"):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    def _open_file(self, descriptor: int, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "b" not in mode or not self._concerned():
            return self._fdopen(descriptor, mode, *args, **kwargs)
        raw = _File(self, descriptor, mode)
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedReader(raw)


class _File(io.FileIO):
    """An open file whose calls are those of a layer."""

    def __init__(self, layer: Layer, descriptor: int, mode: str):
        super().__init__(descriptor, mode.replace("w", "r"))
        self._layer = layer

    def write(self, data: Any, /) -> int:
        return int(self._layer.call("file write", super().write, data))

    def readinto(self, data: Any, /) -> int:
        return int(self._layer.call("file read", super().readinto, data))

    def close(self) -> None:
        if not self.closed:
            self._layer.call("close", super().close)


def failing(number: int, code: int) -> Layer:
    """The call with this number fails."""
    return Layer(lambda at, name: OSError(code, os.strerror(code)) if at == number else None)


def shortened(number: int) -> Layer:
    """The call with this number, a write, writes half of what it is given."""
    return Layer(lambda at, name: "short" if at == number else None)


def is_write(name: str) -> bool:
    return name in (*WRITES, "file write")


def killed(act: Callable[[], object], number: int, how: str) -> bool:
    """Whether a child process that carries `act` out was killed at the call with this number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside pytest's threads
        child = os.fork()
    if child == 0:
        try:
            with Layer(lambda at, name: how if at == number else None):
                act()
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


def descriptors() -> list[str]:
    """The open files of this process."""
    return sorted(os.listdir("/dev/fd"))


def content(root: Path) -> dict[str, bytes]:
    """Every file below a folder: its path, and what it holds."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*"))
            if path.is_file() and not path.is_symlink()}


@contextmanager
def still(module: Any, **values: Any) -> Iterator[None]:
    """Attributes of a module, replaced for a while."""
    old = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in old.items():
            with suppress(AttributeError):
                setattr(module, name, value)
