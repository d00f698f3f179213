"""Training: the curve, the numbers, the log and the samples of one run, and the keys that steer it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget

from babytui.tui import backend
from babytui.tui.feed import Delta, Feed, Followed
from babytui.tui.messages import Failed, ModelsChanged, RunChanged, RunEnded
from babytui.tui.panes.base import Pane
from babytui.tui.panes.numbers import RunView, numbers
from babytui.tui.threads import in_thread
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.transcript import Transcript
from babytui.visible import visible

if TYPE_CHECKING:
    from babytui.runs import Run

_DONE = {"pause": "pauses", "resume": "goes on", "stop": "stops and keeps its model",
         "checkpoint": "saves a checkpoint"}


class TrainingPane(Pane):
    """The second pane: attaches to a run, whoever started it."""

    key, title = "F3", "Training"
    hints = (("p", "pause"), ("r", "resume"), ("s", "stop"), ("c", "save"), ("l", "log"), ("t", "time"),
             ("m", "smooth"), ("[ ]", "run"))
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "command('pause')", "Pause the run"),
        Binding("r", "command('resume')", "Let it go on, or continue a stopped one"),
        Binding("s", "command('stop')", "Stop it and keep its model"),
        Binding("c", "command('checkpoint')", "Save its state now"),
        Binding("l", "log", "Linear or logarithmic loss"),
        Binding("t", "time", "By step or by time"),
        Binding("m", "smooth", "Smooth the training curve more or less"),
        Binding("left_square_bracket", "other(1)", "An older run"),
        Binding("right_square_bracket", "other(-1)", "A newer run"),
    ]

    class Chosen(Message):
        """A thread has found the run to watch."""

        def __init__(self, run: Run | None, name: str, base: str = "", again: bool = False):
            super().__init__()
            self.run, self.name, self.base, self.again = run, name, base, again

    def __init__(self) -> None:
        super().__init__("training")
        self.view = RunView()
        self._run: Run | None = None
        self._feed: Feed | None = None
        self._serial = 0
        self._seen_alive = False

    def compose(self) -> ComposeResult:
        with Container(id="training-top"):
            yield LossChart(id="chart")
            yield Lines(id="numbers")
        with Container(id="training-bottom"):
            log = Transcript(margin=6, keep_lines=500, placeholder="The log appears here.", id="log")
            log.border_title = "log"
            yield log
            samples = Transcript(margin=7, keep_lines=800, placeholder="Samples appear here.", id="samples")
            samples.border_title = "samples"
            yield samples

    @property
    def chart(self) -> LossChart:
        return self.query_one(LossChart)

    def on_mount(self) -> None:
        super().on_mount()
        self._show_numbers()

    def on_unmount(self) -> None:
        if self._feed:
            self._feed.stop()

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.set_class(event.size.height < 18 and event.size.width >= 66, "-flat")
        self.set_class(event.size.height < 19, "-low")

    def first_focus(self) -> Widget | None:
        return self.query_one("#log")

    async def begin(self) -> None:
        """Finds a run that is alive, or the newest one."""
        self._choose("last")

    def watch_run(self, guid: str) -> None:
        """Shows the run with this GUID."""
        self._choose(guid)

    def _choose(self, reference: str, by: int = 0) -> None:
        workspace = self.app.workspace  # type: ignore[attr-defined]

        def work() -> None:
            run = backend.find_run(workspace, reference, by)
            self.post_message(self.Chosen(run, run.name, run.base_name) if run else self.Chosen(None, ""))

        in_thread(self, work, "choose", exclusive=True)

    def on_training_pane_chosen(self, event: Chosen) -> None:
        if event.run is not None and (self._run is None or event.run.guid != self._run.guid or event.again):
            self.attach(event.run, event.name, event.base)

    def attach(self, run: Run, name: str, base: str = "") -> None:
        """Watches this run from its beginning. base: the name of the model it fine-tunes."""
        if self._feed:
            self._feed.stop()
        self._run, self._serial = run, self._serial + 1
        self.view = RunView(guid=run.guid, name=visible(name, newlines=False), base=visible(base, newlines=False))
        self._seen_alive = False
        self.chart.clear()
        self.query_one("#log", Transcript).clear()
        self.query_one("#samples", Transcript).clear()
        self.set_note(self.view.title)
        self._show_numbers()
        self._feed = Feed(run, self._serial, self.post_message)
        in_thread(self, self._feed.follow, "feed")

    def on_followed(self, event: Followed) -> None:
        event.stop()
        if event.serial == self._serial:
            self._apply(event.delta)
        if self._feed:
            self.call_after_refresh(self._feed.taken)

    def _apply(self, delta: Delta) -> None:
        view, chart = self.view, self.chart
        was_over = view.status not in ("", "starting", "running", "paused")
        view.status = delta.status or view.status
        if delta.start:
            view.steps = int(delta.start.get("steps") or 0)
            view.end, view.budget = None, delta.budget
            chart.planned_steps = 0 if view.budget else view.steps
            chart.planned_seconds = view.budget or 0.0
        if delta.step:
            view.step = delta.step
        for point in delta.validation:
            view.validation = point.value
            view.best = point.value if view.best is None else min(view.best, point.value)
        if delta.end:
            view.end = delta.end
            if isinstance(delta.end.get("validation_loss"), float):
                view.validation = delta.end["validation_loss"]
        chart.train.extend(delta.points)
        chart.validation.extend(delta.validation)
        if delta.points or delta.validation or delta.start:
            chart.draw()
        self._write(delta)
        self._show_numbers()
        over = view.status not in ("starting", "running", "paused")
        self.set_note(f"{view.title} ({view.status})")
        self.post_message(RunChanged(view.guid, view.status, view.summary(), over))
        if over and not was_over:
            self.post_message(ModelsChanged())
            if self._seen_alive:
                self.post_message(RunEnded(view.guid, view.name, view.status))
        self._seen_alive = not over

    def _write(self, delta: Delta) -> None:
        log, samples = self.query_one("#log", Transcript), self.query_one("#samples", Transcript)
        for when, text, role in delta.notes:
            log.add(visible(text, newlines=False), margin=time.strftime("%H:%M", time.localtime(when)), role=role)
            if role == "bad" and time.time() - when < 30:
                self.post_message(Failed(text, "warning"))
        for sample in delta.samples:
            step = int(sample.get("step") or 0)
            text = visible(str(sample.get("text", "")).strip("\n"))
            samples.add(text, margin=f"{step:,}" if step < 100_000 else f"{step // 1000}k")

    def _show_numbers(self) -> None:
        self.query_one("#numbers", Lines).show(lambda width: numbers(self.view, max(16, width)))

    def action_command(self, name: str) -> None:
        """Sends a command to the run from a thread; the answer appears in the log."""
        run = self._run
        if run is None:
            self.post_message(Failed("There is no run here; F9 starts one with the form's values.", "warning"))
            return

        def work() -> None:
            error = backend.command(run, name)
            if error:
                self.post_message(Failed(error))
            elif name == "resume":
                self.post_message(self.Chosen(run, run.name, run.base_name, again=self.view.status != "paused"))

        in_thread(self, work, "command")
        self.notify(f"{self.view.name} {_DONE[name]} after this step.", timeout=2, markup=False)

    def action_log(self) -> None:
        self.chart.log_axis = not self.chart.log_axis

    def action_time(self) -> None:
        self.chart.by_time = not self.chart.by_time

    def action_smooth(self) -> None:
        strength = self.chart.next_smoothing()
        self.notify(f"Smoothing {strength:g}" if strength else "No smoothing", timeout=1.5, markup=False)

    def action_other(self, by: int) -> None:
        self._choose(self.view.guid, by)
