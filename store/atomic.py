"""Writing files so that after a crash at any point the old file or the new one is there, whole.

Temporary file in the same folder → fsync → rename → fsync of the folder. What a crash leaves is a temporary file that
nobody has locked, see `abandoned`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from engine.config import shown
from engine.errors import FormatError, RunError, UsageError

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
    errno.ENFILE: "too many files are open",
    errno.EINTR: "the system was interrupted; try again",
    errno.ENODEV: "its disk is gone; mount it again",
    errno.ENXIO: "its disk is gone; mount it again",
    errno.ENOTCONN: "its disk is gone; mount it again",
    errno.ESTALE: "its disk was mounted anew; try again",
}
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp", re.ASCII | re.DOTALL)  # the group: whose place it was to take


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


def mode(path: str | Path, *, follow: bool = True) -> int:
    """What there is (st_mode), 0 for nothing. follow: the link. StoreError when that cannot be seen."""
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR) or (follow and error.errno == errno.ELOOP):
            return 0
        raise explain(error, path, "read") from error


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
        with _opened(descriptor) as file:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it has an owner, see `abandoned`
            with suppress(FileNotFoundError):
                mode = os.lstat(path).st_mode
                if stat.S_ISREG(mode):  # a file that was made private stays private
                    os.fchmod(descriptor, mode & 0o666)
            yield file
            file.flush()
            sync(descriptor)
            if overwrite:  # before it is closed: it has an owner as long as it has this name
                os.replace(temporary, path)
            else:
                _place(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise explain(error, path) from error
        raise


def _opened(descriptor: int) -> BinaryIO:
    try:
        return os.fdopen(descriptor, "w+b")
    except BaseException:
        os.close(descriptor)
        raise


def _place(temporary: Path, path: Path) -> None:
    """Gives a file its name. FileExistsError if that is taken."""
    try:
        os.link(temporary, path)  # unlike a rename it never replaces
        os.unlink(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists") from None
        os.rename(temporary, path)  # a file system without links: another process may be as quick


def abandoned(path: str | Path) -> bool:
    """Whether this is the temporary file of a writer that is dead: no process has it locked. False for others.

    A writer that is alive locks its file a moment after it was made: leave one alone that is younger than a minute.
    """
    path = Path(path)
    if not TEMPORARY.fullmatch(path.name):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Waits until a file or folder is on the disk, and not only in the disk's own memory where the system can tell."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: its fsync leaves the data with the disk
    if full is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes what was made, renamed or removed in `folder` durable. File systems that cannot, and folders that may be
    written but not read, are left alone. OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return
    try:
        sync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Creates `folder` and its parents if they are missing, durably. `mode` is for the last one. StoreError."""
    missing = []
    try:
        for path in (folder, *folder.parents):
            if os.path.lexists(path):
                break
            missing.append(path)
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        for path in reversed(missing):  # what is written and synced inside is lost with a folder that was not
            sync_folder(path.parent)
    except OSError as error:
        for path in missing:  # else the next attempt would take one for durable that is not
            with suppress(OSError):
                os.rmdir(path)
        raise explain(error, folder, "created") from error


def destination(path: Path) -> Path:
    """Where a file is written that a person has named: behind links, and never in place of a device, pipe or folder.
    UsageError."""
    real = Path(os.path.realpath(path)) if path.is_symlink() else path
    there = mode(real)
    if there and not stat.S_ISREG(there):
        kind = "a folder" if stat.S_ISDIR(there) else "a device, pipe or socket"
        raise UsageError(f"{shown_path(path)} is {kind}; name a file.")
    return real


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
