"""Gated linear unit (Dauphin et al., arXiv 1612.08083).

    y = drop((x·C + bc) ⊙ σ(x·G + bg))

A file without G and bg has no gate: σ = 1. It is read as G = 0 and bg = 40, for which σ is exactly 1 and its gradient
exactly 0, so that the gate stays open in training too.

Parameters 2·D² + 2·D. Forward FLOPs 4·T·D². No decode state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from engine import observation, registry
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import sigmoid
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor, columns, stretches
from engine.prepared import Fold, Step
from engine.tape import Tape
from engine.variant import Pointwise, State, Weights, linear, rows

OPEN = 40.0  # σ(40) = 1 to every digit of a double


@registry.network.register("gln", aliases=("lin",))
class Gln(Pointwise):
    """Gated linear unit; see the module."""

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D = config.n_emb
        return [Tensor("cg_weight", (D, 2 * D), parts=columns(c_weight=D, g_weight=D)),
                Tensor("cg_bias", (2 * D,), "zeros", stretches(c_bias=D, g_bias=D), optional=True)]

    @classmethod
    def file_order(cls, config: Config) -> list[str]:
        return ["c_weight", "c_bias", "g_weight", "g_bias"]

    @classmethod
    def convert(cls, arrays: dict[str, Any], config: Config) -> dict[str, Any]:
        weight: Any = arrays.get("c_weight")
        if "g_weight" in arrays or "g_bias" in arrays or not hasattr(weight, "shape"):
            return arrays
        return {**arrays, "g_weight": np.zeros_like(weight), "g_bias": np.full(weight.shape[-1:], OPEN, weight.dtype)}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return 4 * tokens * config.n_emb**2

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * config.n_emb * (3 + bool(config.r_dropout))

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        flat, weight, bias = rows(x), p["cg_weight"], p["cg_bias"]
        D = x.shape[-1]
        if tape.small(flat):
            cg = linear(flat, weight, bias, tape)
            y = sigmoid(cg[:, D:])
            y *= cg[:, :D]
            return tape.dropout(y, self.config.r_dropout).reshape(x.shape)
        if xp.kernels:
            cg = linear(flat, weight, bias, tape)
            tape.save(x, cg)
            return tape.dropout(xp.kernels.gated(cg[:, :D], cg[:, D:], False), self.config.r_dropout).reshape(x.shape)
        c, z = linear(flat, weight[:, :D], bias[:D], tape), linear(flat, weight[:, D:], bias[D:], tape)  # (N, D) each
        y = tape.empty(*c.shape)
        sigmoid(z, out=z)
        xp.multiply(c, z, out=y)
        if tape.recording:  # in place of c, y's slope with regard to the gate: c·σ(1 - σ)
            xp.subtract(1.0, z, out=c)
            c *= y
        tape.save(x, c, z)
        return tape.dropout(y, self.config.r_dropout).reshape(x.shape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = tape.dropout_backward(rows(dy))
        if xp.kernels:
            x, dcg = tape.pop()
            D = dy.shape[1]
            xp.kernels.gated_backward(dy, dcg[:, :D], dcg[:, D:], False)
        else:
            x, slope, gate = tape.pop()
            N, D = gate.shape
            dcg = tape.empty(N, 2 * D)
            xp.multiply(dy, gate, out=dcg[:, :D])
            xp.multiply(dy, slope, out=dcg[:, D:])
        g.product("cg_weight", rows(x), dcg)
        g.rows("cg_bias", dcg)
        return linear(dcg, p["cg_weight"].T, None, tape).reshape(x.shape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 2 * tokens * config.n_emb

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        content, gate = np.split(x @ p["cg_weight"] + p["cg_bias"], 2, axis=1)
        gate = observation.sigmoid(gate)
        return [observation.activations("gates", "gates", gate.T, "How far a channel is let through.", low=0.0,
                                        high=1.0),
                observation.activations("hidden", "gated channels", (content * gate).T,
                                        "A channel of the output, gated.")]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward = fold.reading(p["cg_weight"], bias=p["cg_bias"])
        inward *= 0.5  # c·σ(g) = c/2·(1 + tanh g/2)
        return partial(fold.shared(self, lambda: self._step(fold)), inward)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        D, one = self.config.n_emb, fold.constant(1)
        cg, y = fold.empty(2 * D), fold.empty(D)
        c, gate = cg[:, :D], cg[:, D:]

        def step(inward: Array, x: Array) -> Array:
            x.dot(inward, cg)
            np.tanh(gate, gate)
            np.add(gate, one, gate)
            return fold.written(np.multiply(c, gate, y))

        return step
