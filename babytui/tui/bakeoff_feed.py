"""Following a bake-off from a thread: its screen gets few messages, and none before it has dealt with the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.message import Message

from babytui.tui.threads import Reporter

if TYPE_CHECKING:
    from babytui.bakeoff_progress import Progress, Row

PERIOD, IDLE_PERIOD = 1.0, 2.0  # seconds between two looks at one that is at work, and at one that is not


class Looked(Message):
    """A thread has looked at a bake-off: its rows, how it stands, and seconds left."""

    def __init__(self, serial: int, rows: list[Row], status: str, left: float | None):
        super().__init__()
        self.serial, self.rows, self.status, self.left = serial, rows, status, left


class Follower(Reporter):
    """Looks at a bake-off again and again, in a thread, and tells what changed."""

    def __init__(self, progress: Progress, serial: int, post: Callable[[Message], Any]):
        super().__init__(post)
        self._progress, self._serial = progress, serial

    def follow(self) -> None:
        """Runs in a thread."""
        before: Any = None
        while not self._stopped.is_set():
            rows = [replace(row, values=dict(row.values)) for row in self._progress.look()]
            left, status = self._progress.left(), self._progress.status
            now = (rows, status, left and round(left), self._progress.waits)
            if now != before:
                before = now
                if not self.tell(Looked(self._serial, rows, status, left)):
                    return
            self._stopped.wait(PERIOD if status in ("running", "stopping", "starting") else IDLE_PERIOD)
