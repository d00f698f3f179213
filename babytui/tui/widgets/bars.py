"""The first and the last line of the screen: panes and the live run above, keys below."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message

from babytui.tui.bindings import pane_key
from babytui.tui.widgets.lines import Line, Lines


class TopBar(Lines):
    """The panes as tabs (narrow terminals) or the workspace (wide ones), and the run at the right."""

    DEFAULT_CSS = "TopBar { height: 1; padding: 0 1; background: $panel; }"

    class Picked(Message):
        """A tab was clicked."""

        def __init__(self, pane: str):
            super().__init__()
            self.pane = pane

    def __init__(self, tabs: Sequence[tuple[str, str]]):
        """tabs: (pane id, title)."""
        super().__init__([[]], id="topbar")
        self._panes = tabs
        self._tabs = self._with_keys()
        self._current, self._tabbed, self._workspace, self._status, self._pace = "", False, "", "", ""
        self._spans: list[tuple[int, int, str]] = []

    def tell(self, *, current: str | None = None, tabbed: bool | None = None, workspace: str | None = None,
             status: str | None = None, pace: str | None = None) -> None:
        """Changes any of what is shown. pace: why less is painted than could be."""
        self._current = self._current if current is None else current
        self._tabbed = self._tabbed if tabbed is None else tabbed
        self._workspace = self._workspace if workspace is None else workspace
        self._status = self._status if status is None else status
        self._pace = self._pace if pace is None else pace
        self._arrange()

    def _with_keys(self) -> list[tuple[str, str, str]]:
        return [(pane, pane_key(pane), title) for pane, title in self._panes]

    def name_keys(self) -> None:
        """Writes the keys again, which have changed."""
        self._tabs = self._with_keys()
        self._arrange()

    def on_resize(self, _event: events.Resize) -> None:
        self._arrange()

    def _arrange(self) -> None:
        width = self.size.width
        left: Line = []
        self._spans = []
        if self._tabbed:
            at = 0
            for pane, key, title in self._tabs:
                chosen = pane == self._current
                piece = f"▌{key} {title}▐" if chosen else f" {key} {title} "
                left.append((piece, "strong" if chosen else "label"))
                self._spans.append((at, at + len(piece), pane))
                at += len(piece)
        else:
            left = [("babytui", "strong"), ("  " + self._workspace, "dim")]
        used = sum(cell_len(text) for text, _ in left)
        room = width - used - 2
        pace = next((text for text in (self._pace, self._pace.partition(":")[0]) if cell_len(text) <= room), "")
        parts = self._status.split(" · ")
        gap = "  " if pace and self._status else ""
        while parts and cell_len(pace + gap + " · ".join(parts)) > room:
            parts.pop()
        status = " · ".join(parts)
        if pace or status:
            gap = gap if status else ""
            blank = width - used - cell_len(pace + gap + status)
            left += [(" " * blank, "text"), (pace, "warn"), (gap, "text"), (status, "accent")]
        self.set_lines([left])

    def on_click(self, event: events.Click) -> None:
        x = event.x - self.gutter.left
        for start, end, pane in self._spans:
            if start <= x < end:
                self.post_message(self.Picked(pane))


class KeyBar(Lines):
    """The keys that work everywhere; as many as fit, the most needed first."""

    DEFAULT_CSS = "KeyBar { height: 1; padding: 0 1; background: $panel; }"

    def __init__(self, hints: Sequence[tuple[str, str]]):
        super().__init__([[]], id="keybar")
        self.hints = hints

    def on_resize(self, _event: events.Resize) -> None:
        self.lay_out()

    def tell(self, hints: list[tuple[str, str]]) -> None:
        """Shows these from now on."""
        if hints != self.hints:
            self.hints = hints
            self.lay_out()

    def lay_out(self) -> None:
        """Lays the hints out for the present width."""
        gap = "  " if sum(len(k) + len(t) + 3 for k, t in self.hints) > self.size.width else "   "
        line: Line = []
        used = 0
        for key, text in self.hints:
            need = cell_len(key) + 1 + cell_len(text) + (len(gap) if line else 0)
            if used + need > self.size.width:
                break
            if line:
                line.append((gap, "text"))
            line += [(key, "key"), (" " + text, "label")]
            used += need
        self.set_lines([line])


def hint_content(hints: Sequence[tuple[str, str]], width: int = 500) -> Content:
    """Hints for the border of a pane or a dialog: as many as fit into `width` cells."""
    parts: list[str | tuple[str, str]] = []
    used = 0
    for key, name in hints:
        need = cell_len(key) + 1 + cell_len(name) + (2 if parts else 0)
        if used + need > width:
            break
        parts += [*(["  "] if parts else []), (key, "$text-accent"), " " + name]
        used += need
    return Content.assemble(*parts)
