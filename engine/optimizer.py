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

    An update begins with `begin`. Then each block is updated in two halves: `prepare` changes nothing but the scratch,
    and `commit` reads nothing that it changes. So each can be repeated when it was broken off, by another process too.
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
        self._scratch = [*scratch, *(backend.zeros(scratch.shape[1], params.dtype) for _ in range(1 + nesterov))]
        self._b1, self._b2 = self._number(betas[0]), self._number(betas[1])

    def _number(self, value: float) -> Array:
        """A number that need not be converted again for every block."""
        return xp.asarray(value, self.params.dtype)

    def step(self, weights: Array, gradient: Array, rate: float, scale: float, updates: int) -> None:
        """Update number `updates` (from 1) of `weights` in place, both flat; the gradient is multiplied by `scale`."""
        self.begin(rate, scale, updates)
        for here in blocks(self.params.trained):
            self.prepare(weights, gradient, here)
            self.commit(weights, here)

    def begin(self, rate: float, scale: float, updates: int) -> None:
        """Work out what is the same for all blocks."""
        b1, b2 = self.betas
        unbias1, unbias2 = 1 - b1 ** (updates + self.nesterov), 1 - b2**updates
        self._share1, self._share2 = self._number((1 - b1) * scale), self._number(scale * sqrt(1 - b2))
        self._kept = self._number(1 - rate * self.decay)
        self._size, self._eps = self._number(rate * sqrt(unbias2) / unbias1), self._number(EPS * sqrt(unbias2))

    def prepare(self, weights: Array, gradient: Array, here: slice) -> None:
        """First half of a block's update: the two terms of m, the two of v, and the decayed weights."""
        g, m, v, p = gradient[here], self.m[here], self.v[here], weights[here]
        old_m, new_m, old_v, new_v, kept, *_ = self._buffers(len(g))
        xp.multiply(m, self._b1, out=old_m)
        xp.multiply(g, self._share1, out=new_m)
        xp.multiply(v, self._b2, out=old_v)
        xp.multiply(g, self._share2, out=new_v)
        xp.multiply(new_v, new_v, out=new_v)
        decayed = max(0, min(self.params.decayed - here.start, len(g)))
        if self.params.mask is None:
            xp.multiply(p, self._kept, out=kept)
        else:  # what is held does not decay
            xp.multiply(self.params.mask[here], self._kept - 1, out=kept)
            kept += 1
            kept *= p
        if decayed < len(g):
            kept[decayed:] = p[decayed:]

    def commit(self, weights: Array, here: slice) -> None:
        """Second half: the new moments and weights of the block that was prepared last."""
        m, v, p = self.m[here], self.v[here], weights[here]
        old_m, new_m, old_v, new_v, kept, ratio, *ahead = self._buffers(len(m))
        xp.add(old_m, new_m, out=m)
        xp.add(old_v, new_v, out=v)
        xp.sqrt(v, out=ratio)
        ratio += self._eps
        if self.nesterov:
            m = xp.multiply(m, self._b1, out=ahead[0])
            m += new_m
        xp.divide(m, ratio, out=ratio)
        ratio *= self._size
        xp.subtract(kept, ratio, out=p)

    def change(self, weights: Array, gradient: Array, here: slice) -> Array:
        """What the last update added to a part of `weights`, in a new array, worked out from what it left behind.

        gradient: as the update was given it. Rounded otherwise than the weights themselves were.
        """
        m, v, p = self.m[here], self.v[here], weights[here]
        ratio = xp.sqrt(v)
        ratio += self._eps
        if self.nesterov:
            m = m * self._b1 + gradient[here] * self._share1
        change = xp.divide(m, ratio, out=ratio)
        change *= -self._size
        end = max(0, min(self.params.decayed - here.start, len(p)))
        kept = self._kept if self.params.mask is None else 1 + self.params.mask[here][:end] * (self._kept - 1)
        if end and float(self._kept) not in (0.0, 1.0):
            change[:end] -= (p[:end] - change[:end]) * ((1 - kept) / kept)  # the weights before were (p - change)/kept
        return change

    def _buffers(self, size: int) -> list[Array]:
        """The scratch, for a block of `size`; all but the last block are of the same."""
        return self._scratch if size == len(self._scratch[0]) else [buffer[:size] for buffer in self._scratch]


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
