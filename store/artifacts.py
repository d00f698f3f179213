"""The five artifacts of a model (config, tokenizer, model, report, completions) under the names and keys of FORMATS.

Whatever a file holds that is not ours is kept when it is written again.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import registry
from engine.config import Config, shown
from engine.errors import BabyError, FormatError, NotFound
from store import atomic, model_file, reports
from store.atomic import StoreError, make_folder, shown_path, write_json
from store.configs import FORMAT, export_config, import_config, unknown_keys
from store.names import split_guid
from store.reading import read_json
from store.workspace import JSON_LIMIT as CONFIG_LIMIT
from store.workspace import Workspace

TOKENIZER_LIMIT = 32 << 20
COMPLETION_LIMIT = 16 << 20
MAX_VOCAB = 1 << 21
MAX_SYMBOL = 1 << 18  # characters, as in engine/tokenizer: a reply is as long as what it is made of

# --- config ----------------------------------------------------------------------------------------------------------


def save_config(ws: Workspace, guid: str, config: Mapping[str, Any], runtime: Mapping[str, Any] | None = None) -> None:
    """Writes configs/config_<GUID>.json from the parameters in `config` (Config.to_dict()).

    runtime: model_params, model_size (bytes), device_name, … as in FORMATS. Unknown keys of a file that is there
    already stay, and so does its name; otherwise the name is the run's as it is now (it may have been renamed while
    it trained), or `config["babytui_name"]` without a run.
    """
    path = ws.path("config", guid)
    old, plan = _existing(path, CONFIG_LIMIT), ws.plan(guid)
    kept = unknown_keys(old)
    name = old.get("babytui_name") or (plan.get("name") if plan else config.get("babytui_name")) or ""
    note = old.get("babytui_note") or plan.get("note")
    created = reports.number(old.get("babytui_created")) or reports.number(plan.get("created")) or time.time()
    new = {**export_config(config), "babytui_format": FORMAT, "babytui_name": str(name), "babytui_created": created}
    if note:
        new["babytui_note"] = str(note)
    if runtime is not None:
        new["runtime"] = {**(kept["runtime"] if isinstance(kept.get("runtime"), dict) else {}), **runtime}
    _write(path, {**{key: value for key, value in kept.items() if key not in new}, **new})


def load_config(ws: Workspace, guid: str) -> Config:
    """The config of a model, its aliases resolved and unknown keys in `extra`. NotFound, FormatError.

    A finetuned model that has none of its own (the earlier program did not always write it) has its base's.
    """
    try:
        path = ws.find("config", guid)
    except NotFound:
        bare, finetuned = split_guid(guid)
        if not finetuned:
            raise
        path = ws.find("config", bare)
    return import_config(read_json(path, CONFIG_LIMIT), shown_path(path.name))


# --- tokenizer -------------------------------------------------------------------------------------------------------


def save_tokenizer(ws: Workspace, guid: str, kind: str, vocab: Iterable[str]) -> None:
    """Writes tokenizers/tokenizer_<GUID>.json. kind: the tokenizer's name; FormatError as `load_tokenizer`."""
    path = ws.path("tokenizer", guid)
    vocab = check_vocabulary(list(vocab), kind, shown_path(path.name))
    old = _existing(path, TOKENIZER_LIMIT)
    _write(path, {**old, "vocab": vocab, "vocab_size": len(vocab), "babytui_kind": kind})


def load_tokenizer(ws: Workspace, guid: str) -> list[str]:
    """The vocabulary: distinct texts, id = place. NotFound, FormatError."""
    return load_vocabulary(ws, guid)[0]


def load_vocabulary(ws: Workspace, guid: str) -> tuple[list[str], str | None]:
    """The vocabulary and the kind of tokenizer it is for; None in files of the earlier program (its config knows)."""
    path = ws.find("tokenizer", guid)
    raw = read_json(path, TOKENIZER_LIMIT)
    kind = raw.get("babytui_kind")
    kind = kind if isinstance(kind, str) else None
    if kind not in (None, *registry.tokenizer.names()):
        raise FormatError(f"{shown_path(path.name)}: babytui_kind is {shown(kind)}, not one of "
                          f"{', '.join(registry.tokenizer.names())}.")
    return check_vocabulary(raw.get("vocab"), kind, shown_path(path.name)), kind


def check_vocabulary(vocab: Any, kind: str | None, name: str) -> list[str]:
    """The vocabulary itself: distinct texts, none of them empty or a text of its own. FormatError."""
    if not isinstance(vocab, list) or not vocab:
        raise FormatError(f"{name}: vocab must be a list of at least one text.")
    if len(vocab) > MAX_VOCAB:
        raise FormatError(f"{name}: vocab has {len(vocab):,} entries, more than {MAX_VOCAB:,}.")
    seen: dict[str, int] = {}
    for place, symbol in enumerate(vocab):
        if not isinstance(symbol, str) or not symbol:
            raise FormatError(f"{name}: entry {place} of vocab is {shown(symbol)}, not a text.")
        if len(symbol) > MAX_SYMBOL:
            raise FormatError(f"{name}: entry {place} of vocab has {len(symbol):,} characters, more than "
                              f"{MAX_SYMBOL:,}; it is not a symbol.")
        if kind == "char" and len(symbol) != 1:
            raise FormatError(f"{name}: entry {place} of vocab is {shown(symbol)}, more than one character.")
        if seen.setdefault(symbol, place) != place:
            raise FormatError(f"{name}: vocab has {shown(symbol)} twice, at {seen[symbol]} and {place}.")
    return vocab


# --- model -----------------------------------------------------------------------------------------------------------


def save_model(ws: Workspace, guid: str, arrays: Mapping[str, Any]) -> None:
    """Writes models/model_<GUID>.json, see `model_file.write_model`."""
    path = ws.path("model", guid)
    make_folder(path.parent)
    model_file.write_model(path, arrays)


def load_model(ws: Workspace, guid: str, dtype: str = "float32", limit: int = model_file.LIMIT) -> dict[str, Any]:
    """name → array, number or None, see `model_file.read_model`. NotFound, FormatError."""
    return model_file.read_model(ws.find("model", guid), limit, dtype)


def load_shapes(ws: Workspace, guid: str) -> dict[str, tuple[int, ...] | None]:
    """name → shape, without reading numbers, see `model_file.read_shapes`."""
    return model_file.read_shapes(ws.find("model", guid))


# --- report ----------------------------------------------------------------------------------------------------------


def save_report(ws: Workspace, guid: str, report: Mapping[str, Any]) -> None:
    """Writes outputs/report_<GUID>.json: all keys of the newest generation in its order (what is missing gets a
    neutral value), then ours, then unknown ones, also those of a report that is there already. Logs are thinned to
    200 lines, babytui_curve ([[step, train_loss, validation_loss], …]) to 1000 points."""
    path = ws.path("report", guid)
    known = {*reports.KEYS, *reports.OURS, "num_epochs"}
    kept = {key: value for key, value in _existing(path, reports.LIMIT).items() if key not in known}
    _write(path, reports.complete({**report, **{key: value for key, value in kept.items() if key not in report}}))


def load_report(ws: Workspace, guid: str) -> dict[str, Any]:
    """The report of any generation in normal form (`reports.normal`). NotFound, FormatError."""
    return reports.read(ws.find("report", guid))


# --- completions -----------------------------------------------------------------------------------------------------

_COMPLETION = {"prompt": None, "generation": "", "inference_max_tokens": None, "inference_total_time": 0.0,
               "inference_cache": True}


@dataclass(frozen=True)
class Completion:
    """A saved reply. `stamp` is yyyymmddhhmmss, None for the one that training wrote; `data` all keys of its file."""

    path: Path
    stamp: str | None
    data: dict[str, Any]


def save_completion(ws: Workspace, guid: str, completion: Mapping[str, Any], *, stamped: bool = False) -> Path:
    """Writes outputs/completion_<GUID>.json, or with stamped=True a new file with the present time in its name.

    completion: prompt, generation (prompt included), inference_max_tokens, inference_total_time (s), inference_cache
    and any other keys. Returns the path.
    """
    if not stamped:
        path = ws.path("completion", guid)
        old = _existing(path, COMPLETION_LIMIT)
        _write(path, {**_COMPLETION, **old, **completion})
        return path
    now = time.time()
    for later in range(3600):  # two replies in one second: the second takes the next free one
        stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(now + later))
        path = ws.path("completion", guid, stamp=stamp)
        if atomic.mode(path, follow=False):
            continue
        try:
            _write(path, {**_COMPLETION, **completion}, overwrite=False)
            return path
        except StoreError as error:
            if error.errno != errno.EEXIST:
                raise
    raise StoreError(f"{shown_path(path)} cannot be written: too many replies of one second.", path)


def load_completion(ws: Workspace, guid: str, stamp: str | None = None) -> dict[str, Any]:
    """One saved reply. NotFound, FormatError."""
    return _check_completion(read_json(ws.find("completion", guid, stamp=stamp), COMPLETION_LIMIT),
                             ws.path("completion", guid, stamp=stamp))


def load_completions(ws: Workspace, guid: str) -> list[Completion]:
    """All readable replies of a model: training's first, then by time. A broken file is left out."""
    found = []
    for path, stamp in ws.completions(guid):
        try:
            found.append(Completion(path, stamp, _check_completion(read_json(path, COMPLETION_LIMIT), path)))
        except BabyError:
            continue
    return found


def _check_completion(data: dict[str, Any], path: Path) -> dict[str, Any]:
    if not isinstance(data.get("generation"), str):
        raise FormatError(f"{shown_path(path.name)}: generation must be text.")
    if not isinstance(data.get("prompt"), (str, type(None))):
        raise FormatError(f"{shown_path(path.name)}: prompt must be text or null.")
    known = {"inference_max_tokens": reports.whole_number(data.get("inference_max_tokens")),
             "inference_total_time": reports.number(data.get("inference_total_time")) or 0.0,
             "inference_cache": data.get("inference_cache") is not False}
    return {**_COMPLETION, **data, **known}


# ---------------------------------------------------------------------------------------------------------------------


def _existing(path: Path, limit: int) -> dict[str, Any]:
    """The object that is about to be replaced; empty when there is none or it is damaged. StoreError when the disk does
    not give it out: what it holds is not to be lost for that."""
    try:
        return read_json(path, limit)
    except (NotFound, FormatError):
        return {}


def _write(path: Path, obj: dict[str, Any], *, overwrite: bool = True) -> None:
    make_folder(path.parent)
    write_json(path, obj, overwrite=overwrite)
