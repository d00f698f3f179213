"""What a verb says: data to standard output, narration to standard error, in the user's units."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from babytui.streams import Code, behind, send
from babytui.units import amount
from babytui.visible import cells, cut, visible


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

        terminal = sys.stdout.isatty()
        text = json.dumps(value, ensure_ascii=terminal, default=str, allow_nan=False)
        print(text.replace("\x7f", "\\u007f") if terminal else text, flush=True)

    def print(self, text: str = "") -> None:
        """A line of data to standard output, safe to show, wherever it goes."""
        print(visible(text, newlines=False), flush=True)

    def value(self, text: str) -> None:
        """One value that a program may read, such as a path: marks on a terminal, exact in a pipe or a file."""
        if sys.stdout.isatty():
            self.print(text)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(os.fsencode(text) + b"\n")  # a file's name need not be text
            sys.stdout.buffer.flush()

    def write(self, text: str, *, raw: bool = False) -> None:
        """A piece of text that somebody wrote to standard output: marks on a terminal unless it is wanted `raw`, exact
        in a pipe or a file."""
        exact = raw or not sys.stdout.isatty()
        (behind(sys.stdout) if exact else sys.stdout).write(text if exact else visible(text))
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line of narration, unless it is quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """A line on standard error even when it is quiet."""
        self.clear()
        print(visible(text, newlines=False), file=sys.stderr, flush=True)

    def alarm(self, text: str) -> None:
        """A warning in its colour."""
        self.clear()
        send(sys.stderr, *self.painted("33", "! " + visible(text, newlines=False)), Code("\n"))

    def painted(self, code: str, text: str) -> list[str]:
        """The pieces, for `send`, of a text in a colour."""
        return [Code(f"\x1b[{code}m"), text, Code("\x1b[0m")] if self.color and code and text else [text]

    @property
    def live(self) -> bool:
        """Whether a line on standard error can be redrawn."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def line(self, text: str, bar: str = "") -> None:
        """Redraw the live line: a bar in its colour, then text, at most the terminal's width."""
        if self.live:
            room = max(0, columns(sys.stderr) - 1 - len(bar))
            send(sys.stderr, Code("\r"), *self.painted("36", bar), cut(text, room), Code("\x1b[K"))
            self._line = True

    def clear(self) -> None:
        """Remove the live line."""
        if self._line:
            send(sys.stderr, Code("\r\x1b[K"))
            self._line = False

    def end_line(self) -> None:
        """Leave the live line where it is and go on below."""
        if self._line:
            send(sys.stderr, Code("\n"))
            self._line = False


def room(stream: TextIO) -> int | None:
    """Cells in a line of what shows a stream, a terminal or a page of the app; None where nobody says so, as in a
    pipe."""
    if width := getattr(stream, "columns", None):
        return int(width)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None if stream.isatty() else None
    except (OSError, ValueError):
        return None


def columns(stream: TextIO, otherwise: int = 80) -> int:
    """As `room`, or `otherwise`."""
    return room(stream) or otherwise


def fit(lines: Sequence[str]) -> list[str]:
    """Lines for standard output, cut where what shows them ends; whole in a pipe."""
    width = room(sys.stdout)
    return [line if width is None else cut(line, width) for line in lines]


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of aligned columns, safe to show; `right` are the indices aligned to the right. The first row is the
    header."""
    shown = [[visible(cell, newlines=False) for cell in row] for row in rows]
    widths = [max(cells(row[i]) for row in shown) for i in range(len(shown[0]))]
    lines = []
    for row in shown:
        gaps = [" " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(gap + cell if i in right else cell + gap
                               for i, (cell, gap) in enumerate(zip(row, gaps, strict=True))).rstrip())
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
