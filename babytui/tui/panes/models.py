"""Models: everything in the workspace and every live run, sorted, filtered and marked; what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Input

from babytui.tui import backend
from babytui.tui.axis import size
from babytui.tui.bindings import bindings, key_of
from babytui.tui.messages import (
    ChatAsked,
    CompareAsked,
    FinetuneAsked,
    FormAsked,
    InfoAsked,
    Listed,
    ModelsChanged,
    WatchAsked,
)
from babytui.tui.model_filter import HELP, Filter
from babytui.tui.panes.base import paragraph
from babytui.tui.panes.deleting import Deleting
from babytui.tui.panes.model_table import COLUMNS, NEWEST, ModelTable
from babytui.tui.subject import Subject
from babytui.tui.threads import after_refresh, in_thread
from babytui.tui.widgets.lines import Lines
from babytui.visible import visible
from store.names import check_name, check_note

SCAN_SECONDS = 2.0


class ModelsPane(Deleting):
    """The third pane."""

    title = "Models"
    keys_before = (("⏎", "info"),)
    keys_first = ("talk", "mark", "compare", "filter", "delete", "undo", "finetune", "rename", "annotate", "export")
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("models"),
        Binding("escape", "unfilter", "Show all rows, take the marks away", show=False),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
    ]

    class Scanned(Message):
        """A thread has read the workspace."""

        def __init__(self, rows: list[backend.Row], signature: Any):
            super().__init__()
            self.rows, self.signature = rows, signature

    class Done(Message):
        """A thread has done something else to a model; `text` says what."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__("models")
        self._rows: list[backend.Row] = []
        self._signature: Any = None
        self._sort, self._reverse = NEWEST, True
        self._filter = Filter("")

    def compose(self) -> ComposeResult:
        yield Input(placeholder=HELP, compact=True, id="filter")
        yield Lines(id="filter-words")
        yield ModelTable("table")

    @property
    def table(self) -> ModelTable:
        return self.query_one(ModelTable)

    @property
    def _shown(self) -> list[backend.Row]:
        return self.table.listed

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#filter").display = self.query_one("#filter-words").display = False

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        after_refresh(self, self._draw)

    async def begin(self) -> None:
        """Reads the workspace now, and then whenever something changed in it."""
        self.scan()
        self.set_interval(SCAN_SECONDS, self.scan)

    def first_focus(self) -> Widget | None:
        return self.table

    # --- the table --------------------------------------------------------------------------------

    def scan(self, force: bool = False) -> None:
        """Reads the workspace in a thread."""
        workspace = self._workspace
        before = None if force else self._signature

        def work() -> None:
            found = backend.rows(workspace, before)
            if found is not None:
                self.post_message(self.Scanned(*found))

        in_thread(self, work, "scan", exclusive=True)

    def on_models_pane_scanned(self, event: Scanned) -> None:
        before = {row.guid: row for row in self._rows}
        self._rows, self._signature = event.rows, event.signature
        known = {row.guid: row for row in self._rows}
        names = {guid: known[guid].name for guid in known.keys() & before.keys()
                 if known[guid].name != before[guid].name}
        come = {guid for guid, row in known.items() if row.has_run and not (guid in before and before[guid].has_run)}
        gone = before.keys() - known.keys()
        if names or come or gone:
            self.post_message(Listed(names, come, gone))
        self.marked &= {row.guid for row in self._rows}
        self._draw()

    def _draw(self) -> None:
        rows = [row for row in self._rows if self._filter.fits(row)]
        rows.sort(key=lambda row: row.key(self._sort), reverse=self._reverse)
        rows.sort(key=lambda row: row.key(self._sort) is None or row.key(self._sort)[0])  # what is unknown goes last
        self.table.draw(rows, self.marked, self._sort, self._reverse)
        seen = sum(row.guid in self.marked for row in rows)
        self.set_note(f"{len(rows)}" + (f" of {len(self._rows)} with '{self._filter.text}'" if self._filter else "")
                      + (f", {len(self.marked)} marked" if self.marked else "")
                      + (f" ({len(self.marked) - seen} not shown)" if seen < len(self.marked) else "")
                      + (", ⏎ shows more" if self.table.hidden and not self.marked else ""))

    @property
    def chosen(self) -> backend.Row | None:
        """The row under the cursor."""
        return self.table.chosen

    def _row(self) -> backend.Row | None:
        """The row that a key is about; says so where there is none."""
        if self.chosen is None and self._rows:
            self._warn(f"No model fits the filter '{self._filter.text}'; Esc shows all again.")
        return self.chosen

    def _picked(self) -> list[backend.Row]:
        """The marked rows as they are sorted, else the one under the cursor."""
        if self.marked:
            order = {row.guid: n for n, row in enumerate(self._shown)}
            return sorted((row for row in self._rows if row.guid in self.marked),
                          key=lambda row: order.get(row.guid, len(order)))
        row = self._row()
        return [row] if row else []

    @property
    def known(self) -> list[backend.Row]:
        """All rows, whatever is filtered."""
        return self._rows

    def row(self, guid: str) -> backend.Row | None:
        """The row of a model, if it is known."""
        return next((row for row in self._rows if row.guid == guid), None)

    def action_sort(self) -> None:
        self._sort_by(COLUMNS[(COLUMNS.index(self._sort) + 1) % len(COLUMNS)])

    def _sort_by(self, name: str) -> None:
        self._sort = name
        self._draw()

    def action_sort_by(self) -> None:
        """Offers the columns, also those that have no room."""
        from babytui.tui.screens.choose import ChooseScreen

        def answered(name: str | None) -> None:
            if name is not None:
                self._sort_by(name)

        self.app.push_screen(ChooseScreen("Sort by", list(COLUMNS), self._sort), answered)

    def action_reverse(self) -> None:
        self._reverse = not self._reverse
        self._draw()

    @on(DataTable.HeaderSelected)
    def _header(self, event: DataTable.HeaderSelected) -> None:
        event.stop()
        name = str(event.column_key.value)
        self._reverse = not self._reverse if name == self._sort else False
        self._sort_by(name)

    def action_cursor(self, by: int) -> None:
        self.table.move_cursor(row=self.table.cursor_row + by)

    def action_mark(self) -> None:
        """Marks the row, or takes its mark away, and goes on to the next."""
        if self.chosen is not None:
            self.marked ^= {self.chosen.guid}
            self._draw()
            self.action_cursor(1)

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        self.screen.set_focus(field)  # at once: the next key may be on its way
        self._tell_filter()

    def action_unfilter(self) -> None:
        field = self.query_one("#filter", Input)
        if not field.display and not self._filter and self.marked:
            self.marked.clear()
            self._draw()
            return
        field.value = ""
        self.screen.set_focus(self.table)
        field.display = self.query_one("#filter-words").display = False

    @on(Input.Changed, "#filter")
    def _filtered(self, event: Input.Changed) -> None:
        event.stop()
        self._filter = Filter(event.value)
        self._tell_filter()
        self._draw()

    def _tell_filter(self) -> None:
        problem, words = self._filter.problem, self.query_one("#filter-words", Lines)
        words.display = bool(problem)
        words.show(lambda width: paragraph(problem, width, "bad"))

    @on(Input.Submitted, "#filter")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.set_focus(self.table)
        self.query_one("#filter").display = bool(self._filter)

    def on_key(self, event: events.Key) -> None:
        if event.key == "down" and self.query_one("#filter").has_focus:
            event.stop()
            self.screen.set_focus(self.table)

    # --- what is asked of other places ------------------------------------------------------------

    @on(DataTable.RowSelected)
    def _opened(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.action_info()

    def action_info(self) -> None:
        if row := self._row():
            self.post_message(InfoAsked(row.guid))

    def action_chat(self) -> None:
        row = self._row()
        if row is not None and not row.live:  # of a live run the checkpoints can talk
            row = self._trained(row, "talk")
        if row is not None:
            self.post_message(ChatAsked(row.guid, row.name))

    def action_microscope(self) -> None:
        row = self._row()
        if row is not None and not row.live:
            row = self._trained(row, "be looked into")
        if row is not None:
            self.app.look_into(Subject(row.guid))  # type: ignore[attr-defined]

    def action_finetune(self) -> None:
        if (row := self._row()) and self._trained(row, "learn more"):
            self.post_message(FinetuneAsked(row.guid, row.name))

    def _trained(self, row: backend.Row, purpose: str) -> backend.Row | None:
        """This row if it has a model; says why when it has none."""
        if not row.has_model:
            self._warn(f"{row.name} has no model yet; it can {purpose} when it has been trained. "
                       f"{key_of('attach')} shows how far it is.")
            return None
        return row

    def action_watch(self) -> None:
        row = self._row()
        if row is not None and row.has_run:
            self.post_message(WatchAsked(row.guid))
        elif row is not None:
            self._warn(f"{row.name} has no training to show: its run folder is not here. "
                       f"{key_of('info')} shows its report.")

    def action_to_form(self) -> None:
        row = self._row()
        if row is not None and row.config:
            self.post_message(FormAsked(row.config, row.name))

    def action_compare(self) -> None:
        """Compares what is marked; with less than two of them, asks what to compare the chosen one with."""
        rows = self._picked()
        if len(rows) == 1 and self.chosen is not None and self.chosen is not rows[0]:
            rows = [*rows, self.chosen]
        if rows:
            self.compare(rows)

    def compare(self, rows: Sequence[backend.Row]) -> None:
        """Opens the comparison of these rows; of one alone, asks for another."""
        if len(rows) > 1:
            self.app.did("compare", {"guid": [row.guid for row in rows]})  # type: ignore[attr-defined]
            self.post_message(CompareAsked([row.guid for row in rows]))
            return
        from babytui.tui.screens.choose import ChooseScreen

        others = {f"{visible(row.name, newlines=False)}  {row.guid[:8]}": row for row in self._rows
                  if row.guid != rows[0].guid}
        if not others:
            self._warn("There is no other model to compare it with.")
            return

        def answered(label: str | None) -> None:
            if label is not None:
                self.compare([rows[0], others[label]])

        title = f"Compare {visible(rows[0].name, newlines=False)} with"
        self.app.push_screen(ChooseScreen(title, list(others)), answered)

    # --- names, notes, archives -------------------------------------------------------------------

    def action_rename(self) -> None:
        if row := self._row():
            self.rename(row)

    def rename(self, row: backend.Row) -> None:
        """Asks for another name."""
        from babytui.tui.screens.ask import AskScreen

        if self._fixed(row):
            return
        now = "" if row.guid.startswith(row.name) else row.name

        def answered(name: str | None) -> None:
            if name is not None and name != now:
                self._do("rename", {"guid": row.guid, "name": name},
                         lambda: backend.rename(self._workspace, row.guid, name),
                         f"{row.name} is now called {name}." if name else f"{row.name} has no name any more.")

        self.app.push_screen(AskScreen(f"Rename {row.name}", now, check=check_name,
                                       help="Letters, digits and spaces; an empty name takes it away."), answered)

    def action_annotate(self) -> None:
        if row := self._row():
            self.annotate(row)

    def annotate(self, row: backend.Row) -> None:
        """Asks for a note."""
        from babytui.tui.screens.ask import AskScreen

        if self._fixed(row):
            return

        def answered(text: str | None) -> None:
            if text is not None and text != row.note:
                self._do("annotate", {"guid": row.guid, "text": text},
                         lambda: backend.annotate(self._workspace, row.guid, text),
                         f"The note is kept with {row.name}." if text.strip() else f"{row.name} has no note any more.")

        self.app.push_screen(AskScreen(f"Note on {row.name}", row.note, check=check_note, lines=True,
                                       help="Info shows it, and the filter finds it; an empty note removes it."),
                             answered)

    def _fixed(self, row: backend.Row) -> bool:
        if row.shipped:
            self._warn("The baby that ships is part of the program and stays as it is.")
        return row.shipped

    def action_export(self) -> None:
        self.export(self._picked())

    def export(self, rows: Sequence[backend.Row]) -> None:
        """Asks where to write an archive of each."""
        from babytui.cli.exporting import place
        from babytui.tui.screens.ask import AskScreen

        if rows and not (rows := [row for row in rows if row.has_model]):
            self._warn(f"There is no model yet that could be exported; {key_of('train')} trains one.")
        if not rows:
            return
        one = rows[0]
        path = str(place(str(Path.cwd()), one.name, one.guid)) if len(rows) == 1 else f"{Path.cwd()}/"

        def answered(to: str | None) -> None:
            for row in rows if to else []:
                self._do("export", {"guid": row.guid, "to": to}, partial(self._exported, row, str(to)))

        title = f"Export {one.name}" if len(rows) == 1 else f"Export {len(rows)} models"
        what = "The file to write" if len(rows) == 1 else "The folder for an archive of each"
        self.app.push_screen(AskScreen(title, path, help=f"{what}; nothing is replaced. babytui import reads it."),
                             answered)

    def _exported(self, row: backend.Row, to: str) -> str:
        path, count = backend.export(self._workspace, row.guid, to)
        return f"{row.name}: {path} ({size(count)})"

    def _do(self, name: str, values: dict[str, Any], work: Callable[[], Any], text: str = "") -> None:
        """Does it in a thread, says what it was, and remembers it as a command. work: may return what to say."""

        def job() -> None:
            said = work()
            self.post_message(self.Done(visible(said if isinstance(said, str) else text, newlines=False)))

        self.app.did(name, values)  # type: ignore[attr-defined]
        in_thread(self, job, "models")

    def on_models_pane_done(self, event: Done) -> None:
        self.notify(event.text, markup=False)
        self._changed()

    def _changed(self) -> None:
        self.scan(force=True)
        self.post_message(ModelsChanged())
        if (again := getattr(self.app.screen, "read_again", None)) is not None:
            again()

    # --- deleting ---------------------------------------------------------------------------------

    def action_delete(self) -> None:
        if rows := self._picked():
            self.delete(rows)


__all__ = ["ModelsPane"]
