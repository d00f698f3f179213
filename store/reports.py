"""Training reports: three generations of one file, read into the newest form, written with its keys in its order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import FormatError
from store.atomic import explain, shown_path
from store.reading import open_regular, parse_json, read_bytes

LIMIT = 32 << 20  # bytes; an earlier program logged every batch and reached 1.5 MB
MAX_LINES = 200
MAX_CURVE = 1000
_SUMMARY = 1 << 18  # bytes: a larger report is not read whole for a list

# the keys of the newest generation, in its order, and what stands for "not known" in a report that is written
KEYS: dict[str, Any] = {
    "n_epochs": 1, "dataset": "", "avg_train_time_per_batch": 0.0, "train_batches_per_epoch": 0,
    "avg_val_time_per_batch": 0.0, "val_batches_per_epoch": 0, "average_train_loss_per_epoch": None,
    "average_val_loss_per_epoch": None, "average_time_per_epoch": 0.0, "total_time": 0.0, "train_cache": False,
    "batch_logs": [], "epoch_logs": [],
}
# our own, after them
OURS = ("babytui_parameters", "babytui_tokens", "babytui_steps", "babytui_seconds", "babytui_validation_loss",
        "babytui_curve")
_OLD = {"num_epochs": "n_epochs"}
_LOGS = ("batch_logs", "epoch_logs")


def normal(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A report of any generation under the newest names, in the newest order; what it lacks or what is of another type
    than it should be is None, logs are lists of lines, unknown keys follow as they are."""
    renamed = {_OLD.get(key, key): value for key, value in raw.items()}
    report = {key: _KINDS[key](renamed.pop(key, None)) for key in KEYS}
    return {**report, **{key: _KINDS[key](value) if key in _KINDS else value for key, value in renamed.items()}}


def complete(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as it is written: every key of the newest generation in its order, then ours, then the rest; logs and
    curve thinned evenly so that no report becomes large."""
    given = normal(report)
    whole = {key: default if given.get(key) is None else given[key] for key, default in KEYS.items()}
    for key in _LOGS:
        whole[key] = thin(whole[key], MAX_LINES)
    for key in OURS:
        if key in given:
            whole[key] = given[key]
    if isinstance(whole.get("babytui_curve"), (list, tuple)):
        whole["babytui_curve"] = thin(whole["babytui_curve"], MAX_CURVE)
    return {**whole, **{key: value for key, value in given.items() if key not in whole}}


def thin(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items (at least 2), evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)]


def read(path: str | Path) -> dict[str, Any]:
    """The whole report in normal form. FormatError, NotFound, StoreError."""
    return normal(parse_json(read_bytes(path, LIMIT), path))


def read_summary(path: str | Path) -> dict[str, Any]:
    """The report without its logs. Of a large one only the beginning and the end are read."""
    file, size = open_regular(path, LIMIT)
    try:
        with file:
            if size <= _SUMMARY:
                report = normal(parse_json(file.read(size), path))
            else:
                head = file.read(_SUMMARY // 4)
                file.seek(-(1 << 12), 2)
                report = normal(_ends(head, file.read(), path))
    except OSError as error:
        raise explain(error, path, "read") from error
    for key in _LOGS:
        del report[key]
    return report


def _ends(head: bytes, tail: bytes, path: str | Path) -> dict[str, Any]:
    """The numbers before the logs, and `total_time`, which the oldest generation wrote after them."""
    match = re.search(rb'[,{]\s*"(?:batch_logs|epoch_logs)"\s*:', head)
    if match is None:
        raise FormatError(f"{shown_path(Path(path).name)} is large and has no logs near its beginning; it is not a "
                          "report.")
    before = head[:match.start()]
    report = parse_json((before or b"{") + b"}", path)
    end = re.search(rb'"total_time"\s*:\s*([-+.0-9eE]{1,40})\s*[,}]', tail)
    if "total_time" not in report and end:
        try:
            report["total_time"] = float(end[1])
        except ValueError:
            pass
    return report


def number(value: Any) -> float | None:
    """A finite number of a report, None for anything else (text, true, null)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e300 else None


def moment(value: Any) -> float | None:
    """A time in Unix seconds that a calendar has, None for anything else."""
    found = number(value)
    return found if found is not None and 0 <= found < 253402214400 else None  # until the year 9999


def whole_number(value: Any) -> int | None:
    """A count of a report: a whole number of at least 0, None for anything else."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _lines(value: Any) -> list[str]:
    return [line for line in value if isinstance(line, str)] if isinstance(value, list) else []


def _curve(value: Any) -> list[list[float | None]]:
    """Rows of step, training loss and validation loss."""
    rows = value if isinstance(value, (list, tuple)) else []
    return [[step, number(row[1]), number(row[2])] for row in rows if isinstance(row, (list, tuple)) and len(row) == 3
            and (step := whole_number(row[0])) is not None]


# what the value of a key has to be; None (or no lines) stands for what is not
_KINDS: dict[str, Callable[[Any], Any]] = {
    **{key: whole_number if isinstance(default, int) else number for key, default in KEYS.items()},
    "dataset": _text, "train_cache": _truth, "batch_logs": _lines, "epoch_logs": _lines,
    "babytui_parameters": whole_number, "babytui_tokens": whole_number, "babytui_steps": whole_number,
    "babytui_seconds": number, "babytui_validation_loss": number, "babytui_curve": _curve,
}
