"""One model and one text under the microscope: what faces show of it, computed when it is asked for and kept."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from babytui.looking import Surprises, symbol
from engine import probe
from engine.errors import TextError
from engine.observation import MAP, Observation

if TYPE_CHECKING:
    from babytui.library import Baby
    from engine.probe import Lens, Look

MOST = 20_000  # tokens of a text whose losses are told
LARGE = probe.LIMIT // 4  # bytes that one layer's look may take here, beside everything else that is open


@dataclass(frozen=True, eq=False)
class Losses:
    """How each of N tokens was foreseen; the first is foreseen by nothing: NaN, 0 and -1.

    losses (N,) in nats, probabilities (N,), rank (N,) from 1, likeliest (N,) the token that was expected most.
    """

    losses: np.ndarray
    probabilities: np.ndarray
    rank: np.ndarray
    likeliest: np.ndarray
    sums: Surprises


class Microscope:
    """Looks at `baby` while it reads `text`.

    ids: all tokens of the text that the model knows, at most MOST. start: the first of those that are looked at; the
    last n_ctx of them are, or fewer where a layer would take too much memory. missing: symbols that were left out.
    TextError when nothing is left to read.
    """

    def __init__(self, baby: Baby, text: str):
        self.baby = baby
        self.missing = baby.tokenizer.missing(text)
        kept = baby.tokenizer.keep(text) if self.missing else text
        self.ids = np.asarray(baby.tokenizer.encode(kept), np.int64)[:MOST]
        if not len(self.ids):
            raise TextError(f"{baby.name} knows nothing of this text; give it another.")
        seen = min(len(self.ids), baby.config.n_ctx)
        while seen > 1 and probe.memory(baby.config, baby.model.vocab_size, seen, 1) > LARGE:
            seen //= 2
        self.start = len(self.ids) - seen
        self._looks: dict[int, Look] = {}
        self._lens: Look | None = None
        self._losses: Losses | None = None

    @property
    def seen(self) -> np.ndarray:
        """The tokens that are looked at, (T,)."""
        return self.ids[self.start :]

    @property
    def pieces(self) -> list[str]:
        """Them as they are shown."""
        return [symbol(self.baby.tokenizer.vocab[token]) for token in self.seen]

    def layer(self, number: int) -> Look:
        """A look at one layer; kept for the last few."""
        if number not in self._looks:
            while len(self._looks) >= 3:
                del self._looks[next(iter(self._looks))]
            self._looks[number] = self.baby.look(self.seen, layers=[number])
        return self._looks[number]

    def lens(self) -> Look:
        """All layers, but only their norms and what each would say."""
        if self._lens is None:
            self._lens = self.baby.look(self.seen, observe=False)
        return self._lens

    def losses(self, gone: threading.Event | None = None) -> Losses:
        """Of all tokens of the text. gone: set when nobody waits any more; what is not read yet is then NaN."""
        if self._losses is not None:
            return self._losses
        n = len(self.ids)
        found = Losses(np.full(n, np.nan), np.zeros(n), np.zeros(n, np.int64), np.full(n, -1), Surprises())
        for stretch in probe.surprise(self.baby.model, self.ids):
            here = slice(stretch.start, stretch.start + len(stretch.ids))
            found.losses[here], found.probabilities[here] = stretch.losses, stretch.probabilities
            found.rank[here], found.likeliest[here] = stretch.rank, stretch.likeliest
            found.sums.add(stretch)
            if gone is not None and gone.is_set():
                return found
        self._losses = found
        return found


def shown(look: Look, maps: bool) -> list[tuple[str, Observation]]:
    """("attention" or "network", observation) of a look at one layer: maps, or all the others."""
    return [(part, seen) for part, seen in look.layers[0].observations() if (seen.kind == MAP) == maps]


def lenses(look: Look) -> list[tuple[str, Lens]]:
    """("input" or "layer 0" …, lens), from the embedded input to the last layer."""
    return [("input", look.embedding_lens), *((f"layer {layer.index}", layer.lens) for layer in look.layers)]


def streams(look: Look) -> list[tuple[str, Any]]:
    """(name, (T,) L2 norms) of the residual stream and of what each part adds to it."""
    found: list[tuple[str, Any]] = [("input", look.embedding_norm)]
    for layer in look.layers:
        found += [(f"{layer.index} attention", layer.attention_norm), (f"{layer.index} network", layer.network_norm),
                  (f"{layer.index} after", layer.norm)]
    return found
