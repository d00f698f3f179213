"""Two-layer network with GELU (Vaswani et al., arXiv 1706.03762; Hendrycks & Gimpel, arXiv 1606.08415).

    y = drop(GELU(x·U + bu)·Dn + bd)               (B, T, D) → (B, T, 4D) → (B, T, D)

Parameters 8·D² + 5·D. Forward FLOPs 16·T·D². No decode state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import numpy as np

from engine import observation, registry
from engine.backend import Array
from engine.config import Config
from engine.functional import gelu, gelu_backward
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor
from engine.prepared import FALL, KAPPA, RISE, Fold, Step, gelu_one
from engine.tape import Tape
from engine.variant import Pointwise, State, Weights, linear, rows


@registry.network.register("mlp")
class Mlp(Pointwise):
    """Two-layer network; see the module."""

    legacy: ClassVar = {"fc_weight": "proj_up_weight", "fc_bias": "proj_up_bias",
                        "proj_weight": "proj_dn_weight", "proj_bias": "proj_dn_bias"}

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D = config.n_emb
        return [Tensor("proj_up_weight", (D, 4 * D)), Tensor("proj_up_bias", (4 * D,), "zeros", optional=True),
                Tensor("proj_dn_weight", (4 * D, D), "residual"), Tensor("proj_dn_bias", (D,), "zeros", optional=True)]

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return 16 * tokens * config.n_emb**2

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * config.n_emb * (10 if config.r_dropout else 9)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        u = linear(rows(x), p["proj_up_weight"], p["proj_up_bias"], tape)  # (N, 4D)
        a = gelu(u, tape)
        y = linear(a, p["proj_dn_weight"], p["proj_dn_bias"], tape)
        tape.save(x, a)
        return tape.dropout(y, self.config.r_dropout).reshape(x.shape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = tape.dropout_backward(rows(dy))
        x, a = tape.pop()
        g.product("proj_dn_weight", a, dy)
        g.rows("proj_dn_bias", dy)
        du = gelu_backward(linear(dy, p["proj_dn_weight"].T, None, tape), tape)
        g.product("proj_up_weight", rows(x), du)
        g.rows("proj_up_bias", du)
        return linear(du, p["proj_up_weight"].T, None, tape).reshape(x.shape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 4 * tokens * config.n_emb

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        hidden = observation.gelu(x @ p["proj_up_weight"] + p["proj_up_bias"])
        return [observation.activations("hidden", "hidden activations", hidden.T,
                                        "What GELU leaves of a hidden channel.")]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward = fold.reading(p["proj_up_weight"], bias=p["proj_up_bias"])
        inward *= RISE
        outward = fold.writing(p["proj_dn_weight"], p["proj_dn_bias"], FALL)
        return partial(fold.shared(self, lambda: self._step(fold)), inward, outward)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        D, kappa, one = self.config.n_emb, fold.constant(KAPPA), fold.constant(1)
        v, (both, h), y = fold.empty(4 * D), fold.hidden(4 * D), fold.empty(D)

        def step(inward: Array, outward: Array, x: Array) -> Array:
            gelu_one(x.dot(inward, v), kappa, one, h)
            return both.dot(outward, y)

        return step
