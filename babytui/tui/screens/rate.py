"""Another learning rate for the watched run."""

from __future__ import annotations

import math
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from babytui.tui.panes.base import paragraph
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.fields import TextField
from babytui.tui.widgets.lines import Line, Lines

HIGHEST = 10.0


def read_rate(text: str) -> float | str:
    """The rate that was typed, or the sentence that says what is wrong with it."""
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= HIGHEST:
        return f"A learning rate is a number from 0 to {HIGHEST:g}, such as 0.001 or 1e-3."
    return rate


class RateField(TextField):
    """A number; up and down double and halve it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "times(2.0)", "Double", show=False),
        Binding("down", "times(0.5)", "Halve", show=False),
    ]

    def action_times(self, factor: float) -> None:
        rate = read_rate(self.value)
        if isinstance(rate, float):
            self.value = f"{min(HIGHEST, rate * factor):.6g}"
            self.cursor_position = len(self.value)


class RateScreen(ModalScreen[float]):
    """Dismisses with the new rate, or None. now: the present one, if it is known."""

    CSS_PATH = ["dialogs.tcss", "curve.tcss"]
    HELP = ("The learning rate of the next step. The schedule (warmup, cooldown) goes on from it in proportion. "
            "Half as much calms a loss that jumps; a little more speeds up one that creeps.")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss", "Back"),
    ]

    def __init__(self, name: str, now: float | None):
        super().__init__()
        self._name, self._now = name, now

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(f"Learning rate of {self._name}")
        box.border_subtitle = hint_content([("⏎", "take it"), ("↑", "double"), ("↓", "halve"), ("Esc", "back")])
        with box:
            yield Lines(id="rate-now")
            yield RateField(f"{self._now:.6g}" if self._now is not None else "", name="rate", placeholder="0.001",
                            max_length=24)
            yield Lines(id="rate-words")

    def on_mount(self) -> None:
        self._tell()
        self.query_one(RateField).focus()

    def on_field_changed(self) -> None:
        self._tell()

    def _tell(self) -> None:
        rate = read_rate(self.query_one(RateField).value)
        now: Line = [("now ", "label"), ("not known yet" if self._now is None else f"{self._now:.6g}", "value")]
        if isinstance(rate, float) and self._now and rate != self._now:
            now += [(f"  then {rate / self._now:.3g} times as much", "label")]
        self.query_one("#rate-now", Lines).set_lines([now])
        words, role = (rate, "bad") if isinstance(rate, str) else ("The schedule goes on from it in proportion.", "dim")
        self.query_one("#rate-words", Lines).show(lambda width: paragraph(words, width, role))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        rate = read_rate(self.query_one(RateField).value)
        if isinstance(rate, float):
            self.dismiss(rate)
