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
    """Runs `arguments` in a terminal of width × height. `output` is every byte the program wrote."""

    def __init__(self, arguments: list[str], width: int, height: int, env: dict[str, str] | None = None):
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(env or {})}
        self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=environment,
                                        start_new_session=True, close_fds=True)
        os.close(slave)
        self.output = bytearray()

    def __enter__(self) -> PtyApp:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, seconds: float) -> bytes:
        """What arrives within this time."""
        end, start = time.monotonic() + seconds, len(self.output)
        while (left := end - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                try:
                    self.output += os.read(self._master, 1 << 16)
                except OSError:
                    break
        return bytes(self.output[start:])

    def wait_for(self, word: bytes, seconds: float, start: int = 0) -> None:
        """Reads until `word` has arrived after position `start`; AssertionError after `seconds`."""
        end = time.monotonic() + seconds
        while word not in self.output[start:]:
            assert time.monotonic() < end, f"{word!r} did not appear; the last output was {bytes(self.output[-400:])!r}"
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self.output += os.read(self._master, 1 << 16)
                except OSError:
                    assert word in self.output[start:], f"the program ended: {bytes(self.output[-800:])!r}"

    def type(self, keys: bytes) -> None:
        """Sends keys as a terminal would."""
        os.write(self._master, keys)

    def wait(self, seconds: float = 10) -> int:
        """The exit code; reads on meanwhile, so that the program is never blocked."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        code = self.process.poll()
        assert code is not None, "the program did not end"
        return code

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
