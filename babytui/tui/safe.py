"""Text of models, files and people in the app: whatever widget shows it, it is neither markup nor control characters.

`plain` makes a title, a cell or an option of it; Lines and Transcript take it as it is. MARKS is behind all of them: it
sees everything that is painted, also by widgets that are not ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.segment import Segment
from rich.text import Text
from textual.color import Color
from textual.filter import LineFilter

from babytui.visible import visible


def plain(text: str, **options: Any) -> Text:
    """One line of text without markup and control characters. options: those of rich.text.Text."""
    return Text(visible(text, newlines=False), **options)


def plain_lines(lines: Iterable[str]) -> Text:
    """Lines of text without markup and control characters."""
    return Text("\n".join(visible(line, newlines=False) for line in lines))


class Marks(LineFilter):
    """Shows what a widget let pass as one-cell marks. The line may then be a little longer than planned."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return [Segment("".join(map(_mark, segment.text)), segment.style, segment.control) for segment in segments]


def _mark(character: str) -> str:
    shown = visible(character, newlines=False)
    return shown if len(shown) == 1 else "�"


MARKS = Marks()
