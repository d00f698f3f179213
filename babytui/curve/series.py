"""A curve in bounded memory: points are averaged in pairs whenever they become too many. Pure Python, no Textual."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Point(NamedTuple):
    """One (averaged) measurement: optimizer step, seconds since the run began, loss in nats per token; and of a step of
    training its learning rate and gradient norm (0 when not known)."""

    step: float
    seconds: float
    value: float
    rate: float = 0.0
    norm: float = 0.0


class Series:
    """Measurements over a run, at most `limit` of them.

    When the limit is reached neighbours are averaged and from then on each kept point stands for twice as many
    measurements, so that a run of a million steps costs as much memory as one of two thousand. Values that are not
    finite are left out.
    """

    def __init__(self, limit: int = 2048):
        self.limit = max(2, limit)
        self._points: list[Point] = []
        self._weight = 1
        self._pending: list[Point] = []
        self._latest: Point | None = None
        self.changes = 0  # grows with every change

    def __len__(self) -> int:
        return len(self._points) + bool(self._pending)

    def __iter__(self) -> Iterator[Point]:
        yield from self._points
        if self._pending:
            yield _mean(self._pending)

    @property
    def last(self) -> Point | None:
        """The newest measurement (after a cut, what is left of it), or None."""
        if self._latest is not None:
            return self._latest
        return self._pending[-1] if self._pending else self._points[-1] if self._points else None

    def add(self, step: float, seconds: float, value: float | None, rate: float = 0.0, norm: float = 0.0) -> None:
        """One measurement; None and values that are not finite are ignored."""
        if value is None or not math.isfinite(value):
            return
        self.changes += 1
        self._latest = Point(step, seconds, value, rate, norm)
        self._pending.append(self._latest)
        if len(self._pending) < self._weight:
            return
        self._points.append(_mean(self._pending))
        self._pending.clear()
        if len(self._points) >= self.limit:
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            self._points = [_mean(pair) for pair in pairs]
            self._weight *= 2

    def cut(self, step: float) -> None:
        """Forgets what was measured after `step`: the run has gone back to it."""
        self.changes += 1
        if self._latest is not None and self._latest.step > step:
            self._latest = None
        self._points = [point for point in self._points if point.step <= step]
        self._pending = [point for point in self._pending if point.step <= step]

    def extend(self, points: Iterable[Point]) -> None:
        """Several measurements in order."""
        for point in points:
            self.add(*point)

    def join(self, later: Series) -> None:
        """What another series of the same run measured after this one."""
        self.extend(later)
        self._latest = later.last or self._latest

    def smoothed(self, strength: float, unit: float = 0.0) -> list[Point]:
        """The points after an exponential moving average (see `smooth`)."""
        return smooth(list(self), strength, unit)


def smooth(points: list[Point], strength: float, unit: float = 0.0) -> list[Point]:
    """The points after an exponential moving average; strength 0 (none) to below 1.

    unit: steps after which an old value counts `strength` times as much, however many points lie between; 0: the mean
    distance of the points. The average starts unbiased (as Adam's moments do), so that the first points are not pulled
    towards zero.
    """
    if strength <= 0 or len(points) < 2:
        return points
    unit = max(unit, (points[-1].step - points[0].step) / (len(points) - 1)) or 1.0
    found, mean, weight, before = [], 0.0, 0.0, points[0].step - unit
    for point in points:
        keep = strength ** (max(0.0, point.step - before) / unit)
        mean = keep * mean + (1 - keep) * point.value
        weight = keep * weight + (1 - keep)
        before = point.step
        found.append(point._replace(value=mean / weight) if weight else point)
    return found


def _mean(points: Iterable[Point]) -> Point:
    items = list(points)
    return Point(*(math.fsum(column) / len(items) for column in zip(*items, strict=True)))
