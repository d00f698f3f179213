"""Attention-free transformer, the simple form without queries and position biases (Zhai et al., arXiv 2105.14103).

    k = clip(x·Wk/τ, ±20), v = x·Wv                              (B, T, D)
    s_t = Σ_{i≤t} e^{k_i} v_i / Σ_{i≤t} e^{k_i}                   per channel
    y = drop(drop(s)·Wc + bc)

The gradient is zero where the clip acts. O(T) in time; see engine/scan.py for the sums.

Files hold a query matrix as well, which nothing is computed with: it is kept, and zeros are written for it.
Parameters 3·D² + D. Forward FLOPs 6·T·D² + 140·T·D (the sums are blocked triangular products). Decode state:
2·D numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from engine import registry
from engine.backend import Array, xp
from engine.config import Config
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor, columns
from engine.prepared import Fold, Step
from engine.scan import Averaging, average, average_backward
from engine.tape import Tape
from engine.variant import State, Weights, linear, rows


@registry.attention.register("aft")
class Aft(Averaging):
    """Attention-free transformer; see the module."""

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D = config.n_emb
        return [Tensor("kv_weight", (D, 2 * D), parts=columns(k_weight=D, v_weight=D)),
                Tensor("c_weight", (D, D), "residual"), Tensor("c_bias", (D,), "zeros", optional=True)]

    @classmethod
    def unused(cls, config: Config) -> dict[str, tuple[int, ...]]:
        return {"q_weight": (config.n_emb, config.n_emb)}

    @classmethod
    def file_order(cls, config: Config) -> list[str]:
        return ["q_weight", *super().file_order(config)]

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return tokens * config.n_emb * (6 * config.n_emb + 140)

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * config.n_emb * (6 + 2 * bool(config.r_dropout))

    def _average(self, p: Weights, x: Array, tape: Tape) -> tuple[Array, Array, Array]:
        D = x.shape[-1]
        kv = linear(x, p["kv_weight"], None, tape)  # (B, T, 2D)
        k = tape.empty(*x.shape)
        xp.multiply(kv[..., :D], 1 / self.config.r_temp, out=k)
        return average(k, kv[..., D:], tape)

    def _output(self, p: Weights, x: Array, s: Array, tape: Tape) -> Array:
        s = tape.dropout(s, self.config.r_dropout, keep=True)
        y = linear(s, p["c_weight"], p["c_bias"], tape)
        tape.save(x, s)
        return tape.dropout(y, self.config.r_dropout)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        s, _, _ = self._average(p, x, tape)
        return self._output(p, x, s, tape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        B, T, D = dy.shape
        dy = tape.dropout_backward(dy)
        x, s = tape.pop()
        g.product("c_weight", rows(s), rows(dy))
        g.rows("c_bias", rows(dy))
        dk, dv = average_backward(tape.dropout_backward(linear(dy, p["c_weight"].T, None, tape)), tape)
        dkv = tape.empty(B, T, 2 * D)
        xp.multiply(dk, 1 / self.config.r_temp, out=dkv[..., :D])
        dkv[..., D:] = dv
        g.product("kv_weight", rows(x), rows(dkv))
        return linear(dkv, p["kv_weight"].T, None, tape)

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        return self._output(p, x, self.go_on(state, *self._average(p, x, tape)), tape)

    def prefill_at(self, p: Weights, x: Array, state: State, place: Array, tape: Tape) -> Array:
        return self._output(p, x, self.go_on_at(state, *self._average(p, x, tape)), tape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 2 * tokens * tokens

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        k, v = np.split(x @ p["kv_weight"], 2, axis=1)
        return self.averaged(k / self.config.r_temp, v)

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward, outward = fold.reading(p["kv_weight"]), fold.writing(p["c_weight"], p["c_bias"])
        inward[:, : self.config.n_emb] *= 1 / self.config.r_temp
        return partial(fold.shared(self, lambda: self._step(fold)), inward, outward, state)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        D = self.config.n_emb
        kv, (both, h), y = fold.empty(2 * D), fold.hidden(D), fold.empty(D)
        average = self.averager(kv)

        def step(inward: Array, outward: Array, state: State, x: Array) -> Array:
            x.dot(inward, kv)
            average(state, h)
            return both.dot(outward, y)

        return step
