"""Config: the form, what it costs, and the button that starts a run."""

from __future__ import annotations

from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button

from babytui.tui import backend
from babytui.tui.axis import amount, clock, size, span
from babytui.tui.messages import TrainAsked
from babytui.tui.panes.base import Pane, paragraph
from babytui.tui.panes.form import Form, explain, shown_value
from babytui.tui.threads import in_thread
from babytui.tui.widgets.lines import Line, Lines
from babytui.visible import visible
from engine.config import PARAMETERS, PRESETS, Config

CUSTOM = "custom"
DEBOUNCE = 0.15


class ConfigPane(Pane):
    """The first pane. Everything that takes longer than a key press happens in a thread."""

    key, title = "F2", "Config"
    hints = (("F9", "train"), ("↑↓", "field"), ("+ -", "step"), ("⏎", "list"), ("F7", "take rate"))
    BINDINGS: list[BindingType] = [
        Binding("f7,ctrl+y", "take_rate", "Take the suggested learning rate"),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
    ]

    class Costed(Message):
        """A thread has worked out what the form's values cost."""

        def __init__(self, serial: int, result: backend.Cost):
            super().__init__()
            self.serial, self.result = serial, result

    class TextsFound(Message):
        """A thread has listed the texts, and perhaps the configuration of last time."""

        def __init__(self, texts: list[str], values: dict[str, Any]):
            super().__init__()
            self.texts, self.values = texts, values

    def __init__(self) -> None:
        super().__init__("config")
        self._serial = 0
        self._timer: Timer | None = None
        self._cost: backend.Cost | None = None
        self._focused = "text"
        self._basis: tuple[int, float] = (0, 0.0)
        self._error = ""
        self._start = Config.read(PRESETS["newborn"])

    def compose(self) -> ComposeResult:
        with Container(id="config-body"):
            yield Form(self._start.values, [CUSTOM, *PRESETS], "newborn")
            with Vertical(id="config-side"):
                yield Lines(id="help")
                yield Lines(id="cost")
                yield Button("Train (F9)", id="train", variant="success", compact=True)

    @property
    def form(self) -> Form:
        return self.query_one(Form)

    def on_mount(self) -> None:
        super().on_mount()
        self._show_cost()

    async def begin(self) -> None:
        """Builds the form, and starts reading texts and computing costs; called after the first paint."""
        await self.form.build()
        self._remember_rate()
        self._show_help()
        in_thread(self, self._find_texts, "texts", exclusive=True)

    def first_focus(self) -> Widget | None:
        return self.form.fields.get(self._focused)

    def _find_texts(self) -> None:
        workspace = self.app.workspace  # type: ignore[attr-defined]
        self.post_message(self.TextsFound(backend.texts(workspace), backend.current(workspace)))

    def on_config_pane_texts_found(self, event: TextsFound) -> None:
        field = self.form.fields["text"]
        with field.prevent(Form.Edited):
            field.set_options(event.texts)  # type: ignore[attr-defined]
        if event.values:
            self._load(event.values)
        else:
            self._recost(0)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self._arrange)

    def _arrange(self) -> None:
        self._show_help()
        self._show_cost(self._error)

    @on(events.DescendantFocus)
    def _field_focused(self, event: events.DescendantFocus) -> None:
        if event.widget.name in self.form.fields:
            self._focused = event.widget.name
            self.query(".field-label").remove_class("-focused")
            self.query_one(f"#label-{self._focused}").add_class("-focused")
            self._show_help()

    @on(Form.Edited)
    def _edited(self, event: Form.Edited) -> None:
        event.stop()
        name = event.name
        if name == "preset":
            chosen = self.form.raw("preset")
            if chosen in PRESETS:
                self.form.fill(dict(Config.read(PRESETS[chosen]).values))
                self._remember_rate()
        elif name in PARAMETERS:
            self.form.check([name])
            if name == "r_learn":
                self._remember_rate()
            self._name_preset()
        self._show_help()
        self._recost(DEBOUNCE)

    def _name_preset(self) -> None:
        values, wrong = self.form.read()
        same = next((name for name, preset in PRESETS.items()
                     if not wrong and values == Config.read(preset).values), CUSTOM)
        if same != self.form.raw("preset"):
            self.form.fill({"preset": same})

    def _remember_rate(self) -> None:
        values, _ = self.form.read()
        if "batch_size" in values and "r_learn" in values:
            self._basis = (values["batch_size"], values["r_learn"])

    def _suggestion(self) -> float | None:
        """The learning rate that fits the new batch size, if only the batch size was changed."""
        values, _ = self.form.read()
        batch, rate = values.get("batch_size"), values.get("r_learn")
        old_batch, old_rate = self._basis
        if batch is None or rate != old_rate or not old_batch or batch == old_batch:
            return None
        return backend.suggested_rate(old_rate, old_batch, batch)

    def action_take_rate(self) -> None:
        rate = self._suggestion()
        if rate is not None:
            self.form.fill({"r_learn": rate})
            self._remember_rate()
            self._name_preset()
            self._show_help()
            self._recost(0)

    def action_page(self, direction: int) -> None:
        shown = [name for name, field in self.form.fields.items() if field.display]
        at = shown.index(self._focused) + direction * max(1, self.form.size.height - 1)
        self.form.fields[shown[max(0, min(len(shown) - 1, at))]].focus()

    def _recost(self, delay: float) -> None:
        """Computes the cost again after `delay` seconds without another change."""
        self._serial += 1
        if self._timer is not None:
            self._timer.stop()
        if delay:
            self._timer = self.set_timer(delay, self._compute)
        else:
            self._compute()

    def _compute(self) -> None:
        values, wrong = self.form.read()
        serial, text, workspace = self._serial, self.form.raw("text"), self.app.workspace  # type: ignore[attr-defined]
        if wrong:
            self._cost = None
            self._show_cost(next(iter(wrong.values())))
            return

        def work() -> None:
            quick = backend.cost(workspace, values, text)
            self.post_message(self.Costed(serial, quick))
            if quick.estimate is not None and serial == self._serial:
                self.post_message(self.Costed(serial, backend.cost(workspace, values, text, measure=True)))

        in_thread(self, work, "cost", exclusive=True)

    def on_config_pane_costed(self, event: Costed) -> None:
        if event.serial != self._serial:
            return  # something was typed since
        self._cost = event.result
        self.form.show_active(event.result.active)
        for name in PARAMETERS:
            self.form.show_problem(name, event.result.problems.get(name))
        self._show_cost(event.result.error)

    def _show_help(self) -> None:
        area = self.query_one("#help", Lines)
        width = max(12, self.query_one("#config-side").content_size.width)
        text, effects = explain(self._focused)
        lines: list[Line] = paragraph(f"{self._focused}: {text}", width, "text")
        for what, effect in effects:
            lines += [[(line[0][0], "label")] for line in paragraph(f"{what}: {effect}", width)]
        rate = self._suggestion()
        if rate is not None:
            lines += paragraph(f"With this batch size, r_learn {shown_value(rate)} is suggested: F7 takes it.", width, "warn")
        area.set_lines(lines)

    def _show_cost(self, error: str = "") -> None:
        area = self.query_one("#cost", Lines)
        width = max(12, self.query_one("#config-side").content_size.width)
        self._error = error
        if error:
            area.set_lines(paragraph(error, width, "bad"))
            return
        e = self._cost.estimate if self._cost else None
        if e is None:
            area.set_lines([[("working out what it costs …", "dim")]])
            return
        facts = [("parameters", amount(e.parameters)), ("model file", size(e.model_file_bytes)),
                 ("memory", size(e.training_bytes)), ("FLOPs/step", amount(e.flops_per_step)),
                 ("needs", span(*e.tokens_needed) + " tok."), ("steps", amount(e.steps)),
                 ("time here", "unknown" if e.seconds is None else "≈ " + clock(e.seconds))]
        lines: list[Line] = [[(f"{name:<11}", "label"), (value, "value")] for name, value in facts]
        for warning in e.warnings:
            lines += paragraph(warning, width, "warn")
        area.set_lines(lines)

    def load_values(self, values: dict[str, Any], source: str) -> None:
        """Puts a configuration into the form."""
        self._load(values)
        self.notify(f"The form now holds the configuration of {visible(source, newlines=False)}.", markup=False)

    def _load(self, raw: dict[str, Any]) -> None:
        config = Config.read(raw, strict=False)
        self.form.fill(dict(config.values))
        self._remember_rate()
        self._name_preset()
        self._recost(0)

    def command_line(self) -> str:
        """The shell command that trains with the form's values."""
        from babytui import actions

        values, _ = self.form.read()
        changed = {name: shown_value(value) for name, value in values.items() if value != PARAMETERS[name].default}
        text, workspace = self.form.raw("text"), self.app.workspace  # type: ignore[attr-defined]
        return actions.command_line("train", {
            "set": changed, "input": [] if text in ("", backend.ALL_TEXTS) else [text],
            "name": self.form.raw("name").strip() or None, "prompt": self.form.raw("prompt") or None,
        }, workspace=str(workspace.root))

    @on(Button.Pressed, "#train")
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.ask_to_train()

    def ask_to_train(self) -> None:
        """Posts TrainAsked, or goes to the first field that is wrong."""
        values, wrong = self.form.read()
        wrong = wrong or (self._cost.problems if self._cost else {})
        if wrong:
            name, message = next(iter(wrong.items()))
            self.form.fields[name].focus()
            self.notify(message, severity="error", markup=False)
            return
        self.post_message(TrainAsked(values, self.form.raw("text"), self.form.raw("name").strip(), self.form.raw("prompt")))
