"""A bake-off as a live table: sorted by any column, every row a model to open; and the earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable

from babytui.bakeoff_progress import DONE, Row
from babytui.tui import backend
from babytui.tui.axis import size
from babytui.tui.bakeoff_feed import Follower, Looked
from babytui.tui.bindings import bindings, key_of
from babytui.tui.messages import ChatAsked, Failed, ModelsChanged, WatchAsked
from babytui.tui.screens.bakeoff_lines import empty, head_lines, key_lines, now_lines, word_lines
from babytui.tui.subject import Subject, Subjects
from babytui.tui.threads import after_refresh, in_thread
from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.results import Results
from babytui.visible import visible

if TYPE_CHECKING:
    from babytui.bakeoff import BakeOff
    from babytui.bakeoff_progress import Progress


class BakeOffScreen(Screen[None]):
    """Follows one bake-off from a thread; it is a process of its own and goes on when the screen is left."""

    node = "bakeoff"  # its name in the registry of actions
    CSS_PATH = "bakeoff.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("bakeoff"),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
    ]

    class Opened(Message):
        """A thread has found the bake-off to show, or that there is none."""

        def __init__(self, progress: Progress | None):
            super().__init__()
            self.progress = progress

    class Listed(Message):
        """A thread has listed the bake-offs."""

        def __init__(self, found: list[tuple[str, str]]):
            super().__init__()
            self.found = found

    class Asked(Message):
        """A thread has found what a deletion takes away."""

        def __init__(self, bakeoff: BakeOff, name: str, lines: list[str], live: bool):
            super().__init__()
            self.bakeoff, self.name, self.lines, self.live = bakeoff, name, lines, live

    class Done(Message):
        """A thread has done something; `text` says what. gone: the bake-off that is shown was deleted."""

        def __init__(self, text: str, gone: bool = False):
            super().__init__()
            self.text, self.gone = text, gone

    def __init__(self) -> None:
        super().__init__()
        self.progress: Progress | None = None
        self.rows: list[Row] = []
        self.status = ""
        self._left: float | None = None
        self._follower: Follower | None = None
        self._serial = 0
        self._asked = False  # whether a new one was offered because there was none

    def compose(self) -> ComposeResult:
        yield Lines([[("bake-off", "strong")]], id="bakeoff-head")
        yield Results(id="bakeoff-table")
        yield Lines(id="bakeoff-words")
        yield Lines(id="bakeoff-now")
        yield Lines(id="bakeoff-keys")

    @property
    def table(self) -> Results:
        return self.query_one(Results)

    @property
    def workspace(self) -> Any:
        return self.app.workspace  # type: ignore[attr-defined]

    def on_mount(self) -> None:
        self.query_one("#bakeoff-keys", Lines).show(key_lines)
        self.table.focus()
        self.open("last")

    def on_unmount(self) -> None:
        if self._follower:
            self._follower.stop()

    def on_resize(self, event: events.Resize) -> None:
        after_refresh(self, self._draw)
        playground = self.app.playground  # type: ignore[attr-defined]
        playground.post_message(events.Resize(event.size, event.virtual_size, event.container_size))

    # --- which one --------------------------------------------------------------------------------

    def open(self, reference: str) -> None:
        """Shows another bake-off."""
        workspace = self.workspace
        in_thread(self, lambda: self.post_message(self.Opened(backend.open_bakeoff(workspace, reference))), "open",
                  exclusive=True)

    def on_bake_off_screen_opened(self, event: Opened) -> None:
        if self._follower:
            self._follower.stop()
        self.progress, self.rows, self.status, self._left = event.progress, [], "", None
        self._serial += 1
        self._draw()
        if event.progress is not None:
            self._follower = Follower(event.progress, self._serial, self.post_message)
            in_thread(self, self._follower.follow, "follow")
        elif not self._asked:
            self._asked = True
            self.action_new()

    @on(Looked)
    def _looked(self, event: Looked) -> None:
        if event.serial == self._serial:
            self.rows, self.status, self._left = event.rows, event.status, event.left
            self._draw()
        if self._follower:
            after_refresh(self, self._follower.taken)

    def action_new(self) -> None:
        """The form of a new one, with the playground's parameters."""
        from babytui.tui.screens.bakeoff_form import BakeOffForm

        form = self.app.playground.config.form  # type: ignore[attr-defined]
        values, wrong = form.read()
        if wrong:
            self.post_message(Failed(f"The form's parameters ({key_of('show config')}) are wrong: "
                                     f"{next(iter(wrong.values()))}"))
            return

        def begun(bakeoff: BakeOff | None) -> None:
            if bakeoff is not None:
                self.open(bakeoff.guid)

        self.app.push_screen(BakeOffForm(values), begun)

    def action_earlier(self) -> None:
        workspace = self.workspace
        in_thread(self, lambda: self.post_message(self.Listed(backend.bakeoffs(workspace))), "list", exclusive=True)

    def on_bake_off_screen_listed(self, event: Listed) -> None:
        from babytui.tui.screens.choose import ChooseScreen

        if not event.found:
            self.post_message(Failed(empty(), "warning"))
            return
        named = {visible(text, newlines=False): guid for guid, text in event.found}
        now = next((text for text, guid in named.items() if self.progress and guid == self.progress.bakeoff.guid), "")

        def done(text: str | None) -> None:
            if text is not None:
                self.open(named[text])

        self.app.push_screen(ChooseScreen("bake-offs", list(named), now), done)

    # --- the table --------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.table.show(self.rows)
        self._show_lines()

    def _show_lines(self) -> None:
        progress, rows, status, left = self.progress, self.rows, self.status, self._left
        message = "" if progress is None else progress.bakeoff.message if status == "failed" else progress.waits
        self.query_one("#bakeoff-head", Lines).show(lambda width: head_lines(progress, rows, status, left, width))
        self.query_one("#bakeoff-now", Lines).show(lambda width: now_lines(rows, status, message, width))
        self._show_words()

    def _show_words(self) -> None:
        row, sorted_by = self.chosen, self.table.sorted_by if self.rows else ""
        self.query_one("#bakeoff-words", Lines).show(lambda width: word_lines(row, sorted_by))

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        return self.table.chosen

    @on(DataTable.RowHighlighted)
    def _moved(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self._show_words()

    @on(DataTable.HeaderSelected)
    def _header(self, event: DataTable.HeaderSelected) -> None:
        event.stop()
        self.table.sort_by_heading(str(event.column_key.value))
        self._show_lines()

    def action_sort(self) -> None:
        self.table.sort_next()
        self._show_lines()

    def action_turn(self) -> None:
        self.table.turn()
        self._show_lines()

    def action_cursor(self, by: int) -> None:
        self.table.move_cursor(row=self.table.cursor_row + by)

    # --- its models -------------------------------------------------------------------------------

    @on(DataTable.RowSelected)
    def _opened(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.action_info()

    def _model(self) -> tuple[str, str] | None:
        """GUID and name of the chosen row's model; says why when it has none."""
        row = self.chosen
        if row is None:
            return None
        if row.state == DONE or row.state in ("trained", "measuring"):
            return str(row.values["guid"]), str(row.values.get("name") or row.architecture.label)
        why = row.values.get("error") or f"it is {row.text}."
        self.post_message(Failed(f"{row.architecture.label} has no model: {why}", "warning"))
        return None

    def subjects(self) -> Subjects:
        """The chosen row's model, also while it is trained."""
        row = self.chosen
        if row is None:
            return "There is no model here yet."
        if not row.values.get("guid"):
            return f"{row.architecture.label} has no model to look into: it is {row.text}."
        return [Subject(str(row.values["guid"]), row.architecture.label)]

    def action_info(self) -> None:
        from babytui.tui.screens.info import InfoScreen

        if model := self._model():
            self.app.push_screen(InfoScreen(self.workspace, model[0]))

    def action_chat(self) -> None:
        if model := self._model():
            self.app.playground.post_message(ChatAsked(*model))  # type: ignore[attr-defined]
            self.dismiss()

    def action_watch(self) -> None:
        row = self.chosen
        if row is not None and row.values.get("guid"):
            self.app.playground.post_message(WatchAsked(str(row.values["guid"])))  # type: ignore[attr-defined]
            self.dismiss()
        elif row is not None:
            self.post_message(Failed(f"{row.architecture.label} has not been trained; "
                                     f"{key_of('bakeoff resume')} goes on with what is missing.", "warning"))

    # --- the bake-off itself ----------------------------------------------------------------------

    def _do(self, work: Callable[[BakeOff], str], name: str = "", **values: Any) -> None:
        """Does something to the bake-off in a thread and says what it came to. name, values: the action that does it
        on the command line."""
        if self.progress is None:
            self.post_message(Failed(empty(), "warning"))
            return
        bakeoff = self.progress.bakeoff
        did = self.app.did  # type: ignore[attr-defined]

        def done() -> None:
            text = work(bakeoff)
            if name:
                self.app.call_from_thread(did, name, {"bakeoff": bakeoff.guid, **values})
            self.post_message(self.Done(text))

        in_thread(self, done, "do")

    def action_stop(self) -> None:
        def work(bakeoff: BakeOff) -> str:
            bakeoff.stop()
            return "It stops after this step."

        self._do(work, "bakeoff stop")

    def action_resume(self) -> None:
        retry = self.progress is not None and self.progress.bakeoff.status() == "finished"

        def work(bakeoff: BakeOff) -> str:
            bakeoff.resume(retry=retry)
            return "It goes on."

        self._do(work, "bakeoff resume", retry=retry)

    def action_export(self) -> None:
        progress, values = self.progress, [row.values for row in self.table.shown]

        def work(_bakeoff: BakeOff) -> str:
            assert progress is not None
            paths = backend.export_bakeoff(progress, values)
            return f"{' and '.join(path.name for path in paths)} are in {paths[0].parent}."

        self._do(work)

    def action_delete(self) -> None:
        if self.progress is None:
            self.post_message(Failed(empty(), "warning"))
            return
        bakeoff = self.progress.bakeoff

        def work() -> None:
            models = bakeoff.models()
            lines = [f"{len(models)} models, {size(sum(model.bytes for model in models))}:",
                     *(f"  {visible(model.name, newlines=False)}  {model.guid[:8]}" for model in models), "",
                     "They move to the trash with the table; `babytui trash restore` brings them back."]
            if bakeoff.alive:
                lines[:0] = ["It is at work. It will be stopped and then deleted.", ""]
            self.post_message(self.Asked(bakeoff, bakeoff.name, lines, bakeoff.alive))

        in_thread(self, work, "ask")

    def on_bake_off_screen_asked(self, event: Asked) -> None:
        from babytui.tui.screens.confirm import ConfirmScreen

        bakeoff, name = event.bakeoff, visible(event.name, newlines=False)

        def work() -> None:
            if event.live:
                backend.halt_bakeoff(bakeoff)
            bakeoff.delete()
            self.app.call_from_thread(self.app.did, "bakeoff delete",  # type: ignore[attr-defined]
                                      {"bakeoff": bakeoff.guid, "stop": event.live})
            self.post_message(self.Done(f"{name} and its models are in the trash.", gone=True))

        def answered(agreed: bool | None) -> None:
            if agreed:
                if event.live:
                    self.notify(f"Stopping {name}…", markup=False)
                in_thread(self, work, "do")

        self.app.push_screen(ConfirmScreen(f"Delete {name} and its models?", event.lines,
                                           "Stop and delete" if event.live else "Delete"), answered)

    def on_bake_off_screen_done(self, event: Done) -> None:
        self.notify(visible(event.text, newlines=False), markup=False, timeout=6)
        if event.gone:
            self.app.playground.post_message(ModelsChanged())  # type: ignore[attr-defined]
            self.open("last")

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        event.stop()
        severity: Any = event.severity
        self.notify(visible(event.text), severity=severity, markup=False, timeout=8)

    def action_back(self) -> None:
        self.dismiss()
