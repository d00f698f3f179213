"""An append-only file of JSON lines. A line is whole or it does not count; any number of readers may follow it.

This is how it is written, repaired and thinned; store/journal_reading.py has how it is read, and reads it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from engine.errors import FormatError, NotFound
from store.atomic import explain, replacing, shown_path, sync, sync_folder
from store.journal_reading import (
    BLOCK,
    HEADER,
    MARKER,
    MAX_LINE,
    Offset,
    end,
    last_whole,
    number,
    opened,
    parse,
    read,
    shape_of,
    tail,
    tail_with_offset,
)

__all__ = ["Journal", "Offset", "append", "end", "read", "repair", "tail", "tail_with_offset", "thin", "torn"]

_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
_RECENT = 1 << 19  # bytes at the end that are not thinned: what somebody who attaches sees first
_GONE = (errno.EBADF, errno.EIO, errno.ENODEV, errno.ENOTCONN, errno.ENXIO, errno.ESTALE)  # a disk that was taken away


class Journal:
    """Appends dicts to `path`. Lines are buffered until `flush` (or 64 kB); NaN is written as null.

    A line that was torn by a crash is completed or cut off before the next one is written. Several processes may
    append to one journal, and it may be thinned meanwhile. mode: of a file that is made.
    """

    def __init__(self, path: str | Path, mode: int = 0o666):
        self.path = Path(path)
        self._buffer = bytearray()
        self._done = self._base = 0  # bytes of the buffer that a failed flush left in the file, from byte _base on
        self._synced = 0  # bytes of the file that are on the disk
        self._doubtful = False  # a sync failed, and the system may believe that what it did not write is written
        self._lost = False  # the descriptor may be of a disk that is no longer there
        self._changing, self._syncing = threading.Lock(), threading.Lock()
        self._named = False  # its name is on the disk
        try:
            self._descriptor = _open(self.path, os.O_CREAT, mode)
        except OSError as error:
            raise explain(error, self.path, "opened") from error

    def append(self, line: dict[str, Any]) -> None:
        """Adds one line. FormatError when it is not plain data or longer than 1 MB, StoreError as `flush`."""
        try:
            text = orjson.dumps(line, option=_OPTIONS)
        except (TypeError, orjson.JSONEncodeError) as error:
            raise FormatError(f"A line for {shown_path(self.path.name)} is not plain data: {error}.") from None
        if len(text) > MAX_LINE:
            raise FormatError(f"A line for {shown_path(self.path.name)} is longer than {MAX_LINE:,} bytes.")
        self._buffer += text
        if len(self._buffer) > BLOCK:
            self.flush()

    def flush(self, sync: bool = False) -> None:
        """Hands the buffered lines to the system; sync: and waits until they are on the disk.

        StoreError when the disk is full or gone: the lines stay buffered for the next flush, which also finds a disk
        that was mounted again. A file that was removed is not made anew.
        """
        try:
            if self._lost:
                self._reopen()
            while self._buffer or sync:
                with self._changing, _locked(self._descriptor):
                    if self._in_place():
                        if self._buffer:
                            self._write()
                        break
                self._reopen()
                self._base = -1
            if sync:
                self._sync()
        except OSError as error:
            self._lost = error.errno in _GONE
            raise explain(error, self.path) from error

    def sync(self) -> None:
        """Waits until what was flushed is on the disk. StoreError. Another thread than the writer's may call it, and
        the writer does not wait for it."""
        try:
            self._sync()
        except OSError as error:
            self._lost = self._lost or error.errno in _GONE
            raise explain(error, self.path) from error

    def _in_place(self) -> bool:
        """Whether the open file still has its name, and was not replaced by a thinner one."""
        here, mine = os.lstat(self.path), os.fstat(self._descriptor)
        return (here.st_ino, here.st_dev) == (mine.st_ino, mine.st_dev)

    def _reopen(self) -> None:
        descriptor = _open(self.path)
        with self._changing:
            old, self._descriptor = self._descriptor, descriptor
            with suppress(OSError):
                if os.fstat(old).st_ino != os.fstat(descriptor).st_ino:
                    self._synced, self._doubtful = 0, False
            with suppress(OSError):
                os.close(old)
            self._lost = False

    def _write(self) -> None:
        size = self._resume()
        try:
            with memoryview(bytes(self._buffer)) as view:
                while self._done < len(view):
                    written = os.write(self._descriptor, view[self._done:])
                    if written <= 0:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    self._done += written
        except OSError:
            if self._done:
                with suppress(OSError):  # then the next flush goes on where this one ended
                    os.ftruncate(self._descriptor, size)
                    self._done = 0
            raise
        self._buffer.clear()
        self._done = 0

    def _resume(self) -> int:
        """Makes the end of the file ready for the rest of the buffer and returns where the buffer begins in it."""
        if self._done and self._base >= 0:
            there = os.pread(self._descriptor, self._done + 2, self._base)
            if there == self._buffer[:self._done]:
                return self._base
            pairs = zip(there, self._buffer[:self._done + 1], strict=False)
            self._forget(next((at for at, (a, b) in enumerate(pairs) if a != b), len(there)))
        elif self._done:  # the file was thinned, and before that repaired
            start = self._buffer.rfind(b"\n", 0, self._done) + 1
            self._forget(self._done + (parse(self._buffer[start:self._done]) is not None))
        self._base = _repair(self._descriptor)
        return self._base

    def _forget(self, there: int) -> None:
        """Somebody else completed or cut off the line that was left torn. What stands in the file whole of the first
        bytes of the buffer is not written again."""
        del self._buffer[:self._buffer.rfind(b"\n", 0, there) + 1]
        self._done = 0

    def _sync(self) -> None:
        """Waits for the disk. After a failure the bytes in doubt are written once more: the system may have taken them
        for written, and a second sync would tell of no error."""
        with self._syncing:
            with self._changing:
                size = os.fstat(self._descriptor).st_size
                if self._doubtful and self._synced < size:
                    _rewrite(self.path, self._descriptor, self._synced, size)
                descriptor = os.dup(self._descriptor)
            try:
                self._doubtful = True
                sync(descriptor)
                if not self._named:
                    sync_folder(self.path.parent)
                self._doubtful, self._named = False, True
                self._synced = size
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Flushes and closes. May be called twice."""
        if self._descriptor >= 0:
            try:
                self.flush()
            finally:
                descriptor, self._descriptor = self._descriptor, -1
                os.close(descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def append(path: str | Path, line: dict[str, Any], mode: int = 0o600) -> None:
    """Adds one line to a journal that others append to as well. FormatError, StoreError (then it was not added)."""
    with Journal(path, mode) as journal:
        journal.append(line)


# --- repairing and thinning -------------------------------------------------------------------------------------------


def torn(path: str | Path) -> int:
    """How many bytes after its last whole line a journal has: those of a line that a crash has torn, or NULs. A writer
    that is at work may have left some for a moment. 0 for a missing file; FormatError, StoreError."""
    try:
        with opened(path) as (file, shape):
            return shape.size - last_whole(file.fileno(), shape.size)
    except NotFound:
        return 0
    except OSError as error:
        raise explain(error, path, "read") from error


def repair(path: str | Path) -> None:
    """Ends a journal with a whole line, as the next line that is appended would. StoreError."""
    try:
        descriptor = _open(Path(path))
        try:
            with _locked(descriptor):
                _repair(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise explain(error, path, "repaired") from error


def thin(path: str | Path, keep: Callable[[dict[str, Any]], bool], recent: int = _RECENT) -> int:
    """Leaves out the lines that `keep` refuses, but for the last `recent` bytes of them. The bytes that were saved.

    keep: is asked of every line, in order. Readers neither lose nor see twice what is kept: their offsets stay valid.
    A crash leaves the old file or the new one. Only for a journal whose writer is at rest or a `Journal`, which waits.
    FormatError, StoreError (then nothing was changed).
    """
    path = Path(path)
    try:
        descriptor = _open(path)
        try:
            with _locked(descriptor):
                here, mine = os.lstat(path), os.fstat(descriptor)
                if here.st_ino != mine.st_ino:
                    return 0  # somebody else did it
                return _thin(path, descriptor, keep, _repair(descriptor), recent)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise explain(error, path, "thinned") from error


class _Enough(Exception):
    """There is nothing to be saved."""


def _thin(path: Path, descriptor: int, keep: Callable[[dict[str, Any]], bool], size: int, recent: int) -> int:
    saved = 0
    with suppress(_Enough), open(descriptor, "rb", closefd=False) as file, replacing(path) as out:
        shape = shape_of(file, size)
        out.write((HEADER % (0, 0, shape.head.hex())).encode())
        file.seek(shape.begin)
        position, gap, long = shape.begin, [0, 0], False  # gap: lines and bytes left out since the last that was kept
        while position < max(size - recent, shape.until) and (line := file.readline(MAX_LINE + 1)):
            position += len(line)
            whole = line.endswith(b"\n") and not long
            long = not line.endswith(b"\n")
            if whole and position <= shape.until and (left_out := number(line, "left_out", "bytes")) is not None:
                gap[0] += number(line, "left_out", "lines") or 0
                gap[1] += left_out
            elif whole and (value := parse(line)) is not None and keep(value):
                _mark(out, gap)
                out.write(line)
            else:
                gap[0] += not long
                gap[1] += len(line)
        _mark(out, gap)
        until, missing = out.tell(), shape.logical(position) - out.tell()
        if missing <= 0 or position <= until:
            raise _Enough
        saved = position - until
        while block := os.pread(descriptor, BLOCK, position):
            out.write(block)
            position += len(block)
        out.seek(0)
        out.write((HEADER % (until, missing, shape.head.hex())).encode())
    return saved


def _mark(out: BinaryIO, gap: list[int]) -> None:
    """Says what was left out here."""
    if gap[1]:
        out.write((MARKER % (gap[0], gap[1])).encode())
        gap[:] = [0, 0]


def _open(path: Path, flags: int = 0, mode: int = 0o666) -> int:
    """A descriptor for appending to a regular file of one name: an unpacked archive may have put a link there. OSError.
    """
    what = errno.EINVAL, "it is a link or not a regular file"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
            raise OSError(*what) from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(*what)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Alone among the writers of a file."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _repair(descriptor: int) -> int:
    """Ends the file with a whole line: a torn one is completed if only its newline is missing, else cut off. Its size
    then."""
    size = os.fstat(descriptor).st_size
    whole = last_whole(descriptor, size)
    if whole == size:
        return size
    if size - whole <= MAX_LINE:
        rest = os.pread(descriptor, size - whole, whole).rstrip(b"\0")
        if parse(rest) is not None:
            if whole + len(rest) < size:
                os.ftruncate(descriptor, whole + len(rest))
            os.write(descriptor, b"\n")
            return whole + len(rest) + 1
    os.ftruncate(descriptor, whole)
    return whole


def _rewrite(path: Path, descriptor: int, start: int, stop: int) -> None:
    """Writes bytes of a file over themselves."""
    other = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)  # not the one that can only append
    try:
        if os.fstat(other).st_ino != os.fstat(descriptor).st_ino:
            return
        while start < stop and (block := os.pread(descriptor, min(BLOCK, stop - start), start)):
            start += os.pwrite(other, block, start)
    finally:
        os.close(other)
