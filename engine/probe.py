"""Looking into a model while it reads: what its layers attend to, how they are gated, what each would say next, and
which tokens of a text surprise it.

Everything is computed plainly, in float64 from the inputs that the layers really get, and apart from the fast paths:
`Variant.observe` says what an attention or a network has to show. Shapes: T tokens, L layers, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backend import Array, host, xp
from engine.block import Block
from engine.config import Config
from engine.errors import ConfigError, FormatError, TextError
from engine.model import Model
from engine.observation import ACTIVATIONS, GATES, MAP, Observation
from engine.registry import attention, network
from engine.tape import Tape

__all__ = ["ACTIVATIONS", "GATES", "LIMIT", "MAP", "Layer", "Lens", "Look", "Observation", "Stretch", "look",
           "memory", "surprise"]

LIMIT = 1 << 30  # bytes that a look may take
_LOGITS = 1 << 20  # that are turned into probabilities at a time
_TOKENS = 1024  # of a text that are read at a time, or one window


@dataclass(frozen=True, eq=False)
class Lens:
    """What the model would say if it ended after a layer: its output through the last layer norm and the head (the
    logit lens, nostalgebraist, 2020).

    ids, probabilities (T, k): the k likeliest next tokens after each position, the likeliest first.
    rank (T,): the place of the token that really comes next, 1 = the likeliest; 0 where none is known.
    probability (T,): the probability of that token; NaN where none is known.
    entropy (T,): of the prediction, in nats; between 0 and log V.
    """

    ids: np.ndarray
    probabilities: np.ndarray
    rank: np.ndarray
    probability: np.ndarray
    entropy: np.ndarray


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer (block), `index` from 0.

    attention, network: what its two parts have to show, in a fixed order; empty for parts that were not asked for.
    attention_norm, network_norm (T,): L2 norms of what each part adds to the residual stream at each token.
    norm (T,): L2 norm of the residual stream after the layer.
    lens: what the model would say if this were its last layer.
    """

    index: int
    attention: tuple[Observation, ...]
    network: tuple[Observation, ...]
    attention_norm: np.ndarray
    network_norm: np.ndarray
    norm: np.ndarray
    lens: Lens

    def observations(self, kind: str | None = None) -> list[tuple[str, Observation]]:
        """("attention" or "network", observation) of all that there is to see, of one kind if it is given."""
        both = [("attention", seen) for seen in self.attention] + [("network", seen) for seen in self.network]
        return [(part, seen) for part, seen in both if kind in (None, seen.kind)]


@dataclass(frozen=True, eq=False)
class Look:
    """One look at a sequence of T tokens.

    ids (T,): the tokens. layers: those that were asked for, in order. embedding_norm (T,): L2 norm of the embedded
    input. embedding_lens: what the head makes of it, before any layer. causal: False when tokens see later ones, so
    that the model may know what comes next.
    """

    ids: np.ndarray
    layers: tuple[Layer, ...]
    embedding_norm: np.ndarray
    embedding_lens: Lens
    causal: bool


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some tokens of a text that was read, and how well each was foreseen.

    start: the place of the first of them in the text. ids (n,): the tokens.
    losses (n,): -log probability of each, in nats, given the tokens before it; probabilities (n,): the same as a share.
    rank (n,): the place of the token among all, 1 = the likeliest. likeliest (n,): the token that was expected most.
    context (n,): how many tokens the model saw before it.
    The first token of a text is foreseen by nothing and is in no stretch.
    """

    start: int
    ids: np.ndarray
    losses: np.ndarray
    probabilities: np.ndarray
    rank: np.ndarray
    likeliest: np.ndarray
    context: np.ndarray


def memory(config: Config, vocab_size: int, tokens: int, layers: int | None = None) -> int:
    """Bytes that a look at `tokens` tokens takes at most, of so many layers (None: all), without allocating anything.

    What is held for all layers that are asked for, and what is worked with for one.
    """
    T, D = tokens, config.n_emb
    count = config.n_layers if layers is None else layers
    parts = attention.get(config.c_attention), network.get(config.c_network)
    seen = [part.observed(config, T) for part in parts]
    weights = max(sum(t.size for t in part.tensors(config)) for part in parts)
    worked = 3 * max(seen) if count else 0  # of what is shown, while it is computed
    logits = T * vocab_size + 7 * min(T * vocab_size, max(_LOGITS, vocab_size))
    return 8 * (count * (sum(seen) + 32 * T) + worked + weights + logits + 20 * T * D)


def look(model: Model, ids: Any, *, layers: Sequence[int] | None = None, observe: bool = True, top: int = 5,
         limit: int = LIMIT) -> Look:
    """Look at the model while it reads ids (T,), T ≤ n_ctx.

    layers: those to be looked at, None = all; observe: False leaves out what attentions and networks have to show
    (norms and lens remain). top: how many next tokens the lens keeps, at most the vocabulary.
    ConfigError when ids do not fit the model, a layer does not exist, or more than `limit` bytes would be needed.
    """
    ids = np.asarray(ids, np.int64).reshape(-1)
    if not ids.size:
        raise ConfigError("There is nothing to look at; give at least one token.")
    model.check(ids)
    n = model.config.n_layers
    wanted = list(range(n)) if layers is None else sorted(set(layers))
    if wrong := [number for number in wanted if not 0 <= number < n]:
        raise ConfigError(f"There is no layer {wrong[0]}; this model's are 0 to {n - 1}.", "n_layers")
    need = memory(model.config, model.vocab_size, len(ids), len(wanted) if observe else 0)
    if need > limit:
        raise ConfigError(f"A look at {len(ids):,} tokens in {len(wanted)} layers needs about {need / 1e6:,.0f} MB, "
                          f"more than the {limit / 1e6:,.0f} MB that are allowed; look at fewer tokens, or at one "
                          "layer.", "n_ctx")
    tape = model.tape()
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the lens
        x = model.embed(xp.asarray(ids)[None], 0, tape)
        first = _norms(x), _lens(model, x, ids, tape, top)
        found = []
        for number, block in enumerate(model.blocks):
            x, layer = _layer(model, block, number, x, ids, tape, observe and number in wanted, top)
            if number in wanted:
                found.append(layer)
    return Look(ids, tuple(found), *first, model.causal)


def _layer(model: Model, block: Block, number: int, x: Array, ids: np.ndarray, tape: Tape, observe: bool,
           top: int) -> tuple[Array, Layer]:
    """The output of a block for x (1, T, D), and what there is to say about it."""
    seen: dict[str, tuple[tuple[Observation, ...], np.ndarray]] = {}

    def watched(part: str, variant: Any, weights: Any) -> Any:
        def run(z: Array) -> Array:
            shown: tuple[Observation, ...] = ()
            if observe:
                plain = {name: np.asarray(host(value), np.float64) for name, value in weights.items()}
                shown = tuple(variant.observe(plain, np.array(host(z[0]), np.float64)))
            y = variant.forward(weights, z, tape)
            seen[part] = shown, _norms(y)
            return y

        return run

    y = block.run(x, tape, watched("attention", block.attention, block.a), watched("network", block.network, block.n))
    (a, a_norm), (n, n_norm) = seen["attention"], seen["network"]
    return y, Layer(number, a, n, a_norm, n_norm, _norms(y), _lens(model, y, ids, tape, top))


def _norms(x: Array) -> np.ndarray:
    """L2 norm of each token of x (1, T, D), (T,) float64."""
    return np.sqrt((np.asarray(host(x[0]), np.float64) ** 2).sum(-1))


def _lens(model: Model, x: Array, ids: np.ndarray, tape: Tape, top: int) -> Lens:
    """What the head makes of x (1, T, D)."""
    logits = host(model.head(x, tape))
    T, V = logits.shape
    count = max(1, min(top, V))
    first, shares = np.zeros((T, count), np.int64), np.zeros((T, count))
    rank, probability, entropy = np.zeros(T, np.int64), np.full(T, np.nan), np.zeros(T)
    for here in _rows(T, V):
        logp = _log_probabilities(logits[here])
        following = ids[here.start + 1 : here.stop + 1]
        first[here] = _first(logp, count)
        shares[here] = np.exp(np.take_along_axis(logp, first[here], 1))
        known = slice(here.start, here.start + len(following))
        rank[known], loss = _placed(logp[: len(following)], following)
        probability[known] = np.exp(-loss)
        p = np.exp(logp)
        p *= np.where(p > 0, logp, 0.0)
        entropy[here] = -p.sum(1)
    return Lens(first, shares, rank, probability, entropy)


def _rows(rows: int, vocab_size: int) -> Iterator[slice]:
    """Stretches of the rows of logits of which not too many are worked on at a time."""
    size = max(1, _LOGITS // vocab_size)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _first(values: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` largest of each row are, the largest first, of equals the first."""
    T, V = values.shape
    found = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1) if count < V else np.tile(
        np.arange(V), (T, 1))
    return np.take_along_axis(found, np.argsort(-np.take_along_axis(values, found, 1), axis=1, kind="stable"), 1)


def _log_probabilities(logits: Array) -> np.ndarray:
    """log softmax over the last axis, float64. FormatError when a logit is not finite."""
    wide = np.asarray(logits, np.float64)
    if not np.isfinite(wide).all():
        raise FormatError("What this model computes is not finite: its numbers are too large.")
    wide = wide - wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))


def _placed(logp: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rank from 1, loss) of each row's target; of equals the one with the lower id comes first."""
    chosen = np.take_along_axis(logp, targets[:, None], 1)
    equal = (logp == chosen) & (np.arange(logp.shape[1]) < targets[:, None])
    return 1 + (logp > chosen).sum(1) + equal.sum(1), -chosen[:, 0]


def surprise(model: Model, ids: Any, stride: int | None = None) -> Iterator[Stretch]:
    """How well each token of a text (N,) is foreseen, stretch by stretch and in order; any length, bounded memory.

    The text is read in windows of n_ctx tokens that begin `stride` apart; of each window but the first only the last
    `stride` predictions count. Every token but the first of the text is told exactly once, and has at least
    n_ctx - stride tokens before it (or all there are). stride None: half of n_ctx. stride = n_ctx, without overlap,
    is how training evaluates: the mean of all losses is then its validation loss. TextError for fewer than two tokens;
    ConfigError for another stride than 1 to n_ctx.
    """
    ids = np.asarray(ids).reshape(-1)
    n = model.config.n_ctx
    stride = max(1, n // 2) if stride is None else stride
    if not 1 <= stride <= n:
        raise ConfigError(f"The stride must be from 1 to {n}, the context; {stride} is not.", "n_ctx")
    if len(ids) < 2:
        raise TextError("A text needs at least two tokens to be foreseen.")
    if int(ids.min()) < 0 or int(ids.max()) >= model.vocab_size:
        raise ConfigError(f"A token id is outside the vocabulary of {model.vocab_size}.")
    return _surprise(model, ids, n, stride)


def _surprise(model: Model, ids: np.ndarray, n: int, stride: int) -> Iterator[Stretch]:
    targets = len(ids) - 1
    first = min(n, targets)
    yield _read(model, ids, np.array([0]), first, 0)
    told = first
    many = max(1, min(_TOKENS // n, _LOGITS // (n * model.vocab_size)))  # windows at a time
    while told < targets:
        start = told + stride - n
        if start + n > targets:  # the last one ends with the text
            yield _read(model, ids, np.array([start]), targets - start, n - stride)
            return
        starts = start + stride * np.arange(min(many, (targets - told) // stride))
        yield _read(model, ids, starts, n, n - stride)
        told += stride * len(starts)


def _read(model: Model, ids: np.ndarray, starts: np.ndarray, width: int, known: int) -> Stretch:
    """What the windows of `width` tokens at `starts` tell but their first `known` predictions, one after the other."""
    rows = ids[starts[:, None] + np.arange(width + 1)].astype(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        logits = host(model.logits(rows[:, :-1]))[:, known:]  # (B, width - known, V)
    targets = rows[:, 1 + known :].reshape(-1)
    logits, n = logits.reshape(len(targets), -1), len(targets)
    losses, rank, likeliest = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for here in _rows(*logits.shape):
        logp = _log_probabilities(logits[here])
        rank[here], losses[here] = _placed(logp, targets[here])
        likeliest[here] = logp.argmax(1)
    context = np.tile(np.arange(known + 1, width + 1), len(starts))
    return Stretch(int(starts[0]) + known + 1, targets, losses, np.exp(-losses), rank, likeliest, context)

