"""Writing files so that after a crash at any point the old file or the new one is there, whole.

Temporary file in the same folder → fsync → rename → fsync of the folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from engine.config import shown
from engine.errors import FormatError, RunError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "your disk quota is used up; free some space and try again",
    errno.EACCES: "permission is denied; check who owns the file and its folder",
    errno.EPERM: "the operation is not permitted; check who owns the file and its folder",
    errno.EROFS: "the disk is read-only; use another workspace",
    errno.EFBIG: "it would be larger than the system allows",
    errno.ENOENT: "it or its folder does not exist",
    errno.ENOTDIR: "a part of its path is a file where a folder should be",
    errno.EISDIR: "a folder of that name is in the way",
    errno.EEXIST: "a file of that name already exists",
    errno.ELOOP: "it is a symbolic link in a circle",
    errno.EXDEV: "it would have to move to another disk",
    errno.EIO: "the disk reports an error; check it before you go on",
    errno.EMFILE: "too many files are open",
}


class StoreError(RunError):
    """A file cannot be written, read or moved. `errno` tells a full disk (wait and retry) from a lasting fault."""

    def __init__(self, message: str, path: Path, code: int | None = None):
        super().__init__(message)
        self.path = path
        self.errno = code


def explain(error: OSError, path: str | Path, doing: str = "written") -> StoreError:
    """The error of the operating system as one sentence that names the file and says what to do."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return StoreError(f"{shown_path(path)} cannot be {doing}: {reason}.", Path(path), error.errno)


def shown_path(path: str | Path) -> str:
    """A path for a message: control characters escaped, never cut at the end (that is where the name is)."""
    text = str(path)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return text if len(text) <= 200 else "…" + text[-199:]


@contextmanager
def replacing(path: str | Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A binary file, seekable, that takes the place of `path` when the block ends without an error.

    overwrite=False never replaces: StoreError with errno EEXIST if the name was taken meanwhile. Operating system
    errors become StoreError; after any error the temporary file is gone and the old file untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise explain(error, path) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with suppress(FileNotFoundError):
                mode = os.lstat(path).st_mode
                if stat.S_ISREG(mode):  # a file that was made private stays private
                    os.fchmod(file.fileno(), mode & 0o666)
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
            os.unlink(temporary)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise explain(error, path) from error
        raise


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable. File systems that cannot do this for folders are left alone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Creates `folder` and its parents if they are missing. `mode` is for the last one."""
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, folder, "created") from error


def write_bytes(path: str | Path, data: bytes | memoryview, *, overwrite: bool = True) -> None:
    """Writes `data` as the whole content of `path`. StoreError when the system refuses; the old file stays whole."""
    with replacing(path, overwrite=overwrite) as file:
        file.write(data)


def encode_json(path: str | Path, obj: Any, *, indent: bool = True) -> bytes:
    """JSON in UTF-8 with a final newline. FormatError for what JSON cannot hold: NaN, lone surrogates, objects."""
    try:
        _finite(obj)
        return orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0))
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{shown_path(Path(path).name)} was not written: {error}.") from None


def write_json(path: str | Path, obj: Any, indent: bool = True, *, overwrite: bool = True) -> None:
    """Writes `obj` as JSON, see `encode_json` and `write_bytes`."""
    write_bytes(path, encode_json(path, obj, indent=indent), overwrite=overwrite)


def _finite(obj: Any) -> None:
    """orjson writes NaN as null, which reads back as a missing value; say so instead. ValueError."""
    if isinstance(obj, float):
        if obj != obj or obj in (float("inf"), float("-inf")):
            raise ValueError(f"it would hold {obj}, which is not a finite number")
    elif isinstance(obj, dict):
        for key, value in obj.items():
            try:
                _finite(value)
            except ValueError as error:
                raise ValueError(f"{shown(str(key))}: {error}") from None
    elif isinstance(obj, (list, tuple)):
        for value in obj:
            _finite(value)
