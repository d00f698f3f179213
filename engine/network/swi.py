"""SwiGLU (Shazeer, arXiv 2002.05202).

    y = ((x·U + bu) ⊙ swish(x·G + bg))·Dn + bd,  swish(z) = z·σ(z)       (B, T, D) → (B, T, 4D) → (B, T, D)

No dropout. Parameters 12·D² + 9·D. Forward FLOPs 24·T·D². No decode state.
"""

from __future__ import annotations

import numpy as np

from engine import registry
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import sigmoid
from engine.parameters import LayerGradients, Tensor, columns, stretches
from engine.prepared import Fold, Step
from engine.tape import Tape
from engine.variant import Pointwise, State, Weights, linear, rows


@registry.network.register("swi")
class Swi(Pointwise):
    """SwiGLU; see the module."""

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D, F = config.n_emb, 4 * config.n_emb
        return [Tensor("wide_weight", (D, 2 * F), parts=columns(c_proj_up_weight=F, c_proj_gt_weight=F)),
                Tensor("wide_bias", (2 * F,), "zeros", stretches(c_proj_up_bias=F, c_proj_gt_bias=F), optional=True),
                Tensor("c_proj_dn_weight", (F, D), "residual"),
                Tensor("c_proj_dn_bias", (D,), "zeros", optional=True)]

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return 24 * tokens * config.n_emb**2

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return 21 * tokens * config.n_emb

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        wide = linear(rows(x), p["wide_weight"], p["wide_bias"], tape)  # (N, 8D)
        N, F = len(wide), wide.shape[1] // 2
        up, gate = wide[:, :F], wide[:, F:]
        s, swish, h = tape.empty(N, F), tape.empty(N, F), tape.empty(N, F)
        sigmoid(gate, out=s)
        xp.multiply(gate, s, out=swish)
        xp.multiply(up, swish, out=h)
        y = linear(h, p["c_proj_dn_weight"], p["c_proj_dn_bias"], tape)
        tape.save(x, wide, s, swish, h)
        return y.reshape(x.shape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = rows(dy)
        x, wide, s, swish, h = tape.pop()
        F = wide.shape[1] // 2
        g.product("c_proj_dn_weight", h, dy)
        g.rows("c_proj_dn_bias", dy)
        dh, dwide = linear(dy, p["c_proj_dn_weight"].T, None, tape), tape.empty(*wide.shape)
        xp.multiply(dh, swish, out=dwide[:, :F])
        dh *= wide[:, :F]
        # swish' = σ + swish·(1 - σ)
        slope = xp.subtract(1.0, s, out=dwide[:, F:])
        slope *= swish
        slope += s
        slope *= dh
        g.product("wide_weight", rows(x), dwide)
        g.rows("wide_bias", dwide)
        return linear(dwide, p["wide_weight"].T, None, tape).reshape(x.shape)

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward, outward = fold.reading(p["wide_weight"], bias=p["wide_bias"]), fold.writing(p["c_proj_dn_weight"],
                                                                                            p["c_proj_dn_bias"])
        F, one = len(outward) - 1, fold.constant(1)
        inward[:, F:] *= 0.5  # swish(z) = z·σ(z) = z/2·(1 + tanh z/2)
        wide, (both, h), y = fold.empty(2 * F), fold.hidden(F), fold.empty(self.config.n_emb)
        up, half = wide[:, :F], wide[:, F:]

        def step(x: Array) -> Array:
            x.dot(inward, wide)
            np.tanh(half, h)
            np.add(h, one, h)
            np.multiply(h, half, h)
            np.multiply(h, up, h)
            return both.dot(outward, y)

        return step
