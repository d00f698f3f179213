"""Standard output and standard error of all our processes: whatever is printed, nothing in it drives a terminal.

`guarded` puts a Guard in front of both. It shows what is written as marks, whoever wrote it: a verb, argparse, a
traceback, a library. Sequences that are meant to reach the terminal are `Code`s, which can hold nothing else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from babytui.visible import visible

# Carriage return, line feed; cursor up and down, erase (screen, line), colours.
_OWN = re.compile(r"(?:[\r\n]|\x1b\[[0-9;]{0,16}[ABJKm])*")


class Code(str):
    """Sequences of our own that move the cursor, erase or colour. ValueError for anything else.

    Joined with other text it is a plain str again, and then shown as marks: mistakes are ugly, not dangerous.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Code:
        if not _OWN.fullmatch(text):
            raise ValueError(f"{text!r} is not a sequence that this program sends")
        return super().__new__(cls, text)


class Guard:
    """A text stream that writes marks instead of control characters. exact: but passes everything on as it is."""

    def __init__(self, stream: TextIO, exact: bool = False):
        self._stream, self._exact = stream, exact

    def write(self, text: str) -> int:
        self._stream.write(text if self._exact or isinstance(text, Code) else visible(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def in_place() -> None:
    """Puts something in the place of standard input, output and error where they were closed: else the next file that
    is opened is taken for one of them. Nothing can be read there, and writing results fails as into a closed one."""
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, flags)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", errors="backslashreplace",
                                         closefd=False))


@contextmanager
def guarded() -> Iterator[None]:
    """Standard output, where it is a terminal, and standard error, wherever it goes, show only marks."""
    before = sys.stdout, sys.stderr
    if sys.stdout is not None:  # there is none where it was closed
        sys.stdout = cast(TextIO, Guard(sys.stdout, exact=not sys.stdout.isatty()))
    if sys.stderr is not None:
        sys.stderr = cast(TextIO, Guard(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def send(stream: TextIO, *pieces: str) -> None:
    """Write Codes as they are and other text as marks, at once."""
    behind(stream).write("".join(piece if isinstance(piece, Code) else visible(piece) for piece in pieces))
    stream.flush()


def behind(stream: TextIO) -> TextIO:
    """The stream behind its guard, for what a person asked for byte by byte."""
    return stream._stream if isinstance(stream, Guard) else stream
