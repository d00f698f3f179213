"""What a forward pass leaves for its backward pass, and where both take their buffers from."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import backend
from engine.backend import Arena, Array, xp

_SMALL = 1 << 13
_BITS = 1 << 15  # random numbers drawn at a time; even, as two of them make one of the generator's


class Tape:
    """An explicit stack. `forward` saves, `backward` pops in the opposite order; nothing is hidden in a layer.

    recording: False when no backward pass will follow: then `save` forgets at once and buffers are used again.
    rng: the stream of this (seed, step, shard) for dropout; None when nothing is dropped. On a GPU it is an array
    there, as `kernels.random_state` gives it: masks are made again for the backward pass instead of being saved, and
    are not those of a CPU. loss_scale: what losses are multiplied with on a GPU, (1,) float64 there.
    """

    def __init__(self, arena: Arena, dtype: Any, *, recording: bool = False, rng: Any = None,
                 loss_scale: Array | None = None):
        backend.stay()
        self.arena = arena
        self.dtype = dtype
        self.recording = recording
        self.rng = rng
        self.loss_scale = loss_scale
        self._stack: list[Any] = []
        self._calls = 0
        arena.begin()

    def empty(self, *shape: int, dtype: Any = None) -> Array:
        """An uninitialised buffer; letting go of it gives it back."""
        return self.arena.empty(shape, dtype or self.dtype)

    def small(self, x: Array) -> bool:
        """Whether NumPy's calls cost more than arithmetic: a few tokens, nothing to be saved. Then plain expressions
        win."""
        return not self.recording and x.size <= _SMALL and xp._module is np

    def save(self, *values: Any) -> None:
        """Keep values for the backward pass."""
        if self.recording:
            self._stack.append(values)

    def pop(self) -> Any:
        """The values of the latest `save` (a tuple, or the value itself if there was one)."""
        values = self._stack.pop()
        return values if len(values) > 1 else values[0]

    def __len__(self) -> int:
        return len(self._stack)

    def dropout(self, x: Array, rate: float, keep: bool = False) -> Array:
        """x with a share `rate` of its values set to 0 and the rest scaled by 1/(1-rate); saves the mask.

        In place, unless `keep` leaves x as it is. x itself when nothing is dropped.
        """
        if self.rng is None or rate == 0.0:
            self.save(None)
            return x
        if xp.kernels:
            self.save(rate, self.call())
            return xp.kernels.dropout(x, rate, self.rng, self._calls, None if keep else x)
        mask = self.empty(*x.shape)
        drop = round(rate * 65536)  # in 1/65536, so that one 16-bit random number decides a value
        kept, flat = 65536 / (65536 - drop), mask.reshape(-1)
        for start in range(0, mask.size, _BITS):
            part = flat[start : start + _BITS]
            bits = self.rng.integers(0, 65536, part.size, np.uint16)
            xp.greater_equal(xp.asarray(bits), drop, out=part, casting="unsafe")
            part *= kept
        out = self.empty(*x.shape) if keep else x
        xp.multiply(x, mask, out=out)
        self.save(mask)
        return out

    def dropout_backward(self, dy: Array) -> Array:
        """The gradient of `dropout`; pops the mask. Leaves dy as it is."""
        mask = self.pop()
        if mask is None:
            return dy
        if xp.kernels:
            return xp.kernels.dropout(dy, mask[0], self.rng, mask[1])
        mask *= dy.reshape(mask.shape)
        return mask.reshape(dy.shape)

    def pop_mask(self, *shape: int) -> Array | None:
        """What the latest `dropout` multiplied an array of this shape with; None when nothing was dropped."""
        mask = self.pop()
        if mask is None or not xp.kernels:
            return mask
        return xp.kernels.dropout(xp.ones(shape, self.dtype), mask[0], self.rng, mask[1])

    def call(self) -> int:
        """A new number for a dropout on a GPU."""
        self._calls += 1
        return self._calls


def tape_for(arena: Arena, dtype: Any, seed: int, step: int, shard: int, rate: float) -> Tape:
    """A recording tape whose dropout depends on (seed, step, shard) only."""
    if xp.kernels:
        rng = xp.asarray(xp.kernels.random_state(seed, step, shard)) if rate else None
        return Tape(arena, dtype, recording=True, rng=rng, loss_scale=xp.ones(1))
    rng = backend.random(seed, "dropout", step, shard) if rate else None
    return Tape(arena, dtype, recording=True, rng=rng)
