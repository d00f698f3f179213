"""Slow twins of the networks: loops over tokens, groups and experts. Written from the equations alone.

`p` holds the layer's weights by the names of the file format, without the prefix; `config` is anything with the
attributes of a configuration. x, y: (T, D), one sequence at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from twins_parts import Array, Weights, averages, gelu, sigmoid, softmax, vector_times


def two_layers(token: Array, up: Array, up_bias: Array, down: Array, down_bias: Array) -> Array:
    """GELU between two linear layers, for one token."""
    hidden = np.array([gelu(float(u)) for u in vector_times(token, up) + up_bias])
    return vector_times(hidden, down) + down_bias


def mlp(p: Weights, x: Array, config: Any) -> Array:
    """Two-layer network."""
    return np.array([two_layers(token, p["proj_up_weight"], p["proj_up_bias"], p["proj_dn_weight"], p["proj_dn_bias"])
                     for token in x])


def moe(p: Weights, x: Array, config: Any) -> Array:
    """Dense mixture of experts."""
    y = np.zeros_like(x)
    for t, token in enumerate(x):
        gates = softmax(list(vector_times(token, p["g_weight"])))
        assert len(gates) == config.n_experts
        for e, gate in enumerate(gates):
            parts = (p[f"expert_{e}_{part}"] for part in ("up_weight", "up_bias", "dn_weight", "dn_bias"))
            y[t] += gate * two_layers(token, *parts)
    return y


def lor(p: Weights, x: Array, config: Any) -> Array:
    """A linear layer and its low-rank correction, alpha 1."""
    y = []
    for token in x:
        low = vector_times(token, p["c_proj_dn_weight"])
        correction = vector_times(low, p["c_proj_up_weight"])
        y.append(vector_times(token, p["c_proj_weight"]) + p["c_proj_bias"] + 1.0 / config.n_rank * correction)
    return np.array(y)


def swi(p: Weights, x: Array, config: Any) -> Array:
    """SwiGLU."""
    y = []
    for token in x:
        up = vector_times(token, p["c_proj_up_weight"]) + p["c_proj_up_bias"]
        gate = vector_times(token, p["c_proj_gt_weight"]) + p["c_proj_gt_bias"]
        hidden = np.array([float(u) * float(g) * sigmoid(float(g)) for u, g in zip(up, gate, strict=True)])
        y.append(vector_times(hidden, p["c_proj_dn_weight"]) + p["c_proj_dn_bias"])
    return np.array(y)


def gln(p: Weights, x: Array, config: Any) -> Array:
    """Gated linear unit."""
    y = []
    for token in x:
        content = vector_times(token, p["c_weight"]) + p["c_bias"]
        gate = vector_times(token, p["g_weight"]) + p["g_bias"]
        y.append([float(c) * sigmoid(float(g)) for c, g in zip(content, gate, strict=True)])
    return np.array(y)


def ggl(p: Weights, x: Array, config: Any) -> Array:
    """Gated linear units of groups of channels, whose channels are then dealt out like cards."""
    G, D = config.n_groups, x.shape[1]
    width = D // G
    y = np.zeros_like(x)
    for t, token in enumerate(x):
        for g in range(G):
            group = token[g * width : (g + 1) * width]
            linear = vector_times(group, p[f"linear_{g}_weight"])
            gate = vector_times(group, p[f"gate_{g}_weight"])
            for i in range(width):
                place = i * G + g if config.ggl_shuffle else g * width + i
                y[t, place] = float(linear[i]) * sigmoid(float(gate[i]))
    return y


def nft(p: Weights, x: Array, config: Any) -> Array:
    """A query gate on averages over the past."""
    k, v = ([vector_times(token, p[f"{name}_weight"]) for token in x] for name in "kv")
    y = []
    for token, s in zip(x, averages(k, v), strict=True):
        gate = [sigmoid(float(q)) for q in vector_times(token, p["q_weight"])]
        y.append(vector_times(np.array(gate) * s, p["c_weight"]) + p["c_bias"])
    return np.array(y)


NETWORKS: dict[str, Callable[[Weights, Array, Any], Array]] = {
    "mlp": mlp, "moe": moe, "lor": lor, "swi": swi, "gln": gln, "ggl": ggl, "nft": nft}
