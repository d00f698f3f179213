"""Reading a text that somebody brings: any encoding they are likely to have, one clear sentence when it cannot be used.

UTF-8 (with or without a mark), UTF-16 with a mark, Latin-1 and cp1252, gzip, a folder of texts, or standard input.
Everything is read in pieces and bounded by `limit`, so that a small hostile gzip cannot fill the memory; a text that
lies in files is not even held, but read again each time its parts are asked for.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from engine.errors import NotFound, TextError
from inputs import decoding

LIMIT = 2 * 1024**3  # bytes, after decompression
SUFFIXES = (".txt", ".md", ".gz")  # what is taken from a folder
NAME_LENGTH = 80
MAX_DEPTH = 64  # of folders in a folder of texts
MAX_FILES = 100_000  # in it

_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))]
)


@dataclass(frozen=True)
class Text:
    """A text that can be used. Iterating over it gives its parts in order, some 100,000 characters each.

    `name` is safe as a file's stem; `bytes` is the size as it was found on disk. A file that has changed meanwhile is
    a TextError while iterating.
    """

    name: str
    encoding: str
    bytes: int
    characters: int
    notes: tuple[str, ...]
    parts: Callable[[], Iterator[str]] = field(repr=False, compare=False)

    def __iter__(self) -> Iterator[str]:
        return self.parts()

    @property
    def text(self) -> str:
        """All of it as one string."""
        return "".join(self)


def safe_name(name: str) -> str:
    """A file's stem made of letters, digits, dots, dashes and underscores: never empty, hidden, long or a device."""
    plain = unicodedata.normalize("NFKD", name[:1000]).encode("ascii", "ignore").decode("ascii")
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
        status = path.stat()
    except FileNotFoundError:
        raise NotFound(f"There is no file {_shown(path)}; check the name, or list the texts there are.") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(status.st_mode):
        return _read_folder(path, limit)
    if not stat.S_ISREG(status.st_mode):
        raise TextError(f"{_shown(path)} is a device, pipe or socket; give a regular file, or let "
                        "`babytui inputs add -` keep what comes through a pipe.")
    if status.st_size > limit:
        raise _too_large(_shown(path), limit)
    return _text(path.name, status.st_size, lambda: _pieces(path, _stamp(status)), limit)


def read_texts(paths: Sequence[str | Path], limit: int = LIMIT) -> Text:
    """Several texts as one, in the order given, with a blank line between them; `limit` is for all of them together."""
    if not paths:
        raise TextError("No text was given; name at least one file, folder or -.")
    texts: list[Text] = []
    left = limit
    for path in paths:
        texts.append(read_text(path, left))
        left -= texts[-1].characters
    return texts[0] if len(texts) == 1 else _joined("+".join(text.name for text in texts), texts)


def read_stdin(stream: BinaryIO | None = None, limit: int = LIMIT) -> Text:
    """The text on standard input (or `stream`), to its end."""
    source = sys.stdin.buffer if stream is None else stream
    return read_bytes("stdin", _taken(source, "standard input", limit), limit)


def read_bytes(name: str, data: bytes | bytearray, limit: int = LIMIT) -> Text:
    """The text in `data`, decoded as a file named `name` would be; for what was fetched or pasted."""

    def pieces() -> Iterator[bytes]:
        return (bytes(data[at : at + decoding.PIECE]) for at in range(0, len(data), decoding.PIECE))

    return _text(name, len(data), pieces, limit)


def _text(name: str, size: int, pieces: decoding.Pieces, limit: int) -> Text:
    """The text that `pieces` hold, read through once to know what it is."""
    shown = _shown(Path(name)) if name else "The text"
    notes: list[str] = []
    stem, packed = name, next(pieces(), b"").startswith(decoding.GZIP)
    if packed:
        notes.append(f"{shown} was unpacked with gzip.")
        stem = stem[:-3] if stem.lower().endswith(".gz") else stem

    def plain() -> Iterator[bytes]:
        if not packed:
            return decoding.bounded(pieces(), limit, str(_too_large(shown, limit)))
        return decoding.bounded(decoding.inflated(pieces(), shown), limit, f"{shown} unpacks to more than {limit} "
                                "bytes; give a smaller text or raise the limit.")

    encoding, characters, returns = decoding.look(plain, shown)
    if encoding in ("latin-1", "cp1252"):
        spoken = "Latin-1" if encoding == "latin-1" else "Windows-1252"
        notes.append(f"{shown} is not UTF-8; read as {spoken}.")
    if returns:
        notes.append(f"{shown} had carriage returns; its lines now end in a newline.")
    if not characters:
        raise TextError(f"{shown} is empty; give a text with some words in it.")
    return Text(safe_name(_stem(stem)), encoding, size, characters, tuple(notes),
                lambda: decoding.parts(plain(), decoding.decoder(encoding)))


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """By which it is noticed that a file has changed."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _pieces(path: Path, stamp: tuple[int, ...]) -> Iterator[bytes]:
    """The bytes of a file. TextError when it is not, or no longer, the one with this stamp."""
    try:
        with open(path, "rb", buffering=0, opener=_opener) as file:
            while True:
                piece = file.read(decoding.PIECE)
                if _stamp(os.fstat(file.fileno())) != stamp:
                    raise TextError(f"{_shown(path)} changed while it was read; try again when it is complete.")
                if not piece:
                    return
                yield piece
    except OSError as error:
        raise _unreadable(path, error) from None


def _opener(path: str, flags: int) -> int:
    """A pipe that took the file's place must not keep us waiting, a terminal not become ours."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


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


def _too_large(shown: str, limit: int) -> TextError:
    return TextError(f"{shown} is larger than {limit} bytes; give a smaller text or raise the limit.")


def _taken(file: BinaryIO, shown: str, limit: int) -> bytearray:
    """All bytes of a stream, as long as they are no more than `limit`."""
    data = bytearray()
    while piece := file.read(decoding.PIECE):
        data += piece
        if len(data) > limit:
            raise _too_large(shown, limit)
    return data


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
        left -= texts[-1].characters
    if not texts:
        kinds = ", ".join(SUFFIXES)
        raise TextError(f"The folder {_shown(folder)} holds no texts; put {kinds} files with some words into it.")
    return _joined(folder.resolve().name, texts)


def _inside(folder: Path) -> list[Path]:
    """The texts in a folder: hidden ones are skipped, and so are links that lead out of it or around in it."""
    root = folder.resolve()
    found: list[Path] = []
    waiting = [(folder, 0)]
    while waiting:
        where, depth = waiting.pop()
        try:
            items = list(os.scandir(where))
        except OSError as error:
            raise _unreadable(where, error) from None
        for item in items:
            if item.name.startswith("."):
                continue
            if item.is_dir(follow_symlinks=False):
                if depth >= MAX_DEPTH:
                    raise TextError(f"{_shown(where)} has folders in it that lie more than {MAX_DEPTH} deep; give one "
                                    "nearer to the texts.")
                waiting.append((Path(item.path), depth + 1))
            elif item.name.lower().endswith(SUFFIXES) and os.path.isfile(item.path):
                if not item.is_symlink() or Path(item.path).resolve().is_relative_to(root):
                    found.append(Path(item.path))
                if len(found) > MAX_FILES:
                    raise TextError(f"{_shown(folder)} holds more than {MAX_FILES:,} texts; give fewer at a time.")
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _joined(name: str, texts: Sequence[Text]) -> Text:
    """Texts as one with a blank line between them; a newline is added only where one is missing."""
    encodings = dict.fromkeys(text.encoding for text in texts)
    notes = tuple(note for text in texts for note in text.notes)
    return Text(safe_name(name), "+".join(encodings), sum(text.bytes for text in texts),
                sum(map(len, _chained(texts))), notes, lambda: _chained(texts))


def _chained(texts: Sequence[Text]) -> Iterator[str]:
    for place, text in enumerate(texts):
        if place:
            yield "\n\n"
        ending = ""  # newlines that may turn out to be its last
        for part in text:
            body = part.rstrip("\n")
            if body:
                yield ending + body
                ending = ""
            ending += part[len(body) :]
    yield "\n"
