"""Curves from what is on the disk: a run's journal while there is one, else a model's report."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babytui.curve.curve import Curve, from_report
from babytui.curve.series import Point, Series
from engine.events import sound
from store import journal

if TYPE_CHECKING:
    from store.workspace import Workspace

WIDEST = 200_000
"""Steps that `finer` reads at most; of a wider part a curve's own points are many enough."""
_PIECE = 1 << 20
_MOST = 1 << 26  # bytes that `finer` reads
_POINTS = 4096
_SKIM = 1 << 24  # bytes from which only some steps of a journal are read


class Index:
    """Where in a journal the steps are: for some of them, the offset of a place before it and after every smaller one.

    Of a run that went back, the place of what it did the second time. `note` is told everything that is read, in order.
    """

    def __init__(self) -> None:
        self._places: list[tuple[int, journal.Offset, bool]] = []  # step, offset, and whether the run went on there

    def note(self, offset: journal.Offset, lines: Iterable[Mapping[str, Any]]) -> None:
        """lines: sound events, read from that offset on."""
        places = self._places
        for line in lines:
            step, begins = line["step"], line["event"] == "start"
            if begins:
                while places and places[-1][0] > step:
                    places.pop()
                step += 1
            far = not places or offset - places[-1][1] >= _PIECE
            if (begins or (line["event"] == "step" and far)) and (not places or step > places[-1][0]):
                places.append((step, offset, begins))

    def _at(self, step: float) -> int:
        return max(0, bisect_right(self._places, step, key=lambda place: place[0]) - 1)

    def before(self, step: float) -> journal.Offset:
        """An offset before the line of a step."""
        places = self._places[self._at(step): self._at(step) + 1]
        return places[0][1] if places and places[0][0] <= step else journal.Offset()

    def begun(self, first: float, last: float) -> list[tuple[int, journal.Offset]]:
        """Where the run went on, from the place before `first` to `last`: the step, and an offset before its Start."""
        return [(step, offset) for step, offset, begins in self._places[self._at(first):] if begins and step <= last]


def finer(path: Path, index: Index, low: float, high: float) -> list[Point]:
    """The training points of the steps from low to high, read again from a run's journal; at most a few thousand, which
    are means if the steps are more. Runs in a thread: it reads megabytes. Empty when there are too many steps."""
    if high - low > WIDEST:
        return []
    found: dict[int, Point] = {}
    offset, left, begun = index.before(low), _MOST, index.begun(low, high)
    while left > 0:
        lines, after = journal.read(path, offset, limit=_PIECE)
        last = 0
        for line in filter(sound, lines):
            step = line["step"]
            if line["event"] == "start":
                found = {n: point for n, point in found.items() if n <= step}
                begun = [place for place in begun if place[0] > step + 1]
            elif line["event"] == "step":
                last = step
                if low <= step <= high:
                    found[step] = Point(step, line["seconds"], line["loss"], line["learning_rate"],
                                        line["gradient_norm"])
        left -= after - offset
        if after == offset or (last > high and not begun):
            break
        offset = max(after, begun[0][1]) if last > high else after  # what lies between was done again
    series = Series(_POINTS)
    series.extend(found[step] for step in sorted(found))
    return list(series)


def from_journal(path: Path, name: str = "", guid: str = "", span: tuple[float, float] | None = None) -> Curve:
    """The curve of a journal; of a long one from some of its steps. span: steps that are read finely."""
    curve, index, offset = Curve(name, guid), Index(), journal.Offset()
    every = max(1, journal.end(path) // (_SKIM // 4)) if journal.end(path) > _SKIM else 1
    while True:
        lines, after = journal.read(path, offset, limit=_SKIM // 2, every=every)
        good = [line for line in lines if sound(line)]
        index.note(offset, good)
        for line in good:
            curve.take(line)
        if after == offset:
            break
        offset = after
    last = curve.train.last
    if span is not None and last is not None and (points := finer(path, index, *span)):
        curve.refine(points, max(0.0, span[0]), min(span[1], last.step))
    return curve


def load(workspace: Workspace, reference: str, span: tuple[float, float] | None = None) -> Curve:
    """The curve of a model or run, by whatever names one: of its journal, else of its report. It may be empty.

    span: steps (first, last) that are read as finely as they were written. NotFound.
    """
    from babytui.library import locate
    from babytui.runs import Run

    home, guid = locate(reference, workspace, shipped_if_none=True)
    run = Run(home, guid)
    entry = home.entry(guid)
    if run.journal.is_file():
        curve = from_journal(run.journal, entry.name or run.name, guid, span)
        curve.planned_seconds = float(run.plan.get("time_budget") or 0) if (run.dir / "plan.json").is_file() else 0.0
        if not curve.empty:
            return curve
    return from_report(entry.report, entry.name or guid[:8], guid)
