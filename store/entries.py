"""What is in a workspace: one Entry per GUID, from file names, small JSON files and sizes. No arrays are read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import BabyError, NotFound, UsageError
from store import configs, plans, reports
from store.names import FINETUNED, PATTERNS, check_name, check_note, inside, split_guid, valid_guid
from store.reading import read_json

JSON_LIMIT = 1 << 20  # bytes of a config, a plan or a settings file
MAX_DEPTH = 8  # folders below that of a run


@dataclass
class Entry:
    """A model, a run, or what is left of one.

    guid: with the suffix `_finetuned` for a finetuned model. note: what somebody wrote about it. created: Unix seconds.
    bytes: of all `files` (the run's too). config: the parameters under our names, as far as they can be understood.
    base: what a finetuned model says of the one it was made from (guid, name, sha256, what was trained), checked texts
    and numbers; empty otherwise. report: in normal form without its logs. losses: nats per token. has_model: False
    while a run has not ended. problems: a sentence each.
    """

    guid: str
    name: str = ""
    note: str = ""
    created: float = 0.0
    bytes: int = 0
    parameters: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] | None = None
    validation_loss: float | None = None
    train_loss: float | None = None
    tokens: int | None = None
    dataset: str = ""
    has_model: bool = False
    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class _Found:
    """The files of one GUID by kind; `oldest` is the earliest change of any of them. Paths are text: there are many."""

    paths: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    oldest: float = float("inf")
    problems: list[str] = field(default_factory=list)

    def add(self, path: str, status: os.stat_result) -> None:
        self.files.append(path)
        self.bytes += status.st_size
        self.oldest = min(self.oldest, status.st_mtime)


def scan(root: Path) -> list[Entry]:
    """Every GUID of the workspace `root` (resolved), newest first. A broken file is named in its entry's problems."""
    found: dict[str, _Found] = {}
    for folder, pattern in PATTERNS.items():
        for item in _items(root, folder):
            match = pattern.fullmatch(item.name)
            if match:
                _add(found.setdefault(match[2], _Found()), match[1] or "model", item, root)
    for item in _items(root, "runs"):
        if valid_guid(item.name) and item.is_dir(follow_symlinks=False):
            run = found.setdefault(item.name, _Found())
            run.paths["run"] = item.path
            _walk(run, item.path)
    # a conversation alone is one with a model that lies elsewhere
    entries = [_entry(guid, files, found) for guid, files in found.items() if files.paths or not all(
        os.path.basename(path).startswith("conversation_") for path in files.files)]
    return sorted(entries, key=lambda entry: (-entry.created, entry.guid))


def _items(root: Path, folder: str) -> Iterable[os.DirEntry[str]]:
    """The content of a folder; nothing when it is missing, unreadable or a link out of the workspace."""
    path = root / folder
    try:
        if path.is_symlink() and not inside(path, root):
            return []
        with os.scandir(path) as items:
            return list(items)
    except OSError:
        return []


def _add(found: _Found, kind: str, item: os.DirEntry[str], root: Path) -> None:
    path = item.path
    try:
        status = item.stat(follow_symlinks=False)
        if item.is_symlink():
            found.files.append(path)
            if not inside(Path(path), root) or not item.is_file():
                found.problems.append(f"{item.name} is a link that leads out of the workspace or nowhere; "
                                      "it is not followed.")
                return
        elif not stat.S_ISREG(status.st_mode):
            found.problems.append(f"{item.name} is not a regular file.")
            return
        else:
            found.add(path, status)
    except OSError:  # gone meanwhile
        return
    if kind in ("completion", "conversation") or (kind == "config" and kind in found.paths):
        return
    if path.endswith(".pkl"):
        kind = "pickle"
    if kind != "model" or path.endswith(".json") or "model" not in found.paths:
        found.paths[kind] = path


def _walk(found: _Found, folder: str) -> None:
    """Adds every file below a run's folder. Links are counted but not followed."""
    folders = [(folder, 0)]
    while folders:
        folder, depth = folders.pop()
        with suppress(OSError), os.scandir(folder) as items:
            for item in items:
                if not item.is_dir(follow_symlinks=False):
                    found.add(item.path, item.stat(follow_symlinks=False))
                elif depth < MAX_DEPTH:
                    folders.append((item.path, depth + 1))


def _entry(guid: str, found: _Found, everything: dict[str, _Found]) -> Entry:
    paths = found.paths
    entry = Entry(guid, bytes=found.bytes, has_model="model" in paths, problems=list(found.problems),
                  files=[Path(path) for path in sorted(found.files)])
    plan = _plan(entry, os.path.join(paths["run"], plans.NAME)) if "run" in paths else {}
    config_path = paths.get("config")
    if config_path is None and guid.endswith(FINETUNED) and (base := everything.get(split_guid(guid)[0])):
        config_path = base.paths.get("config")  # the earlier program did not always copy it
    raw = _read(entry, config_path) if config_path else plan.get("config")
    raw = raw if isinstance(raw, dict) else {}
    entry.config = configs.parameters_of(raw, trained=bool(config_path))
    own = raw if "config" in paths else {}
    entry.base = _base(own.get("babytui_base") or {**_dict(plan.get("adaptation")), **_dict(plan.get("base"))})
    entry.name = _name(entry, own.get("babytui_name") or plan.get("name"))
    entry.note = _note(entry, own.get("babytui_note") or plan.get("note"))
    if "report" in paths:
        try:
            entry.report = reports.read_summary(paths["report"])
        except (BabyError, OSError) as error:
            entry.problems.append(str(error))
    created = plan.get("created") or reports.moment(own.get("babytui_created"))
    entry.created = created or (found.oldest if found.oldest < float("inf") else 0.0)
    _numbers(entry, raw)
    entry.dataset = _dataset(entry.report or {}, plan)
    _missing(entry, paths, config_path)
    return entry


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _base(raw: Any) -> dict[str, Any]:
    """What is said of a base, as far as it is what it should be: a stranger may have written it."""
    found: dict[str, Any] = {}
    for key, value in _dict(raw).items():
        if key in ("guid", "name", "sha256"):
            good = isinstance(value, str) and len(value) <= 200
        elif key in ("freeze", "target"):
            good = isinstance(value, list) and len(value) <= 1000 and all(isinstance(item, str) for item in value)
        else:
            good = key in ("rank", "alpha", "new_symbols", "trained_parameters") and reports.number(value) is not None
        if good:
            found[key] = value
    return found if "guid" in found else {}


def _plan(entry: Entry, path: str) -> dict[str, Any]:
    try:
        return plans.read(path)
    except NotFound:  # of a run that is being deleted
        return {}
    except BabyError as error:
        entry.problems.append(str(error))
        return {}


def _read(entry: Entry, path: str) -> dict[str, Any]:
    try:
        return read_json(path, JSON_LIMIT)
    except BabyError as error:
        entry.problems.append(str(error))
        return {}


def _name(entry: Entry, name: Any) -> str:
    if not name:
        return ""
    try:
        return check_name(name if isinstance(name, str) else repr(name))
    except UsageError as error:
        entry.problems.append(f"The name in its file is not used: {error}")
        return ""


def _note(entry: Entry, note: Any) -> str:
    if not note:
        return ""
    try:
        return check_note(note if isinstance(note, str) else repr(note))
    except UsageError as error:
        entry.problems.append(f"The note in its file is not used: {error}")
        return ""


def _numbers(entry: Entry, raw: dict[str, Any]) -> None:
    report = entry.report or {}
    runtime = raw.get("runtime")
    counts = [report.get("babytui_parameters"), runtime.get("model_params") if isinstance(runtime, dict) else None]
    entry.parameters = next((n for n in map(reports.whole_number, counts) if n), None)
    losses = [report.get("babytui_validation_loss"), report.get("average_val_loss_per_epoch")]
    entry.validation_loss = next((x for x in map(reports.number, losses) if x is not None), None)
    entry.train_loss = reports.number(report.get("average_train_loss_per_epoch"))
    entry.tokens = reports.whole_number(report.get("babytui_tokens"))


def _dataset(report: dict[str, Any], plan: dict[str, Any]) -> str:
    """The report's, else the names of the texts that the run was started with."""
    if isinstance(report.get("dataset"), str) and report["dataset"]:
        return str(report["dataset"])
    texts = plan.get("texts")
    if not isinstance(texts, list):
        return ""
    return ", ".join(Path(text).stem for text in texts)


def _missing(entry: Entry, paths: dict[str, str], config_path: str | None) -> None:
    if entry.has_model:
        if config_path is None:
            entry.problems.append("It has no config; its shapes cannot be understood.")
        if "tokenizer" not in paths:
            entry.problems.append("It has no tokenizer; it cannot be talked to.")
    elif "pickle" in paths:
        entry.problems.append(f"{os.path.basename(paths['pickle'])} is a pickle, which can run code when it is opened "
                              "and is never read.")
    elif "run" not in paths:
        entry.problems.append("It has no model; these files are what is left of one.")
