"""Colours and attributes with as few bytes as they need: only what differs from the text before is sent.

Textual begins every piece of text with its whole style and ends it with a reset; more than half of what it writes is
that. Here the terminal's style is known, and a piece that needs another gets the difference (ECMA-48, SGR).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_PARTS = re.compile("\x1b\\[([0-9;]*)m|(\x1b\\[[0-9;]*H|\n)|(\x1b)|([^\x1b\n]+)")


class Style(NamedTuple):
    """attributes: SGR numbers that are switched on; ink, ground: parameters of a colour, "" for the terminal's own."""

    attributes: frozenset[str] = frozenset()
    ink: str = ""
    ground: str = ""


PLAIN = Style()


class Economy:
    """What goes to one terminal, from the beginning on."""

    def __init__(self) -> None:
        self._wanted = self._is = PLAIN

    def feed(self, text: str) -> str:
        """The same for the eye in fewer bytes. A sequence of escapes must be whole in its text."""
        made: list[str] = []
        for found in _PARTS.finditer(text):
            sgr, move, escape, plain = found.groups()
            if sgr is not None:
                self._wanted = _changed(self._wanted, sgr)
            elif move is not None:  # where the cursor goes has no colour
                made.append(move)
            else:
                if self._wanted != self._is:
                    made.append(_difference(self._is, self._wanted))
                    self._is = self._wanted
                made.append(escape or plain)
        return "".join(made)


@lru_cache(4096)
def _changed(style: Style, parameters: str) -> Style:
    """The style after an SGR sequence."""
    attributes, ink, ground = set(style.attributes), style.ink, style.ground
    words = parameters.split(";")
    while words:
        word = words.pop(0)
        number = int(word or 0)
        if number == 0:
            attributes, ink, ground = set(), "", ""
        elif number in (38, 48):
            count = 4 if words[:1] == ["2"] else 2
            color = ";".join([word, *words[:count]])
            del words[:count]
            if number == 38:
                ink = color
            else:
                ground = color
        elif 30 <= number <= 37 or 90 <= number <= 97:
            ink = word
        elif 40 <= number <= 47 or 100 <= number <= 107:
            ground = word
        elif number == 39:
            ink = ""
        elif number == 49:
            ground = ""
        elif number == 22:
            attributes -= {"1", "2"}
        elif 23 <= number <= 29:
            attributes -= {str(number - 20), *(("6",) if number == 25 else ())}
        else:
            attributes.add(word)
    return Style(frozenset(attributes), ink, ground)


@lru_cache(4096)
def _difference(before: Style, after: Style) -> str:
    """The shortest sequence from one style to another: the parts that differ, or everything anew."""
    anew = ["", *sorted(after.attributes, key=int), *filter(None, (after.ink, after.ground))]
    if before.attributes - after.attributes:
        return f"\x1b[{';'.join(anew)}m"
    parts = sorted(after.attributes - before.attributes, key=int)
    if before.ink != after.ink:
        parts.append(after.ink or "39")
    if before.ground != after.ground:
        parts.append(after.ground or "49")
    return min((f"\x1b[{';'.join(words)}m" for words in (parts, anew)), key=len)
