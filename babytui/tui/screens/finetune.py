"""Let a model learn another text: what, how long, which part of it; what that costs is shown as it is typed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Static

from babytui.finetuning import EPOCHS, FEWEST, MOST
from babytui.tui import backend
from babytui.tui.axis import amount, size
from babytui.tui.messages import Failed, RunStarted
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.form import Rows, shown_value
from babytui.tui.threads import in_thread
from babytui.tui.widgets.fields import ChoiceField, NumberField, TextField
from babytui.tui.widgets.lines import Line, Lines
from babytui.visible import visible
from engine.config import PARAMETERS
from engine.errors import ConfigError

if TYPE_CHECKING:
    from babytui.finetuning import Prepared
    from babytui.runs import Run

DEBOUNCE = 0.15
HELP = {
    "text": "The text to learn: one of the workspace or one that ships.",
    "n_steps": f"End after this many steps. Until it is changed: {EPOCHS} passes over the text, {FEWEST} to {MOST} "
               "steps.",
    "r_learn": PARAMETERS["r_learn"].help + " Until it is changed, it follows from the model's own.",
    "name": "What to call the new model; the one it is made from stays as it is.",
    "prompt": "What the samples during training start with.",
    "freeze": "Tensors that are not trained: patterns such as wte* block_0_* (their names: i, then 3).",
    "rank": "Above 0: only low-rank adapters of this rank are trained, which takes less memory; 0 trains everything.",
    "target": "The matrices that get an adapter, such as *_q_weight; empty: all of the attentions and networks.",
}
_LABELS = {"rank": "lora rank", "target": "lora target"}
_FIELDS = {"alpha": "rank"}  # where a mistake is shown that has no field of its own


@dataclass(frozen=True)
class Wishes:
    """What the form says. changes: parameters that the person set."""

    text: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()
    rank: int = 0
    target: tuple[str, ...] = ()
    name: str = ""
    prompt: str = ""


class FinetuneScreen(ModalScreen[None]):
    """The form for one model. A mistake stands under its field; a run that has begun closes the form."""

    CSS_PATH = ["dialogs.tcss", "finetune.tcss"]
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

    class Costed(Message):
        """A thread has worked out what this would be; or `error` in `field`. serial: of the question, None when it was
        to be started."""

        def __init__(self, serial: int | None, prepared: Prepared | None, error: str = "", field: str = ""):
            super().__init__()
            self.serial, self.prepared, self.error, self.field = serial, prepared, error, field

    class Begun(Message):
        """A thread has started the run."""

        def __init__(self, run: Run):
            super().__init__()
            self.run = run

    def __init__(self, guid: str, name: str):
        super().__init__()
        self._guid, self._name = guid, visible(name, newlines=False)
        self._serial = 0
        self._timer: Timer | None = None
        self._set: set[str] = set()  # parameters that the person changed
        self._prepared: Prepared | None = None
        self._error = ""
        self._starting = False
        self._focused_field = "text"

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = Text(f"Fine-tune {self._name}")
        box.border_subtitle = "F9 start · F8 copy as command · Esc back"
        with box:
            form = Rows("finetune-form")
            with form:
                yield from self._rows(form)
            yield Lines(id="finetune-cost")
            yield Lines(id="finetune-help")
            with Horizontal():
                yield Button("Start (F9)", id="start", variant="success", compact=True)

    def _rows(self, form: Rows) -> Iterable[Widget]:
        steps, rate = PARAMETERS["n_steps"], PARAMETERS["r_learn"]
        for made in (
            ChoiceField([], "", name="text"),
            NumberField(name="n_steps", step=100, low=1, high=steps.high, placeholder="…"),
            NumberField(name="r_learn", step="pow2", low=rate.low, high=rate.high, whole=False, placeholder="…"),
            TextField(name="name", placeholder="the two names", max_length=64),
            TextField(name="prompt", placeholder="none"),
            TextField(name="freeze", placeholder="nothing"),
            NumberField("0", name="rank", step="pow2", low=0, high=4096),
            TextField(name="target", placeholder="every matrix"),
        ):
            yield from form.row(made, str(made.name), _LABELS.get(str(made.name), ""))
        yield Static(classes="end")  # a grid's last row cannot be two lines high, which a sentence may have to be

    @property
    def form(self) -> Rows:
        return self.query_one(Rows)

    def on_mount(self) -> None:
        self._show()
        workspace = self.app.workspace  # type: ignore[attr-defined]
        in_thread(self, lambda: self.post_message(self.Texts(backend.texts(workspace))), "texts")
        self.form.fields["text"].focus()

    def on_finetune_screen_texts(self, event: Texts) -> None:
        self.form.fields["text"].set_options(event.texts)  # type: ignore[attr-defined]
        self._recost(0)

    @on(events.DescendantFocus)
    def _field_focused(self, event: events.DescendantFocus) -> None:
        if event.widget.name in self.form.fields:
            self._focused_field = str(event.widget.name)
            self.form.mark(self._focused_field)
            self._show_help()

    @on(Rows.Edited)
    def _edited(self, event: Rows.Edited) -> None:
        event.stop()
        if event.name in PARAMETERS:
            if str(self.form.raw(event.name)).strip():
                self._set.add(event.name)
            else:
                self._set.discard(event.name)
        self._recost(DEBOUNCE)

    # --- what it would be -------------------------------------------------------------------------

    def wishes(self) -> Wishes:
        """What the form says; ConfigError with the field that cannot be understood."""
        raw = self.form.raw
        changes = {name: PARAMETERS[name].coerce(raw(name)) for name in ("n_steps", "r_learn") if name in self._set}
        if changes.get("n_steps") == 0:
            raise ConfigError("n_steps must be at least 1.", "n_steps")
        rank = str(raw("rank")).strip() or "0"
        if not rank.isascii() or not rank.isdigit():
            raise ConfigError("The rank of the adapters is a whole number; 0 trains everything.", "rank")
        return Wishes(raw("text"), changes, _patterns(raw("freeze")), int(rank), _patterns(raw("target")),
                      raw("name").strip(), raw("prompt"))

    def _recost(self, delay: float) -> None:
        """Works out again what it would be, after `delay` seconds without another change."""
        self._serial += 1
        if self._timer is not None:
            self._timer.stop()
        if delay:
            self._timer = self.set_timer(delay, self._compute)
        else:
            self._compute()

    def _compute(self) -> None:
        serial, workspace, guid = self._serial, self.app.workspace, self._guid  # type: ignore[attr-defined]
        try:
            wishes = self.wishes()
        except ConfigError as error:
            self._take(None, str(error), error.field or "")
            return

        def work() -> None:
            try:
                prepared = backend.prepare_finetuning(workspace, guid, wishes)
            except backend.BabyError as error:
                self.post_message(self.Costed(serial, None, str(error), _field_of(error)))
            else:
                self.post_message(self.Costed(serial, prepared))

        in_thread(self, work, "cost", exclusive=True)

    def on_finetune_screen_costed(self, event: Costed) -> None:
        if event.serial is None:
            self._be_starting(False)
        if event.serial in (None, self._serial):
            self._take(event.prepared, event.error, event.field)

    def _take(self, prepared: Prepared | None, error: str, where: str) -> None:
        """Shows what it would be, or the mistake under its field (elsewhere if it has none)."""
        where = _FIELDS.get(where, where)
        for name in self.form.fields:
            self.form.show_problem(name, visible(error, newlines=False) if name == where else None)
        self._prepared, self._error = prepared, "" if where in self.form.fields else error
        wished = self.form.raw("name").strip()
        if prepared is not None:
            for name in ("n_steps", "r_learn"):
                if name not in self._set:
                    value = shown_value(prepared.config.values[name])
                    self.form.fields[name].placeholder = value  # type: ignore[attr-defined]
            if not wished:
                self.form.fields["name"].placeholder = prepared.name  # type: ignore[attr-defined]
        self._show()

    def _show(self) -> None:
        prepared, error = self._prepared, self._error

        def build(width: int) -> list[Line]:
            if error:
                return paragraph(visible(error, newlines=False), width, "bad")
            if prepared is None:
                return paragraph("working out what it costs", width, "dim") if not self.form.query(".problem") else []
            return cost_lines(prepared, width)

        self.query_one("#finetune-cost", Lines).show(build)
        self._show_help()

    def _show_help(self) -> None:
        text = HELP[self._focused_field]
        self.query_one("#finetune-help", Lines).show(lambda width: paragraph(text, width))

    # --- starting ---------------------------------------------------------------------------------

    @on(Button.Pressed, "#start")
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.action_start()

    def action_start(self) -> None:
        """Starts the run, or goes to the field that is wrong."""
        if self._starting:
            return
        try:
            wishes = self.wishes()
        except ConfigError as error:
            self._take(None, str(error), error.field or "")
            self.form.fields[error.field or "text"].focus()
            return
        self._serial += 1  # a cost that is still being worked out must not take an error away
        workspace, guid = self.app.workspace, self._guid  # type: ignore[attr-defined]
        self._be_starting(True)

        def work() -> None:
            try:
                self.post_message(self.Begun(backend.finetune(workspace, guid, wishes)))
            except backend.BabyError as error:
                self.post_message(self.Costed(None, None, str(error), _field_of(error)))

        in_thread(self, work, "start")

    def _be_starting(self, starting: bool) -> None:
        self._starting = starting
        button = self.query_one("#start", Button)
        button.disabled = starting
        button.label = "Starting …" if starting else "Start (F9)"

    def on_finetune_screen_begun(self, event: Begun) -> None:
        self.app.playground.post_message(RunStarted(event.run))  # type: ignore[attr-defined]
        self.dismiss()

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        event.stop()
        self._be_starting(False)
        self._take(None, event.text, "")

    def action_copy(self) -> None:
        """The same as a command line, to the clipboard."""
        from babytui import actions

        try:
            wishes = self.wishes()
        except ConfigError as error:
            self._take(None, str(error), error.field or "")
            return
        workspace = self.app.workspace  # type: ignore[attr-defined]
        text = str(workspace.inputs) if wishes.text == backend.ALL_TEXTS else wishes.text
        line = actions.command_line("finetune", {
            "guid": self._guid, "input": [text] if text else [],
            "set": {name: shown_value(value) for name, value in wishes.changes.items() if name != "n_steps"},
            "steps": wishes.changes.get("n_steps"), "name": wishes.name or None, "prompt": wishes.prompt or None,
            "freeze": list(wishes.freeze), "lora": wishes.rank or None, "target": list(wishes.target),
        }, workspace=str(workspace.root))
        self.app.copy_to_clipboard(line)
        self.app.notify(line, title="Copied", markup=False, timeout=8)


def cost_lines(prepared: Prepared, width: int) -> list[Line]:
    """Parameters, memory, new symbols and how long the text is read."""
    cost = prepared.estimate
    share = f", {prepared.share:.0%} of full training" if prepared.adaptation else ""
    trained = f"{amount(cost.trained_parameters)} trained" if prepared.adaptation else "all trained"
    passes = cost.tokens / max(1, prepared.tokens)
    facts = [("parameters", f"{amount(cost.parameters)}, {trained}"), ("memory", size(cost.training_bytes) + share),
             ("text", f"{amount(prepared.tokens)} tokens, read {passes:.1f} times"),
             ("new symbols", prepared.symbols_list() or "none")]
    lines: list[Line] = [[(f"{name:<21}", "label"), (value, "value")] for name, value in facts]
    said = [*prepared.base.remarks, *prepared.warnings()]
    return lines + [line for text in said for line in paragraph(text, width, "warn")]


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\s,]+", text))


def _field_of(error: Exception) -> str:
    """The field under which a mistake is told; empty when none fits."""
    from babytui.finetuning import PromptError
    from engine.errors import TextError

    if isinstance(error, ConfigError):
        return error.field or ""
    return "prompt" if isinstance(error, PromptError) else "text" if isinstance(error, TextError) else ""
