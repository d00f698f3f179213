"""Sums over time. Shapes (B, T, D); time is walked in blocks, inside which a triangular product adds up."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from engine.backend import Array, xp
from engine.config import Config
from engine.observation import Observation, attention_map
from engine.tape import Tape
from engine.variant import State, Variant

_BLOCK = 32
CLIP = 20.0


@lru_cache(maxsize=16)
def _triangle(n: int, dtype: object, module: object) -> Array:
    return xp.tril(xp.ones((n, n), dtype))


def running_sum(x: Array, tape: Tape, reverse: bool = False) -> Array:
    """Σ of x up to and including each time, or with `reverse` from each time on."""
    B, T, D = x.shape
    out = tape.empty(B, T, D)
    starts = range(0, T, _BLOCK)
    for start in reversed(starts) if reverse else starts:
        end = min(start + _BLOCK, T)
        ones = _triangle(end - start, x.dtype, xp._module)
        xp.matmul(ones.T if reverse else ones, x[:, start:end], out=out[:, start:end])
        if reverse and end < T:
            out[:, start:end] += out[:, end : end + 1]
        elif not reverse and start:
            out[:, start:end] += out[:, start - 1 : start]
    return out


def average(k: Array, v: Array, tape: Tape) -> tuple[Array, Array, Array]:
    """y_t = Σ_{i≤t} e^{k_i} v_i / Σ_{i≤t} e^{k_i} per channel, k clipped to ±20: (y, sums, weights). k is overwritten.

    The clip bounds e^k to [2e-9, 5e8], so the plain sums of a million tokens stay far inside float32; a running maximum
    would guard against nothing. Zhai et al., arXiv 2105.14103, without queries and position biases.
    """
    if xp.kernels:
        y, b, a = xp.kernels.average(k, v, 1.0, not tape.recording)
        tape.save(k, v, y, b)
        return y, a, b
    inside, y = tape.empty(*k.shape, dtype=bool), tape.empty(*k.shape)
    xp.less(xp.abs(k, out=y), CLIP, out=inside)
    w = xp.exp(xp.clip(k, -CLIP, CLIP, out=k), out=k)
    xp.multiply(w, v, out=y)
    a, b = running_sum(y, tape), running_sum(w, tape)
    xp.divide(a, b, out=y)
    tape.save(w, v, b, y, inside)
    return y, a, b


def average_backward(dy: Array, tape: Tape) -> tuple[Array, Array]:
    """(dk, dv): with r = reverse sum of dy/b and s = that of dy·y/b, dv = w·r and dk = w·(v·r - s), 0 where clipped."""
    if xp.kernels:
        k, v, y, b = tape.pop()
        dk, dv = tape.empty(*dy.shape), tape.empty(*dy.shape)
        xp.kernels.average_backward(dy, k, v, y, b, dk, dv)
        return dk, dv
    w, v, b, y, inside = tape.pop()
    share = tape.empty(*dy.shape)
    xp.divide(dy, b, out=share)
    r = running_sum(share, tape, reverse=True)
    share *= y
    dk = running_sum(share, tape, reverse=True)
    xp.multiply(v, r, out=share)
    xp.subtract(share, dk, out=dk)
    dk *= w
    dk *= inside
    r *= w
    return dk, r


class Averaging(Variant):
    """What variants that average over time share: a decode state of one weight and one sum per channel, side by side as
    k and v are."""

    mixes_time = True

    @classmethod
    def kept(cls, config: Config) -> int:
        return 2 * config.n_emb

    def state(self, batch: int) -> State:
        return State(kept=xp.zeros((batch, 2 * self.config.n_emb), self.dtype))

    @classmethod
    def go_on(cls, state: State, y: Array, sums: Array, weights: Array) -> Array:
        """What `average` gave for the next tokens, after those in the state. Advances the state."""
        if state.position:
            y = cls.go_on_at(state, y, sums, weights)
        else:
            cls._keep(state, sums, weights)
        state.position += y.shape[1]
        return y

    @classmethod
    def go_on_at(cls, state: State, y: Array, sums: Array, weights: Array) -> Array:
        """The same whatever the position, which is left as it is: before the text the state is 0."""
        D = y.shape[-1]
        weights += state.kept[:, None, :D]
        sums += state.kept[:, None, D:]
        xp.divide(sums, weights, out=y)
        cls._keep(state, sums, weights)
        return y

    @staticmethod
    def _keep(state: State, sums: Array, weights: Array) -> None:
        D = sums.shape[-1]
        state.kept[:, :D], state.kept[:, D:] = weights[:, -1], sums[:, -1]

    @staticmethod
    def averager(kv: Array) -> Callable[[State, Array], None]:
        """A function of the state and of an array (B, D) in which it writes the average after one more token, whose k
        and v lie in kv (B, 2D). It overwrites kv and advances the state."""
        D = kv.shape[1] // 2
        k, v, low, high = kv[:, :D], kv[:, D:], np.array(-CLIP, kv.dtype), np.array(CLIP, kv.dtype)

        def average(state: State, out: Array) -> None:
            np.minimum(k, high, out=k)
            np.maximum(k, low, out=k)
            np.exp(k, k)
            np.multiply(v, k, v)
            kept = state.kept
            np.add(kept, kv, kept)
            np.divide(kept[:, D:], kept[:, :D], out)
            state.position += 1

        return average

    @staticmethod
    def averaged(k: np.ndarray, v: np.ndarray, gate: np.ndarray | float = 1.0) -> list[Observation]:
        """Maps of gate ⊙ Σ_{i≤t} e^{k_i} v_i / Σ_{i≤t} e^{k_i} for k, v, gate (T, D): weights that differ from channel
        to channel, brought down to one number. No (T, T, D) array exists."""
        w = np.exp(np.clip(k, -CLIP, CLIP))
        share = 1 / np.cumsum(w, 0)
        past = np.tri(len(w))
        return [attention_map("weights", "weights over time", (past * (share @ w.T / w.shape[1]))[None],
                              "A position's weight in the average over time, the mean over all channels; a row sums to "
                              "one.", of="layer", sums=True),
                attention_map("contribution", "contribution to the average",
                              (past * np.sqrt((gate * share) ** 2 @ ((w * v) ** 2).T))[None],
                              "The L2 norm, over all channels, of what a position adds to the average over time, "
                              "before it is projected.", of="layer")]
