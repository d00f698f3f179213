"""What the panes need from the rest of the house, as functions for threads. Imports what is heavy only when called."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BabyError, ConfigError, NotFound

if TYPE_CHECKING:
    from babytui.bakeoff import Architecture
    from babytui.bakeoff_draft import Draft
    from babytui.bakeoff_progress import Progress
    from babytui.finetuning import Base, Prepared
    from babytui.library import Baby
    from babytui.runs import Run
    from babytui.tui.screens.bakeoff_form import BakeOffWishes
    from babytui.tui.screens.finetune import Wishes
    from engine.config import Config
    from engine.estimate import Estimate
    from store.workspace import Deleted, Entry, Workspace

__all__ = ["BabyError", "Cost", "Row"]
ALL_TEXTS = "all of the workspace"
SHIPPED = "baby"
_COUNTED = 20_000_000  # a longer text is not read to know its symbols; characters are then about bytes


# --- what a configuration costs -------------------------------------------------------------------

@dataclass
class Cost:
    """The answer to a form: the parameters that have an effect, what contradicts, and the estimate."""

    active: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    estimate: Estimate | None = None
    error: str = ""


_counts: dict[tuple[Any, ...], tuple[int, int]] = {}
_speed: float | None = None
_calibrating = threading.Lock()


def cost(workspace: Workspace, values: Mapping[str, Any], text: str, *, measure: bool = False) -> Cost:
    """What training with these values would cost. measure: time it on this machine first (half a second)."""
    from engine.config import Config
    from engine.estimate import estimate

    config = Config(dict(values))
    found = Cost([p.name for p in config.active()], {p.field: p.message for p in config.problems()})
    if found.problems:
        found.error = next(iter(found.problems.values()))
        return found
    try:
        vocab, tokens = _count(workspace, text, config.c_tokenizer)
        found.estimate = estimate(config, vocab_size=vocab, text_tokens=tokens, speed=_speed)
        if measure:
            speed = _measure(config, found.estimate)
            found.estimate = estimate(config, vocab_size=vocab, text_tokens=tokens, speed=speed)
    except BabyError as error:
        found.error = str(error)
    except (MemoryError, OverflowError):
        found.error = "These sizes are beyond what this machine can even estimate; lower n_emb, n_layers or n_ctx."
    return found


def _measure(config: Config, estimate: Estimate) -> float | None:
    """FLOP/s here; for a configuration too large to try out, what was measured last."""
    global _speed
    from engine.estimate import calibrate

    small = estimate.training_bytes < 2e9 and estimate.flops_per_step / config.n_layers < 5e10
    if small:
        with _calibrating:
            _speed = calibrate(config, 0.3)
    return _speed


def _count(workspace: Workspace, text: str, tokenizer: str) -> tuple[int, int]:
    """The size of the vocabulary and the number of tokens of a text; kept until the file changes."""
    from babytui import texts
    from engine import registry

    paths = texts.find(workspace, _names(text))
    stamps = tuple((str(path), path.stat().st_mtime, path.stat().st_size) for path in paths)
    key = (tokenizer, stamps)
    if key not in _counts:
        size = sum(stamp[2] for stamp in stamps)
        if size > _COUNTED:
            return (256 if tokenizer == "char" else 50_000), size
        content = texts.read(paths)
        fitted = registry.tokenizer.get(tokenizer).fit(content)
        _counts[key] = (len(fitted.vocab), fitted.count(content))
    return _counts[key]


def suggested_rate(rate: float, old_batch: int, new_batch: int) -> float:
    """The learning rate that goes with another batch size (engine.estimate's rule, without importing arrays)."""
    return float(f"{rate * new_batch / old_batch:.6g}")


# --- texts and settings ---------------------------------------------------------------------------

def texts(workspace: Workspace) -> list[str]:
    """The names of the texts there are: the workspace's own first, then those that ship."""
    from babytui import texts as found

    known = [text for text in found.available(workspace) if text.path is not None]
    own = sum(text.kind == "own" for text in known)
    return [*([ALL_TEXTS] if own > 1 else []), *(text.name for text in known)]


def _names(text: str) -> list[str]:
    return [] if text in ("", ALL_TEXTS) else [text]


def current(workspace: Workspace) -> dict[str, Any]:
    """The parameters of last time (settings/current.json); empty when there are none or they cannot be read."""
    try:
        return dict(workspace.current())
    except BabyError:
        return {}


# --- runs -----------------------------------------------------------------------------------------

def start(workspace: Workspace, values: Mapping[str, Any], text: str, name: str, prompt: str) -> Run:
    """Begins a run and remembers its parameters for next time."""
    from babytui import runs
    from engine.config import Config

    config = Config.read(values)
    run = runs.start(workspace, config, _names(text), name=name or None, prompt=prompt)
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
    return finetuning.prepare(base, workspace, _names(wishes.text), changes=wishes.changes, adaptation=adaptation,
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


def command(run: Run, name: str) -> str:
    """Sends a command; the sentence of what went wrong, or an empty text."""
    try:
        if name == "resume":
            run.resume()
        else:
            run.command(name)
    except (BabyError, OSError) as error:
        return str(error)
    return ""


# --- bake-offs ------------------------------------------------------------------------------------

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
    return draft(workspace, Config(dict(values)), chosen, _names(wishes.text),
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
    return command_line(chosen, values, Budget(wishes.kind, wishes.amount), _names(wishes.text),
                        name=wishes.name or None, jobs=wishes.jobs, workspace=str(workspace.root))


def export_bakeoff(progress: Progress, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Writes its table as CSV and JSON into its folder."""
    from babytui import bakeoff_table
    from store import atomic

    paths = [progress.bakeoff.dir / "table.csv", progress.bakeoff.dir / "table.json"]
    atomic.write_bytes(paths[0], bakeoff_table.as_csv(rows).encode())
    atomic.write_json(paths[1], bakeoff_table.exported(rows))
    return paths


# --- models ---------------------------------------------------------------------------------------

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

    @property
    def date(self) -> str:
        """When it was made: the time today, else the day."""
        if not self.created:
            return "–"
        made, now = time.localtime(self.created), time.localtime()
        return time.strftime("%H:%M" if made[:3] == now[:3] else "%Y-%m-%d", made)

    @property
    def searchable(self) -> str:
        return " ".join((self.name, self.state, self.age, self.variant, self.dataset, self.guid)).lower()

    def key(self, column: str) -> tuple[bool, Any]:
        """What to sort by: (unknown, value)."""
        value = {"name": self.name.lower(), "state": self.state, "age": self.config.get("n_ctx", 0),
                 "kind": self.variant, "params": self.parameters, "val. loss": self.validation_loss,
                 "tokens": self.tokens, "text": self.dataset.lower(), "date": self.created, "size": self.bytes}[column]
        return (value is None, 0 if value is None else value)


def rows(workspace: Workspace, before: Any = None) -> tuple[list[Row], Any] | None:
    """Every model and live run, the shipped one last, with a signature; None when nothing changed since `before`."""
    from babytui import runs

    states = _states(workspace, runs)
    signature = (_stamps(workspace), states)
    if signature == before:
        return None
    found = [_row(entry, dict(states).get(entry.guid)) for entry in workspace.entries()]
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
        return f"{min(1.0, seconds / budget):.0%}"
    planned = plan.get("config", {}).get("n_steps") or 0
    return f"{min(1.0, steps / planned):.0%}" if planned else f"step {steps:,}"


_told: dict[str, tuple[int | None, float | None, int | None]] = {}  # what live runs have said of themselves


def _fill_in(row: Row, run: Run) -> None:
    """A live run has no report yet: its size stands in its first event, its loss in its last evaluation."""
    from engine.events import Evaluation, Start

    parameters, loss, tokens = _told.get(row.guid, (None, None, None))
    if parameters is None:
        first, _ = run.events(0, 1 << 14)
        parameters = next((event.parameters for event in first if isinstance(event, Start)), None)
    for event in run.last_events(500):
        if isinstance(event, Evaluation):
            loss, tokens = event.validation_loss, event.tokens
    _told[row.guid] = row.parameters, row.validation_loss, row.tokens = parameters, loss, tokens


def _row(entry: Entry, state: str | None) -> Row:
    config = entry.config
    live = bool(state) and str(state).split(" ")[0] in ("starting", "training", "paused")
    shown = state or ("" if entry.has_model else "no model")
    if shown == "finished" and entry.has_model:
        shown = ""
    if entry.problems:
        shown = "problem"
    pair = f"{config.get('c_attention', '?')}+{config.get('c_network', '?')} {config.get('c_sequence', '?')}"
    return Row(entry.guid, entry.name or entry.guid[:8], shown, _age(config), pair if config else "–", entry.parameters,
               entry.validation_loss, entry.tokens, entry.dataset, entry.created, entry.bytes, entry.has_model,
               state is not None, live, False, config, list(entry.files))


def _age(config: Mapping[str, Any]) -> str:
    from engine.config import Config, age

    if not config:
        return "–"
    try:
        return age(Config.read(config, strict=False))
    except BabyError:
        return "–"


def delete(workspace: Workspace, guid: str) -> Deleted:
    """Moves everything of this GUID to the trash."""
    return workspace.delete(guid)


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
        baby = library.load(guid, workspace)
        _babies.clear()
        _babies[key] = baby
    return _babies[key]


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
    raise NotFound("There is no model yet; F9 trains one with the form's values.")


def completions(workspace: Workspace, guid: str) -> list[str]:
    """What the model was last heard saying, at most three texts."""
    from babytui import library
    from store.reading import read_json

    home, found = library.locate(guid, workspace)
    texts = []
    for path, _ in home.completions(found)[-3:]:
        try:
            texts.append(str(read_json(path, 1 << 22).get("generation", ""))[:4000])
        except BabyError:
            continue
    return texts


def output(words: list[str]) -> str:
    """What `babytui WORDS` prints."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "babytui", *words], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False)
    return done.stdout + done.stderr
