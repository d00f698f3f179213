"""AdamW on the flat buffers (Loshchilov & Hutter, arXiv 1711.05101), clipping by global norm, loss scaling."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite, sqrt
from typing import Any

import numpy as np

from engine import backend
from engine.backend import Array, xp
from engine.parameters import Parameters

EPS = 1e-8
BLOCK = 1 << 15  # elements: the arrays of a block stay in the cache over all passes


def squared_sums(x: Array) -> float:
    """Σ x² of a flat array, in float64 where the squares overflow first; not finite when an element is not."""
    total = float(xp.dot(x, x))
    if isfinite(total) or x.dtype == np.float64:
        return total
    wide = x.astype(np.float64)
    return float(xp.dot(wide, wide))


class AdamW:
    """p ← p - rate · (m̂/(√v̂ + ε) + decay · p), decay on matrices only.

    betas: what m and v keep at each step. moments: flat m and v of params.trained numbers, updated in place; fresh ones
    when None.
    """

    def __init__(self, params: Parameters, decay: float, betas: tuple[float, float] = (0.9, 0.99),
                 moments: tuple[Array, Array] | None = None):
        self.params = params
        self.decay = decay
        self.betas = betas
        if moments is None:
            moments = backend.zeros(params.trained, params.dtype), backend.zeros(params.trained, params.dtype)
        self.m, self.v = moments
        self._scratch = [backend.zeros(min(BLOCK, max(params.trained, 1)), params.dtype) for _ in range(2)]

    def step(self, weights: Array, gradient: Array, rate: float, scale: float, updates: int,
             part: slice | None = None) -> None:
        """Update number `updates` (from 1) of `weights` in place, both flat; the gradient is multiplied by `scale`.

        part: only this range of elements.
        """
        b1, b2 = self.betas
        mask = self.params.mask
        unbias1, unbias2 = 1 - b1**updates, 1 - b2**updates
        size = rate * sqrt(unbias2) / unbias1
        eps = EPS * sqrt(unbias2)
        first, last = (part.start, min(part.stop, self.params.trained)) if part else (0, self.params.trained)
        edges = sorted({*range(first, last, BLOCK), min(max(self.params.decayed, first), last), last})
        for start, end in pairwise(edges):
            here = slice(start, end)
            g, m, v, p = gradient[here], self.m[here], self.v[here], weights[here]
            t, u = self._scratch[0][: end - start], self._scratch[1][: end - start]
            m *= b1
            xp.multiply(g, (1 - b1) * scale, out=t)
            m += t
            v *= b2
            xp.multiply(g, scale * sqrt(1 - b2), out=t)
            t *= t
            v += t
            xp.sqrt(v, out=t)
            t += eps
            xp.divide(m, t, out=u)
            u *= size
            if end <= self.params.decayed and self.decay:
                if mask is None:
                    p *= 1 - rate * self.decay
                else:  # what is held does not decay
                    xp.multiply(mask[here], rate * self.decay, out=t)
                    t *= p
                    u += t
            p -= u


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
