"""AdamW on the flat buffers (Loshchilov & Hutter, arXiv 1711.05101), clipping by global norm, loss scaling."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import Any

import numpy as np

from engine import backend
from engine.backend import Array, xp
from engine.parameters import Parameters

BETAS = (0.9, 0.99)
EPS = 1e-8
_BLOCK = 1 << 15  # elements: the five arrays of a block stay in the cache over all passes


def global_norm(gradient: Array) -> float:
    """The Euclidean norm of a flat gradient; not finite when any element is not."""
    if gradient.dtype == np.float64:
        return sqrt(float(xp.dot(gradient, gradient)))
    norm = float(xp.dot(gradient, gradient))
    if isfinite(norm):
        return sqrt(norm)
    return float(xp.linalg.norm(gradient.astype(np.float64)))  # the squares overflow before the elements do


class AdamW:
    """p ← p - rate · (m̂/(√v̂ + ε) + decay · p), decay on matrices only. Moments are flat like the weights."""

    def __init__(self, params: Parameters, decay: float):
        self.params = params
        self.decay = decay
        self.m = backend.zeros(params.trained, params.dtype)
        self.v = backend.zeros(params.trained, params.dtype)
        self.steps = 0
        self._scratch = [backend.zeros(min(_BLOCK, max(params.trained, 1)), params.dtype) for _ in range(2)]

    def step(self, weights: Array, gradient: Array, rate: float, scale: float = 1.0) -> None:
        """One update of `weights` (flat, trained part first) in place. The gradient is multiplied by `scale`."""
        self.steps += 1
        b1, b2 = BETAS
        unbias1, unbias2 = 1 - b1**self.steps, 1 - b2**self.steps
        size = rate * sqrt(unbias2) / unbias1
        eps = EPS * sqrt(unbias2)
        edges = sorted({*range(0, self.params.trained, _BLOCK), self.params.decayed, self.params.trained})
        for start, end in zip(edges, edges[1:], strict=False):
            part = slice(start, end)
            g, m, v, p = gradient[part], self.m[part], self.v[part], weights[part]
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
                p *= 1 - rate * self.decay
            p -= u


class LossScaler:
    """Dynamic loss scaling for halves (Micikevicius et al., arXiv 1710.03740): halve after an overflow, double in calm."""

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
