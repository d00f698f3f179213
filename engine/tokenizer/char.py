"""One token per character (code point)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from engine import registry
from engine.tokenizer._base import Tokenizer, blocks, id_type


def _code_points(text: str) -> np.ndarray:
    """Code points of `text`, (T,) uint32. Lone surrogates pass through."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


@registry.tokenizer.register("char")
class Char(Tokenizer):
    """Vocabulary: the sorted set of code points. Encoding is a table look-up, block by block."""

    def __init__(self, vocab: Sequence[str]):
        super().__init__(vocab)
        self._single = all(len(piece) == 1 for piece in self.vocab)
        points = [ord(piece) for piece in self.vocab] if self._single else []
        self._table = np.full(max(points, default=0) + 2, -1, np.int32)  # the last entry stands for all beyond
        self._table[points] = np.arange(len(points))

    def count(self, text: Iterable[str]) -> int:
        return sum(map(len, blocks(text)))

    def encode(self, text: Iterable[str]) -> np.ndarray:
        if not self._single:
            return super().encode(text)
        kind, ids = id_type(len(self.vocab)), bytearray()
        for block in blocks(text):
            found = self._table.take(_code_points(block), mode="clip")
            if found.min() < 0:
                raise self._unknown(text)
            ids += found.astype(kind).tobytes()
        return np.frombuffer(ids, kind)

    @classmethod
    def _distinct(cls, text: Iterable[str], cut: Callable[[str], Sequence[str]]) -> set[str]:
        seen = np.zeros(sys.maxunicode + 1, bool)
        for block in blocks(text):
            seen[_code_points(block)] = True
        return {chr(point) for point in np.flatnonzero(seen)}
