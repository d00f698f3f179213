"""Multi-head attention (Vaswani et al., arXiv 1706.03762), causal.

    q, k, v = x·Wq, x·Wk, x·Wv                     (B, T, H) as h heads of d = H/h
    o_j = drop(softmax(q_j·k_jᵀ/(√d·τ) + causal))·v_j
    y = drop(concat(o_1 … o_h)·Wc + bc)

Parameters 4·D·H + D. Forward FLOPs 8·T·D·H + 2·T²·H (half the scores are in the future). Decode state: keys and
values, 2·n_ctx·H numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from engine import registry
from engine.attention._softmax import attend, attend_backward, attend_one
from engine.backend import Array, xp
from engine.config import Config
from engine.parameters import LayerGradients, Tensor, columns
from engine.tape import Tape
from engine.variant import State, Variant, Weights, linear, rows


@registry.attention.register("mha")
class Mha(Variant):
    """Multi-head attention; see the module."""

    mixes_time = True

    def __init__(self, config: Config, dtype: Any):
        super().__init__(config, dtype)
        self.h, self.d, self.H = config.n_heads, config.d_head, config.head_size
        self.scale = 1 / (sqrt(self.d) * config.r_temp)

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D, H = config.n_emb, config.head_size
        return [Tensor("qkv_weight", (D, 3 * H), parts=columns(q_weight=H, k_weight=H, v_weight=H)),
                Tensor("c_weight", (H, D), "residual"), Tensor("c_bias", (D,), "zeros", optional=True)]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        return {"head_size": shapes["q_weight"][1]} if "q_weight" in shapes else {}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return 8 * tokens * config.n_emb * config.head_size + 2 * tokens * (tokens + 1) * config.head_size

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        dropped = 2 if config.r_dropout else 1
        return (tokens * (config.n_emb * dropped + 4 * config.head_size)
                + config.n_heads * tokens * tokens * dropped)

    @classmethod
    def kept(cls, config: Config) -> int:
        return 2 * config.n_ctx * config.head_size

    def _heads(self, qkv: Array) -> tuple[Array, Array, Array]:
        """(B, T, 3H) as q, k, v (B, h, T, d), views."""
        q, k, v = qkv.reshape(*qkv.shape[:2], 3, self.h, self.d).transpose(2, 0, 3, 1, 4)
        return q, k, v

    def _project(self, p: Weights, x: Array, tape: Tape) -> Array:
        qkv = linear(x, p["qkv_weight"], None, tape)  # (B, T, 3H)
        qkv[..., : self.H] *= self.scale
        return qkv

    def _mix(self, p: Weights, x: Array, qkv: Array, tape: Tape) -> Array:
        B, T, _ = x.shape
        rate = self.config.r_dropout
        o = tape.empty(B, T, self.H)
        attend(*self._heads(qkv), o.reshape(B, T, self.h, self.d).transpose(0, 2, 1, 3), tape, rate)
        y = linear(o, p["c_weight"], p["c_bias"], tape)
        tape.save(x, qkv, o)
        return tape.dropout(y, rate)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        return self._mix(p, x, self._project(p, x, tape), tape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        B, T, _ = dy.shape
        dy = tape.dropout_backward(dy)
        x, qkv, o = tape.pop()
        g.product("c_weight", rows(o), rows(dy))
        g.rows("c_bias", rows(dy))
        do, dqkv = linear(dy, p["c_weight"].T, None, tape), tape.empty(B, T, 3 * self.H)
        by_head = (B, T, self.h, self.d)
        attend_backward(do.reshape(by_head).transpose(0, 2, 1, 3), *self._heads(qkv),
                        o.reshape(by_head).transpose(0, 2, 1, 3), *self._heads(dqkv), tape)
        dqkv[..., : self.H] *= self.scale
        g.product("qkv_weight", rows(x), rows(dqkv))
        return linear(dqkv, p["qkv_weight"].T, None, tape)

    def state(self, batch: int) -> State:
        shape = (batch, self.h, self.config.n_ctx, self.d)
        return State(k=xp.zeros(shape, self.dtype), v=xp.zeros(shape, self.dtype))

    def step(self, p: Weights, x: Array, state: State) -> Array:
        qkv = (x @ p["qkv_weight"]).reshape(len(x), 3, self.h, self.d)  # (B, 3, h, d)
        q, t = qkv[:, 0], state.position
        q *= self.scale
        state.k[:, :, t], state.v[:, :, t] = qkv[:, 1], qkv[:, 2]
        state.position = t = t + 1
        return self._output(p, x, attend_one(q, state.k[:, :, :t], state.v[:, :, :t]))

    def _output(self, p: Weights, x: Array, o: Array) -> Array:
        """One token's output from its heads o (B, h, d)."""
        y = o.reshape(len(x), self.H) @ p["c_weight"]
        y += p["c_bias"]
        return y

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        qkv = self._project(p, x, tape)
        _, k, v = self._heads(qkv)
        start, state.position = state.position, state.position + x.shape[1]
        if start:  # earlier tokens are in the state: go on one by one
            state.position = start
            return super().prefill(p, x, state, tape)
        state.k[:, :, : state.position], state.v[:, :, : state.position] = k, v
        return self._mix(p, x, qkv, tape)
