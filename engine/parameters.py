"""All weights of a model in one flat buffer, all gradients in another; names are views into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np

from engine import backend
from engine.backend import Array, xp
from engine.functional import column_sums

_ALIGN = 16  # elements: every tensor begins on a cache line


@dataclass(frozen=True)
class Tensor:
    """One tensor of a layer: its name, shape and how it begins.

    init: "normal" N(0, 0.02²), "residual" the same divided by √(2·n_layers), "fan" N(0, 1/shape[0]), "zeros", "ones",
    or a number for all.
    parts: (name, index) of the pieces that the file knows as tensors of their own; the layer uses them as one.
    frozen: no gradient, no moments, no decay; saved all the same.
    optional: a bias that files may give as null. decays: whether AdamW's decay applies; None = if it is a matrix.
    """

    name: str
    shape: tuple[int, ...]
    init: str | float = "normal"
    parts: tuple[tuple[str, Any], ...] = ()
    frozen: bool = False
    optional: bool = False
    decays: bool | None = None

    @property
    def decayed(self) -> bool:
        """Whether AdamW's decay applies."""
        return not self.frozen and (len(self.shape) >= 2 if self.decays is None else self.decays)

    @property
    def size(self) -> int:
        return prod(self.shape)


class Parameters(Mapping[str, Array]):
    """Weights by the names of the file format, in file order; `layer(prefix)` gives a layer's own (joined) tensors.

    flat: every weight, (matrices | vectors | frozen), each tensor on a cache line. Only the first part decays, the
    first two are trained.
    """

    def __init__(self, tensors: Sequence[Tensor], dtype: Any):
        self.tensors = {t.name: t for t in tensors}
        self.dtype = np.dtype(dtype)
        order = sorted(tensors, key=lambda t: (t.frozen, not t.decayed))
        self._offsets: dict[str, int] = {}
        self.decayed = self.trained = end = 0
        for t in order:
            self._offsets[t.name] = end
            end += -(-t.size // _ALIGN) * _ALIGN
            self.trained = end if not t.frozen else self.trained
            self.decayed = end if t.decayed else self.decayed
        self.move(backend.zeros(end, dtype))

    def move(self, flat: Array) -> None:
        """Let `flat` be the weights: every view is made anew on it. Its contents are not touched."""
        self.flat = flat
        self.joined = self.views(flat)
        self._named: dict[str, Array] = {}
        for t in self.tensors.values():
            if t.parts:
                self._named |= {stem(t.name) + part: self.joined[t.name][index] for part, index in t.parts}
            else:
                self._named[t.name] = self.joined[t.name]

    def views(self, flat: Array) -> dict[str, Array]:
        """The tensors of a buffer laid out like `flat`, by joined name."""
        return {name: flat[start : start + t.size].reshape(t.shape)
                for name, t in self.tensors.items() for start in (self._offsets[name],) if start < len(flat)}

    def __getitem__(self, name: str) -> Array:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    @property
    def count(self) -> int:
        """Number of weights, frozen ones included."""
        return sum(t.size for t in self.tensors.values())

    def layer(self, prefix: str) -> dict[str, Array]:
        """The joined tensors whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): view for name, view in self.joined.items() if name.startswith(prefix)}

    def initialise(self, seed: int, n_layers: int) -> None:
        """Fresh weights. Each tensor has a stream of its own, so that it begins the same whatever stands beside it."""
        for name, view in self._named.items():
            init = self.origin(name).init
            if not isinstance(init, str) or init in ("zeros", "ones"):
                view[...] = {"zeros": 0.0, "ones": 1.0}.get(init, init) if isinstance(init, str) else init
                continue
            scale = {"normal": 0.02, "residual": 0.02 / sqrt(2 * n_layers), "fan": 1 / sqrt(view.shape[0])}[init]
            values = backend.random(seed, "init " + name).standard_normal(view.shape) * scale
            view[...] = xp.asarray(values.astype(self.dtype))

    def origin(self, name: str) -> Tensor:
        """The tensor that a file name belongs to."""
        if name in self.tensors:
            return self.tensors[name]
        return next(t for t in self.tensors.values() if any(stem(t.name) + part == name for part, _ in t.parts))


def columns(**widths: int) -> tuple[tuple[str, Any], ...]:
    """Parts that stand side by side: q_weight=128 is the first 128 columns."""
    parts, start = [], 0
    for name, width in widths.items():
        parts.append((name, (slice(None), slice(start, start + width))))
        start += width
    return tuple(parts)


def stretches(**sizes: int) -> tuple[tuple[str, Any], ...]:
    """Parts of a vector, one after the other."""
    return tuple((name, index[1]) for name, index in columns(**sizes))


def stem(name: str) -> str:
    """The layer's prefix in a joined tensor's name: 'block_0_mha_' of 'block_0_mha_qkv_weight'."""
    return "_".join(name.split("_")[:3]) + "_"


class Gradients:
    """Gradients in one flat buffer laid out like the trained part of the weights.

    The first value given to a tensor after `reset` is written, later ones are added: nothing has to be zeroed.
    """

    def __init__(self, params: Parameters, flat: Array | None = None):
        self.params = params
        self.flat = backend.zeros(params.trained, params.dtype) if flat is None else flat
        self.joined = params.views(self.flat)
        self._fresh = set(self.joined)

    def reset(self) -> None:
        """Forget everything."""
        self._fresh = set(self.joined)

    def finish(self) -> Array:
        """The flat gradient; tensors that received nothing are 0."""
        for name in self._fresh:
            self.joined[name].fill(0)
        self._fresh = set()
        return self.flat

    def layer(self, prefix: str) -> LayerGradients:
        """The gradients of the tensors whose names begin with `prefix`."""
        return LayerGradients(self, prefix)


class LayerGradients:
    """A layer's view of the gradients: it knows the names that the layer uses."""

    def __init__(self, gradients: Gradients, prefix: str):
        self._all = gradients
        self._prefix = prefix

    def add(self, name: str, value: Array) -> None:
        """Add `value` to the gradient of `name`."""
        target, fresh = self._target(name)
        if target is not None:
            if fresh:
                target[...] = value
            else:
                target += value

    def product(self, name: str, x: Array, dy: Array) -> None:
        """Add xᵀ·dy, the gradient of W in x·W. x: (N, D), dy: (N, E)."""
        target, fresh = self._target(name)
        if target is not None:
            if fresh:
                xp.matmul(x.T, dy, out=target)
            else:
                target += x.T @ dy

    def rows(self, name: str, dy: Array) -> None:
        """Add the sum of the rows of dy, the gradient of a bias. dy: (N, E)."""
        target, fresh = self._target(name)
        if target is not None:
            if fresh:
                column_sums(dy, out=target)
            else:
                target += column_sums(dy)

    def _target(self, name: str) -> tuple[Array | None, bool]:
        full = self._prefix + name
        target = self._all.joined.get(full)  # None when frozen
        fresh = full in self._all._fresh
        self._all._fresh.discard(full)
        return target, fresh
