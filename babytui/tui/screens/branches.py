"""Every way that a conversation went, as a list to choose from."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from babytui.conversation import AGAIN, EDITED, FORKED, Conversation, Exchange
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.visible import cells, cut

_HOW = {AGAIN: "again", EDITED: "edited", FORKED: "forked"}
_DEEPEST = 8  # levels that are indented


class BranchesScreen(ModalScreen["Exchange | None"]):
    """Dismisses with the exchange whose branch is to be shown, or None."""

    CSS_PATH = ["dialogs.tcss", "talking.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,b,q,ctrl+c", "dismiss", "Back"),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(self, talk: Conversation):
        super().__init__()
        self._talk = talk
        self._found: list[Exchange] = []

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "Branches"
        box.border_subtitle = hint_content([("●", "shown now"), ("⏎", "show"), ("Esc", "back")])
        with box:
            yield OptionList(compact=True)

    def on_mount(self) -> None:
        self._fill()

    def _fill(self) -> None:
        """A line for every exchange; what stands on its own is not indented further."""
        options = self.query_one(OptionList)
        path = self._talk.path
        shown = set(map(id, path))
        indents: dict[int, int] = {id(self._talk.root): 0}
        lines: list[str] = []
        self._found = []
        width = max(20, min(86, int(self.size.width * 0.96) - 4) - 2)
        for _, one in self._talk.branches():
            parent = one.parent or self._talk.root
            alone = len(parent.children) == 1
            indents[id(one)] = indent = indents[id(parent)] + (not alone)
            how = _HOW.get(one.how, "")
            how += f" at {one.at + 1:,}" if one.how == FORKED else ""
            step = f" step {one.origin.step:,}" if one.origin is not None and one.origin.step is not None else ""
            about = f"  {len(one):,} tokens{step}{', ' + how if how else ''}"
            begin = "  " * min(_DEEPEST, max(0, indent - 1)) + ("● " if id(one) in shown else "○ ")
            said = f"{one.prompt or '(nothing)'} → {one.opening[len(one.prompt):] if one.prompt else ''}"
            at = max(0, one.at - 4) if one.how == FORKED else 0  # where it begins to be another
            said += ("… " if at else "") + "".join(one.piece(i) for i in range(at, min(len(one), at + width)))
            room = max(8, width - len(begin) - len(about))
            text = cut(said, room)
            lines.append(begin + text + " " * max(0, room - cells(text)) + about)
            self._found.append(one)
        options.add_options([Option(plain(line)) for line in lines])
        if path:
            options.highlighted = self._found.index(path[-1])
        options.focus()

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._found[event.option_index])
