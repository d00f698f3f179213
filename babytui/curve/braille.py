"""A canvas of braille dots: two dots wide and four high per character cell. Pure Python, no Textual."""

from __future__ import annotations

from collections.abc import Iterable

# Bit of the dot at (column, row) inside a cell; Unicode numbers the dots down the left side first.
_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
BLOCKS = "▁▂▃▄▅▆▇█"

Cell = tuple[str, int]
"""A character and the number of the layer that drew it last (-1: none)."""


class Canvas:
    """Curves drawn in layers; in cells that two layers share, their colours alternate."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self._dots = [[0] * width for _ in range(height)]
        self._layer = [[-1] * width for _ in range(height)]

    def dot(self, x: int, y: int, layer: int) -> None:
        """Dot column x (0 is left), dot row y (0 is top); outside the canvas nothing is drawn."""
        if 0 <= x < self.width * 2 and 0 <= y < self.height * 4:
            self._dots[y // 4][x // 2] |= _BITS[x % 2][y % 4]
            shared = self._layer[y // 4][x // 2] not in (-1, layer)
            if not shared or (x // 2) % 2:
                self._layer[y // 4][x // 2] = layer

    def line(self, points: Iterable[tuple[float, float]], layer: int, dotted: bool = False) -> None:
        """Connects points given as fractions (0, 0 = bottom left; 1, 1 = top right), in order of x. dotted: with gaps.

        Points that fall into one dot column are averaged first: a curve of any length costs one line per column.
        """
        columns: dict[int, tuple[float, int]] = {}
        for fx, fy in points:
            x = round(fx * (self.width * 2 - 1))
            total, count = columns.get(x, (0.0, 0))
            columns[x] = (total + fy, count + 1)
        before: tuple[int, int] | None = None
        for x in sorted(columns):
            total, count = columns[x]
            y = round((1 - total / count) * (self.height * 4 - 1))
            if before is None:
                self.dot(x, y, layer)
            else:
                self._segment(*before, x, y, layer, dotted)
            before = (x, y)

    def _segment(self, x0: int, y0: int, x1: int, y1: int, layer: int, dotted: bool = False) -> None:
        y0, y1 = (max(-1, min(self.height * 4, y)) for y in (y0, y1))  # a far outlier costs no more than a column
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for n in range(steps + 1):
            x, y = round(x0 + (x1 - x0) * n / steps), round(y0 + (y1 - y0) * n / steps)
            if not dotted or (x + y) % 3 == 0:
                self.dot(x, y, layer)

    def row(self, y: int) -> list[Cell]:
        """The cells of one row; an empty cell is a space."""
        return [(chr(0x2800 | dots) if dots else " ", layer)
                for dots, layer in zip(self._dots[y], self._layer[y], strict=True)]


def sparkline(values: list[float], width: int) -> str:
    """The values as one line of blocks, at most `width` characters, averaged when there are more values."""
    if not values or width < 1:
        return ""
    count = min(width, len(values))
    bins = [values[n * len(values) // count: max(n * len(values) // count + 1, (n + 1) * len(values) // count)]
            for n in range(count)]
    means = [sum(b) / len(b) for b in bins]
    low, high = min(means), max(means)
    span = high - low or 1.0
    return "".join(BLOCKS[round((mean - low) / span * (len(BLOCKS) - 1))] for mean in means)
