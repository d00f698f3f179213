"""What every tokenizer shares: a vocabulary (id = list index) and the checks around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from sys import byteorder
from typing import Any, ClassVar

import numpy as np

from engine.errors import FormatError, TextError, shown

_BLOCK = 1 << 16  # characters looked at together: they and what is made of them fit the cache
MAX_SYMBOL = 1 << 18  # characters: a reply is some hundred of them
_KEPT = 1 << 17  # different units of which is known what was made of them


def id_type(size: int) -> np.dtype:
    """The smallest unsigned integer type that holds ids below `size`."""
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32)


def blocks(text: Iterable[str], size: int = _BLOCK) -> Iterator[str]:
    """`text` in blocks of at most `size` characters."""
    for part in [text] if isinstance(text, str) else text:
        for start in range(0, len(part), size):
            yield part[start : start + size]


class Tokenizer:
    """Text ↔ ids. `vocab[i]` is the text of id i; there are no special tokens.

    What is fitted, counted or encoded is a string, or the parts of a text in order: anything that gives them as often
    as it is iterated over. Either is read block by block, so that a long text takes the memory of its ids.

    A subclass gives `split`: text → pieces that join back to the text; and `units`, unless pieces are characters.
    `separator` stands between two pieces when they are decoded; it is empty except for historic word vocabularies.
    """

    name: ClassVar[str]
    separator = ""

    def __init__(self, vocab: Sequence[str]):
        self.vocab = list(vocab)
        self.ids = {piece: i for i, piece in enumerate(self.vocab)}
        if len(self.ids) != len(self.vocab):
            raise FormatError("A vocabulary lists the same symbol twice; the file is damaged.")

    @classmethod
    def fit(cls, text: Iterable[str]) -> Tokenizer:
        """A tokenizer whose vocabulary is every piece of `text`, sorted."""
        vocab = sorted(cls._distinct(text, cls.split))
        if not vocab:
            raise TextError("The text is empty; there is nothing to learn from.")
        longest = max(map(len, vocab))
        if longest > MAX_SYMBOL:
            raise TextError(f"The text has a word or a run of spaces of {longest:,} characters, more than "
                            f"{MAX_SYMBOL:,}; it is not a text of words.")
        return cls(vocab)

    def extend(self, text: Iterable[str]) -> Tokenizer:
        """The same tokenizer with new pieces of `text` appended: old ids keep their meaning."""
        return type(self)([*self.vocab, *self.missing(text)])

    def distinct(self, text: Iterable[str]) -> set[str]:
        """The different pieces of `text`."""
        return self._distinct(text, self.pieces)

    def missing(self, text: Iterable[str]) -> list[str]:
        """Pieces of `text` that have no id, sorted."""
        return sorted(self.distinct(text) - self.ids.keys())

    def keep(self, text: str) -> str:
        """`text` without the pieces that have no id."""
        return self.separator.join(piece for piece in self.pieces(text) if piece in self.ids)

    def count(self, text: Iterable[str]) -> int:
        """How many tokens `text` has."""
        lengths = _Made(lambda unit: len(self.pieces(unit)))
        return sum(sum(map(lengths.__getitem__, units)) for units in self.units(text))

    def encode(self, text: Iterable[str]) -> np.ndarray:
        """Ids of `text`, (T,) in the smallest unsigned type. TextError names the symbols that have no id."""
        kind = id_type(len(self.vocab))
        encoded = _Made(lambda unit: b"".join([self.ids[piece].to_bytes(kind.itemsize, byteorder)
                                               for piece in self.pieces(unit)]))
        ids = bytearray()  # it grows where it is: no second copy of the ids
        try:
            for units in self.units(text):
                ids += b"".join(map(encoded.__getitem__, units))
        except KeyError:
            raise self._unknown(text) from None
        return np.frombuffer(ids, kind)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids."""
        vocab = self.vocab
        return self.separator.join([vocab[i] for i in ids])

    def pieces(self, text: str) -> Sequence[str]:
        """The pieces of `text` as this vocabulary cuts it."""
        return self.split(text)

    @classmethod
    def split(cls, text: str) -> Sequence[str]:
        """The pieces of `text`; joined they give `text` again."""
        return text

    @classmethod
    def units(cls, text: Iterable[str]) -> Iterator[Sequence[str]]:
        """`text` block by block as sequences of units: strings that are never cut within a piece, and repeat a lot."""
        return blocks(text)

    @classmethod
    def _distinct(cls, text: Iterable[str], cut: Callable[[str], Sequence[str]]) -> set[str]:
        found: set[str] = set()
        fresh: set[str] = set()
        for units in cls.units(text):
            fresh.update(units)
            if len(fresh) > _KEPT:
                found.update(chain.from_iterable(map(cut, fresh)))
                fresh.clear()
        found.update(chain.from_iterable(map(cut, fresh)))
        return found

    def _unknown(self, text: Iterable[str]) -> TextError:
        missing = self.missing(text)
        few = ", ".join(shown(piece) for piece in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        noun = "symbol" if len(missing) == 1 else "symbols"
        return TextError(f"The text has {len(missing)} {noun} that the vocabulary lacks: {few}{more}; leave them out.")


class _Made(dict[str, Any]):
    """What `make` made of each unit, looked up as in any dict; all is forgotten when it gets too much."""

    def __init__(self, make: Callable[[str], Any]):
        super().__init__()
        self.make = make

    def __missing__(self, unit: str) -> Any:
        if len(self) >= _KEPT:
            self.clear()
        made = self[unit] = self.make(unit)
        return made
