"""Writing the model file (see store/model_file.py): the text of a quarter of a million numbers is held at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from engine.errors import FormatError, shown
from store.atomic import replacing, shown_path
from store.reading import check_depth

if TYPE_CHECKING:
    import numpy as np

MAX_DIMS = 4  # hda_delta_scale is (1, h, 1, 1)
NAME = 1 << 10  # bytes of a name
_NUMBERS = 1 << 18  # written at once
_TENSOR = re.compile(r"(wte|wpe|ln_f|lm_head|block_[0-9]+)_", re.ASCII)
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def is_tensor(name: str) -> bool:
    """Whether a key names a weight or a constant of the model. Other keys may hold anything."""
    return _TENSOR.match(name) is not None


def write_model(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays (any float type, up to 4 dimensions), numbers and None, in the order of `arrays`.

    Every number becomes the shortest text that reads back to the same number in its own type.
    Keys that name no tensor may also hold plain data. FormatError names the first value that cannot be written (not
    finite, empty, of another type), and then nothing is written; StoreError when the disk refuses.
    """
    path = Path(path)
    for name, value in arrays.items():
        _check(path, name, value)
    with replacing(path) as file:
        start = b"{\n"
        for name, value in arrays.items():
            file.write(start + orjson.dumps(name) + b": ")
            file.writelines(_text(value))
            start = b",\n"
        file.write(b"\n}\n" if arrays else b"{}\n")


def _check(path: Path, name: str, value: Any) -> None:
    """FormatError unless the value can be written."""
    import numpy as np

    problem = ""
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= NAME - 2 or not name.isprintable():
        problem = f"is not a name of 1 to {NAME - 2} printable characters"
    elif isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in "fiu" or value.dtype.itemsize > 8:
            problem = f"holds {value.dtype}, not numbers of at most 64 bits"
        elif value.size == 0:
            problem = f"is empty, its shape is {value.shape}"
        elif value.ndim > MAX_DIMS:
            problem = f"has {value.ndim} dimensions, more than {MAX_DIMS}"
        elif value.dtype.kind == "f" and not np.isfinite(value).all():
            problem = "holds a number that is not finite"
    elif is_tensor(name) and (isinstance(value, bool) or not isinstance(value, (int, float, type(None)))):
        problem = f"is {type(value).__name__}, not an array, a number or None"
    else:
        try:
            check_depth(_plain(value), path.name)
        except (TypeError, ValueError, RecursionError, FormatError) as error:
            problem = f"cannot be written ({error})"
    if problem:
        raise FormatError(f"{shown_path(path.name)} was not written: {shown(str(name))} {problem}.")


def _plain(value: Any) -> bytes:
    """JSON of plain data. ValueError for what is not finite."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _text(value: Any) -> Iterator[bytes | memoryview]:
    """The JSON text of a value, in pieces."""
    import numpy as np

    if not isinstance(value, (np.ndarray, np.generic)):
        yield _plain(value)
        return
    value = value.astype(value.dtype.newbyteorder("="), copy=False)
    if value.ndim == 0:
        yield _numbers_text(value)
        return
    rows = max(1, _NUMBERS * value.shape[0] // value.size)
    yield b"["
    for i in range(0, value.shape[0], rows):
        text = _numbers_text(np.ascontiguousarray(value[i:i + rows]))
        yield b"," if i else b""
        yield memoryview(text)[1:-1]
    yield b"]"


def _numbers_text(value: np.ndarray) -> bytes:
    """The JSON text of a contiguous array, each number the shortest of its own type."""
    if value.dtype == "float16":
        return _halves_text(value)
    return orjson.dumps(value if value.ndim else value[()], option=_OPTIONS)


@lru_cache(maxsize=1)
def _halves() -> list[bytes]:
    """The shortest text of every half: a file of halves takes a third less than one of their float32 values."""
    import numpy as np

    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return [str(value).encode() for value in values]


def _halves_text(value: np.ndarray) -> bytes:
    import numpy as np

    if value.ndim == 0:
        return _halves()[int(value[()].view(np.uint16))]
    if value.ndim == 1:
        texts = _halves()
        return b"[" + b",".join([texts[i] for i in value.view(np.uint16).tolist()]) + b"]"
    return b"[" + b",".join(map(_halves_text, value)) + b"]"
