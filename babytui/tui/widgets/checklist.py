"""Several of a few names: up and down move, space takes one in or out, told by a mark and not by colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from babytui.tui.widgets.lines import Roles


class Checklist(Roles, Widget, can_focus=True):
    """A framed list of names, all of them chosen at first. Posts `Changed` when the person changed what is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("space,enter,x", "flip", "Take it in or out", show=False),
        Binding("a", "all", "All or none", show=False),
    ]
    DEFAULT_CSS = """
    Checklist {
        border: round $foreground 30%; border-title-color: $text-muted; border-subtitle-color: $text-muted;
        padding: 0 1; background: $surface;
    }
    Checklist:focus { border: round $primary; border-title-color: $text-primary; }
    """

    class Changed(Message):
        """Other names are chosen."""

        def __init__(self, checklist: Checklist):
            super().__init__()
            self.checklist = checklist

    def __init__(self, title: str, names: Sequence[str], *, id: str | None = None):
        super().__init__(id=id)
        self._title, self.names = title, list(names)
        self._chosen = set(self.names)
        self.at = 0
        self._retitle()

    @property
    def chosen(self) -> list[str]:
        """The chosen names, in their order."""
        return [name for name in self.names if name in self._chosen]

    def choose(self, names: Sequence[str]) -> None:
        """Chooses exactly these."""
        self._chosen = set(names) & set(self.names)
        self._retitle()
        self.refresh()
        self.post_message(self.Changed(self))

    def _retitle(self) -> None:
        self.border_title = self._title
        self.border_subtitle = f"{len(self._chosen)}/{len(self.names)} a all"

    def action_move(self, by: int) -> None:
        before, self.at = self.at, max(0, min(len(self.names) - 1, self.at + by))
        if before == self.at:  # at the end of the list: on to the next field
            self.app.action_focus_next() if by > 0 else self.app.action_focus_previous()
        self.refresh(*(Region(0, y, self.size.width, 1) for y in (before, self.at)))

    def action_flip(self) -> None:
        if self.names:
            self.choose(list(self._chosen ^ {self.names[self.at]}))

    def action_all(self) -> None:
        self.choose([] if len(self._chosen) == len(self.names) else self.names)

    def on_click(self, event: events.Click) -> None:
        row = event.y - self.gutter.top
        if 0 <= row < len(self.names):
            self.at = row
            self.action_flip()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self.names)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self.names):
            return Strip.blank(width, self.rich_style)
        name = self.names[y]
        chosen, here = name in self._chosen, self.has_focus and y == self.at
        role = "key" if here else "text" if chosen else "dim"
        mark = "●" if chosen else "○"
        return self.strip_of([(f"{'›' if here else ' '}{mark} {name}", role)], width)
