"""Bake-offs: begin, find, steer, keep."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babytui.tui.backend.texts import named
from engine.errors import BabyError, ConfigError, NotFound

if TYPE_CHECKING:
    from babytui.bakeoff import Architecture, BakeOff
    from babytui.bakeoff_draft import Draft
    from babytui.bakeoff_progress import Progress
    from babytui.tui.screens.bakeoff_form import BakeOffWishes
    from store.workspace import Workspace


def bakeoffs(workspace: Workspace) -> list[tuple[str, str]]:
    """GUID and description of every bake-off, newest first."""
    from babytui import bakeoff
    from babytui.bakeoff_progress import Progress

    found = []
    for one in bakeoff.all_bakeoffs(workspace):
        try:
            progress = Progress(one)
        except BabyError:
            found.append((one.guid, f"{one.name} · broken"))
            continue
        progress.look()
        made = time.strftime("%d %b %H:%M", time.localtime(one.created))
        found.append((one.guid, f"{one.name} · {progress.status} · {progress.done}/{len(progress.rows)} · "
                                f"{progress.budget} · {progress.plan.get('dataset')} · {made}"))
    return found


def open_bakeoff(workspace: Workspace, reference: str = "last") -> Progress | None:
    """How a bake-off stands (the newest that is at work, else the newest); None without any."""
    from babytui import bakeoff
    from babytui.bakeoff_progress import Progress

    try:
        return Progress(bakeoff.find(workspace, reference))
    except NotFound:
        if reference == "last":
            return None
        raise


def draft_bakeoff(workspace: Workspace, values: Mapping[str, Any], wishes: BakeOffWishes) -> Draft:
    """The bake-off that a form asks for, with the other form's parameters. BabyError."""
    from babytui.bakeoff import Budget
    from babytui.bakeoff_draft import draft
    from engine.config import Config

    chosen = _architectures(wishes)
    return draft(workspace, Config(dict(values)), chosen, named(wishes.text),
                 budget=Budget(wishes.kind, wishes.amount), name=wishes.name or None, jobs=wishes.jobs)


def _architectures(wishes: BakeOffWishes) -> list[Architecture]:
    from babytui.bakeoff import Architecture

    orders = ("pre", "post") if wishes.sequence == "both" else (wishes.sequence,)
    return [Architecture(attention, network, order) for attention in wishes.attentions for network in wishes.networks
            for order in orders]


def bakeoff_command(workspace: Workspace, values: Mapping[str, Any], wishes: BakeOffWishes) -> str:
    """The command line that starts the same. ConfigError when nothing is chosen."""
    from babytui.bakeoff import Budget
    from babytui.bakeoff_draft import command_line

    chosen = _architectures(wishes)
    if not chosen:
        raise ConfigError("Choose at least one attention and one network.")
    return command_line(chosen, values, Budget(wishes.kind, wishes.amount), named(wishes.text),
                        name=wishes.name or None, jobs=wishes.jobs, workspace=str(workspace.root))


def export_bakeoff(progress: Progress, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Writes its table as CSV and JSON into its folder."""
    from babytui import bakeoff_table
    from store import atomic

    paths = [progress.bakeoff.dir / "table.csv", progress.bakeoff.dir / "table.json"]
    atomic.write_bytes(paths[0], bakeoff_table.as_csv(rows).encode())
    atomic.write_json(paths[1], bakeoff_table.exported(rows))
    return paths


def halt_bakeoff(bakeoff: BakeOff) -> None:
    """The same for a bake-off."""
    from textual.worker import get_current_worker

    from babytui import removal

    worker = get_current_worker()
    removal.halt(bakeoff, lambda: not worker.is_cancelled)
