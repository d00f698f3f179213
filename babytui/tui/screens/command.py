"""The command line at the bottom: every command of `babytui`, with what can be typed next and what was typed before."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Input, Static

from babytui import commandline
from babytui.actions import APP
from babytui.history import COMMANDS, History
from babytui.tui.completing import Completing
from babytui.tui.panes.base import paragraph
from babytui.tui.widgets.completions import CompletionList
from babytui.tui.widgets.lines import Lines

EMPTY = "a command · Tab completes · ↑ earlier ones · Esc back"


class CommandScreen(ModalScreen[str]):
    """Dismisses with a line that can be run, or None. line: what stands in it already."""

    CSS_PATH = "command.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss", "Back"),
    ]

    def __init__(self, line: str = "", history: History | None = None):
        super().__init__()
        self._line = line
        self._history = history or History(COMMANDS)
        self._at = len(self._history.entries)
        self._kept = ""  # what was typed before an earlier one was looked at
        self._recalled: str | None = None
        self._completing: Completing | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="command"):
            yield CompletionList()
            with Horizontal(id="command-line"):
                yield Static(":", id="sign", markup=False)
                yield _Line(self._line, compact=True, select_on_focus=False, suggester=_Earlier(self._history),
                            id="line")
            yield Lines([[(EMPTY, "dim")]], id="command-hint")

    def on_mount(self) -> None:
        self._completing = Completing(
            self, self.app.workspace, lambda: self.query_one(CompletionList),  # type: ignore[attr-defined]
            self._read, self._write, self._hint)
        self.input.focus()
        self.input.cursor_position = len(self._line)
        self._completing.look()
        self._completing.typed()

    @property
    def input(self) -> Input:
        return self.query_one(Input)

    def _read(self) -> tuple[str, int]:
        return self.input.value, self.input.cursor_position

    def _write(self, text: str, at: int) -> None:
        self.input.value = text
        self.input.cursor_position = at

    def _hint(self, hint: str, role: str = "dim") -> None:
        text = hint or EMPTY
        self.query_one("#command-hint", Lines).show(lambda width: paragraph(text, max(20, width), role)[:2])

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._completing is not None and event.value != self._recalled:
            self._recalled = None
            self._completing.typed()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        line = event.value.strip()
        if not line:
            self.dismiss(None)
        elif problem := commandline.problem(line, APP):
            self._hint(problem, "bad")
        else:
            self._history.add(line)
            self.dismiss(line)

    def press(self, key: str) -> None:
        """A key that chooses: Tab among completions, the arrows among them or, without any, earlier lines."""
        completing = self._completing
        by = 1 if key in ("tab", "down") else -1
        if completing is None:
            return
        if key in ("tab", "shift+tab") or (completing.open and (by > 0 or self.input.value)):
            completing.move(by)
        else:
            self._recall(by)

    def _recall(self, by: int) -> None:
        """An earlier or a later line of the history."""
        entries = self._history.entries
        if not 0 <= self._at + by <= len(entries):
            return
        if self._at == len(entries):
            self._kept = self.input.value
        self._at += by
        self._recalled = entries[self._at] if self._at < len(entries) else self._kept
        self._write(self._recalled, len(self._recalled))
        if self._completing is not None:
            self._completing.close()


class _Line(Input):
    """Backspace in an empty line leaves, as in other programs."""

    def on_key(self, event: events.Key) -> None:
        if event.key in ("tab", "shift+tab", "up", "down") and isinstance(self.screen, CommandScreen):
            event.stop()
            event.prevent_default()
            self.screen.press(event.key)

    def action_delete_left(self) -> None:
        if self.value:
            super().action_delete_left()
        else:
            self.screen.dismiss(None)


class _Earlier(Suggester):
    """The last line of the history that goes on from what is typed."""

    def __init__(self, history: History):
        super().__init__(use_cache=False, case_sensitive=True)
        self._history = history

    async def get_suggestion(self, value: str) -> Any:
        return next((line for line in reversed(self._history.entries) if line.startswith(value) and line != value),
                    None)
