"""What is known about one model: facts, configuration, training with its curve, completions, tensors, files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import DataTable, TabbedContent, TabPane

from babytui.finetuning import told
from babytui.tui import backend
from babytui.tui.axis import amount, clock, size
from babytui.tui.messages import Failed
from babytui.tui.panes.base import paragraph
from babytui.tui.threads import in_thread
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.lines import Line, Lines
from babytui.visible import visible
from engine.config import PARAMETERS, effective, remarks

if TYPE_CHECKING:
    from babytui.library import Baby
    from store.workspace import Entry, Workspace

_TABS = ("config", "training", "tensors", "files")


class InfoScreen(ModalScreen[None]):
    """Reads the model's small files in a thread, and its weights only when the tensors are asked for."""

    CSS_PATH = ["dialogs.tcss", "info.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,ctrl+c", "dismiss", "Back"),
        *(Binding(str(n), f"tab('{name}')", name) for n, name in enumerate(_TABS, 1)),
    ]

    class Found(Message):
        """A thread has read what is known."""

        def __init__(self, entry: Entry, curve: list[tuple[float, float | None, float | None]], completions: list[str]):
            super().__init__()
            self.entry, self.curve, self.completions = entry, curve, completions

    class Weighed(Message):
        """A thread has read the tensors: name, shape, mean, standard deviation, smallest, largest."""

        def __init__(self, rows: list[tuple[str, ...]]):
            super().__init__()
            self.rows = rows

    def __init__(self, workspace: Workspace, guid: str):
        super().__init__()
        self._workspace, self._guid, self._asked = workspace, guid, False

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = Text("Model")
        box.border_subtitle = "1 config · 2 training · 3 tensors · 4 files · Esc back"
        with box:
            yield Lines([[("reading …", "dim")]], id="facts")
            with TabbedContent():
                with TabPane("1 config", id="config"), VerticalScroll():
                    yield Lines(id="info-config")
                with TabPane("2 training", id="training"), VerticalScroll():
                    yield LossChart(id="info-curve")
                    yield Lines(id="info-report")
                with TabPane("3 tensors", id="tensors"):
                    yield DataTable(cursor_type="row", id="info-tensors")
                with TabPane("4 files", id="files"), VerticalScroll():
                    yield Lines(id="info-files")

    def on_mount(self) -> None:
        def work() -> None:
            self.post_message(self.Found(*_read(self._workspace, self._guid)))

        in_thread(self, work, "info")
        table = self.query_one("#info-tensors", DataTable)
        for name in ("name", "shape", "mean", "std", "min", "max"):
            table.add_column(name, key=name)

    def on_info_screen_found(self, event: Found) -> None:
        entry = event.entry
        self.query_one(".dialog", Vertical).border_title = Text(visible(entry.name or entry.guid, newlines=False))
        facts, said = _facts(entry), [f"! {text}" for text in remarks(entry.config)]
        self.query_one("#facts", Lines).show(
            lambda width: [*facts, *(line for text in said for line in paragraph(text, width, "warn"))])
        known = effective(entry.config)
        config: list[Line] = [[(f"{name:<22}", "label"), (f"{known[name]!s:<12}", "value")]
                              for name in PARAMETERS if name in known]
        self.query_one("#info-config", Lines).set_lines(config or [[("It has no configuration.", "dim")]])
        self._show_training(event)
        files: list[Line] = [[(visible(str(path), newlines=False), "value")] for path in entry.files]
        problems: list[Line] = [[("! " + visible(text, newlines=False), "warn")] for text in entry.problems]
        self.query_one("#info-files", Lines).set_lines([*problems, *files])

    def _show_training(self, event: Found) -> None:
        chart = self.query_one("#info-curve", LossChart)
        for step, train, validation in event.curve:
            chart.train.add(step, step, train)
            chart.validation.add(step, step, validation)
        chart.display = bool(event.curve)
        chart.smoothing = 0.0
        chart.draw()
        report = event.entry.report or {}
        rows = [("steps", amount(report["babytui_steps"])) if report.get("babytui_steps") else None,
                ("time", clock(report["total_time"])) if report.get("total_time") else None,
                ("ended", str(report.get("babytui_reason"))) if report.get("babytui_reason") else None,
                ("epochs", str(report["n_epochs"])) if report.get("n_epochs") else None]
        lines: list[Line] = [[(f"{row[0]:<22}", "label"), (visible(row[1], newlines=False), "value")]
                             for row in rows if row]
        for text in event.completions:
            lines += [[], [("completion", "label")], *([(line, "text")] for line in visible(text).split("\n")[:40])]
        self.query_one("#info-report", Lines).set_lines(lines or [[("It has no report yet.", "dim")]])

    @on(TabbedContent.TabActivated)
    def _opened(self, event: TabbedContent.TabActivated) -> None:
        if event.pane.id != "tensors" or self._asked:
            return
        self._asked = True
        workspace, guid = self._workspace, self._guid

        def work() -> None:
            self.post_message(self.Weighed(_weigh(backend.load(workspace, guid))))

        in_thread(self, work, "info")

    def on_info_screen_weighed(self, event: Weighed) -> None:
        table = self.query_one("#info-tensors", DataTable)
        for row in event.rows:
            table.add_row(Text(row[0]), *(Text(text, justify="right") for text in row[1:]))

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        event.stop()
        self.query_one("#facts", Lines).show(
            lambda width: paragraph(visible(event.text, newlines=False), width, "bad"))

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name


def _read(workspace: Workspace, guid: str) -> tuple[Entry, list[tuple[float, float | None, float | None]], list[str]]:
    entry = backend.entry(workspace, guid)
    points = (entry.report or {}).get("babytui_curve")
    curve = [tuple(point) for point in points if isinstance(point, list) and len(point) == 3] \
        if isinstance(points, list) else []
    return entry, curve, backend.completions(workspace, guid)


def _facts(entry: Entry) -> list[Line]:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created)) if entry.created else "–"
    loss = "–" if entry.validation_loss is None else f"{entry.validation_loss:.4f}"
    parts: list[list[tuple[str, Any]]] = [
        [("parameters", amount(entry.parameters) if entry.parameters else "–"), ("validation loss", loss)],
        [("tokens seen", amount(entry.tokens) if entry.tokens else "–"), ("size", size(entry.bytes))],
        [("text", visible(entry.dataset, newlines=False) or "–"), ("made", made)],
    ]
    lines: list[Line] = [[(entry.guid, "dim")]]
    lines += [[(f"{name:<17}", "label"), (value, "value")] for name, value in told(entry) if name != "adapters"]
    for row in parts:
        lines.append([piece for name, value in row
                      for piece in ((f"{name:<17}", "label"), (f"{value!s:<18.18}", "value"))])
    return lines


def _weigh(baby: Baby) -> list[tuple[str, ...]]:
    rows = []
    for name, array in baby.params.items():
        shape = "×".join(map(str, array.shape)) or "scalar"
        rows.append((name, shape, *(f"{value:.4g}" for value in (array.mean(), array.std(), array.min(), array.max()))))
    return rows
