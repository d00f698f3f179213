"""Tiny models of every registered architecture, and the check of gradients against central differences."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from engine import registry
from engine.config import Config
from engine.model import Model

ATTENTIONS, NETWORKS = registry.attention.names(), registry.network.names()
ARCHITECTURES = [(sequence, attention, network)
                 for attention, network, sequence in product(ATTENTIONS, NETWORKS, ("pre", "post"))]
VOCAB = 7
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids="-".join)
# every pair of variants, before and after the norm in turn; with the other norm it is a slow one
every_pair = pytest.mark.parametrize("architecture", [
    one if (ATTENTIONS.index(one[1]) + NETWORKS.index(one[2])) % 2 == (one[0] == "post")
    else pytest.param(one, marks=pytest.mark.slow) for one in ARCHITECTURES], ids="-".join)


def tiny(architecture: tuple[str, str, str] = ("pre", "mha", "mlp"), **changes: Any) -> Config:
    """A configuration small enough for a thousand forward passes a second, in float64."""
    sequence, attention, network = architecture
    return Config.read({"c_sequence": sequence, "c_attention": attention, "c_network": network, "n_ctx": 6, "n_emb": 8,
                        "head_size": 8, "n_heads": 4, "n_layers": 2, "batch_size": 3, "s_window": 3, "s_kernel": 3,
                        "n_experts": 3, "n_groups": 2, "d_type": "fp64", "r_temp": 1.3, **changes})


def wild(config: Config, vocab_size: int = VOCAB, seed: int = 0) -> Model:
    """A model whose every weight is random and large enough to matter, biases and norms included."""
    model = Model.create(config, vocab_size)
    rng = np.random.default_rng(seed)
    for name, view in model.params.items():
        # memories are handed on through whole blocks of tokens: λ = σ(3) = 0.95
        centre = {"gamma": 1.0, "decay": 3.0}.get(name.rsplit("_", 1)[1], 0.0)
        view[...] = centre + 0.4 * rng.standard_normal(view.shape)
    return model


def ids_for(config: Config, seed: int = 1, batch: int | None = None, tokens: int | None = None) -> np.ndarray:
    """Random ids (B, T)."""
    shape = (batch or config.batch_size, tokens or config.n_ctx)
    return np.random.default_rng(seed).integers(0, VOCAB, shape)


def relative_error(function: Any, array: np.ndarray, gradient: np.ndarray, rng: np.random.Generator,
                   elements: int = 12) -> float:
    """How far `gradient` is from central differences of `function()` when `array` is changed in place.

    Checked along random directions, which involve every element, and for some single elements; relative to the
    gradient's own size.
    """
    h = 1e-5
    scale = max(float(np.abs(gradient).max()), 1e-3)
    worst = 0.0
    before = array.copy()
    directions = [rng.standard_normal(array.shape) for _ in range(2)]
    for index in rng.choice(array.size, min(elements, array.size), replace=False):
        one = np.zeros(array.size)
        one[index] = 1.0
        directions.append(one.reshape(array.shape))
    for direction in directions:
        array[...] = before + h * direction
        up = function()
        array[...] = before - h * direction
        down = function()
        array[...] = before
        expected = (up - down) / (2 * h)
        found = float((gradient * direction).sum())
        worst = max(worst, abs(found - expected) / (scale * np.sqrt((direction**2).sum())))
    return worst


def hold(variant: Any) -> None:
    """Make a straight-through variant compute its surrogate from now on: what it chose and what the heads said in its
    first pass are held, and the gates act as a softmax mixture around them. Same value, and a gradient to differ by.
    """
    if not variant.straight_through:
        return
    held: list[np.ndarray] = []

    def mix(p, x, qkv, tape):
        B, T, _ = x.shape
        o = np.empty((B, T, variant.H))
        variant._attend(p, qkv, o, tape)
        heads = o.reshape(B, T, variant.h, variant.d)
        gates = variant._gates(p, x, tape)
        if not held:
            held.extend([variant._weights(gates).copy(), gates.copy(), heads.copy()])
        chosen, gates_then, heads_then = held
        mixed = np.einsum("bth,bthd->btd", chosen, heads) + np.einsum("bth,bthd->btd", gates - gates_then, heads_then)
        return tape.dropout(mixed @ p["m_weight"] + p["m_bias"], variant.config.r_dropout)

    variant._mix = mix
