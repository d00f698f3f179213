"""The form: one row per parameter, made from engine.config, and what is wrong with what was typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from textual.containers import VerticalScroll
from textual.css.query import NoMatches
from textual.message import Message
from textual.widget import AwaitMount, Widget
from textual.widgets import Static

from babytui.tui.safe import plain
from babytui.tui.threads import after_refresh
from babytui.tui.widgets.fields import ChoiceField, FieldChanged, NumberField, SwitchField, TextField
from babytui.tui.wrap import wrap
from babytui.visible import visible
from engine.config import PARAMETERS, Parameter
from engine.errors import ConfigError

RUN_FIELDS = {
    "text": "The text to learn: one of the workspace or one that ships.",
    "preset": "A set of values to start from; the ages are n_ctx 8 to 128 with 16 layers.",
    "name": "What to call the model; empty takes the text's name.",
    "prompt": "What the samples during training start with.",
}


class Rows(VerticalScroll, can_focus=False):
    """Fields by name, each with its label and, when it is wrong, a sentence. Posts `Edited` when the person changed
    one."""

    class Edited(Message):
        """The field `name` was changed."""

        def __init__(self, name: str):
            super().__init__()
            self.name = name

    def __init__(self, id: str):
        super().__init__(id=id)
        self._problems: dict[str, Static] = {}
        self.fields: dict[str, Widget] = {}

    def row(self, field: Widget, name: str, title: str = "") -> Iterable[Widget]:
        """The widgets of one row, which are the form's from now on. title: its label, unless that is the name."""
        label = Static(plain(title or name), classes="field-label", id=f"label-{name}")
        label.display = field.display
        self.fields[name] = field
        yield label
        yield field

    def on_field_changed(self, event: FieldChanged) -> None:
        event.stop()
        self.post_message(self.Edited(event.name))

    def raw(self, name: str) -> Any:
        """What the field holds: text, or bool for a switch."""
        return self.fields[name].value  # type: ignore[attr-defined]

    def mark(self, name: str) -> None:
        """Shows by its label which field has the keys."""
        self.query(".field-label").remove_class("-focused")
        self.query_one(f"#label-{name}").add_class("-focused")

    def fill(self, values: Mapping[str, Any]) -> None:
        """Sets fields without counting as the person's change."""
        with self.prevent(FieldChanged):
            for name, value in values.items():
                field = self.fields.get(name)
                if field is None:
                    continue
                with field.prevent(FieldChanged, TextField.Changed, SwitchField.Changed):
                    field.value = value if isinstance(field, SwitchField) else shown_value(value)  # type: ignore[attr-defined]

    def suggest(self, name: str, text: str) -> None:
        """What the field shows while it is empty."""
        self.fields[name].placeholder = text  # type: ignore[attr-defined]

    def show_problem(self, name: str, message: str | None) -> None:
        """A sentence under the field, or none."""
        line = self._problems.get(name)
        if message is None:
            if line is not None:
                line.remove()
                del self._problems[name]
                self.fields[name].remove_class("-wrong")
            return
        self.fields[name].add_class("-wrong")
        if line is None:
            line = self._problems[name] = Static(plain(message), classes="problem")
            self.mount(line, after=self.fields[name])
        else:
            line.update(plain(message))
        width = max(10, self.scrollable_content_region.width - 3)
        line.styles.row_span = len(wrap(visible(message, newlines=False), width))
        if self.fields[name].has_focus:
            after_refresh(line, partial(line.scroll_visible, animate=False))


class Form(Rows):
    """The form of the config pane: every parameter."""

    def __init__(self, values: Mapping[str, Any], presets: Sequence[str], preset: str):
        super().__init__(id="form")
        self._initial, self._presets, self._preset = dict(values), list(presets), preset

    def build(self) -> AwaitMount:
        """Mounts the rows; done after the first paint, which they would delay."""
        return self.mount_all(self._rows())

    @property
    def built(self) -> bool:
        return bool(self.fields)

    def _rows(self) -> Iterable[Widget]:
        yield from self.row(ChoiceField([], "", name="text"), "text")
        yield from self.row(ChoiceField(self._presets, self._preset, name="preset"), "preset")
        yield from self.row(TextField(name="name", placeholder="the text's name", max_length=64), "name")
        yield from self.row(TextField(name="prompt", placeholder="none"), "prompt")
        for group, parameters in groupby(PARAMETERS.values(), key=lambda p: p.group):
            yield Static(plain(group), classes="group")
            for parameter in parameters:
                yield from self.row(make_field(parameter, self._initial[parameter.name]), parameter.name)

    def raw(self, name: str) -> Any:
        """As of every form; before the rows are built, what they will hold."""
        if name not in self.fields:
            return self._preset if name == "preset" else self._initial.get(name, "")
        return super().raw(name)

    def fill(self, values: Mapping[str, Any]) -> None:
        """As of every form; what was wrong there is looked at again."""
        super().fill(values)
        self.check(values)

    def read(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Values of all parameters that are valid alone, and a sentence for each that is not."""
        values: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for name, parameter in PARAMETERS.items():
            try:
                values[name] = parameter.coerce(self.raw(name))
            except ConfigError as error:
                wrong[name] = str(error)
        return values, wrong

    def check(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Reads everything and shows or takes away the sentences under these fields (default: all)."""
        _, wrong = self.read()
        for name in names if names is not None else PARAMETERS:
            if name in PARAMETERS:
                self.show_problem(name, wrong.get(name))
        return wrong

    def show_former(self, values: Mapping[str, Any]) -> int:
        """Marks the parameters whose values are not these, with the value that they had; how many there are that have
        an effect. Without values no mark stays."""
        count = 0
        for name, parameter in PARAMETERS.items():
            field = self.fields.get(name)
            if field is None:
                continue
            try:
                same = name not in values or parameter.coerce(self.raw(name)) == values[name]
            except ConfigError:
                same = False
            text = "" if same else _word(values[name])
            field.former = text  # type: ignore[attr-defined]
            count += bool(text) and bool(field.display)
        return count

    def show_active(self, active: Iterable[str]) -> None:
        """Hides the parameters that have no effect with this attention and network."""
        active = set(active)
        for name in PARAMETERS:
            on = name in active
            self.fields[name].display = on
            try:
                self.query_one(f"#label-{name}").display = on
            except NoMatches:  # not mounted yet
                pass


def make_field(parameter: Parameter, value: Any) -> Widget:
    """The widget for a parameter: choice, switch or number."""
    if parameter.kind == "choice":
        field: Widget = ChoiceField(parameter.choices, str(value), name=parameter.name)
    elif parameter.kind == "bool":
        field = SwitchField(bool(value), name=parameter.name)
    else:
        field = NumberField(shown_value(value), name=parameter.name, step=parameter.step, low=parameter.low,
                            high=parameter.high, whole=parameter.kind == "int", words=parameter.words)
    field.display = parameter.owner is None
    return field


def shown_value(value: Any) -> str:
    """A value as the form shows it."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _word(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else shown_value(value)


def explain(name: str) -> tuple[str, list[tuple[str, str]]]:
    """A field's help, and what it does to size, speed and quality where it does something."""
    parameter = PARAMETERS.get(name)
    if parameter is None:
        return RUN_FIELDS.get(name, ""), []
    effects = [(what, getattr(parameter, what)) for what in ("size", "speed", "quality")]
    return parameter.help, [(what, effect) for what, effect in effects if effect != "none"]
