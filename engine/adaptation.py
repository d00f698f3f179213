"""What of an existing model is trained: all of it, all but chosen tensors, or low-rank corrections alone.

Low-rank adapters (Hu et al., LoRA, arXiv 2106.09685): a matrix W (D, E) is held at W0 and

    W = W0 + (α/r)·A·B                          A (D, r) ~ N(0, 1/D), B (r, E) = 0 at first

Variants know nothing of it: they compute with W, which is brought up to date after every step, and where they report
the gradient xᵀ·dy of W, those of A and B are taken instead, (α/r)·xᵀ·(dy·Bᵀ) and (α/r)·(x·A)ᵀ·dy. No gradient and no
moments of W exist.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from engine import backend
from engine.errors import ConfigError, FormatError, shown
from engine.parameters import LORA, Tensor, index_shape, pieces

MAX_PATTERNS = 1000
VOCABULARY = {"wte_weight": 0, "lm_head_weight": 1, "lm_head_bias": 0}  # tensors and the axis of their symbols


@dataclass(frozen=True)
class Adaptation:
    """What is trained. Patterns are shell patterns (`*`, `?`, `[…]`) over the tensor names of the model file.

    freeze: tensors that are not trained. rank: above 0, only adapters of this rank are. alpha: their scale is
    alpha / rank; 0 means alpha = rank. target: the matrices that get one; empty means every matrix of the attentions
    and networks that is at least `rank` wide on both sides. new_symbols: so many symbols at the end of the vocabulary
    are new; what belongs to them is trained even where the rest of its tensor is not.
    """

    freeze: tuple[str, ...] = ()
    rank: int = 0
    alpha: float = 0.0
    target: tuple[str, ...] = ()
    new_symbols: int = 0

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ConfigError(f"The rank of adapters is a whole number of at least 1, not {self.rank}.", "rank")
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"alpha is a number of at least 0, not {self.alpha}.", "alpha")
        if self.target and not self.rank:
            raise ConfigError("A target is a matrix that gets a low-rank adapter; give its rank as well.", "target")
        if self.alpha and not self.rank:
            raise ConfigError("alpha scales low-rank adapters; give their rank as well.", "alpha")

    def __bool__(self) -> bool:
        return bool(self.freeze or self.rank)

    @property
    def scale(self) -> float:
        """What A·B is multiplied with."""
        return (self.alpha / self.rank if self.alpha else 1.0) if self.rank else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `read` takes back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Adaptation:
        """From `to_dict`, out of a file. FormatError."""
        kinds: dict[str, Any] = {"freeze": list, "rank": int, "alpha": (int, float), "target": list, "new_symbols": int}
        found: dict[str, Any] = {}
        for key, kind in kinds.items():
            value = data.get(key, [] if kind is list else 0)
            if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and not 0 <= value <= 1 << 31):
                raise FormatError(f"{key} of an adaptation is {shown(value)}; the file is damaged.")
            if kind is list:
                if len(value) > MAX_PATTERNS or not all(isinstance(item, str) for item in value):
                    raise FormatError(f"{key} of an adaptation must be a list of patterns; the file is damaged.")
                value = tuple(value)
            found[key] = value
        return cls(**found)

    def tensors(self, declared: Sequence[Tensor]) -> list[Tensor]:
        """The declared tensors with what is not trained marked so, and the adapters at their end. ConfigError."""
        names = [name for t in declared for name, _ in pieces(t)]
        for field, patterns in (("freeze", self.freeze), ("target", self.target)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise _fits_nothing(field, pattern, names)
        targets = list(self._targets(declared)) if self.rank else []
        adapted = {name for _, name, _ in targets}
        out = [self._hold(t, adapted) for t in declared]
        for tensor, name, index in targets:
            D, E = index_shape(tensor.shape, index)
            out.append(Tensor(name + LORA[0], (D, self.rank), "fan", corrects=(tensor.name, index)))
            out.append(Tensor(name + LORA[1], (self.rank, E), "zeros", corrects=(tensor.name, index)))
        if all(t.trained == 0 for t in out):
            raise ConfigError("Every tensor is frozen; nothing would be learnt.", "freeze")
        return out

    def _targets(self, declared: Sequence[Tensor]) -> Iterator[tuple[Tensor, str, Any]]:
        """(joined tensor, file name, index) of every matrix that gets an adapter."""
        narrow = []
        found = False
        for tensor in declared:
            for name, index in pieces(tensor):
                chosen = [pattern for pattern in self.target if fnmatchcase(name, pattern)]
                shape = index_shape(tensor.shape, index)
                if self.target and not chosen:
                    continue
                if len(shape) != 2 or (not self.target and not _is_weight(name)):
                    continue
                if min(shape) < self.rank:
                    narrow.append((name, shape))
                    continue
                found = True
                yield tensor, name, index
        if self.target and narrow:
            name, shape = narrow[0]
            raise ConfigError(f"rank {self.rank} is larger than the smaller side of {name} ({shape[0]} × {shape[1]}); "
                              f"use at most {min(shape)}.", "rank")
        if not found and narrow:
            widest = max(min(shape) for _, shape in narrow)
            raise ConfigError(f"rank {self.rank} is larger than the width of every matrix of this model; use at most "
                              f"{widest}.", "rank")
        if not found:
            raise ConfigError(f"{', '.join(self.target)} fits no matrix; low-rank adapters are for matrices.", "target")

    def _hold(self, tensor: Tensor, adapted: set[str]) -> Tensor:
        """`tensor` with what is not trained of it marked so."""
        parts = pieces(tensor)
        still = [(name, index) for name, index in parts
                 if self.rank or any(fnmatchcase(name, pattern) for pattern in self.freeze)]
        if not still or tensor.frozen:
            return tensor
        axis = VOCABULARY.get(tensor.name)
        if self.new_symbols and axis is not None and tensor.name not in adapted:
            old = slice(0, tensor.shape[axis] - self.new_symbols)
            return replace(tensor, held=((slice(None), old) if axis else old,))
        if len(still) == len(parts):
            return replace(tensor, frozen=True)
        return replace(tensor, held=tuple(index for _, index in still))


def _is_weight(name: str) -> bool:
    """Whether a file name is that of a weight inside a block."""
    return name.startswith("block_") and name.endswith("_weight")


def _fits_nothing(field: str, pattern: str, names: Sequence[str]) -> ConfigError:
    wish = pattern.strip("*")

    def likeness(name: str) -> tuple[float, float]:  # how much of the wish is in the name comes first
        match = difflib.SequenceMatcher(None, name, wish)
        return sum(block.size for block in match.get_matching_blocks()), match.ratio()

    example = max(names, key=likeness)
    return ConfigError(f"{field}: {shown(pattern)} fits no tensor of this model; one is called {example}.", field)


def grow(arrays: Mapping[str, Any], vocab_size: int, seed: int = 1) -> dict[str, Any]:
    """The contents of a model file for a vocabulary with more symbols at its end. Old rows and logits stay as they are.

    New embeddings are drawn around the mean of the old ones, with their spread; new columns of the head are the mean
    column (Hewitt 2021, "Initializing new word embeddings for pretrained language models"). FormatError.
    """
    out = dict(arrays)
    table = out.get("wte_weight")
    if table is None or getattr(table, "ndim", 0) != 2:
        raise FormatError("The model lacks the matrix wte_weight; it is not a model of this kind.")
    more = vocab_size - table.shape[0]
    if more < 0:
        raise FormatError(f"The model knows {table.shape[0]} symbols, more than the {vocab_size} of its vocabulary.")
    for name, axis in VOCABULARY.items():
        old = out.get(name)
        if old is None or not more:
            continue
        if getattr(old, "ndim", 0) <= axis or old.shape[axis] != table.shape[0]:
            raise FormatError(f"The model: {name} does not have one entry for each of the {table.shape[0]} symbols.")
        wide = np.asarray(old, np.float64)
        new = np.repeat(wide.mean(axis, keepdims=True), more, axis)
        if name == "wte_weight":
            new += backend.random(seed, "grow").standard_normal(new.shape) * wide.std(axis, keepdims=True)
        out[name] = np.concatenate([old, new.astype(old.dtype)], axis)
    return out


def merge(arrays: Mapping[str, Any], adapters: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The contents of a model file with separately kept adapters (`Model.adapters`) added to it. FormatError."""
    out = dict(arrays)
    for name in adapters:
        stem = name.removesuffix(LORA[0]) if name.endswith(LORA[0]) else name.removesuffix(LORA[1])
        a, b, old = adapters.get(stem + LORA[0]), adapters.get(stem + LORA[1]), out.get(stem)
        if stem == name or a is None or b is None:
            raise FormatError(f"{shown(name)} is not one of a pair of adapters; the file is damaged.")
        fits = old is not None and getattr(old, "ndim", 0) == a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0]
        if old is None or not fits or (a.shape[0], b.shape[1]) != old.shape:
            raise FormatError(f"The adapter of {shown(stem)} ({a.shape} and {b.shape}) does not fit the model "
                              f"({getattr(old, 'shape', 'it has no such matrix')}).")
        if name == stem + LORA[0]:
            out[stem] = np.asarray(old) + scale * (np.asarray(a) @ np.asarray(b))
    return out
