"""A list to pick one value from; typing narrows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content


class ChooseScreen(ModalScreen[str]):
    """Dismisses with the chosen value, or None."""

    CSS_PATH = "dialogs.tcss"
    TYPED: ClassVar[bool] = True  # letters narrow the list
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss", "Back"),
        Binding("home", "first", show=False, priority=True),
    ]

    def __init__(self, title: str, options: Sequence[str], value: str = ""):
        super().__init__()
        self._title, self._options, self._value, self._typed = title, list(options), value, ""

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(self._title)
        box.border_subtitle = hint_content([("⏎", "choose"), ("letters", "find"), ("Esc", "back")])
        with box:
            yield OptionList(compact=True)

    def on_mount(self) -> None:
        self._fill()

    def _fill(self) -> None:
        found = [o for o in self._options if self._typed.lower() in o.lower()]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(plain(o)) for o in found])
        self._shown = found
        if found:
            options.highlighted = found.index(self._value) if self._value in found else 0
        box = self.query_one(Vertical)
        box.border_title = plain(f"{self._title}: {self._typed}" if self._typed else self._title)

    def on_key(self, event: events.Key) -> None:
        if event.key == "backspace" and self._typed:
            self._typed = self._typed[:-1]
        elif event.character and event.character.isprintable() and event.key != "space":
            self._typed += event.character
        else:
            return
        event.stop()
        self._fill()

    def action_first(self) -> None:
        self.query_one(OptionList).action_first()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._shown[event.option_index])
