"""Deleting and bringing back. Files are moved to .trash/<stamp>-<GUID>/, under the paths they had in the workspace."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.errors import NotFound, RunError
from store.atomic import explain, make_folder, shown_path
from store.lock import Lock


@dataclass(frozen=True)
class Deleted:
    """What was deleted. files: where they were. trash: the folder that holds them now."""

    guid: str
    files: list[Path]
    bytes: int
    trash: Path


def discard(root: Path, guid: str, files: list[Path], size: int) -> Deleted:
    """Moves files and the run's folder to the trash: all of them, or after an error none.

    RunError when the run is alive, StoreError when a file cannot be moved.
    """
    run = root / "runs" / guid
    lock = Lock(run / "lock")
    if run.is_dir() and not lock.acquire():
        raise RunError(f"{guid} is still training; stop it before you delete it.")
    try:
        trash = _new_folder(root / ".trash", guid)
        moves = [(path, trash / path.relative_to(root)) for path in files if run not in path.parents]
        if run.is_dir():
            moves.append((run, trash / "runs" / guid))
        try:
            _move(moves)
        except BaseException:
            _prune(trash)
            raise
    finally:
        lock.release()
    return Deleted(guid, files, size, trash)


def restore(root: Path, deleted: Deleted) -> None:
    """Moves everything back. NotFound when the trash was emptied, StoreError when something is in the way."""
    if not deleted.trash.is_dir():
        raise NotFound(f"{deleted.guid} cannot be brought back: {shown_path(deleted.trash)} is gone.")
    moves = []
    for folder, folders, names in os.walk(deleted.trash):
        here = Path(folder)
        whole = [name for name in folders if here == deleted.trash / "runs"]
        folders[:] = [name for name in folders if name not in whole]
        moves += [(here / name, root / (here / name).relative_to(deleted.trash)) for name in [*whole, *names]]
    _move(moves)
    _prune(deleted.trash)


def _new_folder(parent: Path, guid: str) -> Path:
    make_folder(parent, 0o700)
    stamp = time.strftime("%Y%m%d%H%M%S")
    for attempt in range(1, 1000):
        folder = parent / (f"{stamp}-{guid}" + (f"-{attempt}" if attempt > 1 else ""))
        try:
            folder.mkdir(0o700)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise explain(error, folder, "created") from error
    raise explain(FileExistsError(errno.EEXIST, "too many"), folder, "created")


def _move(moves: list[tuple[Path, Path]]) -> None:
    """Renames each pair, never onto something; after an error what was moved goes back."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists")
            with suppress(FileNotFoundError):  # the source may be gone meanwhile
                os.rename(source, target)
                done.append((source, target))
    except BaseException as error:
        for old, new in reversed(done):
            with suppress(OSError):
                os.rename(new, old)
        if isinstance(error, OSError):
            raise explain(error, source, "moved") from error
        raise


def _prune(folder: Path) -> None:
    """Removes the empty folders that are left."""
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)
