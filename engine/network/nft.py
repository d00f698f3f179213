"""A network that mixes over time: an attention-free transformer with a query gate (Zhai et al., arXiv 2105.14103,
without position biases).

    gate = σ(x·Wq);  k = clip(x·Wk, ±20), v = x·Wv
    s_t = Σ_{i≤t} e^{k_i} v_i / Σ_{i≤t} e^{k_i}                    per channel
    y = drop((gate ⊙ drop(s))·Wc + bc)

It has decode state, causality and reset like an attention. The gradient is zero where the clip acts.
Parameters 4·D² + D. Forward FLOPs 8·T·D² + 140·T·D. Decode state: 2·D numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from engine import observation, registry
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import sigmoid
from engine.observation import Observation
from engine.parameters import LayerGradients, Tensor, columns
from engine.prepared import Fold, Step
from engine.scan import Averaging, average, average_backward
from engine.tape import Tape
from engine.variant import State, Weights, linear, rows


@registry.network.register("nft")
class Nft(Averaging):
    """Gated average over time; see the module."""

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D = config.n_emb
        return [Tensor("qkv_weight", (D, 3 * D), parts=columns(q_weight=D, k_weight=D, v_weight=D)),
                Tensor("c_weight", (D, D), "residual"), Tensor("c_bias", (D,), "zeros", optional=True)]

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return tokens * config.n_emb * (8 * config.n_emb + 140)

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * config.n_emb * (8 + 3 * bool(config.r_dropout))

    def _average(self, p: Weights, x: Array, tape: Tape) -> tuple[Array, Array, Array, Array]:
        """(gate, s, sums, weights)."""
        D = x.shape[-1]
        qkv = linear(x, p["qkv_weight"], None, tape)  # (B, T, 3D)
        gate, k = tape.empty(*x.shape), tape.empty(*x.shape)
        sigmoid(qkv[..., :D], out=gate)
        k[...] = qkv[..., D : 2 * D]
        return gate, *average(k, qkv[..., 2 * D :], tape)

    def _output(self, p: Weights, x: Array, gate: Array, s: Array, tape: Tape) -> Array:
        s = tape.dropout(s, self.config.r_dropout, keep=True)
        h = tape.empty(*s.shape)
        xp.multiply(gate, s, out=h)
        y = linear(h, p["c_weight"], p["c_bias"], tape)
        slope = xp.subtract(1.0, gate, out=tape.empty(*h.shape))  # h's with regard to the query: s·σ(1 - σ)
        slope *= h
        tape.save(x, gate, slope, h)
        return tape.dropout(y, self.config.r_dropout)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        gate, s, _, _ = self._average(p, x, tape)
        return self._output(p, x, gate, s, tape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        B, T, D = dy.shape
        dy = tape.dropout_backward(dy)
        x, gate, slope, h = tape.pop()
        g.product("c_weight", rows(h), rows(dy))
        g.rows("c_bias", rows(dy))
        dh, dqkv = linear(dy, p["c_weight"].T, None, tape), tape.empty(B, T, 3 * D)
        xp.multiply(dh, slope, out=dqkv[..., :D])
        dh *= gate
        dqkv[..., D : 2 * D], dqkv[..., 2 * D :] = average_backward(tape.dropout_backward(dh), tape)
        g.product("qkv_weight", rows(x), rows(dqkv))
        return linear(dqkv, p["qkv_weight"].T, None, tape)

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        gate, *averaged = self._average(p, x, tape)
        return self._output(p, x, gate, self.go_on(state, *averaged), tape)

    def prefill_at(self, p: Weights, x: Array, state: State, place: Array, tape: Tape) -> Array:
        gate, *averaged = self._average(p, x, tape)
        return self._output(p, x, gate, self.go_on_at(state, *averaged), tape)

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 2 * tokens * tokens + tokens * config.n_emb

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        q, k, v = np.split(x @ p["qkv_weight"], 3, axis=1)
        gate = observation.sigmoid(q)
        return [*self.averaged(k, v, gate), observation.activations(
            "gates", "query gates", gate.T, "How far a channel lets the average over time through.", low=0.0, high=1.0)]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward, outward = fold.reading(p["qkv_weight"]), fold.writing(p["c_weight"], p["c_bias"], 0.5)
        inward[:, : self.config.n_emb] *= 0.5  # σ(q) = ½(1 + tanh(q/2)), and its ½ is in `outward`
        return partial(fold.shared(self, lambda: self._step(fold)), inward, outward, state)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        D = self.config.n_emb
        qkv, (both, h), y, one = fold.empty(3 * D), fold.hidden(D), fold.empty(D), fold.constant(1)
        gate, average = qkv[:, :D], self.averager(qkv[:, D:])

        def step(inward: Array, outward: Array, state: State, x: Array) -> Array:
            x.dot(inward, qkv)
            np.tanh(gate, gate)
            np.add(gate, one, gate)
            average(state, h)
            np.multiply(h, gate, h)
            return both.dot(outward, y)

        return step
