"""Multi-head attention (Vaswani et al., arXiv 1706.03762), causal.

    q, k, v = x·Wq, x·Wk, x·Wv                     (B, T, H) as h heads of d = H/h
    o_j = drop(softmax(q_j·k_jᵀ/(√d·τ) + causal))·v_j
    y = drop(concat(o_1 … o_h)·Wc + bc)

Parameters 4·D·H + D. Forward FLOPs 8·T·D·H + 2·T²·H (half the scores are in the future). Decode state: keys and
values, 2·n_ctx·H numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from engine import registry
from engine.attention._kept import attend_at, attend_kept, attender
from engine.attention._softmax import attend, attend_backward
from engine.backend import Array, xp
from engine.config import Config
from engine.observation import Observation, attention_map, softmax
from engine.parameters import LayerGradients, Tensor, columns
from engine.prepared import Fold, Step
from engine.tape import Tape
from engine.variant import State, Variant, Weights, linear, rows


@registry.attention.register("mha")
class Mha(Variant):
    """Multi-head attention; see the module."""

    mixes_time = True

    def __init__(self, config: Config, dtype: Any):
        super().__init__(config, dtype)
        self.h, self.d, self.H = config.n_heads, config.d_head, config.head_size
        self.k = self.kv_heads(config)  # heads of keys and values
        self.g = self.h // self.k  # query heads that share one
        self.K = self.k * self.d
        self.scale = 1 / (sqrt(self.d) * config.r_temp)

    @classmethod
    def kv_heads(cls, config: Config) -> int:
        """Heads of keys and values; divides n_heads."""
        return config.n_heads

    @classmethod
    def projections(cls, config: Config) -> Tensor:
        """Wq, Wk, Wv side by side, one product."""
        D, H, K = config.n_emb, config.head_size, cls.kv_heads(config) * config.d_head
        return Tensor("qkv_weight", (D, H + 2 * K), parts=columns(q_weight=H, k_weight=K, v_weight=K))

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D, H = config.n_emb, config.head_size
        return [cls.projections(config), Tensor("c_weight", (H, D), "residual"),
                Tensor("c_bias", (D,), "zeros", optional=True)]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        return {"head_size": shapes["q_weight"][1]} if len(shapes.get("q_weight", ())) == 2 else {}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        D, H, K = config.n_emb, config.head_size, cls.kv_heads(config) * config.d_head
        return 4 * tokens * D * (H + K) + 2 * tokens * (tokens + 1) * H

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        dropped = 2 if config.r_dropout else 1
        K = cls.kv_heads(config) * config.d_head
        return (tokens * (config.n_emb * dropped + 2 * config.head_size + 2 * K)
                + config.n_heads * tokens * tokens * dropped)

    @classmethod
    def kept(cls, config: Config) -> int:
        return 2 * config.n_ctx * cls.kv_heads(config) * config.d_head

    def _heads(self, qkv: Array) -> tuple[Array, Array, Array]:
        """(B, T, H + 2K) as q (B, k, g, T, d) and k, v (B, k, 1, T, d), views."""
        B, T, _ = qkv.shape
        q = qkv[..., : self.H].reshape(B, T, self.k, self.g, self.d).transpose(0, 2, 3, 1, 4)
        kv = qkv[..., self.H :].reshape(B, T, 2, self.k, 1, self.d).transpose(2, 0, 3, 4, 1, 5)
        return q, kv[0], kv[1]

    def _by_head(self, o: Array) -> Array:
        """(B, T, H) as (B, k, g, T, d), a view."""
        return o.reshape(*o.shape[:2], self.k, self.g, self.d).transpose(0, 2, 3, 1, 4)

    def _attend(self, p: Weights, qkv: Array, o: Array, tape: Tape) -> None:
        """Fills o (B, T, H), head beside head."""
        attend(*self._heads(qkv), self._by_head(o), self.scale, tape, self.config.r_dropout)

    def _attend_backward(self, p: Weights, do: Array, qkv: Array, o: Array, tape: Tape, g: LayerGradients) -> Array:
        """The gradient of qkv, from that of o (B, T, H)."""
        dqkv = tape.empty(*qkv.shape)
        attend_backward(self._by_head(do), *self._heads(qkv), self._by_head(o), *self._heads(dqkv), self.scale, tape)
        return dqkv

    def _project_backward(self, p: Weights, x: Array, dqkv: Array, tape: Tape, g: LayerGradients) -> Array:
        g.product("qkv_weight", rows(x), rows(dqkv))
        return linear(dqkv, p["qkv_weight"].T, None, tape)

    def _mix(self, p: Weights, x: Array, qkv: Array, tape: Tape) -> Array:
        o = tape.empty(*x.shape[:2], self.H)
        self._attend(p, qkv, o, tape)
        y = linear(o, p["c_weight"], p["c_bias"], tape)
        tape.save(x, qkv, o)
        return tape.dropout(y, self.config.r_dropout)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        return self._mix(p, x, linear(x, p["qkv_weight"], None, tape), tape)  # (B, T, H + 2K)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        dy = tape.dropout_backward(dy)
        x, qkv, o = tape.pop()
        g.product("c_weight", rows(o), rows(dy))
        g.rows("c_bias", rows(dy))
        do = linear(dy, p["c_weight"].T, None, tape)
        return self._project_backward(p, x, self._attend_backward(p, do, qkv, o, tape, g), tape, g)

    def state(self, batch: int) -> State:
        return State(kv=xp.zeros((2, batch, self.k, self.config.n_ctx, self.d), self.dtype))

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        B, T, _ = x.shape
        qkv, o = linear(x, p["qkv_weight"], None, tape), tape.empty(B, T, self.H)
        if state.position:
            self._attend_more(p, qkv, o, state)
        else:
            self._attend(p, qkv, o, tape)
            self._fill(p, qkv, state, tape)
        return self._output(p, rows(x), o.reshape(B * T, self.h, self.d)).reshape(x.shape)

    def prefill_at(self, p: Weights, x: Array, state: State, place: Array, tape: Tape) -> Array:
        qkv, o = linear(x, p["qkv_weight"], None, tape), tape.empty(len(x), 1, self.H)
        q, k, v = self._heads(qkv)
        self._keep_at(p, state, xp.stack([k[:, :, 0], v[:, :, 0]]), place)
        attend_at(q, state.kv, self._by_head(o), self.scale, place)
        return self._output(p, rows(x), o.reshape(len(x), self.h, self.d)).reshape(x.shape)

    def _keep_at(self, p: Weights, state: State, new: Array, place: Array) -> None:
        """Take the key and the value of the token at `place` into the state, (2, B, k, 1, d)."""
        state.kv[:, :, :, place] = new

    def _attend_more(self, p: Weights, qkv: Array, o: Array, state: State) -> None:
        """`_attend` for tokens that come after those in the state."""
        q, k, v = self._heads(qkv)
        start, end = state.position, state.position + q.shape[-2]
        state.kv[0, :, :, start:end], state.kv[1, :, :, start:end] = k[:, :, 0], v[:, :, 0]
        state.position = end
        attend_kept(q, state.kv[..., :end, :], self._by_head(o), self.scale)

    def _fill(self, p: Weights, qkv: Array, state: State, tape: Tape) -> None:
        """Bring the first tokens into the state."""
        _, k, v = self._heads(qkv)
        state.position = T = k.shape[-2]
        state.kv[0, :, :, :T], state.kv[1, :, :, :T] = k[:, :, 0], v[:, :, 0]

    def _output(self, p: Weights, x: Array, o: Array) -> Array:
        """The outputs of tokens from their x (N, D) and heads o (N, h, d)."""
        y = xp.matmul(o.reshape(len(x), self.H), p["c_weight"])
        y += p["c_bias"]
        return y

    # Looking at it ----------------------------------------------------------------------------------------------------

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 2 * config.n_heads * tokens * tokens

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        qkv = x @ p["qkv_weight"]  # (T, H + 2K)
        q = qkv[:, : self.H].reshape(-1, self.h, self.d).swapaxes(0, 1)
        kv = qkv[:, self.H :].reshape(-1, 2, self.k, self.d).transpose(1, 2, 0, 3)
        k, v = kv.repeat(self.g, axis=1)  # query head j reads ⌊j·k/h⌋; all (h, T, d)
        maps = self._maps(p, q, k)
        return [*maps, attention_map("contribution", "contribution to the output",
                                     maps[-1].values * self._sizes(p, x, v),
                                     "The L2 norm of what a position adds to the output through a head, its weight "
                                     "times its value, projected (Kobayashi et al., arXiv 2004.10102).")]

    def _maps(self, p: Mapping[str, np.ndarray], q: np.ndarray, k: np.ndarray) -> list[Observation]:
        """Weights of q, k (h, T, d); the last map is what each position's value is multiplied with, all in all."""
        scores = np.where(np.tri(q.shape[1], dtype=bool), q @ k.swapaxes(-1, -2) * self.scale, -np.inf)
        return [attention_map("weights", "attention weights", softmax(scores),
                              "How much of a position's value a head takes in; a row sums to one.", sums=True)]

    def _sizes(self, p: Mapping[str, np.ndarray], x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """L2 norms of the values v (h, T, d) on their way out, (h, 1 or T, T): of each position for each output."""
        outward = p["c_weight"].reshape(self.h, self.d, -1)
        return np.sqrt(((v @ outward) ** 2).sum(-1))[:, None]

    # One token --------------------------------------------------------------------------------------------------------

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        inward, outward = self._inward(fold, p["qkv_weight"]), fold.writing(p["c_weight"], p["c_bias"])
        step = fold.shared(self, lambda: self._step(fold, inward.shape[1], state.kv.shape[3]))
        return partial(step, inward, outward, self._keeper(p, state), state.kv[0].swapaxes(-1, -2), state.kv[1])

    def _inward(self, fold: Fold, *weights: Array) -> Array:
        """qkv_weight, and what else reads x, in one matrix (D + 1, H + 2K + …)."""
        inward = fold.reading(*weights, wider=True)
        inward[:, : self.H] *= self.scale
        return inward

    def _step(self, fold: Fold, width: int, n: int) -> Callable[..., Array]:
        """What `stepper` gives, as a function of what each layer has to itself."""
        qkv, (both, h), y = fold.empty(width), fold.hidden(self.H), fold.empty(self.config.n_emb)
        q, new = self._one(qkv)
        heads, attend = h.reshape(q.shape), attender(q, n)

        def step(inward: Array, outward: Array, keep: Callable[[Array], int], keys: Array, values: Array,
                 x: Array) -> Array:
            x.dot(inward, qkv)
            o, total = attend(keep(new), keys, values)
            np.divide(o, total, heads)
            return both.dot(outward, y)

        return step

    def _one(self, qkv: Array) -> tuple[Array, Array]:
        """One token's (B, H + 2K + …) as its q (B, k, g, d), and its key and value (2, B, k, d), views."""
        B, H, K = len(qkv), self.H, self.K
        new = qkv[:, H : H + 2 * K].reshape(B, 2, self.k, self.d).swapaxes(0, 1)
        return qkv[:, :H].reshape(B, self.k, self.g, self.d), new

    def _keeper(self, p: Weights, state: State) -> Callable[[Array], int]:
        """A function that takes one token's key and value (2, B, k, d) into the state: how many can be seen then."""
        places = state.kv.transpose(3, 0, 1, 2, 4)

        def keep(new: Array) -> int:
            places[state.position] = new
            state.position += 1
            return state.position

        return keep
