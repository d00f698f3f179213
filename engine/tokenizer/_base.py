"""What every tokenizer shares: a vocabulary (id = list index) and the checks around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from engine.errors import FormatError, TextError, shown


def id_type(size: int) -> np.dtype:
    """The smallest unsigned integer type that holds ids below `size`."""
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32)


class Tokenizer:
    """Text ↔ ids. `vocab[i]` is the text of id i; there are no special tokens.

    A subclass gives `split`: text → pieces that join back to the text. `separator` stands between two pieces when
    they are decoded; it is empty except for historic word vocabularies.
    """

    name: ClassVar[str]
    separator = ""

    def __init__(self, vocab: Sequence[str]):
        self.vocab = list(vocab)
        self.ids = {piece: i for i, piece in enumerate(self.vocab)}
        if len(self.ids) != len(self.vocab):
            raise FormatError("A vocabulary lists the same symbol twice; the file is damaged.")

    @classmethod
    def fit(cls, text: str) -> Tokenizer:
        """A tokenizer whose vocabulary is every piece of `text`, sorted."""
        if not text:
            raise TextError("The text is empty; there is nothing to learn from.")
        return cls(sorted(cls._distinct(text)))

    def extend(self, text: str) -> Tokenizer:
        """The same tokenizer with new pieces of `text` appended: old ids keep their meaning."""
        return type(self)([*self.vocab, *self.missing(text)])

    def missing(self, text: str) -> list[str]:
        """Pieces of `text` that have no id, sorted."""
        return sorted(set(self.pieces(text)) - self.ids.keys())

    def keep(self, text: str) -> str:
        """`text` without the pieces that have no id."""
        return self.separator.join(piece for piece in self.pieces(text) if piece in self.ids)

    def encode(self, text: str) -> np.ndarray:
        """Ids of `text`, (T,) in the smallest unsigned type. TextError names the symbols that have no id."""
        try:
            return np.array([self.ids[piece] for piece in self.pieces(text)], id_type(len(self.vocab)))
        except KeyError:
            raise self._unknown(text) from None

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
    def _distinct(cls, text: str) -> set[str]:
        return set(cls.split(text))

    def _unknown(self, text: str) -> TextError:
        missing = self.missing(text)
        few = ", ".join(shown(piece) for piece in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        noun = "symbol" if len(missing) == 1 else "symbols"
        return TextError(f"The text has {len(missing)} {noun} that the vocabulary lacks: {few}{more}; leave them out.")
