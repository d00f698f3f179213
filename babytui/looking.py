"""What there is to see in a model, chosen and named once for every face, and as plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from babytui.visible import visible
from engine.errors import UsageError
from engine.observation import ACTIVATIONS, GATES, MAP, Observation
from engine.probe import Layer, Lens, Look, Stretch

if TYPE_CHECKING:
    from babytui.library import Baby


def symbol(piece: str) -> str:
    """A token as it is shown: control characters as marks, blanks as ␣."""
    return visible(piece, newlines=False).replace(" ", "␣")


def percent(share: float) -> str:
    """34 %, 0.2 %, <0.1 %."""
    if share >= 0.0995 or share == 0:
        return f"{100 * share:.0f} %"
    return f"{100 * share:.1f} %" if share >= 0.0005 else "<0.1 %"


@dataclass(frozen=True)
class Page:
    """A look at a model, to be told: `pieces` are the texts of its tokens, `vocab` of all tokens, `variants` the names
    of attention and network. head: the one of each observation that is wanted."""

    look: Look
    pieces: Sequence[str]
    vocab: Sequence[str]
    variants: tuple[str, str]
    head: int | None = None

    @classmethod
    def of(cls, baby: Baby, look: Look, head: int | None = None) -> Page:
        """Of a model and a look at it."""
        vocab = baby.tokenizer.vocab
        return cls(look, [vocab[token] for token in look.ids], vocab,
                   (baby.config.c_attention, baby.config.c_network), head)

    def told(self, kind: str) -> Iterator[tuple[Layer, str, Observation]]:
        """(layer, "attention" or "network", observation) of what belongs to attention, contribution or gates, cut down
        to `head`. UsageError when no observation has so many, or there is nothing of the kind."""
        found, most = False, 0
        for layer in self.look.layers:
            for part, seen in layer.observations():
                if not _KINDS[kind](seen):
                    continue
                found, most = True, max(most, seen.count)
                if self.head is None or self.head < seen.count:
                    yield layer, part, seen
        if not found:
            raise UsageError(f"{' and '.join(self.variants)} have nothing of this kind to show; see the other choices "
                             "of --what.")
        if self.head is not None and self.head >= most:
            raise UsageError(f"There is no number {self.head}; what is shown here has 0 to {most - 1}.")

    def chosen(self, seen: Observation) -> tuple[np.ndarray, list[str]]:
        """The values and names of an observation, of one head or of all."""
        if self.head is None:
            return seen.values, seen.labels()
        return seen.values[self.head : self.head + 1], seen.labels()[self.head : self.head + 1]


_KINDS: dict[str, Callable[[Observation], bool]] = {
    "attention": lambda seen: seen.kind == MAP and seen.name != "contribution",
    "contribution": lambda seen: seen.kind == MAP and seen.name == "contribution",
    "gates": lambda seen: seen.kind in (GATES, ACTIVATIONS),
}


@dataclass
class Surprises:
    """The loss of a text while it is read: sums, and the tokens that were foreseen worst (`keep` of them)."""

    count: int = 0
    total: float = 0.0
    right: int = 0
    keep: int = 10

    def __post_init__(self) -> None:
        self.worst: list[tuple[float, int, int, float, int]] = []  # loss, place, token, probability, likeliest

    def add(self, stretch: Stretch) -> None:
        """Take a stretch in."""
        self.count += len(stretch.ids)
        self.total += float(stretch.losses.sum())
        self.right += int((stretch.rank == 1).sum())
        for i in np.argsort(-stretch.losses, kind="stable")[: self.keep]:
            self.worst.append((float(stretch.losses[i]), stretch.start + int(i), int(stretch.ids[i]),
                               float(stretch.probabilities[i]), int(stretch.likeliest[i])))
        self.worst = sorted(self.worst, key=lambda one: (-one[0], one[1]))[: self.keep]

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.total / self.count if self.count else 0.0

    def facts(self) -> dict[str, Any]:
        """The sums as plain data."""
        return {"tokens": self.count, "mean_loss": self.mean, "bits_per_token": self.mean / math.log(2),
                "perplexity": math.exp(min(self.mean, 700.0)), "foreseen": self.right / max(1, self.count)}


# Plain data -----------------------------------------------------------------------------------------------------------


def plain(page: Page, what: str) -> dict[str, Any]:
    """A look as JSON: tokens, and for each layer what was asked for, every number of it."""
    look = page.look
    found: dict[str, Any] = {"what": what, "causal": look.causal,
                             "tokens": [{"id": int(token), "text": piece}
                                        for token, piece in zip(look.ids, page.pieces, strict=True)]}
    if what == "lens":
        found["layers"] = [{"layer": number, **_plain_lens(lens, page.vocab)} for number, lens in
                           [(None, look.embedding_lens), *((layer.index, layer.lens) for layer in look.layers)]]
    elif what == "norms":
        found["layers"] = [{"layer": None, "norm": look.embedding_norm.tolist()},
                           *({"layer": layer.index, "norm": layer.norm.tolist(),
                              "attention": layer.attention_norm.tolist(), "network": layer.network_norm.tolist()}
                             for layer in look.layers)]
    else:
        found["layers"] = []
        for layer, part, seen in page.told(what):
            values, labels = page.chosen(seen)
            found["layers"].append({"layer": layer.index, "part": part, "variant": page.variants[part == "network"],
                                    "name": seen.name, "title": seen.title, "kind": seen.kind, "about": seen.about,
                                    "labels": labels, "values": values.tolist()})
    return found


def _plain_lens(lens: Lens, vocab: Sequence[str]) -> dict[str, Any]:
    known = lens.rank > 0
    return {"rank": [int(rank) or None for rank in lens.rank],
            "probability": [float(p) if there else None for p, there in zip(lens.probability, known, strict=True)],
            "entropy": lens.entropy.tolist(),
            "likeliest": [[{"id": int(token), "text": vocab[token], "probability": float(p)}
                           for token, p in zip(row, shares, strict=True)]
                          for row, shares in zip(lens.ids, lens.probabilities, strict=True)]}


def plain_surprises(stretches: Iterable[Stretch], vocab: Sequence[str], sums: Surprises) -> list[dict[str, Any]]:
    """Every token of a text with its loss, as JSON. sums: takes everything in."""
    found = []
    for stretch in stretches:
        sums.add(stretch)
        for i, token in enumerate(stretch.ids):
            found.append({"place": stretch.start + i, "id": int(token), "text": vocab[token],
                          "loss": float(stretch.losses[i]), "probability": float(stretch.probabilities[i]),
                          "rank": int(stretch.rank[i]), "likeliest": vocab[stretch.likeliest[i]],
                          "context": int(stretch.context[i])})
    return found
