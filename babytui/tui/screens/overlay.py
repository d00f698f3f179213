"""Which runs and models are drawn beside the watched one: a list with marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from babytui.curve.plot import SHOWN
from babytui.tui import backend
from babytui.tui.bindings import bindings, keys_of
from babytui.tui.messages import Failed
from babytui.tui.safe import plain
from babytui.tui.threads import in_thread
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from store.workspace import Workspace

_SHOWN = {"both": "training and validation", "train": "training alone", "validation": "validation alone"}


class OverlayScreen(ModalScreen[tuple[list[str], str]]):
    """Dismisses with the chosen GUIDs in the order of the list and what is shown of them, or None."""

    CSS_PATH = ["dialogs.tcss", "curve.tcss"]
    node = "overlay"  # its name in the registry of actions
    HELP = ("Space takes a run or model in or out; v goes through both losses, training alone and validation alone. "
            "Each gets a letter: a capital one on its training loss, a small one on its validation loss, which is "
            "dotted.")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,ctrl+c", "dismiss", "Back"),
        *bindings("overlay"),
        Binding("j", "move('down')", show=False),
        Binding("k", "move('up')", show=False),
    ]

    class Listed(Message):
        """A thread has found what can be drawn."""

        def __init__(self, found: list[tuple[str, str]]):
            super().__init__()
            self.found = found

    def __init__(self, workspace: Workspace, main: str, chosen: Sequence[str], shown: str, most: int):
        """main: the GUID of the watched run, which is drawn anyway. most: how many may be chosen."""
        super().__init__()
        self._workspace, self._main, self._most, self._shown = workspace, main, most, shown
        self._chosen = set(chosen)
        self._names: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "Draw beside the run"
        box.border_subtitle = hint_content([
            *((key, word) for name, word in (("overlay.mark", "mark"), ("overlay.losses", "losses"))
              for key in keys_of(name)[:1]), ("⏎", "draw"), ("Esc", "back")])
        with box:
            yield OptionList(compact=True)
            yield Lines([[("reading …", "dim")]], id="overlay-words")

    def on_mount(self) -> None:
        def work() -> None:
            self.post_message(self.Listed(backend.learners(self._workspace)))

        in_thread(self, work, "overlay")

    def on_overlay_screen_listed(self, event: Listed) -> None:
        self._names = [(guid, name) for guid, name in event.found if guid != self._main]
        self._chosen &= {guid for guid, _ in self._names}
        options = self.query_one(OptionList)
        options.add_options([Option(plain(self._line(guid, name))) for guid, name in self._names])
        if self._names:
            options.highlighted = 0
        options.focus()
        self._tell()

    def _line(self, guid: str, name: str) -> str:
        return f"{'●' if guid in self._chosen else '○'} {name}"

    def _tell(self) -> None:
        words = self.query_one("#overlay-words", Lines)
        if not self._names:
            words.set_lines([[("There is no other run or model here yet.", "dim")]])
            return
        words.set_lines([[(f"{len(self._chosen)} of at most {self._most}", "value"), ("  shown: ", "label"),
                          (_SHOWN[self._shown], "value")]])

    def on_failed(self, event: Failed) -> None:
        event.stop()
        self.query_one("#overlay-words", Lines).set_lines([[(event.text, "bad")]])

    def action_flip(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is None:
            return
        guid = self._names[at][0]
        if guid not in self._chosen and len(self._chosen) >= self._most:
            self.notify(f"At most {self._most} are drawn beside a run.", severity="warning", markup=False)
            return
        self._chosen ^= {guid}
        self._redraw()

    def action_none(self) -> None:
        self._chosen.clear()
        self._redraw()

    def _redraw(self) -> None:
        options = self.query_one(OptionList)
        for at, (guid, name) in enumerate(self._names):
            options.replace_option_prompt_at_index(at, plain(self._line(guid, name)))
        self._tell()

    def action_shown(self) -> None:
        self._shown = SHOWN[(SHOWN.index(self._shown) + 1) % len(SHOWN)]
        self._tell()

    def action_move(self, where: str) -> None:
        getattr(self.query_one(OptionList), f"action_cursor_{where}")()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(([guid for guid, _ in self._names if guid in self._chosen], self._shown))
