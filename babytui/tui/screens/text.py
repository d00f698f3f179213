"""A page of lines to read: the keys, or what a command printed."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen

from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line, Lines


def columns(width: int) -> int:
    """Cells in a line of a page on a screen of this width; as the stylesheet has it."""
    return min(110, int(width * 0.96)) - 5  # border, padding, scrollbar


class TextScreen(ModalScreen[None]):
    """Shows lines until Esc."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,ctrl+c,enter", "dismiss", "Back"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def __init__(self, title: str, lines: list[Line]):
        super().__init__()
        self._title, self._lines = title, lines

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(self._title)
        box.border_subtitle = hint_content([("↑ ↓", "scroll"), ("Esc", "back")])
        with box, VerticalScroll():
            yield Lines(self._lines)

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)
