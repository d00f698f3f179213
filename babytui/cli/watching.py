"""Watching a run from the command line: one live line, its samples and alarms, and what ctrl+c means."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from babytui.cli.asking import stop_or_leave
from babytui.cli.output import Output, columns, count, loss, seconds
from babytui.runs import Run
from engine import events

SPARSE_SECONDS = 10.0  # between two progress lines that cannot be redrawn
REDRAW_SECONDS = 0.1
SILENCE_SECONDS = 3.0  # without an event, after which the disk is looked at
QUESTION = "The run goes on: [s]top and keep it, leave it in the [b]ackground, [c]arry on watching? "


def ranks(start: events.Start | None) -> str:
    """What to say of the ranks that train a run; empty when there is but one process."""
    return f", {start.ranks} ranks on {start.hosts}" if start is not None and start.ranks > 1 else ""


class Watch:
    """Follows a run until it is over or the user leaves it.

    Afterwards: `start`, `end`, `evaluation`, `step` are the last events of their kind (None if there was none).
    """

    def __init__(self, run: Run, out: Output, *, offset: int = 0, owner: bool = True):
        self.run = run
        self.out = out
        self.offset = offset
        self.owner = owner  # started here: off a terminal, ctrl+c stops the run
        self.start: events.Start | None = None
        self.step: events.Step | None = None
        self.evaluation: events.Evaluation | None = None
        self.end: events.End | None = None
        self.left = False
        self._budget = run.plan.get("time_budget")
        self._shown = 0.0
        self._said = time.monotonic()

    def follow(self) -> int:
        """Show the run until it is over. 0, or 1 when it failed or died, or 130 when ctrl+c stopped or left it."""
        events_ = self._events()
        pressed = again = interrupted = False
        while True:
            try:
                if pressed:
                    answer = "s" if again else stop_or_leave(QUESTION, self.owner, self.out.end_line)
                    pressed = False
                    if answer == "b":
                        self.left = True
                        return 0 if sys.stdin.isatty() else 130
                    if answer == "s":
                        interrupted = True
                        self.out.say("Stopping and keeping the model…")
                        if self.run.alive:
                            self.run.command("stop")
                for event in events_:
                    self._show(event)
                    if isinstance(event, events.Alarm) and event.name == "disk" and not sys.stdin.isatty():
                        self.left = True  # nobody is here to make room: the run waits, this command does not
                        return 1
                break
            except KeyboardInterrupt:  # also while it is being asked: then it means stop
                pressed, again = True, pressed or interrupted
                events_ = self._events()  # a generator that was interrupted is over
        self.out.clear()
        return self._verdict(interrupted)

    def _events(self) -> Iterator[events.Event]:
        """As Run.follow, but remembers the offset, so that it can be left and taken up again, and notices a full disk
        (which the run cannot tell of, because its journal lies on it)."""
        heard, told = time.monotonic(), False
        while True:
            alive = self.run.alive
            before = self.offset
            found, self.offset = self.run.events(self.offset, 1 << 20)
            yield from found
            now = time.monotonic()
            if self.offset != before:
                heard, told = now, False
                continue
            if not alive:
                return
            if now - heard > SILENCE_SECONDS and not told and self.run.disk_is_full:
                told = True
                yield events.Alarm(step=self.step.step if self.step else 0, name="disk",
                                   message=f"The disk of {self.run.dir} is full: nothing can be written until there is "
                                           "room.")
            time.sleep(0.05)

    def take(self, event: events.Event) -> None:
        """Remember an event without showing it."""
        if event.kind in ("start", "step", "evaluation", "end"):
            setattr(self, event.kind, event)
        if isinstance(event, events.Start):
            self.end = None  # an End before it was of the time before the run was resumed

    def _show(self, event: events.Event) -> None:
        self.take(event)
        if isinstance(event, events.Start):
            again = f", going on after step {event.step}" if event.step else ""
            self.out.say(f"{self.run.name} ({self.run.short}): {event.parameters:,} parameters, vocabulary "
                         f"{event.vocab_size}, {event.train_tokens:,} tokens of {event.dataset or 'text'}{again}"
                         f"{ranks(event)}")
        elif isinstance(event, events.Evaluation):
            if not self.out.live:
                self._sparse()
        elif isinstance(event, events.Sample):
            self._sample(event)
        elif isinstance(event, events.Alarm) and event.name != "failed":
            self.out.alarm(event.message)
        elif isinstance(event, events.Control):
            value = f" {event.value:g}" if event.value is not None else ""
            self.out.say(f"  step {event.step}: {event.command.replace('_', ' ')}{value}")
        self._progress()

    def _sample(self, event: events.Sample) -> None:
        if self.out.quiet:
            return
        text = " ".join(event.text.split())
        width = columns(sys.stderr, 100)
        head = f"  {event.step:>6}  "
        room = max(20, width - len(head) - 1)
        self.out.say(head + (text if len(text) <= room else text[: room - 1] + "…"))

    def _progress(self) -> None:
        now = time.monotonic()
        if self.step is None or self.out.quiet:
            return
        if self.out.live:
            if now - self._shown >= REDRAW_SECONDS:
                self._shown = now
                self.out.line(self.text(), self._bar())
        elif now - self._said >= SPARSE_SECONDS:
            self._sparse()

    def _sparse(self) -> None:
        self._said = time.monotonic()
        if self.step is not None:
            self.out.say(self.text())

    def fraction(self) -> float:
        """The share that is done, by time when there is a budget, else by steps."""
        if self.step is None or self.start is None:
            return 0.0
        done = self.step.seconds / self._budget if self._budget else self.step.step / max(1, self.start.steps)
        return min(1.0, done)

    def _bar(self) -> str:
        width = max(6, min(24, columns(sys.stderr) - 78))
        full = round(width * self.fraction())
        return "━" * full + "─" * (width - full) + " "

    def text(self) -> str:
        """Step, losses, speed and time left, in one line."""
        step, fraction = self.step, self.fraction()
        assert step is not None
        of = f"/{self.start.steps}" if self.start and not self._budget else ""
        remaining = step.seconds * (1 - fraction) / fraction if fraction > 0 else None
        validation = self.evaluation.validation_loss if self.evaluation else None
        speed = count(round(step.tokens_per_second))
        return (f"{step.step}{of}  loss {loss(step.loss)} · val {loss(validation)} · {speed} tokens/s · "
                f"{seconds(remaining)} left")

    def _verdict(self, interrupted: bool) -> int:
        if not self.run.dir.is_dir():
            self.out.warn(f"babytui: {self.run.short} was deleted; `babytui trash restore {self.run.short}` brings it "
                          "back.")
            return 1
        if self.end is None:
            self.out.warn(f"babytui: {self.run.name} died; `babytui resume {self.run.short}` continues it from its "
                          f"last checkpoint, and {self.run.dir / 'worker.log'} may say why.")
            return 1
        if self.end.reason == "failed":
            self.out.warn(f"babytui: {self.end.message}")
            return 1
        return 130 if interrupted else 0

    def result(self) -> dict[str, Any]:
        """The object that `train --json` and `finetune --json` print."""
        start, end, step = self.start, self.end, self.step
        tokens = end.tokens if end else step.tokens if step else 0
        spent = end.seconds if end else step.seconds if step else 0.0
        return {
            "guid": self.run.guid, "name": self.run.name, "status": self.run.status(),
            "parameters": start.parameters if start else None,
            "steps": end.step if end else step.step if step else 0, "tokens": tokens, "seconds": spent,
            "tokens_per_second": tokens / spent if spent else None,
            "train_loss": end.train_loss if end else None, "validation_loss": end.validation_loss if end else None,
            **self._base(),
        }

    def _base(self) -> dict[str, Any]:
        """What a fine-tuned run was made from."""
        plan = self.run.plan
        if not plan.get("base"):
            return {}
        return {"base": plan["base"]["guid"], "trained_parameters": plan["trained_parameters"],
                "new_symbols": plan["adaptation"]["new_symbols"]}
