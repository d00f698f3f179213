"""Models from elsewhere: an archive that `archive.write` made, or a folder with files of either program.

Everything is copied, checked and made whole in a folder of the trash first; then all of it appears in the workspace, or
nothing. A model keeps its GUID if that is free here.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine.errors import BabyError, FormatError, shown
from store import adapters, archive, artifacts, checkpoint, conversations, reports, trash
from store.archive import kind_of
from store.atomic import StoreError, explain, shown_path, sync, write_json
from store.entries import JSON_LIMIT
from store.names import (
    FINETUNED,
    FOLDERS,
    MAX_NAME,
    PATTERNS,
    check_name,
    check_note,
    expanded,
    file_name,
    inside,
    new_guid,
    split_guid,
)
from store.reading import open_regular, read_json
from store.workspace import Workspace

_BLOCK = 1 << 20
_SPARE = 64 << 20  # bytes of the disk that are left free
# a model is there when its file is
_ORDER = ("adapter", "conversation", "completion", "report", "tokenizer", "config", "model")


@dataclass
class Imported:
    """A model that came in. was: the GUID that it had. files: where they are now. remarks: a sentence each on what is
    not as it was."""

    guid: str
    was: str
    name: str = ""
    files: list[Path] = field(default_factory=list)
    bytes: int = 0
    remarks: list[str] = field(default_factory=list)


class _Source(Protocol):
    """Files by the path that they have in a workspace, with their bytes."""

    name: str
    files: dict[str, int]

    def read(self, inside: str) -> Iterator[bytes]: ...


class _Folder:
    """A folder that is a workspace, of any generation, or holds a model's files side by side."""

    def __init__(self, root: Path):
        self.name = shown_path(root.name or str(root))
        self.files: dict[str, int] = {}
        self.pickles: list[str] = []
        self._paths: dict[str, Path] = {}
        root = root.resolve()
        for folder in ("", *PATTERNS):
            place = root / folder
            if not (place.is_dir() and inside(place, root)):
                continue
            for name in sorted(os.listdir(place)):
                self._add(folder, place / name)
                if len(self.files) > archive.MAX_FILES:
                    raise FormatError(f"{self.name} holds more than {archive.MAX_FILES:,} files of models; import a "
                                      "part of them.")

    def _add(self, folder: str, path: Path) -> None:
        for place in [folder] if folder else PATTERNS:
            match = PATTERNS[place].fullmatch(path.name)
            kind = (match[1] or "model") if match else None
            if match is None or kind not in archive.LIMITS:
                continue
            if path.suffix == ".pkl":
                self.pickles.append(path.name)
                continue
            known = f"{FOLDERS[kind]}/{file_name(kind, match[2], stamp=match[3] if place == 'outputs' else None)}"
            if known in self.files and path.suffix != ".json":
                continue  # the same under the name of an earlier version
            if path.is_symlink():
                raise FormatError(f"{shown_path(path)} is a link; links are not imported, copy the file itself there.")
            file, size = open_regular(path, archive.LIMITS[kind], follow=False)
            file.close()
            self.files[known], self._paths[known] = size, path
            return

    def read(self, inside: str) -> Iterator[bytes]:
        """A file's content, block by block."""
        path, total = self._paths[inside], 0
        file, size = open_regular(path, archive.LIMITS[str(kind_of(inside))], follow=False)
        with file:
            while block := file.read(_BLOCK):
                total += len(block)
                if total > size:
                    raise FormatError(f"{shown_path(path.name)} was changed while it was read; try again.")
                yield block

    def times(self, inside: str) -> tuple[int, int] | None:
        """When it was read and changed last (ns)."""
        with suppress(OSError):
            status = os.stat(self._paths[inside])
            return status.st_atime_ns, status.st_mtime_ns
        return None


def bring(ws: Workspace, path: str | Path) -> list[Imported]:
    """Takes every model in an archive or a folder into the workspace: all of them, or after an error none.

    NotFound, UsageError for what is neither; FormatError for what is not what it should be, in one sentence that names
    the file; StoreError when the disk is too small or refuses.
    """
    path = expanded(path)
    try:
        found = _bring(ws, path)
        trash.prepare(ws.root)
        return found
    except OSError as error:
        raise explain(error, error.filename or path, "imported") from error


def _bring(ws: Workspace, path: Path) -> list[Imported]:
    with _source(path) as source:
        groups, remarks = _groups(source)
        _room(ws, source)
        ws.ensure()
        _put_back(ws, groups)
        taken = {entry.guid for entry in ws.entries()}
        names = {entry.name.casefold() for entry in ws.entries() if entry.name}
        fresh: dict[str, str] = {}
        for guid in groups:
            bare = split_guid(guid)[0]
            fresh.setdefault(bare, new_guid() if {bare, bare + FINETUNED} & taken else bare)
        with trash.arriving(ws.root) as folder:
            staged = Workspace(folder)
            coming = []
            for guid, files in groups.items():
                bare, finetuned = split_guid(guid)
                one = Imported(fresh[bare] + (FINETUNED if finetuned else ""), guid, remarks=remarks.pop(guid, []))
                if one.guid != guid:
                    one.remarks.append(f"{guid} is there already, so it has become {one.guid}.")
                _copy(staged, source, files, one)
                _check(staged, one, fresh[bare], names)
                coming.append(one)
            moves = sorted((_rank(inside), inside) for one in coming for inside in map(str, one.files))
            trash.bring_in(ws.root, folder, coming[0].guid, [inside for _, inside in moves], coming[0].name)
    for one in coming:
        one.files = [ws.root / inside for inside in one.files]
    if remarks:
        coming[0].remarks += [line for lines in remarks.values() for line in lines]
    return coming


@contextmanager
def _source(path: Path) -> Iterator[_Source]:
    if path.is_dir():
        yield _Folder(path)
        return
    with archive.opened(path) as found:
        yield found


def _groups(source: _Source) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """GUID → paths, of what has a model, a base before what was made of it; and GUID → remarks on the rest."""
    found: dict[str, list[str]] = {}
    for name in source.files:
        folder, _, leaf = name.partition("/")
        match = PATTERNS[folder].fullmatch(leaf)
        assert match is not None
        found.setdefault(match[2], []).append(name)
    whole = {guid: sorted(files) for guid, files in sorted(found.items())
             if any(kind_of(name) == "model" for name in files)}
    if not whole:
        pickles = getattr(source, "pickles", [])
        why = (f"; {shown(pickles[0])} is a pickle, which can run code when it is opened and is never read"
               if pickles else "")
        raise FormatError(f"{source.name} holds no model (models/model_<GUID>.json){why}.")
    remarks = {guid: [f"{guid} has no model file here and was left out."] for guid in found if guid not in whole}
    if isinstance(source, archive.Archive) and not source.manifest:
        remarks[next(iter(whole))] = [f"{source.name} has no manifest, so that nothing says whether its files are "
                                      "whole."]
    return whole, remarks


def _room(ws: Workspace, source: _Source) -> None:
    """StoreError when the disk has not enough room, before any of it is taken."""
    need = sum(source.files.values())
    place = next(folder for folder in (ws.root, *ws.root.parents) if folder.is_dir())
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return
    if need + _SPARE > free:
        raise StoreError(f"{source.name} needs {need:,} bytes, and the disk of {shown_path(ws.root)} has {free:,} "
                         "left; free some space and try again.", ws.root, errno.ENOSPC)


def _put_back(ws: Workspace, guids: Iterable[str]) -> None:
    """Moves into the trash what an import of these models that was killed has left in the workspace."""
    for item in trash.items(ws.root):
        if item.state == trash.RESTORING and item.guid in guids:
            with trash.changing(ws.root):
                trash.finish(ws.root, item)


def _copy(staged: Workspace, source: _Source, files: list[str], one: Imported) -> None:
    """Writes a model's files where they are gathered, under its new GUID."""
    for name in files:
        kind, leaf = str(kind_of(name)), name.partition("/")[2]
        folder = name.partition("/")[0]
        match = PATTERNS[folder].fullmatch(leaf)
        assert match is not None
        stamp = match[3] if kind == "completion" else None
        inside = f"{FOLDERS[kind]}/{file_name(kind, one.guid, stamp=stamp)}"
        target = staged.root / inside
        try:
            target.parent.mkdir(exist_ok=True)
            descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with os.fdopen(descriptor, "w+b") as file:
                for block in source.read(name):
                    file.write(block)
                    one.bytes += len(block)
                file.flush()
                sync(file.fileno())
            if isinstance(source, _Folder) and (times := source.times(name)):
                os.utime(target, ns=times)
        except OSError as error:
            raise explain(error, staged.root.parent.parent / inside) from error
        one.files.append(Path(inside))


def _check(staged: Workspace, one: Imported, bare: str, names: set[str]) -> None:
    """FormatError when a file is not what it should be. A name that is taken here gets a number."""
    guid = one.guid
    for path in one.files:
        kind, place = str(kind_of(str(path))), staged.root / path
        if kind == "report":
            reports.read(place)
        elif kind == "completion":
            match = PATTERNS["outputs"].fullmatch(path.name)
            artifacts.load_completion(staged, guid, match[3] if match else None)
        elif kind == conversations.KIND:
            conversations.load(staged, guid)
        elif kind == "adapter":
            checkpoint.verify(place, adapters.LIMIT, "an adapter")
    kinds = {kind_of(str(path)) for path in one.files}
    if "tokenizer" not in kinds:
        raise FormatError(f"The model {one.was} lacks its tokenizer (tokenizers/tokenizer_{one.was}.json).")
    if "config" not in kinds and not (staged.configs / file_name("config", bare)).is_file():
        raise FormatError(f"The model {one.was} lacks its config (configs/config_{one.was}.json).")
    _config(staged, one, names)
    vocab, _ = artifacts.load_vocabulary(staged, guid)
    shapes = artifacts.load_shapes(staged, guid)
    rows = shapes.get("wte_weight")
    if rows is None or len(rows) != 2:
        raise FormatError(f"{file_name('model', one.was)} lacks wte_weight; it is not a model.")
    if rows[0] != len(vocab):
        raise FormatError(f"{file_name('tokenizer', one.was)} has {len(vocab)} symbols but "
                          f"{file_name('model', one.was)} has {rows[0]}; they do not belong together.")


def _config(staged: Workspace, one: Imported, names: set[str]) -> None:
    """Checks the config, and writes it again where its name or note cannot stay."""
    artifacts.load_config(staged, one.guid)
    path = staged.configs / file_name("config", one.guid)
    if not path.is_file():
        return
    raw = read_json(path, JSON_LIMIT)
    changes: dict[str, Any] = {}
    for key, check in (("babytui_name", check_name), ("babytui_note", check_note)):
        value = raw.get(key)
        try:
            good = check(value) if isinstance(value, str) else ""
        except BabyError as error:
            good = ""
            one.remarks.append(f"{str(error).rstrip('.')}; it was left out.")
        if key == "babytui_name":
            one.name = good
            if good.casefold() in names:
                good = _another(good, names)
                one.remarks.append(f"{shown(one.name)} is the name of another model here; it is called {shown(good)}.")
                one.name = good
            if good:
                names.add(good.casefold())
        if key in raw and good != value:
            changes[key] = good
    if changes:
        write_json(path, {**raw, **changes})


def _another(name: str, names: set[str]) -> str:
    number = 2
    while (other := f"{name[:MAX_NAME - 6].rstrip()} {number}").casefold() in names:
        number += 1
    return other


def _rank(inside: str) -> int:
    return _ORDER.index(str(kind_of(inside)))
