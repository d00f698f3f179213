"""Following a run's journal from a thread: events become few, small messages.

However fast a run writes and however long its journal is, the screen gets at most four messages a second, and none
before it has dealt with the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.message import Message

from babytui.curve.curve import Curve
from babytui.curve.loading import Index
from babytui.curve.series import Point
from babytui.memory import resident
from babytui.tui import governor
from babytui.tui.threads import Reporter
from engine.errors import BabyError
from engine.events import sound
from store import journal
from store.lock import Lock

if TYPE_CHECKING:
    from babytui.runs import Run

PERIOD = 0.25
_CHUNK = 1 << 22  # bytes of a journal that are read at a time
_END = 1 << 19  # bytes at the end of a long backlog of which every step is read
_WEIGHING = 2.0  # seconds between two looks at the memory of a run
_KEEP = 400  # log lines and samples of one message


@dataclass
class Delta:
    """What a run did since the last message. Values are the journal's own plain data."""

    status: str = ""
    start: Mapping[str, Any] | None = None
    back: float | None = None  # the step that it went on from; what is known of later ones is no more
    curve: Curve = field(default_factory=Curve)  # what was added to it
    step: Mapping[str, Any] | None = None
    notes: list[tuple[float, str, str]] = field(default_factory=list)
    samples: list[Mapping[str, Any]] = field(default_factory=list)
    end: Mapping[str, Any] | None = None
    norms: Mapping[str, Any] | None = None
    memory: int | None = None  # bytes that the run's process holds
    budget: float | None = None  # seconds, with a start

    @property
    def points(self) -> list[Point]:
        """What was added to the training loss."""
        return list(self.curve.train)

    @property
    def validation(self) -> list[Point]:
        """What was added to the validation loss."""
        return list(self.curve.validation)

    def __bool__(self) -> bool:
        return bool(self.start or not self.curve.empty or self.step or self.notes or self.samples or self.end
                    or self.norms)


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
        self.offset = journal.Offset()
        self.index = Index()  # where in the journal the steps are
        self._every = 0
        self._weigh_at = 0.0
        self._weight: int | None = None

    def follow(self) -> None:
        """Runs in a thread."""
        last_status = ""
        while not self._stopped.is_set():
            alive, delta = self.run.alive, Delta()
            try:
                status = self.run.status()  # before the journal, which is then read to its end
                delta = self.gather()
            except (BabyError, OSError):
                if self.run.dir.is_dir():
                    raise
            if not self.run.dir.is_dir():  # somebody may be moving it away just now
                status = "deleted"
            over = not alive and not delta
            if alive:
                delta.memory = self._memory()
            if delta or status != last_status:
                delta.status = last_status = status
                if delta.start:
                    delta.budget = self.run.plan.get("time_budget")
                if not self.tell(Followed(self.serial, self.run.guid, delta)):
                    return
            if over:
                return
            self._stopped.wait(governor.period(PERIOD))

    def _memory(self) -> int | None:
        """What the run's processes hold, looked at now and then."""
        if time.monotonic() >= self._weigh_at:
            self._weigh_at = time.monotonic() + _WEIGHING
            owner = Lock.owner(self.run.dir / "lock")
            self._weight = resident(owner) if owner is not None else None
        return self._weight

    def _piece(self) -> tuple[list[dict[str, Any]], journal.Offset]:
        """The next lines. Of a long backlog every event but steps, and one step in many: a journal of a million steps
        is on the screen in a second, and what is left out is averaged away anyway."""
        path = self.run.journal
        left = journal.end(path) - self.offset
        if left > 2 * _CHUNK and not self._every:
            self._every = left // (_CHUNK // 2)
        elif left <= _END:
            self._every = 0
        if not self._every:
            return journal.read(path, self.offset, limit=_CHUNK)
        return journal.read(path, self.offset, limit=min(2 * _CHUNK, left - _END // 2), every=self._every)

    def gather(self) -> Delta:
        """Everything in the journal that was not read yet, thinned."""
        delta = Delta()
        while not self._stopped.is_set():
            lines, offset = self._piece()
            lines = [line for line in lines if sound(line)]
            self.index.note(self.offset, lines)
            for line in lines:
                _digest(line, delta)
            del delta.notes[:-_KEEP], delta.samples[:-_KEEP]
            done = offset == self.offset
            self.offset = offset
            if done:
                break
        return delta


def _digest(line: Mapping[str, Any], delta: Delta) -> None:
    kind, step = line.get("event"), line.get("step", 0)
    when = float(line.get("time") or 0.0)
    delta.curve.take(line)
    if kind == "step":
        delta.step = line
    elif kind == "evaluation":
        loss = line.get("validation_loss")
        shown = "nothing held back" if loss is None else f"{loss:.4f}"
        delta.notes.append((when, f"step {step:,}: val. {shown}", "text"))
    elif kind == "sample":
        delta.samples.append(line)
    elif kind == "start":
        delta.start, delta.end = line, None
        delta.back = step if delta.back is None else min(step, delta.back)
        verb = f"goes on after step {step:,}" if step else f"begins, {line.get('steps', 0):,} steps"
        delta.notes.append((when, verb, "accent"))
    elif kind == "norms":
        delta.norms = line
    elif kind == "checkpoint":
        delta.notes.append((when, f"step {step:,}: checkpoint ({line.get('reason', '')})", "dim"))
    elif kind == "alarm":
        delta.notes.append((when, str(line.get("message", "")), "bad"))
    elif kind == "control":
        value = line.get("value")
        said = str(line.get("command")).replace("_", " ") + (f" {value:g}" if value is not None else "")
        delta.notes.append((when, f"step {step:,}: {said}", "accent"))
    elif kind == "end":
        delta.end = line
        message = line.get("message") or f"{line.get('reason')} at step {step:,}"
        delta.notes.append((when, str(message), "bad" if line.get("reason") == "failed" else "good"))
