"""Arguments of cuBLAS: what a library that reads memory as BLAS does makes of them is what np.matmul makes."""

from __future__ import annotations

import gc
import itertools
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_cublas import FakeCublas
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import cublas
from engine.cublas import COMPUTE_32F, COMPUTE_32F_FAST_16F, COMPUTE_32F_FAST_TF32, COMPUTE_64F, Library, Products


class Device(np.ndarray):
    """A NumPy array that tells its address as CuPy's do."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


def device(x: np.ndarray) -> Any:
    return x.view(Device)


class Memory:
    """Where arrays lie amid numbers that would spoil every result that reads one, and that nobody may write."""

    def __init__(self, dtype: Any):
        self.block = np.full(1 << 14, np.nan, dtype)
        self.rng = np.random.default_rng(0)
        self._end = 64
        self._mine = np.zeros(self.block.shape, bool)

    def array(self, shape: tuple[int, ...], strides: tuple[int, ...], filled: bool = True) -> Any:
        """An array of `shape` with strides in elements, negative ones too."""
        low = sum((n - 1) * min(s, 0) for n, s in zip(shape, strides, strict=True))
        high = sum((n - 1) * max(s, 0) for n, s in zip(shape, strides, strict=True))
        start = self._end - low
        self._end = start + high + 1 + 64
        assert self._end < len(self.block)
        size = self.block.itemsize
        own, mine = (np.lib.stride_tricks.as_strided(x[start:], shape, [s * x.itemsize for s in strides])
                     for x in (self.block, self._mine))
        mine[...] = True
        if filled:
            own[...] = self.rng.standard_normal(shape)
        assert own.strides == tuple(s * size for s in strides)
        return device(own)

    def untouched(self) -> bool:
        return bool(np.isnan(self.block[~self._mine]).all())


def products(fast: str = "", stream: list[int] | None = None) -> tuple[Products, FakeCublas]:
    """Products through a library in Python."""
    fake, at, workspace = FakeCublas(), stream or [7], np.zeros(cublas.WORKSPACE + 256, np.uint8)
    cuda = SimpleNamespace(runtime=SimpleNamespace(getDevice=lambda: 0),
                           get_current_stream=lambda: SimpleNamespace(ptr=at[0]),
                           alloc=lambda size: SimpleNamespace(ptr=-(-workspace.ctypes.data // 256) * 256))
    fake.workspace = workspace  # type: ignore[attr-defined]
    cupy = SimpleNamespace(cuda=cuda, matmul=lambda a, b, out=None: device(np.matmul(a, b, out=out)),
                           empty=lambda shape, dtype: device(np.empty(shape, dtype)),
                           ascontiguousarray=lambda x: device(np.array(x, order="C")))
    return Products(cupy, Library(fake), fast), fake


def close(found: Any, a: Any, b: Any) -> None:
    exact = np.matmul(np.asarray(a, np.float64), np.asarray(b, np.float64))
    assert found.shape == exact.shape
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=2e-2 if found.dtype == np.float16 else 1e-5,
                               atol=2e-2 if found.dtype == np.float16 else 1e-5)


def layouts(rows: int, columns: int) -> list[tuple[int, int]]:
    """Strides of a matrix: by rows and by columns, dense and with room, and two that BLAS cannot read."""
    return [(columns, 1), (columns + 3, 1), (1, rows), (1, rows + 2), (2 * columns, 2), (-columns, 1)]


@pytest.mark.parametrize(("n", "k", "m"), [(4, 3, 5), (1, 3, 5), (4, 1, 5), (4, 3, 1), (1, 1, 5), (1, 3, 1), (1, 1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_every_layout_of_a_matrix(n: int, k: int, m: int, dtype: Any) -> None:
    """All of a, b and the result."""
    for a_strides, b_strides, out_strides in itertools.product(layouts(n, k), layouts(k, m), layouts(n, m)):
        memory = Memory(dtype)
        a, b = memory.array((n, k), a_strides), memory.array((k, m), b_strides)
        out = memory.array((n, m), out_strides, filled=False)
        call, _ = products()
        assert call.matmul(a, b, out) is out
        close(out, a, b)
        assert memory.untouched()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_batches(data: st.DataObject) -> None:
    """Up to three batch dimensions in any order in memory, broadcast or not, read from buffers wider than they are."""
    n, k, m = (data.draw(st.integers(1, 4)) for _ in range(3))
    batch = data.draw(st.lists(st.integers(1, 3), max_size=3))
    memory = Memory(np.float64)
    arrays = []
    for number, matrix in enumerate(((n, k), (k, m), (n, m))):
        own = [1 if number < 2 and data.draw(st.booleans()) else size for size in batch]
        shape = (*own, *matrix)
        order = data.draw(st.permutations(range(len(shape))))
        strides, step = [0] * len(shape), 1
        for axis in reversed(order):
            strides[axis] = step
            step *= shape[axis] + data.draw(st.integers(0, 1))
        arrays.append(memory.array(shape, tuple(strides), filled=number < 2))
    a, b, out = arrays
    call, _ = products()
    expected = np.matmul(a.view(np.ndarray), b.view(np.ndarray))
    if expected.shape == out.shape:
        call.matmul(a, b, out)
        close(out, a, b)
    close(call.matmul(a, b), a, b)
    assert memory.untouched()


def test_the_layouts_of_attention_and_gradients() -> None:
    """Views of one buffer of q, k and v head beside head; xᵀ·dy; sums as products with ones: no operand is copied."""
    B, T, k, g, d = 2, 5, 3, 2, 4
    memory = Memory(np.float32)
    qkv = memory.array((B, T, (k * g + 2 * k) * d), (T * (k * g + 2 * k) * d, (k * g + 2 * k) * d, 1))
    q = device(qkv[..., : k * g * d].reshape(B, T, k, g, d).transpose(0, 2, 3, 1, 4))
    kv = device(qkv[..., k * g * d :].reshape(B, T, 2, k, 1, d).transpose(2, 0, 3, 4, 1, 5))
    call, fake = products()
    call._cupy.ascontiguousarray = None
    close(call.matmul(q, device(kv[0].swapaxes(-1, -2))), q, kv[0].swapaxes(-1, -2))
    assert len(fake.calls) == min(B * k, g) * min(B, k)  # one loop over what has no stride of its own, and one batch
    x, dy = memory.array((6, 4), (4, 1)), memory.array((6, 5), (5, 1))
    into = memory.array((4, 5), (5, 1), filled=False)
    close(call.matmul(device(x.T), dy, into), x.T, dy)
    ones = memory.array((6,), (1,))
    ones[...] = 1
    sums = memory.array((4,), (1,), filled=False)
    np.testing.assert_allclose(call.matmul(ones, x, sums), x.sum(0), rtol=1e-5)
    np.testing.assert_allclose(call.matmul(x, device(np.ones(4, np.float32))), x.sum(1), rtol=1e-5)
    assert memory.untouched()


def test_vectors_of_batches() -> None:
    """A vector on either side of matrices in a batch, and of another vector."""
    memory = Memory(np.float64)
    a, v, w = memory.array((3, 2, 4), (8, 4, 1)), memory.array((4,), (2,)), memory.array((2,), (1,))
    call, _ = products()
    close(call.matmul(a, v), a, v)
    close(call.matmul(w, a), w, a)
    close(call.matmul(v, v), v, v)
    out = memory.array((3, 2), (2, 1), filled=False)
    assert call.matmul(a, v, out) is out
    close(out, a, v)
    assert memory.untouched()


def test_rows_that_share_a_matrix_are_one_product() -> None:
    """(B, T, D)·(D, E) is one product of B·T rows; so is one row of each of B."""
    memory = Memory(np.float32)
    weight = memory.array((4, 3), (3, 1))
    call, fake = products()
    for shape in ((5, 6, 4), (5, 1, 4)):
        x = memory.array(shape, (shape[1] * 4, 4, 1))
        close(call.matmul(x, weight), x, weight)
    assert fake.calls == [(3, 30, 4, 1), (3, 5, 4, 1)]


def test_many_matrices_are_several_calls() -> None:
    """Some of cuBLAS's kernels take no more than 65535."""
    plan = cublas.plan((70000, 1, 2), (70000, 2, 1), (70000, 1, 1), (2, 2, 1), (2, 1, 1), (1, 1, 1))
    assert plan.offsets == ((0, 0, 0, 65535), (2 * 65535, 2 * 65535, 65535, 70000 - 65535))


def test_nothing_to_sum_and_nothing_to_write() -> None:
    call, fake = products()
    zero = call.matmul(device(np.ones((2, 0))), device(np.ones((0, 3))), device(np.full((2, 3), np.nan)))
    assert (np.asarray(zero) == 0).all()
    assert call.matmul(device(np.ones((0, 2))), device(np.ones((2, 3)))).shape == (0, 3)
    assert not fake.calls


@pytest.mark.parametrize(("dtype", "fast", "compute"), [
    (np.float32, "", COMPUTE_32F), (np.float32, "tf32", COMPUTE_32F_FAST_TF32),
    (np.float32, "fp16", COMPUTE_32F_FAST_16F), (np.float64, "tf32", COMPUTE_64F), (np.float16, "", COMPUTE_32F)])
def test_what_is_computed_in(dtype: Any, fast: str, compute: int) -> None:
    call, fake = products(fast)
    call.matmul(device(np.ones((2, 3), dtype)), device(np.ones((3, 2), dtype)))
    assert fake.computed == [compute]


def test_the_workspace_follows_the_stream() -> None:
    """Setting a stream makes cuBLAS forget the workspace; it is given again, and once only."""
    stream = [7]
    call, fake = products(stream=stream)
    x = device(np.ones((2, 2)))
    for stream[0] in (7, 8, 7):
        call.matmul(x, x)
        (handle,) = fake.streams
        assert fake.streams[handle] == stream[0]
        assert fake.workspaces[handle][1] == cublas.WORKSPACE


def test_a_thread_gives_its_handle_back() -> None:
    call, fake = products()
    x = device(np.ones((2, 2)))
    call.matmul(x, x)
    for _ in range(3):
        thread = threading.Thread(target=lambda: call.matmul(x, x))
        thread.start()
        thread.join()
    gc.collect()
    assert len(fake.streams) == 4 and len(fake.destroyed) == 3
    call.matmul(x, x)
    assert len(fake.streams) == 4, "this thread's is still there"


def test_wrong_shapes_are_refused() -> None:
    call, _ = products()
    with pytest.raises(ValueError, match="cannot be multiplied"):
        call.matmul(device(np.ones((2, 3))), device(np.ones((2, 3))))
    with pytest.raises(ValueError, match="does not fit"):
        call.matmul(device(np.ones((2, 3))), device(np.ones((3, 2))), device(np.ones((2, 3))))
