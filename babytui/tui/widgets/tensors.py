"""A model's tensors as a table: shape, numbers and a histogram in each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rich.text import Text
from textual import events

from babytui.tui.safe import plain
from babytui.tui.widgets.table import RowTable

if TYPE_CHECKING:
    from babytui.pictures import Summary

BINS = 12  # of a row's histogram
_COLUMNS = ("name", "histogram", "shape", "mean", "std", "min", "max", "zeros")
_DROPPED = ("zeros", "min", "max", "mean", "shape")  # where there is no room, the first goes first


class TensorTable(RowTable[Text]):
    """One row a tensor; as many columns as fit. Row keys are the tensors' names."""

    def __init__(self, *, id: str | None = None):
        super().__init__(id=id)
        self.summaries: list[Summary] = []
        self._shown: tuple[str, ...] = ()

    def show(self, summaries: Sequence[Summary]) -> None:
        """Shows these instead."""
        self.summaries, self._shown = list(summaries), ()
        self._fill()

    def on_resize(self, _event: events.Resize) -> None:
        self._fill()

    def _fill(self) -> None:
        rows = [dict(zip(_COLUMNS, _cells(one), strict=True)) for one in self.summaries]
        widths = {name: max([len(name), *(len(row[name]) for row in rows)]) for name in _COLUMNS}
        for name in _DROPPED:
            if sum(widths.values()) + 2 * len(widths) < self.size.width:
                break
            del widths[name]
        if not rows or tuple(widths) == self._shown:
            return
        at = self.cursor_row
        self.clear(columns=True)
        self._shown = tuple(widths)
        for name in widths:
            self.add_column(plain(name, justify=_side(name)), key=name, width=widths[name])
        for row in rows:
            self.add_row(*(plain(row[name], justify=_side(name)) for name in widths), key=row["name"])
        self.move_cursor(row=at)


def _side(column: str) -> Literal["left", "right"]:
    return "left" if column in ("name", "histogram") else "right"


def _cells(one: Summary) -> tuple[str, ...]:
    from babytui.pictures import counted

    return (one.name, counted(one.counts), "×".join(map(str, one.shape)) or "scalar",
            *(f"{value:.3g}" for value in (one.mean, one.std, one.low, one.high)), f"{100 * one.zeros:.0f} %")
