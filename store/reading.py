"""Reading files that may come from strangers: what they are, how large and how deep is known before they are parsed."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import orjson

from engine.errors import FormatError, NotFound
from store.atomic import explain, shown_path

MAX_DEPTH = 8
MAX_LISTS = 1_000_000  # an empty list costs 20 times its text
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STRINGS = re.compile(STRING.pattern[:-1] + rb'(?:"|\\?\Z)', re.DOTALL)  # one that never ends is looked at only once
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
BOM = b"\xef\xbb\xbf"


_CAREFULLY = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a pipe must not block, a terminal not become ours


def open_regular(path: str | Path, limit: int, *, follow: bool = True) -> tuple[BufferedReader, int]:
    """An open file and its size in bytes. NotFound, StoreError; FormatError for pipes, devices, folders and more
    than `limit` bytes. follow: whether it may be a symbolic link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFULLY | (0 if follow else os.O_NOFOLLOW))
    except (FileNotFoundError, ValueError):  # a name with a NUL in it cannot exist
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
    except BaseException as error:
        with suppress(OSError):
            os.close(descriptor)
        if isinstance(error, OSError):
            raise explain(error, path, "read") from error
        raise


def open_to_append(path: str | Path) -> int:
    """The descriptor of a file that is appended to, made private if it is missing. OSError; FormatError for links,
    pipes, devices and folders: an unpacked archive may have put them where we are about to write."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | _CAREFULLY, 0o600)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise FormatError(f"{shown_path(path)} is a link or not a regular file; nothing is written to it.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise FormatError(f"{shown_path(path)} is a link or not a regular file; nothing is written to it.")
        return descriptor
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise


def memory() -> int:
    """Bytes of memory that this machine has; a number that is never reached where that is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 62


def read_bytes(path: str | Path, limit: int, *, follow: bool = True) -> bytes:
    """The content of a regular file of at most `limit` bytes. follow: whether it may be a symbolic link."""
    file, size = open_regular(path, limit, follow=follow)
    try:
        with file:
            data = file.read(size + 1)
    except OSError as error:
        raise explain(error, path, "read") from error
    return data[:size]  # a file that grows meanwhile is read as it was


def read_json(path: str | Path, limit: int, *, follow: bool = True) -> dict[str, Any]:
    """The object in a JSON file. FormatError (one sentence) when it is too large, too deep, broken or not an object."""
    return parse_json(read_bytes(path, limit, follow=follow), path)


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
    brackets = _STRINGS.sub(b"", data).translate(_ONE_KIND, _NO_BRACKETS)
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
