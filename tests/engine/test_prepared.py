"""Replies with weights arranged for single tokens: the same function, in every format, at its edges, and fresh."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from architectures import ARCHITECTURES, every_pair, ids_for, tiny, wild

from engine import prepared, registry
from engine.adaptation import Adaptation
from engine.generate import Decoder, Sampler, stream, stream_batch
from engine.model import Model
from engine.prepared import Fold, Memory, Prepared, normaliser
from engine.variant import Variant


def replies(model: Model, ids: np.ndarray, start: int = 1) -> np.ndarray:
    """Logits (B, T - start, V) after each of ids (B, T) from `start` on, one token at a time."""
    states = model.state(len(ids))
    model.prefill(ids[:, :start], states)
    step = Prepared(model, states, len(ids))
    return np.stack([step(ids[:, t], t) for t in range(start, ids.shape[1])], 1)


@every_pair
@pytest.mark.parametrize("d_type", ["fp16", "fp32"])
def test_single_precision(architecture, d_type):
    if registry.attention.get(architecture[1]).straight_through:
        pytest.skip("two gates may be as good as equal")
    config = tiny(architecture, d_type=d_type, n_ctx=12)
    model = wild(config)
    model.round()
    ids = ids_for(config, batch=2)
    whole = model.logits(ids)[:, 1:]
    np.testing.assert_allclose(replies(model, ids), whole, rtol=0, atol=1e-5 * max(1.0, np.abs(whole).max()))


@every_pair
def test_replies_of_a_batch_are_those_alone(architecture):
    config = tiny(architecture)
    model, ids = wild(config), ids_for(config, batch=3)
    together = replies(model, ids)
    for r in range(3):
        np.testing.assert_allclose(replies(model, ids[r : r + 1])[0], together[r], rtol=1e-11, atol=1e-12)


@every_pair
def test_past_the_window_and_the_kernel(architecture):
    """Rings turn several times, and what has left them is remembered or forgotten as it should be."""
    config = tiny(architecture, n_ctx=23, s_window=4, s_kernel=5)
    model, ids = wild(config), ids_for(config, batch=2)
    np.testing.assert_allclose(replies(model, ids, 6), model.logits(ids)[:, 6:], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("changes", [
    {"s_window": 1}, {"s_kernel": 1}, {"n_groups": 1}, {"n_experts": 1}, {"n_heads": 1}, {"n_kv_heads": 1},
    {"n_emb": 4, "head_size": 12, "n_groups": 4}, {"n_layers": 1}, {"ggl_shuffle": False}], ids=str)
@pytest.mark.parametrize("pair", [("rfa", "mlp"), ("gla", "ggl"), ("gqa", "moe"), ("moh", "nft")], ids="-".join)
@pytest.mark.parametrize("sequence", ["pre", "post"])
def test_edges_of_the_parameters(sequence, pair, changes):
    config = tiny((sequence, *pair), **changes)
    model, ids = wild(config), ids_for(config, batch=2)
    np.testing.assert_allclose(replies(model, ids), model.logits(ids)[:, 1:], rtol=1e-10, atol=1e-11)


@every_pair
def test_one_symbol_and_a_context_of_one(architecture):
    model = wild(tiny(architecture, n_ctx=1), vocab_size=1)
    assert [token.id for token in stream(model, [0], 3, Sampler(seed=1))] == [0, 0, 0]
    model = wild(tiny(architecture, n_ctx=2), vocab_size=1)
    tokens = list(stream(model, [0], 5, Sampler(seed=1)))
    np.testing.assert_allclose(tokens[1].logits, model.logits([0, 0])[-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("attention", ["mha", "gqa", "moh", "swh", "rfa"])
@pytest.mark.parametrize("scale", [8.0, 40.0])
def test_scores_whose_exponential_overflows_or_vanishes(attention, scale):
    """exp(score) leaves float32 in both directions; without a word, and the softmax is what it should be."""
    config = tiny(("pre", attention, "mlp"), d_type="fp32", n_ctx=12, n_layers=1)
    model = wild(config)
    model.params["block_0_ln1_beta"][...] = 1.0  # so that products of q and k share a sign
    for sign in (1, -1):
        for part, factor in (("q", scale), ("k", sign * scale)):
            model.params[f"block_0_{attention}_{part}_weight"][...] = \
                factor * np.abs(model.params[f"block_0_{attention}_{part}_weight"]) / scale**0.5
        exact = Model.from_arrays(config.replace(d_type="fp64"), model.export())
        ids = ids_for(config, batch=2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = replies(model, ids)
        assert np.isfinite(found).all()
        whole = exact.logits(ids)[:, 1:]
        np.testing.assert_allclose(found, whole, rtol=0, atol=2e-3 * max(1.0, np.abs(whole).max()))


def test_the_stream_has_no_mean():
    """Whatever is added to it, so that a norm need not look for one."""
    config = tiny(("pre", "mha", "gln"), d_type="fp64")
    model, ids = wild(config), ids_for(config, batch=2)
    states = model.state(2)
    model.prefill(ids[:, :1], states)
    step = Prepared(model, states, 2)
    step(ids[:, 1], 1)
    assert np.abs(step._x.mean(-1)).max() < 1e-13 and np.abs(step._x).max() > 0.1


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("centred", [True, False])
def test_norms(batch, centred):
    rng = np.random.default_rng(1)
    x, gamma, beta = rng.standard_normal((batch, 8)), rng.standard_normal(8), rng.standard_normal(8)
    x = x - x.mean(-1, keepdims=True) if centred else x + 3
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    out = np.empty((batch, 9))[:, :8]
    normaliser(x, out, centred=centred)()
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-14)
    normaliser(x, x, gamma, beta, centred=centred)()
    np.testing.assert_allclose(x, expected * gamma + beta, rtol=1e-12, atol=1e-14)


def test_weights_that_changed_between_replies_are_seen():
    model = wild(tiny())
    decoder, ids = Decoder(model), np.array([[1, 2, 3]])
    for seed in (1, 2):
        decoder.start(ids)
        np.testing.assert_allclose(decoder.next(np.array([4])), model.logits([[1, 2, 3, 4]])[:, -1], rtol=1e-10)
        rng = np.random.default_rng(seed)
        for view in model.params.values():
            view += 0.3 * rng.standard_normal(view.shape)


def test_a_model_with_adapters():
    config = tiny(n_emb=8)
    model = Model.from_arrays(config, wild(config).export(), adaptation=Adaptation(rank=2))
    for name in model.params.tensors:
        if name.endswith(".lora_b"):
            model.params.joined[name][...] = 0.3
    model.params.correct(model.params.flat)
    ids = ids_for(config, batch=1)
    np.testing.assert_allclose(replies(model, ids), model.logits(ids)[:, 1:], rtol=1e-10, atol=1e-12)
    merged = Model.from_arrays(config, model.export())
    np.testing.assert_allclose(replies(model, ids), replies(merged, ids), rtol=1e-10, atol=1e-12)


def test_the_weights_are_not_touched():
    for architecture in ARCHITECTURES[::9]:
        model = wild(tiny(architecture))
        before = model.params.flat.copy()
        replies(model, ids_for(model.config, batch=1))
        assert np.array_equal(model.params.flat, before)


@pytest.mark.parametrize("architecture", [("pre", "mha", "mlp"), ("post", "rfa", "nft"), ("pre", "gla", "moe")],
                         ids="-".join)
def test_a_model_too_large_to_be_copied(architecture, monkeypatch):
    """Its replies are the same, with its own weights."""
    model = wild(tiny(architecture))
    usual = list(stream_batch(model, [1, 2], 15, Sampler(seed=3), replies=2))
    monkeypatch.setattr(prepared, "LIMIT", 0)
    monkeypatch.setattr(prepared, "Prepared", None)
    plain = list(stream_batch(model, [1, 2], 15, Sampler(seed=3), replies=2))
    for one, other in zip(usual, plain, strict=True):
        assert [token.id for token in one] == [token.id for token in other]
        np.testing.assert_allclose([t.logits for t in one], [t.logits for t in other], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("centred", [True, False])
def test_a_variant_that_says_nothing_of_single_tokens(centred):
    """It is given the norm's whole output, and its own output is centred for it."""
    config = tiny(("pre", "mha", "mlp"))
    model = wild(config)
    variant, p, D = model.blocks[0].attention, model.blocks[0].a, config.n_emb
    rng = np.random.default_rng(2)
    gamma, beta = rng.standard_normal((2, D))
    memory = Memory(np.float64)
    usual, plain = (kind(variant, p, variant.state(2), Fold(memory, 2, gamma, beta, centred)).__call__
                    for kind in (type(variant).stepper, Variant.stepper))
    both, x = memory.beside_one(2, D)
    for _ in range(3):
        x[...] = rng.standard_normal((2, D))
        np.testing.assert_allclose(usual(both), plain(both), rtol=1e-11, atol=1e-13)


def test_memory_is_aligned_and_does_not_overlap():
    memory = Memory(np.float32)
    arrays = [memory.empty(*shape) for shape in ((3, 5), (1,), (1 << 21,), (7, 64), (1, 1))]
    for number, array in enumerate(arrays):
        array[...] = number
        assert array.ctypes.data % 64 == 0 and array.flags.c_contiguous
    assert all((array == number).all() for number, array in enumerate(arrays))
