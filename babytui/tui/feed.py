"""Following a run's journal from a thread: events become few, small messages.

However fast a run writes and however long its journal is, the screen gets at most four messages a second, and none
before it has dealt with the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from textual.message import Message

from babytui.tui.series import Point, Series
from babytui.tui.threads import Reporter

if TYPE_CHECKING:
    from babytui.runs import Run

PERIOD = 0.25
_CHUNK = 1 << 22  # bytes of a journal that are read at a time
_STEP = b'{"event":"step"'
_KEEP = 400  # log lines and samples of one message


@dataclass
class Delta:
    """What a run did since the last message. Values are the journal's own plain data."""

    status: str = ""
    start: Mapping[str, Any] | None = None
    points: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)
    step: Mapping[str, Any] | None = None
    notes: list[tuple[float, str, str]] = field(default_factory=list)
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    end: Mapping[str, Any] | None = None
    budget: float | None = None  # seconds, with a start

    def __bool__(self) -> bool:
        return bool(self.start or self.points or self.validation or self.step or self.notes or self.samples or self.end)


class Followed(Message):
    """A delta of the run `guid`, from the feed with this number."""

    def __init__(self, serial: int, guid: str, delta: Delta):
        super().__init__()
        self.serial, self.guid, self.delta = serial, guid, delta


class Feed(Reporter):
    """Reads one run until it is over or `stop` is called."""

    def __init__(self, run: Run, serial: int, post: Callable[[Message], Any]):
        super().__init__(post)
        self.run, self.serial = run, serial
        self.offset = 0
        self._stride = 0

    def follow(self) -> None:
        """Runs in a thread."""
        last_status = ""
        while not self._stopped.is_set():
            alive = self.run.alive
            status = self.run.status()  # before the journal: what is told to be over has been read to its end
            delta = self.gather()
            over = not alive and not delta
            if delta or status != last_status:
                delta.status = last_status = status
                if delta.start:
                    delta.budget = self.run.plan.get("time_budget")
                if not self.tell(Followed(self.serial, self.run.guid, delta)):
                    return
            if over:
                return
            self._stopped.wait(PERIOD)

    def _skim(self) -> tuple[list[Any], int] | None:
        """A piece of a long backlog: every event but steps, and one step in many. None when little is left to read.

        A journal of a million steps is on the screen in a second; what is left out is averaged away anyway.
        """
        left = self.run.journal.stat().st_size - self.offset
        if left <= 2 * _CHUNK:
            return None
        with open(self.run.journal, "rb") as file:
            file.seek(self.offset)
            data = file.read(2 * _CHUNK)
        end = data.rfind(b"\n") + 1
        if not end:
            return None
        self._stride = self._stride or max(1, left // (2 * _CHUNK))
        lines = []
        for number, line in enumerate(data[:end].split(b"\n")):
            if number % self._stride == 0 or not line.startswith(_STEP):
                with suppress(orjson.JSONDecodeError):
                    lines.append(orjson.loads(line))
        return [line for line in lines if isinstance(line, dict)], self.offset + end

    def gather(self) -> Delta:
        """Everything in the journal that was not read yet, thinned."""
        from store import journal

        delta = Delta()
        train, validation = Series(), Series()
        while not self._stopped.is_set():
            try:
                lines, offset = self._skim() or journal.read(self.run.journal, self.offset, limit=_CHUNK)
            except FileNotFoundError:
                break
            for line in lines:
                _digest(line, delta, train, validation)
            del delta.notes[:-_KEEP], delta.samples[:-_KEEP]
            done = offset == self.offset or not lines
            self.offset = offset
            if done:
                break
        delta.points, delta.validation = list(train), list(validation)
        return delta


def _digest(line: Mapping[str, Any], delta: Delta, train: Series, validation: Series) -> None:
    kind, step = line.get("event"), line.get("step", 0)
    when = float(line.get("time") or 0.0)
    if kind == "step":
        delta.step = line
        train.add(step, line.get("seconds", 0.0), line.get("loss"))
    elif kind == "evaluation":
        loss = line.get("validation_loss")
        validation.add(step, line.get("seconds", 0.0), loss)
        shown = "nothing held back" if loss is None else f"{loss:.4f}"
        delta.notes.append((when, f"step {step:,}: val. {shown}", "text"))
    elif kind == "sample":
        delta.samples.append(line)
    elif kind == "start":
        delta.start, delta.end = line, None
        verb = f"goes on after step {step:,}" if step else f"begins, {line.get('steps', 0):,} steps"
        delta.notes.append((when, verb, "accent"))
    elif kind == "checkpoint":
        delta.notes.append((when, f"step {step:,}: checkpoint ({line.get('reason', '')})", "dim"))
    elif kind == "alarm":
        delta.notes.append((when, str(line.get("message", "")), "bad"))
    elif kind == "control":
        value = line.get("value")
        delta.notes.append((when, f"step {step:,}: {line.get('command')}" + (f" {value:g}" if value else ""), "accent"))
    elif kind == "end":
        delta.end = line
        message = line.get("message") or f"{line.get('reason')} at step {step:,}"
        delta.notes.append((when, str(message), "bad" if line.get("reason") == "failed" else "good"))
