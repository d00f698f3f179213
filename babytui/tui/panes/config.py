"""Config: the form, what it costs, and the button that starts a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button

from babytui.tui import backend
from babytui.tui.axis import amount, clock, size, span
from babytui.tui.bindings import bindings, key_of, keys_of
from babytui.tui.messages import TrainAsked
from babytui.tui.panes.base import Pane, paragraph
from babytui.tui.panes.form import Form, explain, shown_value
from babytui.tui.safe import plain
from babytui.tui.threads import Inquiry, in_thread
from babytui.tui.widgets.fields import FieldChanged, FormButton
from babytui.tui.widgets.lines import Line, Lines
from babytui.visible import cut, visible
from engine.config import PARAMETERS, PRESETS, Config
from engine.errors import UsageError
from store.names import check_name

if TYPE_CHECKING:
    from engine.estimate import Estimate

CUSTOM = "custom"
DEBOUNCE = 0.15


class ConfigPane(Pane):
    """The first pane. Everything that takes longer than a key press happens in a thread."""

    title = "Config"
    keys_before = (("↑↓", "field"), ("+ -", "step"), ("⏎", "list"))
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("config"),
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

    class Remembered(Message):
        """A thread has read the saved configurations, and that of the last run. chosen: which was just saved."""

        def __init__(self, saved: dict[str, dict[str, Any]], last: tuple[str, dict[str, Any]], chosen: str):
            super().__init__()
            self.saved, self.last, self.chosen = saved, last, chosen

    def __init__(self) -> None:
        super().__init__("config")
        self._inquiry = Inquiry(self, self._compute)
        self._cost: backend.Cost | None = None
        self._focused = "text"
        self._basis: tuple[int, float] = (0, 0.0)
        self._start = Config.read(PRESETS["newborn"])
        self._named = "newborn"  # the preset that was last dealt with
        self._saved: dict[str, dict[str, Any]] = {}
        self._last: tuple[str, dict[str, Any]] = ("", {})

    def compose(self) -> ComposeResult:
        with Container(id="config-body"):
            yield Form(self._start.values, [CUSTOM, *PRESETS], "newborn")
            with Vertical(id="config-side"):
                with VerticalScroll(id="config-words", can_focus=False):
                    yield Lines(id="help")
                    yield Lines(id="cost")
                yield FormButton(plain(f"Train ({key_of('train')})"), id="train", variant="success", compact=True)

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
        self.read_again()

    def read_again(self, chosen: str = "") -> None:
        """Reads the saved configurations and that of the last run, in a thread."""
        workspace = self.app.workspace  # type: ignore[attr-defined]

        def work() -> None:
            self.post_message(self.Remembered(backend.saved_configs(workspace), backend.last_run(workspace), chosen))

        in_thread(self, work, "saved", exclusive=True)

    def on_config_pane_remembered(self, event: Remembered) -> None:
        self._saved, self._last = event.saved, event.last
        if self.form.built:
            field = self.form.fields["preset"]
            with field.prevent(Form.Edited, FieldChanged):
                field.set_options([CUSTOM, *PRESETS, *self._saved])  # type: ignore[attr-defined]
            if self.form.raw("preset") == self._named:  # else one was chosen just now, and fills the form in its turn
                self._name_preset(event.chosen)
            self._show_former()

    def first_focus(self) -> Widget | None:
        return self.form.fields.get(self._focused)

    def _find_texts(self) -> None:
        workspace = self.app.workspace  # type: ignore[attr-defined]
        self.post_message(self.TextsFound(backend.texts(workspace), backend.current(workspace)))

    def on_config_pane_texts_found(self, event: TextsFound) -> None:
        field = self.form.fields["text"]
        with field.prevent(Form.Edited):
            field.set_options(event.texts)  # type: ignore[attr-defined]
        if event.values and self._untouched():
            self._load(event.values)
        else:
            self._inquiry.again()

    def _untouched(self) -> bool:
        """Whether nobody has changed a parameter yet."""
        values, wrong = self.form.read()
        return not wrong and values == self._start.values and self.form.raw("preset") == self._named

    @on(events.DescendantFocus)
    def _field_focused(self, event: events.DescendantFocus) -> None:
        if event.widget.name in self.form.fields:
            self._focused = event.widget.name
            self.form.mark(self._focused)
            self._show_help()

    @on(Form.Edited)
    def _edited(self, event: Form.Edited) -> None:
        event.stop()
        name = event.name
        if name == "preset":
            chosen = self._named = self.form.raw("preset")
            if chosen in PRESETS:
                self.form.fill(dict(Config.read(PRESETS[chosen]).values))
                self._remember_rate()
            elif chosen in self._saved:
                self.form.fill(dict(Config.read(self._saved[chosen], strict=False).values))
                self._remember_rate()
        elif name in PARAMETERS:
            self.form.check([name])
            if name == "r_learn":
                self._remember_rate()
            self._name_preset()
        self._show_help()
        self._inquiry.again(DEBOUNCE)

    def _name_preset(self, rather: str = "") -> None:
        """Says whose values these are. rather: of several that have them."""
        values, wrong = self.form.read()
        known = {**PRESETS, **self._saved}
        same = [name for name, preset in known.items()
                if not wrong and values == Config.read(preset, strict=False).values]
        name = rather if rather in same else next(iter(same), CUSTOM)
        self._named = name
        if name != self.form.raw("preset"):
            self.form.fill({"preset": name})

    def _show_former(self) -> None:
        """Marks what is not as in the last run."""
        name, values = self._last
        count = self.form.show_former(values)
        self.set_note(f"{count} not as in {visible(name, newlines=False)}" if count else "")
        self._show_help()

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
            self._inquiry.again()

    def action_take_old(self) -> None:
        """The last run's value of the parameter that has the keys."""
        name, values = self._focused, self._last[1]
        if name not in values:
            self.notify("There is no other value of it." if values else "Nothing was trained here yet.", markup=False)
            return
        self.form.fill({name: values[name]})
        self._edited(Form.Edited(name))

    def action_save(self) -> None:
        """Asks for a name to save the form's values under."""
        from babytui.tui.screens.ask import AskScreen
        from babytui.tui.screens.confirm import ConfirmScreen

        values = self._right_values()
        if values is None:
            return

        def answered(name: str | None) -> None:
            name = (name or "").strip()
            if name in self._saved:
                self.app.push_screen(ConfirmScreen(f"Replace {visible(name, newlines=False)}?",
                                                   ["A configuration is saved under this name."], "Replace"),
                                     lambda agreed: self._save(name, values) if agreed else None)
            elif name:
                self._save(name, values)

        now = self.form.raw("preset")
        self.app.push_screen(AskScreen("Save these values as", now if now in self._saved else "", check=_free,
                                       help="It stands in the list of presets then, and --preset takes it."), answered)

    def _save(self, name: str, values: dict[str, Any]) -> None:
        workspace = self.app.workspace  # type: ignore[attr-defined]

        def work() -> None:
            backend.save_config(workspace, name, values)
            self.post_message(self.Remembered(backend.saved_configs(workspace), backend.last_run(workspace), name))

        self.app.did("train", {"preset": name})  # type: ignore[attr-defined]
        in_thread(self, work, "saved")
        self.notify(f"Saved as {visible(name, newlines=False)}.", markup=False)

    def action_load(self) -> None:
        """Offers saved configurations and those of the models."""
        from babytui.tui.screens.choose import ChooseScreen

        offered: dict[str, tuple[dict[str, Any], str]] = {}
        for name, values in self._saved.items():
            offered[f"{visible(name, newlines=False)}  saved"] = values, name
        for row in self.app.playground.models.known:  # type: ignore[attr-defined]
            if row.config:
                label = f"{cut(row.name, 20)}  {row.age}, {row.guid[:8]}"
                offered[label] = row.config, row.name
        if not offered:
            self.notify("There is neither a saved configuration nor a model yet.", severity="warning")
            return

        def answered(label: str | None) -> None:
            if label is not None:
                self.load_values(*offered[label])

        self.app.push_screen(ChooseScreen("Take the values of", list(offered)), answered)

    def action_page(self, direction: int) -> None:
        shown = [name for name, field in self.form.fields.items() if field.display]
        at = shown.index(self._focused) + direction * max(1, self.form.size.height - 1)
        self.form.fields[shown[max(0, min(len(shown) - 1, at))]].focus()

    def _compute(self) -> None:
        values, wrong = self.form.read()
        serial, text = self._inquiry.serial, self.form.raw("text")
        workspace = self.app.workspace  # type: ignore[attr-defined]
        self._show_former()
        if wrong:
            self._cost = None
            self._show_cost(next(iter(wrong.values())))
            return

        def work() -> None:
            quick = backend.cost(workspace, values, text)
            self.post_message(self.Costed(serial, quick))
            if quick.estimate is not None and serial == self._inquiry.serial:
                self.post_message(self.Costed(serial, backend.cost(workspace, values, text, measure=True)))

        in_thread(self, work, "cost", exclusive=True)

    def on_config_pane_costed(self, event: Costed) -> None:
        if event.serial != self._inquiry.serial:
            return  # something was typed since
        self._cost = event.result
        self.form.show_active(event.result.active)
        self._show_former()
        for name in PARAMETERS:
            self.form.show_problem(name, event.result.problems.get(name))
        self._show_cost(event.result.error)

    def _show_help(self) -> None:
        name, rate = self._focused, self._suggestion()
        field = self.form.fields.get(name)
        former, last = getattr(field, "former", ""), self._last[0]
        take = (keys_of("take.old.value") or [""])[0]

        def build(width: int) -> list[Line]:
            text, effects = explain(name)
            lines = paragraph(f"{name}: {text}", width, "text")
            for what, effect in effects:
                lines += paragraph(f"{what}: {effect}", width)
            if former:
                lines += paragraph(f"{last}, the last run, had {former}" + (f": {take} takes it." if take else "."),
                                   width, "accent")
            if rate is not None:
                lines += paragraph(f"With this batch size, r_learn {shown_value(rate)} is suggested: "
                                   f"{key_of('take rate')} takes it.",
                                   width, "warn")
            return lines

        self.query_one("#help", Lines).show(build)

    def _show_cost(self, error: str = "") -> None:
        found = self._cost.estimate if self._cost else None

        def build(width: int) -> list[Line]:
            if error:
                return paragraph(error, width, "bad")
            if found is None:
                return paragraph("working out what it costs", width, "dim")
            room = self.query_one("#config-words").size.height - len(self.query_one("#help", Lines).lines) - 1
            return cost_lines(found, width, room if self.has_class("-across") else 99)

        self.query_one("#cost", Lines).show(build)

    def load_values(self, values: dict[str, Any], source: str) -> None:
        """Puts a configuration into the form."""
        self._load(values)
        self.notify(f"The form now holds the configuration of {source}.", markup=False)

    def _load(self, raw: dict[str, Any]) -> None:
        config = Config.read(raw, strict=False)
        self.form.fill(dict(config.values))
        self._remember_rate()
        self._name_preset()
        self._inquiry.again()

    def arguments(self) -> dict[str, Any]:
        """The form's values as the arguments of `train`."""
        values, _ = self.form.read()
        changed = {name: shown_value(value) for name, value in values.items() if value != PARAMETERS[name].default}
        text = self.form.raw("text")
        return {"set": changed, "input": [] if text in ("", backend.ALL_TEXTS) else [text],
                "name": self.form.raw("name").strip() or None, "prompt": self.form.raw("prompt") or None}

    @on(Button.Pressed, "#train")
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.ask_to_train()

    def _right_values(self) -> dict[str, Any] | None:
        """The form's values when a model can have them; else None, and the keys are at the first that is wrong."""
        values, wrong = self.form.read()
        wrong = wrong or {problem.field: problem.message for problem in Config.read(values).problems()}
        if wrong:
            name, message = next(iter(wrong.items()))
            self.form.fields[name].focus()
            self.notify(message, severity="error", markup=False)
        return None if wrong else values

    def ask_to_train(self) -> None:
        """Posts TrainAsked, or goes to the first field that is wrong."""
        values, form = self._right_values(), self.form
        if values is None:
            return
        self.post_message(TrainAsked(values, form.raw("text"), form.raw("name").strip(), form.raw("prompt")))


def _free(name: str) -> None:
    """UsageError for a name that a saved configuration cannot have."""
    if check_name(name) in (CUSTOM, *PRESETS):
        raise UsageError(f"{name.strip()} is a preset already; choose another name.")


def cost_lines(found: Estimate, width: int, room: int) -> list[Line]:
    """What a configuration costs; where a warning needs the room, facts that can be missed make way."""
    facts = [("parameters", amount(found.parameters)), ("model file", size(found.model_file_bytes)),
             ("memory", size(found.training_bytes)), ("FLOPs/step", amount(found.flops_per_step)),
             ("needs", span(*found.tokens_needed) + (" tokens" if width >= 32 else "")), ("steps", amount(found.steps)),
             ("time here", "unknown" if found.seconds is None else "≈ " + clock(found.seconds))]
    warnings = [line for warning in found.warnings for line in paragraph(warning, width, "warn")]
    for name in ("FLOPs/step", "model file", "needs"):
        if len(facts) + len(warnings) > room:
            facts = [fact for fact in facts if fact[0] != name]
    return [*([(f"{name:<11}", "label"), (value, "value")] for name, value in facts), *warnings]
