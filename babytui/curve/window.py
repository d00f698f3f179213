"""Scales, and the part of a curve that is in view: zooming, panning and following what is live. Pure arithmetic."""

from __future__ import annotations

import math
from typing import NamedTuple

_AHEAD, _MOST_AHEAD = 0.125, 0.5  # of a window that moved on, room for what is to come
SMALLEST = 4.0  # units of the axis in view at least


class Scale(NamedTuple):
    """Values from `low` to `high` (low < high; above 0 when logarithmic) as shares of a length."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end; what a logarithm cannot show lies at the low end."""
        if self.log:
            return math.log(max(value, self.low * 1e-9) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def value(self, share: float) -> float:
        """The value at a share."""
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share


class Window(NamedTuple):
    """The visible part of the horizontal axis. follows: it moves along so that the newest point stays in view."""

    low: float
    high: float
    follows: bool = False


def zoom(window: Window | None, whole: Scale, reached: float, factor: float, anchor: float | None = None,
         ) -> Window | None:
    """A window `factor` times as wide; None when that is the whole.

    anchor: the value that stays where it is (a cursor's); without one the end of a window that follows, the newest
    point when the whole was in view, else the middle. whole: what is shown without a window; reached: the newest point.
    """
    reached = min(max(reached, whole.low), whole.high)
    window = advance(window, whole, reached)
    seen = whole._replace(low=window.low, high=window.high) if window else whole._replace(high=max(
        reached, whole.value(1e-6)))
    if anchor is None:
        anchor = reached if window is None or window.follows else seen.value(0.5)
    share = min(1.0, max(0.0, seen.share(anchor)))
    low, high = seen.value(share - share * factor), seen.value(share + (1 - share) * factor)
    if high - low < SMALLEST:
        if factor < 1:
            return window
        low, high = low - SMALLEST / 2, high + SMALLEST / 2
    low, high = max(low, whole.low), min(high, whole.high)
    if low <= whole.low and high >= min(reached, whole.high):
        return None
    return Window(low, high, high >= reached)


def pan(window: Window | None, whole: Scale, reached: float, share: float) -> Window | None:
    """The window moved by a share of its width, within what there is."""
    if window is None:
        return None
    seen = whole._replace(low=window.low, high=window.high)
    end = max(min(reached, whole.high), window.high if share < 0 else 0.0)
    share = min(share, max(0.0, seen.share(end) - 1)) if share > 0 else max(share, -max(0.0, -seen.share(whole.low)))
    low, high = seen.value(share), seen.value(1 + share)
    return Window(low, high, high >= reached * (1 - 1e-9))


def advance(window: Window | None, whole: Scale, reached: float) -> Window | None:
    """The window after new points came: one that follows moves on, by so much that it need not again for a while (a
    plot that moves by a column is painted as a whole)."""
    if window is None or not window.follows or reached <= window.high:
        return window
    seen = whole._replace(low=window.low, high=window.high)
    over = seen.share(reached) - 1
    share = over + min(_MOST_AHEAD, max(_AHEAD, over))  # the farther behind, the faster the run
    return Window(seen.value(share), seen.value(1 + share), True)


def reveal(window: Window | None, value: float) -> Window | None:
    """The window moved just so far that a value is in it."""
    if window is None or window.low <= value <= window.high:
        return window
    by = value - window.high if value > window.high else value - window.low
    return Window(window.low + by, window.high + by)
