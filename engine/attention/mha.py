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
        self.k = self.kv_heads(config)  # heads of keys and values
        self.g = self.h // self.k  # query heads that share one
        self.K = self.k * self.d
        self.scale = 1 / (sqrt(self.d) * config.r_temp)

    @classmethod
    def kv_heads(cls, config: Config) -> int:
        """Heads of keys and values; divides n_heads."""
        return config.n_heads

    @classmethod
    def projections(cls, config: Config) -> Tensor:
        """Wq, Wk, Wv side by side, one product."""
        D, H, K = config.n_emb, config.head_size, cls.kv_heads(config) * config.d_head
        return Tensor("qkv_weight", (D, H + 2 * K), parts=columns(q_weight=H, k_weight=K, v_weight=K))

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D, H = config.n_emb, config.head_size
        return [cls.projections(config), Tensor("c_weight", (H, D), "residual"),
                Tensor("c_bias", (D,), "zeros", optional=True)]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        return {"head_size": shapes["q_weight"][1]} if len(shapes.get("q_weight", ())) == 2 else {}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        D, H, K = config.n_emb, config.head_size, cls.kv_heads(config) * config.d_head
        return 4 * tokens * D * (H + K) + 2 * tokens * (tokens + 1) * H

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        dropped = 2 if config.r_dropout else 1
        K = cls.kv_heads(config) * config.d_head
        return (tokens * (config.n_emb * dropped + 2 * config.head_size + 2 * K)
                + config.n_heads * tokens * tokens * dropped)

    @classmethod
    def kept(cls, config: Config) -> int:
        return 2 * config.n_ctx * cls.kv_heads(config) * config.d_head

    def _heads(self, qkv: Array) -> tuple[Array, Array, Array]:
        """(B, T, H + 2K) as q (B, k, g, T, d) and k, v (B, k, 1, T, d), views."""
        B, T, _ = qkv.shape
        q = qkv[..., : self.H].reshape(B, T, self.k, self.g, self.d).transpose(0, 2, 3, 1, 4)
        kv = qkv[..., self.H :].reshape(B, T, 2, self.k, 1, self.d).transpose(2, 0, 3, 4, 1, 5)
        return q, kv[0], kv[1]

    def _by_head(self, o: Array) -> Array:
        """(B, T, H) as (B, k, g, T, d), a view."""
        return o.reshape(*o.shape[:2], self.k, self.g, self.d).transpose(0, 2, 3, 1, 4)

    def _project(self, p: Weights, x: Array, tape: Tape) -> Array:
        qkv = linear(x, p["qkv_weight"], None, tape)  # (B, T, H + 2K)
        qkv[..., : self.H] *= self.scale
        return qkv

    def _attend(self, p: Weights, qkv: Array, o: Array, tape: Tape) -> None:
        """Fills o (B, T, H), head beside head."""
        attend(*self._heads(qkv), self._by_head(o), tape, self.config.r_dropout)

    def _attend_backward(self, p: Weights, do: Array, qkv: Array, o: Array, tape: Tape, g: LayerGradients) -> Array:
        """The gradient of qkv, from that of o (B, T, H)."""
        dqkv = tape.empty(*qkv.shape)
        attend_backward(self._by_head(do), *self._heads(qkv), self._by_head(o), *self._heads(dqkv), tape)
        return dqkv

    def _project_backward(self, p: Weights, x: Array, dqkv: Array, tape: Tape, g: LayerGradients) -> Array:
        dqkv[..., : self.H] *= self.scale
        g.product("qkv_weight", rows(x), rows(dqkv))
        return linear(dqkv, p["qkv_weight"].T, None, tape)

    def _mix(self, p: Weights, x: Array, qkv: Array, tape: Tape) -> Array:
        o = tape.empty(*x.shape[:2], self.H)
        self._attend(p, qkv, o, tape)
        y = linear(o, p["c_weight"], p["c_bias"], tape)
        tape.save(x, qkv, o)
        return tape.dropout(y, self.config.r_dropout)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        return self._mix(p, x, self._project(p, x, tape), tape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = tape.dropout_backward(dy)
        x, qkv, o = tape.pop()
        g.product("c_weight", rows(o), rows(dy))
        g.rows("c_bias", rows(dy))
        do = linear(dy, p["c_weight"].T, None, tape)
        return self._project_backward(p, x, self._attend_backward(p, do, qkv, o, tape, g), tape, g)

    def state(self, batch: int) -> State:
        shape = (batch, self.k, self.config.n_ctx, self.d)
        return State(k=xp.zeros(shape, self.dtype), v=xp.zeros(shape, self.dtype))

    def step(self, p: Weights, x: Array, state: State) -> Array:
        qkv = x @ p["qkv_weight"]  # (B, H + 2K)
        q = qkv[:, : self.H].reshape(len(x), self.k, self.g, self.d)
        q *= self.scale
        kv = qkv[:, self.H :].reshape(len(x), 2, self.k, self.d)
        return self._output(p, x, self._attend_one(p, q, kv[:, 0], kv[:, 1], state).reshape(len(x), self.h, self.d))

    def _attend_one(self, p: Weights, q: Array, k: Array, v: Array, state: State) -> Array:
        """One token's heads o (B, k, g, d); its key and value (B, k, d) join the state."""
        t = state.position
        state.k[:, :, t], state.v[:, :, t] = k, v
        state.position = t = t + 1
        return attend_one(q, state.k[:, :, :t], state.v[:, :, :t])

    def _output(self, p: Weights, x: Array, o: Array) -> Array:
        """One token's output from its heads o (B, h, d)."""
        y = o.reshape(len(x), self.H) @ p["c_weight"]
        y += p["c_bias"]
        return y

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        if state.position:  # earlier tokens are in the state: go on one by one
            return super().prefill(p, x, state, tape)
        qkv = self._project(p, x, tape)
        self._fill(p, qkv, state, tape)
        return self._mix(p, x, qkv, tape)

    def _fill(self, p: Weights, qkv: Array, state: State, tape: Tape) -> None:
        """Bring the tokens of a first prefill into the state."""
        _, k, v = self._heads(qkv)
        state.position = T = k.shape[-2]
        state.k[:, :, :T], state.v[:, :, :T] = k[:, :, 0], v[:, :, 0]
