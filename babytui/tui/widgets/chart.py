"""The loss curves of one run or several, in braille dots, with axes, marks, a legend and a cursor.

What is drawn is worked out by babytui.curve.plot. Rows are kept as cells and compared with what is on the screen, and
only the changed part of a changed row is painted: a curve that grows by a dot costs a few dozen bytes. In fewer than
six rows it becomes one-line sparklines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from babytui import settings
from babytui.curve import plot, window
from babytui.curve.curve import UNITS, Curve
from babytui.curve.plot import Cells, Options, Picture
from babytui.curve.series import Series
from babytui.tui.widgets.lines import Roles

_ZOOM = 0.5
_PAN = 0.25
_STANDS = 3.0  # seconds that a view which follows a run stands still at least: when it moves, all of it is painted


def chosen_options(get: Callable[[str], Any] = settings.get) -> dict[str, Any]:
    """What the settings say about the fields of `Options`."""
    return {"by": get("chart.axis"), "log_y": get("chart.scale") == "log", "smoothing": get("chart.smoothing")}


class LossChart(Roles, Widget):
    """Draws `curves`, the first of which has the cursor and the marks.

    Call `draw` after adding points to a curve, `show` for other curves; whatever changes how they are drawn draws by
    itself. can_focus: it gets the focus, and keys of its own to look around.
    """

    DEFAULT_CSS = "LossChart { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "cursor(-1)", "Cursor", show=False),
        Binding("right,l", "cursor(1)", "Cursor", show=False),
        Binding("shift+left,H", "pan(-1)", "Earlier part", show=False),
        Binding("shift+right,L", "pan(1)", "Later part", show=False),
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False),
        Binding("minus", "zoom(-1)", "Zoom out", show=False),
        Binding("0", "whole", "Whole run", show=False),
        Binding("y", "log_y", "Logarithmic loss", show=False),
        Binding("X", "log_x", "Logarithmic axis", show=False),
        Binding("x", "by", "Step, tokens or time", show=False),
        Binding("m", "smooth", "Smoothing", show=False),
    ]

    class Moved(Message):
        """Another part is in view, or the cursor is at another step (None: there is no cursor)."""

        def __init__(self, chart: LossChart):
            super().__init__()
            self.chart, self.cursor = chart, chart.options.cursor

    def __init__(self, curves: Sequence[Curve] = (), *, can_focus: bool = False, id: str | None = None,
                 classes: str | None = None):
        super().__init__(id=id, classes=classes)
        self.can_focus = can_focus
        self.curves: list[Curve] = list(curves) or [Curve()]
        self.options = Options(**chosen_options())
        self.empty = "The loss curve appears here."
        self.picture = Picture()
        self._rows: list[Cells] = []
        self._moves_at = 0.0

    # --- what is shown ----------------------------------------------------------------------------

    @property
    def curve(self) -> Curve:
        """The first curve."""
        return self.curves[0]

    @property
    def train(self) -> Series:
        """The first curve's training loss."""
        return self.curve.train

    @property
    def validation(self) -> Series:
        """The first curve's validation loss."""
        return self.curve.validation

    def show(self, curves: Sequence[Curve]) -> None:
        """These curves instead; the view stays when the first one does."""
        if not curves or curves[0] is not self.curve:
            self.options = replace(self.options, window=None, cursor=None)
        self.curves = list(curves) or [Curve()]
        self.draw()

    def clear(self) -> None:
        """An empty chart for another run."""
        self.show([])

    def set(self, **changes: object) -> None:
        """Changes fields of `options` and draws."""
        before, self.options = self.options, replace(self.options, **changes)  # type: ignore[arg-type]
        self.draw()
        if before.window != self.options.window or before.cursor != self.options.cursor:
            self.post_message(self.Moved(self))

    def draw(self) -> None:
        """Computes the rows and repaints those that differ from the screen."""
        if self.options.window is not None and time.monotonic() >= self._moves_at:
            whole, reached = plot.axis_of(self.curves, self.options.by, self.options.log_x)
            moved = window.advance(self.options.window, whole, reached)
            if moved != self.options.window:
                self.options = replace(self.options, window=moved)
                self._moves_at = time.monotonic() + _STANDS
        before, self._rows = self._rows, self._compute(*self.size)
        if len(before) != len(self._rows):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if old == new:
                continue
            if len(old) != len(new):
                self.refresh(Region(0, y, self.size.width, 1))
                continue
            changed = [x for x, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
            self.refresh(Region(changed[0], y, changed[-1] - changed[0] + 1, 1))

    @property
    def plain(self) -> str:
        """What is drawn, without styles."""
        return "\n".join("".join(char for char, _ in row) for row in self._rows)

    def _compute(self, width: int, height: int) -> list[Cells]:
        self.picture = plot.draw(self.curves, width, height, self.options)
        if not self.picture.rows and width >= 8 and height:
            blank: list[Cells] = [[(" ", "text")] * width for _ in range(height)]
            blank[(height - 1) // 2] = [(char, "dim") for char in self.empty[:width].center(width)]
            return blank
        return self.picture.rows

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        segments = [Segment("".join(run), self.style_of(role)) for role, run in _runs(self._rows[y])]
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    # --- looking around ---------------------------------------------------------------------------

    def on_resize(self, _event: events.Resize) -> None:
        self.draw()

    def action_log_y(self) -> None:
        self.set(log_y=not self.options.log_y)

    def action_log_x(self) -> None:
        self.set(log_x=not self.options.log_x, window=None)

    def action_by(self) -> None:
        """Counts in the next unit that the curves know; the same steps stay in view."""
        known = [by for by in UNITS if by == "step" or all(
            curve.empty or (curve.timed if by == "time" else curve.tokens_per_step) for curve in self.curves)]
        now = self.options.by
        by = known[(known.index(now) + 1) % len(known)] if now in known else known[0]
        seen = self.options.window
        if seen is not None:
            low, high = (self.curve.x_at(self.curve.step_at(x, now), by) for x in seen[:2])
            seen = window.Window(low, high, seen.follows) if high > low else None
        self.set(by=by, window=seen)

    def action_smooth(self) -> None:
        """The next strength of smoothing."""
        later = [strength for strength in plot.SMOOTHING if strength > self.options.smoothing]
        self.set(smoothing=later[0] if later else plot.SMOOTHING[0])

    def action_whole(self) -> None:
        """The whole run and no cursor."""
        self.set(window=None, cursor=None)

    def action_zoom(self, by: int) -> None:
        """Twice as near (by 1) or far (-1): around the cursor, else the end of a run that is followed."""
        if self.picture.width:
            options, picture = self.options, self.picture
            anchor = None if options.cursor is None else self.curve.x_at(options.cursor, options.by)
            self.set(window=window.zoom(options.window, picture.whole, picture.reached, _ZOOM ** by, anchor))

    def action_pan(self, by: int) -> None:
        """A quarter of the view earlier (-1) or later (1)."""
        if self.picture.width:
            self.set(window=window.pan(self.options.window, self.picture.whole, self.picture.reached, by * _PAN))

    def action_cursor(self, by: int) -> None:
        """The cursor to the point in the column before (-1) or after (1); the first time to the last point in view."""
        picture, options, curve = self.picture, self.options, self.curve
        points = curve.points("train" if len(curve.train) else "validation")
        if not picture.width or not points:
            return
        places = [(curve.x(point, options.by), point.step) for point in points]
        if options.cursor is None:
            seen = [place for place in places if picture.x.low <= place[0] <= picture.x.high] or places[-1:]
            self.set(cursor=seen[-1][1])
            return
        at = picture.column(curve.x_at(options.cursor, options.by))
        ahead = [place for place in (places if by > 0 else reversed(places))
                 if (place[1] - options.cursor) * by > 0]
        other = next((place for place in ahead if not picture.x.low <= place[0] <= picture.x.high
                      or picture.column(place[0]) != at), ahead[-1] if ahead else None)
        if other is not None:
            self._go(*other)

    def action_mark(self, by: int) -> None:
        """The cursor to the mark before (-1) or after (1) it; without a cursor, to the last one."""
        marks = self.curve.marks
        steps = sorted({mark.step for mark in marks})
        now = self.options.cursor
        if now is not None:
            steps = [step for step in steps if (step - now) * by > 0]
        if steps and self.picture.width:
            step = steps[0] if by > 0 and now is not None else steps[-1]
            self._go(self.curve.x_at(step, self.options.by), step)

    def _go(self, x: float, step: float) -> None:
        self.set(cursor=step, window=window.reveal(self.options.window, x))

    def on_click(self, event: events.Click) -> None:
        column = event.x - self.picture.left
        if self.picture.width and 0 <= column < self.picture.width:
            step = self.curve.step_at(self.picture.value(column), self.options.by)
            point = self.curve.nearest("train" if len(self.curve.train) else "validation", step)
            if point is not None:
                self.set(cursor=point.step)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._wheel(event, -1)

    def _wheel(self, event: events.MouseEvent, by: int) -> None:
        picture = self.picture
        if picture.width:
            at = picture.value(min(picture.width - 1, max(0, event.x - picture.left)))
            seen = self.options.window
            self.set(window=window.zoom(seen, picture.whole, picture.reached, _ZOOM ** by, min(at, picture.reached)))


def _runs(row: Cells) -> Iterator[tuple[str, list[str]]]:
    """The cells by role. A space looks alike in all of them and takes that of the cell before: every change of colour
    costs more bytes than a dozen cells."""
    role, run = row[0][1] if row else "text", list[str]()
    for char, own in row:
        if char != " " and own != role:
            if any(other != " " for other in run):
                yield role, run
                run = []
            role = own
        run.append(char)
    yield role, run
