"""What a verb says: data to standard output, narration to standard error, in the user's units."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from babytui.units import amount
from babytui.visible import visible


def colored(stream: TextIO) -> bool:
    """Whether a stream should get colours: a terminal that can, and nobody asked for none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Output:
    """The two streams of one command. color: None decides by terminal and $NO_COLOR."""

    def __init__(self, *, json: bool = False, quiet: bool = False, color: bool | None = None):
        self.json = json
        self.quiet = quiet
        self.color = colored(sys.stderr) if color is None else color
        self._line = False  # a live line stands on standard error

    def data(self, value: Any) -> None:
        """One JSON object or list to standard output; on a terminal in ASCII, so that nothing in it is live."""
        import json

        print(json.dumps(value, ensure_ascii=sys.stdout.isatty(), default=str, allow_nan=False), flush=True)

    def print(self, text: str = "") -> None:
        """A line of data to standard output, safe to show."""
        print(visible(text) if sys.stdout.isatty() else text, flush=True)

    def say(self, text: str) -> None:
        """A line of narration, unless it is quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A line on standard error even when it is quiet."""
        self.clear()
        print(visible(text), file=sys.stderr, flush=True)

    def alarm(self, text: str) -> None:
        """A warning in its colour."""
        self.clear()
        print(self._paint("33", "! " + visible(text)), file=sys.stderr, flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text

    @property
    def live(self) -> bool:
        """Whether a line on standard error can be redrawn."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def line(self, text: str, bar: str = "") -> None:
        """Redraw the live line: a bar in its colour, then text, at most the terminal's width."""
        if self.live:
            room = max(0, columns(sys.stderr) - 1 - len(bar))
            sys.stderr.write("\r" + self._paint("36", bar) + visible(text, newlines=False)[:room] + "\x1b[K")
            sys.stderr.flush()
            self._line = True

    def clear(self) -> None:
        """Remove the live line."""
        if self._line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._line = False

    def end_line(self) -> None:
        """Leave the live line where it is and go on below."""
        if self._line:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._line = False


def columns(stream: TextIO, otherwise: int = 80) -> int:
    """Width of the terminal behind a stream."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or otherwise
    except (OSError, ValueError):
        return otherwise


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of aligned columns; `right` are the indices aligned to the right. The first row is the header."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if i in right else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def count(number: float | None) -> str:
    """12,345 up to a million, then 1.2M, 3.4G; or a dash."""
    return "–" if number is None else amount(number)


def size(number: float | None) -> str:
    """Bytes in decimal units: 812 B, 4.2 kB, 1.3 MB."""
    if number is None:
        return "–"
    for unit, unit_size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= unit_size:
            return f"{number / unit_size:.3g} {unit}"
    return f"{number:.0f} B"


def seconds(number: float | None) -> str:
    """0.4 s, 42 s, 3:07, 2:05:00, 3 d 4 h."""
    if number is None:
        return "–"
    if number < 10:
        return f"{number:.1f} s"
    if number < 60:
        return f"{number:.0f} s"
    whole = round(number)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    if whole < 2 * 86400:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def loss(number: float | None) -> str:
    """Three decimals, or a dash."""
    return "–" if number is None else f"{number:.3f}"


def date(stamp: float | None) -> str:
    """Local date and minute."""
    return "–" if stamp is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(stamp))
