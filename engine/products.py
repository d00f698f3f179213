"""The matrix products of a training step: which there are, and how long they alone take. Nothing can be faster.

A pass is watched once: its arrays are of a class that notes every product's shapes, strides and place in memory. The
same products are then made again on memory laid out alike, and nothing between them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from engine import backend, data
from engine.backend import Arena
from engine.config import Config
from engine.model import Model
from engine.parameters import Gradients

_LINE = 64  # bytes of a cache line: what lies aligned to it has to lie so again


class StepProducts:
    """The products of one step of a new model of `config` over a vocabulary of `vocab_size`, in one process, on a CPU.

    flops: of all of them, a multiply-add as two.
    """

    def __init__(self, config: Config, vocab_size: int):
        model = Model.create(config, vocab_size)
        sizes = Counter(piece.stop - piece.start for lane in data.lanes(config, model.params.trained) for piece in lane)
        self._passes = [(_watch(model, sequences), number) for sequences, number in sizes.items()]
        self.flops = sum(number * found.flops for found, number in self._passes)

    def run(self) -> None:
        """Make all of them, piece by piece as the step does."""
        for found, number in self._passes:
            for _ in range(number):
                found.run()


def _watch(model: Model, sequences: int) -> _Pass:
    """The products of a forward and backward pass over so many sequences."""
    config, found = model.config, _Pass(np.dtype(model.dtype))
    ids = backend.random(config.n_seed, "products").integers(0, model.vocab_size, (sequences, config.n_ctx + 1))
    own, model.arena = model.arena, _WatchedArena(found)
    try:
        model.loss_and_gradients(ids[:, :-1], ids[:, 1:], Gradients(model.params))
    finally:
        model.arena = own
    return found


class _Pass:
    """The products of one pass, and memory to make them in."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype
        self.flops = 0
        self._calls: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._memory: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
        self._rng = backend.random(0, "products")

    def note(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        """One product, out (…, n, m) = a (…, n, k) · b (…, k, m). Sums as products with a vector are not counted."""
        if a.ndim > 1 and b.ndim > 1:
            self.flops += 2 * out.size * a.shape[-1]
            self._calls.append((self._like(a), self._like(b), self._like(out)))

    def _like(self, x: np.ndarray) -> np.ndarray:
        """An array that lies in own memory as x lies in its: what shared memory shares it again.

        So a result is still in the cache where the next product reads it, as in the step: that is a tenth of the time.
        """
        owner = x
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        start, key = owner.ctypes.data, (owner.ctypes.data, owner.nbytes)
        if key not in self._memory:
            block = np.empty(owner.nbytes + _LINE, np.uint8)
            self._memory[key] = block, (start - block.ctypes.data) % _LINE
        block, offset = self._memory[key]
        like: np.ndarray = np.ndarray(x.shape, x.dtype, block, offset + x.ctypes.data - start, x.strides)
        like[...] = self._rng.standard_normal(x.shape, np.float32)  # zeros and tiny numbers take another time
        return like

    def run(self) -> None:
        """Make them."""
        matmul = np.matmul
        with np.errstate(all="ignore"):  # the numbers mean nothing; a warning would take time
            for a, b, out in self._calls:
                matmul(a, b, out=out)


class _Watched(np.ndarray):
    """An array that notes the products it takes part in; so do its views and what is computed from it."""

    found: _Pass

    def __array_finalize__(self, other: Any) -> None:
        if isinstance(other, _Watched):
            self.found = other.found

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if out is not None:
            options["out"] = tuple(_plain(x) for x in out)
        if "where" in options:
            options["where"] = _plain(options["where"])
        inputs = tuple(_plain(x) for x in inputs)
        made = getattr(ufunc, method)(*inputs, **options)
        if ufunc is np.matmul and method == "__call__":
            self.found.note(inputs[0], inputs[1], made)
        if out is not None:
            return out[0] if len(out) == 1 else out
        if not isinstance(made, np.ndarray):
            return made
        watched = made.view(_Watched)
        watched.found = self.found
        return watched


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, _Watched) else x


class _WatchedArena(Arena):
    """An arena whose buffers are watched."""

    def __init__(self, found: _Pass):
        super().__init__()
        self._found = found

    def empty(self, shape: Any, dtype: Any = np.float32) -> Any:
        watched = super().empty(shape, dtype).view(_Watched)
        watched.found = self._found
        return watched
