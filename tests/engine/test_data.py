"""Split, block shuffle, windows and passes. Texts are 0, 1, 2, …, so that an id is its own place."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import backend, data, processor
from engine.config import Config
from engine.data import Windows, lanes, passes, permute, split
from engine.errors import TextError


def text(length: int) -> np.ndarray:
    return np.arange(length, dtype=np.uint32)


def config(**values) -> Config:
    return Config.read({"n_ctx": 7, "batch_size": 3, **values})


def epoch_starts(windows: Windows, epoch: int) -> np.ndarray:
    """Where the windows of an epoch begin, in order; batch_size must be 1."""
    assert windows.batch_size == 1
    steps = range(epoch * windows.count, (epoch + 1) * windows.count)
    return np.array([windows.batch(step)[0][0, 0] for step in steps])


# Split ----------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(2, 3000), st.floats(0.01, 1.0))
@example(4, 10, 0.5)
@example(4, 9, 0.5)
@example(4, 9, 1.0)
def test_a_split_is_the_text_in_two_or_a_sentence(n_ctx, length, share):
    ids, need = text(length), n_ctx + 1
    try:
        found = split(ids, config(n_ctx=n_ctx, r_split=share))
    except TextError as error:
        assert length < (need if share == 1 else 2 * need)
        assert str(length) in str(error) and str(need) in str(error) and str(error).endswith(".")
        return
    assert np.array_equal(np.concatenate([found.train, found.validation]), ids)
    assert len(found.train) >= need
    if share == 1:
        assert len(found.validation) == 0
    else:
        assert len(found.validation) >= need
        wanted = length * share
        assert abs(len(found.train) - wanted) <= max(0.5, need - wanted, wanted - (length - need))


def test_a_split_copies_nothing():
    ids = text(1000)
    found = split(ids, config())
    assert np.shares_memory(found.train, ids) and np.shares_memory(found.validation, ids)


@pytest.mark.parametrize(("n_ctx", "length"), [(4, 1000), (7, 20_011), (1, 3), (200, 1700)])
def test_block_shuffle(n_ctx, length):
    ids = text(length)
    cfg = config(n_ctx=n_ctx, c_shuffle=True, r_split=0.5 if length > 3 else 1.0)
    found = split(ids, cfg)
    shuffled = np.concatenate([found.train, found.validation])
    assert np.array_equal(np.sort(shuffled), ids), "every token once"
    breaks = np.flatnonzero(np.diff(shuffled.astype(int)) != 1) + 1
    runs = np.split(shuffled, breaks)
    size = max(8 * (n_ctx + 1), -(-length // 200))
    assert all(run[0] % size == 0 for run in runs), "blocks are moved whole"
    assert all(len(run) % size == 0 or run[-1] == length - 1 for run in runs)
    assert len(runs) <= 200
    if length > 4 * size:
        assert len(runs) > 2 and not np.array_equal(shuffled, ids)


def test_block_shuffle_depends_on_the_seed_only():
    def order(**values) -> bytes:
        found = split(text(20_000), config(c_shuffle=True, **values))
        return np.concatenate([found.train, found.validation]).tobytes()

    assert order() == order(r_split=0.6) == order(batch_size=9, r_learn=0.1, n_layers=1)
    assert len({order(n_seed=seed) for seed in range(5)}) == 5


# Windows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [8, 9, 14, 15, 16, 21, 22, 23, 100, 701])
def test_stride_auto_reads_each_token_once_in_an_epoch(length):
    n_ctx = 7
    windows = Windows(text(length), config(batch_size=1))
    offsets = set()
    for epoch in range(40):
        inputs, targets = zip(*(windows.batch(epoch * windows.count + i) for i in range(windows.count)), strict=True)
        assert all(np.array_equal(x + 1, y) for x, y in zip(inputs, targets, strict=True))
        read = np.sort(np.concatenate(targets).ravel())
        assert len(set(read.tolist())) == len(read) == windows.count * n_ctx
        assert np.array_equal(read, np.arange(read[0], read[0] + len(read))), "windows stand side by side"
        assert 1 <= read[0] <= n_ctx and read[-1] < length
        assert len(read) > length - 1 - 2 * n_ctx
        offsets.add(int(read[0]) - 1)
    assert offsets == set(range(min(n_ctx, length - windows.count * n_ctx))), "every offset comes up"


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [8, 9, 30, 101])
def test_a_stride_gives_each_window_start_once_in_an_epoch(stride, length):
    windows = Windows(text(length), config(batch_size=1, s_stride=stride))
    for epoch in (0, 1, 5):
        assert sorted(epoch_starts(windows, epoch)) == list(range(0, length - 7, stride))


def test_windows_do_not_cross_the_split():
    ids = text(500)
    found = split(ids, config(r_split=0.7))
    for stride in ("auto", 1):
        windows = Windows(found.train, config(s_stride=stride))
        last = max(int(windows.batch(step)[1].max()) for step in range(3 * -(-windows.count // windows.batch_size)))
        assert last <= 349


def test_order_depends_on_seed_and_epoch():
    def starts(epoch: int, **values) -> list[int]:
        return epoch_starts(Windows(text(300), config(batch_size=1, s_stride=1, **values)), epoch).tolist()

    assert starts(0) == starts(0, r_learn=0.1, n_steps=5, n_layers=1)
    assert starts(0) != starts(1) != starts(2)
    assert starts(0) != starts(0, n_seed=2)
    assert starts(0) != sorted(starts(0))


def test_order_does_not_depend_on_the_batch_size():
    together = np.concatenate([Windows(text(300), config(batch_size=5)).batch(step)[0][:, 0] for step in range(20)])
    alone = [int(Windows(text(300), config(batch_size=1)).batch(step)[0][0, 0]) for step in range(100)]
    assert together.tolist() == alone


def test_batches_are_the_same_in_any_order():
    cfg = config(batch_size=5, s_stride=2)
    forward = [Windows(text(60), cfg).batch(step) for step in range(30)]
    backward = Windows(text(60), cfg)
    for step in reversed(range(30)):
        assert all(np.array_equal(a, b) for a, b in zip(forward[step], backward.batch(step), strict=True))
    inputs, targets = forward[0]
    assert inputs.shape == targets.shape == (5, 7) and inputs.dtype == targets.dtype == np.int64


@pytest.mark.parametrize("ahead", [1, 4, 4096])
@pytest.mark.parametrize("stride", [1, 3, "auto"])
@pytest.mark.parametrize(("length", "batch"), [(9, 5), (60, 5), (61, 7), (500, 2)])
def test_batches_are_those_of_whole_epochs(length, batch, stride, ahead, monkeypatch):
    monkeypatch.setattr(data, "_AHEAD", ahead)
    windows = Windows(text(length), config(batch_size=batch, s_stride=stride))
    starts: list[int] = []
    for epoch in range(-(-20 * batch // windows.count)):  # all of an epoch at once, epoch after epoch
        rng = backend.random(1, "order", epoch)
        offset = int(rng.integers(0, min(windows.slack, 6) + 1)) if windows.slack else 0
        order = permute(np.arange(windows.count), windows.count, rng.integers(0, 1 << 32, 4, np.uint64))
        starts += (offset + order * (7 if stride == "auto" else stride)).tolist()
    for step in (*range(20), 3, 11):
        inputs, targets = windows.batch(step)
        assert inputs.tolist() == [[*range(at, at + 7)] for at in starts[step * batch : (step + 1) * batch]]
        assert np.array_equal(targets, inputs + 1)


@pytest.mark.parametrize(("length", "batch", "epochs", "steps"), [
    (71, 3, 1, 3),  # 9 windows of 7 side by side, at any of the offsets
    (71, 9, 2, 2), (71, 10, 2, 2), (71, 100, 1, 1), (8, 3, 1, 1)])
def test_steps_of_epochs(length, batch, epochs, steps):
    assert data.steps(length, config(batch_size=batch, n_epochs=epochs)) == steps


def test_neighbouring_windows_are_far_apart_in_the_order():
    """A shuffle that is none would hide in a test of distinctness: starts must look uncorrelated."""
    starts = epoch_starts(Windows(text(3007), config(batch_size=1, s_stride=1)), 0)
    assert abs(np.corrcoef(starts[:-1], starts[1:])[0, 1]) < 0.08
    assert abs(np.corrcoef(starts, np.arange(len(starts)))[0, 1]) < 0.08


@given(st.integers(1, 5000), st.integers(0, 2**32))
@settings(max_examples=150)
@example(1, 0)
@example(2, 1)
@example(4096, 2)
@example(4097, 3)
def test_permute_is_a_bijection(size, seed):
    keys = np.random.default_rng(seed).integers(0, 1 << 32, 4, np.uint64)
    index = np.arange(size)
    found = permute(index, size, keys)
    assert np.array_equal(np.sort(found), index) and np.array_equal(index, np.arange(size))
    some = np.random.default_rng(seed).integers(0, size, 5)
    assert np.array_equal(permute(some, size, keys), found[some])


@given(st.integers(2**30, 2**61), st.integers(0, 2**32))
@settings(max_examples=30)
def test_permute_of_very_many(size, seed):
    keys = np.random.default_rng(seed).integers(0, 1 << 32, 4, np.uint64)
    index = np.unique(np.random.default_rng(seed + 1).integers(0, size, 1000))
    found = permute(index, size, keys)
    assert found.min() >= 0 and found.max() < size and len(np.unique(found)) == len(index)


def test_windows_need_no_memory():
    """5 MB of ids have 5 million windows at stride 1: a list of their starts alone would take 40 MB."""
    ids = np.zeros(5_000_000, np.uint8)
    for stride in (1, "auto"):
        tracemalloc.start()
        try:
            found = split(ids, config(n_ctx=64, batch_size=12, s_stride=stride))
            windows = Windows(found.train, config(n_ctx=64, batch_size=12, s_stride=stride))
            for step in (0, 1, 10**6):
                windows.batch(step)
            next(passes(ids, 64, 1024))
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()


def test_shuffling_blocks_needs_one_copy():
    ids = np.zeros(5_000_000, np.uint8)
    tracemalloc.start()
    try:
        split(ids, config(n_ctx=64, c_shuffle=True))
        assert tracemalloc.get_traced_memory()[1] < 5_500_000
    finally:
        tracemalloc.stop()


# Passes ---------------------------------------------------------------------------------------------------------------


@given(st.integers(2, 400), st.integers(1, 20), st.integers(1, 100))
def test_passes_give_every_target_once(length, n_ctx, tokens):
    seen = []
    for inputs, targets in passes(text(length), n_ctx, tokens):
        assert np.array_equal(inputs + 1, targets) and inputs.shape[1] <= n_ctx
        assert inputs.size <= max(tokens, n_ctx)
        seen += targets.ravel().tolist()
    assert seen == list(range(1, length))


@given(st.integers(2, 2000), st.integers(1, 20), st.integers(1, 3000))
def test_limited_passes_are_spread_evenly(length, n_ctx, limit):
    starts, count = [], 0
    for inputs, targets in passes(text(length), n_ctx, 64, limit):
        assert np.array_equal(inputs + 1, targets)
        starts += inputs[:, 0].tolist()
        count += targets.size
    assert len(set(starts)) == len(starts) and starts == sorted(starts)
    whole = (length - 1) // n_ctx
    if whole * n_ctx > limit:
        assert count <= max(limit, n_ctx)
        assert len(starts) == max(1, limit // n_ctx)
        if len(starts) > 1:
            assert starts[0] == 0 and starts[-1] == (whole - 1) * n_ctx, "from the beginning to the end"
            gaps = np.diff(starts) // n_ctx
            assert gaps.max() - gaps.min() <= 1
    else:
        assert count == length - 1


# Lanes ----------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 2000), st.integers(0, 10**9))
def test_lanes_cover_the_batch_once(batch, n_ctx, weights):
    cut = lanes(config(batch_size=batch, n_ctx=n_ctx), weights)
    rows = [row for lane in cut for piece in lane for row in range(piece.start, piece.stop)]
    assert rows == list(range(batch)) and all(piece.stop > piece.start for lane in cut for piece in lane)
    assert 1 <= len(cut) <= 16 and len(cut) * weights <= max(1 << 28, weights)
    sizes = [sum(piece.stop - piece.start for piece in lane) for lane in cut]
    assert max(sizes) - min(sizes) <= 1, "lanes are equally long"
    assert len(cut) == 1 or batch * n_ctx >= 384 * len(cut), "a lane is worth a process"


def test_lanes_do_not_depend_on_the_machine(monkeypatch):
    cfg = config(batch_size=24, n_ctx=64)
    found = lanes(cfg)
    assert len(found) == 4
    monkeypatch.setattr(processor, "cores", lambda: 64)
    assert lanes(cfg.replace(c_device_cpu_cores=3, n_seed=5)) == found
