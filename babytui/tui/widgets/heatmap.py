"""A matrix as cells with names on both axes and a cursor: shades that need no colour, coloured where there is some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from babytui import pictures
from babytui.tui.widgets.lines import Line, Roles
from babytui.visible import cells, cut, visible

LABEL = 12  # cells that a row's name may take
STEPS = 24  # colours of the ramp
# Viridis (van der Walt & Smith, 2015): equal steps look equal, also without seeing red or green.
_VIRIDIS = ((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
            (170, 220, 50), (253, 231, 37))


@cache
def ramp(dark: bool) -> tuple[str, ...]:
    """STEPS colours from little to much, "#rrggbb"; of those that stand out from a dark or a light ground."""
    places = np.linspace(2.0, 8.0, STEPS) if dark else np.linspace(6.5, 0.0, STEPS)
    found = []
    for place in places:
        first = min(int(place), len(_VIRIDIS) - 2)
        share = place - first
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(_VIRIDIS[first], _VIRIDIS[first + 1],
                                                                       strict=True))
        found.append(f"#{red:02x}{green:02x}{blue:02x}")
    return tuple(found)


class Shaded(Roles):
    """For widgets that colour by size."""

    def colour(self, share: float) -> Style:
        """The style of a size from 0 to 1; without colours where the theme has none of its own."""
        widget = self
        theme = widget.app.theme  # type: ignore[attr-defined]
        base: Style = widget.rich_style  # type: ignore[attr-defined]
        if theme in ("ansi", "mono"):
            return base
        variables = widget.app.theme_variables  # type: ignore[attr-defined]
        dark = Color.parse(variables["background"]).brightness < 0.5
        step = int(np.clip(np.nan_to_num(share), 0, 1) * (STEPS - 1) + 0.5)
        return base + Style(color=ramp(dark)[step])


class HeatMap(Shaded, Widget, can_focus=True):
    """Shows `values` (R, C) between 0 and `full`; larger ones scroll with the cursor. With `texts` each cell shows its
    text instead of a shade. A cell's size is drawn as its square root: what is small beside the largest is to be seen.
    """

    HELP = "Arrows move the cursor, PgUp and PgDn by eight rows, Home and End to the first and last column."
    DEFAULT_CSS = "HeatMap { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1, 0)", show=False), Binding("down,j", "move(1, 0)", show=False),
        Binding("left,h", "move(0, -1)", show=False), Binding("right,l", "move(0, 1)", show=False),
        Binding("pageup", "move(-8, 0)", show=False), Binding("pagedown", "move(8, 0)", show=False),
        Binding("home", "move(0, -1000000)", show=False), Binding("end", "move(0, 1000000)", show=False),
        Binding("g", "move(-1000000, 0)", show=False), Binding("G", "move(1000000, 0)", show=False),
    ]

    class Moved(Message):
        """The cursor is on another cell."""

        def __init__(self, row: int, column: int):
            super().__init__()
            self.row, self.column = row, column

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self._shape, self._levels = (0, 0), np.zeros((0, 0))
        self._texts: Sequence[Sequence[str]] | None = None
        self._marked: np.ndarray | None = None
        self._rows: list[str] = []
        self._columns: list[str] = []
        self._wide, self._label = 1, 0
        self.row = self.column = 0
        self._top = self._left = 0
        self._drawn: list[object] = []

    def show(self, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, full: float | None = None,
             texts: Sequence[Sequence[str]] | None = None, marked: np.ndarray | None = None) -> None:
        """Another matrix; the cursor stays where it is if it can. rows, columns: a name for each. full: what the
        darkest cell stands for, without it the largest value. marked (R, C): cells to be underlined."""
        values = np.nan_to_num(np.abs(np.asarray(values, np.float64)))
        full = float(values.max(initial=0)) if full is None else full
        self._levels = np.sqrt(np.clip(values / full, 0, 1)) if full > 0 else np.zeros(values.shape)
        self._shape, self._texts, self._marked = values.shape, texts, marked
        self._rows = [visible(name, newlines=False) for name in rows]
        self._columns = [visible(name, newlines=False) for name in columns]
        self._label = min(LABEL, max(map(cells, self._rows), default=0))
        self._measure()
        self.row, self.column = (min(self.row, max(0, self._shape[0] - 1)),
                                 min(self.column, max(0, self._shape[1] - 1)))
        self._follow()
        self._drawn = []
        self.refresh()

    def _measure(self) -> None:
        """How wide a cell is."""
        if self._texts is not None:
            widest = max([1, *(cells(text) for row in self._texts for text in row), *map(cells, self._columns)])
            self._wide = min(7, widest + 1)
        else:
            self._wide = 2 if 2 * self._shape[1] <= self.size.width - self._label - 2 else 1

    def on_resize(self, _event: events.Resize) -> None:
        if self._shape[0]:
            self._measure()
            self._follow()
            self.refresh()

    @property
    def _room(self) -> tuple[int, int]:
        """Rows and columns of cells that there is room for; the head takes a row."""
        return max(1, self.size.height - 1), max(1, (self.size.width - self._label - 2) // self._wide)

    def _follow(self) -> bool:
        """Brings the cursor into sight; whether anything moved."""
        before = self._top, self._left
        height, width = self._room
        self._top = max(min(self._top, self.row), self.row - height + 1, 0)
        self._left = max(min(self._left, self.column), self.column - width + 1, 0)
        self._top = max(0, min(self._top, self._shape[0] - height))
        self._left = max(0, min(self._left, self._shape[1] - width))
        return before != (self._top, self._left)

    def action_move(self, down: int, right: int) -> None:
        """Moves the cursor by cells."""
        self.go(self.row + down, self.column + right)

    def go(self, row: int, column: int) -> None:
        """To this cell, or the nearest there is."""
        row, column = (min(max(0, row), self._shape[0] - 1), min(max(0, column), self._shape[1] - 1))
        if min(self._shape) == 0 or (row, column) == (self.row, self.column):
            return
        touched = {self.row, row}
        self.row, self.column = row, column
        if self._follow():
            self.refresh()
        else:
            for y in (0, *(1 + one - self._top for one in touched)):
                self.refresh(Region(0, y, self.size.width, 1))
        self.post_message(self.Moved(row, column))

    @property
    def plain(self) -> str:
        """What is shown, without styles."""
        return "\n".join(self.render_line(y).text.rstrip() for y in range(self.size.height))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        row = self._top + y - 1
        if not self._shape[0] or row >= self._shape[0]:
            return Strip.blank(width, self.rich_style)
        columns = range(self._left, min(self._left + self._room[1], self._shape[1]))
        if y == 0:
            return self.strip_of(self._head(columns), width)
        name = cut(self._rows[row], self._label)
        here = row == self.row
        segments = [Segment(" " * (self._label - cells(name)) + name + ("▸ " if here else "  "),
                            self.style_of("accent" if here else "label"))]
        shades = pictures.levels(self._levels[row], 0, 1, len(pictures.SHADES))
        for column in columns:
            style = self.colour(float(self._levels[row, column]))
            if self._texts is None:
                text = pictures.SHADES[shades[column]] * self._wide
                if here and column == self.column:  # a reversed shade would read as another one
                    text = "[]" if self._wide == 2 else "+"
            else:
                text = cut(self._texts[row][column], self._wide - 1)
                text += " " * (self._wide - 1 - cells(text))
            if self._marked is not None and self._marked[row, column]:
                style += Style(underline=True)
            if here and column == self.column:
                style = self.style_of("here")
            segments.append(Segment(text, style))
            if self._texts is not None:
                segments.append(Segment(" ", self.rich_style))
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _head(self, columns: range) -> Line:
        """The columns' names where they fit, that under the cursor marked; arrows where there are more."""
        before = "‹" if columns.start else " "
        line: Line = [(" " * self._label + before + " ", "dim")]
        for column in columns:
            name = self._columns[column]
            if cells(name) > self._wide:
                name = cut(name, self._wide) if self._wide > 2 else "▾" if column == self.column else "·"
            name += " " * (self._wide - cells(name))
            line.append((name, "accent" if column == self.column else "label"))
        if columns.stop < self._shape[1]:
            line[-1] = (line[-1][0][:-1] + "›", "dim")
        return line
