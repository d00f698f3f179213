"""Training: the curve, the numbers, the log and the samples of one run, and the keys that steer it.

Other runs and models may be drawn beside the watched one. Each that is alive has a feed of its own; what a feed tells
goes to the curve with its serial number.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget

from babytui.curve.curve import GLYPHS, MARK_NAMES, Curve
from babytui.curve.plot import MOST
from babytui.curve.series import Point
from babytui.tui import backend
from babytui.tui.bindings import bindings, key_of
from babytui.tui.feed import Delta, Feed, Followed
from babytui.tui.messages import ChatAsked, Failed, ModelsChanged, RunChanged, RunEnded
from babytui.tui.panes.base import Pane
from babytui.tui.panes.numbers import RunView, numbers
from babytui.tui.safe import plain
from babytui.tui.subject import Subject
from babytui.tui.threads import Inquiry, after, after_refresh, in_thread
from babytui.tui.widgets.chart import LossChart
from babytui.tui.widgets.lines import Lines
from babytui.tui.widgets.transcript import Block, Transcript
from babytui.visible import visible

if TYPE_CHECKING:
    from babytui.runs import Run
    from babytui.tui.screens.norms import NormsScreen

_SAMPLES = 400  # whose place among the samples is kept
_TOGETHER = 0.2  # seconds within which what the runs beside tell is drawn at once
_SETTLE = 0.15  # seconds after the last movement of the view until finer points are read for it
_DONE = {"pause": "pauses", "resume": "goes on", "stop": "stops and keeps its model",
         "checkpoint": "saves a checkpoint"}


class TrainingPane(Pane):
    """The second pane: attaches to a run, whoever started it."""

    title = "Training"
    HELP = ("The loss of training (t) and of held-back text (v), in nats per token. Marks on the axis: "
            + ", ".join(f"{glyph} {MARK_NAMES[kind]}" for kind, glyph in GLYPHS.items()) + ". The cursor reads a step: "
            "its losses, learning rate, gradient norm and sample. Zooming in shows every step, read again from the "
            "journal.")
    BINDINGS: ClassVar[list[BindingType]] = bindings("training")

    class Chosen(Message):
        """A thread has found the run to watch."""

        def __init__(self, run: Run | None, name: str, base: str = "", again: bool = False):
            super().__init__()
            self.run, self.name, self.base, self.again = run, name, base, again

    class Refined(Message):
        """A thread has read the visible part of the curve with this number again, with more points."""

        def __init__(self, serial: int, points: list[Point], first: float, last: float):
            super().__init__()
            self.serial, self.points, self.first, self.last = serial, points, first, last

    class Overlaid(Message):
        """A thread has found what is to be drawn beside the run: runs to follow, and curves of models."""

        def __init__(self, runs: list[Run], curves: list[Curve], wanted: list[str], shown: str):
            super().__init__()
            self.runs, self.curves, self.wanted, self.shown = runs, curves, wanted, shown

    def __init__(self) -> None:
        super().__init__("training")
        self.view = RunView()
        self._run: Run | None = None
        self._feed: Feed | None = None
        self._serial = 0
        self._main = 0  # the serial of the watched run's feed
        self._seen_alive = False
        self._others: dict[int, tuple[Feed | None, Curve]] = {}
        self._overlaid: list[str] = []  # GUIDs that were chosen, in order
        self._curve, self._drawing = Curve(), False
        self._samples: list[tuple[int, Block]] = []
        self._norms: NormsScreen | None = None
        self._finer = Inquiry(self, self._refine)

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
        for feed in self._feeds:
            feed.stop()

    @property
    def _feeds(self) -> list[Feed]:
        return [feed for feed in (self._feed, *(feed for feed, _ in self._others.values())) if feed is not None]

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.set_class(event.size.height < 18 and event.size.width >= 66, "-flat")
        self.set_class(event.size.height < 19, "-low")
        after_refresh(self, self._show_numbers)

    def first_focus(self) -> Widget | None:
        return self.query_one("#log")

    async def begin(self) -> None:
        """Finds a run that is alive, or the newest one."""
        self._choose("last")

    def watch_run(self, guid: str) -> None:
        """Shows the run with this GUID."""
        self._choose(guid)

    def _choose(self, reference: str, by: int = 0, again: bool = False) -> None:
        """Finds a run and attaches to it; `again`, also when it is the one that is shown."""
        workspace = self.app.workspace  # type: ignore[attr-defined]

        def work() -> None:
            run = backend.find_run(workspace, reference, by)
            self.post_message(self.Chosen(run, run.name, run.base_name, again) if run else self.Chosen(None, ""))

        in_thread(self, work, "choose", exclusive=True)

    def on_training_pane_chosen(self, event: Chosen) -> None:
        if event.run is not None and (self._run is None or event.run.guid != self._run.guid or event.again):
            self.attach(event.run, event.name, event.base)

    def attach(self, run: Run, name: str, base: str = "") -> None:
        """Watches this run from its beginning. base: the name of the model it fine-tunes."""
        if self._feed:
            self._feed.stop()
        self._run, self._serial = run, self._serial + 1
        self._main = self._serial
        self.view = RunView(guid=run.guid, name=name, base=base)
        self._seen_alive = False
        self._samples.clear()
        self._curve = Curve(name, run.guid)
        self._show_curves()
        self.query_one("#log", Transcript).clear()
        samples = self.query_one("#samples", Transcript)
        samples.clear()
        samples.border_title = "samples"  # not of a step that was looked at
        self.set_note(self.view.title)
        self._show_numbers()
        self._feed = self._begin_feed(run, self._main)

    def _begin_feed(self, run: Run, serial: int) -> Feed:
        feed = Feed(run, serial, self.post_message)
        in_thread(self, feed.follow, "feed")
        return feed

    def on_followed(self, event: Followed) -> None:
        event.stop()
        feed: Feed | None = None
        if event.serial == self._main:
            feed = self._feed
            self._apply(event.delta)
        elif event.serial in self._others:
            feed, curve = self._others[event.serial]
            if event.delta.start:
                curve.planned_seconds = event.delta.budget or 0.0
            curve.join(event.delta.curve, event.delta.back)
            if not self._drawing:  # several runs tell something at about the same time
                self._drawing = True
                after(self, _TOGETHER, self._draw)
        if feed:
            after_refresh(self, feed.taken)

    def _apply(self, delta: Delta) -> None:
        view = self.view
        was_over = view.over and view.status != ""
        view.status = delta.status or view.status
        if delta.start:
            view.steps = int(delta.start.get("steps") or 0)
            view.end, view.budget = None, delta.budget
            self._curve.planned_seconds = view.budget or 0.0
        if delta.step:
            view.step = delta.step
        view.memory = delta.memory
        self._curve.join(delta.curve, delta.back)
        if delta.norms:
            view.norms = delta.norms
            if self._norms is not None and self._norms.is_attached:
                self._norms.tell(view.norms)
        for point in delta.validation:
            view.validation = point.value
            view.best = point.value if view.best is None else min(view.best, point.value)
        if delta.end:
            view.end = delta.end
            if isinstance(delta.end.get("validation_loss"), float):
                view.validation = delta.end["validation_loss"]
        if delta.curve.marks or not delta.curve.empty or delta.start:
            self._draw()
        self._write(delta)
        self._show_numbers()
        over = view.over
        self._tell_state()
        if over and not was_over:
            self.post_message(ModelsChanged())
            if self._seen_alive:
                self.post_message(RunEnded(view.guid, view.name, view.status))
        self._seen_alive = not over

    def listed(self, names: dict[str, str], come: set[str], gone: set[str]) -> None:
        """Says the new names of what is shown, and whether its files are there; see messages.Listed."""
        for curve in (self._curve, *(curve for _, curve in self._others.values())):
            curve.name = names.get(curve.guid, curve.name)
        view = self.view
        if view.guid in come and view.state == "deleted":  # it is back
            self._choose(view.guid, again=True)
        elif view.guid in names or view.guid in gone:
            view.name, view.gone = names.get(view.guid, view.name), view.guid in gone
            self._tell_state()
        self._draw()

    def _tell_state(self) -> None:
        """Says in the title, and to whoever shows it elsewhere, what it is called and does."""
        view = self.view
        self.set_note(f"{view.title} ({view.state})" if view.state else view.title)
        self.post_message(RunChanged(view.guid, view.state, view.summary(), view.over))

    def _write(self, delta: Delta) -> None:
        log, samples = self.query_one("#log", Transcript), self.query_one("#samples", Transcript)
        told = ""
        for when, text, role in delta.notes:
            log.add(visible(text, newlines=False), margin=time.strftime("%H:%M", time.localtime(when)), role=role)
            if role == "bad" and time.time() - when < 30 and text != told:  # a failure is an alarm and an end
                told = text
                self.post_message(Failed(text, "warning"))
        for sample in delta.samples:
            step = int(sample.get("step") or 0)
            text = str(sample.get("text", "")).strip("\n")
            block = samples.add(text, margin=f"{step:,}" if step < 100_000 else f"{step // 1000}k")
            self._samples.append((step, block))
        del self._samples[:-_SAMPLES]

    def _show_numbers(self) -> None:
        self.query_one("#numbers", Lines).show(lambda width: numbers(self.view, max(16, width), self._number_rows))

    @property
    def _number_rows(self) -> int:
        """Rows for the numbers when they stand beside the curve."""
        return self.query_one("#training-top").size.height or 12

    def action_command(self, name: str) -> None:
        """Sends a command to the run from a thread; the answer appears in the log."""
        run = self._run
        if run is None:
            self.post_message(Failed(f"There is no run here; {key_of('train')} starts one with the form's "
                                     "values.", "warning"))
            return

        def work() -> None:
            error = backend.command(run, name)
            if error:
                self.post_message(Failed(error))
            elif name == "resume":
                self.post_message(self.Chosen(run, run.name, run.base_name, again=self.view.status != "paused"))

        in_thread(self, work, "command")
        self.app.did(name, {"guid": run.guid})  # type: ignore[attr-defined]
        self.notify(f"{self.view.name} {_DONE[name]} after this step.", timeout=2, markup=False)

    # --- the curve --------------------------------------------------------------------------------

    def _draw(self) -> None:
        """The curves as they are now."""
        chart, self._drawing = self.chart, False
        before = chart.options.window
        chart.draw()
        if chart.options.window != before:  # it has moved on with what is live
            self._finer.again(_SETTLE)

    def _show_curves(self) -> None:
        others = [curve for _, curve in self._others.values() if curve.guid != self._curve.guid]
        self.chart.show([self._curve, *others])

    def action_chart(self, name: str, *arguments: Any) -> None:
        """One of the chart's own actions."""
        getattr(self.chart, f"action_{name}")(*arguments)

    def action_smooth(self) -> None:
        self.chart.action_smooth()
        strength = self.chart.options.smoothing
        self.notify(f"Smoothing {strength:g}" if strength else "No smoothing", timeout=1.5, markup=False)

    def on_loss_chart_moved(self, event: LossChart.Moved) -> None:
        event.stop()
        if self.chart.options.window is not None:
            self._finer.again(_SETTLE)
        samples = self.query_one("#samples", Transcript)
        if event.cursor is None:
            samples.border_title = "samples"
            return
        known = [(step, block) for step, block in self._samples if step <= event.cursor] or self._samples[:1]
        if known:
            samples.border_title = plain(f"samples, at step {known[-1][0]:,}")
            samples.reveal(known[-1][1])

    def _refine(self) -> None:
        """Reads what is in view again when it has more steps than points are known."""
        chart, feeds = self.chart, [(self._main, self._feed, self._curve)]
        window, by = chart.options.window, chart.options.by
        feeds += [(serial, feed, curve) for serial, (feed, curve) in self._others.items()]
        for serial, feed, curve in feeds:
            if window is None or feed is None or not (last := curve.train.last):
                continue
            first, final = max(0.0, curve.step_at(window.low, by)), min(last.step, curve.step_at(window.high, by))
            room = (final - first) / 4  # a little more, for what is panned to next
            first, final = max(0.0, first - room), min(last.step, final + room)
            known = sum(first <= point.step <= final for point in curve.train)
            covered = curve.fine and curve.fine_span[0] <= first + room and final - room <= curve.fine_span[1] and \
                curve.fine_span[1] - curve.fine_span[0] <= 4 * (final - first)
            if not covered and (final - first) > 1.5 * known and known < 2 * chart.size.width * 2:
                self._read_finer(serial, feed, first, final)

    def _read_finer(self, serial: int, feed: Feed, first: float, last: float) -> None:
        def work() -> None:
            points = backend.finer_points(feed.run, feed.index, first, last)
            if points:
                self.post_message(self.Refined(serial, points, first, last))

        in_thread(self, work, f"finer-{serial}", exclusive=True)

    def on_training_pane_refined(self, event: Refined) -> None:
        curve = self._curve if event.serial == self._main else self._others.get(event.serial, (None, None))[1]
        newest = curve.train.last if curve is not None else None
        if curve is not None and newest is not None and event.first < newest.step:
            curve.refine(event.points, event.first, event.last)
            self.chart.draw()

    def action_overlay(self) -> None:
        """Asks which runs and models are drawn beside this one."""
        workspace = self.app.workspace  # type: ignore[attr-defined]
        from babytui.tui.screens.overlay import OverlayScreen

        def chosen(wanted: tuple[list[str], str] | None) -> None:
            if wanted is not None:
                self._overlay(*wanted)

        self.app.push_screen(OverlayScreen(workspace, self._curve.guid, self._overlaid, self.chart.options.shown,
                                           MOST - 1), chosen)

    def _overlay(self, wanted: list[str], shown: str) -> None:
        workspace = self.app.workspace  # type: ignore[attr-defined]

        def work() -> None:
            self.post_message(self.Overlaid(*backend.curves_of(workspace, wanted), wanted, shown))

        in_thread(self, work, "overlay", exclusive=True)

    def on_training_pane_overlaid(self, event: Overlaid) -> None:
        for feed, _ in self._others.values():
            if feed is not None:
                feed.stop()
        self._others.clear()
        self._overlaid = event.wanted
        for run in event.runs:
            self._serial += 1
            self._others[self._serial] = (self._begin_feed(run, self._serial), Curve(run.name, run.guid))
        for curve in event.curves:
            self._serial += 1
            self._others[self._serial] = (None, curve)
        empty = [curve.name for curve in event.curves if curve.empty]
        if empty:
            self.post_message(Failed(f"Nothing is known of how {', '.join(empty)} learned.", "warning"))
        self.chart.set(shown=event.shown)
        self._show_curves()
        if event.wanted:
            guids = [guid for guid in (self._curve.guid, *event.wanted) if guid]
            self.app.did("curve", {"guid": guids, "show": event.shown})  # type: ignore[attr-defined]

    def action_norms(self) -> None:
        from babytui.tui.screens.norms import NormsScreen

        self._norms = NormsScreen(self.view.name, self.view.norms)
        self.app.push_screen(self._norms)

    def action_rate(self) -> None:
        """Asks for another learning rate."""
        from babytui.tui.screens.rate import RateScreen

        run, step = self._run, self.view.step
        if run is None or self.view.status not in ("running", "paused"):
            self.post_message(Failed(f"There is no run here that learns; {key_of('train')} starts one with the "
                                     "form's values.", "warning"))
            return

        def chosen(rate: float | None) -> None:
            if rate is None:
                return

            def work() -> None:
                if error := backend.command(run, "learning_rate", rate):
                    self.post_message(Failed(error))

            in_thread(self, work, "command")
            self.app.did("rate", {"guid": run.guid, "value": rate})  # type: ignore[attr-defined]

        now = float(step["learning_rate"]) if step else None
        self.app.push_screen(RateScreen(self.view.name, now), chosen)

    def action_chat(self) -> None:
        """Talk to the model of this run, also while it is training."""
        if self._run is None:
            self.post_message(Failed("There is no run here whose model could talk.", "warning"))
        else:
            self.post_message(ChatAsked(self._run.guid, self.view.name))

    def action_microscope(self) -> None:
        """Looks into the model of this run, also while it is training."""
        if self._run is None:
            self.post_message(Failed("There is no run here whose model could be looked into.", "warning"))
        else:
            self.app.look_into(Subject(self._run.guid))  # type: ignore[attr-defined]

    def action_scrub(self) -> None:
        """The prompt of its samples at every checkpoint of this run."""
        from babytui.tui.screens.scrubber import ScrubberScreen

        run = self._run
        if run is None:
            self.post_message(Failed("There is no run here whose checkpoints could be asked.", "warning"))
            return
        prompt = str(run.plan.get("prompt") or "")
        self.app.push_screen(ScrubberScreen(self.app.workspace, run.guid, prompt,  # type: ignore[attr-defined]
                                            {"temperature": 0.8, "seed": 1, "max_tokens": 200}))

    def action_other(self, by: int) -> None:
        self._choose(self.view.guid, by)
