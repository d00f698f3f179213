"""How a journal lies in its file, and how it is read.

Readers go by offsets that stay what they are when lines are thinned out of the file (see `store.journal.thin`): an
offset counts the bytes of all lines that were ever before it. A file that was thinned begins with a header, and a
marker stands wherever lines were left out. Blocks of NULs, which a power cut can leave, are no lines, nor do they hide
the one they precede.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from engine.errors import FormatError, NotFound
from store.atomic import explain
from store.reading import open_regular

BLOCK = 1 << 16
MAX_LINE = 1 << 20
_NO_LINE = 1 << 26  # bytes: far more than a torn line or what a power cut leaves
_NO_LIMIT = 1 << 62
_SKIMMED = 1 << 22  # bytes that are looked through at once
_TAIL = 1 << 25  # bytes that are read for a tail at most
_HEAD = 64  # bytes by which a journal is told from another: its first line has the time it was begun
_STEP = b'{"event":"step","step":'
_THINNED = b'{"thinned":'
_LEFT_OUT = b'{"left_out":'
HEADER = '{"thinned":{"until":%20d,"missing":%20d,"began":"%s"}}\n'
MARKER = '{"left_out":{"lines":%d,"bytes":%d}}\n'


class Offset(int):
    """Where a reader of a journal stands. Knows the journal too, so that another of its name is begun at its start."""

    head: bytes = b""
    file: bytes = b""  # the header for which `place` holds
    place: int = 0  # byte in the file


def read(path: str | Path, offset: int = 0, limit: int | None = None, every: int = 1,
         ) -> tuple[list[dict[str, Any]], Offset]:
    """The whole lines from an offset on, and the offset to continue from. A missing file has no lines.

    limit: stop after about this many bytes. every: of the events called step only those whose step is a multiple of
    it; the others cost little. Lines that are not JSON objects are left out. An offset past the end, or one of
    another journal that had this name, starts again at 0.
    """
    lines: list[dict[str, Any]] = []
    try:
        with opened(path) as (file, shape):
            place, logical = shape.find(offset)
            stop = shape.size if limit is None else min(shape.size, place + max(limit, 1))
            if every > 1 and place >= shape.until:
                after = _skim(file, place, stop, every, lines)
                place, logical = after, logical + after - place
            file.seek(place)
            position, long = place, False  # long: in the middle of a line that is too long to be ours
            while position < stop and (line := file.readline(MAX_LINE + 1)):
                position += len(line)
                if not line.endswith(b"\n"):
                    long = True
                    continue
                left_out = number(line, "left_out", "bytes") if position <= shape.until else None
                logical += position - place if left_out is None else left_out
                place = position
                if not long and left_out is None and (every == 1 or _wanted(line, every)):
                    value = parse(line)
                    if value is not None:
                        lines.append(value)
                long = False
            return lines, shape.offset(logical, place)
    except NotFound:
        return [], Offset()
    except OSError as error:
        raise explain(error, path, "read") from error


def end(path: str | Path) -> Offset:
    """The offset after the last whole line, for those who want only what is yet to come."""
    return tail_with_offset(path, 0)[1]


def tail(path: str | Path, n: int) -> list[dict[str, Any]]:
    """The last n lines, oldest first, without reading the whole file."""
    return tail_with_offset(path, n)[0]


def tail_with_offset(path: str | Path, n: int) -> tuple[list[dict[str, Any]], Offset]:
    """The last n lines (fewer when they are very long) and the offset to continue from with `read`."""
    try:
        with opened(path) as (file, shape):
            place = start = max(last_whole(file.fileno(), shape.size), shape.begin)
            text, lines, wanted = bytearray(), list[bytearray](), n
            while start > shape.begin and len(lines) < n and len(text) < _TAIL:
                blocks: list[bytes] = []
                newlines = 0
                while start > shape.begin and newlines <= wanted and len(blocks) * BLOCK < _TAIL:
                    step = min(BLOCK, start - shape.begin)
                    start -= step
                    blocks.append(os.pread(file.fileno(), step, start))
                    newlines += blocks[-1].count(b"\n")
                text[:0] = b"".join(reversed(blocks))
                lines = text.split(b"\n")[:-1]
                if start > shape.begin:
                    lines = lines[1:]  # began in the middle of a line
                if start < shape.until:
                    lines = [line for line in lines if not line.startswith(_LEFT_OUT)]
                wanted = n - len(lines)
            parsed = [value for line in lines[max(len(lines) - n, 0):] if (value := parse(line)) is not None]
            return parsed, shape.offset(shape.logical(place), place)
    except NotFound:
        return [], Offset()
    except OSError as error:
        raise explain(error, path, "read") from error


@dataclass
class _Shape:
    """How a journal lies in its file. begin: where the lines begin; until: where what was thinned ends; missing: how
    much smaller the bytes before `until` are than those of the lines that were there."""

    file: BinaryIO
    size: int
    header: bytes
    head: bytes
    until: int
    missing: int

    @property
    def begin(self) -> int:
        return len(self.header)

    def find(self, offset: int) -> tuple[int, int]:
        """The byte in the file where the lines after `offset` begin, and the offset of that byte."""
        if isinstance(offset, Offset) and offset.head:
            if not self.head.startswith(offset.head):
                return self.begin, 0  # it is another journal
            if offset.file == self.header and offset.place <= self.size:
                return offset.place, int(offset)
        if offset <= 0 or offset > self.size + self.missing:
            return self.begin, 0
        if offset >= self.until + self.missing:
            return offset - self.missing, int(offset)
        for place, stop, logical in self.pieces():
            if offset < logical + stop - place:
                return place + max(0, offset - logical), max(offset, logical)
        return self.until, self.until + self.missing

    def logical(self, place: int) -> int:
        """The offset of a byte in the file."""
        if place >= self.until:
            return place + self.missing
        for start, stop, logical in self.pieces():
            if place <= stop:
                return logical + max(0, place - start)
        return self.until + self.missing

    def offset(self, logical: int, place: int) -> Offset:
        found = Offset(logical)
        found.head, found.file, found.place = self.head if logical else b"", self.header, place
        return found

    def pieces(self) -> Iterator[tuple[int, int, int]]:
        """What was kept of the thinned part: start and end in the file, and the offset of the start."""
        start = place = self.begin
        logical = 0
        self.file.seek(place)
        while place < self.until and (line := self.file.readline(MAX_LINE)):
            if (left_out := number(line, "left_out", "bytes")) is not None:
                yield start, place, logical
                logical += place - start + left_out
                start = place + len(line)
            place += len(line)
        yield start, place, logical


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[BinaryIO, _Shape]]:
    file, size = open_regular(path, _NO_LIMIT)
    with file:
        yield file, shape_of(file, size)


def shape_of(file: BinaryIO, size: int) -> _Shape:
    descriptor = file.fileno()
    first = os.pread(descriptor, 256, 0)
    if first.startswith(_THINNED):
        line = first[:first.find(b"\n") + 1]
        until, missing = number(line, "thinned", "until"), number(line, "thinned", "missing")
        if until is not None and missing is not None and len(line) <= until <= size:
            with suppress(ValueError, TypeError):
                head = bytes.fromhex(orjson.loads(line)["thinned"].get("began"))
                return _Shape(file, size, line, head, until, missing)
    return _Shape(file, size, b"", first[:_HEAD], 0, 0)


def number(line: bytes, name: str, field: str) -> int | None:
    """A number of a header or marker; None if the line is not one."""
    if not line.startswith(b'{"' + name.encode() + b'":'):
        return None
    value = (parse(line) or {}).get(name)
    found = value.get(field) if isinstance(value, dict) else None
    return found if type(found) is int and 0 <= found < _NO_LIMIT else None


def _wanted(line: bytes, every: int) -> bool:
    """Whether a line is to be read when of the steps only multiples of `every` are."""
    step = _step(line) if line.startswith(_STEP) else 0
    return step is None or step % every == 0


def _step(line: bytes) -> int | None:
    try:
        return int(line[len(_STEP):line.index(b",", len(_STEP))])
    except ValueError:
        return None


def _skim(file: BinaryIO, place: int, stop: int, every: int, found: list[dict[str, Any]]) -> int:
    """Adds to `found` what is `_wanted`, as far as blocks of whole lines go, and returns where they end. A step's line
    is only looked into where steps do not follow one another."""
    while place < stop:
        file.seek(place)
        block = file.read(min(_SKIMMED, stop - place))
        end = block.rfind(b"\n") + 1
        if not end:
            break
        lines = block[:end].split(b"\n")
        others = [i for i, line in enumerate(lines) if not line.startswith(_STEP)]  # the last one is empty
        begin = 0
        for other in others:
            if begin < other:
                first, last = _step(lines[begin]), _step(lines[other - 1])
                if first is None or last is None or last - first != other - 1 - begin:
                    steps = [line for line in lines[begin:other] if _wanted(line, every)]
                else:
                    steps = lines[begin + -first % every:other:every]
                found += filter(None, map(parse, steps))
            if (value := parse(lines[other])) is not None:
                found.append(value)
            begin = other + 1
        place += end
    return place


def parse(line: bytes | bytearray) -> dict[str, Any] | None:
    """The object of a line; None for anything that is not one. NULs before it are what is left of lost lines."""
    if len(line) > MAX_LINE:
        return None
    if b"\0" in line:
        line = line[line.rindex(b"\0") + 1:]
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def last_whole(descriptor: int, size: int) -> int:
    """Where the last whole line ends. FormatError when it is not among the last bytes: nobody reads a disk for it."""
    if size and os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    start = size
    while start > 0:
        if size - start > _NO_LINE:
            raise FormatError(f"The journal ends in more than {_NO_LINE >> 20} MiB without a line; it is damaged.")
        step = min(BLOCK, start)
        start -= step
        newline = os.pread(descriptor, step, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
    return 0
