"""One token per character (code point)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from engine import registry
from engine.tokenizer._base import Tokenizer, id_type


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
        self._table = np.full(max(points, default=0) + 2, -1, np.int64)  # the last entry stands for all others
        self._table[points] = np.arange(len(points))

    def encode(self, text: str) -> np.ndarray:
        if not self._single:
            return super().encode(text)
        ids = np.empty(len(text), id_type(len(self.vocab)))
        for start in range(0, len(text), 1 << 20):
            points = _code_points(text[start : start + (1 << 20)])
            found = self._table[np.minimum(points, len(self._table) - 1)]
            if found.size and found.min() < 0:
                raise self._unknown(text)
            ids[start : start + len(found)] = found
        return ids

    def missing(self, text: str) -> list[str]:
        return sorted(self._distinct(text) - self.ids.keys())

    @classmethod
    def _distinct(cls, text: str) -> set[str]:
        seen = np.zeros(sys.maxunicode + 1, bool)
        for start in range(0, len(text), 1 << 20):
            seen[_code_points(text[start : start + (1 << 20)])] = True
        return {chr(point) for point in np.flatnonzero(seen)}
