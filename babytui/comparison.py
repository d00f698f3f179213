"""Several models beside each other: what differs in their configurations, how they learned, and what they write from
the same prompt and seed. For the command line, the shell and the app; imports no arrays unless they write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from babytui import library, runs
from babytui.cli.info import age
from babytui.cli.output import count, date, loss, seconds, size
from engine.config import PARAMETERS, effective
from engine.errors import UsageError
from store.names import short
from store.workspace import Workspace

if TYPE_CHECKING:
    from babytui.library import Baby
    from store.workspace import Entry

Point = tuple[float, float | None, float | None]  # step, training loss, validation loss
MOST = 8
_LAST = 500  # events of a live run that are looked at
NOT_RUN_BY = ("c_device", "c_device_cpu_cores", "c_device_gpu_core", "c_device_gpu_tensor")
"""What does not change what is learned; it is compared last."""


@dataclass
class Compared:
    """One of the models. curve: of its report, or of what its live run has said lately. best: (step, loss) of the
    lowest validation loss on the curve."""

    entry: Entry
    workspace: Workspace
    label: str
    status: str = ""
    curve: list[Point] = field(default_factory=list)
    steps: int | None = None
    seconds: float | None = None
    final_train: float | None = None
    final_validation: float | None = None
    best: tuple[int, float] | None = None


@dataclass(frozen=True)
class Difference:
    """A parameter and its value for each of the models; None where a model's config does not have it."""

    name: str
    values: tuple[Any, ...]

    @property
    def same(self) -> bool:
        return all(value == self.values[0] for value in self.values)


@dataclass
class Comparison:
    """Models in the order in which they were asked for."""

    models: list[Compared]

    def differences(self, *, everything: bool = False) -> list[Difference]:
        """The parameters that differ, or all that any of the models has; those of the device come last."""
        configs = [effective(model.entry.config) for model in self.models]
        names = sorted((name for name in PARAMETERS if any(name in config for config in configs)),
                       key=lambda name: name in NOT_RUN_BY)
        found = [Difference(name, tuple(_value(config, name) for config in configs)) for name in names]
        return [one for one in found if everything or not one.same]


def _value(config: Mapping[str, Any], name: str) -> Any:
    """A parameter of a config; what an older file lacks has the value that it had then."""
    parameter = PARAMETERS[name]
    if name in config or parameter.owner is not None or not config:
        return config.get(name)
    return parameter.default if parameter.absent is None else parameter.absent


def compare(workspace: Workspace, references: Sequence[str], *, least: int = 2) -> Comparison:
    """The models that these references name. NotFound; UsageError for too few, too many, or one that is named twice."""
    found: dict[tuple[Any, str], Compared] = {}
    for reference in references:
        home, guid = library.locate(reference, workspace, shipped_if_none=True)
        if (home.root, guid) in found:
            raise UsageError(f"{reference} names {short(guid)} a second time; compare it with another model.")
        found[home.root, guid] = _look(home, guid)
    if not least <= len(found) <= MOST:
        raise UsageError(f"Give {least} to {MOST} models to compare, not {len(found)}.")
    models = list(found.values())
    labels = [model.label for model in models]
    for model in models:
        if labels.count(model.label) > 1:
            model.label += f" {short(model.entry.guid)}"
    return Comparison(models)


def _look(home: Workspace, guid: str) -> Compared:
    entry = home.entry(guid)
    found = Compared(entry, home, entry.name or short(guid))
    report = entry.report or {}
    found.curve = curve_of(report)
    found.steps, found.seconds = report.get("babytui_steps"), report.get("babytui_seconds") or report.get("total_time")
    found.final_train, found.final_validation = entry.train_loss, entry.validation_loss
    run = runs.Run(home, guid)
    if run.plan:
        found.status = run.status()
        if not report:
            _look_at_run(found, run)
    points = [(step, loss) for step, _, loss in found.curve if loss is not None]
    if points:
        step, loss = min(points, key=lambda point: point[1])
        found.best = int(step), loss
        found.final_validation = points[-1][1]
    trained = [loss for _, loss, _ in found.curve if loss is not None]
    if trained and found.final_train is None:
        found.final_train = trained[-1]
    return found


def _look_at_run(found: Compared, run: runs.Run) -> None:
    """What a run that has not ended has said of itself lately."""
    from engine.events import Evaluation, Step

    for event in run.last_events(_LAST):
        if isinstance(event, Evaluation):
            found.curve.append((event.step, event.train_loss, event.validation_loss))
            found.entry.tokens = event.tokens
        if isinstance(event, (Step, Evaluation)):
            found.steps, found.seconds = event.step, event.seconds


def curve_of(report: Mapping[str, Any]) -> list[Point]:
    """The curve that a report holds; empty when it holds none."""
    points = report.get("babytui_curve")
    return [(point[0], point[1], point[2]) for point in points
            if isinstance(point, list) and len(point) == 3 and point[0] is not None] if isinstance(points, list) else []


def told(found: Comparison) -> list[tuple[str, list[str]]]:
    """The facts beside each other that are known of any: what it is, and its text for each model."""

    def row(name: str, text: Any) -> tuple[str, list[str]]:
        return name, [text(model) for model in found.models]

    def pair(model: Compared) -> str:
        config = model.entry.config
        return f"{config.get('c_attention', '?')}+{config.get('c_network', '?')} {config.get('c_sequence', '?')}"

    def best(model: Compared) -> str:
        return loss(model.best and model.best[1])

    def last(model: Compared) -> str:
        known = model.entry.validation_loss
        return loss(model.final_validation if known is None else known)

    rows = [
        row("GUID", lambda m: m.entry.guid[:8]), row("age", lambda m: age(m.entry.config)), row("variants", pair),
        row("status", lambda m: m.status if m.status != "finished" else ""),
        row("parameters", lambda m: count(m.entry.parameters)), row("size", lambda m: size(m.entry.bytes)),
        row("text", lambda m: m.entry.dataset or "–"),
        row("validation loss", last), row("best on the curve", best),
        row("  at step", lambda m: count(m.best and m.best[0])),
        row("training loss", lambda m: loss(m.final_train)), row("steps", lambda m: count(m.steps)),
        row("tokens seen", lambda m: count(m.entry.tokens)), row("time", lambda m: seconds(m.seconds)),
        row("created", lambda m: date(m.entry.created)),
        row("note", lambda m: m.entry.note.replace("\n", " ")),
    ]
    return [(name, values) for name, values in rows if any(value not in ("", "–") for value in values)]


def shown(value: Any) -> str:
    """A parameter's value as it is typed; a dash for none."""
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


# --- what they write --------------------------------------------------------------------------------------------------

def open_model(model: Compared) -> Baby:
    """The model itself, to write with: of a live run, its newest checkpoint. NotFound, FormatError."""
    return library.load(model.entry.guid, model.workspace, step="now")


def first_difference(replies: Sequence[Sequence[str]], *, whole: bool = True) -> int | None:
    """The number of pieces (tokens) that all replies begin with when some go on otherwise; None while they agree.
    whole: they have ended, so that one that is shorter differs too."""
    together = 0
    for pieces in zip(*replies, strict=False):
        if any(piece != pieces[0] for piece in pieces):
            return together
        together += 1
    return together if whole and len({len(reply) for reply in replies}) > 1 else None
