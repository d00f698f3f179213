"""From a model to text, token by token: prefill, cached steps, sampling.

Learned positions do not wrap. With the cache, when the context is full the last n_ctx/2 tokens are prefilled again and
generation goes on; without it every token is computed from the last n_ctx tokens.

A model that is not causal has no cache: every token is computed from the last n_ctx tokens. Only the logits of the last
position count, the one that has nothing after it; those of earlier positions have seen the tokens they would predict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from engine import backend
from engine.backend import host, xp
from engine.device import guarded
from engine.device_decode import DeviceSteps
from engine.errors import ConfigError
from engine.model import Model
from engine.prepared import stepper


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen from the logits, in this order.

    repetition: logits of tokens in the context are divided (if positive) or multiplied by it (arXiv 1909.05858).
    temperature: divides the logits; 0 takes the most probable token. top_k: only the k most probable (0 = all).
    top_p: only the most probable whose probabilities sum to p (arXiv 1904.09751). min_p: only those at least min_p
    times as probable as the first (arXiv 2407.01082). seed: None draws a new one.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        limits = {"temperature": (0, 100), "top_k": (0, 1 << 31), "top_p": (0, 1), "min_p": (0, 1),
                  "repetition": (0.1, 10)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} must be from {low:g} to {high:g}, not {value:g}.", name)
        if self.seed is not None and not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"seed must be from 0 to 2^63 - 1, not {self.seed}.", "seed")

    def probabilities(self, logits: np.ndarray, context: Sequence[int] = ()) -> np.ndarray:
        """The distribution (V,) float64 that is sampled from, after every filter. logits: (V,)."""
        x = logits.astype(np.float64)
        if self.repetition != 1 and len(context):
            seen = np.unique(np.asarray(context, np.int64))
            x[seen] = np.where(x[seen] > 0, x[seen] / self.repetition, x[seen] * self.repetition)
        if self.temperature == 0:
            p = np.zeros_like(x)
            p[x.argmax()] = 1.0
            return p
        x -= x.max()
        x /= self.temperature
        p = np.exp(x)
        if 0 < self.top_k < len(p):
            p[np.argsort(-p, kind="stable")[self.top_k :]] = 0
        p /= p.sum()
        if self.top_p < 1:
            order = np.argsort(-p, kind="stable")
            before = np.cumsum(p[order]) - p[order]
            p[order[1:][before[1:] >= self.top_p]] = 0  # the first always stays
        if self.min_p > 0:
            p[p < self.min_p * p.max()] = 0
        return p / p.sum()

    @property
    def plain(self) -> bool:
        """Whether only the temperature acts."""
        return self.temperature > 0 and self.top_k == 0 and self.top_p == 1 and self.min_p == 0 and self.repetition == 1

    def draw(self, logits: np.ndarray, context: Sequence[int], uniform: float) -> tuple[int, float]:
        """(id, probability) of the token that the uniform number in [0, 1) falls on."""
        if self.plain:
            p = np.subtract(logits, logits[logits.argmax()], dtype=np.float64)
            if self.temperature != 1:
                p /= self.temperature
            np.exp(p, p)
        else:
            p = self.probabilities(logits, context)
        below = np.add.accumulate(p)
        chosen = int(below.searchsorted(uniform * below[-1], "right"))
        if chosen >= len(p) or p[chosen] == 0:  # rounding at the very end of the last piece
            chosen = int(np.flatnonzero(p)[-1])
        return chosen, float(p[chosen] / below[-1])


class Token(NamedTuple):
    """One generated token: its id, the probability it was drawn with, and the logits (V,) before any filter."""

    id: int
    probability: float
    logits: np.ndarray


class Candidate(NamedTuple):
    """A possible next token: its probability by the model alone, and after every filter."""

    id: int
    before: float
    after: float


def candidates(logits: np.ndarray, sampler: Sampler, context: Sequence[int] = (), count: int = 10) -> list[Candidate]:
    """The `count` most probable next tokens, most probable first."""
    before, after = Sampler().probabilities(logits), sampler.probabilities(logits, context)
    return [Candidate(int(i), float(before[i]), float(after[i])) for i in np.argsort(-before, kind="stable")[:count]]


STAGES = ("model", "repetition", "temperature", "top_k", "top_p", "min_p")


class Stage(NamedTuple):
    """The next token's distribution (V,) float64 after one of STAGES, and how many tokens are still possible. acts:
    whether the sampler asks for it; the distribution is that of the stage before it if not."""

    name: str
    probabilities: np.ndarray
    left: int
    acts: bool


def stages(logits: np.ndarray, sampler: Sampler, context: Sequence[int] = ()) -> list[Stage]:
    """The distribution by the model alone, then after each filter in order: the last is `sampler.probabilities`."""
    neutral = Sampler()
    so_far = neutral
    found: list[Stage] = []
    for name in STAGES:
        acts = name != "model" and getattr(sampler, name) != getattr(neutral, name)
        if acts:
            so_far = replace(so_far, **{name: getattr(sampler, name)})
        p = so_far.probabilities(logits, context) if acts or not found else found[-1].probabilities
        found.append(Stage(name, p, int(np.count_nonzero(p)), acts))
    return found


def in_view(begun: int, made: int, n_ctx: int, cache: bool = True) -> int:
    """How many of the last tokens a model sees that has `made` tokens of a reply to a prompt of `begun` tokens, and is
    to give the next: what `Decoder` keeps, in a formula."""
    first = min(begun, n_ctx)
    if made <= n_ctx - first or not cache:
        return min(first + made, n_ctx)
    half = max(1, n_ctx // 2)  # the context was full, and is so again after every n_ctx - half + 1 tokens
    return half + (made - (n_ctx - first) - 1) % (n_ctx - half + 1)


class Decoder:
    """Feeds tokens to a model and gives the logits (B, V) of what comes next; keeps to the context by itself.

    A reply goes on with the weights that the model has at its second token, see engine/prepared.py.
    cache: whether it keeps what was computed for earlier tokens; a model that is not causal never does.
    """

    def __init__(self, model: Model, batch: int = 1, cache: bool = True):
        backend.stay()
        self.model, self.cache, self.n_ctx = model, cache and model.causal, model.config.n_ctx
        self.history: list[np.ndarray] = []  # (B,) ids, one entry a token, the last n_ctx
        self.position = 0
        self.states = model.state(batch) if self.cache else []
        self._step: Callable[[np.ndarray, int], np.ndarray] | None = None

    def start(self, ids: np.ndarray) -> np.ndarray:
        """Prefill ids (B, T): logits (B, V). Of a longer prompt, the last n_ctx tokens count."""
        ids = np.asarray(ids)[:, -self.n_ctx :]
        self.model.check(ids)
        self.history = list(ids.T)
        self.close()
        return self._prefill(ids)

    def close(self) -> None:
        """Let go of what steps keep: on a GPU a graph with memory of its own."""
        if isinstance(self._step, DeviceSteps):
            self._step.close()
        self._step = None

    def next(self, ids: np.ndarray) -> np.ndarray:
        """Logits (B, V) after one more token per reply, ids (B,)."""
        self.history.append(ids)
        if not self.cache:
            self.history = self.history[-self.n_ctx :]
            return self._prefill(np.stack(self.history, 1))
        if self.position == self.n_ctx:
            self.history = self.history[-max(1, self.n_ctx // 2) :]
            return self._prefill(np.stack(self.history, 1))
        if self._step is None:  # not before it is needed: the first token should come soon
            self._step = stepper(self.model, self.states, len(ids))
        self.position += 1
        return self._step(ids, self.position - 1)

    def _prefill(self, ids: np.ndarray) -> np.ndarray:
        if not self.cache:
            return host(self.model.logits(xp.asarray(ids))[:, -1])
        for attention, network in self.states:
            attention.reset()
            network.reset()
        self.position = ids.shape[1]
        return host(self.model.prefill(xp.asarray(ids), self.states))


def stream_batch(model: Model, prompt: Sequence[int], max_tokens: int, sampler: Sampler, *, replies: int = 1,
                 cache: bool = True, skip: int = 0) -> Iterator[list[Token]]:
    """`replies` continuations of one prompt, a token of each at a time. An empty prompt starts from token id 0.

    Closing the iterator stops. Reply r draws from the stream (seed, r), so it says the same alone and in a batch.
    skip: of that stream, so many numbers are left out: those of the last tokens of a prompt that were a reply's.
    """
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if sampler.seed is None else sampler.seed
    draws = [_uniforms(backend.random(seed, "sample", reply), skip) for reply in range(replies)]
    context = [list(prompt) or [0] for _ in range(replies)]
    with guarded(model.config, lambda: "lower n_ctx, or set c_device to cpu"):
        decoder = Decoder(model, replies, cache)
        try:
            logits = decoder.start(np.array(context))
            for made in range(max_tokens):
                if made:
                    logits = decoder.next(np.array([ids[-1] for ids in context]))
                tokens = []
                for row, uniforms, ids in zip(logits, draws, context, strict=True):
                    seen = ids[-decoder.n_ctx :] if sampler.repetition != 1 else ()
                    chosen, probability = sampler.draw(row, seen, next(uniforms))
                    ids.append(chosen)
                    tokens.append(Token(chosen, probability, row))
                yield tokens
        finally:
            decoder.close()


def _uniforms(rng: np.random.Generator, skip: int = 0) -> Iterator[float]:
    """Random numbers in [0, 1), made several at a time, without the first `skip`."""
    for left in range(skip, 0, -4096):
        rng.random(min(left, 4096))
    while True:
        yield from rng.random(64).tolist()


def stream(model: Model, prompt: Sequence[int], max_tokens: int, sampler: Sampler, *,
           cache: bool = True, skip: int = 0) -> Iterator[Token]:
    """One continuation of the prompt, token by token; see `stream_batch`."""
    for tokens in stream_batch(model, prompt, max_tokens, sampler, cache=cache, skip=skip):
        yield tokens[0]
