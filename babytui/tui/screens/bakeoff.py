"""A bake-off as a live table: sorted by any column, every row a model to open; and the earlier ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.geometry import Region
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable

from babytui import bakeoff_table as table
from babytui.bakeoff_progress import DONE, FAILED, Row, ordered
from babytui.tui import backend
from babytui.tui.axis import clock, size
from babytui.tui.messages import ChatAsked, Failed, ModelsChanged, WatchAsked
from babytui.tui.threads import in_thread
from babytui.tui.widgets.lines import Line, Lines
from babytui.visible import visible

if TYPE_CHECKING:
    from babytui.bakeoff import BakeOff
    from babytui.bakeoff_progress import Progress

COLUMNS = ("model", *table.BY_KEY, "run")
TITLES = {"model": "model", "run": "run", **{column.key: column.title for column in table.COLUMNS}}
KEYS = (("n", "new"), ("l", "earlier"), ("⏎", "info"), ("c", "chat"), ("w", "watch"), ("o", "sort"), ("O", "turn"),
        ("x", "export"), ("s", "stop"), ("r", "resume"), ("d", "delete"), ("Esc", "back"))
PERIOD, IDLE_PERIOD = 0.5, 2.0  # seconds between two looks at one that is at work, and at one that is not
EMPTY = "There is no bake-off yet; n starts one."


class Table(DataTable[Text]):
    """A table in which a changed cell repaints itself and nothing else."""

    _quiet = False

    def change(self, row: str, column: str, value: Text) -> None:
        """Shows another text of the same width in this cell."""
        self._quiet = True
        self.update_cell(row, column, value)
        self._quiet = False
        self.refresh_coordinate(Coordinate(self.get_row_index(row), self.get_column_index(column)))

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Table:
        if self._quiet and not layout and not recompose:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)


class BakeOffScreen(Screen[None]):
    """Follows one bake-off from a thread; it is a process of its own and goes on when the screen is left."""

    CSS_PATH = "bakeoff.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "A new bake-off"),
        Binding("l", "earlier", "The earlier ones"),
        Binding("i", "info", "What is known about the model (also Enter)"),
        Binding("c", "chat", "Talk to the model"),
        Binding("w", "watch", "Show its training"),
        Binding("o", "sort", "Sort by the next column"),
        Binding("O", "turn", "Reverse the order"),
        Binding("x", "export", "Write the table as CSV and JSON"),
        Binding("s", "stop", "Stop what is being trained, and the bake-off"),
        Binding("r", "resume", "Go on with what is missing, or try again what failed"),
        Binding("d", "delete", "Delete it with all its models (asks first)"),
        Binding("escape,q", "back", "Back; it goes on"),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
    ]

    class Opened(Message):
        """A thread has found the bake-off to show, or that there is none."""

        def __init__(self, progress: Progress | None):
            super().__init__()
            self.progress = progress

    class Looked(Message):
        """A thread has looked at it: its rows, how it stands, and seconds left."""

        def __init__(self, serial: int, rows: list[Row], status: str, left: float | None):
            super().__init__()
            self.serial, self.rows, self.status, self.left = serial, rows, status, left

    class Listed(Message):
        """A thread has listed the bake-offs."""

        def __init__(self, found: list[tuple[str, str]]):
            super().__init__()
            self.found = found

    class Asked(Message):
        """A thread has found what a deletion takes away."""

        def __init__(self, bakeoff: BakeOff, name: str, lines: list[str]):
            super().__init__()
            self.bakeoff, self.name, self.lines = bakeoff, name, lines

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
        self._shown: list[Row] = []
        self._drawn: dict[str, tuple[str, ...]] = {}
        self._widths: dict[str, int] = {}
        self._sort, self._reverse = "validation_loss", False
        self._follower: Follower | None = None
        self._serial = 0
        self._asked = False  # whether a new one was offered because there was none

    def compose(self) -> ComposeResult:
        yield Lines([[("bake-off", "strong")]], id="bakeoff-head")
        yield Table(cursor_type="row", zebra_stripes=False, cell_padding=1, id="bakeoff-table")
        yield Lines(id="bakeoff-words")
        yield Lines(id="bakeoff-now")
        yield Lines(id="bakeoff-keys")

    @property
    def table(self) -> Table:
        return self.query_one(Table)

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
        self.call_after_refresh(self._draw)

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

    def on_bake_off_screen_looked(self, event: Looked) -> None:
        if event.serial == self._serial:
            self.rows, self.status, self._left = event.rows, event.status, event.left
            self._draw()
        if self._follower:
            self.call_after_refresh(self._follower.taken)

    def action_new(self) -> None:
        """The form of a new one, with the playground's parameters."""
        from babytui.tui.screens.bakeoff_form import BakeOffForm

        form = self.app.playground.config.form  # type: ignore[attr-defined]
        values, wrong = form.read()
        if wrong:
            self.post_message(Failed(f"The form's parameters (F2) are wrong: {next(iter(wrong.values()))}"))
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
            self.post_message(Failed("There is no bake-off yet; n starts one.", "warning"))
            return
        named = {visible(text, newlines=False): guid for guid, text in event.found}
        now = next((text for text, guid in named.items() if self.progress and guid == self.progress.bakeoff.guid), "")

        def done(text: str | None) -> None:
            if text is not None:
                self.open(named[text])

        self.app.push_screen(ChooseScreen("bake-offs", list(named), now), done)

    # --- the table --------------------------------------------------------------------------------

    def _draw(self) -> None:
        """Brings everything up to date with as few changes as possible."""
        rows = ordered(self.rows, self._sort, self._reverse)
        texts = {row.architecture.label: row_cells(row) for row in rows}
        scrolled = len(rows) >= self.table.size.height  # the heading takes a line
        widths = fitting(list(texts.values()), self.table.outer_size.width - scrolled) if rows else {}
        cells = {name: tuple(found[column] for column in widths) for name, found in texts.items()}
        if list(cells) == list(self._drawn) and widths == self._widths:
            for name, found in cells.items():
                for column, old, new in zip(widths, self._drawn[name], found, strict=True):
                    if old != new:
                        self.table.change(name, column, _cell(column, new))
        else:
            self._rebuild(cells, widths)
        self._drawn, self._shown = cells, rows
        self._show_lines()

    def _rebuild(self, cells: dict[str, tuple[str, ...]], widths: dict[str, int]) -> None:
        chosen, at = self.chosen, self.table.cursor_row
        same = list(widths.items()) == list(self._widths.items()) and self.table.ordered_columns
        roomy = sum(widths.values()) + 4 * len(widths) < self.table.outer_size.width
        self.table.cell_padding = 2 if roomy else 1
        self._widths = widths
        self.table.clear(columns=not same)
        if not same:
            for name, width in widths.items():
                self.table.add_column(self._heading(name), key=name, width=width)
        for name, found in cells.items():
            self.table.add_row(*(_cell(c, t) for c, t in zip(widths, found, strict=True)), key=name)
        names = list(cells)
        mine = chosen.architecture.label if chosen else ""
        if names:
            self.table.move_cursor(row=names.index(mine) if mine in names else max(0, min(at, len(names) - 1)),
                                   animate=False)

    def _heading(self, name: str) -> Text:
        sorted_by = "architecture" if name == "model" else name
        mark = ("▼" if self._reverse else "▲") if sorted_by == self._sort else ""
        return Text(f"{TITLES[name]}{mark}", justify="left" if name in ("model", "run") else "right")

    def _show_lines(self) -> None:
        self.query_one("#bakeoff-head", Lines).show(self._head)
        self.query_one("#bakeoff-words", Lines).show(self._words)
        self.query_one("#bakeoff-now", Lines).show(self._now)

    def _head(self, width: int) -> list[Line]:
        if self.progress is None:
            return [[("bake-offs", "strong")], [(EMPTY, "label")]]
        plan = self.progress.plan
        done = sum(row.state in (DONE, FAILED) for row in self.rows)
        role = {"running": "good", "failed": "bad", "died": "bad"}.get(self.status, "accent")
        parts: Line = [(visible(str(plan.get("name") or ""), newlines=False), "strong"), ("  ", "text"),
                       (self.status, role), (f"  {done} of {len(self.rows)} done", "value")]
        if self._left is not None:
            parts.append((f"  about {clock(self._left)} left", "value"))
        config = plan.get("config") or {}
        facts = [f"{self.progress.budget} each", visible(str(plan.get("dataset") or ""), newlines=False),
                 f"seed {plan.get('seed')}", count(config.get("n_layers"), "layer"), f"width {config.get('n_emb')}",
                 f"context {config.get('n_ctx')}", f"batch {config.get('batch_size')}"]
        if (jobs := int(plan.get("jobs") or 1)) > 1:
            facts.append(f"{jobs} at once")
        while len(" · ".join(facts)) > width and len(facts) > 2:
            facts.pop()
        return [parts, [(" · ".join(facts), "label")]]

    def _words(self, width: int) -> list[Line]:
        """Why the chosen one failed, else what the column means that the table is sorted by."""
        row = self.chosen
        if row is not None and row.values.get("error"):
            return [[(f"{row.architecture.label}: {visible(str(row.values['error']), newlines=False)}", "bad")]]
        if self._sort == "architecture" or not self.rows:
            return [[]]
        column = table.BY_KEY[self._sort]
        unit = f" ({column.unit})" if column.unit else ""
        return [[(column.title, "strong"), (f"  {column.help}{unit}", "label")]]

    def _now(self, width: int) -> list[Line]:
        """What is being done, with a bar."""
        live = [row for row in self.rows if row.live]
        message = {"died": "It died; r goes on with what is missing.",
                   "stopped": "It was stopped; r goes on with what is missing.",
                   "failed": self.progress.bakeoff.message if self.progress else ""}.get(self.status, "")
        if message or not live:
            return [[(visible(message, newlines=False), "warn")]]
        row = live[0]
        words = f"  {row.architecture.label} {row.text}"
        if row.values.get("validation_loss") is not None:
            words += f"  val {table.loss(row.values['validation_loss'])}"
        if row.values.get("tokens_per_second"):
            words += f"  {table.amount(row.values['tokens_per_second'])} tokens/s"
        if len(live) > 1:
            words += f"  and {len(live) - 1} more"
        room = max(4, min(40, width - cell_len(words)))
        halves = round(row.share * room * 2)
        bar = "━" * (halves // 2) + ("╸" if halves % 2 else "")
        return [[(bar, "train"), ("─" * (room - len(bar)), "dim"), (words, "value")]]

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        at = self.table.cursor_row
        return self._shown[at] if 0 <= at < len(self._shown) else None

    @on(DataTable.RowHighlighted)
    def _moved(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        self.query_one("#bakeoff-words", Lines).show(self._words)

    @on(DataTable.HeaderSelected)
    def _header(self, event: DataTable.HeaderSelected) -> None:
        event.stop()
        name = "architecture" if event.column_key.value == "model" else str(event.column_key.value)
        if name in table.SORTS:
            self._reverse = not self._reverse if name == self._sort else False
            self._resort(name)

    def action_sort(self) -> None:
        there = [name for name in table.SORTS if name == "architecture" or name in self._widths] or list(table.SORTS)
        at = there.index(self._sort) if self._sort in there else -1
        self._reverse = False
        self._resort(there[(at + 1) % len(there)])

    def action_turn(self) -> None:
        self._reverse = not self._reverse
        self._resort(self._sort)

    def _resort(self, name: str) -> None:
        self._sort, self._widths = name, {}
        self._draw()

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
            self.post_message(Failed(f"{row.architecture.label} has not been trained.", "warning"))

    # --- the bake-off itself ----------------------------------------------------------------------

    def _do(self, work: Callable[[BakeOff], str]) -> None:
        """Does something to the bake-off in a thread and says what it came to."""
        if self.progress is None:
            self.post_message(Failed("There is no bake-off here; n starts one.", "warning"))
            return
        bakeoff = self.progress.bakeoff
        in_thread(self, lambda: self.post_message(self.Done(work(bakeoff))), "do")

    def action_stop(self) -> None:
        def work(bakeoff: BakeOff) -> str:
            bakeoff.stop()
            return "It stops after this step."

        self._do(work)

    def action_resume(self) -> None:
        def work(bakeoff: BakeOff) -> str:
            bakeoff.resume(retry=bakeoff.status() == "finished")
            return "It goes on."

        self._do(work)

    def action_export(self) -> None:
        progress, values = self.progress, [row.values for row in self._shown]

        def work(_bakeoff: BakeOff) -> str:
            assert progress is not None
            paths = backend.export_bakeoff(progress, values)
            return f"{' and '.join(path.name for path in paths)} are in {paths[0].parent}."

        self._do(work)

    def action_delete(self) -> None:
        if self.progress is None or self.status in ("running", "stopping", "starting"):
            self.post_message(Failed("It is at work; stop it first (s)." if self.progress else EMPTY, "warning"))
            return
        bakeoff = self.progress.bakeoff

        def work() -> None:
            models = bakeoff.models()
            lines = [f"{len(models)} models, {size(sum(model.bytes for model in models))}:",
                     *(f"  {visible(model.name, newlines=False)}  {model.guid[:8]}" for model in models), "",
                     "They move to the workspace's .trash with the table."]
            self.post_message(self.Asked(bakeoff, bakeoff.name, lines))

        in_thread(self, work, "ask")

    def on_bake_off_screen_asked(self, event: Asked) -> None:
        from babytui.tui.screens.confirm import ConfirmScreen

        bakeoff, name = event.bakeoff, visible(event.name, newlines=False)

        def answered(agreed: bool | None) -> None:
            if agreed:
                in_thread(self, lambda: self.post_message(self.Done(
                    f"{name} and {len(bakeoff.delete()) - 1} models are in the trash.", gone=True)), "do")

        self.app.push_screen(ConfirmScreen(f"Delete {name} and its models?", event.lines, "Delete"), answered)

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


class Follower:
    """Looks at a bake-off again and again, in a thread; tells what changed, and nothing before the last was taken."""

    def __init__(self, progress: Progress, serial: int, post: Callable[[Message], Any]):
        self._progress, self._serial, self._post = progress, serial, post
        self._stopped, self._wanted = threading.Event(), threading.Event()
        self._wanted.set()

    def stop(self) -> None:
        """Ends the thread soon."""
        self._stopped.set()
        self._wanted.set()

    def taken(self) -> None:
        """The last message was dealt with; the next may come."""
        self._wanted.set()

    def follow(self) -> None:
        """Runs in a thread."""
        before: Any = None
        while not self._stopped.is_set():
            rows = [replace(row, values=dict(row.values)) for row in self._progress.look()]
            left, status = self._progress.left(), self._progress.status
            now = (rows, status, left and round(left))
            if now != before:
                before = now
                self._wanted.wait()
                if self._stopped.is_set():
                    return
                self._wanted.clear()
                self._post(BakeOffScreen.Looked(self._serial, rows, status, left))
            self._stopped.wait(PERIOD if status in ("running", "stopping", "starting") else IDLE_PERIOD)


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


def count(number: Any, noun: str) -> str:
    """1 layer, 4 layers."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def key_lines(width: int) -> list[Line]:
    """The keys, in as many lines as they need."""
    lines: list[Line] = []
    used = width
    for key, text in KEYS:
        need = cell_len(key) + 1 + len(text)
        if used + 2 + need > width:
            lines.append([])
            used = -2
        lines[-1] += [*([("  ", "text")] if lines[-1] else []), (key, "key"), (f" {text}", "label")]
        used += 2 + need
    return lines


def _cell(column: str, text: str) -> Text:
    style = {"training": "bold green", "measuring": "bold green", "failed": "red", "died": "red",
             "paused": "yellow", "waiting": "dim"}.get(text.split(" ")[0], "") if column == "run" else ""
    return Text(text, style=style, justify="left" if column in ("model", "run") else "right")
