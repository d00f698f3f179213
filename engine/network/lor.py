"""A frozen linear layer with a trained low-rank correction (Hu et al., LoRA, arXiv 2106.09685).

    y = drop(x·W0 + b0 + (α/r)·(x·A)·B)                           A (D, r), B (r, D), r = n_rank, α = 1, B = 0 at first

W0 and b0 are frozen: no gradient, no moments, no decay; they are saved all the same. A file with another α is read into
B, which gives the same function with α = 1.

Parameters D² + D + 2·D·r, of which 2·D·r are trained. Forward FLOPs 2·T·D² + 4·T·D·r. No decode state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine import observation, registry
from engine.backend import Array
from engine.config import Config
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor
from engine.prepared import Fold, Step
from engine.tape import Tape
from engine.variant import Pointwise, State, Weights, linear, rows

ALPHA = 1.0


@registry.network.register("lor")
class Lor(Pointwise):
    """Low-rank correction of a frozen layer; see the module."""

    parameters = ("n_rank",)

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D, r = config.n_emb, config.n_rank
        return [Tensor("c_proj_weight", (D, D), frozen=True),
                Tensor("c_proj_bias", (D,), "zeros", frozen=True, optional=True),
                Tensor("c_proj_dn_weight", (D, r)), Tensor("c_proj_up_weight", (r, D), "zeros")]

    @classmethod
    def scalars(cls, config: Config) -> dict[str, Any]:
        return {"rank": config.n_rank, "alpha": ALPHA}

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        return {"n_rank": shapes["c_proj_dn_weight"][1]} if len(shapes.get("c_proj_dn_weight", ())) == 2 else {}

    @classmethod
    def convert(cls, arrays: dict[str, Any], config: Config) -> dict[str, Any]:
        alpha: Any = arrays.get("alpha")
        up: Any = arrays.get("c_proj_up_weight")
        if not isinstance(alpha, (int, float)) or alpha == ALPHA or not hasattr(up, "shape"):
            return arrays
        with np.errstate(over="ignore"):
            scaled = up * (alpha / ALPHA)
        return {**arrays, "c_proj_up_weight": scaled, "alpha": ALPHA} if np.isfinite(scaled).all() else arrays

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return tokens * config.n_emb * (2 * config.n_emb + 4 * config.n_rank)

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * (config.n_emb * (1 + bool(config.r_dropout)) + config.n_rank)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        flat, scale = rows(x), ALPHA / self.config.n_rank
        y = linear(flat, p["c_proj_weight"], p["c_proj_bias"], tape)
        low = linear(flat, p["c_proj_dn_weight"], None, tape)  # (N, r)
        low *= scale
        y += linear(low, p["c_proj_up_weight"], None, tape)
        tape.save(x, low)
        return tape.dropout(y, self.config.r_dropout).reshape(x.shape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = tape.dropout_backward(rows(dy))
        x, low = tape.pop()
        g.product("c_proj_weight", rows(x), dy)  # dropped, unless a fine-tuning adapter corrects it
        g.product("c_proj_up_weight", low, dy)
        dlow = linear(dy, p["c_proj_up_weight"].T, None, tape)
        dlow *= ALPHA / self.config.n_rank
        g.product("c_proj_dn_weight", rows(x), dlow)
        dx = linear(dy, p["c_proj_weight"].T, None, tape)
        dx += linear(dlow, p["c_proj_dn_weight"].T, None, tape)
        return dx.reshape(x.shape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return tokens * (config.n_rank + 2)

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        low = x @ p["c_proj_dn_weight"] * (ALPHA / self.config.n_rank)
        both = np.array([x @ p["c_proj_weight"] + p["c_proj_bias"], low @ p["c_proj_up_weight"]])
        return [observation.gates("parts", "frozen layer and correction", np.sqrt((both**2).sum(2)),
                                  "The L2 norm of what the frozen layer and its correction add to the output.",
                                  of="part", high=None, names=("frozen layer", "correction")),
                observation.activations("components", "components of the correction", low.T,
                                        "What a rank of the correction reads from the token, scaled.", of="component")]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        """W0 and its correction are one matrix here, which reads and writes at once."""
        weight = p["c_proj_dn_weight"] @ p["c_proj_up_weight"]
        weight *= ALPHA / self.config.n_rank
        weight += p["c_proj_weight"]
        whole = fold.written(fold.reading(weight, bias=p["c_proj_bias"]))
        y = fold.shared(self, lambda: fold.empty(self.config.n_emb))
        return lambda x: x.dot(whole, y)
