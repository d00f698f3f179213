"""One-row form fields: a number that steps, a choice, a switch, a text. Up and down move between fields.

Every field has `value` (text, or bool for a switch), posts `Changed`, and steps with + and -.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Button, Input, Switch

from babytui.tui.safe import plain
from babytui.visible import cells, cut

_MOVE: list[BindingType] = [
    Binding("up", "app.focus_previous", show=False),
    Binding("down", "app.focus_next", show=False),
]
_BUTTONS = " - +"


class FieldChanged(Message):
    """The field `name` was set to `value` by the person (or by stepping)."""

    def __init__(self, field: Widget, value: Any):
        super().__init__()
        self.field, self.value = field, value
        self.name = field.name or ""


class FormButton(Button):
    """A button among the fields of a form, from which one goes on to them."""

    BINDINGS: ClassVar[list[BindingType]] = _MOVE


class Former:
    """For a field: `former`, the value that it had in the last run, shown at its end when it is another now."""

    _former = ""

    @property
    def former(self) -> str:
        return self._former

    @former.setter
    def former(self, text: str) -> None:
        if text != self._former:
            self._former = text
            self.refresh()  # type: ignore[attr-defined]

    def _was(self, room: int) -> str:
        """What is said of it in at most `room` cells; nothing when there is no room."""
        text = f"was {self._former}" if self._former else ""
        return text if text and cells(text) < room else ""


class Limited(Input):
    """An input that says how much it takes, instead of ringing the terminal's bell."""

    def restricted(self) -> None:
        self.app.notify(f"{self.max_length} characters at most here.", severity="warning")


class TextField(Former, Limited):
    """One row of free text."""

    BINDINGS: ClassVar[list[BindingType]] = _MOVE
    DEFAULT_CSS = "TextField { height: 1; border: none !important; padding: 0 1 !important; }"

    def __init__(self, value: str = "", *, name: str, id: str | None = None, placeholder: str = "",
                 max_length: int = 1000):
        with self.prevent(Input.Changed):  # it is made so, nobody changes it
            super().__init__(value, name=name, id=id, placeholder=placeholder, max_length=max_length,
                             select_on_focus=False)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return not key.startswith("alt+") and super().check_consume_key(key, character)

    async def _on_key(self, event: events.Key) -> None:
        if event.key.startswith("alt+"):  # comes with a character, which is not meant
            event.prevent_default()

    def validate(self, value: str) -> None:
        """Nothing: the form says what is wrong, and Input's own way restyles every field twice when it is made."""

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(FieldChanged(self, event.value))


class NumberField(TextField):
    """A number as text, with - and + at its end. `step` is "pow2" (double, halve) or the amount to add.

    The text is kept as typed; whether it is valid is the form's business, so that every mistake gets a sentence.
    """

    DEFAULT_CSS = """
    NumberField { padding: 0 5 0 1 !important; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("plus,equals_sign", "step(1)", "More", show=False)]

    def __init__(self, value: str = "", *, name: str, step: float | str = 1, low: float | None = None,
                 high: float | None = None, whole: bool = True, words: Sequence[str] = (), id: str | None = None,
                 placeholder: str = ""):
        super().__init__(value, name=name, id=id, placeholder=placeholder, max_length=24)
        self.step, self.low, self.high, self.whole, self.words = step, low, high, whole, tuple(words)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return character not in ("+", "-", "=") and super().check_consume_key(key, character)

    async def _on_key(self, event: events.Key) -> None:
        # A minus steps down, except inside a number such as 1e-4.
        if event.character == "-" and not self.value[: self.cursor_position].lower().endswith("e"):
            event.stop()
            event.prevent_default()
            self.action_step(-1)
            return
        if event.character in ("+", "="):
            event.stop()
            event.prevent_default()
            self.action_step(1)

    def on_click(self, event: events.Click) -> None:
        right = self.outer_size.width - event.x
        if right <= 4:
            self.action_step(1 if right <= 2 else -1)

    def action_step(self, direction: int) -> None:
        """The next value up or down that is in range; a word (auto) steps to the first number."""
        self.value = stepped(self.value, direction, self.step, self.low, self.high, self.whole, self.words)
        self.cursor_position = len(self.value)

    def render_lines(self, crop: Any) -> list[Strip]:
        strips = super().render_lines(crop)
        width = self.outer_size.width
        if not strips or crop.right < width or crop.x > width - 8:
            return strips
        active = self.has_focus or self.mouse_hover
        was = self._was(width - (len(_BUTTONS) if active else 1) - cells(self.value) - 1)
        was += " " * (not active and bool(was))
        ends = [Segment(was, self.rich_style + Style(dim=True)),
                Segment(_BUTTONS if active else "", self.rich_style + Style(bold=True))]
        strip = strips[0].crop(0, width - crop.x - sum(len(segment.text) for segment in ends))
        strips[0] = Strip([*strip, *(segment for segment in ends if segment.text)], width - crop.x)
        return strips


class ChoiceField(Former, Widget, can_focus=True):
    """One of several values: + and - or left and right go through them, Enter shows the list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *_MOVE,
        Binding("right,plus,equals_sign", "step(1)", "Next", show=False),
        Binding("left,minus", "step(-1)", "Previous", show=False),
        Binding("enter,space", "choose", "List", show=False),
    ]
    DEFAULT_CSS = """
    ChoiceField { height: 1; padding: 0 1; background: $surface; }
    ChoiceField:focus { background: $primary 40%; text-style: bold; }
    """
    value: reactive[str] = reactive("", init=False)

    def __init__(self, options: Sequence[str], value: str, *, name: str, id: str | None = None):
        super().__init__(name=name, id=id)
        self.options = list(options)
        self.set_reactive(ChoiceField.value, value)

    def set_options(self, options: Sequence[str], value: str | None = None) -> None:
        """Other options; the value stays if it is still one of them."""
        self.options = list(options)
        if value is not None or self.value not in self.options:
            self.value = value if value is not None else (self.options[0] if self.options else "")

    def watch_value(self, value: str) -> None:
        self.post_message(FieldChanged(self, value))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        mark = " ▾"
        room = max(0, width - cells(mark))
        text = cut(self.value, room)
        was = self._was(room - cells(text) - 1)
        gap = " " * (room - cells(text) - cells(was))
        return Strip([Segment(text + gap, self.rich_style), Segment(was, self.rich_style + Style(dim=True)),
                      Segment(mark, self.rich_style)]).adjust_cell_length(width, self.rich_style)

    def action_step(self, direction: int) -> None:
        if self.options:
            at = self.options.index(self.value) if self.value in self.options else -1
            self.value = self.options[(at + direction) % len(self.options)]

    def on_click(self) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        """Opens the list of options."""
        from babytui.tui.screens.choose import ChooseScreen

        def done(value: str | None) -> None:
            if value is not None:
                self.value = value

        screen: ModalScreen[str] = ChooseScreen(self.name or "", self.options, self.value)
        self.app.push_screen(screen, done)


class SwitchField(Former, Switch):
    """On or off in one row, told by a word and a mark, not by colour alone."""

    BINDINGS: ClassVar[list[BindingType]] = [*_MOVE, Binding("right,plus,equals_sign", "set(True)", show=False),
                Binding("left,minus", "set(False)", show=False)]
    DEFAULT_CSS = """
    SwitchField, SwitchField:focus { border: none; height: 1; width: 1fr; padding: 0 1; background: $surface; }
    SwitchField:focus { background: $primary 40%; text-style: bold; }
    """

    def __init__(self, value: bool, *, name: str, id: str | None = None):
        super().__init__(value, animate=False, name=name, id=id)

    def render(self) -> Text:
        text = plain("● on" if self.value else "○ off")
        if was := self._was(self.size.width - 7):
            text.append(" " * (self.size.width - 2 - len(text) - len(was)) + was, "dim")
        return text

    def action_set(self, value: bool) -> None:
        self.value = value

    def on_switch_changed(self, event: Switch.Changed) -> None:
        event.stop()
        self.post_message(FieldChanged(self, event.value))


def stepped(text: str, direction: int, step: float | str, low: float | None, high: float | None, whole: bool,
            words: Sequence[str] = ()) -> str:
    """The neighbouring value as text: powers of two for "pow2" (any number goes to the next power), else plus or minus
    `step`; kept between low and high. Text that is not a number starts at the lowest sensible value."""
    try:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
    except ValueError:
        if direction < 0 and text in words:
            return text
        start = max(low or 0.0, 1.0) if whole else max(low or 0.0, 0.0)
        return _text(min(start, high) if high is not None else start, whole)
    if step == "pow2":
        if whole:
            number = _power(round(number), direction)
        else:
            number = number * 2.0**direction if number else (1e-4 if direction > 0 else 0.0)
    else:
        number += direction * float(step)
    if low is not None and number < low:
        if words and direction < 0:
            return words[-1]
        number = low
    if high is not None:
        number = min(number, high)
    return _text(number, whole)


def _power(number: int, direction: int) -> int:
    if direction > 0:
        return 1 << number.bit_length() if number > 0 else 1
    if number <= 1:
        return 0
    return 1 << ((number - 1).bit_length() - 1)


def _text(number: float, whole: bool) -> str:
    return str(round(number)) if whole else f"{number:.6g}"
