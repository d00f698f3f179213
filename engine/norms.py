"""L2 norms of gradients, updates and weights, part by part of a model, after a step was made.

Nothing is kept for it while steps are made: what an update has added is worked out from the moments that it left, in
blocks, in an order that is the same for any number of processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import fsum, isfinite, sqrt

from engine.backend import Array
from engine.optimizer import AdamW, block_size, squared_sums
from engine.parameters import Parameters

_BLOCK = re.compile(r"(block_\d+)_(?:(ln)\d+_|([a-z0-9]+)_)")
KINDS = ("gradient", "update", "weight")


def part(name: str, attention: str) -> str:
    """The part of the model that a tensor belongs to: "embedding", "head", or of a block "block_0_attention",
    "block_0_network" or "block_0_norms" (its layer norms). attention: the name of the model's attention variant."""
    if match := _BLOCK.match(name):
        kind = "norms" if match[2] else "attention" if match[3] == attention else "network"
        return f"{match[1]}_{kind}"
    return "embedding" if name in ("wte_weight", "wpe_weight") else "head"


def norms(params: Parameters, attention: str, optimizer: AdamW, weights: Array, gradient: Array,
          scale: float) -> dict[str, dict[str, float]] | None:
    """{"gradient" | "update" | "weight": {part: L2 norm}}, parts in the model's order, right after an update.

    weights, gradient: flat, as the optimizer knows them; the gradient is multiplied by `scale`. What is not trained has
    neither gradient nor update. Adapters' factors count among gradients and updates, the matrices that they correct
    among the weights. None when one is not finite.
    """
    sums: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for name, tensor in params.tensors.items():
        own = part(name, attention)
        for kind in KINDS:
            sums[kind].setdefault(own, [])
        place = params.place(name)
        for here in _blocks(place):
            if not tensor.corrects:
                sums["weight"][own].append(squared_sums(weights[here]))
            if not tensor.frozen:
                sums["gradient"][own].append(squared_sums(gradient[here]))
                sums["update"][own].append(squared_sums(optimizer.change(weights, gradient, here)))
    factors = {"gradient": scale, "update": 1.0, "weight": 1.0}
    if not all(isfinite(value) for parts in sums.values() for values in parts.values() for value in values):
        return None
    return {kind: {own: factors[kind] * sqrt(fsum(values)) for own, values in sums[kind].items()} for kind in KINDS}


def _blocks(place: slice) -> Iterable[slice]:
    size = block_size()
    return (slice(start, min(start + size, place.stop)) for start in range(place.start, place.stop, size))
