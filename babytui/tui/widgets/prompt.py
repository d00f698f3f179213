"""The line one writes to a model: Enter sends, ctrl+j makes a new line, up and down find what was sent before."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea


class Prompt(TextArea):
    """Posts `Sent` with its text; `Changed` is TextArea's own."""

    DEFAULT_CSS = "Prompt { height: auto; min-height: 1; max-height: 4; border: none; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f7,ctrl+y", "app.pane('regenerate')", show=False),
        Binding("f6", "app.maximise", show=False),
        Binding("up", "older", show=False),
        Binding("down", "newer", show=False),
    ]

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None, placeholder: str = ""):
        super().__init__(id=id, compact=True, placeholder=placeholder, highlight_cursor_line=False, soft_wrap=True,
                         show_line_numbers=False, tab_behavior="focus")
        self._past: list[str] = []
        self._at = 0

    def remember(self, text: str) -> None:
        """Keeps a text for the up key, without repeating the last one."""
        if text and self._past[-1:] != [text]:
            self._past.append(text)
            del self._past[:-500]
        self._at = len(self._past)

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Sent(self.text))
        elif event.key in ("ctrl+j", "shift+enter", "alt+enter"):
            event.stop()
            event.prevent_default()
            self.insert("\n")

    def action_older(self) -> None:
        if self.cursor_location[0] > 0:
            self.action_cursor_up()
        elif self._at > 0:
            self._at -= 1
            self._show(self._past[self._at])

    def action_newer(self) -> None:
        if self.cursor_location[0] < self.document.line_count - 1:
            self.action_cursor_down()
        elif self._at < len(self._past):
            self._at += 1
            self._show(self._past[self._at] if self._at < len(self._past) else "")

    def _show(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)
