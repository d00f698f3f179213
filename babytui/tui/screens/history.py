"""What was sent before, in this session and earlier ones, found by a part of it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from babytui.history import History
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.visible import cut

MOST = 200  # entries that are listed


class HistoryScreen(ModalScreen["str | None"]):
    """Dismisses with the chosen text, or None."""

    CSS_PATH = ["dialogs.tcss", "talking.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss", "Back", priority=True),
        Binding("down,ctrl+n", "move(1)", show=False, priority=True),
        Binding("up,ctrl+p", "move(-1)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
    ]

    def __init__(self, history: History):
        super().__init__()
        self._history = history
        self._found: list[str] = []

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "What was sent before"
        box.border_subtitle = hint_content([("⏎", "take it"), ("↑ ↓", "choose"), ("letters", "find"), ("Esc", "back")])
        with box:
            yield Input(placeholder="a part of it", compact=True)
            yield OptionList(compact=True)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self._fill()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._fill()

    def _fill(self) -> None:
        width = max(20, min(84, int(self.size.width * 0.96) - 6))
        options = self.query_one(OptionList)
        self._found = self._history.search(self.query_one(Input).value)[:MOST]
        options.clear_options()
        none = "nothing like it was sent" if self._history.entries else "nothing was sent yet"
        shown = self._found or [none]
        options.add_options([Option(plain(cut(text, width)), disabled=not self._found) for text in shown])
        if self._found:
            options.highlighted = 0

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if self._found:
            options.highlighted = max(0, min((options.highlighted or 0) + by, len(self._found) - 1))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        options = self.query_one(OptionList)
        if self._found:
            self.dismiss(self._found[options.highlighted or 0])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._found:
            self.dismiss(self._found[event.option_index])
