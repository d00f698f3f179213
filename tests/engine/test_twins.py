"""The engine against slow, obvious twins (tests/support/twins.py): loops over tokens and heads in float64."""

from __future__ import annotations

import numpy as np
import pytest
import twins
from architectures import ARCHITECTURES, ATTENTIONS, NETWORKS, VOCAB, every_pair, ids_for, tiny, wild
from layers import Layer, numbers

from engine.backend import Arena
from engine.block import Block
from engine.functional import cross_entropy, gelu, layer_norm, scatter_rows, softmax
from engine.model import Model
from engine.parameters import Gradients
from engine.scan import average, average_backward
from engine.tape import Tape, tape_for

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def tape(recording: bool = False) -> Tape:
    return Tape(Arena(), np.float64, recording=recording)


# few tokens take another path when nothing is recorded
both_ways = pytest.mark.parametrize("recording", [False, True], ids=["plain", "recording"])


def test_every_variant_has_a_twin():
    assert set(twins.ATTENTIONS) == set(ATTENTIONS) and set(twins.NETWORKS) == set(NETWORKS)


@both_ways
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (5, 3), (40, 17), (500, 17)])
def test_layer_norm(shape, recording):
    x, gamma, beta = 3 * numbers(*shape) + 1, numbers(shape[1], seed=1), numbers(shape[1], seed=2)
    expected = [twins.layer_norm(row, gamma, beta) for row in x]
    np.testing.assert_allclose(layer_norm(x, gamma, beta, tape(recording)), expected, **CLOSE)


@both_ways
def test_gelu(recording):
    u = np.concatenate([np.linspace(-12, 12, 301), [0.0, 1e-9, -1e-9, 40, -40]])[:, None]
    expected = [[twins.gelu(float(value))] for value in u[:, 0]]
    np.testing.assert_allclose(gelu(u.copy(), tape(recording)), expected, **CLOSE)


@both_ways
def test_gelu_walks_rows_in_blocks(recording):
    """More than one block of rows: 4000 · 64 · 8 bytes are about 2 MB."""
    u = 3 * numbers(4000, 64)
    rows = [0, 511, 512, 513, 2047, 3999]
    expected = [[twins.gelu(float(value)) for value in u[row]] for row in rows]
    np.testing.assert_allclose(gelu(u.copy(), tape(recording))[rows], expected, **CLOSE)


def test_softmax():
    x = np.concatenate([5 * numbers(6, 9), np.full((1, 9), 1e4), np.full((1, 9), -1e4)])
    np.testing.assert_allclose(softmax(x), [twins.softmax(list(row)) for row in x], **CLOSE)


@both_ways
def test_cross_entropy(recording):
    x, targets = 4 * numbers(30, 11), np.random.default_rng(3).integers(0, 11, 30)
    expected = twins.cross_entropy(x, targets)
    np.testing.assert_allclose(cross_entropy(x.copy(), targets, tape(recording)), expected, **CLOSE)


def test_cross_entropy_of_very_unlikely_targets_is_finite():
    losses = cross_entropy(np.array([[0.0, -2000.0], [5000.0, 0.0]]), np.array([1, 1]), tape())
    np.testing.assert_allclose(losses, [2000.0, 5000.0], rtol=1e-12)


@pytest.mark.parametrize("size", [5, 1024, 1025, 3000])
def test_scatter_rows(size):
    """Small tables use a product with a one-hot matrix, large ones sorting."""
    ids, dx = np.random.default_rng(4).integers(0, min(size, 40), 200), numbers(200, 3)
    ids[0] = size - 1
    expected = np.zeros((size, 3))
    for token, row in zip(ids, dx, strict=True):
        expected[token] += row
    np.testing.assert_allclose(scatter_rows(ids, dx, size, tape()), expected, **CLOSE)


@both_ways
@pytest.mark.parametrize("T", [1, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("spread", [1.0, 15.0, 60.0])  # 60: most keys are clipped
def test_averages_over_time(T, spread, recording):
    k, v = numbers(2, 2, T, 3)
    k *= spread
    y, sums, weights = average(k.copy(), v, tape(recording))
    for b in range(2):
        np.testing.assert_allclose(y[b], twins.averages(k[b], v[b]), **CLOSE)
    np.testing.assert_allclose(sums / weights, y, **CLOSE)


@pytest.mark.parametrize("T", [1, 31, 32, 33, 64, 100])
@pytest.mark.parametrize("spread", [1.0, 15.0, 60.0])
def test_gradients_of_averages_over_time(T, spread):
    k, v, dy = numbers(3, 2, T, 3)
    k *= spread
    recording = tape(True)
    average(k.copy(), v, recording)
    dk, dv = average_backward(dy, recording)
    for b in range(2):
        expected = twins.averages_backward(dy[b], k[b], v[b])
        np.testing.assert_allclose(dk[b], expected[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(dv[b], expected[1], rtol=1e-10, atol=1e-12)


# Layers: (sizes, tokens) for all, then what only some variants know.
SHAPES = [({}, 5), ({}, 1), ({"head_size": 12, "n_heads": 3, "r_temp": 1.0}, 6), ({"n_heads": 1, "r_temp": 0.3}, 3)]
OWN_SHAPES = {
    "gqa": [({"n_kv_heads": k, "n_heads": h, "head_size": 24}, 5) for h, k in
            ((4, 1), (4, 2), (4, 4), (6, 1), (6, 2), (6, 3), (8, 0), (12, 0), (12, 4), (2, 0))],
    "rfa": [({"s_window": W}, T) for W, T in ((1, 1), (1, 6), (2, 6), (5, 5), (5, 6), (6, 5), (100, 6), (2, 70),
                                                (40, 90))],
    "gla": [({"s_kernel": K}, T) for K, T in ((1, 5), (2, 1), (2, 5), (5, 5), (6, 5), (20, 4), (8, 30))],
    "moe": [({"n_experts": E}, 3) for E in (1, 2, 5)],
    "lor": [({"n_rank": r}, 3) for r in (1, 3, 8)],
    "ggl": [({"n_groups": G, "ggl_shuffle": shuffle}, 3) for G in (1, 2, 4, 8) for shuffle in (True, False)],
}
EVERY_SHAPE = [(name, sizes, T) for name in (*ATTENTIONS, *NETWORKS)
               for sizes, T in (*SHAPES, *OWN_SHAPES.get(name, []))]
every_shape = pytest.mark.parametrize(("name", "sizes", "T"), EVERY_SHAPE, ids=str)


@every_shape
@both_ways
def test_variants(name, sizes, T, recording):
    layer, x = Layer(name, tiny(**{"n_ctx": T, **sizes})), numbers(2, T, 8, seed=6)
    y = layer.forward(x, recording=recording)
    for b in range(2):
        np.testing.assert_allclose(y[b], twins.VARIANTS[name](layer.weights, x[b], layer.config), **CLOSE)


@every_shape
def test_variants_one_token_at_a_time(name, sizes, T):
    layer, x = Layer(name, tiny(**{"n_ctx": T, **sizes})), numbers(2, T, 8, seed=7)
    expected = [twins.VARIANTS[name](layer.weights, x[b], layer.config) for b in range(2)]
    for splits in ([], [1], [(T + 1) // 2], [T], [T // 3, T // 2] if T > 5 else [1]):
        np.testing.assert_allclose(layer.decode(x, splits), expected, **CLOSE)


@both_ways
@pytest.mark.parametrize(("K", "T"), [(1, 5), (2, 1), (2, 5), (5, 5), (8, 12), (20, 4)])
def test_centred_convolution_of_old_files(K, T, recording):
    layer, x = Layer("gla", tiny(n_ctx=T, s_kernel=K, c_convolution="centred")), numbers(1, T, 8, seed=6)
    y = layer.forward(x, recording=recording)
    np.testing.assert_allclose(y[0], twins.VARIANTS["gla"](layer.weights, x[0], layer.config), **CLOSE)


@pytest.mark.parametrize("name", [*ATTENTIONS, *NETWORKS])
def test_variants_with_large_weights(name):
    """Gates that saturate, scores that need a shift, keys that are clipped."""
    layer, x = Layer(name, tiny(n_ctx=12), size=8.0), numbers(1, 12, 8, seed=8)
    expected = twins.VARIANTS[name](layer.weights, x[0], layer.config)
    atol = 1e-12 * np.abs(expected).max()
    for y in (layer.forward(x), layer.forward(x, recording=True), layer.decode(x, [4])):
        np.testing.assert_allclose(y[0], expected, rtol=1e-12, atol=atol)


@every_pair
@both_ways
def test_blocks(architecture, recording):
    config = tiny(architecture)
    model, x = wild(config), numbers(1, 6, 8)
    block = Block(1, config, np.float64)
    block.bind(model.params)
    y = block.forward(x, tape(recording))
    np.testing.assert_allclose(y[0], twins.block(twins.below(model.params, "block_1_"), x[0], config), **CLOSE)


@every_pair
@pytest.mark.parametrize("temperature", [1.0, 0.4, 0.001])
def test_whole_models(architecture, temperature):
    config = tiny(architecture, r_temp=temperature, batch_size=2)
    model, ids, targets = wild(config), ids_for(config), ids_for(config, seed=2)
    found, losses = model.logits(ids), model.losses(ids, targets)
    for b in range(len(ids)):
        expected = twins.logits(model.params, ids[b], config)
        np.testing.assert_allclose(found[b], expected, **CLOSE)
        np.testing.assert_allclose(losses[b], twins.cross_entropy(expected, targets[b]), **CLOSE)
    gradients = Gradients(model.params)
    assert model.loss_and_gradients(ids, targets, gradients) == pytest.approx(float(losses.mean()), rel=1e-12)


MODELS = [
    {"n_ctx": 1, "n_heads": 2, "n_layers": 1},
    {"n_ctx": 9, "s_window": 2, "s_kernel": 20, "n_kv_heads": 1, "n_rank": 1, "ggl_shuffle": False, "n_layers": 1,
     "head_size": 12, "n_heads": 2},
    {"n_ctx": 5, "s_window": 50, "s_kernel": 1, "n_kv_heads": 2, "n_experts": 1, "n_groups": 4, "n_rank": 8},
]


@every_pair
@pytest.mark.parametrize("sizes", MODELS, ids=lambda sizes: f"{sizes['n_ctx']} tokens")
def test_models_of_other_shapes_also_in_single_precision(architecture, sizes):
    config = tiny(architecture, **sizes)
    model, ids = wild(config), ids_for(config, batch=1)[0]
    expected = twins.logits(model.params, ids, config)
    np.testing.assert_allclose(model.logits(ids), expected, **CLOSE)
    single = Model.from_arrays(config.replace(d_type="fp32"), model.export())
    np.testing.assert_allclose(single.logits(ids), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@every_pair
@pytest.mark.parametrize("d_type", ["fp32", "fp64"])
def test_prefill_and_steps_equal_the_twin(architecture, d_type):
    config = tiny(architecture, n_ctx=10, s_kernel=4, n_layers=1, d_type=d_type)
    model, ids = wild(config), ids_for(config, batch=1)
    expected = twins.logits(model.params, ids[0], config)
    split = 1 + ARCHITECTURES.index(architecture) % 10
    states = model.state(1)
    found = [model.prefill(ids[:, :split], states)[0]]
    found += [model.step(ids[:, t], states, t)[0] for t in range(split, 10)]
    tolerance = CLOSE if d_type == "fp64" else {"rtol": 0, "atol": 1e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(found, expected[split - 1 :], **tolerance)


# Dropout --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_share(rate):
    dropping = tape_for(Arena(), np.float64, 1, 0, 0, rate)
    y = dropping.dropout(np.ones((400, 500)), rate)
    kept = y != 0
    assert kept.mean() == pytest.approx(1 - rate, abs=5 * np.sqrt(rate * (1 - rate) / y.size))
    assert len(np.unique(y[kept])) == 1
    assert y[kept][0] == pytest.approx(1 / (1 - rate), rel=1e-3)
    np.testing.assert_array_equal(dropping.dropout_backward(np.full((400, 500), 3.0)), 3 * y)


def test_dropout_is_off_when_nothing_is_trained():
    config = tiny(r_dropout=0.5)
    model, ids = wild(config), ids_for(config, batch=1)[0]
    np.testing.assert_allclose(model.logits(ids), twins.logits(model.params, ids, config), **CLOSE)


# How often dropout acts between input and output: once before the last product and once after it, after it, or never.
DROPS = dict.fromkeys(ATTENTIONS, 2) | {"nft": 2, "mlp": 1, "moe": 1, "lor": 1, "gln": 1, "ggl": 1, "swi": 0}


@pytest.mark.parametrize("name", [*ATTENTIONS, *NETWORKS])
def test_where_dropout_stands(name, monkeypatch):
    """Dropout that drops nothing and multiplies by 3 instead shows where it is."""
    monkeypatch.setattr(Tape, "dropout", lambda self, x, rate, keep=False: 3 * x if rate else x)
    layer, x = Layer(name, tiny(r_dropout=0.5)), numbers(1, 6, 8)
    y = twins.VARIANTS[name](layer.weights, x[0], layer.config)
    if DROPS[name] == 2:
        bias = layer.weights["m_bias" if "m_bias" in layer.weights else "c_bias"]
        y = 3 * (y - bias) + bias
    np.testing.assert_allclose(layer.forward(x)[0], 3 * y if DROPS[name] else y, **CLOSE)


def test_dropout_depends_on_step_and_shard_only():
    config = tiny(r_dropout=0.5)
    model, ids, gradients = wild(config), ids_for(config), Gradients(wild(config).params)

    def loss(step: int, shard: int) -> float:
        gradients.reset()
        return model.loss_and_gradients(ids, ids, gradients, step=step, shard=shard)

    first = loss(3, 1)
    others = [loss(2, 1), loss(3, 0), loss(1, 3), loss(0, 0)]
    assert first == loss(3, 1)
    assert len({first, *others}) == 5


# How models begin -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "fan"])
def test_newborn_weights(kind):
    config = tiny(("pre", "moh", "moe"), n_emb=64, head_size=64, n_layers=3, n_ctx=64, c_init=kind)
    model = Model.create(config, 200)
    for name, view in model.params.items():
        if name.endswith("gamma"):
            assert (view == 1).all(), name
        elif name.endswith(("bias", "beta")):
            assert (view == 0).all(), name
        else:
            residual = name.endswith(("m_weight", "c_weight", "dn_weight"))
            spread = 0.02 if kind == "normal" else 0.5 if name.startswith("w") else 1 / np.sqrt(len(view))
            spread /= np.sqrt(6) if residual else 1
            assert view.std() == pytest.approx(spread, rel=5 / np.sqrt(2 * view.size)), name
            assert abs(view.mean()) < 5 * spread / np.sqrt(view.size), name
    flat = np.concatenate([view.ravel() for name, view in model.params.items() if name.endswith("_weight")])
    assert len(np.unique(flat)) > 0.999 * flat.size, "no two tensors share their random numbers"


def test_a_newborn_knows_nothing():
    config = tiny(n_emb=32, head_size=32)
    ids, guess = ids_for(config, batch=8), np.log(VOCAB)
    for kind, near in (("normal", 0.05), ("fan", 0.7)):
        losses = Model.create(config.replace(c_init=kind), VOCAB).losses(ids, ids)
        assert losses.mean() == pytest.approx(guess, abs=near)
