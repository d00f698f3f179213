"""Deleting and bringing back. What is deleted moves to .trash/<stamp>-<GUID>/, under the paths it had in the workspace,
and stays there until the trash is emptied; nothing else ever deletes.

Such a folder appears with a manifest in it that tells what is about to move, and then everything moves: first what
could go on (the folders of runs, locked), then the rest. Where a process was killed in between, the manifest tells what
is left to do, and the next delete of that GUID or a repair does it. Of what was killed before the first move nothing
remains. One process at a time changes the trash: it holds .trash/lock. Imports no arrays.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from engine.errors import BabyError, FormatError, NotFound, RunError
from store.atomic import StoreError, explain, make_folder, shown_path, sync_folder, write_bytes, write_json
from store.lock import Lock
from store.names import inside
from store.trashed import (
    BAKE_OFF,
    MANIFEST,
    MODEL,
    MOVING,
    REPAIR,
    RESTORING,
    WHOLE,
    WORKS,
    Item,
    extent,
    find,
    identity,
    item_at,
    items,
    made,
    place_of,
)
from store.trees import remove, walk

__all__ = ["ARRIVING", "BAKE_OFF", "GONE", "MANIFEST", "MODEL", "MOVING", "NEW", "REPAIR", "RESERVE", "RESTORING",
           "WHOLE", "Deleted", "Item", "arriving", "bring_in", "changing", "discard", "empty", "find", "finish",
           "items", "made", "restore", "set_aside"]

NEW, GONE, ARRIVING = ".new-", ".gone-", ".in-"  # being made; being emptied; being imported, with a lock beside it
RESERVE = "reserve"  # room that is given up when the disk is full: one has to be able to delete then
_ROOM = 1 << 17  # bytes of it
PATIENCE = 30.0  # seconds to wait for another process that changes the trash
_ORDER = ("bakeoffs", "runs", "models", "tokenizers")  # a half-deleted model has no model file


@dataclass(frozen=True)
class Deleted:
    """What was deleted. files: where they were. trash: the folder that holds them now."""

    guid: str
    files: list[Path]
    bytes: int
    trash: Path


@contextmanager
def changing(root: Path) -> Iterator[Path]:
    """The trash, made if missing and with its lock, so that no other process changes it. RunError, StoreError."""
    place = place_of(root)
    make_folder(place, 0o700)
    lock, end = Lock(place / "lock"), time.monotonic() + PATIENCE
    while not lock.acquire():
        if time.monotonic() > end:
            raise RunError(f"Another process has been deleting in {shown_path(root)} for {PATIENCE:.0f} s; try again "
                           "when it is done.")
        time.sleep(0.02)
    try:
        for name in os.listdir(place):  # of killed processes, or another would have the lock
            if name.startswith(ARRIVING):
                _abandon(place / name)
            elif name.startswith(NEW) or (made(name) and item_at(root, place / name) is None):
                _clear(place / name)
            elif name.startswith(f".{RESERVE}."):
                os.unlink(place / name)
        _reserve(place)
        yield place
    except OSError as error:
        raise explain(error, place, "changed") from error
    finally:
        lock.release()


def discard(root: Path, guid: str, folders: Iterable[Path], files: Callable[[], Iterable[Path]], *, name: str = "",
            kind: str = MODEL) -> Deleted:
    """Moves folders with a lock in them, and then files, to the trash: all of them, or after an error none.

    Each folder is locked before the next is asked for, and `files` is called when all of them are: nobody can be
    writing what they return. What an earlier attempt at this GUID left is moved too. RunError when somebody works in a
    folder, NotFound when there is nothing (any more), StoreError when something cannot be moved.
    """
    with changing(root) as place, ExitStack() as stack:
        before = next((item for item in items(root) if guid and item.guid == guid and item.state != WHOLE), None)
        if before is not None:
            finish(root, before)
        held = [folder for folder in folders if _hold(folder, stack)]
        paths = sorted((path for path in files() if not any(folder in path.parents for folder in held)), key=_rank)
        if not held and not paths:
            if before is None:
                raise NotFound(f"{guid} is not there any more; somebody else has just deleted it.")
            return Deleted(guid, [root / path for path, _ in before.pieces], before.bytes, before.folder)
        inner = [path for folder in held for here, _, names in walk(folder) for name in names
                 if (path := Path(here, name)) != folder / "lock"]
        size = extent([*inner, *paths])[1]
        item = _create(root, place, guid, [*held, *paths], name, kind)
        _fill(root, item)
    return Deleted(guid, sorted([*inner, *paths]), size, item.folder)


def finish(root: Path, item: Item) -> None:
    """Moves what is left of an interrupted delete or restore to the trash, within `changing`. What is newer than the
    delete stays. RunError when somebody works in it, StoreError."""
    with ExitStack() as stack:
        rest = item.outside(root)
        for path in rest:
            if (root / path).is_dir():
                _hold(root / path, stack)
        _move([(root / path, item.folder / path) for path in rest])
        _mark(item, WHOLE)


def restore(root: Path, folder: Path) -> list[Path]:
    """Moves everything in a folder of the trash back, and says what. NotFound when the trash was emptied, StoreError
    when something is in the way or cannot be moved (then nothing is)."""
    with changing(root), ExitStack() as stack:
        item = item_at(root, folder)
        if item is None:
            raise NotFound(f"{shown_path(folder.name)} cannot be brought back: it is gone from the trash.")
        there = item.inside()
        for path in there:
            if os.path.lexists(root / path):
                raise explain(FileExistsError(errno.EEXIST, "exists"), root / path, "brought back")
            if not inside((root / path).parent, root):
                raise FormatError(f"{shown_path((root / path).parent)} is a link that leads out of the workspace; it "
                                  "is not followed.")
        for path in there:
            if PurePosixPath(path).parts[0] in WORKS and (folder / path).is_dir():
                _hold(folder / path, stack)  # nobody resumes it before everything is there
        with suppress(StoreError):  # a full disk must not keep anything in the trash
            _mark(item, RESTORING)
        _move([(folder / path, root / path) for path in there])
        _clear(folder)
        return [root / path for path in there]


@contextmanager
def arriving(root: Path) -> Iterator[Path]:
    """A folder in the trash in which the files of a model are gathered, under the paths that they shall have in the
    workspace, until `bring_in`. With all that is left in it, it is gone when the block ends, or, after a crash, when
    the trash is changed the next time. RunError, StoreError."""
    with ExitStack() as stack:
        with changing(root) as place:
            folder = place / (ARRIVING + os.urandom(6).hex())
            lock = Lock(_beside(folder))
            stack.callback(lock.release)
            lock.acquire()
            stack.callback(_vanish, folder)
            os.mkdir(folder, 0o700)
        yield folder


def bring_in(root: Path, folder: Path, guid: str, paths: Sequence[str], name: str) -> list[Path]:
    """Moves what was gathered in a folder of `arriving` to its place in the workspace: everything, or after an error
    nothing. Of a process that is killed meanwhile a delete of this GUID, or a repair, finishes the work. paths: in the
    order of moving. StoreError when something is in the way."""
    with changing(root) as place:
        for path in paths:
            if os.path.lexists(root / path):
                raise explain(FileExistsError(errno.EEXIST, "exists"), root / path, "written")
            if not inside((root / path).parent, root):
                raise FormatError(f"{shown_path((root / path).parent)} is a link that leads out of the workspace; it "
                                  "is not followed.")
        pieces = tuple((path, identity(folder / path)) for path in paths)
        item = Item(folder, guid, name, MODEL, time.time(), RESTORING, pieces)
        _mark(item, RESTORING)
        stamp, number = time.strftime("%Y%m%d%H%M%S"), 1
        while (named := place / (f"{stamp}-{guid}" + (f"-{number}" if number > 1 else ""))).exists():
            number += 1
        os.rename(folder, named)
        try:
            sync_folder(place)
            _move([(named / path, root / path) for path in paths])
        except BaseException:
            os.rename(named, folder)  # from where it is removed
            raise
        _clear(named)
    return [root / path for path in paths]


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _abandon(path: Path) -> None:
    """Removes what an import that was killed has gathered, and its lock, as far as that can be removed."""
    folder = path.with_name(path.name.removesuffix(".lock"))
    if Lock.held(_beside(folder)):
        return
    _vanish(folder)


def _vanish(folder: Path) -> None:
    """Removes a folder of `arriving` and its lock, as far as that can be done."""
    with suppress(OSError):
        if folder.is_dir() and not folder.is_symlink():
            remove(folder)
        else:
            folder.unlink(missing_ok=True)
        _beside(folder).unlink(missing_ok=True)


def empty(root: Path, chosen: Iterable[Path]) -> list[Item]:
    """Deletes these folders of the trash for good and says what they were. What is half in the workspace stays.
    StoreError when something cannot be removed."""
    wanted, gone = set(chosen), []
    if not place_of(root).is_dir():
        return []
    with changing(root) as place:
        for item in items(root):
            if item.folder in wanted and item.state == WHOLE:
                os.rename(item.folder, place / (GONE + os.urandom(6).hex()))
                gone.append(item)
        left = [place / name for name in os.listdir(place) if name.startswith(GONE)]  # also those of killed processes
    for folder in left:
        for _ in range(100):  # another process may be at it too, and be a name ahead
            try:
                remove(folder)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST) and folder.exists():
                    continue
            break
    for folder in left:
        if folder.exists():
            raise StoreError(f"{shown_path(folder)} cannot be removed; check who owns what is in it.", folder)
    return gone


def _fill(root: Path, item: Item) -> None:
    """Moves the pieces of an item into it. StoreError; nothing is left of it when none was moved."""
    try:
        _move([(root / path, item.folder / path) for path, _ in item.pieces])
    except BaseException:
        if not item.inside():
            _clear(item.folder)
        raise
    _mark(item, WHOLE)


def set_aside(root: Path, paths: Sequence[Path], why: str) -> Deleted:
    """Moves files and folders of a repair to the trash, within `changing`. why: what to call it. StoreError."""
    item = _create(root, place_of(root), "", list(paths), why, REPAIR)
    size = extent(paths)[1]
    _fill(root, item)
    return Deleted("", list(paths), size, item.folder)


def _rank(path: Path) -> tuple[int, str]:
    place = path.parent.name
    return _ORDER.index(place) if place in _ORDER else len(_ORDER), str(path)


def _hold(folder: Path, stack: ExitStack) -> bool:
    """Locks a run's folder until the stack ends; False when there is none. RunError when its process is alive."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    lock = Lock(folder / "lock")
    if not lock.acquire():
        doing = "at work" if folder.parent.name == "bakeoffs" else "training"
        raise RunError(f"{folder.name} is still {doing}; stop it before you delete it.")
    stack.callback(lock.release)
    return True


def prepare(root: Path) -> None:
    """Sees to it that one can delete when the disk is full; where it cannot, that is found out then."""
    with suppress(BabyError, OSError):
        make_folder(place_of(root), 0o700)
        _reserve(place_of(root))


def _reserve(place: Path) -> None:
    with suppress(BabyError, OSError):
        if not os.path.lexists(place / RESERVE):
            write_bytes(place / RESERVE, os.urandom(_ROOM))  # zeros may take no room


def _create(root: Path, place: Path, guid: str, paths: Sequence[Path], name: str, kind: str) -> Item:
    """A new folder of the trash, with the manifest in it, on the disk before anything moves. StoreError."""
    for path in paths:
        if not inside(path.parent, root):
            raise FormatError(f"{shown_path(path.parent)} is a link that leads out of the workspace; nothing in it is "
                              "deleted.")
    pieces = tuple((path.relative_to(root).as_posix(), identity(path)) for path in paths)
    item = Item(place, guid, name, kind, time.time(), MOVING, pieces)
    try:
        return _made(place, item)
    except StoreError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        with suppress(OSError):
            os.unlink(place / RESERVE)
    try:
        return _made(place, item)
    except StoreError as error:
        raise StoreError(f"{error} `babytui trash empty` frees what was deleted before.", error.path,
                         error.errno) from error


def _made(place: Path, item: Item) -> Item:
    new = place / (NEW + os.urandom(6).hex())
    stamp, label = time.strftime("%Y%m%d%H%M%S"), item.guid or item.kind
    try:
        new.mkdir(0o700)
        for path, _ in item.pieces:
            (new / path).parent.mkdir(parents=True, exist_ok=True)
        _mark(replace(item, folder=new), MOVING)
        number = 1
        while (folder := place / (f"{stamp}-{label}" + (f"-{number}" if number > 1 else ""))).exists():
            number += 1
        os.rename(new, folder)  # nobody else makes one: we have the lock
        sync_folder(place)
    except BaseException as error:
        _clear(new)
        if isinstance(error, OSError):
            raise explain(error, place, "changed") from error
        raise
    return replace(item, folder=folder)


def _mark(item: Item, state: str) -> None:
    """Writes the manifest; that everything is there only when it is on the disk. StoreError, but not for the latter:
    what lies in the trash then says so."""
    manifest = {"babytui_trash": 1, "guid": item.guid, "name": item.name, "kind": item.kind, "time": item.deleted,
                "state": state, "pieces": [{"path": path, "was": was} for path, was in item.pieces]}
    if state != WHOLE:
        write_json(item.folder / MANIFEST, manifest)
        return
    with suppress(BabyError, OSError):
        root = item.folder.parent.parent
        for folder in {(top / path).parent for path, _ in item.pieces for top in (root, item.folder)}:
            if folder.is_dir():
                sync_folder(folder)
        write_json(item.folder / MANIFEST, manifest)


def _move(moves: list[tuple[Path, Path]]) -> None:
    """Renames each pair, never onto something, and lets that reach the disk: in folders that are there, so that a power
    cut finds each file in one place or the other. After an error what was moved goes back."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            make_folder(target.parent)
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists")
            with suppress(FileNotFoundError):  # the source may be gone meanwhile
                os.rename(source, target)
                done.append((source, target))
        for folder in {target.parent for _, target in done}:
            sync_folder(folder)
    except BaseException as error:
        for old, new in reversed(done):
            with suppress(OSError):
                os.rename(new, old)
        if isinstance(error, OSError):
            raise explain(error, source, "moved") from error
        raise


def _clear(folder: Path) -> None:
    """Removes the manifest of a folder that holds nothing else, and the empty folders."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name == MANIFEST or (name.startswith(f".{MANIFEST}.") and name.endswith(".tmp")):
                os.unlink(folder / name)
    for path, _, _ in reversed(list(walk(folder))):
        with suppress(OSError):
            os.rmdir(path)
