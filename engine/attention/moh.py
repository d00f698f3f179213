"""Mixture of heads: attention whose heads are weighted per token (after Jin et al., MoH, arXiv 2410.11842; ours mixes
all heads before the output projection, without top-k).

    o_j as in mha, (B, T, h, d);  g = softmax over heads of x·Wg/τ      (B, T, h)
    y = drop((Σ_j g_j o_j)·Wm + bm)                                       (B, T, d) → (B, T, D)

Parameters 3·D·H + D·h + d·D + D. Forward FLOPs 6·T·D·H + 2·T²·H + 2·T·D·(h + d) + 2·T·H. Decode state: keys and values,
2·n_ctx·H numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine import registry
from engine.attention._softmax import attend, attend_backward
from engine.attention.mha import Mha
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import softmax, softmax_backward
from engine.parameters import LayerGradients, Tensor, columns
from engine.tape import Tape
from engine.variant import Weights, linear, rows


@registry.attention.register("moh")
class Moh(Mha):
    """Mixture of heads; see the module."""

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D, H = config.n_emb, config.head_size
        return [Tensor("qkv_weight", (D, 3 * H), parts=columns(q_weight=H, k_weight=H, v_weight=H)),
                Tensor("g_weight", (D, config.n_heads)), Tensor("m_weight", (config.d_head, D), "residual"),
                Tensor("m_bias", (D,), "zeros", optional=True)]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        found = super().infer(shapes)
        return {**found, "n_heads": shapes["g_weight"][1]} if len(shapes.get("g_weight", ())) == 2 else found

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        D, H = config.n_emb, config.head_size
        return 2 * tokens * (3 * D * H + D * (config.n_heads + config.d_head) + H) + 2 * tokens * (tokens + 1) * H

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return super().saved(config, tokens) + tokens * (config.n_heads + config.d_head)

    def _gates(self, p: Weights, x: Array, tape: Tape) -> Array:
        g = linear(x, p["g_weight"], None, tape)  # (B, T, h)
        g *= 1 / self.config.r_temp
        return softmax(g, out=g)

    def _mix(self, p: Weights, x: Array, qkv: Array, tape: Tape) -> Array:
        B, T, _ = x.shape
        rate = self.config.r_dropout
        o, mixed = tape.empty(B, T, self.h, self.d), tape.empty(B, T, 1, self.d)
        attend(*self._heads(qkv), o.transpose(0, 2, 1, 3), tape, rate)
        gates = self._gates(p, x, tape)
        xp.matmul(gates[:, :, None], o, out=mixed)  # (B, T, 1, h)·(B, T, h, d)
        y = linear(mixed.reshape(B, T, self.d), p["m_weight"], p["m_bias"], tape)
        tape.save(x, qkv, o, gates, mixed)
        return tape.dropout(y, rate)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        B, T, _ = dy.shape
        dy = tape.dropout_backward(dy)
        x, qkv, o, gates, mixed = tape.pop()
        g.product("m_weight", mixed.reshape(B * T, self.d), rows(dy))
        g.rows("m_bias", rows(dy))
        dmixed = linear(dy, p["m_weight"].T, None, tape).reshape(B, T, 1, self.d)
        dgates = tape.empty(B, T, self.h)
        xp.matmul(o, dmixed.swapaxes(-1, -2), out=dgates[..., None])  # (B, T, h, 1)
        dgates = softmax_backward(dgates, gates)
        dgates *= 1 / self.config.r_temp
        do, dqkv = tape.empty(B, T, self.h, self.d), tape.empty(B, T, 3 * self.H)
        xp.multiply(gates[..., None], dmixed, out=do)
        attend_backward(do.transpose(0, 2, 1, 3), *self._heads(qkv), o.transpose(0, 2, 1, 3), *self._heads(dqkv), tape)
        dqkv[..., : self.H] *= self.scale
        g.product("qkv_weight", rows(x), rows(dqkv))
        g.product("g_weight", rows(x), rows(dgates))
        dx = linear(dqkv, p["qkv_weight"].T, None, tape)
        dx += linear(dgates, p["g_weight"].T, None, tape)
        return dx

    def _output(self, p: Weights, x: Array, o: Array) -> Array:
        gates = x @ p["g_weight"]
        gates *= 1 / self.config.r_temp
        mixed = xp.matmul(softmax(gates, out=gates)[:, None], o)[:, 0]  # (B, d)
        y = mixed @ p["m_weight"]
        y += p["m_bias"]
        return y
