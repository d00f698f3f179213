"""A curve in bounded memory: points are averaged in pairs whenever they become too many. Pure Python, no Textual."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Point(NamedTuple):
    """One (averaged) measurement: optimizer step, seconds since the run began, value."""

    step: float
    seconds: float
    value: float


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

    def __len__(self) -> int:
        return len(self._points) + bool(self._pending)

    def __iter__(self) -> Iterator[Point]:
        yield from self._points
        if self._pending:
            yield _mean(self._pending)

    @property
    def last(self) -> Point | None:
        """The newest point, or None."""
        if self._pending:
            return self._pending[-1]
        return self._points[-1] if self._points else None

    def add(self, step: float, seconds: float, value: float | None) -> None:
        """One measurement; None and values that are not finite are ignored."""
        if value is None or not math.isfinite(value):
            return
        self._pending.append(Point(step, seconds, value))
        if len(self._pending) < self._weight:
            return
        self._points.append(_mean(self._pending))
        self._pending.clear()
        if len(self._points) >= self.limit:
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            self._points = [_mean(pair) for pair in pairs]
            self._weight *= 2

    def extend(self, points: Iterable[Point]) -> None:
        """Several measurements in order."""
        for point in points:
            self.add(*point)

    def smoothed(self, strength: float) -> list[Point]:
        """The points after an exponential moving average; strength 0 (none) to below 1.

        The average starts unbiased (as Adam's moments do), so that the first points are not pulled towards zero.
        """
        if strength <= 0:
            return list(self)
        points, mean, weight = [], 0.0, 0.0
        for point in self:
            mean = strength * mean + (1 - strength) * point.value
            weight = strength * weight + (1 - strength)
            points.append(Point(point.step, point.seconds, mean / weight))
        return points


def _mean(points: Iterable[Point]) -> Point:
    items = list(points)
    return Point(*(math.fsum(column) / len(items) for column in zip(*items, strict=True)))
