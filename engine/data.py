"""From ids to batches: split, block shuffle, stride. Windows are never materialised; a text costs what its ids cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine import backend
from engine.config import Config
from engine.errors import TextError

_SHUFFLE_BLOCKS = 200
_AHEAD = 4096  # windows


@dataclass(frozen=True)
class Split:
    """Ids to train on and ids held back, (T,) each, in the smallest unsigned type. `validation` may be empty."""

    train: np.ndarray
    validation: np.ndarray


def split(ids: np.ndarray, config: Config) -> Split:
    """The first r_split of the text and the rest; with c_shuffle, contiguous blocks are permuted before.

    TextError when a side cannot hold one window of n_ctx + 1 tokens; validation may be empty only for r_split 1.
    """
    if config.c_shuffle:
        ids = _shuffled(ids, config)
    cut = train_tokens(len(ids), config)
    return Split(ids[:cut], ids[cut:])


def train_tokens(tokens: int, config: Config) -> int:
    """How many tokens of a text are trained on. TextError when a side cannot hold one window."""
    need = config.n_ctx + 1
    if tokens < need:
        raise TextError(f"The text has {tokens} tokens but a window needs {need}; use a longer text or lower n_ctx.")
    cut = tokens if config.r_split == 1 else min(max(round(tokens * config.r_split), need), tokens - need)
    if cut < need:
        raise TextError(f"The text has {tokens} tokens; training and validation need {need} each: use a longer text, "
                        "lower n_ctx, or set r_split to 1 for no validation.")
    return cut


def window_count(tokens: int, config: Config) -> int:
    """Windows in one epoch over `tokens` training tokens."""
    starts = tokens - config.n_ctx
    if config.s_stride == "auto":
        return max(1, (starts - 1) // config.n_ctx)  # one less than fit leaves room for the random offset
    return (starts - 1) // config.s_stride + 1


def steps(tokens: int, config: Config) -> int:
    """Steps of a run over `tokens` training tokens: n_steps, or n_epochs passes; batches run on across epochs."""
    return config.n_steps or max(1, -(-config.n_epochs * window_count(tokens, config) // config.batch_size))


def _shuffled(ids: np.ndarray, config: Config) -> np.ndarray:
    """Blocks of the text in an order that depends on n_seed only. A block holds at least 8 windows."""
    size = max(8 * (config.n_ctx + 1), -(-len(ids) // _SHUFFLE_BLOCKS))
    order = backend.random(config.n_seed, "shuffle").permutation(-(-len(ids) // size))
    return np.concatenate([ids[block * size : (block + 1) * size] for block in order])


_LANE, _PIECE = 384, 1024  # tokens
_MOST_LANES, _LANE_NUMBERS = 16, 1 << 28


def lanes(config: Config, weights: int = 0, ranks: int = 1) -> list[list[slice]]:
    """How a batch is cut: lanes, which different processes may take, of pieces, which are walked one after the other.

    Slices of the batch. A function of the configuration (and the number of weights, since every lane has a gradient of
    its own), never of the machine. A GPU takes the whole batch at once, or its part of it when `ranks` share it.
    """
    if config.c_device == "gpu":
        return [[lane] for lane in slices(0, config.batch_size, ranks)]
    tokens = config.batch_size * config.n_ctx
    wanted = 1 << max(0, (tokens // _LANE).bit_length() - 1)
    affordable = max(1, _LANE_NUMBERS // max(weights, 1))
    cut = []
    for lane in slices(0, config.batch_size, min(wanted, _MOST_LANES, affordable)):
        size = lane.stop - lane.start
        cut.append(slices(lane.start, lane.stop, max(1, round(size * config.n_ctx / _PIECE))))
    return cut


def slices(start: int, stop: int, parts: int) -> list[slice]:
    """[start, stop) in at most `parts` slices of nearly equal size."""
    parts = min(parts, stop - start)
    edges = [start + (stop - start) * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


class Windows:
    """Training windows of n_ctx + 1 tokens in an order that is a function of (n_seed, epoch).

    s_stride auto: windows stand n_ctx apart from a fresh random offset every epoch, so each token is seen once.
    Otherwise every s_stride-th window. The order is a permutation that is computed, not stored (a Feistel network,
    Luby & Rackoff 1988), so a text of a billion tokens at stride 1 needs no memory for it; it is computed for some
    thousand windows at a time, which costs hardly more than for the few of one batch.
    """

    def __init__(self, ids: np.ndarray, config: Config):
        self.width = config.n_ctx + 1
        self.windows = np.lib.stride_tricks.sliding_window_view(ids, self.width)  # at every start, and no copy
        self.batch_size = config.batch_size
        self.seed = config.n_seed
        self.auto = config.s_stride == "auto"
        self.stride = config.n_ctx if self.auto else config.s_stride
        self.count = window_count(len(ids), config)
        self.slack = len(ids) - self.width - (self.count - 1) * self.stride if self.auto else 0
        self._ahead: tuple[tuple[int, int], np.ndarray] = (-1, -1), np.empty(0, np.int64)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(inputs, targets) of step `step` (from 0): (B, n_ctx) each, int64."""
        number, end = step * self.batch_size, (step + 1) * self.batch_size
        starts = []
        while number < end:
            epoch, index = divmod(number, self.count)
            block, place = divmod(index, _AHEAD)
            starts.append(self._starts(epoch, block)[place : place + end - number])
            number += len(starts[-1])
        rows = self.windows[np.concatenate(starts)].astype(np.int64)  # (B, n_ctx + 1)
        return rows[:, :-1], rows[:, 1:]

    def _starts(self, epoch: int, block: int) -> np.ndarray:
        """Where the windows of a block of an epoch begin. The last answer is kept."""
        key, starts = self._ahead
        if key != (epoch, block):
            rng = backend.random(self.seed, "order", epoch)
            offset = int(rng.integers(0, min(self.slack, self.stride - 1) + 1)) if self.slack else 0
            keys = rng.integers(0, 1 << 32, 4, np.uint64)
            index = np.arange(block * _AHEAD, min((block + 1) * _AHEAD, self.count))
            starts = offset + permute(index, self.count, keys) * self.stride
            self._ahead = (epoch, block), starts
        return starts


def permute(index: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of 0 … size-1 applied to `index` (any shape, int64): Feistel rounds, walking back into range."""
    half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    out = index.astype(np.uint64)
    todo = np.ones(out.shape, bool)
    while todo.any():
        left, right = out[todo] >> np.uint64(half), out[todo] & mask
        for key in keys:
            mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ (mixed >> np.uint64(32) & mask)
        out[todo] = left << np.uint64(half) | right
        todo = out >= np.uint64(size)
    return out.astype(np.int64)


def passes(ids: np.ndarray, n_ctx: int, tokens: int,
           limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(inputs, targets) that cover `ids` once, every target exactly once, about `tokens` tokens at a time.

    limit: at most about this many targets, in windows spread evenly; the last, shorter window is left out.
    """
    count = (len(ids) - 1) // n_ctx
    starts = np.arange(count) * n_ctx
    if limit is not None and count * n_ctx > limit:
        wanted = max(1, limit // n_ctx)
        starts = starts[np.linspace(0, count - 1, wanted).round().astype(int)]
    per = max(1, tokens // n_ctx)
    across = np.arange(n_ctx + 1)
    for begin in range(0, len(starts), per):
        rows = ids[starts[begin : begin + per, None] + across].astype(np.int64)
        yield rows[:, :-1], rows[:, 1:]
    rest = ids[count * n_ctx :].astype(np.int64)
    if len(rest) > 1 and len(starts) == count:
        yield rest[None, :-1], rest[None, 1:]
