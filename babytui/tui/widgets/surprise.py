"""A text with the loss of each of its tokens: a bar below each, and a colour where there is some."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from babytui import pictures
from babytui.tui.widgets.heatmap import Shaded
from babytui.visible import cells, cut


class SurpriseText(Shaded, Widget, can_focus=True):
    """Shows `pieces` with their `losses`, wrapped; the cursor is on one of them."""

    HELP = "Arrows go over the tokens; n and p to the next and the last of those that surprise it most."
    DEFAULT_CSS = "SurpriseText { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", show=False), Binding("right,l", "move(1)", show=False),
        Binding("up,k", "line(-1)", show=False), Binding("down,j", "line(1)", show=False),
        Binding("pageup", "line(-8)", show=False), Binding("pagedown", "line(8)", show=False),
        Binding("home,g", "move(-10000000)", show=False), Binding("end,G", "move(10000000)", show=False),
    ]

    class Moved(Message):
        """The cursor is on another token."""

        def __init__(self, place: int):
            super().__init__()
            self.place = place

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self._pieces: list[str] = []
        self._losses = np.zeros(0)
        self._full = 1.0
        self._starts: list[int] = []
        self._order: list[int] = []
        self.place, self._top = 0, 0

    def show(self, pieces: Sequence[str], losses: np.ndarray, full: float) -> None:
        """pieces: each token as it is shown. losses: one each, NaN where nothing foresees it. full: what a full bar
        stands for."""
        self._pieces, self._losses, self._full = list(pieces), np.asarray(losses, np.float64), full
        known = np.where(np.isnan(self._losses), -1.0, self._losses)
        self._order = [int(place) for place in np.argsort(-known, kind="stable") if known[place] >= 0]
        self.place = min(self.place, max(0, len(self._pieces) - 1))
        self._lay_out()

    def on_resize(self, _event: events.Resize) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        """Where lines begin: a token is not broken."""
        width, used = max(1, self.size.width), 0
        self._starts = [0] if self._pieces else []
        for place, piece in enumerate(self._pieces):
            wide = min(cells(piece), width)
            if used + wide > width:
                self._starts.append(place)
                used = 0
            used += wide
        self._follow()
        self.refresh()

    def _line_of(self, place: int) -> int:
        return bisect_right(self._starts, place) - 1

    def _follow(self) -> bool:
        before, line = self._top, self._line_of(self.place)
        lines = max(1, self.size.height // 2)
        self._top = max(0, min(max(min(self._top, line), line - lines + 1), max(0, len(self._starts) - lines)))
        return before != self._top

    def action_move(self, by: int) -> None:
        """By tokens."""
        self.go(self.place + by)

    def action_line(self, by: int) -> None:
        """By lines, to about the same place in it."""
        line = self._line_of(self.place)
        wanted = min(max(0, line + by), len(self._starts) - 1)
        if wanted == line or line < 0:
            return
        end = self._starts[wanted + 1] if wanted + 1 < len(self._starts) else len(self._pieces)
        self.go(min(self._starts[wanted] + self.place - self._starts[line], end - 1))

    def surprising(self, by: int) -> None:
        """To the next (or the last) in the order of surprise, from the token under the cursor."""
        if self._order:
            at = self._order.index(self.place) if self.place in self._order else -1
            if self.place == 0 and at != 0 and by > 0:
                at = -1  # nothing was chosen yet: the worst first
            self.go(self._order[min(max(0, at + by), len(self._order) - 1)])

    def rank(self, place: int) -> int:
        """How surprising a token is among all, 1 = the most; 0 when it has no loss."""
        return self._order.index(place) + 1 if place in self._order else 0

    def go(self, place: int) -> None:
        """To this token, or the nearest there is."""
        place = min(max(0, place), len(self._pieces) - 1)
        if place < 0 or place == self.place:
            return
        lines = {self._line_of(self.place), self._line_of(place)}
        self.place = place
        if self._follow():
            self.refresh()
        else:
            for line in lines:
                self.refresh(Region(0, 2 * (line - self._top), self.size.width, 2))
        self.post_message(self.Moved(place))

    @property
    def plain(self) -> str:
        """What is shown, without styles."""
        return "\n".join(self.render_line(y).text.rstrip() for y in range(self.size.height))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        line = self._top + y // 2
        if line >= len(self._starts):
            return Strip.blank(width, self.rich_style)
        end = self._starts[line + 1] if line + 1 < len(self._starts) else len(self._pieces)
        segments = []
        for place in range(self._starts[line], end):
            loss = float(self._losses[place])
            share = 0.0 if np.isnan(loss) else min(1.0, loss / self._full) if self._full > 0 else 0.0
            piece = cut(self._pieces[place], width)
            if y % 2:
                piece = pictures.bars(np.array([share]), 0, 1) * cells(piece)
            style = self.style_of("here") if place == self.place and not y % 2 else self.colour(share)
            segments.append(Segment(piece, style))
        return Strip(segments).adjust_cell_length(width, self.rich_style)
