"""Help for where one is, found by typing: the parameter under the cursor, the keys of here, then all keys."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input

from babytui.tui import guide
from babytui.tui.bindings import PANES, key_of, shown_key
from babytui.tui.guide import KEY, TEXT, Row, Section
from babytui.tui.panes.base import Pane
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Lines

# Textual's own, to move on and to copy, which every screen has.
_OF_ALL = {binding.action for binding in Screen.BINDINGS if isinstance(binding, Binding)}


def sections(screen: Screen[Any], focused: Widget | None) -> list[Section]:
    """What there is to say about a screen, with what is in focus first."""
    found: list[Section] = []
    if focused is not None and focused.name:
        value = str(getattr(focused, "value", ""))
        found += guide.parameter(focused.name, value) or guide.setting(focused.name)
    pane = next((w for w in focused.ancestors if isinstance(w, Pane)), None) if focused is not None else None
    node = str(getattr(screen, "node", "") or (pane.id if pane is not None else "") or "")
    about = str(getattr(pane or screen, "HELP", None) or "")
    own = _bound(screen) if isinstance(screen, ModalScreen) else []
    here = guide.place(node, about) if node else Section(type(screen).__name__.removesuffix("Screen"), [
        *([Row(TEXT, about)] if about else [])])
    here.rows.extend(row for row in own if row.left not in {known.left for known in here.rows})
    if here.rows:
        found.append(here)
    order = [name for name in PANES if name != node]
    rest = {section.title: section for section in guide.others([node])}
    panes = [rest.pop(guide.title_of(name)) for name in order if guide.title_of(name) in rest]
    return [*found, guide.everywhere(), *panes, *rest.values()]


def _bound(screen: Screen[Any]) -> list[Row]:
    """The keys that a screen without a place in the registry has itself, with their words."""
    keys: dict[str, list[str]] = {}
    for key, active in screen.active_bindings.items():
        if (active.node is screen and active.binding.description and not key.startswith("unset")
                and active.binding.action not in _OF_ALL):
            keys.setdefault(active.binding.description, []).append(shown_key(key))
    return [Row(KEY, text[:1].lower() + text[1:], " ".join(found)) for text, found in keys.items()]


class HelpScreen(ModalScreen[None]):
    """Letters narrow it; the arrows scroll."""

    CSS_PATH = ["dialogs.tcss", "help.tcss"]
    TYPED: ClassVar[bool] = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,ctrl+c", "back", "Back", priority=True),
        *(Binding(key, f"scroll('{how}')", show=False, priority=True)
          for key, how in (("down", "down"), ("up", "up"), ("pagedown", "page_down"), ("pageup", "page_up"),
                           ("ctrl+home", "home"), ("ctrl+end", "end"), ("enter", "page_down"))),
    ]

    def __init__(self, screen: Screen[Any], focused: Widget | None):
        super().__init__()
        self._sections = sections(screen, focused)

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(f"Help: {self._sections[0].title}")
        box.border_subtitle = hint_content([("↑ ↓", "scroll"), (key_of("commands"), "commands"), ("Esc", "back")])
        with box:
            yield Input(placeholder="type to find", compact=True, id="wanted")
            with VerticalScroll(can_focus=False):
                yield Lines(id="help-lines")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._show("")

    def _show(self, wanted: str) -> None:
        self.query_one("#help-lines", Lines).show(lambda width: guide.lines(self._sections, max(20, width), wanted))
        self.query_one(VerticalScroll).scroll_home(animate=False)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._show(event.value)

    def action_back(self) -> None:
        """Takes back what was typed, then goes."""
        field = self.query_one(Input)
        if field.value:
            field.value = ""
        else:
            self.dismiss()

    def action_scroll(self, how: str) -> None:
        getattr(self.query_one(VerticalScroll), f"scroll_{how}")(animate=False)
