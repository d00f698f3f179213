"""A model's weights arranged for decoding, one token at a time, in as few calls as its function can be written in.

With one token a call costs more than its arithmetic, so that what can be computed once is computed when a reply begins.

What reads.  A layer reads LN(x) = x̂ ⊙ γ + β through matrices, and LN(x)·W + b = [x̂, 1]·[γ ⊙ W; β·W + b]: neither scale,
             nor shift, nor bias is left.
What writes. y = h·W + b = [h, 1]·[W; b]. Nothing but norms reads what is written, and these take the mean away, so it
             is taken away from the rows of [W; b] and of the embeddings. Then the mean is always 0, and
             x̂ = x / √(|x|²/D + ε): a dot product, a number, and one pass.
Scales.      Whatever is multiplied with a constant before or after a matrix is multiplied into the matrix.

A post-norm model adds to what its layers read, x ← LN(x + f(x)): there γ, β and the means stay, and biases are folded.

The function is the same up to rounding. A variant says how a token passes through it in `stepper`; one that does not is
given the norm's whole output and its own weights. The weights are those of the moment when `Prepared` is made.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.backend import Array, host, xp
from engine.device_decode import DeviceSteps
from engine.functional import _A, _C, EPS
from engine.threads import SPLIT, paced

if TYPE_CHECKING:
    from engine.model import Model, States
    from engine.variant import Variant

Step = Callable[[Array], Array]  # from [x̂, 1] (B, D + 1) to a kept buffer (B, D) that the next call writes again
LIMIT = 1 << 26  # bytes of weights; of a larger model the arithmetic is what counts, and a copy would be a burden
_PAGE = 1 << 21  # bytes of a huge page; NumPy asks for them from twice as much on


def copied(weights: int) -> int:
    """Bytes that a model of so many bytes of weights takes once more, give or take a little, while it replies."""
    return weights if weights <= LIMIT else 0


class Memory:
    """Matrices side by side on huge pages, where reading them is a few per cent faster. shapes: theirs.

    shared: what the layers of a variant share, by its name.
    """

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)
        self.shapes: set[tuple[int, ...]] = set()
        self.shared: dict[str, Any] = {}
        self._chunk = np.empty(0, self.dtype)
        self._used = 0

    def empty(self, *shape: int) -> Array:
        """An uninitialised array, aligned to 64 bytes."""
        self.shapes.add(shape)
        line = 64 // self.dtype.itemsize
        if self._used + prod(shape) > len(self._chunk):
            page = _PAGE // self.dtype.itemsize
            self._chunk = np.empty(max(4 * page, prod(shape)) + page, self.dtype)  # what is not touched takes nothing
            self._used = -self._chunk.ctypes.data % _PAGE // self.dtype.itemsize
        out = self._chunk[self._used : self._used + prod(shape)].reshape(shape)
        self._used += -(-prod(shape) // line) * line
        return out

    def beside_one(self, batch: int, width: int) -> tuple[Array, Array]:
        """[x, 1] (batch, width + 1), and the view x of it."""
        both = np.empty((batch, width + 1), self.dtype)
        both[:, width] = 1
        return both, both[:, :width]


class Fold:
    """What stands around a layer: the norm before it, γ and β (D,), and what its output is added to.

    centred: whether that has no mean. In a post-norm model it has one, and there is no norm before: γ = 1, β = 0.
    """

    def __init__(self, memory: Memory, batch: int, gamma: Array, beta: Array, centred: bool):
        self.memory, self.batch, self.gamma, self.beta, self.centred = memory, batch, gamma, beta, centred
        self._share = np.full(len(gamma), 1 / len(gamma), memory.dtype)

    def reading(self, *weights: Array, bias: Array | None = None, wider: bool = False) -> Array:
        """[γ ⊙ W; β·W + b] (D + 1, E) of matrices side by side that read the layer's input.

        wider: a few columns of zeros may follow, if they are what a second thread needs to take part.
        """
        D, E = len(self.gamma), sum(weight.shape[1] for weight in weights)
        least = -(-SPLIT // (D + 1))
        out = self.memory.empty(D + 1, -(-least // 64) * 64 if wider and 0.9 * least < E < least else E)
        out[:, E:] = 0
        start = 0
        for weight in weights:
            end = start + weight.shape[1]
            np.multiply(weight, self.gamma[:, None], out=out[:D, start:end])
            np.matmul(self.beta, weight, out=out[D, start:end])
            start = end
        if bias is not None:
            out[D, :E] += bias
        return out

    def writing(self, weight: Array, bias: Array, scale: float = 1.0) -> Array:
        """[scale·W; b] (F + n, D) of a matrix (F, D) that gives the layer's output, and its bias (D,) or (n, D)."""
        F = len(weight)
        out = self.memory.empty(F + bias.size // bias.shape[-1], weight.shape[1])
        np.multiply(weight, scale, out=out[:F])
        out[F:] = bias
        return self.written(out)

    def written(self, y: Array) -> Array:
        """y (n, D) as it is added to the stream: the means of its rows are taken away in place if it is centred."""
        if self.centred:
            y -= y.dot(self._share)[:, None]
        return y

    def whole(self, x: Array) -> Array:
        """What the layer's `forward` would be given, (B, D), from [x̂, 1]."""
        return x[:, :-1] * self.gamma + self.beta

    def empty(self, *shape: int) -> Array:
        """An uninitialised array for something of every reply, (B, *shape)."""
        return np.empty((self.batch, *shape), self.memory.dtype)

    def hidden(self, width: int) -> tuple[Array, Array]:
        """[h, 1] (B, width + 1) for a matrix that `writing` has made, and the view h of it."""
        return self.memory.beside_one(self.batch, width)

    def constant(self, value: float) -> Array:
        """A number that NumPy need not convert at every call."""
        return np.array(value, self.memory.dtype)

    def shared(self, variant: Variant, make: Callable[[], Any]) -> Any:
        """What `make` gives, the same for all layers of a variant.

        What a layer has to itself comes through the cache anew for every token, since the weights have driven it out:
        functions and their buffers are shared, and a layer has only its weights and its state.
        """
        if variant.name not in self.memory.shared:
            self.memory.shared[variant.name] = make()
        return self.memory.shared[variant.name]


def stepper(model: Model, states: States, batch: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """A function from ids (B,) and their position to logits (B, V) that advances the states, as `Model.step` does: with
    prepared weights, for a large model with its own, and on a GPU as a graph."""
    if xp.kernels:
        return DeviceSteps(model, states, batch)
    if xp._module is np and copied(model.params.flat.nbytes):
        step = Prepared(model, states, batch)
        return paced(step, model.config, step.shapes, model.dtype) if batch == 1 else step
    return lambda ids, position: host(model.step(xp.asarray(ids), states, position))


class Prepared:
    """Logits (B, V) after one more token of each of `batch` replies; advances the states, as `Model.step` does.

    shapes: of its matrices.
    """

    def __init__(self, model: Model, states: States, batch: int):
        params, memory, D = model.params, Memory(model.dtype), model.config.n_emb
        self._pre = model.config.c_sequence == "pre"
        self._both, inner = memory.beside_one(batch, D)  # [x̂, 1]
        # in a post-norm model, what is added to is what is read
        self._x = np.empty((batch, D), memory.dtype) if self._pre else inner
        last = Fold(memory, batch, params["ln_f_gamma"], params["ln_f_beta"], True)
        self._head = last.reading(params["lm_head_weight"], bias=params["lm_head_bias"])
        self._tokens, self._places = params["wte_weight"].copy(), params["wpe_weight"].copy()
        if self._pre:
            last.written(self._tokens), last.written(self._places)
        self._norm = normaliser(self._x, inner, centred=self._pre)
        self._layers: list[tuple[Step, Callable[[], None]]] = []  # each with the norm after it in a post-norm model
        ones = np.ones(D, memory.dtype)
        for block, pair in zip(model.blocks, states, strict=True):
            for n, (variant, weights, state) in enumerate(((block.attention, block.a, pair[0]),
                                                           (block.network, block.n, pair[1])), 1):
                gamma, beta = block.norms[f"ln{n}_gamma"], block.norms[f"ln{n}_beta"]
                before = (gamma, beta) if self._pre else (ones, 0 * ones)
                fold = Fold(memory, batch, before[0], before[1], self._pre)
                after = self._norm if self._pre else normaliser(inner, inner, gamma.copy(), beta.copy())
                self._layers.append((variant.stepper(weights, state, fold), after))
        self.shapes = memory.shapes

    def __call__(self, ids: np.ndarray, position: int) -> np.ndarray:
        """ids: (B,), at `position` < n_ctx."""
        x, both, add = self._x, self._both, np.add
        with np.errstate(over="ignore"):  # exponentials that overflow are seen and computed again
            if len(ids) == 1:
                add(self._tokens[ids[0]], self._places[position], x[0])
            else:
                np.take(self._tokens, ids, 0, x, "clip")
                x += self._places[position]
            if self._pre:
                self._norm()
            for layer, norm in self._layers:
                add(x, layer(both), x)
                norm()
            if not self._pre:
                self._norm()
            return both.dot(self._head)


def normaliser(x: Array, out: Array, gamma: Array | None = None, beta: Array | None = None, *,
               centred: bool = False) -> Callable[[], None]:
    """A function that writes the norm of x (B, D) to out, which may be x. centred: the mean of x is known to be 0."""
    B, D = x.shape
    share, rows = np.full(D, 1 / D, x.dtype), np.empty(B, x.dtype)
    one, target, mean, scale = x[0], out[0], np.empty((), x.dtype), np.empty((), x.dtype)

    def alone() -> None:
        source = one
        if not centred:
            mean[()] = one.dot(share)
            source = np.subtract(one, mean, target)
        scale[()] = 1 / sqrt(float(source.dot(source)) / D + EPS)  # a number of NumPy's is slower to divide
        np.multiply(source, scale, target)

    def together() -> None:
        source = x
        if not centred:
            source = np.subtract(x, x.dot(share)[:, None], out)
        np.matmul((source * source)[:, None], share[:, None], rows[:, None, None])
        np.divide(source, np.sqrt(rows + EPS)[:, None], out)

    norm = alone if B == 1 else together
    if gamma is None or beta is None:
        return norm

    def whole() -> None:
        norm()
        np.multiply(out, gamma, out)
        np.add(out, beta, out)

    return whole


# GELU(u) = ½u(1 + tanh √(2/π)(u + 0.044715 u³)) = v(1 + tanh(v(v² + κ)))/2ρ with v = ρu and ρ³ = √(2/π)·0.044715, where
# ρ and 1/2ρ go into the matrices around it.
RISE = (_C * _A) ** (1 / 3)
FALL = 1 / (2 * RISE)
KAPPA = _C / RISE


def gelu_one(v: Array, kappa: Array, one: Array, out: Array) -> Array:
    """2ρ·GELU(v/ρ). kappa: `KAPPA` and one: 1, as `Fold.constant`."""
    np.multiply(v, v, out)
    np.add(out, kappa, out)
    np.multiply(out, v, out)
    np.tanh(out, out)
    np.add(out, one, out)
    return np.multiply(out, v, out)


def mixture(gates: Array) -> Array:
    """Softmax in place over the last axis of a few gates (B, E)."""
    np.subtract(gates, np.maximum.reduce(gates, -1, keepdims=True), gates)
    np.exp(gates, gates)
    return np.divide(gates, np.add.reduce(gates, -1, keepdims=True), gates)
