"""The loss curve: training and validation over steps or time, in braille dots, with axes and a legend.

Rows are kept as cells and compared with what is on the screen, and only the changed part of a changed row is painted:
a curve that grows by a dot costs a few dozen bytes. In fewer than five rows it becomes a one-line sparkline.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from babytui.tui import axis
from babytui.tui.braille import Canvas, sparkline
from babytui.tui.series import Point, Series
from babytui.tui.widgets.lines import Roles

Cells = list[tuple[str, str]]
"""One row: a character and a role for every cell."""

SMOOTHING = (0.0, 0.6, 0.9, 0.98)
SMALLEST_CHART = 6
_LAYERS = ("train", "validation")


class Limits(NamedTuple):
    """What the plot shows: x from 0 to `right`, y from `low` to `high`."""

    right: float
    low: float
    high: float


class LossChart(Roles, Widget):
    """Draws two series. Call `draw` after adding points; changing an option draws by itself."""

    DEFAULT_CSS = "LossChart { height: 1fr; }"

    log_axis: reactive[bool] = reactive(False, init=False)
    by_time: reactive[bool] = reactive(False, init=False)
    smoothing: reactive[float] = reactive(0.6, init=False)

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self.train, self.validation = Series(), Series()
        self.planned_steps = 0
        self.planned_seconds = 0.0
        self.empty = "The loss curve appears here."
        self._rows: list[Cells] = []

    def clear(self) -> None:
        """An empty chart for another run."""
        self.train, self.validation = Series(), Series()
        self.planned_steps, self.planned_seconds = 0, 0.0
        self.draw()

    def watch_log_axis(self) -> None:
        self.draw()

    def watch_by_time(self) -> None:
        self.draw()

    def watch_smoothing(self) -> None:
        self.draw()

    def on_resize(self, _event: events.Resize) -> None:
        self.draw()

    def next_smoothing(self) -> float:
        """Steps to the next strength of smoothing and returns it."""
        later = [strength for strength in SMOOTHING if strength > self.smoothing]
        self.smoothing = later[0] if later else SMOOTHING[0]
        return self.smoothing

    def draw(self) -> None:
        """Computes the rows and repaints those that differ from the screen."""
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

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        runs = itertools.groupby(self._rows[y], key=lambda cell: cell[1])
        segments = [Segment("".join(char for char, _ in run), self.style_of(role)) for role, run in runs]
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _compute(self, width: int, height: int) -> list[Cells]:
        if width < 8 or height < 1:
            return []
        if not len(self.train) and not len(self.validation):
            note = self.empty
            blank = [_cells("", width) for _ in range(height)]
            blank[(height - 1) // 2] = _cells(note[:width].center(width), width, "dim")
            return blank
        if height < SMALLEST_CHART:
            return self._sparkline(width)
        train = self.train.smoothed(self.smoothing)
        validation = list(self.validation)
        limits = self._limits(train, validation, width, height - 3)
        labels = self._y_labels(limits, height - 3)
        gutter = max([5, *(len(text) + 1 for text in labels.values())])
        plot = max(2, width - gutter - 1)
        canvas = Canvas(plot, height - 3)
        for layer, points in enumerate((train, validation)):
            canvas.line([self._place(point, limits) for point in points], layer)
        rows = [self._legend(width)]
        for y in range(height - 3):
            label = labels.get(y, "")
            row = _cells(f"{label:>{gutter - 1}} " + ("┤" if label else "│"), gutter + 1, "dim")
            row += [(char, _LAYERS[layer] if layer >= 0 else "text") for char, layer in canvas.row(y)]
            rows.append(row[:width])
        return [*rows, *self._x_axis(limits.right, gutter, plot, width)]

    def _x(self, point: Point) -> float:
        return point.seconds if self.by_time else point.step

    def _limits(self, train: Sequence[Point], validation: Sequence[Point], width: int, rows: int) -> Limits:
        values = [p.value for p in (*train, *validation)]
        reached = max(self._x(p) for p in (*train, *validation))
        planned = self.planned_seconds if self.by_time else float(self.planned_steps)
        right = planned if planned >= reached > 0 else axis.limits(0, max(reached, 1), max(2, width // 14))[1]
        low, high = min(values), max(values)
        if self.log_axis and low > 0:
            return Limits(right, *axis.log_limits(low, high))
        return Limits(right, *axis.limits(low, high, max(4, rows)))

    def _height(self, value: float, limits: Limits) -> float:
        """Where a value stands between the bottom (0) and the top (1)."""
        if self.log_axis and limits.low > 0:
            return math.log(max(value, limits.low) / limits.low) / math.log(limits.high / limits.low)
        return (value - limits.low) / (limits.high - limits.low)

    def _place(self, point: Point, limits: Limits) -> tuple[float, float]:
        return self._x(point) / limits.right, self._height(point.value, limits)

    def _y_labels(self, limits: Limits, rows: int) -> dict[int, str]:
        count = max(2, rows // 3)
        values = axis.log_ticks(limits.low, limits.high, count) if self.log_axis and limits.low > 0 \
            else axis.tick_values(limits.low, limits.high, count)
        labels: dict[int, str] = {}
        for value in values:
            y = min(rows - 1, max(0, math.floor((1 - self._height(value, limits)) * rows - 1e-9)))
            if not any(abs(y - taken) < 2 for taken in labels):
                labels[y] = axis.short(round(value, 12))
        return labels

    def _legend(self, width: int) -> Cells:
        smooth = f", smoothed {self.smoothing:g}" if self.smoothing else ""
        parts: list[tuple[str, str]] = [("loss" + (" (log)" if self.log_axis else ""), "label")]
        for name, series in (("train", self.train), ("validation", self.validation)):
            if series.last:
                parts += [("  ━ ", name), (f"{name} {series.last.value:.3f}", "value")]
        for text in (smooth, f" · {self._unit}"):
            if text and sum(cell_len(t) for t, _ in parts) + len(text) <= width:
                parts.append((text, "dim"))
        row = [(char, role) for text, role in parts for char in text][:width]
        return row + [(" ", "text")] * (width - len(row))

    @property
    def _unit(self) -> str:
        return "by time" if self.by_time else "by step"

    def _x_axis(self, right: float, gutter: int, plot: int, width: int) -> list[Cells]:
        line, labels = ["─"] * plot, [" "] * width
        for value in axis.tick_values(0, right, max(1, plot // 12)):
            x = min(plot - 1, round(value / right * (plot - 1)))
            line[x] = "┬"
            text = axis.clock(value) if self.by_time else axis.short(round(value, 9))
            start = min(max(0, gutter + 1 + x - len(text) // 2), width - len(text))
            if all(char == " " for char in labels[max(0, start - 1): start + len(text) + 1]):
                labels[start: start + len(text)] = text
        name = "time" if self.by_time else "step"
        if all(char == " " for char in labels[: len(name) + 1]):
            labels[: len(name)] = name
        return [_cells(" " * gutter + "└" + "".join(line), width, "dim"), _cells("".join(labels), width, "dim")]

    def _sparkline(self, width: int) -> list[Cells]:
        rows: list[Cells] = []
        for name, series in (("train", self.train), ("validation", self.validation)):
            if not series.last or len(rows) >= self.size.height:
                continue
            label, value = f"{name:<11}", f" {series.last.value:.3f}"
            curve = sparkline([p.value for p in series], width - len(label) - len(value))
            parts = ((label, "label"), (curve, name), (value, "value"))
            row = [cell for text, role in parts for cell in _cells(text, len(text), role)]
            rows.append(row[:width] + [(" ", "text")] * (width - len(row)))
        return rows


def _cells(text: str, width: int, role: str = "text") -> Cells:
    return [(char, role) for char in text[:width].ljust(width)]
