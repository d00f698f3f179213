"""One token per word or per run of white space, so that decoding gives the text back exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine import registry
from engine.tokenizer._base import Tokenizer

_PIECES = re.compile(r"\S+|\s+")


@registry.tokenizer.register("word")
class Word(Tokenizer):
    """Vocabulary: the sorted set of words and of runs of white space.

    Vocabularies of the earlier program hold words alone and join them with one space. They are told by the absence
    of white space, and cut and joined the way they were meant.
    """

    def __init__(self, vocab: Sequence[str]):
        super().__init__(vocab)
        self.separator = "" if any(piece[:1].isspace() for piece in self.vocab) else " "

    @classmethod
    def split(cls, text: str) -> Sequence[str]:
        return _PIECES.findall(text)

    def keep(self, text: str) -> str:
        kept: list[str] = []
        gap = " " if " " in self.ids else next((piece for piece in self.vocab if piece.isspace()), None)
        for piece in (piece for piece in self.pieces(text) if piece in self.ids):
            if kept and not self.separator and piece.isspace() == kept[-1].isspace():
                if piece.isspace() or gap is None:  # two runs would be cut as one, which may be unknown
                    continue
                kept.append(gap)
            kept.append(piece)
        return self.separator.join(kept)

    def pieces(self, text: str) -> Sequence[str]:
        return text.split() if self.separator else self.split(text)
