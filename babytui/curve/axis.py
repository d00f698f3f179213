"""Axes for the terminal: round limits, ticks and short labels. Pure Python, no Textual."""

from __future__ import annotations

import math

_FINE = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


def nice_step(span: float, ticks: int) -> float:
    """The round step (1, 2 or 5 times a power of ten) that cuts `span` into at most about `ticks` parts."""
    if span <= 0 or not math.isfinite(span):
        return 1.0
    raw = span / max(1, ticks)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def limits(low: float, high: float, ticks: int) -> tuple[float, float]:
    """`low` and `high` moved outwards to round numbers, so that a curve that creeps does not move its axis."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(abs(low), 0.1), high + 0.5 * max(abs(high), 0.1)
    step = nice_step(high - low, ticks)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def tick_values(low: float, high: float, ticks: int) -> list[float]:
    """Round values from low to high."""
    step = nice_step(high - low, ticks)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)][:200]


def log_limits(low: float, high: float) -> tuple[float, float]:
    """Positive limits moved outwards to 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten."""
    low, high = max(low, 1e-9), max(high, 2e-9)
    if high < low * 1.01:
        low, high = low / 1.5, high * 1.5
    return max(v for v in _log_grid(low / 10, low * 1.0000001)), min(v for v in _log_grid(high * 0.9999999, high * 10))


def log_ticks(low: float, high: float, ticks: int) -> list[float]:
    """Values for a logarithmic axis: powers of ten when they suffice, else 1-2-5 or finer."""
    for factors in ((1,), (1, 3), (1, 2, 5), _FINE):
        values = _log_grid(low * 0.9999999, high * 1.0000001, factors)
        if len(values) >= max(2, ticks // 2):
            break
    return values if len(values) >= 2 else [low, high]


def _log_grid(low: float, high: float, factors: tuple[float, ...] = _FINE) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [f * 10.0**p for p in range(first, last + 1) for f in factors if low <= f * 10.0**p <= high]


def short(value: float, digits: int = 3) -> str:
    """A number in at most six characters: 0.125, 4.2, 12k, 1.5M, 2e-05; in more when it needs more digits."""
    if value == 0:
        return "0"
    size = abs(value)
    if size < 0.001:
        return f"{value:.{max(0, digits - 3)}e}"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit * 0.99995:
            text = f"{value / limit:.{max(4, digits)}g}"
            return (text[:5].rstrip(".") if digits <= 4 else text) + unit
    return f"{value:.{digits}g}"


def clock(seconds: float) -> str:
    """A duration in words that fit a column: 8s, 1m 20s, 2h 05m, 3d 4h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def size(count: float) -> str:
    """Bytes in words: 512 B, 3.2 kB, 41 MB."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f} B"


def amount(count: float) -> str:
    """A count in words: 812, 12,340, 1.25 M."""
    if count < 100_000:
        return f"{count:,.0f}"
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count / 1e3:.0f} k"


def span(low: float, high: float) -> str:
    """Two counts with one unit: 2.2–4.4 M, 130–260 k."""
    def two(value: float) -> str:
        return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"

    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if high >= limit:
            return f"{two(low / limit)}–{two(high / limit)} {unit}"
    return f"{low:.0f}–{high:.0f}"
