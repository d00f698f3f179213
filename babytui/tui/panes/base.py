"""What every pane has: a frame with its key and name, its own keys below, and a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.containers import Vertical
from textual.widget import Widget

from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line
from babytui.tui.wrap import wrap


class Pane(Vertical):
    """A framed pane. `key` opens it from anywhere; `hints` are its own keys, as (key, what it does)."""

    key: ClassVar[str] = ""
    title: ClassVar[str] = ""
    hints: Sequence[tuple[str, str]] = ()
    wide_from: ClassVar[int] = 56

    def __init__(self, id: str | None = None):
        super().__init__(id=id, classes="pane")
        self.note = ""

    def on_mount(self) -> None:
        self.decorate()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= self.wide_from, "-across")
        self.decorate()

    def decorate(self) -> None:
        """Title and keys for the present width."""
        width = self.outer_size.width - 4
        title = f"{self.key} {self.title}" + (f" · {self.note}" if self.note else "")
        self.border_title = Text(title if len(title) <= width else title[: max(0, width - 1)] + "…")
        self.border_subtitle = hint_content(self.hints, width - 2)

    def set_note(self, note: str) -> None:
        """What stands after the pane's name."""
        if note != self.note:
            self.note = note
            self.decorate()

    def first_focus(self) -> Widget | None:
        """The widget that gets the keys when the pane is opened."""
        return next((w for w in self.query("*") if w.focusable), None)


def paragraph(text: str, width: int, role: str = "label") -> list[Line]:
    """A text as lines of one role."""
    return [[(line.rstrip(), role)] for line in wrap(text, max(4, width))]
