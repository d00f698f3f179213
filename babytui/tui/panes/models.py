"""Models: everything in the workspace and every live run, sorted and filtered; delete with undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Input

from babytui.tui import backend
from babytui.tui.axis import amount, size
from babytui.tui.messages import ChatAsked, Failed, FinetuneAsked, FormAsked, InfoAsked, ModelsChanged, WatchAsked
from babytui.tui.panes.base import Pane
from babytui.tui.threads import in_thread
from babytui.visible import visible

# Columns that go first where there is no room for all (the info screen shows everything).
DROPPED = ("size", "tokens", "kind", "date", "text", "age", "params")
COLUMNS = ("name", "state", "age", "kind", "params", "val. loss", "tokens", "text", "date", "size")
_RIGHT = {"params", "val. loss", "tokens", "size"}
SCAN_SECONDS = 2.0
_LONGEST = 22


class ModelsPane(Pane):
    """The third pane."""

    key, title = "F4", "Models"
    hints = (("⏎", "info"), ("c", "chat"), ("w", "watch"), ("f", "fine-tune"), ("d", "delete"), ("u", "undo"),
             ("/", "filter"), ("o", "sort"), ("O", "turn"), ("e", "form"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "info", "What is known about it (also Enter)"),
        Binding("c", "chat", "Talk to it"),
        Binding("w", "watch", "Show its training"),
        Binding("f", "finetune", "Let it learn another text (fine-tune)"),
        Binding("d", "delete", "Delete it (asks first)"),
        Binding("u", "undelete", "Bring back what was deleted last"),
        Binding("slash", "filter", "Show only rows with a word"),
        Binding("o", "sort", "Sort by the next column"),
        Binding("O", "reverse", "Reverse the order"),
        Binding("e", "to_form", "Put its configuration into the form"),
        Binding("escape", "unfilter", "Show all rows", show=False),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
    ]

    class Scanned(Message):
        """A thread has read the workspace."""

        def __init__(self, rows: list[backend.Row], signature: Any):
            super().__init__()
            self.rows, self.signature = rows, signature

    class Deleted(Message):
        """A thread has moved a model's files to the trash (or, `undone`, back)."""

        def __init__(self, deleted: Any, name: str, undone: bool = False):
            super().__init__()
            self.deleted, self.name, self.undone = deleted, name, undone

    def __init__(self) -> None:
        super().__init__("models")
        self._rows: list[backend.Row] = []
        self._shown: list[backend.Row] = []
        self._drawn: dict[str, tuple[str, ...]] = {}
        self._widths: dict[str, int] = {}
        self._signature: Any = None
        self._sort, self._reverse = "date", True
        self._trash: list[tuple[Any, str]] = []

    def compose(self) -> ComposeResult:
        yield Input(placeholder="filter: part of a name, text or state", compact=True, id="filter")
        yield DataTable(cursor_type="row", zebra_stripes=False, cell_padding=1, id="table")

    @property
    def table(self) -> DataTable[Text]:
        return self.query_one("#table", DataTable)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#filter").display = False

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self._draw)

    async def begin(self) -> None:
        """Reads the workspace now, and then whenever something changed in it."""
        self.scan()
        self.set_interval(SCAN_SECONDS, self.scan)

    def first_focus(self) -> Widget | None:
        return self.table

    def scan(self, force: bool = False) -> None:
        """Reads the workspace in a thread."""
        workspace = self.app.workspace  # type: ignore[attr-defined]
        before = None if force else self._signature

        def work() -> None:
            found = backend.rows(workspace, before)
            if found is not None:
                self.post_message(self.Scanned(*found))

        in_thread(self, work, "scan", exclusive=True)

    def on_models_pane_scanned(self, event: Scanned) -> None:
        self._rows, self._signature = event.rows, event.signature
        self._draw()

    def _draw(self) -> None:
        """Brings the table up to date with as few changes as possible."""
        word = self.query_one("#filter", Input).value.strip().lower()
        rows = [row for row in self._rows if word in row.searchable]
        rows.sort(key=lambda row: row.key(self._sort), reverse=self._reverse)
        rows.sort(key=lambda row: row.key(self._sort) is None or row.key(self._sort)[0])  # what is unknown goes last
        texts = {row.guid: {name: visible(text, newlines=False)
                            for name, text in zip(COLUMNS, row_cells(row), strict=True)} for row in rows}
        scrolled = len(rows) >= self.table.size.height  # the heading takes a line
        widths = fitting(list(texts.values()), self.table.outer_size.width - scrolled)
        columns = tuple(widths)
        cells = {guid: tuple(row[name] for name in columns) for guid, row in texts.items()}
        self.set_note(f"{len(rows)}" + (f" of {len(self._rows)} with '{word}'" if word else "")
                      + (", ⏎ shows more" if len({*columns, "state"}) < len(COLUMNS) else ""))
        if list(cells) == list(self._drawn) and widths == self._widths:
            self._update(cells)
        else:
            self._rebuild(cells, widths)
        self._drawn, self._shown = cells, rows

    def _update(self, cells: dict[str, tuple[str, ...]]) -> None:
        for guid, texts in cells.items():
            for column, old, new in zip(self._widths, self._drawn[guid], texts, strict=True):
                if old != new:
                    self.table.update_cell(guid, column, _cell(column, new))

    def _rebuild(self, cells: dict[str, tuple[str, ...]], widths: dict[str, int]) -> None:
        table, chosen, at = self.table, self.chosen, self.table.cursor_row
        self._widths = widths
        table.clear(columns=True)
        for name, width in widths.items():
            table.add_column(self._heading(name), key=name, width=width)
        for guid, texts in cells.items():
            table.add_row(*(_cell(c, t) for c, t in zip(widths, texts, strict=True)), key=guid)
        guids = list(cells)
        row = guids.index(chosen.guid) if chosen and chosen.guid in cells else min(at, len(guids) - 1)
        table.move_cursor(row=max(0, row), animate=False)

    @property
    def chosen(self) -> backend.Row | None:
        """The row under the cursor."""
        at = self.table.cursor_row
        return self._shown[at] if 0 <= at < len(self._shown) else None

    def _heading(self, name: str) -> Text:
        mark = ("▼" if self._reverse else "▲") if name == self._sort else ""
        return Text(f"{name}{mark}", justify="right" if name in _RIGHT else "left")

    def _sorted(self) -> None:
        self._widths = {}
        self._draw()

    def action_sort(self) -> None:
        self._sort = COLUMNS[(COLUMNS.index(self._sort) + 1) % len(COLUMNS)]
        self._sorted()

    def action_reverse(self) -> None:
        self._reverse = not self._reverse
        self._sorted()

    @on(DataTable.HeaderSelected)
    def _header(self, event: DataTable.HeaderSelected) -> None:
        event.stop()
        name = str(event.column_key.value)
        self._reverse = not self._reverse if name == self._sort else False
        self._sort = name
        self._sorted()

    def action_cursor(self, by: int) -> None:
        self.table.move_cursor(row=self.table.cursor_row + by)

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_unfilter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.table.focus()

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        event.stop()
        self._draw()

    @on(Input.Submitted, "#filter")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.table.focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "down" and self.query_one("#filter").has_focus:
            event.stop()
            self.table.focus()

    @on(DataTable.RowSelected)
    def _opened(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.action_info()

    def action_info(self) -> None:
        row = self.chosen
        if row is not None:
            self.post_message(InfoAsked(row.guid))

    def action_chat(self) -> None:
        if row := self._trained("talk"):
            self.post_message(ChatAsked(row.guid, row.name))

    def action_finetune(self) -> None:
        if row := self._trained("learn more"):
            self.post_message(FinetuneAsked(row.guid, row.name))

    def _trained(self, purpose: str) -> backend.Row | None:
        """The chosen row if it has a model; says why when it has none."""
        row = self.chosen
        if row is not None and not row.has_model:
            self.post_message(Failed(f"{row.name} has no model yet; it can {purpose} when it has been trained.",
                                     "warning"))
            return None
        return row

    def action_watch(self) -> None:
        row = self.chosen
        if row is not None and row.has_run:
            self.post_message(WatchAsked(row.guid))
        elif row is not None:
            self.post_message(Failed(f"{row.name} has no training to show: its run folder is not here.", "warning"))

    def action_to_form(self) -> None:
        row = self.chosen
        if row is not None and row.config:
            self.post_message(FormAsked(row.config, row.name))

    def action_delete(self) -> None:
        row = self.chosen
        if row is None:
            return
        if row.shipped:
            self.post_message(Failed("The baby that ships is part of the program and stays.", "warning"))
            return
        if row.live:
            self.post_message(Failed(f"{row.name} is still training; stop it first (w, then s).", "warning"))
            return
        from babytui.tui.screens.confirm import ConfirmScreen

        root = self.app.workspace.root  # type: ignore[attr-defined]
        names = [file.relative_to(root) if file.is_relative_to(root) else file for file in row.files]
        files = [visible(str(name), newlines=False) for name in names]
        lines = [f"{len(files)} files, {size(row.bytes or 0)}:", *(f"  {file}" for file in files), "",
                 "They move to the workspace's .trash; u brings them back until you quit."]

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._delete(row)

        self.app.push_screen(ConfirmScreen(f"Delete {visible(row.name, newlines=False)}?", lines, "Delete"), answered)

    def _delete(self, row: backend.Row) -> None:
        workspace = self.app.workspace  # type: ignore[attr-defined]

        def work() -> None:
            self.post_message(self.Deleted(backend.delete(workspace, row.guid), row.name))

        in_thread(self, work, "delete")

    def action_undelete(self) -> None:
        if not self._trash:
            self.post_message(Failed("Nothing was deleted since the app was opened.", "warning"))
            return
        deleted, name = self._trash.pop()
        workspace = self.app.workspace  # type: ignore[attr-defined]

        def work() -> None:
            backend.undelete(workspace, deleted)
            self.post_message(self.Deleted(deleted, name, undone=True))

        in_thread(self, work, "delete")

    def on_models_pane_deleted(self, event: Deleted) -> None:
        name = visible(event.name, newlines=False)
        if event.undone:
            self.notify(f"{name} is back.", markup=False)
        else:
            self._trash.append((event.deleted, event.name))
            self.notify(f"{name} was deleted; u brings it back.", markup=False)
        self.post_message(ModelsChanged())


def row_cells(row: backend.Row) -> tuple[str, ...]:
    """The texts of a row, in the order of COLUMNS."""
    return (row.name, row.state, row.age, row.variant,
            amount(row.parameters) if row.parameters is not None else "–",
            f"{row.validation_loss:.4f}" if row.validation_loss is not None else "–",
            amount(row.tokens) if row.tokens is not None else "–",
            row.dataset or "–", row.date, size(row.bytes) if row.bytes is not None else "–")


def fitting(rows: Sequence[Mapping[str, str]], width: int) -> dict[str, int]:
    """The columns that fit into `width` cells with these texts, and how wide each is."""
    widths = {name: max([len(name) + (name != "state"), *(min(len(row[name]), _LONGEST) for row in rows)])
              for name in COLUMNS if name != "state" or any(row[name] for row in rows)}
    for name in DROPPED:
        if sum(widths.values()) + 2 * len(widths) <= width:
            break
        widths.pop(name, None)
    return widths


def _cell(column: str, text: str) -> Text:
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    style = {"training": "bold green", "paused": "yellow", "died": "red", "failed": "red"}.get(text.split(" ")[0], "") \
        if column == "state" else ""
    return Text(text, style=style, justify="right" if column in _RIGHT else "left")
