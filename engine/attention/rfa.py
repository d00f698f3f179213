"""Recent-window attention with one memory slot per head. Not the random-feature attention of arXiv 2103.02143.

    q, k, v as in mha. Query t sees the keys of the last W = s_window tokens, itself included, and one slot more:
    m_t = λ·m_{t-1} + (1-λ)·(k, v)_{t-W},  λ = σ(ℓ) learned per head, m = 0 before anything has left the window
    o = drop(softmax over window and slot)·v;  y = drop(concat(o)·Wc + bc)

The slot is masked until t ≥ W. With W ≥ T this is mha. Time is cut into blocks of R = max(W, 32) queries, and all of
them are one batched product: a block sees itself, the W - 1 keys before it, and the memory of its first query. The
memory of each of its queries is a known mixture of just these rows, m_r = Σ_c M[r, c]·row c: its score is the same
mixture of their scores, and its weight is spread over them. Only the memories between blocks are ever computed.

Parameters 4·D·H + D + h. Forward FLOPs 8·T·D·H + 4·T·(W + R)·H. Decode state: a ring of W keys and values and the
slot, (W + 1)·2·H numbers, whatever the length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from engine import registry
from engine.attention._kept import attend_kept
from engine.attention._softmax import exponentials
from engine.attention.mha import Mha
from engine.backend import Array, xp
from engine.config import Config
from engine.functional import dots
from engine.observation import Observation, attention_map, gates, softmax
from engine.parameters import LayerGradients, Tensor
from engine.tape import Tape
from engine.variant import State, Weights

_LEAST = 32  # queries in a block
_CHUNK = 64  # blocks through which memories are carried at a time
_LOGIT = 2.0  # λ = 0.88 at the start: the slot begins as the average of about eight tokens


def _rows(window: int) -> int:
    """Queries in a block: no fewer than a window has keys, so that a block sees only itself and the one before."""
    return max(window, _LEAST)


def carried(x: Array, decay: Array) -> Array:
    """y_i = x_i + decay·y_{i-1} over axis 2 of x (B, h, n, d), decay (h,)."""
    n = min(_CHUNK, x.shape[2])
    i = xp.arange(n)
    powers = xp.where(i[:, None] >= i, decay[:, None, None] ** xp.maximum(i[:, None] - i, 0), 0.0).astype(x.dtype)
    y = xp.empty(x.shape, x.dtype)
    for start in range(0, x.shape[2], n):
        part = x[:, :, start : start + n]
        if start:
            part = part.copy()
            part[:, :, 0] += decay[:, None] * y[:, :, start - 1]
        size = part.shape[2]
        xp.matmul(powers[:, :size, :size], part, out=y[:, :, start : start + size])
    return y


@registry.attention.register("rfa")
class Rfa(Mha):
    """Recent-window attention with a memory slot; see the module."""

    parameters = ("s_window",)

    def __init__(self, config: Config, dtype: Any):
        super().__init__(config, dtype)
        self.W = config.s_window
        self.R = _rows(self.W)
        self._kept: dict[Any, tuple[Array, Array, Array]] = {}

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
        width = (tokens + 1) / 2 if tokens <= W else W + _rows(W)
        return 8 * tokens * D * H + 4 * tokens * width * H

    @classmethod
    def saved(cls, config: Config, tokens: int) -> int:
        W, R, dropped = config.s_window, _rows(config.s_window), 2 if config.r_dropout else 1
        if tokens <= W:
            return super().saved(config, tokens)
        blocks = -(-tokens // R)
        return (tokens * (config.n_emb * dropped + 4 * config.head_size)
                + blocks * (W + R) * (2 * config.head_size + (1 + dropped) * config.n_heads * R))

    @classmethod
    def kept(cls, config: Config) -> int:
        return 2 * (min(config.s_window, config.n_ctx) + 1) * config.head_size

    def _blocked(self, x: Array, tape: Tape) -> Array:
        """(B, h, T, d) as n blocks of R, (B, h, n, R, d), the last one filled up with zeros. A view if it can be."""
        B, h, T, d = x.shape
        n, rest = -(-T // self.R), T % self.R
        if not rest:
            return x.reshape(B, h, n, self.R, d)
        out = tape.empty(B, h, n, self.R, d)
        out[:, :, : n - 1] = x[:, :, : T - rest].reshape(B, h, n - 1, self.R, d)
        out[:, :, -1, :rest], out[:, :, -1, rest:] = x[:, :, T - rest :], 0
        return out

    def _extended(self, k: Array, v: Array, shares: Array, tape: Tape) -> Array:
        """What each block can see of keys and values (B, h, T, d), side by side: (B, h, n, W + R, 2d).

        Row 0 is what the memory holds at the block's first query; then come the W - 1 tokens before the block (zeros
        before the text), then its own.
        """
        k, v = self._blocked(k, tape), self._blocked(v, tape)
        B, h, n, R, d = k.shape
        W = self.W
        out = tape.empty(B, h, n, W + R, 2 * d)
        out[..., W:, :d], out[..., W:, d:] = k, v
        out[:, :, 0, :W], out[:, :, 1:, 0] = 0, 0
        out[:, :, 1:, 1:W, :d], out[:, :, 1:, 1:W, d:] = k[:, :, :-1, R + 1 - W :], v[:, :, :-1, R + 1 - W :]
        if n > 1:  # each block hands its memory on
            came = xp.matmul(shares[:, :, R:, 1 : R + 1], out[:, :, :-1, 1 : R + 1])[:, :, :, 0]  # (B, h, n - 1, 2d)
            out[:, :, 1:, 0] = carried(came, shares[:, 0, R, 0])
        return out

    def _extended_backward(self, dx: Array, x: Array, dk: Array, dv: Array, shares: Array, slopes: Array,
                           tape: Tape) -> Array:
        """Writes dk, dv (B, h, T, d) and returns the gradient of ℓ (h,) through row 0. dx, like x, is changed."""
        T, d = dk.shape[2:]
        n, R, W = x.shape[2], self.R, self.W
        dl = xp.zeros(self.h, x.dtype)
        if n > 1:
            dcame = carried(dx[:, :, :0:-1, 0], shares[:, 0, R, 0])[:, :, ::-1]  # (B, h, n - 1, 2d)
            given = tape.empty(*dcame.shape[:3], R, 2 * d)
            dx[:, :, :-1, 1 : R + 1] += xp.multiply(shares[:, :, R, 1 : R + 1, None], dcame[:, :, :, None], out=given)
            dl += dots(xp.matmul(slopes[:, :, R:, : R + 1], x[:, :, :-1, : R + 1])[:, :, :, 0], dcame).sum((0, 2))
            dx[:, :, :-1, R + 1 :] += dx[:, :, 1:, 1:W]
        own = dx[..., W:, :].reshape(*dx.shape[:2], n * R, 2 * d) if T % R else dx[..., W:, :]
        if T % R:
            dk[...], dv[...] = own[:, :, :T, :d], own[:, :, :T, d:]
        else:
            dk.reshape(own[..., :d].shape)[...], dv.reshape(own[..., d:].shape)[...] = own[..., :d], own[..., d:]
        return dl

    def _constants(self, dtype: Any) -> tuple[Array, Array, Array]:
        """For queries r ≤ R of a block and its rows c, all (R + 1, W + R): r - c where it is not negative; 1 where
        c ≤ r; and 0 where r sees c directly, else -inf.
        """
        key = (np.dtype(dtype), xp._module)
        if key not in self._kept:
            r, c = xp.arange(self.R + 1)[:, None], xp.arange(self.W + self.R)
            seen = xp.where((c > r) & (c <= r + self.W), 0.0, -np.inf).astype(dtype)
            self._kept[key] = xp.maximum(r - c, 0), (c <= r).astype(dtype), seen
        return self._kept[key]

    def _shares(self, p: Weights, dtype: Any) -> tuple[Array, Array]:
        """How much of row c is in the memory of query r of a block, m_r = Σ_c M[r, c]·row c, and dM/dℓ.

        Both (h, 1, R + 1, W + R): M[r, 0] = λ^r and M[r, c] = (1-λ)·λ^(r-c) for c ≤ r. Row R is for the next block's
        first query.
        """
        distance, own, _ = self._constants(dtype)
        n = xp.arange(self.R + 1)
        lam = 1 / (1 + xp.exp(-p["memory_decay"].astype(np.float64)))[:, None]
        power = lam**n  # (h, R + 1)
        slope = n * power * (1 - lam)  # dλ^n/dℓ = n·λ^n·(1-λ)
        both = []
        for first, later in ((power, (1 - lam) * power), (slope, (1 - lam) * (slope - lam * power))):
            found = xp.take(later.astype(dtype), distance, axis=1)
            found *= own
            found[:, :, 0] = first
            both.append(found[:, None])
        return both[0], both[1]

    def _attend(self, p: Weights, qkv: Array, o: Array, tape: Tape) -> None:
        if qkv.shape[1] <= self.W:
            super()._attend(p, qkv, o, tape)
            return
        q0, k0, v0 = (x[:, :, 0] for x in self._heads(qkv))
        q0 *= self.scale
        W, R, d, T = self.W, self.R, self.d, q0.shape[2]
        shares, slopes = self._shares(p, q0.dtype)
        q, kv = self._blocked(q0, tape), self._extended(k0, v0, shares, tape)
        k, v = kv[..., :d], kv[..., d:]
        B, h, n = q.shape[:3]
        s, total = tape.empty(B, h, n, R, W + R), tape.empty(B, h, n, R)
        score, slope = tape.empty(B, h, n, R), tape.empty(B, h, n, R)

        def scores() -> None:
            xp.matmul(q, k.swapaxes(-1, -2), out=s)
            dots(s, shares[:, :, :R], out=score)
            dots(s, slopes[:, :, :R], out=slope)
            s[...] += self._constants(s.dtype)[2][:R]
            s[:, :, 0, :, :W] = -np.inf  # nothing stands before the text
            s[..., 0] = score
            s[:, :, 0, :W, 0] = -np.inf  # nothing has left the window

        exponentials(s, total, scores)
        xp.reciprocal(total, out=total)
        s *= total[..., None]
        a = self._spread(tape.dropout(s, self.config.r_dropout, keep=True), shares, tape)
        spoken = tape.empty(B, h, n, R, d)
        xp.matmul(a, v, out=spoken)
        self._by_head(o)[:, :, 0] = spoken.reshape(B, h, n * R, d)[:, :, :T]
        tape.save(q, kv, shares, slopes, slope, s, a)

    def _spread(self, a: Array, shares: Array, tape: Tape) -> Array:
        """Weights of a block's rows when that of the memory, a[..., 0], is spread over what the memory is made of."""
        out, R = tape.empty(*a.shape), self.R
        xp.multiply(shares[:, :, :R, :R], a[..., :1], out=out[..., :R])
        out[..., 1:R] += a[..., 1:R]
        out[..., R:] = a[..., R:]
        return out

    def _attend_backward(self, p: Weights, do: Array, qkv: Array, o: Array, tape: Tape, g: LayerGradients) -> Array:
        if qkv.shape[1] <= self.W:
            return super()._attend_backward(p, do, qkv, o, tape, g)
        q, kv, shares, slopes, slope, s, a = tape.pop()
        mask = tape.pop_mask(*s.shape)
        R, d = self.R, self.d
        do = self._blocked(self._by_head(do)[:, :, 0], tape)
        o = self._blocked(self._by_head(o)[:, :, 0], tape)
        ds, dkv, part = tape.empty(*s.shape), tape.empty(*kv.shape), tape.empty(*q.shape)
        dqkv = tape.empty(*qkv.shape)
        dq, dk, dv = (x[:, :, 0] for x in self._heads(dqkv))
        xp.matmul(do, kv[..., d:].swapaxes(-1, -2), out=ds)
        weight = s[..., 0] if mask is None else s[..., 0] * mask[..., 0]
        dl = (dots(ds, slopes[:, :, :R]) * weight).sum((0, 2, 3))
        ds[..., 0] = dots(ds, shares[:, :, :R])
        if mask is not None:
            ds *= mask
        ds -= dots(do, o)[..., None]
        ds *= s
        dl += (slope * ds[..., 0]).sum((0, 2, 3))
        ds = self._spread(ds, shares, tape)
        xp.matmul(ds, kv[..., :d], out=part)
        xp.multiply(part.reshape(*part.shape[:2], -1, d)[:, :, : dq.shape[2]], self.scale, out=dq)
        xp.matmul(ds.swapaxes(-1, -2), q, out=dkv[..., :d])
        xp.matmul(a.swapaxes(-1, -2), do, out=dkv[..., d:])
        g.add("memory_decay", dl + self._extended_backward(dkv, kv, dk, dv, shares, slopes, tape))
        return dqkv

    @classmethod
    def observed(cls, config: Config, tokens: int) -> int:
        return 2 * super().observed(config, tokens) + config.n_heads * tokens

    def _maps(self, p: Mapping[str, np.ndarray], q: np.ndarray, k: np.ndarray) -> list[Observation]:
        T = q.shape[1]
        ago = np.arange(T)[:, None] - np.arange(T)
        left = np.maximum(ago - self.W, 0)  # for how long a position has been in the memory
        lam = 1 / (1 + np.exp(-p["memory_decay"]))[:, None, None]
        share = np.where(ago >= self.W, (1 - lam) * lam**left, 0.0)  # (h, T, T): m_t = Σ_i share·(k, v)_i
        window = np.where((ago >= 0) & (ago < self.W), q @ k.swapaxes(-1, -2), -np.inf)
        slot = np.where(np.arange(T)[:, None] >= self.W, (q * (share @ k)).sum(-1, keepdims=True), -np.inf)
        weights = softmax(self.scale * np.concatenate([window, slot], -1))
        memory = weights[..., T:]
        return [attention_map("window", "weights in the window", weights[..., :T],
                              "How much of a position's value a head takes in directly; a row sums to one together "
                              "with the memory's weight."),
                gates("memory", "weight of the memory", memory[..., 0],
                      "How much of the memory slot, the average of what has left the window, a head takes in.",
                      of="head"),
                attention_map("weights", "weights with the memory's share", weights[..., :T] + memory * share,
                              "How much of a position's value a head takes in, directly or out of the memory; a row "
                              "sums to a little less than one while the memory fills.")]

    def state(self, batch: int) -> State:
        """Places for W keys and values, token t at t mod W, and a last one for the memory."""
        places = min(self.W, self.config.n_ctx) + 1
        return State(kv=xp.zeros((2, batch, self.h, places, self.d), self.dtype))

    def _keeper(self, p: Weights, state: State) -> Callable[[Array], int]:
        places = state.kv.transpose(3, 0, 1, 2, 4)
        W = len(places) - 1
        memory, change = places[W], xp.empty(places.shape[1:], self.dtype)
        new_share = (1 - 1 / (1 + xp.exp(-p["memory_decay"].astype(np.float64)))).astype(self.dtype)[:, None]  # 1 - λ

        def keep(new: Array) -> int:
            t = state.position
            if t >= W:  # one leaves the window: m += (1-λ)·(it - m)
                xp.subtract(places[t % W], memory, out=change)
                xp.multiply(change, new_share, out=change)
                xp.add(memory, change, out=memory)
            places[t % W] = new
            state.position = t + 1
            return min(t + 1, W + 1)

        return keep

    def _keep_at(self, p: Weights, state: State, new: Array, place: Array) -> None:
        kv = state.kv
        W = kv.shape[3] - 1
        memory, slot = kv[:, :, :, W:], place % W
        share = 1 / (1 + xp.exp(p["memory_decay"].astype(np.float64)))  # 1 - λ
        share = xp.where(place >= W, share, 0.0).astype(kv.dtype)[:, None, None]  # before, nothing leaves the window
        memory += (kv[:, :, :, slot] - memory) * share
        kv[:, :, :, slot] = new

    def _attend_more(self, p: Weights, qkv: Array, o: Array, state: State) -> None:
        q, k, v = self._heads(qkv)
        keep, heads = self._keeper(p, state), self._by_head(o)
        for t in range(q.shape[-2]):
            seen = keep(xp.stack([k[:, :, 0, t], v[:, :, 0, t]]))
            attend_kept(q[..., t : t + 1, :], state.kv[..., :seen, :], heads[..., t : t + 1, :],
                        self.scale)

    def _fill(self, p: Weights, qkv: Array, state: State, tape: Tape) -> None:
        _, k, v = self._heads(qkv)
        T, W, d = k.shape[-2], state.kv.shape[3] - 1, self.d
        state.position = T
        for t in range(max(0, T - W), T):
            state.kv[0, :, :, t % W], state.kv[1, :, :, t % W] = k[:, :, 0, t], v[:, :, 0, t]
        if T > W:
            shares, _ = self._shares(p, k.dtype)
            last = (T - 1) % self.R  # the last query's place in its block
            kv = self._extended(k[:, :, 0], v[:, :, 0], shares, tape)
            memory = xp.matmul(shares[:, 0, last : last + 1], kv[:, :, -1])[:, :, 0]  # (B, h, 2d)
            state.kv[0, :, :, W], state.kv[1, :, :, W] = memory[..., :d], memory[..., d:]
