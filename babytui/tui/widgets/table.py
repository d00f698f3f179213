"""A table of rows."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.widgets import DataTable

Cell = TypeVar("Cell")


class RowTable(DataTable[Cell]):
    """Its cursor is a row, so Home and End go to the first and last one, not to a column."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "scroll_top", show=False), Binding("end", "scroll_bottom", show=False),
    ]

    def __init__(self, *, id: str | None = None):
        super().__init__(cursor_type="row", id=id)
