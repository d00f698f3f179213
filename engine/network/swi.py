"""SwiGLU (Shazeer, arXiv 2002.05202).

    y = ((x·U + bu) ⊙ swish(x·G + bg))·Dn + bd,  swish(z) = z·σ(z)       (B, T, D) → (B, T, 4D) → (B, T, D)

No dropout. Parameters 12·D² + 9·D. Forward FLOPs 24·T·D². No decode state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from engine import observation, registry
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import blocks, sigmoid
from engine.observation import Observation
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
        return 13 * tokens * config.n_emb

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        flat, weight, bias = rows(x), p["wide_weight"], p["wide_bias"]
        F = weight.shape[1] // 2
        if tape.small(flat):
            wide = linear(flat, weight, bias, tape)
            h = sigmoid(wide[:, F:])
            h *= wide[:, F:]
            h *= wide[:, :F]
            return linear(h, p["c_proj_dn_weight"], p["c_proj_dn_bias"], tape).reshape(x.shape)
        if xp.kernels:
            wide = linear(flat, weight, bias, tape)
            h = xp.kernels.gated(wide[:, :F], wide[:, F:], True)
            tape.save(x, wide, h)
            return linear(h, p["c_proj_dn_weight"], p["c_proj_dn_bias"], tape).reshape(x.shape)
        up, gate = (linear(flat, weight[:, half], bias[half], tape) for half in (slice(F), slice(F, 2 * F)))  # (N, 4D)
        h = tape.empty(*up.shape)
        for part in blocks(up):
            u, z = up[part], gate[part]
            s, swish = tape.empty(*z.shape), tape.empty(*z.shape)
            sigmoid(z, out=s)
            xp.multiply(z, s, out=swish)
            xp.multiply(u, swish, out=h[part])
            if tape.recording:  # in place of u and z, dh/du = swish and dh/dz = u·(σ + swish·(1 - σ))
                xp.subtract(1.0, s, out=z)
                z *= swish
                z += s
                z *= u
                u[...] = swish
        tape.save(x, up, gate, h)
        return linear(h, p["c_proj_dn_weight"], p["c_proj_dn_bias"], tape).reshape(x.shape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = rows(dy)
        x, *slopes, h = tape.pop()
        N, F = h.shape
        g.product("c_proj_dn_weight", h, dy)
        g.rows("c_proj_dn_bias", dy)
        dh = linear(dy, p["c_proj_dn_weight"].T, None, tape)
        if xp.kernels:
            (dwide,) = slopes
            xp.kernels.gated_backward(dh, dwide[:, :F], dwide[:, F:], True)
        else:
            dwide = tape.empty(N, 2 * F)
            xp.multiply(dh, slopes[0], out=dwide[:, :F])
            xp.multiply(dh, slopes[1], out=dwide[:, F:])
        g.product("wide_weight", rows(x), dwide)
        g.rows("wide_bias", dwide)
        return linear(dwide, p["wide_weight"].T, None, tape).reshape(x.shape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 8 * tokens * config.n_emb

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        up, gate = np.split(x @ p["wide_weight"] + p["wide_bias"], 2, axis=1)
        swish = gate * observation.sigmoid(gate)
        return [observation.activations("gates", "swish gates", swish.T,
                                        "What a hidden channel is multiplied with, not less than -0.28.", low=-0.2785),
                observation.activations("hidden", "hidden activations", (up * swish).T, "A hidden channel, gated.")]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward = fold.reading(p["wide_weight"], bias=p["wide_bias"])
        inward[:, 4 * self.config.n_emb :] *= 0.5  # swish(z) = z·σ(z) = z/2·(1 + tanh z/2)
        outward = fold.writing(p["c_proj_dn_weight"], p["c_proj_dn_bias"])
        return partial(fold.shared(self, lambda: self._step(fold)), inward, outward)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        F, one = 4 * self.config.n_emb, fold.constant(1)
        wide, (both, h), y = fold.empty(2 * F), fold.hidden(F), fold.empty(self.config.n_emb)
        up, half = wide[:, :F], wide[:, F:]

        def step(inward: Array, outward: Array, x: Array) -> Array:
            x.dot(inward, wide)
            np.tanh(half, h)
            np.add(h, one, h)
            np.multiply(h, half, h)
            np.multiply(h, up, h)
            return both.dot(outward, y)

        return step
