"""Switched heads: every token listens to one head (routing as in Fedus et al., Switch, arXiv 2101.03961; gradient by
the straight-through estimator, Bengio et al., arXiv 1308.3432).

    o_j as in mha;  p = softmax over heads of x·Wg/τ (B, T, h);  j* = argmax p
    y = drop(o_j*·Wm + bm), the weight of the chosen head exactly 1

Backward: o gets gradient through the chosen head only; the gate gets that of the surrogate Σ_j p_j ⟨dy, o_j⟩ with dy
and o held, which is the softmax Jacobian of ⟨dy, o_j⟩ over all heads.

Parameters, FLOPs and decode state as moh.
"""

from __future__ import annotations

from engine import registry
from engine.attention.moh import Moh
from engine.backend import Array, xp


@registry.attention.register("swh")
class Swh(Moh):
    """Switched heads; see the module."""

    straight_through = True

    def _weights(self, gates: Array) -> Array:
        return (xp.arange(self.h) == gates.argmax(-1)[..., None]).astype(gates.dtype)
