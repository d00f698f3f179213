"""Grouped gated linear unit (gates: Dauphin et al., arXiv 1612.08083; channel shuffle: Zhang et al., arXiv 1707.01083).

    z_g = (x_g·L_g) ⊙ σ(x_g·G_g)     for n_groups contiguous groups of D/G channels
    y = drop(shuffle(concat z_g)),    shuffle: (N, G, D/G) → (N, D/G, G)

No biases. The shuffle is a flag (ggl_shuffle), since files of programs without it exist.
Parameters 2·D²/G. Forward FLOPs 4·T·D²/G. No decode state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from engine import observation, registry
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import sigmoid
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor
from engine.prepared import Fold, Step
from engine.tape import Tape
from engine.variant import Pointwise, State, Weights, rows


@registry.network.register("ggl")
class Ggl(Pointwise):
    """Grouped gated linear unit; see the module."""

    parameters = ("n_groups", "ggl_shuffle")

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        G, d = config.n_groups, config.n_emb // config.n_groups

        def parts(kind: str) -> tuple[tuple[str, Any], ...]:
            return tuple((f"{kind}_{g}_weight", g) for g in range(G))

        return [Tensor("linear_weight", (G, d, d), parts=parts("linear")),
                Tensor("gate_weight", (G, d, d), parts=parts("gate"))]

    @classmethod
    def file_order(cls, config: Config) -> list[str]:
        return [f"{kind}_{g}_weight" for g in range(config.n_groups) for kind in ("linear", "gate")]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        groups = sum(name.startswith("linear_") for name in shapes)
        return {"n_groups": groups} if groups else {}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return 4 * tokens * config.n_emb**2 / config.n_groups

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * config.n_emb * (3 + bool(config.r_dropout))

    def _grouped(self, x: Array) -> Array:
        """(N, D) as (G, N, D/G), a view."""
        G = self.config.n_groups
        return x.reshape(len(x), G, -1).transpose(1, 0, 2)

    def _shuffled(self, y: Array) -> Array:
        """(N, D) as (G, N, D/G) where each group finds its channels after the shuffle, a view."""
        G = self.config.n_groups
        return y.reshape(len(y), -1, G).transpose(2, 0, 1) if self.config.ggl_shuffle else self._grouped(y)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        groups = self._grouped(rows(x))
        G, N, d = groups.shape
        a, s, y = tape.empty(G, N, d), tape.empty(G, N, d), tape.empty(N, G * d)
        xp.matmul(groups, p["linear_weight"], out=a)
        xp.matmul(groups, p["gate_weight"], out=s)
        if xp.kernels:
            xp.kernels.gated(a, s, False, out=self._shuffled(y))
        else:
            sigmoid(s, out=s)
            xp.multiply(a, s, out=self._shuffled(y))
        tape.save(x, a, s)
        return tape.dropout(y, self.config.r_dropout).reshape(x.shape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = tape.dropout_backward(rows(dy))
        x, a, s = tape.pop()
        groups, dz = self._grouped(rows(x)), self._shuffled(dy)
        dx, part = tape.empty(*dy.shape), tape.empty(*a.shape)
        if xp.kernels:
            da, ds = xp.kernels.gated_backward(dz, a, s, False)
        else:
            da, ds = tape.empty(*a.shape), tape.empty(*a.shape)
            xp.multiply(dz, s, out=da)
            xp.subtract(1.0, s, out=ds)  # dσ = σ(1 - σ)
            ds *= a
            ds *= da
        g.add("linear_weight", xp.matmul(groups.swapaxes(-1, -2), da))
        g.add("gate_weight", xp.matmul(groups.swapaxes(-1, -2), ds))
        xp.matmul(da, p["linear_weight"].swapaxes(-1, -2), out=self._grouped(dx))
        xp.matmul(ds, p["gate_weight"].swapaxes(-1, -2), out=part)
        self._grouped(dx)[...] += part
        return dx.reshape(x.shape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return tokens * (2 * config.n_emb + config.n_groups)

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        groups = x.reshape(len(x), self.config.n_groups, -1).swapaxes(0, 1)  # (G, T, D/G)
        gate = observation.sigmoid(groups @ p["gate_weight"])
        hidden = groups @ p["linear_weight"] * gate

        def channels(values: np.ndarray) -> np.ndarray:
            return values.swapaxes(1, 2).reshape(-1, len(x))  # group beside group, (D, T)

        return [observation.gates("groups", "mean gate of each group", gate.mean(2),
                                  "How far a group of channels is let through, on average.", of="group"),
                observation.activations("gates", "gates", channels(gate),
                                        "How far a channel is let through; group beside group, before the shuffle.",
                                        low=0.0, high=1.0),
                observation.activations("hidden", "gated channels", channels(hidden),
                                        "A channel, gated; group beside group, before the shuffle.")]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        G = self.config.n_groups
        weights = np.concatenate([p["linear_weight"], p["gate_weight"]], -1)  # (G, d, 2d)
        weights *= 0.5  # a·σ(g) = a/2·(1 + tanh g/2)
        bias = fold.beta.reshape(G, 1, -1) @ weights
        weights *= fold.gamma.reshape(G, -1, 1)
        return partial(fold.shared(self, lambda: self._step(fold)), weights, bias)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        G, D, one = self.config.n_groups, self.config.n_emb, fold.constant(1)
        both, y = np.empty((G, fold.batch, 2 * D // G), self.dtype), fold.empty(D)
        a, gate, shuffled = both[..., : D // G], both[..., D // G :], self._shuffled(y)

        def step(weights: Array, bias: Array, x: Array) -> Array:
            np.matmul(self._grouped(x[:, :D]), weights, both)
            np.add(both, bias, both)
            np.tanh(gate, gate)
            np.add(gate, one, gate)
            np.multiply(a, gate, shuffled)
            return fold.written(y)

        return step
