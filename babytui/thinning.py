"""Thinning the journal of a long run: of its steps those stay that its report and its curve are made from.

The curve of a report takes in every step at first, then every second, fourth, eighth …: of a million some eleven
thousand, a hundredth of the bytes. What it would pass over is left out, so that it is the same afterwards, also when
the run goes on. Everything else in the journal stays, and who follows it notices nothing (see `store.journal.thin`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from babytui.report import Curve
from babytui.runs import Run
from engine.errors import FormatError
from engine.events import Start, Step, parse
from store import journal


def thin(run: Run) -> int:
    """Thins the journal of a run, best when it is over, and returns the bytes that were saved. StoreError."""
    return journal.thin(run.journal, _Taken())


class _Taken:
    """Asked of one line after the other: whether the curve takes it in, or it is no step at all."""

    def __init__(self) -> None:
        self._curve = Curve()

    def __call__(self, line: dict[str, Any]) -> bool:
        kind, step = line.get("event"), line.get("step")
        if kind == Step.kind and isinstance(step, int) and step % self._curve.every:
            return False
        if kind in (Step.kind, Start.kind):
            with suppress(FormatError):
                self._curve.add(parse(line))
        return True
