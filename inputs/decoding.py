"""From bytes in pieces to a text in parts: gzip, encodings and line ends. Nothing here holds more than a piece.

Bytes are given as a function that starts them from the beginning each time it is called.
"""

from __future__ import annotations

import codecs
import io
import re
import zlib
from collections.abc import Callable, Iterator

from engine.errors import TextError

PIECE = 1 << 18  # bytes read at a time
GZIP = b"\x1f\x8b"

_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
          codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}  # that of UTF-16 begins that of UTF-32
_UNMARKED = ("utf-8", "cp1252", "latin-1")
# Curly quotes and dashes in cp1252, and nothing that anybody writes in Latin-1.
_CURLY = re.compile(rb"[\x80-\x9f]")
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b") + b"\x7f"
_CONTROL_SHARE = 0.02  # of the first piece; English in any encoding has none, a program or a picture far more

Pieces = Callable[[], Iterator[bytes]]


def bounded(pieces: Iterator[bytes], limit: int, sentence: str) -> Iterator[bytes]:
    """`pieces`, as long as they are no more than `limit` bytes together; then TextError with `sentence`."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise TextError(sentence)
        yield piece


def inflated(pieces: Iterator[bytes], shown: str) -> Iterator[bytes]:
    """The gzip members in `pieces` unpacked, at most PIECE bytes at a time."""
    unpacker = None
    first = True
    try:
        for piece in pieces:
            while piece:
                if unpacker is None:
                    # gzip allows zero bytes after a member; anything else that is not a member is damage
                    piece = piece if first else piece.lstrip(b"\0")
                    if not piece:
                        break
                    unpacker, first = zlib.decompressobj(16 + zlib.MAX_WBITS), False
                yield unpacker.decompress(piece, PIECE)
                piece = unpacker.unconsumed_tail
                if unpacker.eof:
                    piece, unpacker = unpacker.unused_data, None
    except zlib.error:
        raise TextError(f"{shown} is a damaged gzip file; copy or download it again.") from None
    if unpacker is not None:
        raise TextError(f"{shown} is a gzip file that ends too early; copy or download it again.")


def parts(pieces: Iterator[bytes], decoder: io.IncrementalNewlineDecoder) -> Iterator[str]:
    """The text in `pieces`. UnicodeDecodeError, whose `start` counts from the first byte of all."""
    total = 0
    try:
        for piece in pieces:
            total += len(piece)
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        error.start += total - len(error.object)  # which is the end of what was given so far
        raise


def decoder(encoding: str) -> io.IncrementalNewlineDecoder:
    """One that turns bytes into text, and every line end into a newline; `newlines` tells which there were."""
    return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)


def look(pieces: Pieces, shown: str) -> tuple[str, int, bool]:
    """What a text is read as: (encoding, characters, whether it has carriage returns); 0 characters when it is blank.

    All of it is read. TextError when it is no text.
    """
    head = _head(pieces())
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if encoding in (None, "utf-8-sig") and controls > _CONTROL_SHARE * len(head):
        raise _binary(shown)
    for name in (encoding,) if encoding else _UNMARKED:
        try:
            characters, returns = _read_through(pieces(), name, shown)
        except UnicodeDecodeError as error:
            wrong = f"{shown} is not valid {name.upper().removesuffix('-SIG')} at byte {error.start}"
            continue
        if name == "cp1252" and not any(_CURLY.search(piece) for piece in pieces()):
            name = "latin-1"
        return name, characters, returns
    raise TextError(f"{wrong}; save it again as UTF-8.")


def _head(pieces: Iterator[bytes]) -> bytes:
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= PIECE:
            break
    return head[:PIECE]


def _read_through(pieces: Iterator[bytes], encoding: str, shown: str) -> tuple[int, bool]:
    """(characters, or 0 when there is nothing but white space; whether there were carriage returns)."""
    if encoding not in ("utf-16", "utf-32"):
        pieces = _without_zeros(pieces, shown)
    characters, blank, reader = 0, True, decoder(encoding)
    for part in parts(pieces, reader):
        characters += len(part)
        blank = blank and not part.strip()
    return 0 if blank else characters, reader.newlines not in (None, "\n")


def _without_zeros(pieces: Iterator[bytes], shown: str) -> Iterator[bytes]:
    for piece in pieces:
        if 0 in piece:
            raise _binary(shown)
        yield piece


def _binary(shown: str) -> TextError:
    return TextError(f"{shown} is not a text (it holds binary data); give a plain text file.")
