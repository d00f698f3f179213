"""Following a bake-off from a thread: its screen gets few messages, and none before it has dealt with the last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.message import Message

if TYPE_CHECKING:
    from babytui.bakeoff_progress import Progress, Row

PERIOD, IDLE_PERIOD = 1.0, 2.0  # seconds between two looks at one that is at work, and at one that is not


class Looked(Message):
    """A thread has looked at a bake-off: its rows, how it stands, and seconds left."""

    def __init__(self, serial: int, rows: list[Row], status: str, left: float | None):
        super().__init__()
        self.serial, self.rows, self.status, self.left = serial, rows, status, left


class Follower:
    """Looks at a bake-off again and again, in a thread; tells what changed, and nothing before the last was taken."""

    def __init__(self, progress: Progress, serial: int, post: Callable[[Message], Any]):
        self._progress, self._serial, self._post = progress, serial, post
        self._stopped, self._wanted = threading.Event(), threading.Event()
        self._wanted.set()

    def stop(self) -> None:
        """Ends the thread soon."""
        self._stopped.set()
        self._wanted.set()

    def taken(self) -> None:
        """The last message was dealt with; the next may come."""
        self._wanted.set()

    def follow(self) -> None:
        """Runs in a thread."""
        before: Any = None
        while not self._stopped.is_set():
            rows = [replace(row, values=dict(row.values)) for row in self._progress.look()]
            left, status = self._progress.left(), self._progress.status
            now = (rows, status, left and round(left))
            if now != before:
                before = now
                self._wanted.wait()
                if self._stopped.is_set():
                    return
                self._wanted.clear()
                self._post(Looked(self._serial, rows, status, left))
            self._stopped.wait(PERIOD if status in ("running", "stopping", "starting") else IDLE_PERIOD)
