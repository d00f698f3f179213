"""Random shapes and number formats for single layers, as a hypothesis strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from layers import Layer, numbers

from engine.config import Config

CLOSE = {"fp16": 1e-4, "fp32": 1e-4, "fp64": 1e-10}  # halves are computed with in single precision
LENGTHS = st.one_of(st.integers(1, 12), st.sampled_from([31, 32, 33, 64, 65, 129, 140]))  # blocks of 32 and of 64


@dataclass(frozen=True)
class Case:
    """A shape, a number format and random inputs for one layer."""

    h: int
    d: int
    D: int
    B: int
    T: int
    d_type: str
    seed: int

    def config(self, **changes: Any) -> Config:
        return Config.read({"n_heads": self.h, "head_size": self.h * self.d, "n_emb": self.D, "n_ctx": self.T,
                            "d_type": self.d_type, "n_groups": 1, "n_rank": min(2, self.D), **changes})

    def layer(self, name: str, seed: int = 0, **changes: Any) -> Layer:
        return Layer(name, self.config(**changes), seed=self.seed + seed)

    @property
    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """x and dy (B, T, D), as the layer's number format sees them."""
        dtype = np.float64 if self.d_type == "fp64" else np.float32
        return tuple(numbers(2, self.B, self.T, self.D, seed=self.seed + 1).astype(dtype))

    def same(self, found: np.ndarray, expected: np.ndarray, what: str = "") -> None:
        expected = np.asarray(expected)
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE[self.d_type] * scale, err_msg=what)

    def same_layers(self, ours: Layer, theirs: Layer, **renamed: str) -> dict[str, np.ndarray]:
        """The same outputs, input gradients, weight gradients (own="its") and steps; our gradients."""
        x, dy = self.inputs
        y, dx, gradients = ours.gradients(x, dy)
        its_y, its_dx, its_gradients = theirs.gradients(x, dy)
        self.same(y, its_y, "y")
        self.same(dx, its_dx, "dx")
        compared = [name for name in gradients if renamed.get(name, name) in its_gradients]
        assert compared
        for name in compared:
            self.same(gradients[name], its_gradients[renamed.get(name, name)], name)
        self.same(ours.forward(x), its_y, "y without a backward pass")
        for splits in ([], [(self.T + 1) // 2]):
            self.same(ours.decode(x, splits), its_y, f"steps after {splits}")
        return gradients


def cases(**fixed: Any) -> Any:
    """Cases of which only `fixed` (strategies by field) is narrowed."""
    free = {"h": st.integers(1, 6), "d": st.integers(1, 4), "D": st.integers(3, 9), "B": st.integers(1, 3),
            "T": LENGTHS, "d_type": st.sampled_from(["fp16", "fp32", "fp64"]), "seed": st.integers(0, 1000)}
    return st.builds(Case, **{**free, **fixed})


def examples(n: int) -> Any:
    """So many examples."""
    return settings(max_examples=n)


def divisors(number: int) -> list[int]:
    """1 … number."""
    return [k for k in range(1, number + 1) if number % k == 0]
