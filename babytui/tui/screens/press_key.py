"""Waits for the key that an action shall have, and says whose it is now."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from babytui.tui.bindings import clashes, ids, keys_of, place_of, shown_key
from babytui.tui.panes.base import paragraph
from babytui.tui.personal import TakesKeys
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line, Lines

KEPT = ("escape", "enter", "tab", "shift+tab", "up", "down", "left", "right", "space", "backspace")
"""Keys that move and choose everywhere, and keep doing so."""


class PressKeyScreen(TakesKeys, ModalScreen[tuple[str, list[str]]]):
    """Dismisses with the key and the actions that it is taken away from, or None."""

    CSS_PATH = ["dialogs.tcss", "settings.tcss"]
    TYPED: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, id_: str):
        super().__init__()
        self._action_id = id_
        self._key, self._others = "", list[str]()

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(f"A key for {ids()[self._action_id][2].name}")
        box.border_subtitle = hint_content([("Esc", "back")])
        with box:
            yield Lines(id="press")

    def on_mount(self) -> None:
        node, _, action = ids()[self._action_id]
        now = " ".join(keys_of(self._action_id)) or "none"
        self._tell([(f"{action.help} ({place_of(node)}). Keys now: {now}.", "label"), ("Press the new key.", "strong")])

    def _tell(self, told: list[tuple[str, str]]) -> None:
        def build(width: int) -> list[Line]:
            return [line for text, role in told for line in paragraph(text, width, role)]

        self.query_one("#press", Lines).show(build)

    def take(self, key: str) -> None:
        if key == "escape":
            self.dismiss(None)
        elif key == "enter" and self._key:
            self.dismiss((self._key, self._others))
        elif key in KEPT:
            self._tell([(f"{shown_key(key)} moves and chooses everywhere and keeps doing so. Press another key.",
                         "warn")])
        else:
            self._key, self._others = key, clashes(self._action_id, key)
            if not self._others:
                self.dismiss((key, []))
                return
            taken = ", ".join(f"{ids()[other][2].name} ({place_of(ids()[other][0])})" for other in self._others)
            self._tell([(f"{shown_key(key)} is the key of {taken}.", "warn"),
                        ("Enter takes it from there; another key is tried instead; Esc cancels.", "text")])
