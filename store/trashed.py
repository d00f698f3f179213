"""What lies in the trash: which folders of it are ours, and what their manifests tell that is as it should be.

store.trash changes it. Imports no arrays.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from engine.errors import BabyError, FormatError, NotFound
from store.atomic import explain, shown_path
from store.names import FINETUNED, PATTERNS, inside, valid_guid
from store.reading import read_json
from store.trees import walk

MODEL, BAKE_OFF, REPAIR = "model", "bake-off", "repair"
MOVING, WHOLE, RESTORING = "moving", "whole", "restoring"
MANIFEST = "manifest.json"
WORKS = {"runs", "bakeoffs"}  # their folders move whole, with a lock in them
_LIMIT = 8 << 20  # bytes of a manifest
_PLACES = {*PATTERNS, *WORKS, "inputs", "settings"}


@dataclass(frozen=True)
class Item:
    """What was deleted at once.

    kind: model, bake-off or repair (which has no GUID). deleted: Unix seconds. state: whole; moving or restoring when a
    process was killed meanwhile. pieces: what it is made of, each as its path in the workspace and what it was then
    (see `identity`; None: not known). files, bytes: that lie in the trash.
    """

    folder: Path
    guid: str
    name: str = ""
    kind: str = MODEL
    deleted: float = 0.0
    state: str = WHOLE
    pieces: tuple[tuple[str, list[int] | None], ...] = ()
    files: int = 0
    bytes: int = 0

    def inside(self) -> list[str]:
        """The pieces that lie in the trash."""
        return [path for path, _ in self.pieces if os.path.lexists(self.folder / path)]

    def outside(self, root: Path) -> list[str]:
        """The pieces that are still, or again, in the workspace, and not something newer of that name."""
        return [path for path, was in self.pieces if was is not None and not os.path.lexists(self.folder / path)
                and identity(root / path) == was and inside((root / path).parent, root)]


def items(root: Path) -> list[Item]:
    """What lies in the trash of the workspace `root` (resolved), the latest first. FormatError when it leads out,
    StoreError when it cannot be read."""
    place = place_of(root)
    try:
        names = os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise explain(error, place, "read") from error
    found = [item for name in names if (item := item_at(root, place / name)) is not None]
    return sorted(found, key=lambda item: (item.deleted, item.folder.name), reverse=True)


def find(root: Path, reference: str) -> Item:
    """What was deleted under this GUID, start of a GUID or name, the latest of several; "last" is what was deleted
    last. NotFound."""
    known = items(root)
    if not known:
        raise NotFound(f"The trash of {shown_path(root)} is empty.")
    wanted = reference.strip()
    if wanted.lower() == "last":
        return known[0]
    fits = [item for item in known if wanted and wanted in (item.folder.name, item.guid, item.name)]
    prefix, mark, rest = wanted.lower().partition("_")  # 228f776b_f is a finetuned one
    fits = fits or [item for item in known if prefix and item.guid.startswith(prefix) and (
        not mark or (item.guid.endswith(FINETUNED) and FINETUNED.startswith(mark + rest)))]
    guids = list(dict.fromkeys(item.guid.removesuffix(FINETUNED) for item in fits))
    if len(guids) > 1 and wanted not in (item.name for item in fits):
        listed = ", ".join(guid[:13] for guid in guids[:5]) + (", …" if len(guids) > 5 else "")
        raise NotFound(f"{shown_path(wanted)} fits {len(guids)} things in the trash: {listed}; give more of the GUID.")
    if fits:
        return next((item for item in fits if not item.guid.endswith(FINETUNED) or mark), fits[0])
    for item in known:
        if any(PurePosixPath(path).name.startswith(wanted.lower()) for path, _ in item.pieces
               if wanted and PurePosixPath(path).parts[0] == "runs"):
            raise NotFound(f"{shown_path(wanted)} was deleted with {item.name or item.guid}, and comes back with it: "
                           f"`babytui trash restore {item.guid[:8]}`.")
    raise NotFound(f"There is nothing called {shown_path(wanted)} in the trash of {shown_path(root)}; `babytui trash` "
                   "shows what there is.")


def item_at(root: Path, folder: Path) -> Item | None:
    """What a folder of the trash holds; None when it is not one of ours, or holds nothing."""
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            return None
    except OSError:
        return None
    deleted = _when(folder.name)
    if deleted is None:
        return None
    label = folder.name.partition("-")[2]
    guid = label[:36] + (FINETUNED if label[36:].startswith(FINETUNED) else "")
    item = Item(folder, guid if valid_guid(guid) else "", kind=MODEL if valid_guid(guid) else REPAIR, deleted=deleted)
    raw: dict[str, Any] = {}
    with suppress(BabyError):
        raw = read_json(folder / MANIFEST, _LIMIT)
    item = _told(item, raw)
    known = {part for path in item.inside() for part in _parts(path)}
    item = replace(item, pieces=(*item.pieces, *((path, None) for path in _walk(folder) if not known & _parts(path))))
    there = item.inside()
    if item.state == MOVING and there and not item.outside(root):
        item = replace(item, state=WHOLE)  # killed before it could say so
    count, size = extent([folder / path for path in there])
    return replace(item, files=count, bytes=size) if there else None


def _when(name: str) -> float | None:
    """When the folder of the trash with this name was made, in Unix seconds; None when it is not one of ours."""
    stamp, dash, label = name.partition("-")
    if not (dash and label and len(stamp) == 14 and stamp.isascii() and stamp.isdigit()):
        return None
    try:
        return time.mktime(time.strptime(stamp, "%Y%m%d%H%M%S"))
    except (ValueError, OverflowError):
        return None


def made(name: str) -> bool:
    """Whether a folder of the trash with this name is one of ours."""
    return _when(name) is not None


def _told(item: Item, raw: Mapping[str, Any]) -> Item:
    """The item with what its manifest tells, as far as it is what it should be: a stranger may have written it."""
    pieces = []
    for piece in raw["pieces"] if isinstance(raw.get("pieces"), list) else []:
        path, was = (piece.get("path"), piece.get("was")) if isinstance(piece, dict) else (None, None)
        if isinstance(path, str) and _proper(path):
            known = isinstance(was, list) and len(was) == 2 and all(type(number) is int for number in was)
            pieces.append((path, was if known else None))
    stamp, name, kind, state = (raw.get(key) for key in ("time", "name", "kind", "state"))
    return replace(
        item, pieces=tuple(pieces), name=name if isinstance(name, str) and len(name) <= 200 else "",
        kind=kind if kind in (MODEL, BAKE_OFF, REPAIR) else item.kind,
        state=state if state in (MOVING, RESTORING) else WHOLE,
        deleted=float(stamp) if isinstance(stamp, (int, float)) and 0 <= stamp < 1e11 else item.deleted)


def _proper(path: str) -> bool:
    """Whether something of ours may have had this path in the workspace."""
    parts = PurePosixPath(path).parts
    return (len(parts) >= 2 and parts[0] in _PLACES and ".." not in parts and "\0" not in path and len(path) < 1000
            and "/".join(parts) == path)


def _walk(folder: Path) -> list[str]:
    """The pieces in a folder of the trash, whatever its manifest tells: files, and the folders of runs as a whole."""
    found = []
    for here, folders, names in walk(folder):
        part = os.path.relpath(here, folder)
        whole = folders[:] if part in WORKS else []
        folders[:] = [name for name in folders if name not in whole]
        found += [path for name in [*whole, *names] if _proper(path := os.path.normpath(f"{part}/{name}"))]
    return sorted(found)


def _parts(path: str) -> set[str]:
    """A path, and the folders on the way to it below the first."""
    return {path, *map(str, list(PurePosixPath(path).parents)[:-2])}


def extent(paths: Iterable[Path]) -> tuple[int, int]:
    """How many files there are at and below these paths, and their bytes."""
    count = size = 0
    for path in paths:
        for file in [path] if not path.is_dir() or path.is_symlink() else [
                Path(here) / name for here, _, names in walk(path) for name in names]:
            with suppress(OSError):
                size += os.lstat(file).st_size
                count += 1
    return count, size


def identity(path: Path) -> list[int] | None:
    """Size and time of the last change (ns) of a file; of a run's folder those of its journal or plan. None: nothing is
    there."""
    try:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            for name in ("events.jsonl", "log.jsonl", "plan.json"):
                with suppress(OSError):
                    status = os.lstat(path / name)
                    break
            else:
                return [0, 0]
        return [status.st_size, status.st_mtime_ns]
    except OSError:
        return None


def place_of(root: Path) -> Path:
    """Where the trash is. FormatError when it is a link that leads out."""
    place = root / ".trash"
    if not inside(place, root):
        raise FormatError(f"{shown_path(place)} is a link that leads out of the workspace; it is not followed.")
    return place
