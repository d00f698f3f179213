"""What a command prints in a thread, caught: the app runs commands beside everything else it does.

Only the thread that asks for it is caught; others write to where they wrote before.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TextIO, cast

from engine.errors import UsageError

OUT, ERR = "out", "err"
_lock = threading.Lock()
_catching = 0
_before: tuple[Any, Any, Any] = (None, None, None)


class Caught:
    """What was printed so far, in order: (OUT or ERR, text). `cancel` lets the next print end the command.

    columns: cells in a line of the page that shows it.
    """

    def __init__(self, columns: int | None = None) -> None:
        self.columns = columns
        self.pieces: list[tuple[str, str]] = []
        self._cancelled = False

    def cancel(self) -> None:
        """The command gets a KeyboardInterrupt when it prints next; may be called from any thread."""
        self._cancelled = True

    def take(self, where: str, text: str) -> None:
        """Called by the streams."""
        if self._cancelled:
            self._cancelled = False
            raise KeyboardInterrupt
        self.pieces.append((where, text))

    def text(self, where: str | None = None) -> str:
        """Everything, or what went to one of the two."""
        return "".join(text for place, text in self.pieces if where in (None, place))


_present: ContextVar[Caught | None] = ContextVar("caught", default=None)


class _Bytes:
    def __init__(self, stream: _Stream):
        self._target = stream

    def write(self, data: bytes) -> int:
        self._target.write(data.decode("utf-8", "surrogateescape"))
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""


class _Stream:
    """Standard output or standard error: that of the thread that writes."""

    def __init__(self, where: str, otherwise: Any):
        self._where, self._otherwise = where, otherwise

    def write(self, text: str) -> int:
        caught = _present.get()
        if caught is None:
            self._otherwise.write(text)
        else:
            caught.take(self._where, text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _present.get() is None:
            self._otherwise.flush()

    def isatty(self) -> bool:
        return _present.get() is None and bool(self._otherwise.isatty())

    @property
    def columns(self) -> int | None:
        """See `Caught`; None where nothing is caught."""
        caught = _present.get()
        return None if caught is None else caught.columns

    @property
    def buffer(self) -> Any:
        return self._otherwise.buffer if _present.get() is None else _Bytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._otherwise, name)


class _Input:
    """Standard input: a command that is caught has none."""

    def __init__(self, otherwise: Any):
        self._otherwise = otherwise

    def isatty(self) -> bool:
        return _present.get() is None and bool(self._otherwise.isatty())

    def __getattr__(self, name: str) -> Any:
        if _present.get() is not None and name in ("buffer", "read", "readline", "readlines", "fileno"):
            _nothing_to_read()
        return getattr(self._otherwise, name)


def _nothing_to_read() -> NoReturn:
    raise UsageError("There is no standard input here: - cannot be given; name a file, or use a terminal's shell.")


@contextmanager
def caught(columns: int | None = None) -> Iterator[Caught]:
    """What this thread prints goes into the Caught and nowhere else. columns: see `Caught`."""
    global _catching, _before
    with _lock:
        if not _catching:
            _before = sys.stdin, sys.stdout, sys.stderr
            sys.stdin = cast(TextIO, _Input(sys.stdin))
            sys.stdout = cast(TextIO, _Stream(OUT, sys.stdout))
            sys.stderr = cast(TextIO, _Stream(ERR, sys.stderr))
        _catching += 1
    result = Caught(columns)
    token = _present.set(result)
    try:
        yield result
    finally:
        _present.reset(token)
        with _lock:
            _catching -= 1
            if not _catching:  # unless somebody else has put something in their place meanwhile
                if isinstance(sys.stdin, _Input):
                    sys.stdin = _before[0]
                if isinstance(sys.stdout, _Stream):
                    sys.stdout = _before[1]
                if isinstance(sys.stderr, _Stream):
                    sys.stderr = _before[2]
