"""A conversation, or one reply with its receipt, into a file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from babytui import conversation
from babytui.conversation import Conversation, Exchange
from babytui.tui.panes.base import paragraph
from babytui.tui.safe import plain
from babytui.tui.threads import in_thread
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Lines
from engine.errors import BabyError

FORMS = (("text", ".txt", "text: prompts and replies, nothing else"),
         ("markdown", ".md", "Markdown: with what wrote them"),
         ("json", ".json", "JSON: everything, with receipts"),
         ("reply", ".json", "this reply alone, as inference --replay reads it"))


class SaveScreen(ModalScreen["Path | None"]):
    """Dismisses with the file that was written, or None. one: the reply that is chosen."""

    CSS_PATH = ["dialogs.tcss", "talking.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+c", "dismiss", "Back", priority=True),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
    ]

    class Written(Message):
        """What became of it."""

        def __init__(self, path: Path, error: str = ""):
            super().__init__()
            self.path, self.error = path, error

    def __init__(self, talk: Conversation, one: Exchange, folder: Path):
        super().__init__()
        self._path, self._one = talk.path, one
        self._stem = str(folder / f"conversation-{time.strftime('%Y%m%d-%H%M%S')}")
        self._name = self._stem
        self._over = ""  # the path that Enter was pressed for though it is there

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "Save the conversation"
        box.border_subtitle = hint_content([("⏎", "save"), ("↑ ↓", "form"), ("Esc", "back")])
        with box:
            yield OptionList(*(Option(plain(text)) for _, _, text in FORMS), compact=True)
            yield Input(compact=True)
            yield Lines([[]], id="save-facts")

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.can_focus = False
        options.highlighted = 0
        self.query_one(Input).focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """The name takes the form's suffix, unless a person has changed it."""
        event.stop()
        field = self.query_one(Input)
        known = ["", *(self._stem + suffix for _, suffix, _ in FORMS)]
        if field.value in known:
            field.value = self._stem + FORMS[event.option_index][1]
            field.cursor_position = len(field.value)

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        options.highlighted = ((options.highlighted or 0) + by) % len(FORMS)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._over = ""
        self._tell("")

    def _tell(self, text: str, role: str = "warn") -> None:
        self.query_one("#save-facts", Lines).show(lambda width: paragraph(text, max(20, width), role))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._save()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._save()

    def _save(self) -> None:
        name = self.query_one(Input).value.strip()
        form = FORMS[self.query_one(OptionList).highlighted or 0][0]
        if not name:
            self._tell("Give it a name.")
            return
        path = Path(os.path.expanduser(name)).absolute()
        if path.is_dir():
            self._tell(f"{path} is a folder; give the file a name.")
            return
        if path.exists() and self._over != name:
            self._over = name
            self._tell(f"{path.name} is there already; Enter again replaces it.")
            return
        shown, one = self._path, self._one

        def work() -> None:
            from store import atomic

            try:
                atomic.write_bytes(path, conversation.export(shown, form, one).encode("utf-8", "surrogatepass"))
                self.post_message(self.Written(path))
            except (BabyError, OSError) as error:
                self.post_message(self.Written(path, str(error)))

        in_thread(self, work, "save", exclusive=True)

    def on_save_screen_written(self, event: Written) -> None:
        event.stop()
        if event.error:
            self._tell(event.error, "bad")
            return
        self.app.notify(f"Saved as {event.path}.", markup=False, timeout=6)
        self.dismiss(event.path)
