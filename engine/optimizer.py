"""AdamW on the flat buffers (Loshchilov & Hutter, arXiv 1711.05101), clipping by global norm, loss scaling."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Any

import numpy as np

from engine import backend
from engine.backend import Array, xp
from engine.parameters import Parameters

EPS = 1e-8
SCRATCH = 5  # buffers that hold what a block's new values are made from
_BLOCK = 24 << 10  # elements: a block's arrays stay in the cache over all passes


def block_size() -> int:
    """Elements that are worked on at a time; on a GPU nearly all, since calls cost more than memory there."""
    return _BLOCK if xp._module is np else 1 << 24


def blocks(size: int) -> list[slice]:
    """A flat array of `size` elements, block by block."""
    return [slice(start, min(start + block_size(), size)) for start in range(0, size, block_size())]


def squared_sums(x: Array) -> float:
    """Σ x² of a flat array, in float64 where the squares overflow first; not finite when an element is not."""
    total = float(xp.dot(x, x))
    if isfinite(total) or x.dtype == np.float64:
        return total
    wide = x.astype(np.float64)
    return float(xp.dot(wide, wide))


class AdamW:
    """p ← p - rate · (m̂/(√v̂ + ε) + decay · p), decay on matrices only.

    betas: what m and v keep at each step. nesterov: m̂ is what it will be at the next step if the gradient stays,
    (β₁·m + (1 - β₁)·g) / (1 - β₁ᵗ⁺¹) (Dozat, Incorporating Nesterov Momentum into Adam, 2016, with a constant β₁).
    moments: flat m and v of params.trained numbers, updated in place; fresh ones when None. scratch: (SCRATCH, n), for
    blocks of up to n; own ones when None.

    A block is updated in two halves. `prepare` changes nothing but the scratch; `commit` reads nothing that it changes.
    So each can be repeated when it was broken off, even by another process.
    """

    def __init__(self, params: Parameters, decay: float, betas: tuple[float, float] = (0.9, 0.99),
                 moments: tuple[Array, Array] | None = None, scratch: Array | None = None, *, nesterov: bool = False):
        self.params = params
        self.decay = decay
        self.betas = betas
        self.nesterov = nesterov
        if moments is None:
            moments = backend.zeros(params.trained, params.dtype), backend.zeros(params.trained, params.dtype)
        if scratch is None:
            size = min(block_size(), max(params.trained, 1))
            scratch = backend.zeros(SCRATCH * size, params.dtype).reshape(SCRATCH, size)
        self.m, self.v = moments
        self._scratch = scratch
        self._ratio = backend.zeros(scratch.shape[1], params.dtype)
        self._ahead = backend.zeros(scratch.shape[1] if nesterov else 0, params.dtype)

    def step(self, weights: Array, gradient: Array, rate: float, scale: float, updates: int) -> None:
        """Update number `updates` (from 1) of `weights` in place, both flat; the gradient is multiplied by `scale`."""
        for here in blocks(self.params.trained):
            self.prepare(weights, gradient, rate, scale, here)
            self.commit(weights, rate, updates, here)

    def prepare(self, weights: Array, gradient: Array, rate: float, scale: float, here: slice) -> None:
        """First half of a block's update: the two terms of m, the two of v, and the decayed weights."""
        b1, b2 = self.betas
        g, m, v, p = gradient[here], self.m[here], self.v[here], weights[here]
        old_m, new_m, old_v, new_v, kept = self._scratch[:, : len(g)]
        xp.multiply(m, b1, out=old_m)
        xp.multiply(g, (1 - b1) * scale, out=new_m)
        xp.multiply(v, b2, out=old_v)
        xp.multiply(g, scale * sqrt(1 - b2), out=new_v)
        xp.multiply(new_v, new_v, out=new_v)
        decayed = max(0, min(self.params.decayed - here.start, len(g))) if self.decay else 0
        if self.params.mask is None:
            xp.multiply(p[:decayed], 1 - rate * self.decay, out=kept[:decayed])
        else:  # what is held does not decay
            xp.multiply(self.params.mask[here][:decayed], -rate * self.decay, out=kept[:decayed])
            kept[:decayed] += 1
            kept[:decayed] *= p[:decayed]
        kept[decayed:] = p[decayed:]

    def commit(self, weights: Array, rate: float, updates: int, here: slice) -> None:
        """Second half: the new moments and weights of the block that was prepared last."""
        b1, b2 = self.betas
        unbias1, unbias2 = 1 - b1 ** (updates + self.nesterov), 1 - b2**updates
        m, v, p = self.m[here], self.v[here], weights[here]
        old_m, new_m, old_v, new_v, kept = self._scratch[:, : len(m)]
        ratio = self._ratio[: len(m)]
        xp.add(old_m, new_m, out=m)
        xp.add(old_v, new_v, out=v)
        xp.sqrt(v, out=ratio)
        ratio += EPS * sqrt(unbias2)
        if self.nesterov:
            m = xp.multiply(m, b1, out=self._ahead[: len(m)])
            m += new_m
        xp.divide(m, ratio, out=ratio)
        ratio *= rate * sqrt(unbias2) / unbias1
        xp.subtract(kept, ratio, out=p)


class LossScaler:
    """Dynamic loss scaling for halves (Micikevicius et al., arXiv 1710.03740): halved on overflow, doubled in calm."""

    CALM = 2000

    def __init__(self, active: bool):
        self.scale = 2.0**15 if active else 1.0
        self.active = active
        self.calm = 0

    def update(self, overflowed: bool) -> None:
        """Tell whether the last gradient overflowed."""
        if not self.active:
            return
        self.calm = 0 if overflowed else self.calm + 1
        if overflowed:
            self.scale = max(1.0, self.scale / 2)
        elif self.calm >= self.CALM:
            self.scale, self.calm = min(2.0**24, self.scale * 2), 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"scale": self.scale, "calm": self.calm}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.scale, self.calm = float(state["scale"]), int(state["calm"])
