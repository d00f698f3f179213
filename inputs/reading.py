"""Reading a text that somebody brings: any encoding they are likely to have, one clear sentence when it cannot be used.

UTF-8 (with or without a mark), UTF-16 with a mark, Latin-1 and cp1252, gzip, a folder of texts, or standard input.
Everything is read in pieces and bounded by `limit`, so that a small hostile gzip cannot fill the memory.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
import sys
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.errors import NotFound, TextError

LIMIT = 2 * 1024**3  # bytes, after decompression
PIECE = 1024 * 1024  # bytes read at a time
SUFFIXES = (".txt", ".md", ".gz")  # what is taken from a folder
NAME_LENGTH = 80

_GZIP = b"\x1f\x8b"
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b") + b"\x7f"
_CONTROL_SHARE = 0.02  # of the first piece; English in any encoding has none, a program or a picture far more
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))]
)


@dataclass(frozen=True)
class Text:
    """A text that can be used. `name` is safe as a file's stem; `bytes` is the size as it was found on disk."""

    name: str
    text: str
    encoding: str
    bytes: int
    notes: tuple[str, ...] = ()


def safe_name(name: str) -> str:
    """A file's stem made of letters, digits, dots, dashes and underscores: never empty, hidden, long or a device."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._ ")[:NAME_LENGTH].rstrip("._ ")
    if not stem.strip("-_."):
        return "text"
    if stem.split(".")[0].lower() in _DEVICES:
        stem = f"text_{stem}"[:NAME_LENGTH].rstrip("._ ")
    return stem


def read_text(path: str | Path, limit: int = LIMIT) -> Text:
    """The text in a file, in a folder, or on standard input when `path` is "-".

    Raises NotFound when there is nothing there, TextError when what is there cannot be used as a text.
    """
    if str(path) == "-":
        return read_stdin(limit=limit)
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NotFound(f"There is no file {_shown(path)}; check the name, or list the texts there are.") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        return _read_folder(path, limit)
    if not stat.S_ISREG(mode):
        raise TextError(f"{_shown(path)} is a device, pipe or socket; give a regular file, or - for standard input.")
    try:
        with open(path, "rb") as file:
            data = _taken(file, _shown(path), limit)
    except OSError as error:
        raise _unreadable(path, error) from None
    return read_bytes(path.name, data, limit)


def read_texts(paths: Sequence[str | Path], limit: int = LIMIT) -> Text:
    """Several texts as one, in the order given, with a blank line between them; `limit` is for all of them together."""
    if not paths:
        raise TextError("No text was given; name at least one file, folder or -.")
    texts: list[Text] = []
    left = limit
    for path in paths:
        texts.append(read_text(path, left))
        left -= max(len(texts[-1].text), 1)
    return texts[0] if len(texts) == 1 else _joined("+".join(text.name for text in texts), texts)


def read_stdin(stream: BinaryIO | None = None, limit: int = LIMIT) -> Text:
    """The text on standard input (or `stream`), to its end."""
    source = sys.stdin.buffer if stream is None else stream
    return read_bytes("stdin", _taken(source, "standard input", limit), limit)


def read_bytes(name: str, data: bytes | bytearray, limit: int = LIMIT) -> Text:
    """The text in `data`, decoded as a file named `name` would be; for what was fetched or pasted."""
    shown = _shown(Path(name)) if name else "The text"
    size = len(data)
    notes: list[str] = []
    stem = name
    if data[:2] == _GZIP:
        data = _inflated(data, shown, limit)
        notes.append(f"{shown} was unpacked with gzip.")
        stem = stem[:-3] if stem.lower().endswith(".gz") else stem
    if len(data) > limit:
        raise TextError(f"{shown} is larger than {limit} bytes; give a smaller text or raise the limit.")
    text, encoding = _decoded(data, shown)
    del data
    if encoding in ("latin-1", "cp1252"):
        spoken = "Latin-1" if encoding == "latin-1" else "Windows-1252"
        notes.append(f"{shown} is not UTF-8; read as {spoken}.")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        notes.append(f"{shown} had carriage returns; its lines now end in a newline.")
    if not text or text.isspace():
        raise TextError(f"{shown} is empty; give a text with some words in it.")
    return Text(safe_name(_stem(stem)), text, encoding, size, tuple(notes))


def _stem(name: str) -> str:
    """The name without a suffix that only says that it is a text."""
    base = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    for suffix in (".txt", ".md", ".text"):
        if base.lower().endswith(suffix) and len(base) > len(suffix):
            return base[: -len(suffix)]
    return base


def _shown(path: Path) -> str:
    """The path for a message: control characters made visible, so that a name cannot drive the terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path))


def _unreadable(path: Path, error: OSError | ValueError) -> TextError | NotFound:
    shown = _shown(path)
    if isinstance(error, PermissionError):
        return TextError(f"{shown} may not be read by you; change its permissions or copy it elsewhere.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(f"There is no file {shown}; check the name, or list the texts there are.")
    if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        return NotFound(f"{shown} leads nowhere ({os.strerror(error.errno)}); check the name.")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return TextError(f"{shown} cannot be read ({reason}); check the file and try again.")


def _taken(file: BinaryIO, shown: str, limit: int) -> bytearray:
    """All bytes of a stream, as long as they are no more than `limit`."""
    data = bytearray()
    while piece := file.read(PIECE):
        data += piece
        if len(data) > limit:
            raise TextError(f"{shown} is larger than {limit} bytes; give a smaller text or raise the limit.")
    return data


def _inflated(data: bytes | bytearray, shown: str, limit: int) -> bytearray:
    """The gzip members of `data` unpacked, a piece at a time, up to `limit` bytes."""
    out = bytearray()
    try:
        for piece in _pieces(data):
            out += piece
            if len(out) > limit:
                raise TextError(f"{shown} unpacks to more than {limit} bytes; give a smaller text or raise the limit.")
    except zlib.error:
        raise TextError(f"{shown} is a damaged gzip file; copy or download it again.") from None
    except EOFError:
        raise TextError(f"{shown} is a gzip file that ends too early; copy or download it again.") from None
    return out


def _pieces(data: bytes | bytearray) -> Iterator[bytes]:
    start = 0
    view = memoryview(data)
    while start < len(view):
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        while not unpacker.eof:
            chunk = view[start : start + PIECE]
            if not chunk:
                raise EOFError
            start += len(chunk)
            yield unpacker.decompress(chunk, PIECE)
            while unpacker.unconsumed_tail:
                yield unpacker.decompress(unpacker.unconsumed_tail, PIECE)
        start -= len(unpacker.unused_data)
        # gzip allows zero bytes after the last member; anything else that is not a member is damage.
        while start < len(view) and view[start] == 0:
            start += 1


def _decoded(data: bytes | bytearray, shown: str) -> tuple[str, str]:
    """The text and the name of its encoding."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return _strict(data, "utf-32", shown), "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _strict(data, "utf-16", shown), "utf-16"
    first = bytes(data[:PIECE])
    controls = len(first) - len(first.translate(None, _CONTROLS))
    if 0 in data or controls > _CONTROL_SHARE * len(first):
        raise TextError(f"{shown} is not a text (it holds binary data); give a plain text file.")
    if data.startswith(codecs.BOM_UTF8):
        return _strict(data, "utf-8-sig", shown), "utf-8-sig"
    try:
        return str(data, "utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    # Bytes 0x80 to 0x9f are curly quotes and dashes in cp1252, and nothing that anybody writes in Latin-1.
    if re.search(rb"[\x80-\x9f]", data):
        try:
            return str(data, "cp1252"), "cp1252"
        except UnicodeDecodeError:
            pass
    return str(data, "latin-1"), "latin-1"


def _strict(data: bytes | bytearray, encoding: str, shown: str) -> str:
    try:
        return str(data, encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        raise TextError(f"{shown} is not valid {name} at byte {error.start}; save it again as UTF-8.") from None


def _read_folder(folder: Path, limit: int) -> Text:
    """All texts in a folder and the folders in it, sorted by path."""
    texts: list[Text] = []
    left = limit
    for path in _inside(folder):
        try:
            texts.append(read_text(path, left))
        except TextError as error:
            if "is empty;" in str(error):  # an empty file among others is no reason to stop
                continue
            raise
        left -= len(texts[-1].text)
    if not texts:
        kinds = ", ".join(SUFFIXES)
        raise TextError(f"The folder {_shown(folder)} holds no texts; put {kinds} files with some words into it.")
    return _joined(folder.resolve().name, texts)


def _inside(folder: Path) -> list[Path]:
    """The texts in a folder: hidden ones are skipped, and so are links that lead out of it or around in it."""
    root = folder.resolve()
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename or folder), error)

    for where, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(where, name)
            if name.startswith(".") or not name.lower().endswith(SUFFIXES) or not path.is_file():
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                continue
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _joined(name: str, texts: Sequence[Text]) -> Text:
    """Texts as one with a blank line between them; a newline is added only where one is missing."""
    whole = "\n\n".join(text.text.rstrip("\n") for text in texts) + "\n"
    encodings = dict.fromkeys(text.encoding for text in texts)
    notes = tuple(note for text in texts for note in text.notes)
    return Text(safe_name(name), whole, "+".join(encodings), sum(text.bytes for text in texts), notes)
