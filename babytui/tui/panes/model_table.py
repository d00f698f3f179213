"""The table of models: the columns that fit, marks, and as few changed cells as possible."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich.text import Text

from babytui.tui import backend
from babytui.tui.axis import amount, size
from babytui.tui.safe import plain
from babytui.tui.widgets.table import RowTable
from babytui.visible import cut, visible

# Columns that go first where there is no room for all (the info screen shows everything).
DROPPED = ("train loss", "steps", "size", "tokens", "kind", "date", "text", "age", "params")
COLUMNS = ("name", "state", "age", "kind", "params", "val. loss", "train loss", "steps", "tokens", "text", "date",
           "size")
NEWEST = "date"  # by which they are sorted at first: what is new is seen to be
_RIGHT = {"params", "val. loss", "train loss", "steps", "tokens", "size"}
MARK, UNMARKED = "● ", "  "
_LONGEST, _SHORTEST = 22, 8  # cells of a text, and of a name where there is no room


class ModelTable(RowTable[Text]):
    """Shows `shown`, the rows in their order; `draw` brings it up to date."""

    def __init__(self, id: str):
        super().__init__(id=id)
        self.listed: list[backend.Row] = []
        self._cells: dict[str, tuple[str, ...]] = {}
        self._widths: dict[str, int] = {}
        self._headings: dict[str, str] = {}

    @property
    def chosen(self) -> backend.Row | None:
        """The row under the cursor."""
        at = self.cursor_row
        return self.listed[at] if 0 <= at < len(self.listed) else None

    @property
    def hidden(self) -> bool:
        """Whether there is no room for some of the columns."""
        return len({*self._widths, "state"}) < len(COLUMNS)

    def draw(self, rows: Sequence[backend.Row], marked: Collection[str], sort: str, reverse: bool) -> None:
        """Shows these rows in this order. sort, reverse: told in the headings. The cursor stays on its row."""
        lead = {row.guid: (MARK if row.guid in marked else UNMARKED) if marked else "" for row in rows}
        texts = {row.guid: {name: visible(text, newlines=False) for name, text in
                            zip(COLUMNS, (lead[row.guid] + row.name, *row_cells(row)[1:]), strict=True)}
                 for row in rows}
        scrolled = len(rows) >= self.size.height  # the heading takes a line
        widths = fitting(list(texts.values()), self.outer_size.width - scrolled,
                         "" if sort == NEWEST else sort)
        cells = {guid: tuple(row[name] for name in widths) for guid, row in texts.items()}
        headings = {name: name + (("▼" if reverse else "▲") if name == sort else "") for name in widths}
        same = list(cells) == list(self._cells) and widths == self._widths and headings == self._headings
        chosen, before = self.chosen, self._cells
        self.listed, self._cells, self._headings = list(rows), cells, headings
        if not same:
            self._rebuild(cells, widths, chosen)
            return
        for guid, row in cells.items():
            for column, old, new in zip(widths, before[guid], row, strict=True):
                if old != new:
                    self.update_cell(guid, column, _cell(column, new, widths[column]))

    def _rebuild(self, cells: dict[str, tuple[str, ...]], widths: dict[str, int], chosen: backend.Row | None) -> None:
        at = self.cursor_row
        self._widths = widths
        self.clear(columns=True)
        for name, width in widths.items():
            self.add_column(plain(self._headings[name], justify="right" if name in _RIGHT else "left"), key=name,
                            width=width)
        for guid, texts in cells.items():
            self.add_row(*(_cell(c, t, widths[c]) for c, t in zip(widths, texts, strict=True)), key=guid)
        guids = list(cells)
        row = guids.index(chosen.guid) if chosen and chosen.guid in cells else min(at, len(guids) - 1)
        self.move_cursor(row=max(0, row), animate=False)


def row_cells(row: backend.Row) -> tuple[str, ...]:
    """The texts of a row, in the order of COLUMNS."""

    def number(value: float | None, text: str = "{:.4f}") -> str:
        return "–" if value is None else text.format(value)

    return (row.name, row.state, row.age, row.variant, "–" if row.parameters is None else amount(row.parameters),
            number(row.validation_loss), number(row.train_loss), number(row.steps, "{:,}"),
            "–" if row.tokens is None else amount(row.tokens), row.dataset or "–", row.date,
            "–" if row.bytes is None else size(row.bytes))


def fitting(rows: Sequence[Mapping[str, str]], width: int, sort: str = "") -> dict[str, int]:
    """The columns that fit into `width` cells with these texts, and how wide each is. sort: that they are sorted by,
    which stays."""
    widths = {name: max([len(name) + (name != "state"), *(min(len(row[name]), _LONGEST) for row in rows)])
              for name in COLUMNS if name != "state" or any(row[name] for row in rows)}
    for name in DROPPED:
        if sum(widths.values()) + 2 * len(widths) <= width:
            break
        if name != sort:
            widths.pop(name, None)
    over = sum(widths.values()) + 2 * len(widths) - width
    longest = max([widths["name"], *(len(row["name"]) for row in rows)])
    widths["name"] = max(_SHORTEST, min(longest, widths["name"] - over))
    return widths


def _cell(column: str, text: str, width: int) -> Text:
    style = {"training": "bold green", "paused": "yellow", "died": "red", "failed": "red"}.get(text.split(" ")[0], "") \
        if column == "state" else "bold" if column == "name" and text.startswith(MARK) else ""
    return plain(cut(text, width), style=style, justify="right" if column in _RIGHT else "left")
