"""Checkpoints: a safetensors file with the run's meta data in its header and a SHA-256 over all of it.

Any safetensors reader can open one. Written and read in a stream, so that the moments of a large model are not held
twice; everything the header announces is checked against the size of the file before memory is taken.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.config import shown
from engine.errors import FormatError
from store.atomic import explain, replacing, shown_path
from store.reading import MAX_DEPTH, check_depth, memory, open_regular

if TYPE_CHECKING:
    import numpy as np

LIMIT = 64 << 30  # bytes of a file
_HEADER = 64 << 20  # bytes of a header
_BLOCK = 1 << 22  # bytes hashed, written and read at once
_MOST = 1 << 48  # numbers in an array, also were an empty side not empty
_NO_SUM = "0" * 64
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
           "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {text: name for name, text in _DTYPES.items()}


def write(path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Writes arrays (any of the dtypes of safetensors that numpy has) and `meta` (plain data; whole numbers of any
    size, NaN allowed) in the place of `path`. FormatError, StoreError; the old file stays whole until the new one is.
    """
    path = Path(path)
    header = _header(path, arrays, meta)
    digest = hashlib.sha256(header)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        for array in arrays.values():
            for block in _blocks(array):
                digest.update(block)
                file.write(block)
        file.seek(8)
        file.write(header.replace(_NO_SUM.encode(), digest.hexdigest().encode(), 1))


def read(path: str | Path, limit: int = LIMIT, what: str = "a checkpoint",
         wanted: Callable[[str], bool] | None = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, in the order they were written, and the meta data. Every byte is verified.

    what: what such a file is called. wanted: says by their names which arrays are kept in memory; None: all. NotFound;
    FormatError for a file that is torn, damaged, larger than `limit` bytes or the machine's memory, or not one of ours.
    """
    import numpy as np

    name = shown_path(Path(path).name)
    file, size = open_regular(path, min(limit, memory()))
    try:
        with file:
            header = _read_header(file, size, name, what)
            length = len(header)
            table, meta, total = _parse(header, name, what)
            if total != size - 8 - length:
                raise FormatError(f"{name} should hold {total:,} bytes of numbers but has {size - 8 - length:,}; "
                                  "it is cut off or damaged.")
            expected = table["__metadata__"]["sha256"]
            digest = hashlib.sha256(header.replace(expected.encode(), _NO_SUM.encode(), 1))
            arrays = {}
            for key, entry in table.items():
                if key == "__metadata__":
                    continue
                if wanted is not None and not wanted(key):
                    left = entry["data_offsets"][1] - entry["data_offsets"][0]
                    while left:
                        block = file.read(min(left, _BLOCK))
                        if not block:
                            raise FormatError(f"{name} ends too early; it is cut off.")
                        digest.update(block)
                        left -= len(block)
                    continue
                array = np.empty(entry["shape"], _DTYPES[entry["dtype"]])
                view = array.reshape(-1).view(np.uint8)
                for start in range(0, view.size, _BLOCK):
                    part = view[start:start + _BLOCK].data
                    if file.readinto(part) != len(part):
                        raise FormatError(f"{name} ends too early; it is cut off.")
                    digest.update(part)
                arrays[key] = array
    except OSError as error:
        raise explain(error, path, "read") from error
    if digest.hexdigest() != expected:
        raise FormatError(f"{name} does not match its checksum; it is damaged, use another copy or an earlier one.")
    return arrays, meta


def verify(path: str | Path, limit: int = LIMIT, what: str = "a checkpoint", most: int = LIMIT) -> dict[str, Any]:
    """The meta data of a file of which every byte is verified, as by `read`, but not kept: needs neither numpy nor
    memory. Of one of more than `most` bytes only the header and the size are. NotFound, FormatError."""
    name = shown_path(Path(path).name)
    file, size = open_regular(path, limit)
    try:
        with file:
            header = _read_header(file, size, name, what)
            length = len(header)
            table, meta, total = _parse(header, name, what)
            expected = table["__metadata__"]["sha256"]
            digest = hashlib.sha256(header.replace(expected.encode(), _NO_SUM.encode(), 1))
            if total == size - 8 - length and size > most:
                return meta
            while block := file.read(_BLOCK):
                total -= len(block)
                digest.update(block)
    except OSError as error:
        raise explain(error, path, "read") from error
    if total or digest.hexdigest() != expected:
        raise FormatError(f"{name} does not match its checksum; it is cut off or damaged.")
    return meta


def _read_header(file: BinaryIO, size: int, name: str, what: str) -> bytes:
    """The header of a file of `size` bytes, as long as it announces; FormatError when it cannot be."""
    length = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))[0]
    if length > min(_HEADER, size - 8):
        raise FormatError(f"{name} is not {what}, or it is cut off.")
    return file.read(length)


def _header(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> bytes:
    """The header with zeros for the checksum, padded to 8 bytes as the format asks."""
    name = shown_path(path.name)
    try:
        text = json.dumps(meta, ensure_ascii=False)
        check_depth(text.encode(), name)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{name} was not written: its meta data is not plain data ({error}).") from None
    table: dict[str, Any] = {"__metadata__": {"sha256": _NO_SUM, "babytui": text}}
    offset = 0
    for key, array in arrays.items():
        dtype = _NAMES.get(array.dtype.newbyteorder("<").str)
        if dtype is None or key == "__metadata__":
            raise FormatError(f"{name} was not written: {shown(key)} cannot be kept as {array.dtype}.")
        table[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    header = json.dumps(table, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > _HEADER:
        raise FormatError(f"{name} was not written: it has too many arrays or too much meta data.")
    return header


def _blocks(array: np.ndarray) -> list[memoryview]:
    """The bytes of an array in pieces, little endian, without a copy when it is C-contiguous."""
    import numpy as np

    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    return [flat[start:start + _BLOCK].data for start in range(0, flat.size, _BLOCK)]


def _parse(header: bytes, name: str, what: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The header's table, our meta data, and how many bytes of numbers it announces. FormatError."""
    table = _object(header, name)
    about = table.get("__metadata__")
    if not isinstance(about, dict) or not isinstance(about.get("babytui"), str):
        raise FormatError(f"{name} is not {what} of a training run.")
    expected = about.get("sha256")
    if not isinstance(expected, str) or len(expected) != 64 or not expected.isascii() or expected == _NO_SUM:
        raise FormatError(f"{name} has no checksum; it is damaged.")
    offset = 0
    for key, entry in table.items():
        if key == "__metadata__":
            continue
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or len(shape) > MAX_DEPTH or entry.get("dtype") not in [*_DTYPES] or not all(
                type(n) is int and 0 <= n < _MOST for n in shape) or math.prod(max(n, 1) for n in shape) >= _MOST:
            raise FormatError(f"{name}: {shown(key)} has no valid dtype and shape.")
        end = offset + math.prod(shape) * int(_DTYPES[entry["dtype"]][2:])
        if entry.get("data_offsets") != [offset, end]:
            raise FormatError(f"{name}: {shown(key)} is not where its shape says.")
        offset = end
    return table, _object(about["babytui"].encode("utf-8", "surrogatepass"), name), offset


def _object(text: bytes, name: str) -> dict[str, Any]:
    """A JSON object, with whole numbers of any size (the state of a random generator). FormatError."""
    check_depth(text, name)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} has a damaged header ({error}).") from None
    if not isinstance(value, dict):
        raise FormatError(f"{name} has a damaged header.")
    return value
