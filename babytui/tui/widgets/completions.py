"""What can be typed next, as a list above the line; it never has the focus."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.strip import Strip
from textual.widget import Widget

from babytui.completion import Completion
from babytui.tui.widgets.lines import Line, Roles
from babytui.visible import cut

MOST_ROWS = 8
WIDEST = 26  # cells of what is typed; the rest of the row says what it is


class CompletionList(Roles, Widget):
    """Rows of a completion and what it means. chosen: the index of the one that is marked, -1 for none."""

    DEFAULT_CSS = "CompletionList { height: auto; display: none; }"

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self.items: Sequence[Completion] = ()
        self.chosen = -1
        self._top = 0

    def offer(self, items: Sequence[Completion], chosen: int = -1) -> None:
        """Shows other completions; none hide the list."""
        changed = len(items) != len(self.items)
        self.items, self.chosen = items, chosen
        rows = min(MOST_ROWS, len(items))
        if chosen < 0:
            self._top = 0
        elif not self._top <= chosen < self._top + rows:
            self._top = max(0, min(chosen - (rows - 1 if chosen > self._top else 0), len(items) - rows))
        self.display = bool(items)
        self.refresh(layout=changed)

    @property
    def plain(self) -> str:
        """What is shown, without styles."""
        return "\n".join("".join(text for text, _ in self._line(y)) for y in range(min(MOST_ROWS, len(self.items))))

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return min(MOST_ROWS, len(self.items))

    def _line(self, y: int) -> Line:
        index = self._top + y
        one = self.items[index]
        column = min(WIDEST, max(cell_len(item.display) for item in self.items))
        here = index == self.chosen
        name = cut(one.display, column)
        more = "↑" if y == 0 and self._top else "↓" if y == MOST_ROWS - 1 and index + 1 < len(self.items) else " "
        return [("▸ " if here else f"{more} ", "key" if here else "dim"),
                (name + " " * (column - cell_len(name)), "key" if here else "text"), ("  " + one.meta, "label")]

    def render_line(self, y: int) -> Strip:
        if self._top + y >= len(self.items) or y >= MOST_ROWS:
            return Strip.blank(self.size.width, self.rich_style)
        return self.strip_of(self._line(y), self.size.width)
