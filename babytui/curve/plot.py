"""Curves as rows of cells: limits, ticks, braille dots, letters, marks, a cursor and its readings. No Textual.

A cell is a character and a role; whoever shows the rows decides what a role looks like. Every curve has a letter, which
stands in the legend and on the curve, so that nothing is told by colour alone.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from babytui.curve import axis
from babytui.curve.braille import Canvas, sparkline
from babytui.curve.curve import GLYPHS, Curve, Mark
from babytui.curve.series import Point
from babytui.curve.window import Scale, Window
from babytui.visible import cells as cell_len
from babytui.visible import visible

Cells = list[tuple[str, str]]
"""One row: a character and a role for every cell."""

SMOOTHING = (0.0, 0.6, 0.9, 0.98)
SHOWN = ("both", "train", "validation")
SMALLEST_PLOT = 6
MOST = 8
"""Curves that are drawn together."""
_LETTERS = "ABCDEFGH"
_ROOMY = 12  # rows from which the cursor's readings have rows of their own
_SPACING = 26  # cells between the letters on a curve
_NOTHING = Scale(0.0, 1.0)


@dataclass(frozen=True)
class Options:
    """How curves are drawn.

    by: "step", "tokens" or "time". smoothing: of training, 0 to below 1. shown: "both", "train" or "validation".
    window: the visible part of x in the unit of `by`; None: everything, and room for what is planned. cursor: a step of
    the first curve. note: a word at the end of the legend.
    """

    by: str = "step"
    log_x: bool = False
    log_y: bool = False
    smoothing: float = 0.6
    shown: str = "both"
    window: Window | None = None
    cursor: float | None = None
    note: str = ""


class Line(NamedTuple):
    """One series that is drawn."""

    curve: Curve
    which: str  # train or validation
    letter: str
    role: str
    dotted: bool


@dataclass
class Picture:
    """What was drawn: its rows, and where things lie, for a mouse and a cursor. x: the visible part of the axis; whole:
    all of it; left: the first column of the plot, which is `width` columns wide; reached: the newest x."""

    rows: list[Cells] = field(default_factory=list)
    x: Scale = _NOTHING
    whole: Scale = _NOTHING
    reached: float = 0.0
    left: int = 0
    width: int = 0

    @property
    def plain(self) -> str:
        """The rows as text."""
        return "\n".join("".join(char for char, _ in row) for row in self.rows)

    def column(self, x: float) -> int:
        """The column of the plot in which a value of the axis lies."""
        return min(self.width - 1, max(0, math.floor(self.x.share(x) * (self.width * 2 - 1) / 2 + 0.25)))

    def value(self, column: int) -> float:
        """The value of the axis in the middle of a column of the plot."""
        return self.x.value((column * 2 + 0.5) / max(1, self.width * 2 - 1))


def lines_of(curves: Sequence[Curve], shown: str = "both") -> list[Line]:
    """The series of these curves that are drawn: of one run t and v; of several A, B, … for training and a, b, …,
    dotted, for validation."""
    found = []
    for number, curve in enumerate(curves[:MOST]):
        for which in ("train", "validation"):
            series = curve.train if which == "train" else curve.validation
            wanted = shown in ("both", which) or not len(curve.train if shown == "train" else curve.validation)
            if not len(series) or not wanted:
                continue
            if len(curves) == 1:
                found.append(Line(curve, which, which[0], which, False))
            else:
                letter = _LETTERS[number] if which == "train" else _LETTERS[number].lower()
                found.append(Line(curve, which, letter, f"curve{number + 1}", which == "validation"))
    return found


def axis_of(curves: Sequence[Curve], by: str, log: bool) -> tuple[Scale, float]:
    """The whole horizontal axis of these curves, and the newest x of the first that has any."""
    ends = [(curve.x(p[0], by), curve.x(p[-1], by)) for curve in curves for which in ("train", "validation")
            if (p := curve.points(which))]
    if not ends:
        return Scale(0.0, 1.0), 0.0
    reached = max(last for _, last in ends)
    first = next(curve for curve in curves if not curve.empty)
    newest = max(first.x(p[-1], by) for which in ("train", "validation") if (p := first.points(which)))
    planned = max(curve.planned(by) for curve in curves)
    right = planned if planned >= reached > 0 else reached
    if log:
        low = min((curve.x(p, by) for curve in curves for which in ("train", "validation")
                   for p in curve.points(which) if curve.x(p, by) > 0), default=1.0)
        return Scale(low, max(right, low * 2), True), newest
    return Scale(0.0, right or 1.0), newest


def draw(curves: Sequence[Curve], width: int, height: int, options: Options | None = None) -> Picture:
    """The picture of these curves in so many columns and rows; in fewer than six rows a sparkline of each.

    Times that are not known (of a report) are counted in steps.
    """
    options = options or Options()
    curves = [curve for curve in curves if not curve.empty]
    if width < 8 or height < 1 or not curves:
        return Picture()
    if options.by == "time" and not all(curve.timed for curve in curves):
        options = replace(options, by="step", window=None)
    if options.by == "tokens" and not all(curve.tokens_per_step for curve in curves):
        options = replace(options, by="step", window=None)
    if height < SMALLEST_PLOT:
        return Picture(_sparklines(curves, width, height, options))
    return _Plot(curves, width, height, options).picture()


class _Plot:
    """One drawing."""

    def __init__(self, curves: Sequence[Curve], width: int, height: int, options: Options):
        self.curves, self.width, self.options = curves, width, options
        self.lines = lines_of(curves, options.shown)
        self.readings = 0 if options.cursor is None else 2 if height >= _ROOMY else 1
        self.height = height - 3 - (self.readings if height >= _ROOMY else 0)
        self.roomy = height >= _ROOMY
        whole, self.reached = axis_of(curves, options.by, options.log_x)
        if options.window is None:
            low, high = whole.low, whole.high
            if not whole.log and high == self.reached and not any(curve.planned(options.by) for curve in curves):
                high = axis.limits(0, max(high, 1), max(2, width // 14))[1]
            self.x = Scale(low, high, whole.log)
        else:
            low, high = options.window.low, options.window.high
            self.x = Scale(max(low, whole.low) if whole.log else low, high, whole.log)
        self.whole = whole._replace(high=max(whole.high, self.x.high)) if options.window is None else whole
        unit = max(1.0, (curves[0].step_at(self.x.high, options.by) - curves[0].step_at(self.x.low, options.by)) / 500)
        self.points = [self._visible(line, unit) for line in self.lines]
        self.y = self._vertical()
        self.labels = self._y_labels()
        self.left = max([5, *(len(text) + 1 for text in self.labels.values())]) + 1
        self.plot = max(2, width - self.left)

    def picture(self) -> Picture:
        picture = Picture([], self.x, self.whole, self.reached, self.left, self.plot)
        canvas = Canvas(self.plot, self.height)
        placed = [self._placed(line, points) for line, points in zip(self.lines, self.points, strict=True)]
        for number in reversed(range(len(self.lines))):  # the first curve is drawn over the others
            canvas.line(placed[number], number, self.lines[number].dotted)
        rows = [[(char, self.lines[layer].role if layer >= 0 else "text") for char, layer in canvas.row(y)]
                for y in range(self.height)]
        cursor = self._cursor(picture)
        if cursor is not None:
            for row in rows:
                if row[cursor][0] == " ":
                    row[cursor] = ("│", "cursor")
        self._letters(rows, placed)
        picture.rows = [self._legend()]
        for y, row in enumerate(rows):
            label = self.labels.get(y, "")
            picture.rows.append(_cells(f"{label:>{self.left - 2}} " + ("┤" if label else "│"), self.left, "dim") + row)
        line, names = self._x_axis(picture)
        picture.rows.append(line)
        readings = self._read() if cursor is not None else []
        if self.roomy or not readings:
            picture.rows.append(names)
        picture.rows += readings[: self.readings]
        picture.rows = [row[: self.width] + [(" ", "text")] * (self.width - len(row)) for row in picture.rows]
        return picture

    def _visible(self, line: Line, unit: float) -> list[Point]:
        """The points in view and the one before and after them."""
        by, curve = self.options.by, line.curve
        points = curve.points(line.which, self.options.smoothing, unit)
        if self.options.window is None:
            return points
        inside = [n for n, p in enumerate(points) if self.x.low <= curve.x(p, by) <= self.x.high]
        if inside:
            return points[max(0, inside[0] - 1): inside[-1] + 2]
        after = next((n for n, p in enumerate(points) if curve.x(p, by) > self.x.high), 0)
        return points[after - 1: after + 1] if after else []

    def _placed(self, line: Line, points: list[Point]) -> list[tuple[float, float]]:
        """The points as shares of the plot, kept for the next drawing: most curves do not change until then."""
        by = self.options.by
        key = (points, by, self.x, self.y, line.curve.tokens_per_step)
        if line.which in line.curve.placed:
            before, found = line.curve.placed[line.which]
            if before[0] is points and before[1:] == key[1:]:
                return found
        found = _clipped([(self.x.share(line.curve.x(p, by)), self.y.share(p.value)) for p in points])
        line.curve.placed[line.which] = key, found
        return found

    def _vertical(self) -> Scale:
        by = self.options.by
        if self.options.window is None:
            values = [p.value for points in self.points for p in points] or [1.0]
        else:
            values = [p.value for line, points in zip(self.lines, self.points, strict=True) for p in points
                      if self.x.low <= line.curve.x(p, by) <= self.x.high] or [
                      p.value for points in self.points for p in points] or [1.0]
        low, high = min(values), max(values)
        if self.options.log_y and high > 0:
            return Scale(*axis.log_limits(min(v for v in values if v > 0), high), True)
        # what is new should seldom move the axis of a part: all of it is painted then
        rows = self.height if self.options.window is None else self.height // 3
        return Scale(*axis.limits(low, high, max(4, rows)))

    def _y_labels(self) -> dict[int, str]:
        count = max(2, self.height // 3)
        values = (axis.log_ticks if self.y.log else axis.tick_values)(self.y.low, self.y.high, count)
        digits = max(3, math.ceil(math.log10(max(abs(self.y.low), abs(self.y.high)) / (self.y.high - self.y.low))) + 3)
        labels: dict[int, str] = {}
        for value in values:
            y = min(self.height - 1, max(0, math.floor((1 - self.y.share(value)) * self.height - 1e-9)))
            if not any(abs(y - taken) < 2 for taken in labels):
                labels[y] = axis.short(round(value, 12), digits)
        return labels

    def _x_axis(self, picture: Picture) -> tuple[Cells, Cells]:
        """The line below the plot with its ticks and marks, and their labels."""
        by, width, plot = self.options.by, self.width, self.plot
        line: Cells = [("─", "dim")] * plot
        labels = [" "] * width
        count = max(1, plot // 12)
        values = (axis.log_ticks if self.x.log else axis.tick_values)(self.x.low, self.x.high, count)
        digits = max(3, math.ceil(math.log10(max(self.x.high, 1e-9) / (self.x.high - self.x.low) * count)) + 1)
        for value in values:
            at = picture.column(value)
            text = axis.clock(value) if by == "time" else axis.short(round(value, 9), digits)
            start = min(max(0, self.left + at - len(text) // 2), width - len(text))
            if all(char == " " for char in labels[max(0, start - 1): start + len(text) + 1]):
                labels[start: start + len(text)] = text
                line[at] = ("┬", "dim")
        if all(char == " " for char in labels[: len(by) + 1]):
            labels[: len(by)] = by
        order = list(GLYPHS)
        taken: dict[int, str] = {}
        for mark in self.curves[0].marks:
            place = self.curves[0].x(mark, by)
            if self.x.low <= place <= self.x.high:
                at = picture.column(place)
                if at not in taken or order.index(mark.kind) < order.index(taken[at]):
                    taken[at] = mark.kind
        for at, kind in taken.items():
            line[at] = (GLYPHS[kind], _mark_role(kind))
        return [*_cells(" " * (self.left - 1) + "└", self.left, "dim"), *line], _cells("".join(labels), width, "dim")

    def _cursor(self, picture: Picture) -> int | None:
        """The column of the cursor, if it is in view."""
        if self.options.cursor is None:
            return None
        x = self.curves[0].x_at(self.options.cursor, self.options.by)
        return picture.column(x) if self.x.low <= x <= self.x.high else None

    def _letters(self, rows: list[Cells], placed: list[list[tuple[float, float]]]) -> None:
        """Letters on the curves: at the end of each, and here and there on the way where colour would be needed."""
        several = len(self.curves) > 1
        for number, (line, points) in enumerate(zip(self.lines, placed, strict=True)):
            if not points or len(self.lines) == 1:
                continue
            ends = [points[-1]]
            if several or line.which == "validation":
                step = _SPACING / self.plot
                wanted = [share * step for share in range(1, int(1 / step) + 1)]
                shift = number * step / len(self.lines)
                ends += [(x, y) for x in (w - shift for w in wanted)
                         if (y := _height_at(points, x)) is not None and points[-1][0] - x > step / 3]
            for x, y in ends:
                at = min(self.plot - 1, max(0, int(x * self.plot)))
                row = min(self.height - 1, max(0, int((1 - y) * self.height)))
                if x == points[-1][0] and at + 1 < self.plot:
                    at += 1
                if rows[row][at][1] != "letter":
                    rows[row][at] = (line.letter, line.role)

    def _legend(self) -> Cells:
        """What is shown, with the newest values, or those at the cursor."""
        options, at = self.options, self.options.cursor
        parts: list[tuple[str, str]] = [("loss" + (" (log)" if options.log_y else ""), "label")]
        room = self.width - len(parts[0][0])
        left_out = 0
        for number, curve in enumerate(self.curves):
            mine = [line for line in self.lines if line.curve is curve]
            piece: list[tuple[str, str]] = []
            for line in mine:
                value = _value(line, at if at is None else self._other_step(curve, at))
                name = line.which if len(self.curves) == 1 else ""
                piece += [("  " if line is mine[0] or name else "/", "text"), (line.letter + " ", line.role)]
                if len(self.curves) > 1:
                    piece[-1] = (line.letter, line.role)
                piece.append((f"{name} {value}".strip() if name else f" {value}", "value"))
            if len(self.curves) > 1:
                piece.insert(2, (" " + visible(curve.name, newlines=False)[:16], "text"))
            need = sum(cell_len(text) for text, _ in piece)
            if need > room - (8 if number + 1 < len(self.curves) else 0):
                left_out += 1
                continue
            parts += piece
            room -= need
        if left_out:
            parts.append((f"  +{left_out} more", "dim"))
        axis_name = f" · by {options.by}" + (" (log)" if options.log_x else "")
        smooth = f" · smoothed {options.smoothing:g}" if options.smoothing else ""
        live = " · newest part" if options.window and options.window.follows else " · part" if options.window else ""
        for text in (live, axis_name, smooth, f" · {options.note}" if options.note else ""):
            if text and sum(cell_len(t) for t, _ in parts) + len(text) <= self.width:
                parts.append((text, "dim"))
        return _row(parts, self.width)

    def _other_step(self, curve: Curve, step: float) -> float:
        """The step of another curve that lies under the cursor."""
        if curve is self.curves[0]:
            return step
        return curve.step_at(self.curves[0].x_at(step, self.options.by), self.options.by)

    def _read(self) -> list[Cells]:
        """What is known of the cursor's step: where it is, its rate and gradient norm, what happened, its sample."""
        curve, step = self.curves[0], self.options.cursor
        assert step is not None
        point = curve.nearest("train" if len(curve.train) else "validation", step)
        parts: list[tuple[str, str]] = [("step ", "label"), (f"{step:,.0f}", "value")]
        if point is not None and (point.rate or point.norm):
            parts += [("  rate ", "label"), (f"{point.rate:.3g}", "value")]
            parts += [("  grad norm ", "label"), (f"{point.norm:.3g}", "value")]
        near = self._near_marks(step)
        for mark in near[:2]:
            parts += [(f"  {GLYPHS[mark.kind]} {visible(mark.text, newlines=False)}", _mark_role(mark.kind))]
        if point is not None and curve.timed:
            parts += [("  after ", "label"), (axis.clock(point.seconds), "value")]
        if curve.tokens_per_step:
            parts += [("  tokens ", "label"), (axis.amount(step * curve.tokens_per_step), "value")]
        rows = [_row(parts, self.width)]
        sample = curve.sample_at(step)
        said = [("no sample yet", "dim")]
        if sample is not None:
            text = " ".join(visible(sample.text).split())
            said = [(f"sample of step {sample.step:,.0f}: ", "label"), (text, "text")]
        rows.append(_row(said, self.width))
        return rows

    def _near_marks(self, step: float) -> list[Mark]:
        """What happened in the cursor's column, the most telling first."""
        by, curve = self.options.by, self.curves[0]
        share = self.x.share(curve.x_at(step, by))
        order = list(GLYPHS)
        found = [mark for mark in curve.marks
                 if abs(self.x.share(curve.x(mark, by)) - share) <= 0.75 / max(1, self.plot)]
        return sorted(found, key=lambda mark: (order.index(mark.kind), abs(mark.step - step)))


def _mark_role(kind: str) -> str:
    return {"alarm": "bad", "rate": "warn", "pause": "accent", "resume": "accent"}.get(kind, "label")


def _value(line: Line, step: float | None) -> str:
    series = line.curve.train if line.which == "train" else line.curve.validation
    point = series.last if step is None else line.curve.nearest(line.which, step)
    return f"{point.value:.3f}" if point else "–"


def _clipped(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The line through these points between x = 0 and x = 1, cut where it crosses them."""
    if not points or (points[0][0] >= 0 and points[-1][0] <= 1):
        return points
    found: list[tuple[float, float]] = []
    for n, (x, y) in enumerate(points):
        if 0 <= x <= 1:
            found.append((x, y))
        for edge in (0.0, 1.0):
            if n + 1 < len(points) and (x < edge < points[n + 1][0]) and (x < 0 if edge == 0 else points[n + 1][0] > 1):
                x1, y1 = points[n + 1]
                found.append((edge, y + (y1 - y) * (edge - x) / (x1 - x)))
    return found


def _height_at(points: list[tuple[float, float]], x: float) -> float | None:
    """The height of a line at x, or None outside it."""
    at = bisect_left(points, (x,))
    if not 0 < at < len(points):
        return points[0][1] if points and points[0][0] == x else None
    (x0, y0), (x1, y1) = points[at - 1], points[at]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0) if x1 > x0 else y0


def _sparklines(curves: Sequence[Curve], width: int, height: int, options: Options) -> list[Cells]:
    rows: list[Cells] = []
    several = len(curves) > 1
    for line in lines_of(curves, options.shown)[:height]:
        points = line.curve.points(line.which)
        name = f"{line.letter} {line.curve.name}" if several else line.which
        label, value = f"{visible(name, newlines=False)[:10]:<11}", f" {points[-1].value:.3f}"
        drawn = sparkline([p.value for p in points], width - len(label) - len(value))
        rows.append(_row([(label, "label"), (drawn, line.role), (value, "value")], width))
    return rows


def _row(parts: Sequence[tuple[str, str]], width: int) -> Cells:
    """The parts as cells of one row; what is too long ends in an ellipsis. A wide character takes two cells, the second
    of them empty."""
    row: Cells = []
    for text, role in parts:
        for char in text:
            size = cell_len(char)
            if size:
                row += [(char, role), *[("", role)] * (size - 1)]
            elif row and row[-1][0]:
                row[-1] = (row[-1][0] + char, row[-1][1])
    if len(row) > width:
        row = row[: max(0, width - 1)]
        if row and cell_len(row[-1][0]) > 1:  # half of it would be left
            row[-1] = (" ", row[-1][1])
        row.append(("…", "dim"))
    return row + [(" ", "text")] * (width - len(row))


def _cells(text: str, width: int, role: str = "text") -> Cells:
    return [(char, role) for char in text[:width].ljust(width)]
