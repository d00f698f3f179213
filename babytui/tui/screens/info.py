"""What is known about one model: facts, configuration, training with its curve, completions, tensors, files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import TabbedContent, TabPane

from babytui.comparison import shown
from babytui.finetuning import told
from babytui.tui import backend
from babytui.tui.axis import amount, clock, size
from babytui.tui.bindings import bindings, hints, key_of
from babytui.tui.messages import ChatAsked, Failed, FinetuneAsked, FormAsked, WatchAsked
from babytui.tui.panes.base import paragraph
from babytui.tui.safe import plain
from babytui.tui.screens.compare import reply_lines
from babytui.tui.subject import Subject, Subjects
from babytui.tui.threads import in_thread
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.lines import Line, Lines
from babytui.tui.widgets.tensors import BINS, TensorTable
from babytui.visible import cut
from engine.config import PARAMETERS, effective, remarks
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.curve.curve import Curve
    from babytui.pictures import Summary
    from babytui.tui.backend import SavedReply
    from store.workspace import Entry, Workspace

_TABS = ("config", "report", "curve", "replies", "tensors", "files")


class InfoScreen(ModalScreen[None]):
    """Reads the model's small files in a thread, and its weights only when the tensors are asked for."""

    node = "info"  # its name in the registry of actions
    CSS_PATH = ["dialogs.tcss", "info.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("info"),
        Binding("escape,q,ctrl+c", "dismiss", "Back"),
        *(Binding(str(n), f"tab('{name}')", name) for n, name in enumerate(_TABS, 1)),
        Binding("down,j", "scroll(1)", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("pagedown,space", "scroll(10)", show=False),
        Binding("pageup", "scroll(-10)", show=False),
    ]

    class Found(Message):
        """A thread has read what is known."""

        def __init__(self, entry: Entry, curve: Curve, replies: list[SavedReply]):
            super().__init__()
            self.entry, self.curve, self.replies = entry, curve, replies

    class Weighed(Message):
        """A thread has read the tensors."""

        def __init__(self, summaries: list[Summary], arrays: Mapping[str, Any]):
            super().__init__()
            self.summaries, self.arrays = summaries, arrays

    def __init__(self, workspace: Workspace, guid: str):
        super().__init__()
        self._workspace, self._guid, self._asked = workspace, guid, False
        self._arrays: Mapping[str, Any] = {}

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = "Model"
        with box:
            yield Lines([[("reading …", "dim")]], id="facts")
            with TabbedContent():
                with TabPane("1 config", id="config"), VerticalScroll(can_focus=False):
                    yield Lines(id="info-config")
                with TabPane("2 report", id="report"), VerticalScroll(can_focus=False):
                    yield Lines(id="info-report")
                with TabPane("3 curve", id="curve"):
                    yield LossChart(can_focus=True, id="info-curve")
                with TabPane("4 texts", id="replies"), VerticalScroll(can_focus=False):
                    yield Lines(id="info-replies")
                with TabPane("5 tensors", id="tensors"):
                    yield TensorTable(id="info-tensors")
                with TabPane("6 files", id="files"), VerticalScroll(can_focus=False):
                    yield Lines(id="info-files")

    def on_mount(self) -> None:
        self.read_again()
        self._keys()

    def on_resize(self) -> None:
        self._keys()

    def _keys(self) -> None:
        box = self.query_one(".dialog", Vertical)
        room = max(0, int(self.size.width * 0.96) - 6)
        box.border_subtitle = hint_content([("Esc", "back"), ("1-6", "parts"), *hints("info")], min(room, 104))

    def read_again(self) -> None:
        """Reads the model's small files, in a thread."""

        def work() -> None:
            self.post_message(self.Found(*_read(self._workspace, self._guid)))

        in_thread(self, work, "info")

    def on_info_screen_found(self, event: Found) -> None:
        if not self.is_attached or not self.query("#info-files"):  # the screen was left while its files were read
            return
        entry = event.entry
        self.query_one(".dialog", Vertical).border_title = plain(entry.name or entry.guid)
        said = [f"! {text}" for text in (*entry.problems, *remarks(entry.config))]
        note = entry.note.split("\n") if entry.note else []
        self.query_one("#facts", Lines).show(lambda width: [
            *_facts(entry, width),
            *(line for n, text in enumerate(note) for line in _note_lines(text, width, first=not n)),
            *(line for text in said for line in paragraph(text, width, "warn"))])
        known = effective(entry.config)
        config: list[Line] = [[(f"{name:<22}", "label"), (f"{shown(known[name]):<14}", "value"),
                               ("" if known[name] == PARAMETERS[name].default
                                else f"default {shown(PARAMETERS[name].default)}", "dim")]
                              for name in PARAMETERS if name in known]
        self.query_one("#info-config", Lines).set_lines(config or [[("It has no configuration.", "dim")]])
        chart = self.query_one("#info-curve", LossChart)
        chart.empty = "It has no curve."
        chart.options = replace(chart.options, smoothing=0.0)
        chart.show([event.curve])
        self.query_one("#info-report", Lines).set_lines(_report(entry) or [[("It has no report yet.", "dim")]])
        replies = event.replies
        self.query_one("#info-replies", Lines).show(lambda width: [
            line for reply in replies for line in _reply(reply, width)] or [[("It has not said anything yet.", "dim")]])
        files: list[Line] = [[(str(path), "value")] for path in entry.files]
        self.query_one("#info-files", Lines).set_lines(files)

    @on(TabbedContent.TabActivated)
    def _opened(self, event: TabbedContent.TabActivated) -> None:
        if event.pane.id != "tensors" or self._asked:
            return
        self._asked = True
        workspace, guid = self._workspace, self._guid

        def work() -> None:
            self.post_message(self.Weighed(*backend.tensors(workspace, guid, BINS)))

        in_thread(self, work, "info")

    def on_info_screen_weighed(self, event: Weighed) -> None:
        self._arrays = event.arrays
        self.query_one(TensorTable).show(event.summaries)

    @on(TensorTable.RowSelected, "#info-tensors")
    def _picked(self, event: TensorTable.RowSelected) -> None:
        from babytui.tui.screens.tensor import TensorScreen

        event.stop()
        name = str(event.row_key.value)
        self.app.push_screen(TensorScreen(name, self._arrays[name]))

    @on(Failed)
    def _failed(self, event: Failed) -> None:
        event.stop()
        self.query_one("#facts", Lines).show(
            lambda width: paragraph(event.text, width, "bad"))

    def action_tab(self, name: str) -> None:
        self.query_one(TabbedContent).active = name
        if name in ("curve", "tensors"):
            self.set_focus(self.query_one(f"#info-{name}"))

    def action_scroll(self, by: int) -> None:
        for scroll in self.query(f"#{self.query_one(TabbedContent).active} VerticalScroll"):
            scroll.scroll_relative(y=by, animate=False)

    # --- what can be done with it, by the pane of models ------------------------------------------

    @property
    def _models(self) -> Any:
        return self.app.playground.models  # type: ignore[attr-defined]

    def _with_row(self, do: Callable[[Any], None], *, leave: bool = False) -> None:
        row = self._models.row(self._guid)
        if row is None:
            self.notify("It is not in the list of models any more.", severity="warning")
            return
        if leave:
            self.dismiss()
        do(row)

    def subjects(self) -> Subjects:
        """This model, unless there is none yet."""
        row = self._models.row(self._guid)
        if row is not None and not row.has_model and not row.live:
            return f"{row.name} has no model to look into yet; {key_of('resume')} in its pane goes on with its run."
        return [Subject(self._guid)]

    def action_chat(self) -> None:
        self._with_row(lambda row: self._models.post_message(ChatAsked(row.guid, row.name)), leave=True)

    def action_compare(self) -> None:
        self._with_row(lambda row: self._models.compare([row]), leave=True)

    def action_finetune(self) -> None:
        self._with_row(lambda row: self._models.post_message(
            FinetuneAsked(row.guid, row.name) if row.has_model else Failed(f"{row.name} has no model yet.", "warning")),
            leave=True)

    def action_watch(self) -> None:
        self._with_row(lambda row: self._models.post_message(
            WatchAsked(row.guid) if row.has_run else Failed(f"{row.name} has no training to show.", "warning")),
            leave=True)

    def action_rename(self) -> None:
        self._with_row(self._models.rename)

    def action_annotate(self) -> None:
        self._with_row(self._models.annotate)

    def action_export(self) -> None:
        self._with_row(lambda row: self._models.export([row]))

    def action_delete(self) -> None:
        self._with_row(lambda row: self._models.delete([row]), leave=True)

    def action_to_form(self) -> None:
        self._with_row(lambda row: self._models.post_message(FormAsked(row.config, row.name)), leave=True)


def _read(workspace: Workspace, guid: str) -> tuple[Entry, Curve, list[SavedReply]]:
    from babytui.curve import loading
    from babytui.curve.curve import from_report

    entry = backend.entry(workspace, guid)
    try:
        curve = loading.load(workspace, guid)
    except BabyError:
        curve = from_report(entry.report, entry.name)
    curve.name = entry.name
    return entry, curve, backend.saved_replies(workspace, guid)


def _note_lines(text: str, width: int, *, first: bool) -> list[Line]:
    found = paragraph(text, width - 17, "text")
    return [[("note" if first and not n else "", "label"), (" " * (13 if first and not n else 17), "text"), *line]
            for n, line in enumerate(found)]


_SECONDS = ("total_time", "average_time_per_epoch", "avg_train_time_per_batch", "avg_val_time_per_batch",
            "babytui_seconds")
_UNTOLD = ("batch_logs", "epoch_logs", "babytui_curve", "babytui_base")


def _report(entry: Entry) -> list[Line]:
    """What its report holds, but for the curve and the logs: names as in its file, without our prefix."""
    lines: list[Line] = []
    for name, value in (entry.report or {}).items():
        if name in _UNTOLD or value is None or isinstance(value, (dict, list)):
            continue
        if name in _SECONDS and isinstance(value, (int, float)):
            text = clock(value) if value >= 10 else f"{value:.3g} s"
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            text = str(value).lower() if isinstance(value, bool) else cut(str(value), 200)
        else:
            text = f"{value:,}" if isinstance(value, int) and abs(value) < 10**18 else f"{value:.5g}"
        lines.append([(f"{cut(name.removeprefix('babytui_').replace('_', ' '), 31):<32}", "label"), (text, "value")])
    return lines


def _reply(reply: SavedReply, width: int) -> list[Line]:
    head: Line = [(reply.when, "strong"), (f"  {reply.told}" if reply.told else "", "dim")]
    prompt = reply.prompt if reply.text.startswith(reply.prompt) else ""
    return [head, *reply_lines(prompt, [reply.text[len(prompt):]], None, width), []]


_TWO_COLUMNS = 70  # cells


def _facts(entry: Entry, width: int = 80) -> list[Line]:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created)) if entry.created else "–"
    loss = "–" if entry.validation_loss is None else f"{entry.validation_loss:.4f}"
    parts: list[list[tuple[str, Any]]] = [
        [("parameters", amount(entry.parameters) if entry.parameters else "–"), ("validation loss", loss)],
        [("tokens seen", amount(entry.tokens) if entry.tokens else "–"), ("size", size(entry.bytes))],
        [("text", entry.dataset or "–"), ("made", made)],
    ]
    lines: list[Line] = [[(entry.guid, "dim")]]
    lines += [[(f"{name:<17}", "label"), (value, "value")] for name, value in told(entry) if name != "adapters"]
    if width < _TWO_COLUMNS:
        parts = [[fact] for row in parts for fact in row]
    for row in parts:
        lines.append([piece for name, value in row
                      for piece in ((f"{name:<17}", "label"), (f"{cut(str(value), 17):<18}", "value"))])
    return lines
