"""Text from models, files and people, made safe to show: nothing it says can drive the terminal."""

from __future__ import annotations

import unicodedata

_KEEP = {"\u200c", "\u200d"}  # zero-width joiners: several scripts need them, and they move nothing


class _Marks(dict[int, str]):
    """Code point → what is shown for it, worked out when it is first met."""

    def __init__(self, plain: str):
        super().__init__({ord(c): c for c in plain})

    def __missing__(self, code: int) -> str:
        mark = self[code] = _mark(code)
        return mark


def _mark(code: int) -> str:
    character = chr(code)
    if code < 0x20:
        return chr(0x2400 + code)  # ␀ … ␛ … ␟
    if code == 0x7F:
        return "␡"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _KEEP:
        return f"⟨U+{code:04X}⟩"
    return character


_LINES = _Marks("\n\t")
_ONE_LINE = _Marks("")


def visible(text: str, newlines: bool = True) -> str:
    """`text` with control characters, escape sequences, bidirectional overrides and invisible formats as marks.

    ESC becomes ␛, U+202E becomes ⟨U+202E⟩. newlines: keep line feeds and tabs; otherwise they become ␊ and ␉, so that
    the result is one line. The result encodes to UTF-8 even when `text` holds lone surrogates.
    """
    if text.isprintable():
        return text
    return text.translate(_LINES if newlines else _ONE_LINE)


def cells(text: str) -> int:
    """How many columns of a terminal a line takes: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def cut(text: str, room: int) -> str:
    """The text as one line of at most `room` columns; what does not fit ends in an ellipsis."""
    text = visible(text, newlines=False)
    if cells(text) <= room:
        return text
    used = 0
    for index, character in enumerate(text):
        used += _cells(character)
        if used > room - 1:
            return text[:index] + "…" if room > 0 else ""
    return text


def _cells(character: str) -> int:
    if character in _KEEP or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
