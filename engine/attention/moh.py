"""Mixture of heads: attention whose heads are weighted per token (after Jin et al., MoH, arXiv 2410.11842; ours mixes
all heads before the output projection, without top-k).

    o_j as in mha, (B, T, h, d);  g = softmax over heads of x·Wg/τ      (B, T, h)
    y = drop((Σ_j g_j o_j)·Wm + bm)                                       (B, T, d) → (B, T, D)

Parameters 3·D·H + D·h + d·D + D. Forward FLOPs 6·T·D·H + 2·T²·H + 2·T·D·(h + d) + 2·T·H. Decode state: keys and values,
2·n_ctx·H numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from engine import observation, registry
from engine.attention._kept import attender
from engine.attention.mha import Mha
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import softmax, softmax_backward
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor
from engine.prepared import Fold, Step, mixture
from engine.tape import Tape
from engine.variant import State, Weights, linear, rows


@registry.attention.register("moh")
class Moh(Mha):
    """Mixture of heads; see the module."""

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D = config.n_emb
        return [cls.projections(config), Tensor("g_weight", (D, config.n_heads)),
                Tensor("m_weight", (config.d_head, D), "residual"), Tensor("m_bias", (D,), "zeros", optional=True)]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        found = super().infer(shapes, config)
        return {**found, "n_heads": shapes["g_weight"][1]} if len(shapes.get("g_weight", ())) == 2 else found

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        D, H = config.n_emb, config.head_size
        return 2 * tokens * (3 * D * H + D * (config.n_heads + config.d_head) + H) + 2 * tokens * (tokens + 1) * H

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return super().saved(config, tokens) + tokens * (config.n_heads + config.d_head)

    def _gates(self, p: Weights, x: Array, tape: Tape) -> Array:
        """g (…, h), softmax over the heads."""
        g = linear(x, p["g_weight"], None, tape)
        g *= 1 / self.config.r_temp
        return softmax(g, out=g)

    def _weights(self, gates: Array) -> Array:
        """What the heads are multiplied with."""
        return gates

    def _mix(self, p: Weights, x: Array, qkv: Array, tape: Tape) -> Array:
        B, T, _ = x.shape
        o, mixed = tape.empty(B, T, self.H), tape.empty(B, T, 1, self.d)
        self._attend(p, qkv, o, tape)
        gates = self._gates(p, x, tape)
        weights = self._weights(gates)
        xp.matmul(weights[:, :, None], o.reshape(B, T, self.h, self.d), out=mixed)  # (B, T, 1, h)·(B, T, h, d)
        y = linear(mixed.reshape(B, T, self.d), p["m_weight"], p["m_bias"], tape)
        tape.save(x, qkv, o, gates, weights, mixed)
        return tape.dropout(y, self.config.r_dropout)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        B, T, _ = dy.shape
        dy = tape.dropout_backward(dy)
        x, qkv, o, gates, weights, mixed = tape.pop()
        g.product("m_weight", mixed.reshape(B * T, self.d), rows(dy))
        g.rows("m_bias", rows(dy))
        dmixed = linear(dy, p["m_weight"].T, None, tape).reshape(B, T, 1, self.d)
        dgates, do = tape.empty(B, T, self.h), tape.empty(B, T, self.H)
        xp.matmul(o.reshape(B, T, self.h, self.d), dmixed.swapaxes(-1, -2), out=dgates[..., None])  # (B, T, h, 1)
        dgates = softmax_backward(dgates, gates)
        dgates *= 1 / self.config.r_temp
        xp.multiply(weights[..., None], dmixed, out=do.reshape(B, T, self.h, self.d))
        dx = self._project_backward(p, x, self._attend_backward(p, do, qkv, o, tape, g), tape, g)
        g.product("g_weight", rows(x), rows(dgates))
        dx += linear(dgates, p["g_weight"].T, None, tape)
        return dx

    def _output(self, p: Weights, x: Array, o: Array) -> Array:
        gates = xp.matmul(x, p["g_weight"])
        gates *= 1 / self.config.r_temp
        mixed = xp.matmul(self._weights(softmax(gates, out=gates))[:, None], o)[:, 0]  # (N, d)
        y = xp.matmul(mixed, p["m_weight"])
        y += p["m_bias"]
        return y

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return super().observed(config, tokens) + 2 * config.n_heads * tokens

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        return [*super().observe(p, x), *self._shown(p, x)]

    def _shown(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        """The gates of x (T, D)."""
        gates = observation.softmax(x @ p["g_weight"] / self.config.r_temp)
        return [observation.gates("gates", "weights of the heads", gates.T,
                                  "What a token multiplies a head with; those of a token sum to one.", of="head",
                                  sums=True)]

    def _sizes(self, p: Mapping[str, np.ndarray], x: np.ndarray, v: np.ndarray) -> np.ndarray:
        used = self._shown(p, x)[-1].values  # (h, T)
        return used[:, :, None] * np.sqrt(((v @ p["m_weight"]) ** 2).sum(-1))[:, None]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward = self._inward(fold, p["qkv_weight"], p["g_weight"] / self.config.r_temp)
        outward = fold.writing(p["m_weight"], p["m_bias"])
        step = fold.shared(self, lambda: self._step(fold, inward.shape[1], state.kv.shape[3]))
        return partial(step, inward, outward, self._keeper(p, state), state.kv[0].swapaxes(-1, -2), state.kv[1])

    def _step(self, fold: Fold, width: int, n: int) -> Callable[..., Array]:
        qkvg, (both, h), y = fold.empty(width), fold.hidden(self.d), fold.empty(self.config.n_emb)
        q, new = self._one(qkvg)
        start, shape = self.H + 2 * self.K, (fold.batch, self.h)
        gates, shares, mixed = qkvg[:, start : start + self.h], fold.empty(1, self.h), h[:, None]
        attend = attender(q, n)

        def step(inward: Array, outward: Array, keep: Callable[[Array], int], keys: Array, values: Array,
                 x: Array) -> Array:
            x.dot(inward, qkvg)
            o, total = attend(keep(new), keys, values)
            np.divide(self._weights(mixture(gates)), total.reshape(shape), shares[:, 0])
            np.matmul(shares, o.reshape(*shape, self.d), mixed)
            return both.dot(outward, y)

        return step
