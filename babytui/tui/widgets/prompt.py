"""The line one writes to a model: Enter sends, ctrl+j makes a new line, up and down find what was sent before."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from babytui.history import PROMPTS, History


class Prompt(TextArea):
    """Posts `Sent` with its text; `Changed` is TextArea's own."""

    DEFAULT_CSS = "Prompt { height: auto; min-height: 1; max-height: 4; border: none; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "older", show=False),
        Binding("down", "newer", show=False),
    ]

    class Sent(Message):
        """Enter was pressed."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    NOT_OURS = ("f6", "f7", "ctrl+y")  # a TextArea selects and repeats with them; here they are the pane's

    def __init__(self, *, id: str | None = None, placeholder: str = ""):
        super().__init__(id=id, compact=True, placeholder=placeholder, highlight_cursor_line=False, soft_wrap=True,
                         show_line_numbers=False, tab_behavior="focus")
        for key in self.NOT_OURS:
            self._bindings.key_to_bindings.pop(key, None)
        self.past = History(PROMPTS)
        self._at: int | None = None  # of the entry that is shown; None for what is being written
        self._draft = ""

    def read_history(self) -> None:
        """Reads what was sent in earlier sessions; may be called in a thread."""
        assert self.past.entries is not None

    def remember(self, text: str) -> None:
        """Keeps a text for the up key, in this session and later ones, without repeating the last one."""
        self.past.add(text)
        self._at, self._draft = None, ""

    def on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            self.post_message(self.Sent(self.text))
        elif event.key in ("ctrl+j", "shift+enter", "alt+enter"):
            self.insert("\n")
        else:
            return
        event.stop()
        event.prevent_default()

    def action_older(self) -> None:
        if self.cursor_location[0] > 0:
            self.action_cursor_up()
        else:
            past = self.past.entries
            at = len(past) if self._at is None else self._at
            if at > 0:
                if self._at is None:
                    self._draft = self.text
                self._at = at - 1
                self._show(past[self._at])

    def action_newer(self) -> None:
        if self.cursor_location[0] < self.document.line_count - 1:
            self.action_cursor_down()
        elif self._at is not None:
            past = self.past.entries
            self._at = self._at + 1 if self._at + 1 < len(past) else None
            self._show(past[self._at] if self._at is not None else self._draft)

    def _show(self, text: str) -> None:
        self.text = text
        self.move_cursor(self.document.end)
