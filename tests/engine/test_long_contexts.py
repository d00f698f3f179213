"""Contexts longer than the blocks in which time is walked, against slow twins and central differences."""

from __future__ import annotations

import numpy as np
import pytest
import twins
from architectures import ATTENTIONS, hold, ids_for, relative_error, tiny, wild
from layers import Layer, numbers

from engine.attention._softmax import attend, attend_backward
from engine.backend import Arena
from engine.functional import cross_entropy
from engine.generate import Decoder
from engine.model import Model
from engine.parameters import Gradients
from engine.tape import Tape, tape_for

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("T", [1, 5, 127, 128, 129, 191, 200])
@pytest.mark.parametrize("sharpness", [1.0, 6.0, 1e3])
def test_attention_of_long_sequences_and_its_gradient(T, sharpness):
    """Also with scores so large that exp overflows unless they are shifted: q·k reaches about 10 · sharpness²."""
    B, h, d = 2, 3, 4
    q, k, v, do = numbers(4, B, h, T, d)
    q *= sharpness
    k *= sharpness
    o, dq, dk, dv = (np.full((B, h, T, d), np.nan) for _ in range(4))
    recording = Tape(Arena(), np.float64, recording=True)
    attend(*(x[:, :, None] for x in (q, k, v, o)), 1.0, recording)
    attend_backward(*(x[:, :, None] for x in (do, q, k, v, o, dq, dk, dv)), 1.0, recording)
    assert len(recording) == 0
    for b in range(B):
        for j in range(h):
            expected = twins.attention_backward(do[b, j], q[b, j], k[b, j], v[b, j])
            for found, wanted in zip((o, dq, dk, dv), expected, strict=True):
                np.testing.assert_allclose(found[b, j], wanted, rtol=1e-12, atol=1e-12 * sharpness)


@pytest.mark.parametrize("score", [-1e4, -88.0, -59.0, 0.0, 59.0, 88.0, 1e4])
def test_attention_to_equals_is_an_average_whatever_the_score(score):
    """In single precision, where exp(89) is infinite and exp(-104) is 0."""
    T, d = 150, 4
    q, k = np.zeros((2, 1, 1, T, d), np.float32)
    q[..., 0], k[..., 0] = np.sqrt(abs(score)), np.sign(score) * np.sqrt(abs(score))
    v, o = numbers(1, 1, T, d).astype(np.float32), np.zeros((1, 1, T, d), np.float32)
    attend(*(x[:, :, None] for x in (q, k, v, o)), 1.0, Tape(Arena(), np.float32))
    averages = np.cumsum(v[0, 0].astype(float), 0) / np.arange(1, T + 1)[:, None]
    np.testing.assert_allclose(o[0, 0], averages, atol=1e-5)


def test_attention_to_one_among_many():
    """One key far above the others, in single precision: the others do not disturb it, wherever it stands."""
    T, d = 150, 2
    for score in (20.0, 58.0, 62.0, 500.0):
        for place in (0, 70, 149):
            q, k = np.zeros((2, 1, 1, T, d), np.float32)
            q[..., 0] = np.sqrt(score)
            k[..., 0] = -np.sqrt(score)
            k[0, 0, place, 0] = np.sqrt(score)
            v, o = numbers(1, 1, T, d).astype(np.float32), np.zeros((1, 1, T, d), np.float32)
            attend(*(x[:, :, None] for x in (q, k, v, o)), 1.0, Tape(Arena(), np.float32))
            expected = twins.attention_backward(o[0, 0], *(x[0, 0].astype(float) for x in (q, k, v)))[0]
            np.testing.assert_allclose(o[0, 0], expected, atol=1e-5)


LONG = [*((attention, "gln") for attention in ATTENTIONS), ("mha", "nft")]  # all that mixes over time
every_long = pytest.mark.parametrize("pair", LONG, ids="-".join)


@every_long
def test_long_models(pair):
    config = tiny(("pre", *pair), n_ctx=136, n_layers=1, n_heads=2, n_emb=4, head_size=4, s_window=5, s_kernel=40)
    model, ids = wild(config), ids_for(config, batch=2)
    found = model.logits(ids)
    np.testing.assert_allclose(found[1], twins.logits(model.params, ids[1], config), **CLOSE)
    shorter = Model.from_arrays(config, model.export())  # cut at any length: the past does not depend on it
    for length in (63, 64, 65, 128, 129):
        np.testing.assert_allclose(shorter.logits(ids[:, :length]), found[:, :length], **CLOSE)


@every_long
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_long_models_have_true_gradients(pair, dropout):
    config = tiny(("pre", *pair), n_ctx=140, n_layers=1, n_heads=2, s_window=5, s_kernel=40, r_dropout=dropout)
    model, ids, targets = wild(config), ids_for(config, batch=2), ids_for(config, seed=2, batch=2)
    gradients = Gradients(model.params)
    value = model.loss_and_gradients(ids, targets, gradients)
    gradients.finish()

    def loss() -> float:
        same = tape_for(model.arena, model.dtype, config.n_seed, 0, 0, dropout)
        return float(cross_entropy(model.forward(ids, same), targets.reshape(-1), same).mean())

    hold(model.blocks[0].attention)
    assert loss() == pytest.approx(value, rel=1e-12)  # a straight-through variant holds what this pass computes
    rng = np.random.default_rng(5)
    for name, gradient in gradients.joined.items():
        assert relative_error(loss, model.params.joined[name], gradient, rng, elements=3) < 1e-6, name


@every_long
@pytest.mark.parametrize("prefilled", [1, 64, 130, 150])
def test_long_prefill_and_steps_equal_the_whole(pair, prefilled):
    """Also past the length where rings have turned and blocks have been walked."""
    config = tiny(("post", *pair), n_ctx=150, n_layers=1, n_heads=2, n_emb=4, head_size=4, s_window=40, s_kernel=40)
    model, ids = wild(config), ids_for(config, batch=1)[0]
    decoder = Decoder(model)
    found = [decoder.start(ids[None, :prefilled])[0]]
    found += [decoder.next(ids[t : t + 1])[0] for t in range(prefilled, 150)]
    np.testing.assert_allclose(found, model.logits(ids)[prefilled - 1 :], **CLOSE)


@pytest.mark.parametrize("window", [3, 40])
def test_rfa_hands_its_memory_on_through_a_very_long_text(window):
    """Blocks of 32 or 40 queries, and 64 blocks at a time. λ = 0.998: what was said 500 tokens ago is still there."""
    T = 64 * max(32, window) + 70
    layer = Layer("rfa", tiny(n_ctx=T, n_emb=4, head_size=4, n_heads=2, s_window=window, r_temp=0.5))
    layer.weights["memory_decay"][...] = [6.0, 3.0]
    x, dy = numbers(2, 1, T, 4, seed=9)
    y, dx, gradients = layer.gradients(x, dy)
    np.testing.assert_allclose(layer.decode(x, [T // 2]), y, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(layer.decode(x, [T - 5]), y, rtol=1e-11, atol=1e-11)

    def value() -> float:
        return float((layer.forward(x, recording=True) * dy).sum())

    rng = np.random.default_rng(10)
    assert relative_error(value, x, dx, rng, elements=4) < 1e-6
    for name in ("memory_decay", "k_weight", "v_weight"):
        assert relative_error(value, layer.weights[name], gradients[name], rng, elements=4) < 1e-6, name


@pytest.mark.parametrize("convolution", ["causal", "centred"])
@pytest.mark.parametrize("stretch", [1, 3, 7])
def test_convolution_in_stretches(convolution, stretch, monkeypatch):
    """However time is cut into stretches, loss and gradients are those of one."""
    config = tiny(("pre", "gla", "mlp"), n_ctx=20, s_kernel=6, c_convolution=convolution)
    model, ids = wild(config), ids_for(config)

    def gradients() -> tuple[float, np.ndarray]:
        found = Gradients(model.params)
        return model.loss_and_gradients(ids, ids[:, ::-1], found), found.finish().copy()

    loss, whole = gradients()
    monkeypatch.setattr("engine.attention.gla._STRETCH", stretch * config.batch_size * config.n_emb)
    again, cut = gradients()
    assert again == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(cut, whole, rtol=1e-11, atol=1e-12)
