"""Models: the rows of the table, what is known of one, delete and bring back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BabyError, NotFound, UsageError

if TYPE_CHECKING:
    from babytui.library import Baby
    from babytui.pictures import Summary
    from babytui.runs import Run
    from store.workspace import Deleted, Entry, Workspace

SHIPPED = "baby"


@dataclass
class Row:
    """One line of the table of models."""

    guid: str
    name: str
    state: str = ""
    age: str = ""
    variant: str = ""
    parameters: int | None = None
    validation_loss: float | None = None
    train_loss: float | None = None
    steps: int | None = None
    tokens: int | None = None
    dataset: str = ""
    created: float = 0.0
    bytes: int | None = None
    has_model: bool = False
    has_run: bool = False
    live: bool = False
    shipped: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    note: str = ""

    @property
    def date(self) -> str:
        """When it was made: the time today, else the day."""
        if not self.created:
            return "–"
        made, now = time.localtime(self.created), time.localtime()
        return time.strftime("%H:%M" if made[:3] == now[:3] else "%Y-%m-%d", made)

    @property
    def searchable(self) -> str:
        return " ".join((self.name, self.state, self.age, self.variant, self.dataset, self.note, "")).lower()

    def key(self, column: str) -> tuple[bool, Any]:
        """What to sort by: (unknown, value)."""
        value = {"name": self.name.lower(), "state": self.state, "age": self.config.get("n_ctx", 0),
                 "kind": self.variant, "params": self.parameters, "val. loss": self.validation_loss,
                 "train loss": self.train_loss, "steps": self.steps, "tokens": self.tokens,
                 "text": self.dataset.lower(), "date": self.created, "size": self.bytes}[column]
        return (value is None, 0 if value is None else value)


_listed: dict[Path, tuple[Any, list[Entry]]] = {}  # what was read of a workspace, while only its live runs change


def rows(workspace: Workspace, before: Any = None) -> tuple[list[Row], Any] | None:
    """Every model and live run, the shipped one last, with a signature; None when nothing changed since `before`."""
    from babytui import runs

    states = _states(workspace, runs)
    signature = (_stamps(workspace), states)
    if signature == before:
        return None
    known = (signature[0], tuple((guid, state.split(" ")[0]) for guid, state in states))
    if _listed.get(workspace.root, (None,))[0] != known or before is None:
        _listed[workspace.root] = known, workspace.entries()
    found = [_row(entry, dict(states).get(entry.guid)) for entry in _listed[workspace.root][1]]
    for row in found:
        if row.live:
            _fill_in(row, runs.Run(workspace, row.guid))
    return found + shipped_rows(), signature


def shipped_rows() -> list[Row]:
    """The baby that comes with the program, so that there is somebody to talk to from the start."""
    from babytui import workspace_choice
    from store.workspace import Workspace

    rows = [_row(entry, None) for entry in Workspace(workspace_choice.BOX).entries() if entry.has_model][:1]
    for row in rows:
        row.guid, row.name, row.state, row.shipped, row.has_run = SHIPPED, SHIPPED, "ships", True, False
    return rows


def _stamps(workspace: Workspace) -> tuple[Any, ...]:
    stamps = []
    for folder in (workspace.models, workspace.configs, workspace.outputs, workspace.runs):
        try:
            stamps.append(folder.stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)


_over: dict[str, str] = {}  # runs that have ended keep their status


def _states(workspace: Workspace, runs: Any) -> tuple[tuple[str, str], ...]:
    """Every run's state in words."""
    states = []
    for run in runs.all_runs(workspace):
        key = str(run.dir)
        alive = run.alive
        status = run.status() if alive or key not in _over else _over[key]
        if status in runs.OVER:
            _over[key] = status
        elif status == "running":
            status = "training " + _share(run)
        states.append((run.guid, status))
    return tuple(states)


def _share(run: Run) -> str:
    """How far a live run is, from the last lines of its journal."""
    last, plan = run.last_events(5), run.plan
    steps = next((int(getattr(e, "step", 0)) for e in reversed(last) if getattr(e, "step", 0)), 0)
    if budget := plan.get("time_budget"):
        seconds = next((float(getattr(e, "seconds", 0)) for e in reversed(last) if hasattr(e, "seconds")), 0.0)
        return f"{min(1.0, seconds / budget):.0%} step {steps:,}"
    planned = plan.get("config", {}).get("n_steps") or 0
    return (f"{min(1.0, steps / planned):.0%} " if planned else "") + f"step {steps:,}"


_told: dict[str, Row] = {}  # what live runs have said of themselves


def _fill_in(row: Row, run: Run) -> None:
    """A live run has no report yet: its size stands in its first event, its losses in its last ones."""
    from engine.events import Evaluation, Start, Step

    last = _told.get(row.guid)
    if last is not None:
        row.parameters, row.validation_loss = last.parameters, last.validation_loss
        row.train_loss, row.steps, row.tokens = last.train_loss, last.steps, last.tokens
    if row.parameters is None:
        first, _ = run.events(0, 1 << 14)
        row.parameters = next((event.parameters for event in first if isinstance(event, Start)), None)
    for event in run.last_events(500):
        if isinstance(event, Evaluation):
            row.validation_loss, row.tokens = event.validation_loss, event.tokens
        elif isinstance(event, Step):
            row.train_loss, row.steps = event.loss, event.step
    _told[row.guid] = row


def _row(entry: Entry, state: str | None) -> Row:
    config = entry.config
    live = bool(state) and str(state).split(" ")[0] in ("starting", "training", "paused")
    shown = (state or ("" if entry.has_model else "no model")).partition(" step ")[0]
    if shown == "finished" and entry.has_model:
        shown = ""
    if entry.problems:
        shown = "problem"
    pair = f"{config.get('c_attention', '?')}+{config.get('c_network', '?')} {config.get('c_sequence', '?')}"
    return Row(entry.guid, entry.name or entry.guid[:8], shown, _age(config), pair if config else "–", entry.parameters,
               entry.validation_loss, entry.train_loss, _steps(entry), entry.tokens, entry.dataset, entry.created,
               entry.bytes, entry.has_model, state is not None, live, False, config, list(entry.files), entry.note)


def _steps(entry: Entry) -> int | None:
    from store.reports import whole_number

    return whole_number((entry.report or {}).get("babytui_steps"))


def _age(config: Mapping[str, Any]) -> str:
    from engine.config import Config, age

    if not config:
        return "–"
    try:
        return age(Config.read(config, strict=False))
    except BabyError:
        return "–"


def halt(workspace: Workspace, guid: str) -> None:
    """Stops a run and waits for its end; called in a thread, and gives up when that is cancelled."""
    from textual.worker import get_current_worker

    from babytui import removal, runs

    worker = get_current_worker()
    removal.halt(runs.Run(workspace, guid), lambda: not worker.is_cancelled)


def delete(workspace: Workspace, guid: str) -> Deleted:
    """Moves everything of this GUID to the trash."""
    return workspace.delete(guid)


def rename(workspace: Workspace, guid: str, name: str) -> None:
    """Gives a model or run another name."""
    workspace.rename(guid, name)


def annotate(workspace: Workspace, guid: str, note: str) -> None:
    """Keeps a note with a model or run."""
    workspace.annotate(guid, note)


def export(workspace: Workspace, guid: str, path: str) -> tuple[Path, int]:
    """Writes a model's files into an archive; where it is, and its bytes. UsageError when there is one already."""
    import errno

    from babytui import library
    from babytui.cli.exporting import place
    from store import archive
    from store.atomic import StoreError

    home, found = library.locate(guid, workspace)
    entry = home.entry(found)
    library.need_model(home, found, entry)
    to = place(path, entry.name, found)
    try:
        written = archive.write(home, found, to, name=entry.name)
    except StoreError as error:
        if error.errno == errno.EEXIST:
            raise UsageError(f"{to} is there already; give another path.") from None
        raise
    return written.path, written.bytes


def trashed(workspace: Workspace) -> list[tuple[str, Deleted, str]]:
    """What is in the trash, the latest first: a short line to choose it by, what it is, and its name."""
    from store import trash
    from store.names import short

    found: dict[str, tuple[Deleted, str]] = {}
    for item in trash.items(workspace.root):
        name = item.name or item.kind
        line = f"{time.strftime('%m-%d %H:%M', time.localtime(item.deleted))}  {name[:16]} {short(item.guid)}".rstrip()
        while line in found:
            line += "'"
        found[line] = trash.Deleted(item.guid, [], item.bytes, item.folder), name
    return [(line, deleted, name) for line, (deleted, name) in found.items()]


def undelete(workspace: Workspace, deleted: Deleted) -> None:
    """Brings it back."""
    workspace.undelete(deleted)


def entry(workspace: Workspace, guid: str) -> Entry:
    """What is known about a model of the workspace, or about the shipped one."""
    from babytui import library

    home, found = library.locate(guid, workspace)
    return home.entry(found)


_babies: dict[str, Baby] = {}


def load(workspace: Workspace, guid: str) -> Baby:
    """A model ready to talk; the last one is kept. BabyError when it cannot be."""
    from babytui import library

    key = f"{workspace.root}:{guid}"
    if key not in _babies:
        baby = library.load(guid, workspace, step="now")
        if baby.step is not None:  # of a run that goes on
            return baby
        _babies.clear()
        _babies[key] = baby
    return _babies[key]


def present(baby: Baby, cancelled: Callable[[], bool]) -> Baby:
    """The present weights of a model that came out of a run: its newest checkpoint, or what the run has made; the same
    object when there are no newer ones. Asks a live run for them and waits, in a thread, until `cancelled`."""
    from babytui import checkpoint_models, library
    from babytui.runs import Run

    assert baby.workspace is not None  # of one from a run
    run = Run(baby.workspace, baby.guid)
    try:
        if not run.alive and baby.workspace.entry(baby.guid).has_model:
            return library.load(baby.guid, baby.workspace)
        checkpoint_models.refresh(run, cancelled=cancelled)
        if checkpoint_models.find(run, checkpoint_models.LAST).step != baby.step:
            return checkpoint_models.load(run)
    except NotFound:  # it was deleted meanwhile; what is in memory can still talk
        pass
    return baby


def newest(workspace: Workspace) -> tuple[str, str]:
    """GUID and name of the model to talk to first: the one used last, else the shipped one."""
    try:
        found = workspace.entry("last")
    except BabyError:
        found = None
    if found is not None and found.has_model:
        return found.guid, found.name or found.guid[:8]
    if shipped_rows():
        return SHIPPED, SHIPPED
    from babytui.tui.bindings import key_of

    raise NotFound(f"There is no model yet; {key_of('train')} trains one with the form's values.")


def tensors(workspace: Workspace, guid: str, bins: int) -> tuple[list[Summary], dict[str, Any]]:
    """Every tensor of a model, in numbers with a histogram of so many bins, and the arrays themselves, on the host."""
    from babytui import pictures

    arrays = {name: array for name, array in load(workspace, guid).model.export().items() if hasattr(array, "shape")}
    return list(pictures.summaries(arrays, bins)), arrays


@dataclass(frozen=True)
class SavedReply:
    """Something that a model has written and that was kept. when: training, or the time. told: how it was made."""

    when: str
    told: str
    prompt: str
    text: str


_REPLIES = 30
_REPLY = 20_000  # characters of one that are shown


def saved_replies(workspace: Workspace, guid: str) -> list[SavedReply]:
    """What a model was heard saying, the latest first; at most 30 texts. Broken files are left out."""
    from babytui import library
    from store.reading import read_json
    from store.reports import number

    home, found = library.locate(guid, workspace)
    texts = []
    for path, stamp in reversed(home.completions(found)[-_REPLIES:]):
        try:
            raw = read_json(path, 1 << 22)
        except BabyError:
            continue
        sampler = raw.get("babytui_sampler")
        sampler = sampler if isinstance(sampler, dict) else {}
        facts = [f"{name} {value:g}" for name in ("seed", "temperature") if (value := number(sampler.get(name)))
                 is not None]
        when = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]} {stamp[8:10]}:{stamp[10:12]}" if stamp else "after training"
        texts.append(SavedReply(when, ", ".join(facts), str(raw.get("prompt") or "")[:_REPLY],
                                str(raw.get("generation", ""))[:_REPLY]))
    return texts
