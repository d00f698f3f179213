"""Switched heads: every token listens to one head (routing as in Fedus et al., Switch, arXiv 2101.03961; gradient by
the straight-through estimator, Bengio et al., arXiv 1308.3432).

    o_j as in mha;  p = softmax over heads of x·Wg/τ (B, T, h);  j* = argmax p
    y = drop(o_j*·Wm + bm), the weight of the chosen head exactly 1

Backward: o gets gradient through the chosen head only; the gate gets that of the surrogate Σ_j p_j ⟨dy, o_j⟩ with dy
and o held, which is the softmax Jacobian of ⟨dy, o_j⟩ over all heads.

Parameters, FLOPs and decode state as moh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from engine import observation, registry
from engine.attention.moh import Moh
from engine.backend import Array, xp
from engine.observation import Observation


@registry.attention.register("swh")
class Swh(Moh):
    """Switched heads; see the module."""

    straight_through = True

    def _weights(self, gates: Array) -> Array:
        return (xp.arange(self.h) == gates.argmax(-1)[..., None]).astype(gates.dtype)

    def _shown(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        (gates,) = super()._shown(p, x)
        chosen = np.arange(self.h)[:, None] == gates.values.argmax(0)
        return [replace(gates, name="probabilities", title="probabilities of the heads",
                        about="How near a head is to being chosen; those of a token sum to one."),
                observation.gates("chosen", "chosen heads", chosen.astype(np.float64),
                                  "1 for the one head that a token listens to.", of="head", sums=True)]
