"""The table of a bake-off: sorted by any column, and only rows that changed are painted again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.geometry import Region

from babytui import bakeoff_table as table
from babytui.bakeoff_progress import DONE, Row, ordered
from babytui.tui.safe import plain
from babytui.tui.widgets.table import RowTable

COLUMNS = ("model", *table.BY_KEY, "run")
TITLES = {"model": "model", "run": "run", **{column.key: column.title for column in table.COLUMNS}}


class Results(RowTable[Text]):
    """Rows of a bake-off. `shown`: as they stand; `sorted_by`, `reverse`: their order."""

    _quiet = False

    def __init__(self, id: str | None = None):
        super().__init__(id=id)
        self.shown: list[Row] = []
        self.sorted_by, self.reverse = "validation_loss", False
        self._drawn: dict[str, tuple[str, ...]] = {}
        self._widths: dict[str, int] = {}

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        return self.shown[self.cursor_row] if 0 <= self.cursor_row < len(self.shown) else None

    def show(self, found: Sequence[Row]) -> None:
        """Brings the table up to date with as few changes as possible."""
        rows = ordered(found, self.sorted_by, self.reverse)
        texts = {row.architecture.label: row_cells(row) for row in rows}
        scrolled = len(rows) >= self.size.height  # the heading takes a line
        widths = fitting(list(texts.values()), self.outer_size.width - scrolled) if rows else {}
        cells = {name: tuple(found[column] for column in widths) for name, found in texts.items()}
        if list(cells) == list(self._drawn) and widths == self._widths:
            for name, after in cells.items():
                before = self._drawn[name]
                self._change(name, {column: new for column, old, new in zip(widths, before, after, strict=True)
                                    if old != new})
            self.shown = rows
        else:
            self._rebuild(rows, cells, widths)
        self._drawn = cells

    def _change(self, row: str, texts: Mapping[str, str]) -> None:
        """Other texts in a row's cells. `update_cell` alone would paint the whole table every time."""
        if not texts:
            return
        self._quiet = True
        for column, text in texts.items():
            self.update_cell(row, column, _cell(column, text))
        self._quiet = False
        self.refresh_row(self.get_row_index(row))

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Results:
        if not self._quiet or layout or recompose:
            super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    def _rebuild(self, rows: list[Row], cells: dict[str, tuple[str, ...]], widths: dict[str, int]) -> None:
        mine, at = self.chosen, self.cursor_row
        same = bool(self._widths) and list(widths.items()) == list(self._widths.items())
        self._widths, self.shown = widths, rows
        roomy = sum(widths.values()) + 4 * len(widths) < self.outer_size.width
        self.cell_padding = 2 if roomy else 1
        self.clear(columns=not same)
        if not same:
            for name, width in widths.items():
                self.add_column(self._heading(name), key=name, width=width)
        for name, found in cells.items():
            self.add_row(*(_cell(c, t) for c, t in zip(widths, found, strict=True)), key=name)
        names = list(cells)
        label = mine.architecture.label if mine else ""
        if names:
            self.move_cursor(row=names.index(label) if label in names else max(0, min(at, len(names) - 1)),
                             animate=False)

    def _heading(self, name: str) -> Text:
        mark = ("▼" if self.reverse else "▲") if _sort_of(name) == self.sorted_by else ""
        return plain(f"{TITLES[name]}{mark}", justify="left" if name in ("model", "run") else "right")

    # --- order ------------------------------------------------------------------------------------

    def sort_next(self) -> None:
        """Sorts by the next column that is shown, the best first."""
        there = [_sort_of(name) for name in self._widths if name != "run"] or [self.sorted_by]
        at = there.index(self.sorted_by) if self.sorted_by in there else -1
        self._resort(there[(at + 1) % len(there)], False)

    def sort_by_heading(self, name: str) -> None:
        """Sorts by this column, or turns the order when it was sorted by it."""
        if name != "run":
            self._resort(_sort_of(name), not self.reverse if _sort_of(name) == self.sorted_by else False)

    def turn(self) -> None:
        """Reverses the order."""
        self._resort(self.sorted_by, not self.reverse)

    def _resort(self, name: str, reverse: bool) -> None:
        self.sorted_by, self.reverse = name, reverse
        self._widths = {}
        self.show(self.shown)


def _sort_of(column: str) -> str:
    return "architecture" if column == "model" else column


def row_cells(row: Row) -> dict[str, str]:
    """The texts of a row by column."""
    return {"model": row.architecture.label, **{column.key: table.cell(column, row.values) for column in table.COLUMNS},
            "run": "" if row.state == DONE else row.text}


def fitting(rows: Sequence[Mapping[str, str]], width: int) -> dict[str, int]:
    """The columns that fit into `width` cells with these texts, and how wide each is."""
    widths = {name: max([cell_len(TITLES[name]) + (name != "run"), *(cell_len(row[name]) for row in rows)])
              for name in COLUMNS if name != "run" or any(row["run"] for row in rows)}
    if "run" in widths:
        widths["run"] = max(widths["run"], len("training 100%"))  # so that nothing moves while one is trained
    for name in table.DROPPED:
        if sum(widths.values()) + 2 * len(widths) <= width:
            break
        widths.pop(name, None)
    return widths


def _cell(column: str, text: str) -> Text:
    style = {"training": "bold green", "measuring": "bold green", "failed": "red", "died": "red",
             "paused": "yellow", "waiting": "dim"}.get(text.split(" ")[0], "") if column == "run" else ""
    return plain(text, style=style, justify="left" if column in ("model", "run") else "right")
