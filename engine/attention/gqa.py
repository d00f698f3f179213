"""Grouped-query attention (Ainslie et al., arXiv 2305.13245), causal.

    q = x·Wq (B, T, H) as h heads;  k, v = x·Wk, x·Wv (B, T, k·d) as k = n_kv_heads heads of d = H/h
    o_j = drop(softmax(q_j·k_iᵀ/(√d·τ) + causal))·v_i        with i = ⌊j·k/h⌋
    y = drop(concat(o_1 … o_h)·Wc + bc)

n_kv_heads 0 takes the divisor of h nearest to max(1, h/4). Keys and values are shared, never repeated: the queries of a
group meet them in one batched product.

Parameters 2·D·H + 2·D·k·d + D. Forward FLOPs 4·T·D·(H + k·d) + 2·T²·H. Decode state: k/h of mha's, 2·n_ctx·k·d numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine import registry
from engine.attention.mha import Mha
from engine.config import Config, nearest_divisor


@registry.attention.register("gqa")
class Gqa(Mha):
    """Grouped-query attention; see the module."""

    parameters = ("n_kv_heads",)

    @classmethod
    def kv_heads(cls, config: Config) -> int:
        return config.n_kv_heads or nearest_divisor(config.n_heads, max(1, config.n_heads // 4))

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        found = super().infer(shapes, config)
        if found and len(shapes.get("k_weight", ())) == 2:
            found["n_kv_heads"] = shapes["k_weight"][1] // max(1, found["head_size"] // config.n_heads)
        return found
