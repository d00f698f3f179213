"""An append-only file of JSON lines. A line is whole or it does not count; any number of readers may follow it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import orjson

from engine.errors import FormatError, NotFound
from store.atomic import explain, shown_path
from store.reading import open_regular

_BLOCK = 1 << 16
_MAX_LINE = 1 << 20
_NO_LIMIT = 1 << 62
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY


class Journal:
    """Appends dicts to `path`. Lines are buffered until `flush` (or 64 kB); NaN is written as null.

    A line that was torn by a crash is completed or cut off before the next one is written. Several processes may
    append to one journal.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._buffer = bytearray()
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW,
                                       0o666)
        except OSError as error:
            raise explain(error, self.path, "opened") from error

    def append(self, line: dict[str, Any]) -> None:
        """Adds one line. FormatError when it is not plain data or longer than 1 MB, StoreError as `flush`."""
        try:
            text = orjson.dumps(line, option=_OPTIONS)
        except (TypeError, orjson.JSONEncodeError) as error:
            raise FormatError(f"A line for {shown_path(self.path.name)} is not plain data: {error}.") from None
        if len(text) > _MAX_LINE:
            raise FormatError(f"A line for {shown_path(self.path.name)} is longer than {_MAX_LINE:,} bytes.")
        self._buffer += text
        if len(self._buffer) > _BLOCK:
            self.flush()

    def flush(self, sync: bool = False) -> None:
        """Hands the buffered lines to the system; sync: and waits until they are on the disk.

        StoreError when the disk is full or gone: the file then ends with a whole line, and the lines stay buffered
        for the next flush.
        """
        try:
            if self._buffer:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                try:
                    self._write()
                finally:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            raise explain(error, self.path) from error

    def _write(self) -> None:
        size = self._repair()
        written = 0
        try:
            with memoryview(self._buffer) as view:
                while written < len(view):
                    written += os.write(self._descriptor, view[written:])
        except OSError:
            if written:
                os.ftruncate(self._descriptor, size)  # all of it is written again by the next flush
            raise
        self._buffer.clear()

    def _repair(self) -> int:
        """Ends the file with a whole line: a torn one is completed if only its newline is missing, else cut off."""
        size = os.fstat(self._descriptor).st_size
        if size == 0 or os.pread(self._descriptor, 1, size - 1) == b"\n":
            return size
        start, newline = size, -1
        while start > 0 and newline < 0:
            step = min(_BLOCK, start)
            start -= step
            newline = os.pread(self._descriptor, step, start).rfind(b"\n")
        whole = start + newline + 1
        if size - whole <= _MAX_LINE and _parse(os.pread(self._descriptor, size - whole, whole)) is not None:
            os.write(self._descriptor, b"\n")
            return size + 1
        os.ftruncate(self._descriptor, whole)
        return whole

    def close(self) -> None:
        """Flushes and closes. May be called twice."""
        if self._descriptor >= 0:
            try:
                self.flush()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: str | Path, offset: int = 0, limit: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """The whole lines from byte `offset` on, and the offset to continue from. A missing file has no lines.

    limit: stop after about this many bytes. Lines that are not JSON objects are left out. An offset past the end
    (the journal was replaced by a shorter one) starts again at 0.
    """
    lines: list[dict[str, Any]] = []
    try:
        file, size = open_regular(path, _NO_LIMIT)
        with file:
            if offset > size:
                offset = 0
            stop = size if limit is None else min(size, offset + max(limit, 1))
            file.seek(offset)
            position, long = offset, False  # long: in the middle of a line that is too long to be ours
            while position < stop and (line := file.readline(_MAX_LINE + 1)):
                position += len(line)
                if not line.endswith(b"\n"):
                    long = True
                    continue
                offset = position
                if not long and (value := _parse(line)) is not None:
                    lines.append(value)
                long = False
    except NotFound:
        return [], 0
    except OSError as error:
        raise explain(error, path, "read") from error
    return lines, offset


def tail(path: str | Path, n: int) -> list[dict[str, Any]]:
    """The last n lines, oldest first, without reading the whole file."""
    return tail_with_offset(path, n)[0]


def tail_with_offset(path: str | Path, n: int) -> tuple[list[dict[str, Any]], int]:
    """The last n lines and the offset to continue from with `read`."""
    try:
        file, start = open_regular(path, _NO_LIMIT)
        with file:
            blocks: list[bytes] = []
            newlines = 0
            while start > 0 and newlines <= n:
                step = min(_BLOCK, start)
                start -= step
                blocks.append(os.pread(file.fileno(), step, start))
                newlines += blocks[-1].count(b"\n")
    except NotFound:
        return [], 0
    except OSError as error:
        raise explain(error, path, "read") from error
    text = b"".join(reversed(blocks))
    whole = text.rfind(b"\n") + 1
    lines = text[:whole].split(b"\n")[:-1]
    if start > 0:
        lines = lines[1:]  # began in the middle of a line
    parsed = [value for line in lines[max(len(lines) - n, 0):] if (value := _parse(line)) is not None]
    return parsed, start + whole


def _parse(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None for anything that is not one."""
    if len(line) > _MAX_LINE:
        return None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
