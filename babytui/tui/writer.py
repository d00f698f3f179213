"""Writing to the terminal from a thread: the app never waits for a slow link, and its way is measured."""

from __future__ import annotations

import os
import threading
import time
from collections import deque

from babytui.tui.governor import QUESTION, Link
from babytui.tui.sgr import Economy

CHUNK = 1024  # bytes that are written at once: how long each takes says how fast they leave
LEAVING = 5.0  # seconds that the last words may take


class Writer(threading.Thread):
    """Takes what is to be written at once, and writes it in its time. What is given after `stop` is dropped."""

    def __init__(self, fileno: int, link: Link):
        super().__init__(daemon=True, name="terminal-writer")
        self._fileno, self._link = fileno, link
        self._pieces: deque[bytes] = deque()
        self._economy = Economy()
        self._wake = threading.Condition()
        self._stopped = False
        self.asking = False  # whether a question follows what is written

    def write(self, text: str) -> None:
        """Never waits."""
        with self._wake:
            if self._stopped:
                return
            piece = self._economy.feed(text).encode("utf-8", "replace")
            self._link.queue(len(piece))
            self._pieces.append(piece)
            self._wake.notify()

    def stop(self) -> None:
        """Writes what is left and ends; gives up on a terminal that takes nothing."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self.join(LEAVING)

    def run(self) -> None:
        while True:
            with self._wake:
                while not self._pieces and not self._stopped:
                    self._wake.wait()
                if not self._pieces:
                    return
                data = b"".join(self._pieces)
                self._pieces.clear()
                if self.asking and not self._stopped and self._link.ask(time.monotonic()):
                    self._link.queue(len(QUESTION))
                    data += QUESTION.encode()
            try:
                self._put(data)
            except OSError:  # the terminal is gone, which the driver knows
                return

    def _put(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            piece, begun = data[start: start + CHUNK], time.monotonic()
            while piece:
                try:
                    piece = piece[os.write(self._fileno, piece):]
                except BlockingIOError:  # somebody has made the terminal so
                    time.sleep(0.01)
            now = time.monotonic()
            self._link.write(min(CHUNK, len(data) - start), now - begun, now)
