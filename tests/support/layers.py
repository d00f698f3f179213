"""One attention or network on its own, without a model around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine import backend, registry
from engine.backend import Arena
from engine.config import Config
from engine.parameters import Gradients, Parameters
from engine.prepared import Fold, Memory
from engine.tape import Tape

Array = np.ndarray


class Layer:
    """A variant with random weights. `weights` maps the names of the file format to views that may be written to.

    d_type is the config's: "fp16" computes in single precision with weights that halves can hold.
    """

    def __init__(self, name: str, config: Config, *, size: float = 0.5, seed: int = 0):
        self.slot = "attention" if name in registry.attention.names() else "network"
        self.config = config.replace(**{f"c_{self.slot}": name}).validate()
        self.dtype = backend.COMPUTE[config.d_type]
        cls = getattr(registry, self.slot).get(name)
        self.variant = cls(self.config, self.dtype)
        self.params = Parameters(cls.tensors(self.config), self.dtype)
        random = size * np.random.default_rng(seed).standard_normal(len(self.params.flat))
        self.params.flat[...] = random.astype(backend.STORAGE[config.d_type])
        self.weights = self._named(self.params.joined)
        self.arena = Arena()

    def _named(self, joined: dict[str, Array]) -> dict[str, Array]:
        found = {}
        for tensor in self.params.tensors.values():
            if tensor.name in joined:  # frozen tensors have no gradient
                whole = joined[tensor.name]
                found |= {part: whole[index] for part, index in tensor.parts} or {tensor.name: whole}
        return found

    def take(self, other: Layer, *, without: Sequence[str] = (), **renamed: str) -> Layer:
        """Copy the weights of another layer: those of the same name, and own_name="its_name"."""
        for name, view in self.weights.items():
            its = renamed.get(name, name)
            if its in other.weights and name not in without:
                view[...] = other.weights[its]
        return self

    def forward(self, x: Array, *, recording: bool = False) -> Array:
        """y for x (B, T, D)."""
        tape = Tape(self.arena, self.dtype, recording=recording)
        return self.variant.forward(self.params.layer(""), x.astype(self.dtype), tape).copy()

    def gradients(self, x: Array, dy: Array) -> tuple[Array, Array, dict[str, Array]]:
        """(y, dx, gradient of every trained weight by its file name)."""
        tape, gradients = Tape(self.arena, self.dtype, recording=True), Gradients(self.params)
        p = self.params.layer("")
        y = self.variant.forward(p, x.astype(self.dtype), tape).copy()
        dx = self.variant.backward(p, dy.astype(self.dtype), tape, gradients.layer("")).copy()
        assert len(tape) == 0
        gradients.finish()
        return y, dx, self._named(gradients.joined)

    def decode(self, x: Array, splits: Sequence[int]) -> Array:
        """y (B, T, D) by prefills that end at `splits` and single steps from the last of them on, without a norm."""
        x, p = x.astype(self.dtype), self.params.layer("")
        state, pieces, start = self.variant.state(len(x)), [], 0
        for end in splits:
            tape = Tape(self.arena, self.dtype)
            pieces.append(self.variant.prefill(p, x[:, start:end], state, tape).copy())
            start = end
        memory, (B, T, D) = Memory(self.dtype), x.shape
        step = self.variant.stepper(p, state, Fold(memory, B, np.ones(D, self.dtype), np.zeros(D, self.dtype), False))
        both, inner = memory.beside_one(B, D)
        for t in range(start, T):
            inner[...] = x[:, t]
            with np.errstate(over="ignore"):
                pieces.append(step(both)[:, None].copy())
        return np.concatenate(pieces, 1)


def numbers(*shape: int, seed: int = 0) -> Array:
    """Standard normal values."""
    return np.random.default_rng(seed).standard_normal(shape)
