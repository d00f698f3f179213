"""GUIDs, names and file names. Only what passes here ever becomes part of a path."""

from __future__ import annotations

import os
import re
import unicodedata
import uuid
from pathlib import Path

from engine.config import shown
from engine.errors import NotFound, UsageError

FINETUNED = "_finetuned"
SHIPPED = "baby"  # the name of the model that comes with the package
MAX_NAME = 60
MAX_NOTE = 2000

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_GUID = re.compile(rf"({_ID})({FINETUNED})?", re.ASCII)
_STAMP = re.compile(r"[0-9]{14}", re.ASCII)

FOLDERS = {"config": "configs", "tokenizer": "tokenizers", "model": "models", "adapter": "models", "report": "outputs",
           "completion": "outputs", "conversation": "outputs"}
# folder → what its artifacts are called, in every version of the format; the groups are kind, GUID and stamp
PATTERNS: dict[str, re.Pattern[str]] = {
    "configs": re.compile(rf"(config)_({_ID}(?:{FINETUNED})?)\.json", re.ASCII),
    "config": re.compile(rf"(config)_({_ID}(?:{FINETUNED})?)\.json", re.ASCII),
    "tokenizers": re.compile(rf"(tokenizer)_({_ID}(?:{FINETUNED})?)\.json", re.ASCII),
    "models": re.compile(r"(?=adapter_.*\.safetensors\Z|(?!adapter_).*(?:json|weights|pkl)\Z)(?:(model|adapter)_)?"
                         rf"({_ID}(?:{FINETUNED})?)(?:\.json|\.weights|_all\.pkl|\.safetensors)", re.ASCII),
    "outputs": re.compile(rf"(report|completion|conversation)_({_ID}(?:{FINETUNED})?)(?:_([0-9]{{14}}))?\.json",
                          re.ASCII),
    "charts": re.compile(rf"(chart)_({_ID}(?:{FINETUNED})?)\.png", re.ASCII),
}


def new_guid() -> str:
    """A fresh random GUID."""
    return str(uuid.uuid4())


def valid_guid(text: object) -> bool:
    """Whether `text` is a GUID in lower case, with or without the suffix `_finetuned`."""
    return isinstance(text, str) and _GUID.fullmatch(text) is not None


def split_guid(guid: str) -> tuple[str, bool]:
    """The bare GUID and whether it had the suffix `_finetuned`. NotFound for anything else."""
    match = _GUID.fullmatch(guid) if isinstance(guid, str) else None
    if match is None:
        raise NotFound(f"{shown(guid)} is not a GUID.")
    return match[1], match[2] is not None


def short(guid: str) -> str:
    """The beginning of a GUID as it is shown and may be typed: 228f776b, or 228f776b_f for a finetuned model."""
    return guid[:8] + ("_f" if guid.endswith(FINETUNED) else "")


def file_name(kind: str, guid: str, finetuned: bool = False, stamp: str | None = None) -> str:
    """The file name of an artifact: `model_<GUID>[_finetuned].json`. `stamp` (yyyymmddhhmmss) is for completions.

    Low-rank adapters (kind "adapter") are kept as safetensors, everything else as JSON."""
    bare, suffix = split_guid(guid)
    if stamp is not None and (kind != "completion" or not _STAMP.fullmatch(stamp)):
        raise NotFound(f"{shown(stamp)} is not the time stamp of a completion (yyyymmddhhmmss).")
    tail = (FINETUNED if finetuned or suffix else "") + (f"_{stamp}" if stamp else "")
    return f"{kind}_{bare}{tail}." + ("safetensors" if kind == "adapter" else "json")


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ~ and ~USER written out. UsageError when there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{shown(str(path))} names a user that is not known here; write the folder out.") from None


def check_name(name: str) -> str:
    """A name a person may give, without surrounding spaces; empty takes the name away. UsageError says why not."""
    if len(name) <= 4 * MAX_NAME:  # composing takes the square of the length
        name = unicodedata.normalize("NFC", name).strip()
    if len(name) > MAX_NAME:
        raise UsageError(f"A name has at most {MAX_NAME} characters; this one has {len(name)}.")
    for symbol in name:
        if symbol in "/\\" or unicodedata.category(symbol)[0] == "C" or unicodedata.category(symbol) in ("Zl", "Zp"):
            raise UsageError(f"The name {shown(name)} contains {shown(symbol)}; use letters, digits and spaces.")
    if name.startswith((".", "-")):
        raise UsageError(f"The name {shown(name)} must not begin with a dot or a hyphen.")
    if name.lower() == "last" or valid_guid(name.lower()):
        raise UsageError(f"The name {shown(name)} already means something else; choose another.")
    return name


def check_note(note: str) -> str:
    """A note a person may keep with a model, without surrounding spaces; empty takes it away. UsageError says why
    not."""
    if len(note) <= 4 * MAX_NOTE:  # composing takes the square of the length
        note = unicodedata.normalize("NFC", note.replace("\r\n", "\n")).strip()
    if len(note) > MAX_NOTE:
        raise UsageError(f"A note has at most {MAX_NOTE} characters; this one has {len(note)}.")
    for symbol in note:
        if symbol != "\n" and (unicodedata.category(symbol)[0] == "C" or unicodedata.category(symbol) in ("Zl", "Zp")):
            raise UsageError(f"The note contains {shown(symbol)}; use letters, digits, spaces and line breaks.")
    return note


def inside(path: Path, root: Path) -> bool:
    """Whether `path`, with all symbolic links followed, lies in the folder `root` (already resolved)."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False
