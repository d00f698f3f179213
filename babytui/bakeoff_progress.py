"""How a bake-off stands, looked at again and again at little cost: only what was appended is read. No arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from babytui import bakeoff_table
from babytui.bakeoff import Architecture, BakeOff, architecture_of
from babytui.runs import LIVE, Run
from engine import events
from store import journal
from store.names import valid_guid

WAITING, TRAINING, MEASURING, DONE, FAILED = "waiting", "training", "measuring", "done", "failed"
_RECENT = 2000  # events of a run that are read when it is first looked at


@dataclass
class Row:
    """One architecture. values: what bakeoff_table shows, as far as it is known; share: of its training, 0 to 1.

    state: waiting, training (or the state of its live run: starting, paused), measuring, done, failed, or how its run
    ended (stopped, died) when the bake-off is not at work.
    """

    architecture: Architecture
    state: str = WAITING
    share: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The state in a word: training 43%."""
        return f"{self.state} {self.share:.0%}" if self.state in (TRAINING, "paused", "stopped", "died") else self.state

    @property
    def live(self) -> bool:
        """Whether something is being done with it."""
        return self.state in (TRAINING, MEASURING, "starting", "paused")


def ordered(rows: Iterable[Row], by: str, reverse: bool = False) -> list[Row]:
    """Those that are done, the best by column `by` first; then those that failed, live ones and the rest."""
    rows = list(rows)
    done = [row for row in rows if row.state == DONE]
    others = sorted((row for row in rows if row.state != DONE), key=lambda row: (row.state != FAILED, not row.live))
    return [*bakeoff_table.ordered(done, by, reverse, lambda row: row.values), *others]


class Progress:
    """A bake-off's rows, kept up to date by `look`. `status` is the bake-off's."""

    def __init__(self, bakeoff: BakeOff):
        self.bakeoff = bakeoff
        self.plan = bakeoff.plan
        self.budget = bakeoff.budget
        self.rows = {one: Row(one, values=one._asdict()) for one in bakeoff.architectures}
        self.status = ""
        self.waits = ""  # for the disk: why
        self._results = self._log = 0
        self._runs: dict[Architecture, str] = {}
        self._watched: dict[str, _Watched] = {}

    def look(self) -> list[Row]:
        """The rows as they are now, in the plan's order."""
        alive = self.bakeoff.alive
        self.status = self.bakeoff.status()
        lines, self._log = journal.read(self.bakeoff.log, self._log)
        for line in lines:
            if line.get("event") in ("disk", "room", "begin", "end"):
                self.waits = str(line.get("message") or "") if line.get("event") == "disk" else ""
            one = architecture_of(line)
            if line.get("event") == "run" and one in self.rows and valid_guid(line.get("guid")):
                self._runs[one] = str(line.get("guid"))
                self.rows[one].values["guid"] = line.get("guid")
            elif line.get("event") == "retry" and one in self.rows:
                self.rows[one] = Row(one, values=one._asdict())
                self._runs.pop(one, None)
                self._results = 0  # they were written anew, without it
        results, self._results = journal.read(self.bakeoff.results, self._results)
        for result in map(bakeoff_table.checked, results):
            if (row := self.rows.get(architecture_of(result))) is not None:
                row.values, row.share = result, 1.0
                row.state = FAILED if result.get("error") else DONE
        for one, guid in self._runs.items():
            row = self.rows[one]
            if row.state not in (DONE, FAILED):
                self._follow(row, guid, alive)
        return list(self.rows.values())

    def _follow(self, row: Row, guid: str, alive: bool) -> None:
        run = Run(self.bakeoff.workspace, guid)
        watched = self._watched.setdefault(guid, _Watched())
        watched.read(run)
        status = run.status()
        if status == "finished":
            row.state = MEASURING if alive else "trained"
        elif status in LIVE:
            row.state = TRAINING if status == "running" else status
        else:
            row.state = status if not alive else WAITING
        row.share = watched.share(self.budget.seconds)
        row.values.update(watched.values)

    @property
    def done(self) -> int:
        """How many are done, well or not."""
        return sum(row.state in (DONE, FAILED) for row in self.rows.values())

    def current(self) -> list[Row]:
        """Those that something is being done with."""
        return [row for row in self.rows.values() if row.live]

    def left(self) -> float | None:
        """Seconds until the end, from what was done so far; None when nothing was."""
        if self.status != "running":
            return None
        jobs = int(self.plan.get("jobs") or 1)
        took = [float(row.values.get("elapsed") or 0) for row in self.rows.values() if row.state == DONE]
        going = [row for row in self.rows.values() if row.live]
        if not took:
            took = [float(row.values["seconds"]) / row.share + 2 for row in going
                    if row.share > 0.02 and row.values.get("seconds")]
        if not took:
            return None
        mean = sum(took) / len(took)
        waiting = len(self.rows) - self.done - len(going)
        return mean * (waiting + sum(1 - row.share for row in going)) / max(1, jobs)


class _Watched:
    """What a live run has told so far."""

    def __init__(self) -> None:
        self.offset = -1
        self.steps = 0
        self.values: dict[str, Any] = {}

    def read(self, run: Run) -> None:
        if self.offset < 0:
            recent, offset = run.tail(_RECENT)
            if not recent:
                return
            self.offset = offset
            recent = [*run.events(0, 1 << 14)[0][:1], *recent]
        else:
            recent, self.offset = run.events(self.offset, 1 << 21)
        for event in recent:
            self._take(event)

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.Start):
            self.steps = event.steps
            self.values["parameters"] = event.parameters
        elif isinstance(event, events.Step):
            self.values.update(steps=event.step, tokens=event.tokens, seconds=event.seconds,
                               tokens_per_second=event.tokens_per_second)
        elif isinstance(event, events.Evaluation):
            self.values.update(train_loss=event.train_loss, validation_loss=event.validation_loss)

    def share(self, seconds: float | None) -> float:
        if seconds:
            return min(1.0, float(self.values.get("seconds", 0.0)) / seconds)
        return min(1.0, int(self.values.get("steps", 0)) / self.steps) if self.steps else 0.0

