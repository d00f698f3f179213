"""A model as one file: a .zip of its files under the names of FORMATS, and manifest.json with the size and SHA-256 of
each. The same files give the same archive, byte for byte.

An archive to be read may come from a stranger: what it holds, by its table of contents, is checked before any of it is
unpacked, and no more is unpacked than the table announces.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import FormatError, NotFound, UsageError, shown
from store import adapters, artifacts, conversations, model_file, reports
from store.atomic import encode_json, explain, replacing, shown_path
from store.entries import JSON_LIMIT
from store.names import FOLDERS, PATTERNS, split_guid
from store.reading import open_regular, parse_json
from store.workspace import Workspace

FORMAT = 1  # babytui_archive
MANIFEST = "manifest.json"
LIMIT = 16 << 30  # bytes of an archive, and of all that it holds
LIMITS = {"config": JSON_LIMIT, "tokenizer": artifacts.TOKENIZER_LIMIT, "model": model_file.LIMIT,
          "adapter": adapters.LIMIT, "report": reports.LIMIT, "completion": artifacts.COMPLETION_LIMIT,
          conversations.KIND: conversations.LIMIT}
MAX_FILES = 5000
PARTS = {"all": tuple(LIMITS), "model": ("config", "tokenizer", "model")}
_TABLE = 1 << 20  # bytes of a table of contents
_LISTED = 2 << 20  # bytes of a manifest
_BLOCK = 1 << 20
_RATIO = 200  # a model's numbers shrink to a third, the logs of an old report to a thirtieth
_SMALL = 64 << 20  # bytes that are never a bomb
_DAY = (1980, 1, 1, 0, 0, 0)
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError, RuntimeError,
           OverflowError)  # what zipfile says of a file that is none, or damaged
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16


# --- writing ----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Exported:
    """What was written. files: path in the archive → bytes. bytes: of the archive. sha256: of the archive, in hex."""

    path: Path
    files: dict[str, int]
    bytes: int
    sha256: str


def write(ws: Workspace, guid: str, path: str | Path, *, only: str = "all", name: str = "",
          overwrite: bool = False) -> Exported:
    """Writes the files of a model into one archive, which appears whole or not at all.

    guid: with `_finetuned` for a finetuned model, which takes its base's config along when it has none of its own.
    only: "model" leaves out reports, completions and adapters. name: for the manifest. NotFound when there is no
    model; StoreError with errno EEXIST when `path` is taken and not to be overwritten; FormatError for a file that is
    too large or changes meanwhile.
    """
    path, sources = Path(path), _sources(ws, guid, PARTS[only])
    table: dict[str, dict[str, Any]] = {}
    with replacing(path, overwrite=overwrite) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for inside, source in sources.items():
                table[inside] = _add(archive, inside, source, LIMITS[kind_of(inside) or "model"])
            manifest = {"babytui_archive": FORMAT, "guid": guid, "name": name, "files": table}
            archive.writestr(_entry(MANIFEST), encode_json(MANIFEST, manifest), compresslevel=6)
        size = file.tell()
        file.seek(0)
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    return Exported(path, {inside: facts["bytes"] for inside, facts in table.items()}, size, digest.hexdigest())


def _sources(ws: Workspace, guid: str, kinds: tuple[str, ...]) -> dict[str, Path]:
    """Path in the archive → file, in the archive's order."""
    found: dict[str, Path] = {}
    for kind in kinds:
        if kind == "completion":
            found |= {_inside(path.name, kind): path for path, _ in ws.completions(guid)}
            continue
        try:
            found[_inside(ws.path(kind, guid).name, kind)] = ws.find(kind, guid)
        except NotFound:
            bare, finetuned = split_guid(guid)
            if kind == "model":
                raise
            if kind == "config" and finetuned:
                found[_inside(ws.path(kind, guid).name, kind)] = ws.find(kind, bare)
    return found


def _inside(name: str, kind: str) -> str:
    return f"{FOLDERS[kind]}/{name}"


def _entry(name: str) -> zipfile.ZipInfo:
    """Without what differs between machines and days."""
    entry = zipfile.ZipInfo(name, _DAY)
    entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, _PLAIN_FILE
    return entry


def _add(archive: zipfile.ZipFile, inside: str, source: Path, limit: int) -> dict[str, Any]:
    file, size = open_regular(source, limit)
    digest, written = hashlib.sha256(), 0
    entry = _entry(inside)
    entry.file_size = size
    with file, archive.open(entry, "w", force_zip64=size >= 1 << 31) as target:
        while block := _read(file, _BLOCK, source):
            digest.update(block)
            written += len(block)
            target.write(block)
    if written != size:
        raise FormatError(f"{shown_path(source.name)} was changed while it was read; try again.")
    return {"bytes": size, "sha256": digest.hexdigest()}


def _read(file: Any, size: int, name: Path) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise explain(error, name, "read") from error


def kind_of(inside: str) -> str | None:
    """The kind of artifact that a path in an archive or a workspace names; None for what is none of a model."""
    folder, _, name = inside.partition("/")
    match = PATTERNS[folder].fullmatch(name) if folder in PATTERNS else None
    kind = "model" if match and match[1] is None else match and match[1]
    return kind if kind in LIMITS and FOLDERS[kind] == folder and not name.endswith(".pkl") else None


# --- reading ----------------------------------------------------------------------------------------------------------

class _Sparing:
    """A file that gives at most a table's worth of bytes at once: zipfile reads a whole table of contents."""

    def __init__(self, file: BinaryIO, name: str):
        self._file, self._name = file, name
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _TABLE:
            raise FormatError(f"{self._name} has a table of contents of {size:,} bytes; it is not an archive of a "
                              "model.")
        return self._file.read(_TABLE if size < 0 else size)


class Archive:
    """An archive whose table of contents has been checked. files: path → bytes that are announced. manifest: empty
    when there is none."""

    def __init__(self, zipped: zipfile.ZipFile, name: str):
        self._zip, self.name = zipped, name
        self._entries = self._checked(zipped.infolist())
        self.files = {inside: entry.file_size for inside, entry in self._entries.items() if inside != MANIFEST}
        self.manifest: Mapping[str, Any] = self._manifest() if MANIFEST in self._entries else {}

    def _checked(self, entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        if len(entries) > MAX_FILES:
            raise FormatError(f"{self.name} holds {len(entries):,} files, more than {MAX_FILES:,}.")
        for entry in entries:
            label, mode = shown(entry.filename), entry.external_attr >> 16
            if entry.is_dir() and entry.filename.rstrip("/") in PATTERNS and not entry.file_size:
                continue
            if entry.filename != MANIFEST and kind_of(entry.filename) is None:
                raise FormatError(f"{self.name} holds {label}, which is not a file of a model; nothing was imported.")
            if entry.filename in found:
                raise FormatError(f"{self.name} holds {label} twice; nothing was imported.")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise FormatError(f"{self.name}: {label} is a link or a device, not a file; nothing was imported.")
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FormatError(f"{self.name}: {label} is encrypted or compressed in an unusual way; pack it anew.")
            limit = _LISTED if entry.filename == MANIFEST else LIMITS[str(kind_of(entry.filename))]
            if entry.file_size > limit:
                raise FormatError(f"{self.name}: {label} has {entry.file_size:,} bytes, more than the {limit:,} that "
                                  "are allowed for such a file.")
            found[entry.filename] = entry
        unpacked = sum(entry.file_size for entry in entries)
        packed = sum(entry.compress_size for entry in entries)
        if unpacked > LIMIT or (unpacked > _SMALL and unpacked > _RATIO * packed):
            raise FormatError(f"{self.name} would unpack to {unpacked:,} bytes from {packed:,}; it is not an archive "
                              "of a model.")
        return found

    def _manifest(self) -> Mapping[str, Any]:
        listed = parse_json(b"".join(self.read(MANIFEST)), MANIFEST)
        files = listed.get("files")
        if not isinstance(files, dict) or not all(
                isinstance(facts, dict) and isinstance(facts.get("sha256"), str) for facts in files.values()):
            raise FormatError(f"{self.name}: {MANIFEST} lacks a table of files; the archive is damaged.")
        if listed.get("babytui_archive") != FORMAT:
            raise FormatError(f"{self.name} has the format {shown(listed.get('babytui_archive'))}; this babytui reads "
                              f"format {FORMAT}.")
        if missing := sorted(set(files) ^ set(self.files)):
            raise FormatError(f"{self.name}: {shown(missing[0])} is in the manifest or in the archive, but not in "
                              "both; the archive is damaged.")
        return listed

    def read(self, inside: str) -> Iterator[bytes]:
        """A file's content, block by block. FormatError when it is not what the table and the manifest say."""
        entry, total = self._entries[inside], 0
        digest = hashlib.sha256()
        broken = FormatError(f"{self.name}: {shown(inside)} cannot be unpacked; the archive is damaged.")
        try:
            with self._zip.open(entry) as file:
                while block := file.read(_BLOCK):
                    total += len(block)
                    if total > entry.file_size:
                        raise broken
                    digest.update(block)
                    yield block
        except _BROKEN as error:
            raise broken from error
        if total != entry.file_size:
            raise broken
        if inside != MANIFEST and self.manifest and self.manifest["files"][inside]["sha256"] != digest.hexdigest():
            raise FormatError(f"{self.name}: {shown(inside)} does not match its checksum; the archive is damaged.")


@contextmanager
def opened(path: str | Path) -> Iterator[Archive]:
    """The archive in a file. NotFound, StoreError; UsageError for what is no .zip, FormatError for what is not one of
    a model, or broken."""
    name = shown_path(Path(path).name)
    with ExitStack() as stack:
        file, _ = open_regular(path, LIMIT)
        stack.enter_context(file)
        try:
            zipped = stack.enter_context(zipfile.ZipFile(_Sparing(file, name)))
        except _BROKEN as error:
            raise UsageError(f"{name} is not a .zip that `babytui export` wrote, nor a folder; give one of them."
                             ) from error
        except OSError as error:
            raise explain(error, path, "read") from error
        yield Archive(zipped, name)
