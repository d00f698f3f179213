"""babytui info"""

from __future__ import annotations

from math import prod
from typing import Any

from babytui import runs, workspace_choice
from babytui.cli.output import Output, count, date, loss, seconds, size
from engine.config import PARAMETERS, Config, effective, remarks
from engine.config import age as badge
from engine.errors import BabyError, ConfigError, FormatError
from store.workspace import Workspace


def run(arguments: Any) -> int:
    """Show what is known about a model, without reading its weights."""
    from babytui.library import locate

    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    home, guid = locate(arguments.guid, workspace, shipped_if_none=True)
    entry = home.entry(guid)
    if entry.parameters is None and entry.has_model:
        entry.parameters = _count_weights(home, guid)
    entry.config = effective(entry.config)
    shown = {**facts(entry), "remarks": remarks(entry.config)}
    live = runs.Run(home, guid)
    if (live.dir / "plan.json").is_file():
        shown["status"] = live.status()
    usable = _check_config(home, guid, entry)
    if arguments.json:
        out.data({**shown, "report": entry.report, "files": [str(path) for path in entry.files],
                  "problems": entry.problems})
        return 0 if usable else 1
    for line in _lines(entry, shown, out):
        out.print(line)
    for problem in entry.problems:
        out.alarm(problem)
    return 0 if usable else 1


def _check_config(home: Workspace, guid: str, entry: Any) -> bool:
    """Whether the model's config can be used; if not, why is among the entry's problems."""
    from store import artifacts

    if not entry.has_model:
        return True
    try:
        artifacts.load_config(home, guid)
    except FormatError as error:
        if str(error) not in entry.problems:
            entry.problems.append(str(error))
        return False
    except BabyError:  # there is none, which has been said
        pass
    return True


def facts(entry: Any) -> dict[str, Any]:
    """What --json prints for a model, in info and in list."""
    return {"guid": entry.guid, "name": entry.name, "parameters": entry.parameters,
            "validation_loss": entry.validation_loss, "train_loss": entry.train_loss, "tokens": entry.tokens,
            "dataset": entry.dataset, "created": entry.created, "bytes": entry.bytes, "has_model": entry.has_model,
            "config": entry.config, "base": entry.base or None, "note": entry.note or None}


def age(config: dict[str, Any]) -> str:
    """The age badge of a stored configuration; empty when it cannot be read."""
    try:
        return badge(Config.read(config, strict=False))
    except ConfigError:
        return ""


def _count_weights(home: Workspace, guid: str) -> int | None:
    """The number of weights in a model file that nobody wrote down, from its shapes; None when it is broken."""
    from store import artifacts

    try:
        return sum(prod(shape) for shape in artifacts.load_shapes(home, guid).values() if shape)
    except BabyError:
        return None


def _lines(entry: Any, shown: dict[str, Any], out: Output) -> list[str]:
    from babytui.finetuning import told

    config, report = entry.config, entry.report or {}
    lines = [f"{entry.name}  {entry.guid}" if entry.name else entry.guid]
    pair = f"{config.get('c_attention', '?')} + {config.get('c_network', '?')}, {config.get('c_sequence', '?')}-norm"
    rows = [
        ("age", age(config)), ("status", shown.get("status", "")), ("variants", pair),
        ("parameters", count(entry.parameters)), ("size", size(entry.bytes)), ("text", entry.dataset or "–"),
        ("validation loss", loss(entry.validation_loss)), ("training loss", loss(entry.train_loss)),
        ("tokens seen", count(entry.tokens)), ("steps", count(report.get("babytui_steps"))),
        ("time", seconds(report.get("total_time"))), ("created", date(entry.created)),
        ("note", entry.note.replace("\n", " ")),
    ]
    rows[3:3] = told(entry)
    lines += [f"  {name:<16} {value}" for name, value in rows if value]
    for remark in shown["remarks"]:
        lines += ["", remark]
    lines.append("")
    names = [name for name in PARAMETERS if name in config]
    lines += [f"  {name:<20} {_short(config[name])}" for name in names]
    lines += ["", "Files:", *(f"  {path}" for path in entry.files)]
    return lines


def _short(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
