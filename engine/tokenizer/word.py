"""One token per word or per run of white space, so that decoding gives the text back exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from engine import registry
from engine.tokenizer._base import Tokenizer, blocks

_PIECES = re.compile(r"\S+|\s+")
_UNITS = re.compile(r"\S++\s*+|\s++")
_BLOCK = 1 << 14  # characters: some thousand words


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

    @classmethod
    def units(cls, text: Iterable[str]) -> Iterator[Sequence[str]]:
        """Words with the white space after them: half as many to look up, and still mostly the same few."""
        parts: list[str] = []
        waiting = enough = 0  # characters
        for block in blocks(text, _BLOCK):
            parts.append(block)
            waiting += len(block)
            if waiting >= enough:
                found = _UNITS.findall("".join(parts))
                parts = [found.pop()]  # what comes next may belong to it
                waiting = len(parts[0])
                enough = 2 * waiting  # so that a word of many blocks is not read again with each of them
                yield found
        yield _UNITS.findall("".join(parts))

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
