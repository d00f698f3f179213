"""Dense mixture of experts (Jacobs et al. 1991; Shazeer et al., arXiv 1701.06538, without top-k): every expert runs.

    g = softmax(x·Wg)                                                    (B, T, E)
    y = drop(Σ_e g_e (GELU(x·U_e + bu_e)·Dn_e + bd_e))                   F = 4·D wide each

The experts stand side by side: x·[U_1 … U_E] is one product, each expert's F columns are scaled by its gate, and
[Dn_1; …; Dn_E] stacked adds them up in a second product; no (B, T, E, D) array exists.

Parameters D·E + E·(8·D² + 5·D). Forward FLOPs E·16·T·D² + 4·T·D·E. No decode state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from engine import observation, registry
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import gelu, gelu_backward, softmax, softmax_backward
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor
from engine.prepared import FALL, KAPPA, RISE, Fold, Step, gelu_one, mixture
from engine.tape import Tape
from engine.variant import Pointwise, State, Weights, linear, rows

EXPANSION = 4


@registry.network.register("moe")
class Moe(Pointwise):
    """Dense mixture of experts; see the module."""

    parameters = ("n_experts",)
    legacy: ClassVar = {"expansion": "n_expansion"}

    def __init__(self, config: Config, dtype: Any):
        super().__init__(config, dtype)
        self.E, self.F = config.n_experts, EXPANSION * config.n_emb

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D, E = config.n_emb, config.n_experts
        F = EXPANSION * D

        def parts(kind: str, index: Any) -> tuple[tuple[str, Any], ...]:
            return tuple((f"expert_{e}_{kind}", index(e)) for e in range(E))

        def stretch(e: int) -> slice:
            return slice(e * F, e * F + F)

        return [Tensor("g_weight", (D, E)),
                Tensor("up_weight", (D, E * F), parts=parts("up_weight", lambda e: (slice(None), stretch(e)))),
                Tensor("up_bias", (E * F,), "zeros", parts("up_bias", stretch), optional=True),
                Tensor("dn_weight", (E * F, D), "residual", parts("dn_weight", stretch)),
                Tensor("dn_bias", (E, D), "zeros", parts("dn_bias", lambda e: e), optional=True, decays=False)]

    @classmethod
    def scalars(cls, config: Config) -> dict[str, Any]:
        return {"n_expansion": EXPANSION, "n_experts": config.n_experts}

    @classmethod
    def file_order(cls, config: Config) -> list[str]:
        kinds = ("up_weight", "up_bias", "dn_weight", "dn_bias")
        return ["g_weight", *cls.scalars(config),
                *(f"expert_{e}_{kind}" for e in range(config.n_experts) for kind in kinds)]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        return {"n_experts": shapes["g_weight"][1]} if len(shapes.get("g_weight", ())) == 2 else {}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return tokens * config.n_experts * config.n_emb * (16 * config.n_emb + 4)

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * (config.n_emb * (12 * config.n_experts + 1 + bool(config.r_dropout)) + config.n_experts)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        flat = rows(x)
        N = len(flat)
        gates = linear(flat, p["g_weight"], None, tape)  # (N, E)
        softmax(gates, out=gates)
        a = gelu(linear(flat, p["up_weight"], p["up_bias"], tape), tape)  # (N, E·F)
        gated = tape.empty(N, self.E * self.F)
        xp.multiply(a.reshape(N, self.E, self.F), gates[:, :, None], out=gated.reshape(N, self.E, self.F))
        y = linear(gated, p["dn_weight"], None, tape)
        y += linear(gates, p["dn_bias"], None, tape)
        tape.save(x, gates, a, gated)
        return tape.dropout(y, self.config.r_dropout).reshape(x.shape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = tape.dropout_backward(rows(dy))
        x, gates, a, gated = tape.pop()
        N = len(dy)
        by_expert = (N, self.E, self.F)
        g.product("dn_weight", gated, dy)
        g.product("dn_bias", gates, dy)
        da = linear(dy, p["dn_weight"].T, None, tape)  # (N, E·F), not gated yet
        dgates = xp.matmul(da.reshape(N, self.E, 1, self.F), a.reshape(N, self.E, self.F, 1)).reshape(N, self.E)
        dgates += linear(dy, p["dn_bias"].T, None, tape)
        da.reshape(by_expert)[...] *= gates[:, :, None]
        du = gelu_backward(da, tape)
        g.product("up_weight", rows(x), du)
        g.rows("up_bias", du)
        dgates = softmax_backward(dgates, gates)
        g.product("g_weight", rows(x), dgates)
        dx = linear(du, p["up_weight"].T, None, tape)
        dx += linear(dgates, p["g_weight"].T, None, tape)
        return dx.reshape(x.shape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return tokens * config.n_experts * (EXPANSION * config.n_emb + 2)

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        gates = observation.softmax(x @ p["g_weight"]).T  # (E, T)
        hidden = observation.gelu(x @ p["up_weight"] + p["up_bias"])  # (T, E·F)
        down = p["dn_weight"].reshape(self.E, self.F, -1)
        by_expert = hidden.reshape(-1, self.E, self.F).swapaxes(0, 1)
        sizes = [np.sqrt(((gate[:, None] * (h @ dn + bias)) ** 2).sum(1))
                 for gate, h, dn, bias in zip(gates, by_expert, down, p["dn_bias"], strict=True)]
        return [observation.gates("gates", "weights of the experts", gates,
                                  "What a token multiplies an expert's answer with; those of a token sum to one.",
                                  of="expert", sums=True),
                observation.gates("contribution", "contributions of the experts", np.array(sizes),
                                  "The L2 norm of what an expert adds to the output.", of="expert", high=None),
                observation.activations("hidden", "hidden activations", hidden.T,
                                        "What GELU leaves of a hidden channel; expert beside expert, not gated.")]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        wide = self.E * self.F
        inward = fold.reading(p["up_weight"], p["g_weight"])
        inward[-1, :wide] += p["up_bias"]
        inward[:, :wide] *= RISE
        outward = fold.writing(p["dn_weight"], p["dn_bias"], FALL)  # the gates stand beside the experts
        return partial(fold.shared(self, lambda: self._step(fold)), inward, outward)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        wide, kappa, one = self.E * self.F, fold.constant(KAPPA), fold.constant(1)
        u, h, a = fold.empty(wide + self.E), fold.empty(wide + self.E), fold.empty(wide)
        y = fold.empty(self.config.n_emb)
        v, gates, beside, by_expert = u[:, :wide], u[:, wide:], h[:, wide:], (fold.batch, self.E, self.F)
        experts, gated, columns = a.reshape(by_expert), h[:, :wide].reshape(by_expert), gates[:, :, None]

        def step(inward: Array, outward: Array, x: Array) -> Array:
            x.dot(inward, u)
            gelu_one(v, kappa, one, a)
            beside[...] = mixture(gates)
            np.multiply(experts, columns, gated)
            return h.dot(outward, y)

        return step
