"""Text broken into lines of a given width, so that appending only ever changes the last line. No Textual."""

from __future__ import annotations

import re

from rich.cells import cell_len

_WORDS = re.compile(r"[^\S\n]+|[^\s]+")


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells; spaces at a break stay (invisibly) at the end of their line.

    Because the break is greedy, wrap(a + b) is wrap(a)[:-1] + wrap(last line of wrap(a) + b): a stream is wrapped
    in time proportional to what arrived. Joining the lines of one paragraph gives the paragraph back.
    """
    width = max(1, width)
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line, used = "", 0
        for word in _WORDS.findall(paragraph):
            size = cell_len(word)
            if word.isspace():
                line, used = line + word, used + size
                continue
            if (used + size > width and line.strip()) or used >= width:
                lines.append(line)
                line, used = "", 0
            while used + size > width:  # a word wider than the line
                head = _head(word, width - used)
                if line and cell_len(head) > width - used:  # not even one wide character fits behind what is there
                    lines.append(line)
                    line, used = "", 0
                    continue
                lines.append(line + head)
                word = word[len(head):]
                line, used, size = "", 0, cell_len(word)
            line, used = line + word, used + size
        lines.append(line)
    return lines


def _head(word: str, room: int) -> str:
    """As much of the word as fits into `room` cells, and at least one character on an empty line."""
    if word.isascii():
        return word[:max(0, room)]
    used = 0
    for index, char in enumerate(word):
        used += cell_len(char)
        if used > room:
            return word[: max(index, 1)]
    return word
