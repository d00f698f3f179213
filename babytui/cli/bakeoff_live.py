"""A bake-off in a terminal: a table that is redrawn in place, within the window, and only where it changed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from babytui import bakeoff_table as table
from babytui.bakeoff_progress import DONE, FAILED, Progress, Row, ordered
from babytui.cli.output import Output, count, loss, seconds
from babytui.streams import Code, send
from babytui.visible import cells, cut

Line = tuple[str, str]  # text and colour code


class LiveTable:
    """Lines at the bottom of standard error. `draw` shows others in their place, `clear` takes them away."""

    def __init__(self, out: Output):
        self.out = out
        self._drawn: list[Line] = []
        self._size = os.terminal_size((0, 0))

    @property
    def size(self) -> os.terminal_size:
        """The window, or what is usual when the terminal does not say."""
        try:
            found = os.get_terminal_size(sys.stderr.fileno())
        except (OSError, ValueError):
            found = os.terminal_size((0, 0))
        return found if found.columns and found.lines else shutil.get_terminal_size()

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines, as many and as much of them as fit."""
        size = self.size
        lines = [(cut(text, max(1, size.columns - 1)), colour) for text, colour in lines[: max(1, size.lines - 1)]]
        if size != self._size or len(lines) != len(self._drawn):
            self.clear()
            written = [piece for line in lines for piece in (*self._paint(line), Code("\n"))]
        else:
            written = []
            for n, (old, new) in enumerate(zip(self._drawn, lines, strict=True)):
                if old != new:
                    up = len(lines) - n
                    written += [Code(f"\x1b[{up}A\r"), *self._paint(new), Code(f"\x1b[K\x1b[{up}B\r")]
        self._drawn, self._size = list(lines), size
        if written:
            send(sys.stderr, *written)

    def clear(self) -> None:
        """Take the lines away; the next thing that is printed stands where they stood."""
        if self._drawn:
            width = max(1, self.size.columns)  # in a window that was made narrower they take more lines
            height = sum(max(1, -(-cells(text) // width)) for text, _ in self._drawn)
            send(sys.stderr, Code(f"\x1b[{height}A\r\x1b[J"))
            self._drawn = []

    def _paint(self, line: Line) -> list[str]:
        text, colour = line
        return self.out.painted(colour, text)


def screen(progress: Progress, by: str, width: int, height: int) -> list[Line]:
    """What a window of this size shows of a bake-off: where it stands, the table, and what is being done."""
    shown, gaps = window(ordered(progress.rows.values(), by), max(3, height - 4))
    table_lines = table.lines([row.values for row in shown], width - 1, [row.text for row in shown])
    body: list[Line] = [(line, _colour(row)) for line, row in zip(table_lines[1:], shown, strict=True)]
    for at, text in reversed(gaps):
        body.insert(at, (text, "2"))
    return [(heading(progress), "1"), (table_lines[0], "2"), *body, (activity(progress, width), "36")]


def window(rows: Sequence[Row], room: int) -> tuple[list[Row], list[tuple[int, str]]]:
    """The rows that fit of these ordered ones, and lines that say what was left out, each with the place it is put at.

    Live rows are always there, then the best that are done, then those that wait.
    """
    if len(rows) <= room:
        return list(rows), []
    done = [row for row in rows if row.state in (DONE, FAILED)]
    live = [row for row in rows if row.live][: max(1, room - 2)]
    waiting = [row for row in rows if row not in done and not row.live]
    gaps: list[tuple[int, str]] = []
    if len(done) > (places := room - len(live) - bool(waiting)):
        places -= 1
        gaps.append((places, f"⋮ {len(done) - places} more that are done"))
        done = done[:places]
    places = room - len(done) - len(live) - len(gaps)
    if len(waiting) > places:
        places = max(0, places - 1)
        gaps.append((len(done) + len(live) + places, f"⋮ {len(waiting) - places} more that wait"))
        waiting = waiting[:places]
    return [*done, *live, *waiting], gaps


def _colour(row: Row) -> str:
    return "31" if row.state == FAILED else "36" if row.live else "" if row.state == DONE else "2"


def heading(progress: Progress) -> str:
    """bake · 12 of 49 done · about 23:10 left"""
    left = progress.left()
    name = str(progress.plan.get("name") or progress.bakeoff.short)
    parts = [name, f"{progress.done} of {len(progress.rows)} done"]
    if progress.status == "running" and progress.waits:
        parts.append(f"waits: {progress.waits}")
    elif progress.status != "running":
        parts.append(progress.status)
    elif left is not None:
        parts.append(f"about {seconds(left)} left")
    return " · ".join(parts)


def activity(progress: Progress, width: int) -> str:
    """What is being done now, with a bar."""
    current = progress.current()
    if not current:
        return ""
    row = current[0]
    pieces = [row.architecture.label, row.text]
    if row.values.get("validation_loss") is not None:
        pieces.append(f"val {loss(row.values['validation_loss'])}")
    if row.values.get("tokens_per_second"):
        pieces.append(f"{count(round(row.values['tokens_per_second']))} tokens/s")
    if len(current) > 1:
        pieces.append(f"and {len(current) - 1} more")
    text = " · ".join(pieces)
    room = max(0, min(24, width - len(text) - 4))
    full = round(room * row.share)
    return "━" * full + "─" * (room - full) + (" " if room else "") + text
