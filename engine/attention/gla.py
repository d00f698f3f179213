"""Gated local attention: a gated product, normalised and convolved over the last tokens (gated convolution, Dauphin et
al., arXiv 1612.08083). Not the gated linear attention of arXiv 2312.06635.

    z = (x·Wk/τ) ⊙ (x·Wv)                                        (B, T, D)
    n = LN(z);  c_t = Σ_i w[:, i] ⊙ n_{t-K+1+i} + b               causal, depthwise, K = s_kernel, zeros before the text
    y = drop(drop(ReLU(c))·Wc + bc)

With c_convolution centred it is c_t = Σ_i w[:, i] ⊙ n_{t-⌊K/2⌋+i} + b instead, zeros on both sides: what files of The
Little Baby from before v0.1.25 were trained with (as lda before v0.1.18). Token t then sees K-1-⌊K/2⌋ later ones, 3 of
them with K = 8. Such a model is not causal: it has no decode state, and is generated from by computing the whole
context anew for every token.

There are no queries. Parameters 3·D² + K·D + 4·D. Forward FLOPs 6·T·D² + 2·K·T·D. Decode state: the last K rows of n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NoReturn

import numpy as np

from engine import registry
from engine.backend import Array, xp
from engine.config import Config
from engine.errors import ConfigError
from engine.functional import EPS, constant, layer_norm, layer_norm_backward
from engine.observation import Observation, activations, attention_map
from engine.parameters import LayerGradients, Tensor, columns
from engine.prepared import Fold, Step, normaliser
from engine.tape import Tape
from engine.variant import State, Variant, Weights, linear, rows

_STRETCH = 1 << 17  # numbers of one array that are worked on at a time


@registry.attention.register("gla", aliases=("lda",))
class Gla(Variant):
    """Gated local attention; see the module."""

    parameters = ("s_kernel", "c_convolution")
    mixes_time = True

    def __init__(self, config: Config, dtype: Any):
        super().__init__(config, dtype)
        K = config.s_kernel
        self.before = K - 1 if self.causal(config) else K // 2  # how many earlier tokens the kernel reaches

    @classmethod
    def causal(cls, config: Config) -> bool:
        return config.c_convolution == "causal"

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        D = config.n_emb
        return [Tensor("kv_weight", (D, 2 * D), parts=columns(k_weight=D, v_weight=D)),
                Tensor("c_weight", (D, D), "residual"), Tensor("c_bias", (D,), "zeros", optional=True),
                Tensor("conv_weight", (D, config.s_kernel), "fan"), Tensor("conv_bias", (D,), "zeros", optional=True),
                Tensor("norm_gamma", (D,), "ones"), Tensor("norm_beta", (D,), "zeros")]

    @classmethod
    def scalars(cls, config: Config) -> dict[str, Any]:
        return {"kernel_size": config.s_kernel}

    @classmethod
    def file_order(cls, config: Config) -> list[str]:
        return ["kernel_size", "k_weight", "v_weight", "c_weight", "c_bias", "conv_weight", "conv_bias", "norm_gamma",
                "norm_beta"]

    @classmethod
    def infer(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        return {"s_kernel": shapes["conv_weight"][1]} if len(shapes.get("conv_weight", ())) == 2 else {}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        return tokens * config.n_emb * (6 * config.n_emb + 2 * config.s_kernel)

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        return tokens * config.n_emb * (6 + 2 * bool(config.r_dropout))

    @classmethod
    def kept(cls, config: Config) -> int:
        return config.s_kernel * config.n_emb if cls.causal(config) else 0

    def _reach(self, shape: tuple[int, ...], sign: int) -> Iterator[tuple[int, slice, slice]]:
        """(i, here, there): column i of the kernel joins the tokens `here` to those `there`, sign · (i - before) later.

        Time is walked in stretches that stay in the cache; the kernel's own place comes first in each, and there both
        are the whole stretch. sign: 1 from outputs to inputs, -1 back.
        """
        B, T, D = shape
        stretch = max(1, _STRETCH // (B * D))
        columns = sorted(range(self.config.s_kernel), key=lambda i: abs(i - self.before))
        for start in range(0, T, stretch):
            end = min(start + stretch, T)
            for i in columns:
                ahead = sign * (i - self.before)
                first, last = max(start, -ahead), min(end, T - ahead)
                if first < last:
                    yield i, slice(first, last), slice(first + ahead, last + ahead)

    def _normed(self, p: Weights, x: Array, tape: Tape) -> Array:
        """n (B, T, D)."""
        D = x.shape[-1]
        kv, z = linear(x, p["kv_weight"], None, tape), tape.empty(*x.shape)  # (B, T, 2D)
        if self.config.r_temp != 1:
            kv[..., :D] *= 1 / self.config.r_temp
        xp.multiply(kv[..., :D], kv[..., D:], out=z)
        tape.save(x, kv)
        return layer_norm(rows(z), p["norm_gamma"], p["norm_beta"], tape).reshape(x.shape)

    def _output(self, p: Weights, n: Array, tape: Tape) -> Array:
        c = self._convolve(p, n, tape)
        tape.save(n, c)
        r = tape.dropout(c, self.config.r_dropout, keep=True)
        y = linear(r, p["c_weight"], p["c_bias"], tape)
        tape.save(r)
        return tape.dropout(y, self.config.r_dropout)

    def _convolve(self, p: Weights, n: Array, tape: Tape) -> Array:
        """ReLU(c) (B, T, D)."""
        if xp.kernels:
            return xp.kernels.convolve(xp.ascontiguousarray(n), p["conv_weight"], p["conv_bias"], self.before)
        w, c, part = xp.ascontiguousarray(p["conv_weight"].T), tape.empty(*n.shape), tape.empty(*n.shape)
        for i, outputs, inputs in self._reach(n.shape, 1):
            if i == self.before:
                xp.multiply(n[:, inputs], w[i], out=c[:, outputs])
                c[:, outputs] += p["conv_bias"]
            else:
                c[:, outputs] += xp.multiply(n[:, inputs], w[i], out=part[:, outputs])
        return xp.maximum(c, 0, out=c)

    def forward(self, p: Weights, x: Array, tape: Tape) -> Array:
        return self._output(p, self._normed(p, x, tape), tape)

    def backward(self, p: Weights, dy: Array, tape: Tape, g: LayerGradients) -> Array:
        B, T, D = dy.shape
        dy = tape.dropout_backward(dy)
        r = tape.pop()
        g.product("c_weight", rows(r), rows(dy))
        g.rows("c_bias", rows(dy))
        dc = tape.dropout_backward(linear(dy, p["c_weight"].T, None, tape))
        n, c = tape.pop()
        dn = self._convolve_backward(p, dc, c, n, tape, g)
        dz, dgamma, dbeta = layer_norm_backward(rows(dn), p["norm_gamma"], tape)
        g.add("norm_gamma", dgamma)
        g.add("norm_beta", dbeta)
        x, kv = tape.pop()
        dz = dz.reshape(B, T, D)
        dkv = tape.empty(B, T, 2 * D)
        xp.multiply(dz, kv[..., D:], out=dkv[..., :D])
        if self.config.r_temp != 1:
            dkv[..., :D] *= 1 / self.config.r_temp
        xp.multiply(dz, kv[..., :D], out=dkv[..., D:])
        g.product("kv_weight", rows(x), rows(dkv))
        return linear(dkv, p["kv_weight"].T, None, tape)

    def _convolve_backward(self, p: Weights, dc: Array, c: Array, n: Array, tape: Tape, g: LayerGradients) -> Array:
        """The gradient of n from that of `_convolve`, which gave c; dc may be changed."""
        if xp.kernels:
            dn, dweight, dbias = xp.kernels.convolve_backward(dc, c, n, p["conv_weight"], self.before)
            g.add("conv_weight", dweight)
            g.add("conv_bias", dbias)
            return dn
        dc *= xp.greater(c, 0, out=tape.empty(*dc.shape, dtype=bool))
        g.rows("conv_bias", rows(dc))
        w = xp.ascontiguousarray(p["conv_weight"].T)
        dw, dn, part = xp.zeros(w.shape, dc.dtype), tape.empty(*dc.shape), tape.empty(*dc.shape)
        for i, inputs, outputs in self._reach(dc.shape, -1):
            room, came = part[:, inputs], dc[:, outputs]
            xp.multiply(came, n[:, inputs], out=room)
            dw[i] += xp.matmul(constant(room.shape[1], 1.0, room.dtype), room).sum(0)
            if i == self.before:
                xp.multiply(came, w[i], out=dn[:, inputs])
            else:
                dn[:, inputs] += xp.multiply(came, w[i], out=room)
        g.add("conv_weight", dw.T)
        return dn

    def _whole(self) -> NoReturn:
        raise ConfigError("A model whose convolution is centred cannot be computed token by token, since each one "
                          "depends on later ones; ask for the logits of the whole context.", "c_convolution")

    def state(self, batch: int) -> State:
        if not self.causal(self.config):
            return State()
        return State(n=xp.zeros((batch, self.config.s_kernel, self.config.n_emb), self.dtype))

    def prefill(self, p: Weights, x: Array, state: State, tape: Tape) -> Array:
        if not self.causal(self.config):
            self._whole()
        n, t, T, K = self._normed(p, x, tape), state.position, x.shape[1], self.config.s_kernel
        state.position = t + T
        if t:
            earlier = state.n[:, (t - xp.arange(K - 1, 0, -1)) % K]  # the last K - 1 rows, oldest first
            n = xp.concatenate([earlier, n], 1)
        for back in range(1, min(T, K) + 1):
            state.n[:, (t + T - back) % K] = n[:, -back]
        return self._output(p, n, tape)[:, -T:]

    def prefill_at(self, p: Weights, x: Array, state: State, place: Array, tape: Tape) -> Array:
        if not self.causal(self.config):
            self._whole()
        n, K = self._normed(p, x, tape), self.config.s_kernel
        state.n[:, place % K] = n
        return self._output(p, state.n[:, (place - xp.arange(K - 1, -1, -1)) % K], tape)[:, -1:]

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 2 * tokens * tokens + tokens * config.n_emb

    def observe(self, p: Mapping[str, np.ndarray], x: np.ndarray) -> list[Observation]:
        T, w = len(x), p["conv_weight"]  # (D, K)
        k, v = np.split(x @ p["kv_weight"], 2, axis=1)
        z = k / self.config.r_temp * v
        z = z - z.mean(1, keepdims=True)
        n = z / np.sqrt((z**2).mean(1, keepdims=True) + EPS) * p["norm_gamma"] + p["norm_beta"]
        weights, added, c = np.zeros((1, T, T)), np.zeros((1, T, T)), np.tile(p["conv_bias"], (T, 1))
        sizes = np.sqrt(n**2 @ w**2)  # (T, K)
        for i in range(self.config.s_kernel):
            ahead = i - self.before
            t = np.arange(max(0, -ahead), min(T, T - ahead))
            weights[0, t, t + ahead] = np.abs(w[:, i]).mean()
            added[0, t, t + ahead] = sizes[t + ahead, i]
            c[t] += n[t + ahead] * w[:, i]
        return [attention_map("weights", "weights of the convolution", weights,
                              "The kernel at a position's distance, the mean of its absolute values over all channels; "
                              "the same for every text.", of="layer"),
                attention_map("contribution", "contribution to the convolution", added,
                              "The L2 norm, over all channels, of what a position adds to the convolution, before ReLU "
                              "and projection.", of="layer"),
                activations("hidden", "channels after ReLU", np.maximum(c, 0).T,
                            "What is left of a channel of the convolution after ReLU.", low=0.0)]

    def stepper(self, p: Weights, state: State, fold: Fold) -> Step:
        if not self.causal(self.config):
            self._whole()
        inward, outward = fold.reading(p["kv_weight"]), fold.writing(p["c_weight"], p["c_bias"])
        inward[:, : self.config.n_emb] *= 1 / self.config.r_temp
        # row t mod K of the ring holds n_t: a stretch of the weights, written twice, is turned as the ring is
        turned = np.concatenate([p["conv_weight"].T] * 2)
        norm_and_bias = p["norm_gamma"].copy(), p["norm_beta"].copy(), p["conv_bias"].copy()
        return partial(fold.shared(self, lambda: self._step(fold)), inward, outward, turned, *norm_and_bias, state)

    def _step(self, fold: Fold) -> Callable[..., Array]:
        D, K = self.config.n_emb, self.config.s_kernel
        kv, z, n, part, c, y = (fold.empty(*shape) for shape in ((2 * D,), (D,), (D,), (K, D), (D,), (D,)))
        k, v, norm, (both, h) = kv[:, :D], kv[:, D:], normaliser(z, n), fold.hidden(D)
        ones, zero = np.ones(K, self.dtype), fold.constant(0)

        def step(inward: Array, outward: Array, turned: Array, gamma: Array, beta: Array, bias: Array, state: State,
                 x: Array) -> Array:
            x.dot(inward, kv)
            np.multiply(k, v, z)
            norm()
            np.multiply(n, gamma, n)
            slot = state.position % K
            state.position += 1
            np.add(n, beta, state.n[:, slot])
            np.multiply(state.n, turned[K - 1 - slot : 2 * K - 1 - slot], part)
            np.matmul(ones, part, c)
            np.add(c, bias, c)
            np.maximum(c, zero, out=h)
            return both.dot(outward, y)

        return step
