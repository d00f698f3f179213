"""What a variant shows of itself when it is looked at: plain float64 arrays with a name and a meaning."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

MAP, GATES, ACTIVATIONS = "map", "gates", "activations"


@dataclass(frozen=True, eq=False)
class Observation:
    """One thing that an attention or a network has to show about a sequence of T tokens.

    name: a short id, unique within one attention or network ("weights"). title: the same in words, for a heading.
    kind: MAP, values (n, T, T): [j, t, i] is what position i is to output t; GATES, values (n, T): a few numbers for
    each token that say how it is treated; ACTIVATIONS, values (n, T): many numbers for each token.
    of: what the n are: "head", "expert", "group", "channel", "component", "part" or
    "layer".
    about: one sentence, what a number is. sums: whether the rows of a map, or the gates of a token, sum to one.
    low, high: bounds that no value leaves, None where there is none. names: of the n, where they have any.
    """

    name: str
    title: str
    kind: str
    of: str
    values: np.ndarray
    about: str
    sums: bool = False
    low: float | None = None
    high: float | None = None
    names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many heads, experts, groups or channels there are."""
        return len(self.values)

    def labels(self) -> list[str]:
        """A name for each of them, counted from 0: "head 0", "head 1", …; the word alone where there is one only."""
        if self.names:
            return list(self.names)
        return [self.of] if self.count == 1 else [f"{self.of} {number}" for number in range(self.count)]

    def means(self) -> np.ndarray:
        """The mean of each over the tokens, (n,): how much a head or an expert is used. Of a map, over all of it."""
        return self.values.mean(axis=tuple(range(1, self.values.ndim)))

    def sparsity(self) -> np.ndarray:
        """Hoyer's sparsity of each token's values, (T,): 0 when all n are of one size, 1 when one alone is not 0
        (Hoyer, JMLR 5, 2004: (√n - ‖x‖₁/‖x‖₂) / (√n - 1)); 0 for a single value or where all are 0. Not for maps."""
        n = len(self.values)
        size = np.sqrt((self.values**2).sum(0))
        if n == 1:
            return np.zeros_like(size)
        ratio = np.divide(np.abs(self.values).sum(0), size, out=np.full_like(size, sqrt(n)), where=size > 0)
        return np.clip((sqrt(n) - ratio) / (sqrt(n) - 1), 0.0, 1.0)

    def zeros(self) -> np.ndarray:
        """The share of each token's values that are exactly 0, (T,). Not for maps."""
        return (self.values == 0).mean(0)


# What variants have in common -----------------------------------------------------------------------------------------


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, on the host."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """σ(x) = ½(1 + tanh(x/2)), on the host."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def gelu(u: np.ndarray) -> np.ndarray:
    """The tanh form, on the host."""
    return 0.5 * u * (1 + np.tanh(sqrt(2 / pi) * (u + 0.044715 * u**3)))


def attention_map(name: str, title: str, values: np.ndarray, about: str, *, of: str = "head",
                  sums: bool = False) -> Observation:
    """A map of what is never negative; with `sums`, of weights whose rows sum to one."""
    return Observation(name, title, MAP, of, values, about, sums, 0.0, 1.0 if sums else None)


def gates(name: str, title: str, values: np.ndarray, about: str, *, of: str, sums: bool = False,
          high: float | None = 1.0, names: tuple[str, ...] = ()) -> Observation:
    """A few numbers for each token that are never negative; with `sums`, they sum to one."""
    return Observation(name, title, GATES, of, values, about, sums, 0.0, high, names)


def activations(name: str, title: str, values: np.ndarray, about: str, *, of: str = "channel",
                low: float | None = None, high: float | None = None) -> Observation:
    """Many numbers for each token."""
    return Observation(name, title, ACTIVATIONS, of, values, about, False, low, high)
