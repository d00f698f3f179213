"""Every CUDA kernel against its NumPy twin: on a GPU where there is one, and its very source on the CPU everywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

from engine import kernels
from engine.backend import xp
from engine.kernels import masks
from engine.kernels.update import State

RATE = 0.25
DTYPES = [np.float32, np.float64]


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)], autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where kernels run."""
    if request.param == "gpu":
        module = pytest.importorskip("cupy")
    elif not shutil.which("g++"):
        pytest.skip("there is no g++ to compile the kernels with")
    else:
        module = cuda_on_cpu.arrays
    xp._switch(module)
    yield request.param
    xp._switch(np)
    cuda_on_cpu.order = 1


def place(x: Any) -> Any:
    """x on the device, or in guarded memory; what is no array stays what it is."""
    if not isinstance(x, np.ndarray):
        return x
    return cuda_on_cpu.guarded(x) if xp._module is cuda_on_cpu.arrays else xp.asarray(x)


def back(x: Any) -> np.ndarray:
    return x if isinstance(x, np.ndarray) else x.get()


def both(name: str, *args: Any, **options: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What a kernel and its twin make of copies of the same arguments: what they return, then the arguments."""
    results = []
    for function, put in ((getattr(kernels, name), place),
                          (kernels.TWINS[name], lambda x: x.copy() if isinstance(x, np.ndarray) else x)):
        given = [put(x) for x in args]
        named = {key: put(x) for key, x in options.items()}
        returned = function(*given, **named)
        returned = returned if isinstance(returned, tuple) else (returned,)
        results.append([back(x) for x in (*returned, *given) if hasattr(x, "shape")])
    return results[0], results[1]


def close(name: str, *args: Any, tolerance: float = 1.0, **options: Any) -> list[np.ndarray]:
    """Assert that a kernel gives what its twin gives; returns what it gave."""
    found, expected = both(name, *args, **options)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        scale = float(np.abs(b).max(initial=0)) if b.dtype.kind == "f" else 0
        eps = np.finfo(b.dtype).eps if b.dtype.kind == "f" else 0
        np.testing.assert_allclose(a, b, rtol=30 * tolerance * eps, atol=20 * tolerance * eps * scale)
    return found


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def state() -> np.ndarray:
    return kernels.random_state(7, 123, 2)


# Rows -----------------------------------------------------------------------------------------------------------------

ROWS = [(1, 1), (3, 5), (7, 33), (2, 128), (300, 31), (5, 1025)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS)
def test_layer_norm(shape: tuple[int, int], dtype: Any) -> None:
    x = 3 + normal(0, *shape, dtype=dtype)
    gamma, beta = normal(1, shape[1], dtype=dtype), normal(2, shape[1], dtype=dtype)
    close("layer_norm", x, gamma, beta, tolerance=20)
    close("layer_norm", x, gamma, beta, False, tolerance=20)
    _, xhat, scale = kernels.TWINS["layer_norm"](x, gamma, beta)
    close("layer_norm_backward", normal(3, *shape, dtype=dtype), gamma, xhat, scale, tolerance=20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS)
def test_column_sums(shape: tuple[int, int], dtype: Any) -> None:
    close("column_sums", normal(0, *shape, dtype=dtype), tolerance=10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.0, RATE])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 9, 9), (2, 3, 20), (1, 2, 40, 300)])
def test_softmax(shape: tuple[int, ...], causal: bool, rate: float, dtype: Any) -> None:
    options = {"scale": 0.7, "rate": rate, "state": state(), "call": 3}
    close("softmax", 3 * normal(0, *shape, dtype=dtype), causal=causal, **options)
    p, _ = kernels.TWINS["softmax"](normal(0, *shape, dtype=dtype), causal=causal)
    close("softmax_backward", normal(1, *shape, dtype=dtype), p, **options)


def test_softmax_of_large_scores_does_not_overflow() -> None:
    (p, *_), _ = both("softmax", np.array([[1e4, 1e4 - 1, -1e30]], np.float32))
    np.testing.assert_allclose(p, [[1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 2), (7, 65), (3, 1000), (2, 5000)])
def test_cross_entropy(shape: tuple[int, int], dtype: Any) -> None:
    logits = 5 * normal(0, *shape, dtype=dtype)
    targets = np.random.default_rng(1).integers(0, shape[1], shape[0])
    close("cross_entropy", logits, targets, tolerance=5 if dtype == np.float64 else 1e9)
    found, expected = both("cross_entropy", logits, targets, 1 / shape[0], np.array([128.0]))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5 if dtype == np.float32 else 1e-13, atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)


# Numbers one by one ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 1024), (33, 100)])
@pytest.mark.parametrize("biased", [False, True])
def test_gelu(shape: tuple[int, int], biased: bool, dtype: Any) -> None:
    x, bias = 3 * normal(0, *shape, dtype=dtype), normal(1, shape[1], dtype=dtype) if biased else None
    close("gelu", x, bias)
    close("gelu_backward", normal(2, *shape, dtype=dtype), x, bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("swish", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_gated_halves(swish: bool, biased: bool, dtype: Any) -> None:
    """The halves of a product's columns, as swi and gln have them."""
    N, F = 37, 45
    wide, biases = normal(0, N, 2 * F, dtype=dtype), normal(1, 2 * F, dtype=dtype) if biased else None
    dy = normal(2, N, F, dtype=dtype)
    results = []
    for functions, put in ((vars(kernels), place), (kernels.TWINS, np.copy)):
        x, b, d = put(wide), None if biases is None else put(biases), put(dy)
        halves = (x[:, :F], x[:, F:], swish, *((None, None) if b is None else (b[:F], b[F:])))
        y = functions["gated"](*halves)
        functions["gated_backward"](d, *halves)
        results.append((back(y), back(x)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=100 * np.finfo(dtype).eps, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gated_groups_into_a_shuffled_view(dtype: Any) -> None:
    """As ggl has them: groups one after the other, the result where the shuffle puts it."""
    G, N, F = 3, 11, 8
    u, z, dy = (normal(i, G, N, F, dtype=dtype) for i in range(3))
    results = []
    for functions, put in ((vars(kernels), place), (kernels.TWINS, np.copy)):
        a, b, y = put(u), put(z), put(np.zeros((N, F * G), dtype))
        shuffled = y.reshape(N, F, G).transpose(2, 0, 1)
        functions["gated"](a, b, False, out=shuffled)
        d = put(np.ascontiguousarray(dy.transpose(1, 2, 0))).transpose(2, 0, 1)
        functions["gated_backward"](d, a, b, False)
        results.append((back(y), back(a), back(b)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=100 * np.finfo(dtype).eps, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_bias(dtype: Any) -> None:
    close("add_bias", normal(0, 50, 43, dtype=dtype), normal(1, 43, dtype=dtype))


# Dropout --------------------------------------------------------------------------------------------------------------


def test_philox_gives_the_known_answers() -> None:
    """The vectors of Random123 (kat_vectors, philox4x32 10)."""
    def one(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
        words = np.array([*key, counter[2], counter[3]], np.uint32)
        group = counter[0] | counter[1] >> 16 << 32
        return [int(x) for x in masks.philox(np.array(group), words, counter[1] & 0xFFFF)]

    assert one((0, 0, 0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    full = 0xFFFFFFFF
    assert one((full, full, full, full), (full, full)) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert one((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
               (0xA4093822, 0x299F31D0)) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 8, 2047, 5001])
def test_dropout(size: int, dtype: Any) -> None:
    x = normal(0, size, dtype=dtype)
    found = close("dropout", x, RATE, state(), 5)
    if size > 5000:
        assert abs((found[0] == 0).mean() - RATE) < 4 * np.sqrt(RATE * (1 - RATE) / size)


def test_dropout_depends_on_seed_step_shard_and_call() -> None:
    x = np.ones(400, np.float32)
    kinds = [(kernels.random_state(*numbers), call) for numbers, call in
             (((7, 1, 0), 0), ((8, 1, 0), 0), ((7, 2, 0), 0), ((7, 1, 1), 0), ((7, 1, 0), 1))]
    found = [back(kernels.dropout(place(x), RATE, place(words), call)).tobytes() for words, call in kinds]
    assert len(set(found)) == len(found)
    again = back(kernels.dropout(place(x), RATE, place(kinds[0][0]), 0)).tobytes()
    assert again == found[0]


# Attention ------------------------------------------------------------------------------------------------------------

ATTENTION = [  # B, k, g, T, t, d, window
    (1, 1, 1, 1, 1, 4, 0), (2, 2, 1, 7, 7, 4, 0), (1, 2, 3, 33, 33, 17, 0), (1, 1, 1, 70, 70, 64, 0),
    (1, 1, 2, 40, 40, 17, 9), (1, 1, 1, 65, 65, 4, 33), (2, 1, 2, 5, 41, 17, 0), (1, 1, 1, 1, 50, 4, 16),
]


def heads(seed: int, B: int, k: int, g: int, T: int, d: int, dtype: Any, put: Callable[[np.ndarray], Any]) -> Any:
    """(B, k, g, T, d) as a view of (B, T, (k·g + 1)·d): strided, and a head's channels next to those of others."""
    x = put(normal(seed, B, T, (k * g + 1) * d, dtype=dtype))[..., d:]
    return x.reshape(B, T, k, g, d).transpose(0, 2, 3, 1, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [pytest.param(0.0, marks=pytest.mark.slow), RATE])
@pytest.mark.parametrize("sizes", ATTENTION)
def test_attention(sizes: tuple[int, ...], rate: float, dtype: Any) -> None:
    B, k, g, T, t, d, window = sizes
    results = []
    for functions, put in ((vars(kernels), place), (kernels.TWINS, np.copy)):
        def make(seed: int, g: int, T: int, put: Callable[[np.ndarray], Any] = put) -> Any:
            return heads(seed, B, k, g, T, d, dtype, put)

        q, keys, values, do = make(0, g, T), make(1, 1, t), make(2, 1, t), make(3, g, T)
        o, dq, dk, dv = make(4, g, T), make(5, g, T), make(6, 1, t), make(7, 1, t)
        options = (d**-0.5, window, rate, put(state()), 2)
        lse = functions["attention"](q, keys, values, o, *options)
        functions["attention_backward"](do, q, keys, values, o, lse, dq, dk, dv, *options)
        results.append([back(x) for x in (lse, o, dq, dk, dv)])
    for a, b in zip(*results, strict=True):
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(a, b, rtol=50 * eps, atol=60 * eps * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize(("d", "dtype"), [
    (65, np.float32), pytest.param(96, np.float32, marks=pytest.mark.slow),
    pytest.param(128, np.float32, marks=pytest.mark.slow), (65, np.float64)])
def test_attention_of_large_heads(d: int, dtype: Any) -> None:
    assert kernels.fits(d, dtype)
    test_attention((1, 1, 2, 19, 19, d, 0), RATE, dtype)


def test_heads_that_do_not_fit_are_refused() -> None:
    assert not kernels.fits(129, np.float32)
    assert not kernels.fits(128, np.float64)
    q = place(normal(0, 1, 1, 1, 2, 129))
    with pytest.raises(ValueError, match="129 channels"):
        kernels.attention(q, q, q, q, 1.0)


def test_attention_of_large_scores_does_not_overflow() -> None:
    x = place(np.full((1, 1, 1, 40, 16), 100.0, np.float32))
    o = place(np.zeros((1, 1, 1, 40, 16), np.float32))
    kernels.attention(x, x, x, o, 1.0)
    np.testing.assert_allclose(back(o), 100.0, rtol=1e-6)


# Sums over time and tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (1, 16, 32), (2, 53, 40), (3, 100, 33)])
def test_average(shape: tuple[int, int, int], dtype: Any) -> None:
    D = shape[2]
    results = []
    for functions, put in ((vars(kernels), place), (kernels.TWINS, np.copy)):
        kv = normal(0, *shape[:2], 2 * D, dtype=dtype)
        kv[0, 0, 0] = 30  # clipped
        kv, dkv = put(kv), put(np.zeros_like(kv))
        k, v = kv[..., :D], kv[..., D:]
        y, weights, sums = functions["average"](k, v, 0.8, True)
        dy = put(normal(1, *shape, dtype=dtype))
        functions["average_backward"](dy, k, v, y, weights, dkv[..., :D], dkv[..., D:], 0.8)
        results.append([back(x) for x in (y, weights, sums, dkv)])
    for a, b in zip(*results, strict=True):
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(a, b, rtol=200 * eps, atol=50 * eps * np.abs(b).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (1, 40, 33), (3, 100, 7)])
@pytest.mark.parametrize(("K", "before"), [(1, 0), (4, 3), (8, 7), (8, 4), (5, 2)])
def test_convolve(shape: tuple[int, int, int], K: int, before: int, dtype: Any) -> None:
    D = shape[2]
    n, weight, bias = normal(0, *shape, dtype=dtype), normal(1, D, K, dtype=dtype), normal(2, D, dtype=dtype)
    close("convolve", n, weight, bias, before)
    c = kernels.TWINS["convolve"](n, weight, bias, before)
    close("convolve_backward", normal(3, *shape, dtype=dtype), c, n, weight, before, tolerance=5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "D", "size"), [(1, 1, 1), (300, 5, 3), (1000, 40, 65), (700, 1030, 4), (90, 6, 1500)])
def test_scatter_rows(N: int, D: int, size: int, dtype: Any) -> None:
    ids = np.random.default_rng(0).integers(0, size, N)
    close("scatter_rows", ids, normal(1, N, D, dtype=dtype), size, tolerance=10)


# AdamW ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 1000, 5000])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_adamw_is_the_optimizer_of_the_cpu(n: int, nesterov: bool, masked: bool, dtype: Any) -> None:
    """Several steps, clipped and not, against engine/optimizer.py itself, and against the twin."""
    from types import SimpleNamespace

    from engine.optimizer import AdamW
    from engine.parallel import clipped

    p = normal(0, n, dtype=dtype)
    mask = (normal(1, n) > 0).astype(dtype) if masked else None
    decayed, betas, decay, clip, scale = n // 2, (0.9, 0.99), 0.1, 2.0, 8.0
    params: Any = SimpleNamespace(trained=n, decayed=decayed, dtype=dtype, mask=mask)
    module = xp._module
    xp._switch(np)
    reference, expected = AdamW(params, decay, betas, nesterov=nesterov), p.copy()
    xp._switch(module)
    found = [place(x) for x in (p, np.zeros_like(p), np.zeros_like(p), kernels.initial_state(scale))]
    twin = [p.copy(), np.zeros_like(p), np.zeros_like(p), kernels.initial_state(scale)]
    for step in range(4):
        g = (normal(step, n, dtype=dtype) * dtype(scale * (0.01 if step == 2 else 1))).astype(dtype)
        rate = 0.01 * (step + 1)
        for own, functions, put in ((found, vars(kernels), place), (twin, kernels.TWINS, np.copy)):
            own[3][State.RATE] = rate
            functions["begin"](put(g), own[3], clip, betas, decay, loss=put(np.array([1.5])), nesterov=nesterov)
            functions["adamw"](own[0], put(g), own[1], own[2], own[3], betas, decayed,
                               None if mask is None else put(mask), nesterov=nesterov)
        norm = float(np.linalg.norm(g.astype(np.float64))) / scale
        np.testing.assert_allclose(back(found[3])[State.NORM], norm, rtol=1e-12)
        xp._switch(np)
        reference.step(expected, g, rate, clipped(norm, clip) / scale, step + 1)
        xp._switch(module)
    eps = np.finfo(dtype).eps
    for a, b, c in zip(found[:3], twin[:3], (expected, reference.m, reference.v), strict=True):
        np.testing.assert_allclose(back(a), c, rtol=100 * eps, atol=10 * eps)
        np.testing.assert_allclose(b, c, rtol=100 * eps, atol=10 * eps)
    np.testing.assert_allclose(back(found[3]), twin[3], rtol=1e-12)
    assert back(found[3])[State.UPDATES] == 4


@pytest.mark.parametrize("bad", [np.inf, np.nan, "loss"])
def test_a_step_that_is_not_finite_changes_nothing_and_halves_the_loss_scale(bad: Any) -> None:
    p, g = normal(0, 3000), normal(1, 3000)
    loss = np.array([np.nan if bad == "loss" else 1.0])
    g[2999] = 1.0 if bad == "loss" else bad
    own, words = [place(x) for x in (p, np.ones_like(p), np.ones_like(p))], place(kernels.initial_state(64.0))
    kernels.begin(place(g), words, 1.0, (0.9, 0.99), 0.1, loss=place(loss), scaled=True)
    kernels.adamw(own[0], place(g), own[1], own[2], words, (0.9, 0.99), 100)
    assert (back(own[0]) == p).all() and (back(own[1]) == 1).all() and (back(own[2]) == 1).all()
    told = back(words)
    assert not told[State.GOOD] and told[State.UPDATES] == 0 and told[State.SKIPPED] == 1 and told[State.SCALE] == 32


def test_the_loss_scale_doubles_in_calm() -> None:
    from engine.optimizer import LossScaler

    words, twin = place(kernels.initial_state(8.0, calm=LossScaler.CALM - 1)), kernels.initial_state(8.0, calm=1999)
    for own, functions, put in ((words, vars(kernels), place), (twin, kernels.TWINS, np.copy)):
        functions["begin"](put(np.ones(10, np.float32)), own, 0.0, (0.9, 0.99), 0.1, scaled=True)
    assert back(words)[State.SCALE] == twin[State.SCALE] == 16 and back(words)[State.CALM] == 0


# What no single kernel promises ---------------------------------------------------------------------------------------


def test_every_kernel_has_a_twin_and_every_twin_a_kernel() -> None:
    own = {name for name in kernels.__all__ if callable(getattr(kernels, name)) and name not in
           ("State", "fits", "initial_state", "random_state")}
    assert own == set(kernels.TWINS)


@pytest.mark.slow
def test_results_do_not_depend_on_the_order_of_threads(device: str) -> None:
    """Bytes, not numbers: a race would show."""
    if device == "gpu":
        pytest.skip("a GPU's threads take turns as they like")
    q, dx = normal(0, 1, 2, 1, 50, 16), normal(1, 200, 40)
    ids = np.random.default_rng(0).integers(0, 5, 200)
    found = []
    for order in (1, -1):
        cuda_on_cpu.order = order
        x, o, dq, dk, dv = place(q), *(place(np.zeros_like(q)) for _ in range(4))
        lse = kernels.attention(x, x, x, o, 0.3, 0, RATE, place(state()), 0)
        kernels.attention_backward(x, x, x, x, o, lse, dq, dk, dv, 0.3, 0, RATE, place(state()), 0)
        y, weights, _ = kernels.average(place(dx)[None], place(dx)[None])
        normed = kernels.layer_norm(place(dx), place(dx[0]), place(dx[1]))
        found.append([back(a).tobytes() for a in (o, lse, dq, dk, dv, y, weights, *normed,
                                                  *kernels.layer_norm_backward(place(dx), place(dx[0]), *normed[1:]),
                                                  kernels.scatter_rows(place(ids), place(dx), 5))])
    assert found[0] == found[1]


def test_what_does_not_lie_as_a_kernel_reads_it_is_refused() -> None:
    x = place(normal(0, 6, 8))
    with pytest.raises(ValueError, match="strides"):
        kernels.softmax(x[:, ::2])
    with pytest.raises(ValueError, match="last axis"):
        kernels.average(x.reshape(2, 3, 8)[..., ::2], x.reshape(2, 3, 8)[..., ::2])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_ids_of_any_width(dtype: Any) -> None:
    ids, x = np.arange(5, dtype=dtype), normal(0, 5, 9)
    close("scatter_rows", ids, x, 9)
    np.testing.assert_allclose(back(kernels.cross_entropy(place(x), place(ids))),
                               kernels.TWINS["cross_entropy"](x, ids), rtol=1e-5)


def test_the_compiler_has_nothing_to_say() -> None:
    assert not cuda_on_cpu.warnings


# Gradients by finite differences, through the twins in float64 --------------------------------------------------------


def slope(function: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """Central differences of a number with regard to x."""
    out = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[at] += sign * 1e-6
            values.append(function(moved))
        out[at] = (values[0] - values[1]) / 2e-6
    return out


def test_gradients_of_the_twins() -> None:
    twins, rng = kernels.TWINS, np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape)

    def same(found: np.ndarray, function: Callable[[np.ndarray], float], x: np.ndarray) -> None:
        np.testing.assert_allclose(found, slope(function, x), rtol=1e-6, atol=1e-7)

    x, gamma, beta, dy = draw(4, 6), draw(6), draw(6), draw(4, 6)
    _, xhat, scale = twins["layer_norm"](x, gamma, beta)
    dx, dgamma, dbeta = twins["layer_norm_backward"](dy.copy(), gamma, xhat, scale)
    same(dx, lambda x: float((twins["layer_norm"](x, gamma, beta)[0] * dy).sum()), x)
    same(dgamma, lambda gamma: float((twins["layer_norm"](x, gamma, beta)[0] * dy).sum()), gamma)
    same(dbeta, lambda beta: float((twins["layer_norm"](x, gamma, beta)[0] * dy).sum()), beta)

    s, options = draw(2, 5, 5), {"scale": 0.6, "rate": RATE, "state": state(), "call": 1}
    dp = draw(2, 5, 5)
    p, _ = twins["softmax"](s.copy(), causal=True, **options)
    same(twins["softmax_backward"](dp.copy(), p, **options),
         lambda s: float((twins["softmax"](s.copy(), causal=True, **options)[1] * dp).sum()), s)

    logits, targets = draw(3, 7), np.array([0, 6, 2])
    gradient = logits.copy()
    twins["cross_entropy"](gradient, targets, 0.5, np.array([4.0]))
    same(gradient, lambda z: float(2 * twins["cross_entropy"](z.copy(), targets).sum()), logits)

    same(twins["gelu_backward"](dy.copy(), x, beta), lambda x: float((twins["gelu"](x, beta) * dy).sum()), x)
    for swish in (False, True):
        z = draw(4, 6)
        du, dz = twins["gated_backward"](dy, x.copy(), z.copy(), swish, gamma, beta)
        same(du, lambda u: float((twins["gated"](u, z, swish, gamma, beta) * dy).sum()), x)  # noqa: B023
        same(dz, lambda z: float((twins["gated"](x, z, swish, gamma, beta) * dy).sum()), z)  # noqa: B023

    q, do = draw(1, 2, 2, 5, 3), draw(1, 2, 2, 5, 3)
    k, v = draw(1, 2, 1, 5, 3), draw(1, 2, 1, 5, 3)
    rest = (0.7, 3, RATE, state(), 4)

    def attended(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> float:
        o = np.empty_like(q)
        twins["attention"](q, k, v, o, *rest)
        return float((o * do).sum())

    o, dq, dk, dv = np.empty_like(q), np.empty_like(q), np.empty_like(k), np.empty_like(v)
    lse = twins["attention"](q, k, v, o, *rest)
    twins["attention_backward"](do, q, k, v, o, lse, dq, dk, dv, *rest)
    same(dq, lambda q: attended(q, k, v), q)
    same(dk, lambda k: attended(q, k, v), k)
    same(dv, lambda v: attended(q, k, v), v)

    k, v, dy = draw(2, 6, 3), draw(2, 6, 3), draw(2, 6, 3)
    dk, dv = np.empty_like(k), np.empty_like(v)
    y, weights, _ = twins["average"](k, v, 0.8)
    twins["average_backward"](dy, k, v, y, weights, dk, dv, 0.8)
    same(dk, lambda k: float((twins["average"](k, v, 0.8)[0] * dy).sum()), k)
    same(dv, lambda v: float((twins["average"](k, v, 0.8)[0] * dy).sum()), v)

    n, weight, bias = draw(2, 6, 3), draw(3, 4), draw(3)
    for before in (3, 2):
        c = twins["convolve"](n, weight, bias, before)
        dn, dweight, dbias = twins["convolve_backward"](dy, c, n, weight, before)
        same(dn, lambda n: float((twins["convolve"](n, weight, bias, before) * dy).sum()), n)  # noqa: B023
        same(dweight, lambda w: float((twins["convolve"](n, w, bias, before) * dy).sum()), weight)  # noqa: B023
        same(dbias, lambda b: float((twins["convolve"](n, weight, b, before) * dy).sum()), bias)  # noqa: B023
