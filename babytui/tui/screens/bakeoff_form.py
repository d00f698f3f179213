"""Choosing what competes in a bake-off: which architectures, what each may spend, on which text; and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget

from babytui.tui import backend
from babytui.tui.axis import clock, size
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.form import Rows
from babytui.tui.screens.costed_form import CostedForm
from babytui.tui.widgets.checklist import Checklist
from babytui.tui.widgets.fields import ChoiceField, NumberField, TextField
from babytui.tui.widgets.lines import Line, Lines
from engine import registry
from engine.errors import ConfigError

if TYPE_CHECKING:
    from babytui.bakeoff import BakeOff
    from babytui.bakeoff_draft import Cost, Draft
    from store.workspace import Workspace

KINDS = ("steps", "tokens", "seconds")
AMOUNTS = {"steps": "500", "tokens": "500000", "seconds": "60"}


@dataclass(frozen=True)
class BakeOffWishes:
    """What the form says. kind: steps, tokens or seconds, of which each may spend `amount`."""

    attentions: tuple[str, ...]
    networks: tuple[str, ...]
    sequence: str
    kind: str
    amount: int
    text: str
    name: str
    jobs: int


class BakeOffForm(CostedForm[BakeOffWishes, "tuple[Draft, Cost]", "BakeOff"]):
    """Dismisses with the bake-off that has begun, or None. `values`: the parameters that all of them share."""

    CSS_PATH = ["dialogs.tcss", "bakeoff.tcss"]
    debounce: ClassVar[float] = 0.3

    def __init__(self, values: dict[str, Any]):
        super().__init__("New bake-off", [("space", "pick"), ("F9", "start"), ("F8", "copy"), ("Esc", "back")])
        self._values = values

    def body(self) -> ComposeResult:
        with Horizontal(id="bakeoff-choice"):
            yield Checklist("attention", registry.attention.names(), id="attentions")
            yield Checklist("network", registry.network.names(), id="networks")
            form = Rows("bakeoff-form")
            with form:
                yield from form.row(ChoiceField(KINDS, "steps", name="budget"), "budget")
                yield from form.row(NumberField(AMOUNTS["steps"], name="amount", step="pow2", low=1, high=10**9),
                                    "amount", "of each")
                yield from form.row(ChoiceField([], "", name="text"), "text")
                yield from form.row(ChoiceField(("pre", "post", "both"), "pre", name="sequence"), "sequence", "norm")
                yield from form.row(NumberField("1", name="jobs", low=1, high=64), "jobs", "at once")
                yield from form.row(TextField(name="name", placeholder="bake", max_length=40), "name")
        yield Lines(id="bakeoff-cost", classes="cost")

    def first_focus(self) -> Widget:
        return self.query_one("#attentions")

    @on(Checklist.Changed)
    def _chosen(self, event: Checklist.Changed) -> None:
        event.stop()
        self._inquiry.again(self.debounce)

    def edited(self, name: str) -> None:
        if name == "budget":
            self.form.fill({"amount": AMOUNTS[self.form.raw("budget")]})

    def wishes(self) -> BakeOffWishes:
        raw, numbers = self.form.raw, {}
        for name, most in (("amount", 10**9), ("jobs", 64)):
            text = str(raw(name)).strip()
            if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
                raise ConfigError(f"This is a whole number from 1 to {most:,}.", name)
            numbers[name] = int(text)
        attentions, networks = (tuple(self.query_one(f"#{which}", Checklist).chosen)
                                for which in ("attentions", "networks"))
        return BakeOffWishes(attentions, networks, raw("sequence"), raw("budget"), numbers["amount"], raw("text"),
                             raw("name").strip(), numbers["jobs"])

    def answers(self, workspace: Workspace, wishes: BakeOffWishes,
                wanted: Callable[[], None]) -> Iterator[tuple[Draft, Cost]]:
        draft = backend.draft_bakeoff(workspace, self._values, wishes)
        yield draft, draft.cost(measure=False)
        yield draft, draft.cost(tell=lambda _n, _total: wanted())

    def begin(self, workspace: Workspace, wishes: BakeOffWishes) -> BakeOff:
        draft = backend.draft_bakeoff(workspace, self._values, wishes)
        draft.need_room(draft.cost(measure=False))
        return draft.start()

    def suggestions(self, answer: tuple[Draft, Cost]) -> dict[str, str]:
        return {} if self.form.raw("name").strip() else {"name": answer[0].name}

    def above(self, width: int) -> list[Line]:
        return paragraph(shared_words(self._values), width, "dim")

    def told(self, answer: tuple[Draft, Cost] | None, width: int) -> list[Line]:
        return [[("working out what it takes", "dim")]] if answer is None else cost_lines(*answer, width)

    def command(self, workspace: Workspace, wishes: BakeOffWishes) -> str:
        return backend.bakeoff_command(workspace, self._values, wishes)

    @property
    def draft(self) -> Draft | None:
        """The bake-off that the form asks for, as soon as it has been checked."""
        return self._answer[0] if self._answer else None


def shared_words(values: dict[str, Any]) -> str:
    """The parameters that decide most, in words."""
    v = values
    return (f"Parameters of F2: {v.get('n_layers')} × {v.get('n_emb')} wide, context {v.get('n_ctx')}, "
            f"batch {v.get('batch_size')}, seed {v.get('n_seed')}.")


def cost_lines(draft: Draft, cost: Cost, width: int) -> list[Line]:
    """How many runs, how long, how much of the disk, and what will be left out."""
    took = "measuring this machine …" if cost.seconds is None else f"about {clock(cost.seconds)}"
    runs = "1 run" if len(draft.architectures) == 1 else f"{len(draft.architectures)} runs"
    lines: list[Line] = [[(f"{runs} of {draft.budget}, ", "value"), (took, "strong")],
                         [(f"{size(cost.bytes)} on the disk, {size(cost.free)} are free",
                           "value" if cost.bytes <= cost.free else "bad")]]
    if draft.problems:
        one, problem = next(iter(draft.problems.items()))
        rest = f" So are {len(draft.problems) - 1} more." if len(draft.problems) > 1 else ""
        lines += paragraph(f"{one.label} is left out: {problem}{rest}", width, "warn")
    return lines
