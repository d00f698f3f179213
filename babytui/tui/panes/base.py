"""What every pane has: a frame with its key and name, its own keys below, and a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.containers import Vertical
from textual.widget import Widget

from babytui.tui.bindings import hints, pane_key
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line
from babytui.tui.wrap import wrap
from babytui.visible import cut, visible


class Pane(Vertical):
    """A framed pane. Its own keys are those of its actions, between
    those of its widgets: `keys_before` and `keys_after`, as (key, what it does)."""

    title: ClassVar[str] = ""
    keys_before: Sequence[tuple[str, str]] = ()
    keys_after: Sequence[tuple[str, str]] = ()
    keys_first: Sequence[str] = ()  # ids of the actions that are shown before its others
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
        title = f"{pane_key(self.id or '')} {self.title}".strip() + (f" · {self.note}" if self.note else "")
        self.border_title = plain(cut(title, width))
        node = self.id or ""
        keys = dict.fromkeys([*hints(node, *self.keys_first), *hints(node)] if self.keys_first else hints(node))
        self.border_subtitle = hint_content([*self.keys_before, *keys, *self.keys_after], width - 2)

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
    return [[(line.rstrip(), role)] for line in wrap(visible(text, newlines=False), max(4, width))]
