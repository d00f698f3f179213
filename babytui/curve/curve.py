"""What is known of one run's loss, in bounded memory: both curves, what happened on the way, and its samples."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from babytui.curve.series import Point, Series, smooth

UNITS = ("step", "tokens", "time")
"""What the horizontal axis can count."""
GLYPHS = {"alarm": "!", "rate": "∆", "pause": "‖", "resume": "▸", "checkpoint": "◆"}
"""How a mark of each kind is shown, the most telling first: of several in one place the first is."""
MARK_NAMES = {"alarm": "alarm", "rate": "learning rate", "pause": "pause", "resume": "went on",
              "checkpoint": "checkpoint"}
MARKS = 2000
SAMPLES = 400
FINE = 8192


class Mark(NamedTuple):
    """Something that happened at a step: an alarm, a rate change, a pause, a resume or a checkpoint."""

    step: float
    seconds: float
    kind: str
    text: str


class Sample(NamedTuple):
    """What the model said at a step."""

    step: float
    text: str


@dataclass
class Curve:
    """The losses of a run, by optimizer step.

    tokens_per_step: 0 when not known. planned_steps, planned_seconds: where it is to end; 0 when not known. fine: part
    of `train` read again with more points, and the steps (first, last) that it covers. placed: where a plot
    drew it last.
    """

    name: str = ""
    guid: str = ""
    train: Series = field(default_factory=Series)
    validation: Series = field(default_factory=Series)
    marks: list[Mark] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    tokens_per_step: int = 0
    planned_steps: int = 0
    planned_seconds: float = 0.0
    fine: list[Point] = field(default_factory=list)
    fine_span: tuple[float, float] = (0.0, 0.0)
    _seconds: float = 0.0  # of the newest step
    placed: dict[str, tuple[Any, list[tuple[float, float]]]] = field(default_factory=dict, repr=False)
    _kept: dict[str, tuple[Any, list[Point]]] = field(default_factory=dict, repr=False)  # what was asked for last

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not len(self.train) and not len(self.validation)

    @property
    def main(self) -> Series:
        """The series a cursor goes along: training where it is known."""
        return self.train if len(self.train) else self.validation

    @property
    def timed(self) -> bool:
        """Whether it is known when its steps were done."""
        last = self.main.last
        return last is not None and last.seconds > 0

    def take(self, line: Mapping[str, Any]) -> None:
        """One journal line that is a sound event (`engine.events.sound`); what a curve does not show is left out."""
        kind, step = line.get("event"), line.get("step", 0)
        if kind == "step":
            self._seconds = line.get("seconds", 0.0)
            self.train.add(step, self._seconds, line.get("loss"), line.get("learning_rate", 0.0),
                           line.get("gradient_norm", 0.0))
        elif kind == "evaluation":
            self.validation.add(step, line.get("seconds", 0.0), line.get("validation_loss"))
        elif kind == "sample":
            self.samples.append(Sample(step, str(line.get("text", ""))))
            _thin(self.samples, SAMPLES)
        elif kind == "start":
            self.cut(step)
            self.planned_steps = int(line.get("steps") or 0)
            self.tokens_per_step = int(line.get("tokens_per_step") or 0)
            if step:
                self._mark(step, "resume", "went on")
        elif kind == "checkpoint":
            self._mark(step, "checkpoint", f"checkpoint ({line.get('reason', '')})")
        elif kind == "alarm":
            self._mark(step, "alarm", str(line.get("message", "")))
        elif kind == "control" and line.get("command") in ("pause", "resume"):
            self._mark(step, str(line["command"]), f"{line['command']}d")
        elif kind == "control" and line.get("command") == "learning_rate":
            self._mark(step, "rate", f"learning rate {float(line.get('value') or 0):g}")

    def _mark(self, step: float, kind: str, text: str) -> None:
        self.marks.append(Mark(step, self._seconds, kind, text))
        if len(self.marks) > MARKS:
            kept = [mark for mark in self.marks if mark.kind != "checkpoint"]
            self.marks = kept[-MARKS // 2:] + [m for m in self.marks if m.kind == "checkpoint"][-MARKS // 4:]
            self.marks.sort()

    def cut(self, step: float) -> None:
        """Forgets what came after `step`: the run has gone back to it. Alarms stay, they say why."""
        self.train.cut(step)
        self.validation.cut(step)
        self.marks = [mark for mark in self.marks if mark.step <= step or mark.kind == "alarm"]
        self.samples = [sample for sample in self.samples if sample.step <= step]
        if step < self.fine_span[1]:
            self.fine, self.fine_span = [], (0.0, 0.0)

    def join(self, later: Curve, back: float | None = None) -> None:
        """Adds what a later part of the same run's journal told. back: the step it went back to before that."""
        if back is not None:
            self.cut(back)
            self.planned_steps, self.tokens_per_step = later.planned_steps, later.tokens_per_step
        if self.fine and self.train.last and self.fine_span[1] >= self.train.last.step and len(later.train):
            self.fine += later.train  # what is live stays fine
            self.refine(self.fine[-FINE:], max(self.fine_span[0], self.fine[-FINE:][0].step), self.fine[-1].step)
        self.train.join(later.train)
        self.validation.join(later.validation)
        self.marks += [mark if mark.seconds else mark._replace(seconds=self._seconds) for mark in later.marks]
        self._seconds = later._seconds or self._seconds
        self.samples += later.samples
        _thin(self.samples, SAMPLES)
        del self.marks[: max(0, len(self.marks) - MARKS)]

    def refine(self, points: list[Point], first: float, last: float) -> None:
        """Shows these points for the steps from first to last, instead of the fewer that are known otherwise."""
        self.fine, self.fine_span = points, (first, last)

    def x(self, point: Point | Mark, by: str) -> float:
        """Where a point lies on an axis that counts "step", "tokens" or "time" (seconds)."""
        if by == "time":
            return point.seconds
        return point.step * (self.tokens_per_step or 1) if by == "tokens" else point.step

    def step_at(self, x: float, by: str) -> float:
        """The step at a place of that axis, between the points in proportion."""
        if by != "time":
            return x / (self.tokens_per_step or 1) if by == "tokens" else x
        return _between([(p.seconds, p.step) for p in self.main], x)

    def x_at(self, step: float, by: str) -> float:
        """The place of a step on that axis."""
        if by != "time":
            return step * (self.tokens_per_step or 1) if by == "tokens" else step
        return _between([(p.step, p.seconds) for p in self.main], step)

    def planned(self, by: str) -> float:
        """Where the run is to end on that axis; 0 when that is not known."""
        if self.planned_seconds:
            return self.planned_seconds if by == "time" else 0.0
        return 0.0 if by == "time" else self.planned_steps * (self.tokens_per_step or 1 if by == "tokens" else 1)

    def points(self, which: str, smoothing: float = 0.0, unit: float = 0.0) -> list[Point]:
        """The "train" or "validation" points in order, as finely as they are known; only training is smoothed."""
        series = self.train if which == "train" else self.validation
        key = (smoothing, round(unit, 3), id(series), series.changes, self.fine_span, len(self.fine))
        place = which if smoothing else f"raw {which}"
        if place in self._kept and self._kept[place][0] == key:
            return self._kept[place][1]
        found = list(series)
        if which == "train":
            if self.fine:
                first, last = self.fine_span
                found = [*(p for p in found if p.step < first), *self.fine, *(p for p in found if p.step > last)]
            found = smooth(found, smoothing, unit)
        self._kept[place] = key, found
        return found

    def sample_at(self, step: float) -> Sample | None:
        """The last sample at or before a step, else the first one."""
        at = bisect_left(self.samples, step + 0.5, key=lambda sample: sample.step)
        return self.samples[max(0, at - 1)] if self.samples else None

    def nearest(self, which: str, step: float) -> Point | None:
        """The measured point nearest to a step; None without any."""
        points = self.points(which)
        if not points:
            return None
        at = bisect_left(points, step, key=lambda point: point.step)
        return min(points[max(0, at - 1): at + 1], key=lambda point: abs(point.step - step))


def from_report(report: Mapping[str, Any] | None, name: str = "", guid: str = "") -> Curve:
    """The curve in a model's report: a few points by step and no times; an empty one when it has none. The report is a
    stranger's: what is not a number is left out."""
    curve = Curve(name, guid)
    rows = (report or {}).get("babytui_curve")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, (list, tuple)) and len(row) == 3 and _number(row[0]):
            step, train, validation = row
            curve.train.add(step, 0.0, train if _number(train) else None)
            curve.validation.add(step, 0.0, validation if _number(validation) else None)
    steps, tokens = (report or {}).get("babytui_steps"), (report or {}).get("babytui_tokens")
    if _number(steps) and _number(tokens) and steps:
        curve.tokens_per_step = round(tokens / steps)
    return curve


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value < 1e15


def _thin(items: list[Any], limit: int) -> None:
    """Every other one of the older half goes when there are too many."""
    if len(items) > limit:
        items[: limit // 2] = items[: limit // 2: 2]
        del items[: max(0, len(items) - limit)]


def _between(pairs: Iterable[tuple[float, float]], x: float) -> float:
    """The second number at the first number x, between neighbours in proportion, at the ends in proportion to 0."""
    table = sorted({0.0: 0.0, **dict(pairs)}.items())
    at = bisect_left(table, (x,))
    if at == 0:
        return table[0][1]
    if at == len(table):
        (x0, y0), (x1, y1) = (table[-2], table[-1]) if len(table) > 1 else ((0.0, 0.0), table[-1])
    else:
        (x0, y0), (x1, y1) = table[at - 1], table[at]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0) if x1 > x0 else y1
