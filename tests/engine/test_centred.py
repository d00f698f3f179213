"""The centred convolution of old gla files: its twin, its gradients, and what a model that is not causal does."""

from __future__ import annotations

import numpy as np
import pytest
import twins
from architectures import VOCAB, ids_for, relative_error, tiny, wild

from engine import events, registry
from engine.config import PARAMETERS, Config, remarks
from engine.errors import ConfigError
from engine.estimate import estimate
from engine.generate import Decoder, Sampler, stream
from engine.model import Model
from engine.parameters import Gradients
from engine.trainer import Trainer

every_kernel = pytest.mark.parametrize("kernel", [1, 2, 3, 4, 8, 15])


def centred(kernel: int = 4, sequence: str = "pre", **changes):
    return tiny((sequence, "gla", "mlp"), s_kernel=kernel, c_convolution="centred", **changes)


@every_kernel
@pytest.mark.parametrize("form", PARAMETERS["c_convolution"].choices)
def test_equals_its_twin(kernel, form):
    config = centred(kernel).replace(c_convolution=form)
    model, ids = wild(config), ids_for(config)
    for row in ids:
        np.testing.assert_allclose(model.logits(row), twins.logits(model.params, row, config), rtol=0, atol=1e-10)


@every_kernel
@pytest.mark.parametrize("sequence", ["pre", "post"])
@pytest.mark.parametrize("tokens", [1, 2, 6])
def test_gradients_equal_central_differences(kernel, sequence, tokens):
    config = centred(kernel, sequence)
    model, ids, targets = wild(config), ids_for(config, tokens=tokens), ids_for(config, seed=2, tokens=tokens)
    gradients = Gradients(model.params)
    loss = model.loss_and_gradients(ids, targets, gradients)
    gradients.finish()

    def loss_of():
        return float(model.losses(ids, targets).mean())

    assert loss == pytest.approx(loss_of(), rel=1e-12)
    rng = np.random.default_rng(3)
    for name, gradient in gradients.joined.items():
        error = relative_error(loss_of, model.params.joined[name], gradient, rng, elements=4)
        assert error < 1e-6, f"{name}: relative error {error:.1e}"


@pytest.mark.parametrize(("kernel", "ahead"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (8, 3)])
def test_how_far_ahead_a_token_sees(kernel, ahead):
    config = centred(kernel, n_layers=1, n_ctx=12)
    model, ids = wild(config), ids_for(config, batch=1)[0]
    before = model.logits(ids)
    for t in range(config.n_ctx):
        changed = ids.copy()
        changed[t] = (changed[t] + 1) % VOCAB
        same = (before == model.logits(changed)).all(1)
        assert same[: max(0, t - ahead)].all() and not same[max(0, t - ahead) : t + 1].any()


def test_each_token_comes_from_the_last_of_the_whole_context():
    config = centred(8, n_ctx=7)
    model, prompt = wild(config), [1, 2, 3]
    assert not model.causal and wild(tiny(("pre", "gla", "mlp"))).causal
    for cache in (True, False):
        made = list(stream(model, prompt, 20, Sampler(seed=3), cache=cache))
        context = list(prompt)
        for token in made:
            np.testing.assert_array_equal(token.logits, model.logits(context[-7:])[-1])
            context.append(token.id)
    decoder = Decoder(model, 2)
    assert not decoder.cache and decoder.states == []
    first = decoder.start(np.array([[1, 2], [3, 4]]))
    np.testing.assert_array_equal(decoder.next(np.array([5, 6])), model.logits([[1, 2, 5], [3, 4, 6]])[:, -1])
    assert first.shape == (2, VOCAB)


def test_one_token_at_a_time_is_refused_instead_of_wrong():
    model = wild(centred())
    states = model.state(1)
    assert sum(part.bytes for pair in states for part in pair) == 0
    assert estimate(model.config, vocab_size=VOCAB).generation_bytes == model.n_parameters * 8
    with pytest.raises(ConfigError, match="whole context"):
        model.prefill(np.array([[1, 2]]), states)
    with pytest.raises(ConfigError, match="whole context"):
        model.step(np.array([1]), states, 0)


def test_trains_and_goes_on_from_a_state():
    config = centred(n_steps=6, d_type="fp32", r_dropout=0.2)
    tokenizer = registry.tokenizer.get("char")("abcdefg")
    ids = ids_for(config, tokens=80, batch=1)[0]

    def trainer(resume=None):
        return Trainer(Model.create(config, VOCAB), tokenizer, ids, sample_tokens=3, resume=resume)

    whole, first = trainer(), trainer()
    seen = list(whole)
    assert isinstance(seen[-1], events.End) and any(isinstance(event, events.Sample) for event in seen)
    for event in first:
        if isinstance(event, events.Step) and event.step == 3:
            break
    rest = trainer(first.state())
    list(rest)
    assert rest.model.config.c_convolution == "centred"
    assert np.array_equal(whole.model.params.flat, rest.model.params.flat)


def test_what_has_to_be_known_is_said_of_models_that_it_concerns():
    said = remarks(centred().values)
    assert len(said) == 1 and "not causal" in said[0] and '"c_convolution": "causal"' in said[0]
    for config in (centred().replace(c_convolution="causal"), centred().replace(c_attention="mha"), Config.read()):
        assert remarks(config.values) == []
    assert remarks({"c_convolution": "centred", "c_attention": "nothing of the kind"}) == []
    assert len(remarks({"c_convolution": "centred", "c_attention": "lda"})) == 1
