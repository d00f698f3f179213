"""The table of a bake-off: its columns with units, the order of its rows, and what it is exported as. No arrays."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from babytui.units import amount
from engine.errors import UsageError
from store.reports import number

Values = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """One measured quantity. key: its name in JSON and CSV; title: in a table; best: "low", "high" or neither."""

    key: str
    title: str
    unit: str
    help: str
    show: Callable[[Any], str]
    best: str = "low"


def loss(value: float) -> str:
    """Four decimals, as long as they mean something."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.3g}"


def _two(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else amount(value)


def _one(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else amount(value)


COLUMNS = (
    Column("validation_loss", "val", "nats/token", "mean cross entropy of the held-back text", loss),
    Column("perplexity", "ppl", "", "as unsure as if it chose among so many tokens", _two),
    Column("train_loss", "train", "nats/token", "mean loss of the last twentieth", loss),
    Column("tokens_per_second", "tok/s", "tokens/s", "trained per second, evaluations left out", amount, "high"),
    Column("generation_tokens_per_second", "gen/s", "tokens/s",
           "written per second with the cache, the fastest of several replies", amount, "high"),
    Column("parameters", "params", "", "numbers in the model", amount),
    Column("cache_bytes_per_token", "B/tok", "B/token", "decode state of a full context, per token",
           amount),
    Column("state_bytes", "state", "B", "decode state of a full context", amount),
    Column("steps", "steps", "", "optimizer steps", amount, ""),
    Column("tokens", "tokens", "", "tokens trained on", amount, ""),
    Column("seconds", "time", "s", "training time", _one),
)
BY_KEY = {column.key: column for column in COLUMNS}
IDENTITY = ("attention", "network", "sequence")
EXPORTED = (*IDENTITY, "parameters", "steps", "tokens", "seconds", "tokens_per_second", "generation_tokens_per_second",
            "train_loss", "validation_loss", "perplexity", "cache_bytes_per_token", "state_bytes", "guid", "error")
SORTS = ("architecture", *BY_KEY)


def label(attention: str, network: str, sequence: str) -> str:
    """What an architecture is called: mha·mlp, or mha·mlp post."""
    return f"{attention}·{network}" + ("" if sequence == "pre" else f" {sequence}")


def sort_key(name: str) -> str:
    """The key of the column with this key, title or unambiguous beginning. UsageError names the nearest."""
    wanted = name.strip().lower().replace("-", "_")
    titles = {column.title.lower(): column.key for column in COLUMNS}
    if wanted in SORTS:
        return wanted
    if wanted in titles:
        return titles[wanted]
    begin = {key for key in SORTS if wanted and key.startswith(wanted)}
    if len(begin) == 1:
        return begin.pop()
    near = difflib.get_close_matches(wanted, [*SORTS, *titles], n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(SORTS)}."
    raise UsageError(f"A bake-off has no column '{name}'; {hint}")


def ordered(rows: Iterable[T], by: str, reverse: bool = False, of: Callable[[T], Values] | None = None) -> list[T]:
    """Rows with the best first (or, `reverse`, last); those without a value go last in their own order.

    of: the values of a row, when it is not a mapping itself.
    """
    def read(row: Any) -> Values:
        return of(row) if of is not None else row

    rows = list(rows)
    if by == "architecture":
        return sorted(rows, key=lambda row: _name(read(row)), reverse=reverse)
    known = [row for row in rows if isinstance(read(row).get(by), (int, float))]
    sign = -1 if BY_KEY[by].best == "high" else 1
    known.sort(key=lambda row: (sign * read(row)[by], _name(read(row))), reverse=reverse)
    return known + [row for row in rows if not isinstance(read(row).get(by), (int, float))]


def _name(row: Values) -> tuple[str, ...]:
    return tuple(str(row.get(key, "")) for key in IDENTITY)


def cell(column: Column, row: Values) -> str:
    """A row's value as a table shows it, or a dash."""
    value = row.get(column.key)
    return column.show(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else "–"


def checked(row: Values) -> dict[str, Any]:
    """A row of a results file with what it may hold, each of its kind: somebody else may have written it."""
    found = {key: value for key in (*BY_KEY, "elapsed", "ended") if (value := number(row.get(key))) is not None}
    return {**found, **{key: row[key] for key in (*IDENTITY, "guid", "name", "error") if isinstance(row.get(key), str)}}


def exported(rows: Iterable[Values]) -> list[dict[str, Any]]:
    """What JSON gets: one object per architecture with the keys of EXPORTED, null where nothing was measured."""
    return [{key: row.get(key) for key in EXPORTED} for row in rows]


def as_csv(rows: Iterable[Values]) -> str:
    """The same as comma-separated values; the heading has the units in brackets."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([heading(key) for key in EXPORTED])
    for row in exported(rows):
        writer.writerow(["" if row[key] is None else row[key] for key in EXPORTED])
    return file.getvalue()


def heading(key: str) -> str:
    """A column's key with its unit: seconds [s]."""
    unit = BY_KEY[key].unit if key in BY_KEY else ""
    return f"{key} [{unit}]" if unit else key


def lines(rows: Sequence[Values], width: int | None = None, extra: Sequence[str] = ()) -> list[str]:
    """The table as aligned lines with its heading, at most `width` wide; `extra` are texts for a last column.

    The columns that are missed least go first where there is no room for all.
    """
    columns = list(COLUMNS)
    names = [label(*(str(row.get(key, "")) for key in IDENTITY)) for row in rows]
    while True:
        table = [["MODEL", *(column.title.upper() for column in columns), *(["RUN"] if extra else [])]]
        table += [[name, *(cell(column, row) for column in columns), *([extra[n]] if extra else [])]
                  for n, (name, row) in enumerate(zip(names, rows, strict=True))]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        if width is None or sum(widths) + 2 * len(widths) - 2 <= width or not (droppable := _droppable(columns)):
            break
        columns.remove(droppable)
    last = len(widths) - 1 if extra else -1
    return ["  ".join(text.ljust(size) if i in (0, last) else text.rjust(size)
                      for i, (text, size) in enumerate(zip(row, widths, strict=True))).rstrip() for row in table]


DROPPED = ("tokens", "seconds", "steps", "state_bytes", "train_loss", "perplexity", "cache_bytes_per_token",
           "parameters", "generation_tokens_per_second")


def _droppable(columns: Sequence[Column]) -> Column | None:
    there = {column.key: column for column in columns}
    return next((there[key] for key in DROPPED if key in there), None)
