"""Choosing what competes in a bake-off: which architectures, what each may spend, on which text; and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Button

from babytui.tui import backend
from babytui.tui.axis import clock, size
from babytui.tui.messages import Failed
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.form import Rows
from babytui.tui.threads import in_thread
from babytui.tui.widgets.checklist import Checklist
from babytui.tui.widgets.fields import ChoiceField, NumberField, TextField
from babytui.tui.widgets.lines import Line, Lines
from babytui.visible import visible
from engine import registry
from engine.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from babytui.bakeoff import BakeOff, Cost, Draft

DEBOUNCE = 0.3
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


class BakeOffForm(ModalScreen["BakeOff | None"]):
    """Dismisses with the bake-off that has begun, or None. `values`: the parameters that all of them share."""

    CSS_PATH = ["dialogs.tcss", "bakeoff.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss", "Back"),
        Binding("f9,ctrl+t", "start", "Start", priority=True),
        Binding("f8,ctrl+y", "copy", "Copy as a command", priority=True),
    ]

    class Texts(Message):
        """A thread has listed the texts."""

        def __init__(self, texts: list[str]):
            super().__init__()
            self.texts = texts

    class Drafted(Message):
        """A thread has checked what is asked for and worked out what it takes; or `error`."""

        def __init__(self, serial: int, draft: Draft | None, cost: Cost | None, error: str = "", field: str = ""):
            super().__init__()
            self.serial, self.draft, self.cost, self.error, self.field = serial, draft, cost, error, field

    class Begun(Message):
        """A thread has started it."""

        def __init__(self, bakeoff: BakeOff):
            super().__init__()
            self.bakeoff = bakeoff

    def __init__(self, values: dict[str, Any]):
        super().__init__()
        self._values = values
        self._serial = 0
        self._timer: Timer | None = None
        self._draft: Draft | None = None
        self._cost: Cost | None = None
        self._error = ""
        self._starting = False

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = Text("New bake-off")
        box.border_subtitle = "space picks · F9 start · F8 copy · Esc back"
        with box:
            with Horizontal(id="bakeoff-choice"):
                yield Checklist("attention", registry.attention.names(), id="attentions")
                yield Checklist("network", registry.network.names(), id="networks")
                form = Rows("bakeoff-form")
                with form:
                    yield from form.row(ChoiceField(KINDS, "steps", name="budget"), "budget")
                    yield from form.row(NumberField(AMOUNTS["steps"], name="amount", step="pow2", low=1, high=10**9),
                                        "amount", "of each")
                    yield from form.row(ChoiceField([], "", name="text"), "text")
                    yield from form.row(ChoiceField(("pre", "post", "both"), "pre", name="sequence"), "sequence",
                                        "norm")
                    yield from form.row(NumberField("1", name="jobs", low=1, high=64), "jobs", "at once")
                    yield from form.row(TextField(name="name", placeholder="bake", max_length=40), "name")
            yield Lines(id="bakeoff-cost")
            with Horizontal(classes="buttons"):
                yield Button("Start (F9)", id="start", variant="success", compact=True)

    @property
    def form(self) -> Rows:
        return self.query_one(Rows)

    def on_mount(self) -> None:
        self._show()
        workspace = self.app.workspace  # type: ignore[attr-defined]
        in_thread(self, lambda: self.post_message(self.Texts(backend.texts(workspace))), "texts")
        self.query_one("#attentions").focus()

    def on_bake_off_form_texts(self, event: Texts) -> None:
        self.form.fields["text"].set_options(event.texts)  # type: ignore[attr-defined]
        self._recost(0)

    @on(Checklist.Changed)
    def _chosen(self, event: Checklist.Changed) -> None:
        event.stop()
        self._recost(DEBOUNCE)

    @on(Rows.Edited)
    def _edited(self, event: Rows.Edited) -> None:
        event.stop()
        if event.name == "budget":
            self.form.fill({"amount": AMOUNTS[self.form.raw("budget")]})
        self._recost(DEBOUNCE)

    # --- what it takes ----------------------------------------------------------------------------

    def wishes(self) -> BakeOffWishes:
        """What the form says; ConfigError with the field that cannot be understood."""
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

    def _recost(self, delay: float) -> None:
        """Works out again what it takes, after `delay` seconds without another change."""
        self._serial += 1
        if self._timer is not None:
            self._timer.stop()
        if delay:
            self._timer = self.set_timer(delay, self._compute)
        else:
            self._compute()

    def _compute(self) -> None:
        serial, workspace, values = self._serial, self.app.workspace, self._values  # type: ignore[attr-defined]
        try:
            wishes = self.wishes()
        except ConfigError as error:
            self._take(None, None, str(error), error.field or "")
            return

        def tell(_n: int, _total: int) -> None:
            if serial != self._serial:
                raise UsageError("This is asked no more.")

        def work() -> None:
            try:
                draft = backend.draft_bakeoff(workspace, values, wishes)
                self.post_message(self.Drafted(serial, draft, draft.cost(measure=False)))
                self.post_message(self.Drafted(serial, draft, draft.cost(tell=tell)))
            except backend.BabyError as error:
                self.post_message(self.Drafted(serial, None, None, str(error), getattr(error, "field", "") or ""))

        in_thread(self, work, "cost", exclusive=True)

    def on_bake_off_form_drafted(self, event: Drafted) -> None:
        if event.serial == self._serial:
            self._take(event.draft, event.cost, event.error, event.field)

    def _take(self, draft: Draft | None, cost: Cost | None, error: str, where: str) -> None:
        """Shows what it takes, or the mistake under its field (below everything if it has none)."""
        for name in self.form.fields:
            self.form.show_problem(name, visible(error, newlines=False) if name == where else None)
        self._draft, self._cost = draft, cost
        self._error = "" if where in self.form.fields else error
        if draft is not None and not self.form.raw("name").strip():
            self.form.fields["name"].placeholder = draft.name  # type: ignore[attr-defined]
        self._show()

    def _show(self) -> None:
        def build(width: int) -> list[Line]:
            shared = paragraph(shared_words(self._values), width, "dim")
            if self._error:
                return [*shared, *paragraph(visible(self._error, newlines=False), width, "bad")]
            return [*shared, *cost_lines(self._draft, self._cost, width)]

        self.query_one("#bakeoff-cost", Lines).show(build)

    # --- starting ---------------------------------------------------------------------------------

    @on(Button.Pressed, "#start")
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Starts it, or goes to the field that is wrong."""
        if self._starting:
            return
        try:
            wishes = self.wishes()
        except ConfigError as error:
            self._take(None, None, str(error), error.field or "")
            self.form.fields[error.field or "amount"].focus()
            return
        self._serial += 1  # what is still being worked out must not take an error away
        serial, workspace, values = self._serial, self.app.workspace, self._values  # type: ignore[attr-defined]
        self._be_starting(True)

        def work() -> None:
            try:
                draft = backend.draft_bakeoff(workspace, values, wishes)
                draft.need_room(draft.cost(measure=False))
                self.post_message(self.Begun(draft.start()))
            except backend.BabyError as error:
                self.post_message(self.Drafted(serial, None, None, str(error), getattr(error, "field", "") or ""))
                self.post_message(Failed(""))

        in_thread(self, work, "start")

    def _be_starting(self, starting: bool) -> None:
        self._starting = starting
        button = self.query_one("#start", Button)
        button.disabled = starting
        button.label = "Starting …" if starting else "Start (F9)"

    def on_bake_off_form_begun(self, event: Begun) -> None:
        self.dismiss(event.bakeoff)

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        event.stop()
        self._be_starting(False)
        if event.text:
            self._take(None, None, event.text, "")

    def action_copy(self) -> None:
        """The same as a command line, to the clipboard."""
        try:
            line = backend.bakeoff_command(self.app.workspace, self._values, self.wishes())  # type: ignore[attr-defined]
        except ConfigError as error:
            self._take(None, None, str(error), error.field or "")
            return
        self.app.copy_to_clipboard(line)
        self.app.notify(line, title="Copied", markup=False, timeout=8)


def shared_words(values: dict[str, Any]) -> str:
    """The parameters that decide most, in words."""
    v = values
    return (f"Parameters of F2: {v.get('n_layers')} × {v.get('n_emb')} wide, context {v.get('n_ctx')}, "
            f"batch {v.get('batch_size')}, seed {v.get('n_seed')}.")


def cost_lines(draft: Draft | None, cost: Cost | None, width: int) -> list[Line]:
    """How many runs, how long, how much of the disk, and what will be left out."""
    if draft is None or cost is None:
        return [[("working out what it takes", "dim")]]
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
