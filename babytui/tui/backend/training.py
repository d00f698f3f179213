"""Runs: begin, find, steer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from babytui.tui.backend.models import SHIPPED
from babytui.tui.backend.texts import named
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.curve.curve import Curve
    from babytui.curve.loading import Index
    from babytui.curve.series import Point
    from babytui.finetuning import Base, Prepared
    from babytui.runs import Run
    from babytui.tui.screens.finetune import Wishes
    from store.workspace import Workspace


def start(workspace: Workspace, values: Mapping[str, Any], text: str, name: str, prompt: str) -> Run:
    """Begins a run and remembers its parameters for next time."""
    from babytui import runs
    from engine.config import Config

    config = Config.read(values)
    run = runs.start(workspace, config, named(text), name=name or None, prompt=prompt)
    try:
        workspace.save_current(config.to_dict())
    except BabyError:  # the run is what matters
        pass
    return run


_bases: dict[tuple[Any, ...], Base] = {}  # the last model that was looked at


def prepare_finetuning(workspace: Workspace, guid: str, wishes: Wishes) -> Prepared:
    """What the form of a fine-tuning would be. BabyError; a ConfigError names its field."""
    from babytui import finetuning, library
    from engine.adaptation import Adaptation

    home, whole = library.locate(guid, workspace)
    stamp = home.find("model", whole).stat()
    key = (home.root, whole, stamp.st_mtime_ns, stamp.st_size)
    base = _bases.get(key)
    if base is None:
        base = finetuning.open_base(guid, workspace)
        _bases.clear()
        _bases[key] = base
    adaptation = Adaptation(wishes.freeze, wishes.rank, 0.0, wishes.target)
    return finetuning.prepare(base, workspace, named(wishes.text), changes=wishes.changes, adaptation=adaptation,
                              name=wishes.name, prompt=wishes.prompt)


def finetune(workspace: Workspace, guid: str, wishes: Wishes) -> Run:
    """Begins a fine-tuning."""
    from babytui import finetuning

    return finetuning.start(workspace, prepare_finetuning(workspace, guid, wishes))


def find_run(workspace: Workspace, reference: str, by: int = 0) -> Run | None:
    """The run with this GUID ("last": one that is alive, else the newest), or its neighbour; None without one."""
    from babytui import runs

    if not by:
        try:
            return runs.find(workspace, reference)
        except BabyError:
            return None
    everything = runs.all_runs(workspace)
    at = next((n for n, run in enumerate(everything) if run.guid == reference), None)
    if at is None:
        return everything[0] if everything else None
    return everything[max(0, min(len(everything) - 1, at + by))]


def command(run: Run, name: str, value: float | None = None) -> str:
    """Sends a command; the sentence of what went wrong, or an empty text."""
    try:
        if name == "resume":
            run.resume()
        else:
            run.command(name, value)
    except (BabyError, OSError) as error:
        return str(error)
    return ""


def finer_points(run: Run, index: Index, first: float, last: float) -> list[Point]:
    """The points of a run's training curve from one step to another, read again from its journal."""
    from babytui.curve.loading import finer

    return finer(run.journal, index, first, last)


def learners(workspace: Workspace) -> list[tuple[str, str]]:
    """GUID and description of everything whose curve can be drawn, newest first."""
    from babytui import runs

    alive = {run.guid for run in runs.all_runs(workspace) if run.alive}
    found = []
    for entry in workspace.entries():
        journal = workspace.run_dir(entry.guid) / "events.jsonl"
        if entry.guid not in alive and not entry.report and not journal.is_file():
            continue
        loss = "" if entry.validation_loss is None else f"val. {entry.validation_loss:.3f}"
        made = time.strftime("%d %b %H:%M", time.localtime(entry.created)) if entry.created else ""
        pair = f"{entry.config.get('c_attention', '?')}+{entry.config.get('c_network', '?')}"
        facts = [entry.name or entry.guid[:8], "training" if entry.guid in alive else loss, pair, entry.dataset, made]
        found.append((entry.guid, " · ".join(str(fact) for fact in facts if fact)))
    if all(name.split(" · ")[0] != SHIPPED for _, name in found):
        found.append((SHIPPED, f"{SHIPPED} · ships with babytui"))
    return found


def curves_of(workspace: Workspace, guids: Sequence[str]) -> tuple[list[Run], list[Curve]]:
    """The runs of these that have a journal, and the curves of the others from their reports."""
    from babytui import runs
    from babytui.curve.loading import load

    found, curves = [], []
    for guid in guids:
        if guid != SHIPPED and (run := runs.Run(workspace, guid)).journal.is_file():
            found.append(run)
        else:
            curves.append(load(workspace, guid))
    return found, curves
