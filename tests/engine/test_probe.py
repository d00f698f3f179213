"""What is seen inside a model, against slow twins (tests/support/twins_seen.py) and identities."""

from __future__ import annotations

import tracemalloc
from math import log, sqrt

import numpy as np
import pytest
import twins
from architectures import ATTENTIONS, NETWORKS, VOCAB, every_pair, ids_for, tiny, wild
from layers import Layer, numbers
from twins_seen import SEEN

from engine import data, registry
from engine.config import Config
from engine.errors import ConfigError, FormatError, TextError
from engine.model import Model
from engine.observation import GATES, MAP, Observation
from engine.probe import Look, Stretch, look, memory, surprise
from engine.trainer import Trainer

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def seen_by(layer: Layer, x: np.ndarray) -> list[Observation]:
    """What a variant on its own shows for x (T, D)."""
    p = {name: np.asarray(value, np.float64) for name, value in layer.params.layer("").items()}
    return layer.variant.observe(p, x)


# Variants -------------------------------------------------------------------------------------------------------------

SHAPES = [({}, 6), ({}, 1), ({"head_size": 12, "n_heads": 3, "r_temp": 1.0}, 5), ({"n_heads": 1, "r_temp": 0.3}, 3)]
OWN_SHAPES = {
    "gqa": [({"n_kv_heads": k, "n_heads": h, "head_size": 24}, 5) for h, k in ((4, 1), (4, 2), (6, 2), (6, 3), (8, 0))],
    "rfa": [({"s_window": W}, T) for W, T in ((1, 1), (1, 6), (2, 6), (5, 6), (6, 5), (100, 6), (2, 30))],
    "gla": [({"s_kernel": K, "c_convolution": kind}, T) for K, T in ((1, 5), (2, 1), (2, 5), (6, 5), (20, 4), (4, 12))
            for kind in ("causal", "centred")],
    "ggl": [({"n_groups": 4}, 5), ({"n_groups": 1}, 3), ({"ggl_shuffle": False}, 3)],
    "moe": [({"n_experts": 1}, 3), ({"n_experts": 5}, 3)],
    "lor": [({"n_rank": 1}, 3), ({"n_rank": 7}, 3)],
}
CASES = [(name, values, T) for name in (*ATTENTIONS, *NETWORKS) for values, T in SHAPES + OWN_SHAPES.get(name, [])]


@pytest.mark.parametrize(("name", "values", "T"), CASES, ids=str)
def test_what_a_variant_shows(name, values, T):
    layer = Layer(name, tiny(**{"n_ctx": max(T, 6), "n_experts": 3, "n_rank": 3, **values}), size=0.9, seed=T)
    x = 2 * numbers(T, layer.config.n_emb, seed=3)
    found = seen_by(layer, x)
    expected = SEEN[name](layer.weights, x, layer.config)
    assert {seen.name for seen in found} == set(expected) and len(found) == len(expected)
    for seen in found:
        np.testing.assert_allclose(seen.values, expected[seen.name], err_msg=seen.name, **CLOSE)
        assert seen.values.dtype == np.float64 and seen.title and seen.about.endswith(".")
        assert seen.values.shape == ((seen.count, T, T) if seen.kind == MAP else (seen.count, T))
        assert len(seen.labels()) == seen.count
        if seen.sums:
            np.testing.assert_allclose(seen.values.sum(-1 if seen.kind == MAP else 0), 1.0)
        assert seen.low is None or seen.values.min() >= seen.low
        assert seen.high is None or seen.values.max() <= seen.high + 1e-12
        if seen.kind == MAP and layer.variant.causal(layer.config):
            assert not np.triu(seen.values, 1).any(), "no token sees a later one"
    assert sum(seen.values.size for seen in found) <= layer.variant.observed(layer.config, T)


def test_a_new_variant_shows_nothing_until_it_says_so(monkeypatch):
    class Plain(registry.network.get("mlp")):
        observe = registry.network.get("mlp").__mro__[2].observe
        observed = registry.network.get("mlp").__mro__[2].observed

    monkeypatch.setitem(registry.network._classes, "mlp", Plain)
    config = tiny()
    seen = look(wild(config), ids_for(config)[0])
    assert [layer.network for layer in seen.layers] == [(), ()] and seen.layers[0].attention


@pytest.mark.parametrize("name", ["mha", "gqa", "rfa"])
def test_weights_times_values_are_the_output(name):
    """The map is what the fast path multiplies values with: over many tokens, in blocks, as it computes it."""
    layer = Layer(name, tiny(n_ctx=100, s_window=7), seed=2)
    x, h = numbers(1, 100, 8, seed=4), layer.config.n_heads
    weights = next(seen for seen in seen_by(layer, x[0]) if seen.name == "weights").values
    v = x[0] @ layer.weights["v_weight"]
    values = v.reshape(100, -1, layer.config.d_head).swapaxes(0, 1)
    values = values.repeat(h // len(values), axis=0)  # (h, T, d)
    o = (weights @ values).swapaxes(0, 1).reshape(100, -1)
    y = o @ layer.weights["c_weight"] + layer.weights["c_bias"]
    np.testing.assert_allclose(layer.forward(x)[0], y, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["moh", "swh"])
def test_gated_weights_times_values_are_the_output(name):
    layer = Layer(name, tiny(n_ctx=100), seed=2)
    x = numbers(1, 100, 8, seed=4)
    found = {seen.name: seen.values for seen in seen_by(layer, x[0])}
    values = (x[0] @ layer.weights["v_weight"]).reshape(100, layer.config.n_heads, -1).swapaxes(0, 1)
    used = found["chosen" if name == "swh" else "gates"]
    mixed = np.einsum("jt,jti,jid->td", used, found["weights"], values)
    y = mixed @ layer.weights["m_weight"] + layer.weights["m_bias"]
    np.testing.assert_allclose(layer.forward(x)[0], y, rtol=1e-9, atol=1e-12)


def test_a_window_and_the_memory_take_in_everything():
    layer = Layer("rfa", tiny(n_ctx=40, s_window=3), seed=5)
    found = {seen.name: seen.values for seen in seen_by(layer, numbers(40, 8))}
    np.testing.assert_allclose(found["window"].sum(-1) + found["memory"], 1.0)
    assert not found["memory"][:, :3].any() and (found["memory"][:, 3:] > 0).all()


def test_sparsity_and_use():
    seen = Observation("a", "a", "activations", "channel", np.array([[0.0, 1.0, 1.0], [0.0, 0.0, -1.0], [0, 0, 1],
                                                                      [0, 0, 1]]), "")
    np.testing.assert_allclose(seen.sparsity(), [0.0, 1.0, 0.0])
    np.testing.assert_allclose(seen.zeros(), [1.0, 0.75, 0.0])
    np.testing.assert_allclose(seen.means(), [2 / 3, -1 / 3, 1 / 3, 1 / 3])
    two = Observation("a", "a", "activations", "channel", np.array([[3.0], [4.0]]), "")
    assert two.sparsity()[0] == pytest.approx((sqrt(2) - 7 / 5) / (sqrt(2) - 1))
    one = Observation("a", "a", "gates", "layer", np.ones((1, 2)), "")
    assert one.sparsity().tolist() == [0.0, 0.0] and one.labels() == ["layer"]


# Models ---------------------------------------------------------------------------------------------------------------


def slow(model: Model, ids: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Of each layer of the twin: what goes into its parts, what they give, and what comes out."""
    config, p = model.config, twins.below(model.params, "")
    x = np.array([p["wte_weight"][token] + p["wpe_weight"][place] for place, token in enumerate(ids)])
    found = []
    for i in range(config.n_layers):
        own = twins.below(p, f"block_{i}_")
        parts = {part: twins.below(own, getattr(config, f"c_{part}") + "_") for part in ("attention", "network")}

        def norm(n: int, y: np.ndarray, own: dict = own) -> np.ndarray:
            return np.array([twins.layer_norm(token, own[f"ln{n}_gamma"], own[f"ln{n}_beta"]) for token in y])

        if config.c_sequence == "pre":
            into = norm(1, x)
            a = twins.VARIANTS[config.c_attention](parts["attention"], into, config)
            between = norm(2, x + a)
            n = twins.VARIANTS[config.c_network](parts["network"], between, config)
            x = x + a + n
        else:
            into = x
            a = twins.VARIANTS[config.c_attention](parts["attention"], into, config)
            between = norm(1, x + a)
            n = twins.VARIANTS[config.c_network](parts["network"], between, config)
            x = norm(2, between + n)
        found.append({"into": into, "attention": a, "between": between, "network": n, "out": x})
    return found


def head(model: Model, x: np.ndarray) -> np.ndarray:
    """Probabilities after the last norm and the head, by the twins."""
    p = twins.below(model.params, "")
    normed = [twins.layer_norm(token, p["ln_f_gamma"], p["ln_f_beta"]) for token in x]
    return np.array([twins.softmax(list(token @ p["lm_head_weight"] + p["lm_head_bias"])) for token in normed])


def check_lens(lens, probabilities: np.ndarray, ids: np.ndarray) -> None:
    T, V = probabilities.shape
    for t in range(T):
        order = sorted(range(V), key=lambda token: -probabilities[t, token])
        np.testing.assert_allclose(lens.probabilities[t], probabilities[t, order[: lens.ids.shape[1]]], rtol=1e-9)
        assert lens.ids[t].tolist() == order[: lens.ids.shape[1]]
        assert lens.entropy[t] == pytest.approx(-sum(q * log(q) for q in probabilities[t]))
        if t + 1 < T:
            assert lens.rank[t] == 1 + order.index(ids[t + 1])
            assert lens.probability[t] == pytest.approx(probabilities[t, ids[t + 1]])
    assert lens.rank[-1] == 0 and np.isnan(lens.probability[-1])


@every_pair
def test_a_look_at_a_model(architecture):
    """Inputs, outputs and norms of every part, what the parts show, and the lens of every layer."""
    config = tiny(architecture)
    model, ids = wild(config), ids_for(config)[0]
    found, expected = look(model, ids, top=3), slow(model, ids)
    assert found.ids.tolist() == ids.tolist() and [layer.index for layer in found.layers] == [0, 1] and found.causal
    for layer, twin in zip(found.layers, expected, strict=True):
        for part, shown, into in (("attention", layer.attention, "into"), ("network", layer.network, "between")):
            weights = twins.below(model.params, f"block_{layer.index}_{getattr(config, f'c_{part}')}_")
            values = SEEN[getattr(config, f"c_{part}")](weights, twin[into], config)
            assert {seen.name for seen in shown} == set(values)
            for seen in shown:
                np.testing.assert_allclose(seen.values, values[seen.name], rtol=1e-8, atol=1e-10)
        assert [seen for _, seen in layer.observations()] == [*layer.attention, *layer.network]
        np.testing.assert_allclose(layer.norm, np.linalg.norm(twin["out"], axis=1), rtol=1e-9)
        check_lens(layer.lens, head(model, twin["out"]), ids)


@pytest.mark.parametrize("sequence", ["pre", "post"])
def test_norms_and_the_lens_of_the_embedding(sequence):
    config = tiny((sequence, "mha", "mlp"))
    model, ids = wild(config), ids_for(config)[0]
    found, expected = look(model, ids), slow(model, ids)
    x = model.params["wte_weight"][ids] + model.params["wpe_weight"][: len(ids)]
    np.testing.assert_allclose(found.embedding_norm, np.linalg.norm(x, axis=1))
    check_lens(found.embedding_lens, head(model, x), ids)
    for layer, twin in zip(found.layers, expected, strict=True):
        np.testing.assert_allclose(layer.attention_norm, np.linalg.norm(twin["attention"], axis=1))
        np.testing.assert_allclose(layer.network_norm, np.linalg.norm(twin["network"], axis=1))


@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
@every_pair
def test_the_last_lens_is_what_the_model_says(architecture, d_type):
    config = tiny(architecture, d_type=d_type, n_ctx=12)
    model = Model.create(config, VOCAB)
    ids = ids_for(config)[0]
    lens = look(model, ids, top=VOCAB).layers[-1].lens
    logits = np.asarray(model.logits(ids), np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(lens.probabilities, np.take_along_axis(p, lens.ids, 1), rtol=1e-5)
    assert np.sort(lens.ids, 1).tolist() == [list(range(VOCAB))] * len(ids)
    assert (np.diff(lens.probabilities, axis=1) <= 0).all()


def test_looking_changes_nothing():
    config = tiny(d_type="fp32")
    model, ids = wild(config), ids_for(config)[0]
    before, logits = model.params.flat.copy(), model.logits(ids)
    first, second = look(model, ids), look(model, ids)
    assert (model.params.flat == before).all() and (model.logits(ids) == logits).all()
    for (_, a), (_, b) in zip(first.layers[1].observations(), second.layers[1].observations(), strict=True):
        assert (a.values == b.values).all()


def test_some_layers_only():
    config = tiny(n_layers=3)
    model, ids = wild(config), ids_for(config)[0]
    whole, one = look(model, ids), look(model, ids, layers=[2])
    assert [layer.index for layer in one.layers] == [2]
    np.testing.assert_array_equal(one.layers[0].attention[0].values, whole.layers[2].attention[0].values)
    np.testing.assert_array_equal(one.layers[0].lens.ids, whole.layers[2].lens.ids)
    bare = look(model, ids, observe=False)
    assert [layer.observations() for layer in bare.layers] == [[], [], []]
    np.testing.assert_array_equal(bare.layers[1].norm, whole.layers[1].norm)


def test_a_model_that_sees_ahead():
    config = tiny(("pre", "gla", "mlp"), c_convolution="centred", s_kernel=5)
    found = look(wild(config), ids_for(config)[0])
    assert not found.causal and np.triu(found.layers[0].attention[0].values[0], 1).any()


def test_what_cannot_be_looked_at():
    config = tiny()
    model = wild(config)
    for wrong, part in (([], "at least one token"), ([0] * 7, "7 tokens"), ([7], "outside the vocabulary"),
                        ([-1], "outside the vocabulary")):
        with pytest.raises(ConfigError, match=part):
            look(model, wrong)
    for layer in (2, -1):
        with pytest.raises(ConfigError, match="0 to 1"):
            look(model, [1], layers=[layer])
    with pytest.raises(ConfigError, match=r"more than the 0 MB .* fewer tokens"):
        look(model, [1, 2], limit=1000)


def test_numbers_that_are_too_large_are_told():
    model = wild(tiny(d_type="fp32"))
    model.params["block_0_mlp_proj_up_weight"][...] *= 1e30
    model.params["block_0_mlp_proj_dn_weight"][...] *= 1e30
    with np.errstate(all="raise"), pytest.raises(FormatError, match="not finite"):
        look(model, [1, 2, 3])
    with np.errstate(all="raise"), pytest.raises(FormatError, match="not finite"):
        list(surprise(model, [1, 2, 3]))


@pytest.mark.parametrize(("attention", "network"), [*((name, "lor") for name in ATTENTIONS),
                                                    *(("gla", name) for name in NETWORKS)])
def test_the_memory_of_a_look_is_known_before(attention, network):
    """What is really taken at the most is below it, and not far below."""
    config = tiny(("pre", attention, network), n_ctx=256, n_emb=32, head_size=32, n_heads=4)
    model, ids = wild(config), ids_for(config)[0]
    tracemalloc.start()
    try:
        look(model, ids)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory(config, VOCAB, 256) < 5 * peak
    assert memory(config, VOCAB, 256, 1) < memory(config, VOCAB, 256)


def test_a_long_context_is_refused_before_anything_is_allocated():
    config = Config.read({"n_ctx": 65536, "n_heads": 16, "head_size": 64, "n_emb": 64, "n_layers": 2})
    need = memory(config, 100, 65536)
    assert need > 2 * 16 * 65536**2 * 8


# Texts ----------------------------------------------------------------------------------------------------------------


def joined(stretches: list[Stretch], name: str) -> np.ndarray:
    return np.concatenate([getattr(one, name) for one in stretches])


@pytest.mark.parametrize("d_type", ["fp32", "fp64"])
@pytest.mark.parametrize("stride", [1, 2, 5, 6, None])
@pytest.mark.parametrize("N", [2, 3, 6, 7, 8, 13, 40])
def test_every_token_of_a_text_is_told_once(N, stride, d_type):
    """Loss, probability, rank and the likeliest, each by a forward pass of its own over what the model may see."""
    config = tiny(d_type=d_type)
    model, text = wild(config), np.random.default_rng(N).integers(0, VOCAB, N)
    found = list(surprise(model, text, stride))
    place = 1
    for one in found:
        assert one.start == place and len({len(getattr(one, name)) for name in vars(one) if name != "start"}) == 1
        place += len(one.ids)
    assert place == N and joined(found, "ids").tolist() == text[1:].tolist()
    context = joined(found, "context")
    step = stride or 3
    assert (context >= np.minimum(np.arange(1, N), 6 - step + 1)).all() and context.max() <= 6
    for t in range(1, N):
        logits = np.asarray(model.logits(text[t - context[t - 1] : t])[-1], np.float64)
        p = twins.softmax(list(logits))
        close = pytest.approx(p[text[t]], rel=1e-9 if d_type == "fp64" else 1e-4)
        assert joined(found, "probabilities")[t - 1] == close
        assert np.exp(-joined(found, "losses")[t - 1]) == close
        order = sorted(range(VOCAB), key=lambda token: -p[token])
        assert joined(found, "rank")[t - 1] == 1 + order.index(text[t])
        assert joined(found, "likeliest")[t - 1] == order[0]


@every_pair
def test_without_overlap_it_is_the_validation_loss(architecture):
    """The mean over held-back text is what the trainer's full evaluation gives."""
    config = tiny(architecture, n_steps=2)
    text = np.random.default_rng(3).integers(0, VOCAB, 300).astype(np.uint8)
    model = wild(config)
    trainer = Trainer(model, registry.tokenizer.get("char")("abcdefg"), text)
    held_back = data.split(text, config).validation
    losses = joined(list(surprise(model, held_back, config.n_ctx)), "losses")
    assert len(losses) == len(held_back) - 1
    assert losses.mean() == pytest.approx(trainer.evaluate(full=True), rel=1e-12)


def test_a_long_text_comes_piece_by_piece(monkeypatch):
    monkeypatch.setattr("engine.probe._TOKENS", 25)  # four windows at a time
    text = np.random.default_rng(3).integers(0, VOCAB, 500)
    model = wild(tiny())
    pieces = list(surprise(model, text, 3))
    assert max(len(one.ids) for one in pieces) == 12 and len(pieces) > 40
    monkeypatch.undo()
    np.testing.assert_allclose(joined(pieces, "losses"), joined(list(surprise(model, text, 3)), "losses"), rtol=1e-12)


def test_few_logits_at_a_time_give_the_same(monkeypatch):
    text, model = np.random.default_rng(3).integers(0, VOCAB, 50), wild(tiny())
    whole, seen = list(surprise(model, text)), look(model, text[:6]).layers[1].lens
    monkeypatch.setattr("engine.probe._LOGITS", 2 * VOCAB)
    few, again = list(surprise(model, text)), look(model, text[:6]).layers[1].lens
    for name in ("losses", "probabilities", "rank", "likeliest", "context"):
        np.testing.assert_allclose(joined(few, name), joined(whole, name), rtol=1e-12)
    for name, values in vars(seen).items():
        np.testing.assert_allclose(getattr(again, name), values, rtol=1e-12)


def test_the_memory_of_reading_does_not_grow_with_the_text():
    model, peaks = wild(tiny()), []
    for N in (5_000, 50_000):
        text = np.random.default_rng(3).integers(0, VOCAB, N).astype(np.uint8)
        tracemalloc.start()
        try:
            assert sum(len(one.ids) for one in surprise(model, text)) == N - 1
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 50_000


def test_texts_and_strides_that_do_not_go():
    model = wild(tiny())
    for text in ([], [1]):
        with pytest.raises(TextError, match="two tokens"):
            surprise(model, text)
    for stride in (0, 7, -1):
        with pytest.raises(ConfigError, match="from 1 to 6"):
            surprise(model, [1, 2, 3], stride)
    with pytest.raises(ConfigError, match="outside the vocabulary"):
        surprise(model, [1, 2, 9])


def test_a_text_of_certainties_surprises_nobody():
    """A head that knows what comes: the rank is 1 and the loss almost 0."""
    model = wild(tiny(("pre", "mha", "mlp")))
    model.params["lm_head_weight"][...] = 0
    model.params["lm_head_bias"][...] = 0
    model.params["lm_head_bias"][3] = 30
    (one,) = surprise(model, [3, 3, 3, 3, 3])
    assert one.rank.tolist() == [1] * 4 and (one.losses < 1e-10).all() and (one.likeliest == 3).all()
    seen: Look = look(model, [3, 1, 3])
    assert seen.layers[-1].lens.rank.tolist() == [3, 1, 0], "of equals the one with the lower id comes first"
    assert [kind for _, one in seen.layers[0].observations(GATES) for kind in [one.kind]] == []
