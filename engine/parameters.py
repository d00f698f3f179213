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
LORA = (".lora_a", ".lora_b")  # what the two factors of a matrix's adapter are called after it


@dataclass(frozen=True)
class Tensor:
    """One tensor of a layer: its name, shape and how it begins.

    init: "normal", "embedding", "residual" (a normal one divided by √(2·n_layers)), all three as c_init says; "fan"
    N(0, 1/shape[0]), "zeros", "ones", or a number for all.
    parts: (name, index) of the pieces that the file knows as tensors of their own; the layer uses them as one.
    frozen: no gradient, no moments, no decay; saved all the same. held: indices of what is not trained of a tensor that
    is. corrects: (joined tensor, index) of the matrix that this is an adapter's factor of; it is not in the model file.
    optional: a bias that files may give as null. decays: whether AdamW's decay applies; None = if it is a matrix.
    """

    name: str
    shape: tuple[int, ...]
    init: str | float = "normal"
    parts: tuple[tuple[str, Any], ...] = ()
    frozen: bool = False
    optional: bool = False
    decays: bool | None = None
    held: tuple[Any, ...] = ()
    corrects: tuple[str, Any] | None = None

    @property
    def decayed(self) -> bool:
        """Whether AdamW's decay applies."""
        return not self.frozen and (len(self.shape) >= 2 if self.decays is None else self.decays)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def trained(self) -> int:
        """How many of its numbers are trained."""
        if self.frozen or not self.held:
            return 0 if self.frozen else self.size
        return int(free(self).sum())


def pieces(tensor: Tensor) -> list[tuple[str, Any]]:
    """(file name, index) of what the file knows as tensors of their own."""
    return [(stem(tensor.name) + part, index) for part, index in tensor.parts] or [(tensor.name, ...)]


def index_shape(shape: tuple[int, ...], index: Any) -> tuple[int, ...]:
    """The shape of the piece `index` of a tensor of `shape`."""
    return np.broadcast_to(np.int8(0), shape)[index].shape  # takes no memory


def free(tensor: Tensor) -> np.ndarray:
    """1 where a tensor is trained, 0 where it is held."""
    mask = np.ones(tensor.shape, np.int8)
    for index in tensor.held:
        mask[index] = 0
    return mask


@dataclass(frozen=True)
class Adapter:
    """Names of the factors A and B that correct the piece `index` of a joined tensor, of `shape`, by scale·A·B."""

    tensor: str
    index: Any
    a: str
    b: str
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        return prod(self.shape)


def adapters(tensors: Sequence[Tensor]) -> list[Adapter]:
    """The adapters whose factors, always a pair, are among the tensors."""
    factors = [t for t in tensors if t.corrects]
    return [Adapter(a.corrects[0], a.corrects[1], a.name, b.name, (a.shape[0], b.shape[1]))
            for a, b in zip(factors[::2], factors[1::2], strict=True) if a.corrects]


class Parameters(Mapping[str, Array]):
    """Weights by the names of the file format, in file order; `layer(prefix)` gives a layer's own (joined) tensors.

    flat: every weight, (matrices | vectors | frozen), each tensor on a cache line. Only the first part decays, the
    first two are trained. mask: 1 where `flat[:trained]` is trained, None when all of it is. base: what adapted
    matrices were before, one after the other; adapters correct them by scale·A·B.
    """

    def __init__(self, tensors: Sequence[Tensor], dtype: Any, scale: float = 0.0):
        self.tensors = {t.name: t for t in tensors}
        self.dtype = np.dtype(dtype)
        self.scale = scale
        order = sorted(tensors, key=lambda t: (t.frozen, not t.decayed))
        self._offsets: dict[str, int] = {}
        self.decayed = self.trained = end = 0
        for t in order:
            self._offsets[t.name] = end
            end += -(-t.size // _ALIGN) * _ALIGN
            self.trained = end if not t.frozen else self.trained
            self.decayed = end if t.decayed else self.decayed
        self.adapters = adapters(tensors)
        self.mask = self._mask()
        self.move(backend.zeros(end, dtype), backend.zeros(sum(a.size for a in self.adapters), dtype))

    def _mask(self) -> Array | None:
        if not any(t.held for t in self.tensors.values()):
            return None
        mask = backend.zeros(self.trained, self.dtype)
        mask.fill(1)
        for name, view in self.views(mask).items():
            if self.tensors[name].held:
                view[...] = xp.asarray(free(self.tensors[name]), self.dtype)
        return mask

    def move(self, flat: Array, base: Array) -> None:
        """Let `flat` and `base` be the weights: every view is made anew on them. Their contents are not touched."""
        self.flat, self.base = flat, base
        self.joined = self.views(flat)
        self._named: dict[str, Array] = {}
        for t in self.tensors.values():
            if not t.corrects:
                self._named |= {name: self.joined[t.name][index] for name, index in pieces(t)}

    def place(self, name: str) -> slice:
        """Where the joined tensor `name` lies in `flat`."""
        start = self._offsets[name]
        return slice(start, start + self.tensors[name].size)

    def views(self, flat: Array) -> dict[str, Array]:
        """The tensors of a buffer laid out like `flat`, by joined name."""
        return {name: flat[start : start + t.size].reshape(t.shape)
                for name, t in self.tensors.items() for start in (self._offsets[name],) if start < len(flat)}

    # Adapters ---------------------------------------------------------------------------------------------------------

    def base_views(self) -> dict[str, Array]:
        """What adapted matrices were before, by the name of the adapter's first factor."""
        found, start = {}, 0
        for adapter in self.adapters:
            found[adapter.a] = self.base[start : start + adapter.size].reshape(adapter.shape)
            start += adapter.size
        return found

    def keep_base(self) -> None:
        """Remember the adapted matrices as they are now."""
        for adapter, view in zip(self.adapters, self.base_views().values(), strict=True):
            view[...] = self.joined[adapter.tensor][adapter.index]

    def correct(self, flat: Array, some: slice = slice(None)) -> None:
        """Bring the adapted matrices of `flat`, a buffer laid out like the weights, up to date with its factors."""
        if not self.adapters:
            return
        views, bases = self.views(flat), self.base_views()
        for adapter in self.adapters[some]:
            delta = xp.matmul(views[adapter.a], views[adapter.b])
            delta *= self.scale
            xp.add(bases[adapter.a], delta, out=views[adapter.tensor][adapter.index])

    # Names ------------------------------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Array:
        return self._named[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    @property
    def count(self) -> int:
        """Number of weights, frozen ones included, adapters not."""
        return sum(t.size for t in self.tensors.values() if not t.corrects)

    @property
    def n_trained(self) -> int:
        """How many numbers are trained."""
        return sum(t.trained for t in self.tensors.values())

    def layer(self, prefix: str) -> dict[str, Array]:
        """The joined tensors whose names begin with `prefix`, without it."""
        return {name.removeprefix(prefix): view for name, view in self.joined.items() if name.startswith(prefix)}

    def initialise(self, seed: int, n_layers: int, kind: str = "fan") -> None:
        """Fresh weights. Each tensor has a stream of its own, so that it begins the same whatever stands beside it.

        kind: c_init, "fan" N(0, 1/inputs) and embeddings N(0, 0.5²); "normal" everything N(0, 0.02²).
        """
        self._begin(self._named, seed, n_layers, kind)

    def initialise_adapters(self, seed: int) -> None:
        """Fresh factors, which correct nothing yet."""
        self._begin({name: self.joined[name] for name, t in self.tensors.items() if t.corrects}, seed, 1, "normal")

    def _begin(self, views: Mapping[str, Array], seed: int, n_layers: int, kind: str) -> None:
        for name, view in views.items():
            init = self.origin(name).init
            if not isinstance(init, str) or init in ("zeros", "ones"):
                view[...] = {"zeros": 0.0, "ones": 1.0}.get(init, init) if isinstance(init, str) else init
                continue
            if init == "fan":
                scale = 1 / sqrt(view.shape[0])
            elif kind == "normal":
                scale = 0.02
            else:
                scale = 0.5 if init == "embedding" else 1 / sqrt(view.shape[-2])
            if init == "residual":
                scale /= sqrt(2 * n_layers)
            values = backend.random(seed, "init " + name).standard_normal(view.shape) * scale
            view[...] = xp.asarray(values.astype(self.dtype))

    def origin(self, name: str) -> Tensor:
        """The tensor that a file name belongs to."""
        if name in self.tensors:
            return self.tensors[name]
        return next(t for t in self.tensors.values() if any(name == piece for piece, _ in pieces(t)))


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
        self.adapters: dict[str, list[Adapter]] = {}
        for adapter in params.adapters:
            self.adapters.setdefault(adapter.tensor, []).append(adapter)

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
        full = self._prefix + name
        self._add(full, value)
        for adapter in self._all.adapters.get(full, ()):
            a, b, scale = self._factors(adapter)
            part = value[adapter.index] * scale
            self._add(adapter.a, xp.matmul(part, b.T))
            self._add(adapter.b, xp.matmul(a.T, part))

    def product(self, name: str, x: Array, dy: Array) -> None:
        """Add xᵀ·dy, the gradient of W in x·W. x: (N, D), dy: (N, E)."""
        full = self._prefix + name
        self._product(full, x, dy)
        for adapter in self._all.adapters.get(full, ()):
            a, b, scale = self._factors(adapter)
            rows, columns = _sides(adapter.index)
            own, down = x[:, rows], dy[:, columns]
            low = xp.matmul(down, b.T)  # (N, r)
            low *= scale
            self._product(adapter.a, own, low)
            low = xp.matmul(own, a, out=low)
            low *= scale
            self._product(adapter.b, low, down)

    def rows(self, name: str, dy: Array) -> None:
        """Add the sum of the rows of dy, the gradient of a bias. dy: (N, E)."""
        target, fresh = self._target(self._prefix + name)
        if target is not None:
            if fresh:
                column_sums(dy, out=target)
            else:
                target += column_sums(dy)

    def wants(self, name: str) -> bool:
        """Whether anything is learnt from the gradient of `name`."""
        full = self._prefix + name
        return full in self._all.joined or full in self._all.adapters

    def _factors(self, adapter: Adapter) -> tuple[Array, Array, float]:
        params = self._all.params
        return params.joined[adapter.a], params.joined[adapter.b], params.scale

    def _add(self, full: str, value: Array) -> None:
        target, fresh = self._target(full)
        if target is not None:
            if fresh:
                target[...] = value
            else:
                target += value

    def _product(self, full: str, x: Array, dy: Array) -> None:
        target, fresh = self._target(full)
        if target is not None:
            if fresh:
                xp.matmul(x.T, dy, out=target)
            else:
                target += xp.matmul(x.T, dy)

    def _target(self, full: str) -> tuple[Array | None, bool]:
        target = self._all.joined.get(full)  # None when frozen
        fresh = full in self._all._fresh
        self._all._fresh.discard(full)
        return target, fresh


def _sides(index: Any) -> tuple[Any, Any]:
    """The rows and the columns of a piece of a matrix."""
    if index is ...:
        return slice(None), slice(None)
    return index if isinstance(index, tuple) else (index, slice(None))
