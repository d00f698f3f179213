"""Reading files that may come from strangers: what they are, how large and how deep is known before they are parsed."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from engine.errors import FormatError, NotFound
from store.atomic import explain, shown_path

MAX_DEPTH = 8
MAX_LISTS = 1_000_000  # an empty list costs 20 times its text
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
BOM = b"\xef\xbb\xbf"


def open_regular(path: str | Path, limit: int) -> tuple[BinaryIO, int]:
    """An open file and its size in bytes. NotFound, StoreError; FormatError for pipes, devices, folders and more
    than `limit` bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block
    except FileNotFoundError:
        raise NotFound(f"There is no file {shown_path(path)}.") from None
    except OSError as error:
        raise explain(error, path, "read") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{shown_path(path)} is not a regular file; nothing was read from it.")
        if status.st_size > limit:
            raise FormatError(f"{shown_path(path)} has {status.st_size:,} bytes, more than the {limit:,} that are "
                              "allowed for such a file.")
        return os.fdopen(descriptor, "rb"), status.st_size
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def read_bytes(path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes."""
    file, size = open_regular(path, limit)
    with file:
        try:
            data = file.read(size + 1)
        except OSError as error:
            raise explain(error, path, "read") from error
    return data[:size]  # a file that grows meanwhile is read as it was


def read_json(path: str | Path, limit: int) -> dict[str, Any]:
    """The object in a JSON file. FormatError (one sentence) when it is too large, too deep, broken or not an object."""
    return parse_json(read_bytes(path, limit), path)


def parse_json(data: bytes, path: str | Path) -> dict[str, Any]:
    """The JSON object in `data`; `path` is only for messages. Depth and count are checked before parsing."""
    name = shown_path(os.path.basename(path))
    data = data.removeprefix(BOM)
    check_depth(data, name)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"{name} is not valid JSON ({error}); it may be damaged.") from None
    if not isinstance(value, dict):
        raise FormatError(f"{name} must hold one JSON object, not {kind(value)}.")
    return value


def check_depth(data: bytes, name: str) -> None:
    """FormatError when JSON text is nested deeper than MAX_DEPTH or has more than MAX_LISTS lists and objects."""
    opened = data.count(b"[") + data.count(b"{")
    if opened <= MAX_DEPTH:
        return
    brackets = STRING.sub(b"", data).translate(_ONE_KIND, _NO_BRACKETS)
    if len(brackets) > 2 * MAX_LISTS:
        raise FormatError(f"{name} has more than {MAX_LISTS:,} lists and objects; it is not a file of this kind.")
    rest = brackets
    for _ in range(MAX_DEPTH):
        rest = rest.replace(b"[]", b"")  # takes the innermost level away
    if not rest:
        return
    depth = 0
    for byte in brackets:  # too deep, or not balanced, which the parser says better
        depth += 1 if byte == 0x5B else -1
        if depth > MAX_DEPTH:
            raise FormatError(f"{name} is nested more than {MAX_DEPTH} levels deep; it is not a file of this kind.")


def kind(value: Any) -> str:
    """What a JSON value is, in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
