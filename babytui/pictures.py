"""Numbers as pictures for every face: averaged into cells, counted into bins, and as characters that need no colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SHADES = " ░▒▓█"
BARS = " ▁▂▃▄▅▆▇█"


def edges(size: int, parts: int) -> np.ndarray:
    """Where `size` things are cut into at most `parts` stretches of about equal length: (parts + 1,), 0 to size."""
    parts = max(1, min(parts, size))
    return np.arange(parts + 1) * size // parts


def cells(values: np.ndarray, rows: int, columns: int, how: str = "mean") -> np.ndarray:
    """A matrix (R, C) brought down to at most (rows, columns): each cell is the mean, the largest ("max") or the root
    mean square ("rms") of its part. A smaller one stays as it is, but for "rms", which is of size."""
    values = np.asarray(values, np.float64)
    R, C = values.shape
    if not values.size:
        return np.zeros((0, 0))
    down, across = edges(R, rows), edges(C, columns)
    if how == "max":
        return np.maximum.reduceat(np.maximum.reduceat(values, down[:-1], 0), across[:-1], 1)
    if how == "rms":
        return np.sqrt(cells(values**2, rows, columns))
    sums = np.add.reduceat(np.add.reduceat(values, down[:-1], 0), across[:-1], 1)
    return sums / np.outer(np.diff(down), np.diff(across))


def levels(values: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
    """Which of `count` steps from low to high each value is on, from 0, any shape; the lowest where it is not finite.

    Only what is nearer to `low` than half a step is 0; whatever is `high` or more is count - 1.
    """
    values = np.asarray(values, np.float64)
    span = high - low
    share = np.divide(values - low, span) if span > 0 else np.zeros(values.shape)
    steps = np.rint(np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0) * (count - 1))
    return steps.astype(np.int64)


def shaded(values: np.ndarray, low: float, high: float, width: int = 1, ramp: str = SHADES) -> list[str]:
    """A matrix (R, C) as R lines of C shades from `low` (blank) to `high` (full), `width` characters each."""
    return ["".join(ramp[level] * width for level in row) for row in levels(values, low, high, len(ramp))]


def bars(values: np.ndarray, low: float, high: float, ramp: str = BARS) -> str:
    """A vector as one line of bars: one character each, from blank at `low` to full height at `high`."""
    return shaded(np.asarray(values)[None], low, high, ramp=ramp)[0] if len(values) else ""


def counted(counts: Sequence[int] | np.ndarray) -> str:
    """The counts of a histogram as bars; what is not empty shows, however small."""
    counts = np.asarray(counts, np.int64)
    steps = levels(counts, 0, max(1, counts.max(initial=0)), len(BARS))
    return "".join(BARS[max(step, 1) if count else 0] for step, count in zip(steps, counts, strict=True))


@dataclass(frozen=True)
class Summary:
    """A tensor in numbers. size: how many values. zeros: the share that is exactly 0. odd: how many are not finite;
    they count for nothing else. counts, edges: a histogram of equal bins from `low` to `high`, edges one more."""

    name: str
    shape: tuple[int, ...]
    size: int
    mean: float
    std: float
    low: float
    high: float
    zeros: float
    odd: int
    counts: tuple[int, ...]
    edges: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, under the names that people know: min and max."""
        found = asdict(self)
        found["min"], found["max"] = found.pop("low"), found.pop("high")
        found["not_finite"] = found.pop("odd")
        return found


def summary(name: str, array: Any, bins: int = 24) -> Summary:
    """A tensor of any shape in numbers, in float64; all 0 where nothing is finite."""
    shape = tuple(np.shape(array))
    flat = np.asarray(array, np.float64).reshape(-1)
    good = flat[np.isfinite(flat)]
    if not good.size:
        return Summary(name, shape, flat.size, 0.0, 0.0, 0.0, 0.0, 0.0, flat.size, (0,) * bins, (0.0,) * (bins + 1))
    low, high = float(good.min()), float(good.max())
    counts, borders = histogram(good, bins)
    return Summary(name, shape, flat.size, float(good.mean()), float(good.std()), low, high,
                   float((good == 0).mean()), flat.size - good.size, tuple(counts.tolist()), tuple(borders.tolist()))


def histogram(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """(counts (bins,), edges (bins + 1,)) of finite values, equal bins from the lowest to the highest. Where all are
    equal, the middle of bins a little to both sides."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        reach = max(abs(low) / 2, 0.5)
        low, high = low - reach, high + reach
    return np.histogram(values, bins, (low, high))


def summaries(arrays: Mapping[str, Any], bins: int = 24) -> Iterator[Summary]:
    """One after the other, of everything that holds numbers."""
    for name, array in arrays.items():
        if hasattr(array, "shape"):
            yield summary(name, array, bins)


def matrix(array: Any) -> np.ndarray:
    """Any tensor as rows and columns: a vector is one row, of more than two axes all but the last are rows."""
    array = np.asarray(array)
    return array.reshape(1, -1) if array.ndim < 2 else array.reshape(-1, array.shape[-1])


def labelled(tokens: Sequence[str], parts: int) -> list[str]:
    """Names for the rows of `cells` when tokens were brought down to at most `parts`: the first token of each."""
    return [tokens[start] for start in edges(len(tokens), parts)[:-1]]
