"""A program in a pseudo-terminal, as a terminal emulator would run it: start, read, type, count bytes."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time


class PtyApp:
    """Runs `arguments` in a terminal of width × height. `output` is every byte the program wrote.

    rate: bytes per second that the link to the terminal carries. answers: whether the terminal says that it is there
    (`\\x1b[5n`) when it is asked, after everything before has arrived.
    """

    QUESTION, ANSWER = b"\x1b[5n", b"\x1b[0n"

    def __init__(self, arguments: list[str], width: int, height: int, env: dict[str, str] | None = None,
                 rate: float = float("inf"), answers: bool = False):
        self.rate, self.answers = rate, answers
        self._free = 0.0  # when the link can carry more
        self._answered = 0  # questions
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=environment,
                                        start_new_session=True, close_fds=True)
        os.close(slave)
        self.output = bytearray()
        self.mark = 0  # a place in it, for who reads on from there

    def __enter__(self) -> PtyApp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, seconds: float) -> bytes:
        """What arrives within this time."""
        end, start = time.monotonic() + seconds, len(self.output)
        while (left := end - time.monotonic()) > 0:
            if not self._take(left):
                break
        return bytes(self.output[start:])

    def wait_for(self, word: bytes, seconds: float, start: int = 0) -> None:
        """Reads until `word` has arrived after position `start`; AssertionError after `seconds`."""
        end = time.monotonic() + seconds
        while word not in self.output[start:]:
            assert time.monotonic() < end, f"{word!r} did not appear; the last output was {bytes(self.output[-400:])!r}"
            if not self._take(0.05):
                assert word in self.output[start:], f"the program ended: {bytes(self.output[-800:])!r}"

    def _take(self, seconds: float) -> bool:
        """Reads what has arrived, or waits so long for it; False when the program's end of the terminal is closed."""
        if self.rate < float("inf"):
            early = self._free - time.monotonic()
            if early > 0:
                time.sleep(min(early, seconds))
                return True
        if select.select([self._master], [], [], seconds)[0]:
            try:
                piece = os.read(self._master, 1 << 16 if self.rate == float("inf") else max(16, int(self.rate / 100)))
            except OSError:
                return False
            self._free = time.monotonic() + len(piece) / self.rate
            self.output += piece
            if self.answers and self.output.count(self.QUESTION, max(0, len(self.output) - len(piece) - 3)):
                asked = self.output.count(self.QUESTION)
                os.write(self._master, self.ANSWER * (asked - self._answered))
                self._answered = asked
        return True

    def type(self, keys: bytes) -> None:
        """Sends keys as a terminal would."""
        os.write(self._master, keys)

    def wait(self, seconds: float = 60) -> int:
        """The exit code; reads on meanwhile, so that the program is never blocked."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        code = self.process.poll()
        assert code is not None, "the program did not end"
        self.drain()
        return code

    def drain(self) -> None:
        """Reads what an ended program has left."""
        try:
            while select.select([self._master], [], [], 0)[0] and (piece := os.read(self._master, 1 << 16)):
                self.output += piece
        except OSError:  # that was all
            pass

    def close(self) -> None:
        """Ends the program and its terminal."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        os.close(self._master)
