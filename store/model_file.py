"""The model file: one flat JSON object, name → nested list, number or null (FORMATS §2).

Both directions stream. Writing holds the text of a quarter of a million numbers at a time; reading parses pieces of
64 kB, whose numbers stay in the processor's cache: four times as fast as parsing the whole file at once, and the
memory it takes is that of the arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import orjson

from engine.errors import FormatError, shown
from store.atomic import explain, shown_path
from store.model_writing import MAX_DIMS, NAME, is_tensor, write_model
from store.reading import BOM, MAX_DEPTH, STRING, open_regular

if TYPE_CHECKING:
    import numpy as np

__all__ = ["is_tensor", "read_model", "read_shapes", "write_model"]

LIMIT = 4 << 30  # bytes of a file that is read
_PIECE = 1 << 16  # bytes parsed at once
_BLOCK = 1 << 20  # bytes read at once
_PLAIN = 1 << 21  # bytes of all values that are no tensors: lists cost 20 times their text
_KEYS = 1 << 18
_PARTS = 1 << 18  # lists of a tensor with more than 2 dimensions: each costs 30 times its text
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb"[^,}\]\[{\" \t\r\n]++")
_TOKEN = re.compile(STRING.pattern + rb"|[\[\]{}\"]", re.DOTALL)  # a lone quote begins text that is not all there


def read_model(path: str | Path, limit: int = LIMIT, dtype: str = "float32") -> dict[str, Any]:
    """name → array, number or None, in file order. dtype: "float32", or "float64" for every digit of the file.

    Lists become arrays of 1 to 4 dimensions. Keys that name no tensor are passed through as they are (rectangular
    lists of numbers become arrays). FormatError, one sentence with the file and the tensor, for anything else: more
    than `limit` bytes, broken JSON, a duplicate key, ragged or empty lists, text, true or false, numbers that are not
    finite or too large for `dtype`, nesting deeper than 8. A pickle is never opened.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64, not {dtype}")
    return dict(_members(path, limit, dtype))


def read_shapes(path: str | Path, limit: int = LIMIT) -> dict[str, tuple[int, ...] | None]:
    """name → shape, () for a number, None for null; what is no tensor is left out.

    Counts brackets and commas instead of reading numbers (about ten times as fast, no numpy); a file that passes may
    still be refused by `read_model`.
    """
    return {name: value for name, value in _members(path, limit, None) if is_tensor(name)}


def _members(path: str | Path, limit: int, dtype: str | None) -> Iterator[tuple[str, Any]]:
    path = Path(path)
    if path.suffix in (".pkl", ".pickle", ".pt", ".pth"):
        raise FormatError(f"{shown_path(path.name)} is a pickle, which can run code when it is opened and is never "
                          "read; export the model as JSON with the program that wrote it.")
    file, _ = open_regular(path, limit)
    try:
        with file:
            yield from _Reader(file, shown_path(path.name), dtype).members()
    except OSError as error:
        raise explain(error, path, "read") from error


class _Reader:
    """Reads the members of one object. `buf[pos:]` is what has been read from the file and not yet used."""

    def __init__(self, file: BinaryIO, name: str, dtype: str | None):
        self.file, self.name, self.dtype = file, name, dtype
        self.buf, self.pos, self.end = b"", 0, False
        self.plain_left = _PLAIN
        self.tensor: str | None = None

    def fail(self, problem: str) -> NoReturn:
        where = f"{self.name}: {shown(self.tensor)}" if self.tensor is not None else self.name
        raise FormatError(f"{where} {problem}.") from None

    def broken(self) -> NoReturn:
        if self.peek() == b"":
            self.fail("ends too early; the file has been cut off")
        self.fail("is not valid JSON here; the file is damaged or not a model")

    def window(self, size: int) -> int:
        """Makes at least `size` bytes available unless the file ends; returns the end of such a piece in `buf`."""
        if len(self.buf) - self.pos < size and not self.end:
            more = self.file.read(max(size, _BLOCK))
            self.end = len(more) < max(size, _BLOCK)
            self.buf, self.pos = self.buf[self.pos:] + more, 0
        return min(self.pos + size, len(self.buf))

    def peek(self) -> bytes:
        """The next byte that is not space; b"" at the end of the file."""
        while True:
            self.window(1)
            space = _SPACE.match(self.buf, self.pos)
            self.pos = space.end() if space else self.pos
            if self.pos < len(self.buf) or self.end:
                return self.buf[self.pos:self.pos + 1]

    def take(self, byte: bytes) -> None:
        if self.peek() != byte:
            self.broken()
        self.pos += 1

    def members(self) -> Iterator[tuple[str, Any]]:
        self.window(len(BOM))
        self.pos += len(BOM) if self.buf.startswith(BOM) else 0
        if self.peek() not in (b"{", b""):
            self.fail("is not a model: it does not begin with {")
        self.take(b"{")
        seen: set[str] = set()
        more = self.peek() != b"}"
        while more:
            self.tensor = None
            name = self.key()
            if name in seen:
                self.fail(f"has the key {shown(name)} twice")
            seen.add(name)
            if len(seen) > _KEYS:
                self.fail(f"has more than {_KEYS:,} keys; it is not a model")
            self.take(b":")
            self.tensor = name
            value = self.value() if is_tensor(name) else self.other()
            yield name, value
            more = self.peek() == b","
            if more:
                self.pos += 1
        self.take(b"}")
        self.tensor = None
        if self.peek() != b"":
            self.fail("goes on after its end; the file is damaged")

    def key(self) -> str:
        if self.peek() != b'"':
            self.broken()
        stop = self.window(NAME)
        match = STRING.match(self.buf, self.pos, stop)
        if match is None:
            self.fail(f"has a key that is cut off or longer than {NAME} bytes")
        self.pos = match.end()
        name = self.loads(match[0])
        return str(name)

    def loads(self, text: bytes) -> Any:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if "infinity" in str(error):
                self.fail("holds a number that is too large")
            if b"NaN" in text or b"Inf" in text:
                self.fail("holds a number that is not finite")
            self.fail("is not valid JSON or mixes numbers and lists; the file is damaged")

    def value(self) -> Any:
        """The array, number or None of a tensor; in counting mode its shape."""
        first = self.peek()
        if first == b"[":
            self.pos += 1
            parts: list[Any] = []
            shape = self.block(parts, 1)
            return shape if self.dtype is None else _join(parts, shape)
        if first == b"":
            self.broken()
        if first in b'"{tf':
            self.fail(f"is {_WORDS[first]}, not a list of numbers, a number or null")
        stop = self.window(NAME)
        match = _SCALAR.match(self.buf, self.pos, stop)
        number = self.loads(match[0] if match else b"")
        self.pos = match.end() if match else self.pos
        if self.dtype is None:
            return None if number is None else ()
        return number

    def block(self, parts: list[Any], level: int) -> tuple[int, ...]:
        """Reads a list whose opening bracket is taken. Adds its numbers, in order, to `parts` as flat arrays (counts
        in counting mode) and returns its shape."""
        first = self.peek()
        if first != b"[":
            return (self.row(parts),)
        if level >= MAX_DIMS:
            self.fail(f"has more than {MAX_DIMS} dimensions")
        count, inner, more = 0, None, True
        while more:
            if self.peek() != b"[":
                self.odd(self.peek())
            grouped = self.rows(parts) if level == 1 else None
            if grouped is None:  # deeper lists, or a row longer than a piece
                self.pos += 1
                grouped = 1, self.block(parts, level + 1)
            if inner is not None and grouped[1] != inner:
                self.fail(f"is ragged: its lists differ in length ({_size(inner)} and {_size(grouped[1])})")
            count, inner = count + grouped[0], grouped[1]
            more = self.peek() == b","
            if more:
                self.pos += 1
        self.close()
        return count, *(inner or ())

    def close(self) -> None:
        byte = self.peek()
        if byte in (b"[", b"{", b'"'):
            self.broken()
        self.take(b"]")

    def rows(self, parts: list[Any]) -> tuple[int, tuple[int, ...]] | None:
        """Reads as many whole rows of numbers as a piece holds: how many and their shape. None: not applicable."""
        stop = self.window(_PIECE)
        for mark in (b'"', b"}"):  # neither is in an array: it ends before
            found = self.buf.find(mark, self.pos, stop)
            stop = found if found >= 0 else stop
        end = self.buf.rfind(b"]", self.pos, stop) + 1
        if end == 0:
            return None
        before = self.buf[max(end - 80, self.pos):end - 1].rstrip()
        if not before:  # more space than anybody writes
            return None
        if before.endswith(b"]"):  # that was the end of the whole array
            end = self.buf.rfind(b"]", self.pos, end - 1) + 1
        if end <= self.pos:
            return None
        text = self.buf[self.pos:end]
        inside = _SPACE.match(text, 1)
        if inside is None or text[inside.end():inside.end() + 1] in (b"[", b""):
            return None
        if self.dtype is None:
            count, numbers = text.count(b"["), text.count(b",") + 1
            if numbers % count:
                self.fail("is ragged: its lists differ in length")
            parts.append(numbers)
            self.pos = end
            return count, (numbers // count,)
        lists = self.numbers(text)
        try:
            widths = set(map(len, lists))
        except TypeError:
            self.fail("is ragged: it mixes numbers and lists")
        if len(widths) > 1:
            few, many = min(widths), max(widths)
            self.fail(f"is ragged: its lists differ in length ({few} and {many})")
        width = widths.pop()
        self.store(parts, chain.from_iterable(lists), len(lists) * width)
        self.pos = end
        return len(lists), (width,)

    def row(self, parts: list[Any]) -> int:
        """Reads one list of numbers, whose opening bracket is taken, piece by piece; returns its length."""
        total, last = 0, False
        while not last:
            first = self.peek()
            if first not in _DIGITS:
                self.odd(first)
            stop = self.window(_PIECE)
            end = self.buf.find(b"]", self.pos, stop)
            last = end >= 0
            if not last:
                end = self.buf.rfind(b",", self.pos, stop)
            if end < 0:
                if self.end:
                    self.pos = len(self.buf)
                self.broken()
            text = self.buf[self.pos:end]
            if b"[" in text or b"{" in text:
                self.fail("is ragged: it mixes numbers and lists")
            if self.dtype is None:
                count = text.count(b",") + 1
                parts.append(count)
            else:
                values = self.numbers(text)
                count = len(values)
                self.store(parts, values, count)
            total += count
            self.pos = end + 1
        return total

    def numbers(self, text: bytes) -> list[Any]:
        """The list of `text` (its content without the brackets), in which nothing but numbers and lists may be."""
        if b'"' in text:
            self.fail("holds text where a number should be")
        if b"a" in text or b"u" in text:  # false and NaN, true and null
            self.odd(b"N" if b"NaN" in text else b"n" if b"null" in text else b"t")
        values: list[Any] = self.loads(b"[" + text + b"]")
        return values

    def store(self, parts: list[Any], values: Any, count: int) -> None:
        import numpy as np

        if count == 0:
            self.fail("has an empty list")
        if len(parts) >= _PARTS:
            self.fail(f"has more than {_PARTS:,} lists in more than 2 dimensions")
        try:
            flat = np.fromiter(values, np.float64, count)
        except (TypeError, ValueError):
            self.fail("is ragged: it mixes numbers and lists")
        if self.dtype == "float32":
            with np.errstate(over="ignore"):
                flat = flat.astype(np.float32)
        if not np.isfinite(flat).all():
            self.fail(f"holds a number that is too large for {self.dtype}")
        parts.append(flat)

    def odd(self, first: bytes) -> NoReturn:
        """The error for a byte that begins neither a number nor a list."""
        if first == b"]":
            self.fail("has an empty list")
        if first == b"n":
            self.fail("holds null where a number should be; it was perhaps saved with a number that is not finite")
        if first in (b"N", b"I", b"-"):
            self.fail("holds a number that is not finite")
        if first in _DIGITS and first:
            self.fail("is ragged: it mixes numbers and lists")
        if first in _WORDS:
            self.fail(f"holds {_WORDS[first]} where a number should be")
        self.broken()

    def other(self) -> Any:
        """The value of a key that names no tensor, as it is; a rectangular list of numbers becomes an array."""
        first = self.peek()
        text = self.plain()
        if text is None:
            if first != b"[":
                self.fail(f"is more than {_PLAIN:,} bytes of what is no tensor, with what came before it")
            return self.value()
        value = self.loads(text)
        self.pos += len(text)
        if self.dtype is not None and isinstance(value, list) and _shape(value) is not None:
            import numpy as np

            with np.errstate(over="ignore"):
                array = np.array(value, dtype=self.dtype)
            if np.isfinite(array).all():
                return array
        self.plain_left -= len(text)
        return value

    def plain(self) -> bytes | None:
        """The text of the next value, which is not yet taken; None when it is longer than what is left of _PLAIN."""
        size = _PIECE
        if self.peek() in (b"", b"]", b"}", b",", b":"):
            self.broken()
        while True:
            stop = self.window(size)
            length = self.length(stop)
            if length is not None and (self.pos + length < stop or self.end):
                return self.buf[self.pos:self.pos + length] if length <= self.plain_left else None
            if stop == len(self.buf) and self.end:
                self.fail("is cut off or not valid JSON")
            if size >= self.plain_left:
                return None
            size *= 4

    def length(self, stop: int) -> int | None:
        """The number of bytes of the value at `pos`; None when it does not end before `stop`."""
        if self.buf[self.pos:self.pos + 1] not in (b"[", b"{", b'"'):
            scalar = _SCALAR.match(self.buf, self.pos, stop)
            return scalar.end() - self.pos if scalar else None
        depth = 0
        for token in _TOKEN.finditer(self.buf, self.pos, stop):
            if token[0] == b'"':
                return None
            if token[0] in (b"[", b"{"):
                depth += 1
                if depth > MAX_DEPTH:
                    self.fail(f"is nested more than {MAX_DEPTH} levels deep")
            elif token[0] in (b"]", b"}"):
                depth -= 1
            if depth <= 0:
                return token.end() - self.pos
        return None


_DIGITS = b"-0123456789"
_WORDS = {b'"': "text", b"{": "an object", b"t": "true or false", b"f": "true or false"}


def _shape(value: Any, level: int = 1) -> tuple[int, ...] | None:
    """The shape of a rectangular list of numbers with at most 4 dimensions, None for any other list."""
    if level > MAX_DIMS or not value:
        return None
    if all(type(v) in (int, float) for v in value):
        return (len(value),)
    if not all(type(v) is list for v in value):
        return None
    shapes = {_shape(v, level + 1) for v in value}
    inner = shapes.pop()
    return None if shapes or inner is None else (len(value), *inner)


def _join(parts: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return flat.reshape(shape)


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
