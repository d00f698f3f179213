"""Recent-window attention with one memory slot per head. Not the random-feature attention of arXiv 2103.02143.

    q, k, v as in mha. Query t sees the keys of the last W = s_window tokens, itself included, and one slot more:
    m_t = λ·m_{t-1} + (1-λ)·(k, v)_{t-W},  λ = σ(ℓ) learned per head, m = 0 before anything has left the window
    o = drop(softmax over window and slot)·v;  y = drop(concat(o)·Wc + bc)

The slot is masked until t ≥ W. With W ≥ T this is mha. Queries are walked in blocks, each of which sees itself and the
W - 1 keys before it; the averages are triangular products with the powers of λ.

Parameters 4·D·H + D + h. Forward FLOPs 8·T·D·H + 4·T·(W + block)·H. Decode state: a ring of W keys and values and the
slot, (W + 1)·2·H numbers, whatever the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from engine import registry
from engine.attention._softmax import exponentials
from engine.attention.mha import Mha
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import constant
from engine.parameters import LayerGradients, Tensor
from engine.tape import Tape
from engine.variant import State, Weights

_ROWS = 32  # at least so many queries at a time
_LOGIT = 2.0  # λ = 0.88 at the start: the slot begins as the average of about eight tokens


@registry.attention.register("rfa")
class Rfa(Mha):
    """Recent-window attention with a memory slot; see the module."""

    parameters = ("s_window",)

    def __init__(self, config: Config, dtype: Any):
        super().__init__(config, dtype)
        self.W = config.s_window

    @classmethod
    def tensors(cls, config: Config) -> list[Tensor]:
        return [*super().tensors(config), Tensor("memory_decay", (config.n_heads,), _LOGIT, optional=True)]

    @classmethod
    def assume(cls, shapes: Mapping[str, tuple[int, ...]], config: Config) -> dict[str, Any]:
        # a file without the slot was trained over its whole context
        return {} if "memory_decay" in shapes else {"s_window": config.n_ctx}

    @classmethod
    def flops(cls, config: Config, tokens: int) -> float:
        D, H, W = config.n_emb, config.head_size, config.s_window
        width = (tokens + 1) / 2 if tokens <= W else min(tokens, W + max(W, _ROWS)) + 1
        return 8 * tokens * D * H + 4 * tokens * width * H

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        dropped, H = 2 if config.r_dropout else 1, config.head_size
        width = min(tokens, config.s_window + max(config.s_window, _ROWS)) + 1
        return tokens * (config.n_emb * dropped + 6 * H) + config.n_heads * tokens * width * dropped

    @classmethod
    def kept(cls, config: Config) -> int:
        return 2 * (min(config.s_window, config.n_ctx) + 1) * config.head_size

    def _blocks(self, T: int) -> Iterator[tuple[int, int, int]]:
        """(first key, first query, end) of each block."""
        size = T if self.W >= T else max(self.W, _ROWS)
        return ((max(0, start - self.W + 1), start, min(start + size, T)) for start in range(0, T, size))

    def _band(self, first: int, start: int, end: int, dtype: Any) -> Array:
        """0 where query t sees key j (t - W < j ≤ t), else -inf: (end - start, end - first)."""
        t, j = xp.arange(start, end)[:, None], xp.arange(first, end)
        return xp.where((j <= t) & (j > t - self.W), 0.0, -np.inf).astype(dtype)

    def _decays(self, p: Weights, n: int, dtype: Any) -> tuple[Array, Array, Array]:
        """(λ (h, 1, 1), λ^(i-j) on and below the diagonal (h, n, n), λ^(i+1) (h, n, 1))."""
        lam = 1 / (1 + xp.exp(-p["memory_decay"].astype(np.float64)))[:, None, None]
        i = xp.arange(n)
        distance = i[:, None] - i
        powers = xp.where(distance >= 0, lam ** xp.maximum(distance, 0), 0.0)
        return lam.astype(dtype), powers.astype(dtype), (lam ** (i[:, None] + 1)).astype(dtype)

    def _memory(self, p: Weights, k: Array, v: Array, tape: Tape) -> Array:
        """m_t for t = W … T-1: (B, h, T-W, 2d), keys beside values."""
        B, T = k.shape[0], k.shape[-2]
        U = T - self.W
        left = tape.empty(B, self.h, U, 2 * self.d)
        left[..., : self.d], left[..., self.d :] = k[:, :, 0, :U], v[:, :, 0, :U]
        m = tape.empty(*left.shape)
        for start in range(0, U, _ROWS):
            end = min(start + _ROWS, U)
            lam, powers, carry = self._decays(p, end - start, left.dtype)
            xp.matmul(powers * (1 - lam), left[:, :, start:end], out=m[:, :, start:end])
            if start:
                m[:, :, start:end] += carry * m[:, :, start - 1 : start]
        return m

    def _memory_backward(self, p: Weights, dm: Array, m: Array, k: Array, v: Array, dk: Array, dv: Array, tape: Tape,
                         g: LayerGradients) -> None:
        """Adds to dk, dv and the gradient of ℓ. G_u = dm_u + λ·G_{u+1}; dλ = Σ ⟨G_u, m_{u-1} - (k, v)_u⟩."""
        U, d = m.shape[2], self.d
        G = tape.empty(*m.shape)
        for start in reversed(range(0, U, _ROWS)):
            end = min(start + _ROWS, U)
            lam, powers, carry = self._decays(p, end - start, m.dtype)
            xp.matmul(powers.swapaxes(-1, -2), dm[:, :, start:end], out=G[:, :, start:end])
            if end < U:
                G[:, :, start:end] += carry[:, ::-1] * G[:, :, end : end + 1]
        lam = self._decays(p, 1, m.dtype)[0]
        difference = tape.empty(*m.shape)
        difference[:, :, 0] = 0
        difference[:, :, 1:] = m[:, :, :-1]
        difference[..., :d] -= k[:, :, 0, :U]
        difference[..., d:] -= v[:, :, 0, :U]
        difference *= G
        g.add("memory_decay", difference.sum((0, 2, 3)) * (lam * (1 - lam)).reshape(-1))
        G *= 1 - lam
        dk[:, :, 0, :U] += G[..., :d]
        dv[:, :, 0, :U] += G[..., d:]

    def _attend(self, p: Weights, qkv: Array, o: Array, tape: Tape) -> None:
        q, k, v = self._heads(qkv)
        q, k0, v0, o = q[:, :, 0], k[:, :, 0], v[:, :, 0], self._by_head(o)[:, :, 0]  # (B, h, T, d)
        B, h, T, d = q.shape
        W, rate = self.W, self.config.r_dropout
        m: Array = self._memory(p, k, v, tape) if T > W else None
        tape.save(m)
        for first, start, end in self._blocks(T):
            n, width = end - start, end - first
            s, total = tape.empty(B, h, n, width + 1), tape.empty(B, h, n)
            xp.matmul(q[:, :, start:end], k0[:, :, first:end].swapaxes(-1, -2), out=s[..., :width])
            s[..., :width] += self._band(first, start, end, s.dtype)
            s[..., width] = -np.inf
            since = max(start, W)  # the first query of the block that has a memory
            if since < end:
                s[:, :, since - start :, width] = (q[:, :, since:end] * m[:, :, since - W : end - W, :d]).sum(-1)
            exponentials(s, q[:, :, start:end], k0, tape)  # a memory is an average of keys: no longer than they are
            xp.matmul(s, constant(width + 1, 1.0, s.dtype), out=total)
            xp.reciprocal(total, out=total)
            s *= total[..., None]
            a = tape.dropout(s, rate, keep=True)
            xp.matmul(a[..., :width], v0[:, :, first:end], out=o[:, :, start:end])
            if since < end:
                o[:, :, since:end] += a[:, :, since - start :, width, None] * m[:, :, since - W : end - W, d:]
            tape.save(s, a)

    def _attend_backward(self, p: Weights, do: Array, qkv: Array, o: Array, tape: Tape, g: LayerGradients) -> Array:
        dqkv = tape.empty(*qkv.shape)
        dqkv[...] = 0
        (q, k, v), (dq, dk, dv) = self._heads(qkv), self._heads(dqkv)
        q, k0, v0, dq, dk0, dv0 = (z[:, :, 0] for z in (q, k, v, dq, dk, dv))
        do, o = self._by_head(do)[:, :, 0], self._by_head(o)[:, :, 0]
        T, d, W = q.shape[2], self.d, self.W
        delta = (do * o).sum(-1)
        stack = []
        for block in reversed(list(self._blocks(T))):
            s, a = tape.pop()
            stack.append((block, s, a, tape.pop()))
        m = tape.pop()
        dm: Array = xp.zeros(m.shape, m.dtype) if m is not None else None
        for (first, start, end), s, a, mask in stack:
            width, since = end - first, max(start, W)
            here = do[:, :, start:end]
            ds = tape.empty(*s.shape)
            xp.matmul(here, v0[:, :, first:end].swapaxes(-1, -2), out=ds[..., :width])
            ds[..., width] = 0
            dv0[:, :, first:end] += a[..., :width].swapaxes(-1, -2) @ here
            if since < end:
                late, kept = slice(since - start, None), slice(since - W, end - W)
                ds[:, :, late, width] = (here[:, :, late] * m[:, :, kept, d:]).sum(-1)
                dm[:, :, kept, d:] += a[:, :, late, width, None] * here[:, :, late]
            if mask is not None:
                ds *= mask
            ds -= delta[:, :, start:end, None]
            ds *= s
            xp.matmul(ds[..., :width], k0[:, :, first:end], out=dq[:, :, start:end])
            dk0[:, :, first:end] += ds[..., :width].swapaxes(-1, -2) @ q[:, :, start:end]
            if since < end:
                weight = ds[:, :, late, width, None]
                dq[:, :, since:end] += weight * m[:, :, kept, :d]
                dm[:, :, kept, :d] += weight * q[:, :, since:end]
        if m is not None:
            self._memory_backward(p, dm, m, k, v, dk, dv, tape, g)
        return dqkv

    def state(self, batch: int) -> State:
        ring = (batch, self.h, min(self.W, self.config.n_ctx), self.d)
        return State(k=xp.zeros(ring, self.dtype), v=xp.zeros(ring, self.dtype),
                     m=xp.zeros((batch, self.h, 2 * self.d), self.dtype))

    def _attend_one(self, p: Weights, q: Array, k: Array, v: Array, state: State) -> Array:
        t, W, d = state.position, state.k.shape[2], self.d
        slot = t % W
        if t >= W:
            lam = self._decays(p, 1, self.dtype)[0][:, 0]  # (h, 1)
            state.m[...] *= lam
            state.m[..., :d] += (1 - lam) * state.k[:, :, slot]
            state.m[..., d:] += (1 - lam) * state.v[:, :, slot]
        state.k[:, :, slot], state.v[:, :, slot] = k, v
        state.position = t + 1
        seen = min(t + 1, W)
        s = xp.matmul(q, state.k[:, :, :seen].swapaxes(-1, -2))  # (B, h, 1, seen)
        if t >= W:
            s = xp.concatenate([s, (q * state.m[:, :, None, :d]).sum(-1, keepdims=True)], -1)
        s -= s.max(-1, keepdims=True)
        xp.exp(s, out=s)
        s /= s.sum(-1, keepdims=True)
        o = xp.matmul(s[..., :seen], state.v[:, :, :seen])
        if t >= W:
            o += s[..., seen:] * state.m[:, :, None, d:]
        return o

    def _fill(self, p: Weights, qkv: Array, state: State, tape: Tape) -> None:
        _, k, v = self._heads(qkv)
        T, W = k.shape[-2], state.k.shape[2]
        state.position = T
        for t in range(max(0, T - W), T):
            state.k[:, :, t % W], state.v[:, :, t % W] = k[:, :, 0, t], v[:, :, 0, t]
        if T > W:
            state.m[...] = self._memory(p, k, v, tape)[:, :, -1]
