"""The texts that are known by name: those that ship with babytui, and a few on the web.

The size and checksum of a shipped text are read from its file, so they are never written down twice. A web text without
a checksum is one whose publisher corrects it from time to time; its size is then only about right.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine.errors import NotFound
from inputs.reading import Text, read_text

FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True)
class Entry:
    """A known text. `kind` is "shipped" or "web"; `url` is empty for what ships; `note` says where it comes from.

    `bytes` and `sha256` are properties: for a shipped text they come from its file.
    """

    name: str
    title: str
    kind: str
    note: str
    url: str = ""
    announced_bytes: int | None = None
    announced_sha256: str | None = None

    @property
    def path(self) -> Path | None:
        """Where a shipped text is, or None for one on the web."""
        return FOLDER / f"{self.name}.txt" if self.kind == "shipped" else None

    @property
    def bytes(self) -> int | None:
        """Size in bytes; about right for a web text without a checksum."""
        return self.path.stat().st_size if self.path else self.announced_bytes

    @property
    def sha256(self) -> str | None:
        """Checksum in hexadecimal, or None when it is not pinned."""
        return _digest(self.path) if self.path else self.announced_sha256


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


_SHIPPED = "Written for babytui and shipped with it, under the same licence."

ENTRIES = (
    Entry("nursery", "The whole nursery: stories, rhymes and dialogues", "shipped",
          _SHIPPED + " The hand-written texts and composed ones (python -m inputs.composer)."),
    Entry("stories", "Hand-written stories from Thimble Valley", "shipped", _SHIPPED),
    Entry("rhymes", "Hand-written rhymes", "shipped", _SHIPPED),
    Entry("dialogues", "Hand-written dialogues, a name before each turn", "shipped", _SHIPPED),
    Entry(
        "tiny-shakespeare",
        "Tiny Shakespeare: 40 000 lines from the plays",
        "web",
        "Public domain; collected by Andrej Karpathy for char-rnn.",
        url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        announced_bytes=1_115_394,
        announced_sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
    Entry(
        "alice",
        "Alice's Adventures in Wonderland, by Lewis Carroll",
        "web",
        "Public domain in the USA; Project Gutenberg number 11 with its licence text. It is revised now and then, "
        "so its checksum is not pinned.",
        url="https://www.gutenberg.org/cache/epub/11/pg11.txt",
        announced_bytes=174_000,
    ),
)


def entries(kind: str | None = None) -> tuple[Entry, ...]:
    """All entries, or those of one kind ("shipped" or "web"), in the order in which they are shown."""
    return tuple(entry for entry in ENTRIES if kind is None or entry.kind == kind)


def names() -> tuple[str, ...]:
    """The names of all entries."""
    return tuple(entry.name for entry in ENTRIES)


def shipped() -> dict[str, Path]:
    """Where each shipped text is, by name."""
    return {entry.name: entry.path for entry in ENTRIES if entry.path is not None}


def find(name: str) -> Entry:
    """The entry of that name, or NotFound with the nearest names."""
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    near = difflib.get_close_matches(name, names(), n=1)
    advice = f"did you mean {near[0]}?" if near else f"choose from {', '.join(names())}."
    shown = f'"{name}"' if name.isprintable() else ascii(name)
    raise NotFound(f"There is no text named {shown} in the catalogue; {advice}")


def read(name: str) -> Text:
    """The text of a shipped entry; a web entry must be fetched first."""
    entry = find(name)
    if entry.path is None:
        raise NotFound(f"The text {entry.name} is on the web and not on this computer; fetch it first.")
    return read_text(entry.path)
