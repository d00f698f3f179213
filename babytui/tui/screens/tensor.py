"""One tensor: its numbers, its histogram, and its rows and columns as shades that a cursor reads."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line, Lines

_WIDEST = 3  # characters of a cell, where there are few
_CLOSER = 2.0  # how much of each axis is left out by one step


class TensorPicture(Lines):
    """A matrix brought down to the cells that there is room for, with a cursor; `zoom` shows a part of it in more
    cells, down to single numbers."""

    can_focus = True
    HELP = ("A cell is the root mean square of the numbers that it stands for; blank is 0. The line below reads the "
            "cell under the cursor.")
    DEFAULT_CSS = "TensorPicture { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1, 0)", show=False), Binding("down,j", "move(1, 0)", show=False),
        Binding("left,h", "move(0, -1)", show=False), Binding("right,l", "move(0, 1)", show=False),
        Binding("pageup", "move(-8, 0)", show=False), Binding("pagedown", "move(8, 0)", show=False),
        Binding("home", "move(0, -100000)", show=False), Binding("end", "move(0, 100000)", show=False),
        Binding("plus,equals_sign,enter", "zoom(1)", show=False), Binding("minus", "zoom(-1)", show=False),
        Binding("0", "zoom(0)", show=False),
    ]

    def __init__(self, array: Any):
        from babytui import pictures

        super().__init__()
        self._matrix = pictures.matrix(array)
        self._window = (0, self._matrix.shape[0], 0, self._matrix.shape[1])  # rows from, to; columns from, to
        self._at = (0, 0)  # the row and column that are read; the cell is the one that holds them

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    @property
    def _room(self) -> int:
        """Columns for cells, beside the longest label there may be."""
        return max(1, self.size.width - len(str(self._matrix.shape[0])) * 2 - 4)

    def _cuts(self) -> tuple[list[int], list[int]]:
        """Where the cells begin and end, as rows and columns of the matrix."""
        from babytui import pictures

        top, bottom, left, right = self._window
        rows = max(1, self.size.height - 2)
        columns = self._room
        return ((pictures.edges(bottom - top, rows) + top).tolist(),
                (pictures.edges(right - left, columns) + left).tolist())

    def _draw(self) -> None:
        from babytui import pictures

        if not self.size.width or not self._matrix.size:
            return
        down, across = self._cuts()
        part = self._matrix[down[0]: down[-1], across[0]: across[-1]]
        shown = pictures.cells(part, len(down) - 1, len(across) - 1, "rms")
        row, column = _cell_of(self._at[0], down), _cell_of(self._at[1], across)
        labels = [_span(*pair) for pair in pairwise(down)]
        label = max(map(len, labels))
        lines: list[Line] = []
        wide = max(1, min(_WIDEST, self._room // shown.shape[1]))
        for y, text in enumerate(pictures.shaded(shown, 0, float(shown.max(initial=0)), wide)):
            head: Line = [(f"{labels[y]:>{label}}  ", "accent" if y == row else "dim")]
            lines.append([*head, (text, "train")] if y != row else
                         [*head, (text[:column * wide], "train"), (text[column * wide: (column + 1) * wide], "here"),
                          (text[(column + 1) * wide:], "train")])
        here = self._matrix[down[row]: down[row + 1], across[column]: across[column + 1]]
        lines += [[], _reading(here, _span(down[row], down[row + 1]), _span(across[column], across[column + 1]))]
        self.set_lines(lines)

    def action_move(self, down: int, right: int) -> None:
        """Moves the cursor by cells."""
        row, column = (cuts[min(max(0, _cell_of(at, cuts) + by), len(cuts) - 2)]
                       for at, by, cuts in zip(self._at, (down, right), self._cuts(), strict=True))
        self._at = (row, column)
        self._draw()

    def action_zoom(self, by: int) -> None:
        """Closer to the cursor, further away, or (0) the whole."""
        rows, columns = self._matrix.shape
        if not by:
            self._window = (0, rows, 0, columns)
        else:
            top, bottom, left, right = self._window
            self._window = (*_around(self._at[0], bottom - top, by, rows),
                            *_around(self._at[1], right - left, by, columns))
        self._draw()


class TensorScreen(ModalScreen[None]):
    """Shows one tensor until Esc."""

    HELP = TensorPicture.HELP
    CSS_PATH = ["dialogs.tcss", "info.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,ctrl+c", "dismiss", "Back")]

    def __init__(self, name: str, array: Any):
        super().__init__()
        self._tensor, self._array = name, array

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(self._tensor)
        box.border_subtitle = hint_content([("← ↑ ↓ →", "read"), ("+ - 0", "zoom"), ("Esc", "back")])
        with box:
            yield Lines(id="facts")
            yield TensorPicture(self._array)

    def on_mount(self) -> None:
        self.query_one("#facts", Lines).show(lambda width: fact_lines(self._tensor, self._array, width))
        self.set_focus(self.query_one(TensorPicture))


def fact_lines(name: str, array: Any, width: int) -> list[Line]:
    """A tensor in numbers, and its histogram as wide as there is room for."""
    from babytui import pictures

    one = pictures.summary(name, array, max(16, min(72, width - 22)))
    facts = [("shape", "×".join(map(str, one.shape)) or "scalar"), ("mean", f"{one.mean:.4g}"),
             ("std", f"{one.std:.4g}"), ("zeros", f"{100 * one.zeros:.2g} %")]
    if one.odd:
        facts.append(("not finite", f"{one.odd:,}"))
    lines: list[Line] = [[]]
    for label, value in facts:
        if lines[-1] and sum(len(text) for text, _ in lines[-1]) + len(label) + len(value) + 3 > width:
            lines.append([])
        lines[-1] += [(("  " if lines[-1] else "") + label + " ", "label"), (value, "value")]
    return [*lines, [(f"{one.edges[0]:>9.3g} ", "dim"), (pictures.counted(one.counts), "train"),
                     (f" {one.edges[-1]:.3g}", "dim")]]


def _reading(here: Any, rows: str, columns: str) -> Line:
    where: Line = [("row ", "label"), (rows, "value"), ("  column ", "label"), (columns, "value")]
    if here.size == 1:
        return [*where, ("  value ", "label"), (f"{float(here.reshape(-1)[0]):.6g}", "strong")]
    rms = float((here.astype("float64") ** 2).mean() ** 0.5)
    return [*where, ("  rms ", "label"), (f"{rms:.4g}", "strong"),
            ("  mean ", "label"), (f"{here.mean():.4g}", "value"),
            ("  from ", "label"), (f"{here.min():.4g}", "value"), (" to ", "label"), (f"{here.max():.4g}", "value")]


def _span(start: int, stop: int) -> str:
    return str(start) if stop - start <= 1 else f"{start}–{stop - 1}"


def _around(middle: int, span: int, by: int, size: int) -> tuple[int, int]:
    """A stretch around `middle`, shorter or longer than `span`, within 0 to size."""
    span = max(min(size, 4), min(size, round(span / _CLOSER if by > 0 else span * _CLOSER)))
    start = min(max(0, round(middle - span / 2)), size - span)
    return start, start + span


def _cell_of(place: int, cuts: list[int]) -> int:
    return next((n for n, (start, stop) in enumerate(pairwise(cuts)) if start <= place < stop), len(cuts) - 2)
