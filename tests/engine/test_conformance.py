"""What every architecture must satisfy. Parametrised over the registries: a new variant file is tested as it is."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import (
    ATTENTIONS,
    NETWORKS,
    VOCAB,
    every_architecture,
    every_pair,
    hold,
    ids_for,
    relative_error,
    tiny,
    wild,
)

from engine import events, registry
from engine.backend import Arena
from engine.estimate import estimate
from engine.generate import Sampler, stream
from engine.model import Model
from engine.optimizer import AdamW
from engine.parameters import Gradients, Parameters
from engine.prepared import Prepared
from engine.tape import Tape, tape_for
from engine.trainer import Trainer

VARIANTS = [("attention", name) for name in ATTENTIONS] + [("network", name) for name in NETWORKS]
every_variant = pytest.mark.parametrize(("slot", "name"), VARIANTS, ids=lambda value: value)


def loss_of(model, ids, targets):
    """Mean loss of the training forward pass (dropout included), without gradients."""
    config = model.config
    tape = tape_for(model.arena, model.dtype, config.n_seed, 0, 0, config.r_dropout)
    from engine.functional import cross_entropy

    return float(cross_entropy(model.forward(ids, tape), targets.reshape(-1), tape).mean())


@every_architecture
@pytest.mark.parametrize("dropout", [0.0, pytest.param(0.3, marks=pytest.mark.slow)], ids=["plain", "dropout"])
def test_gradients_equal_central_differences(architecture, dropout):
    config = tiny(architecture, r_dropout=dropout)
    model, ids = wild(config), ids_for(config)
    targets = ids_for(config, seed=2)
    gradients = Gradients(model.params)
    loss = model.loss_and_gradients(ids, targets, gradients)
    gradients.finish()
    assert loss == pytest.approx(loss_of(model, ids, targets), rel=1e-12)
    for block in model.blocks:
        hold(block.attention)
    assert loss == pytest.approx(loss_of(model, ids, targets), rel=1e-12)
    rng = np.random.default_rng(3)
    for name, gradient in gradients.joined.items():
        error = relative_error(lambda: loss_of(model, ids, targets), model.params.joined[name], gradient, rng)
        assert error < 1e-6, f"{name}: relative error {error:.1e}"


@every_variant
def test_input_gradient_of_a_variant(slot, name):
    config = tiny().replace(**{f"c_{slot}": name})
    variant = getattr(registry, slot).get(name)(config, np.float64)
    params = Parameters(variant.tensors(config), np.float64)
    rng = np.random.default_rng(4)
    params.flat[...] = 0.4 * rng.standard_normal(params.flat.shape)
    x, dy = rng.standard_normal((2, 2, 6, 8))
    arena, p = Arena(), params.layer("")
    tape = Tape(arena, np.float64, recording=True)
    variant.forward(p, x, tape)
    kept = x.copy(), dy.copy()
    dx = variant.backward(p, dy, tape, Gradients(params).layer("")).copy()
    assert len(tape) == 0, "backward must pop all that forward saved"
    assert np.array_equal(x, kept[0]) and np.array_equal(dy, kept[1]), "x and dy must be left as they are"

    def value():
        return float((variant.forward(p, x, Tape(arena, np.float64)) * dy).sum())

    plain = value()
    hold(variant)
    assert value() == pytest.approx(plain, rel=1e-12)
    assert relative_error(value, x, dx, rng, elements=48) < 1e-6


@every_architecture
def test_no_token_changes_an_earlier_output(architecture):
    config = tiny(architecture)
    model, ids = wild(config), ids_for(config, batch=1)
    before = model.logits(ids[0])
    for t in range(config.n_ctx):
        changed = ids[0].copy()
        changed[t] = (changed[t] + 1) % VOCAB
        after = model.logits(changed)
        assert np.array_equal(before[:t], after[:t])
        assert not np.allclose(before[t], after[t])


@every_architecture
def test_steps_equal_the_forward_pass_at_every_split(architecture):
    config = tiny(architecture)
    model, ids = wild(config), ids_for(config, batch=2)
    whole = model.logits(ids)
    for prefilled in range(1, config.n_ctx + 1):
        states = model.state(2)
        np.testing.assert_allclose(model.prefill(ids[:, :prefilled], states), whole[:, prefilled - 1], atol=1e-12)
        for t in range(prefilled, config.n_ctx):
            np.testing.assert_allclose(model.step(ids[:, t], states, t), whole[:, t], atol=1e-12)


@every_pair
@pytest.mark.parametrize("batch", [1, 3])
def test_prepared_steps_equal_the_forward_pass(architecture, batch):
    config = tiny(architecture)
    model, ids = wild(config), ids_for(config, batch=batch)
    whole = model.logits(ids)
    for prefilled in range(1, config.n_ctx):
        states = model.state(batch)
        model.prefill(ids[:, :prefilled], states)
        step = Prepared(model, states, batch)
        for t in range(prefilled, config.n_ctx):
            np.testing.assert_allclose(step(ids[:, t], t), whole[:, t], rtol=1e-10, atol=1e-12)


@every_architecture
def test_prefill_in_two_parts_equals_one(architecture):
    config = tiny(architecture)
    model, ids = wild(config), ids_for(config, batch=2)
    whole = model.logits(ids)
    states = model.state(2)
    model.prefill(ids[:, :2], states)
    np.testing.assert_allclose(model.prefill(ids[:, 2:], states, 2), whole[:, -1], atol=1e-12)


@every_architecture
def test_a_reset_state_has_forgotten(architecture):
    config = tiny(architecture)
    model, ids = wild(config), ids_for(config, batch=1)
    states = model.state(1)
    model.prefill(ids, states)
    for state in (state for pair in states for state in pair):
        state.reset()
    assert np.array_equal(model.prefill(ids[:, :3], states), model.prefill(ids[:, :3], model.state(1)))


@every_pair
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_exported_arrays_give_the_same_model(architecture, d_type):
    config = tiny(architecture, d_type=d_type)
    model = wild(config)
    model.round()
    arrays = model.export()
    again = Model.from_arrays(config, arrays)
    ids = ids_for(config)
    assert np.array_equal(model.logits(ids), again.logits(ids))
    assert list(again.export()) == list(arrays)
    assert all(not hasattr(value, "dtype") or value.dtype == model.storage for value in arrays.values())


@every_architecture
def test_overfits_one_batch(architecture):
    config = tiny(architecture, d_type="fp32", n_emb=16, head_size=16, n_rank=16, s_kernel=6, r_temp=1.0)
    model = Model.create(config, VOCAB)
    rng = np.random.default_rng(5)
    ids = np.tile(np.arange(config.n_ctx), (3, 1))  # distinct tokens at the same places, three different successors
    ids[:, 0] = [0, 5, 6]
    targets = rng.permutation(VOCAB)[(ids + ids[:, :1]) % VOCAB]  # depends on the token and on the first one
    gradients, optimizer = Gradients(model.params), AdamW(model.params, 0.0)
    for updates in range(1, 401):
        gradients.reset()
        loss = model.loss_and_gradients(ids, targets, gradients)
        optimizer.step(model.params.flat, gradients.finish(), 0.01, 1.0, updates)
        if loss < 0.05:
            break
    assert loss < 0.1


@every_pair
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 6), (5, 1), (2, 4)])
def test_corner_shapes_train(architecture, batch, tokens):
    config = tiny(architecture)
    model = wild(config)
    ids, targets = ids_for(config, 6, batch, tokens), ids_for(config, 7, batch, tokens)
    gradients = Gradients(model.params)
    loss = model.loss_and_gradients(ids, targets, gradients)
    assert np.isfinite(loss) and np.isfinite(gradients.finish()).all()
    one_by_one = np.mean([model.losses(ids[i : i + 1], targets[i : i + 1]).mean() for i in range(batch)])
    assert loss == pytest.approx(one_by_one, rel=1e-12)


@every_pair
@pytest.mark.parametrize("n_ctx", [1, 5])
def test_generates_past_its_context(architecture, n_ctx):
    model = wild(tiny(architecture, n_ctx=n_ctx))
    for cache in (True, False):
        assert len(list(stream(model, [1] * (n_ctx + 3), 3 * n_ctx, Sampler(seed=1), cache=cache))) == 3 * n_ctx


@every_architecture
def test_counts_of_the_estimate_are_exact(architecture):
    config = tiny(architecture)
    model = Model.create(config, VOCAB)
    found = estimate(config, vocab_size=VOCAB)
    assert found.parameters == sum(view.size for view in model.params.values()) == model.n_parameters
    state = sum(part.bytes for pair in model.state(1) for part in pair)
    assert found.generation_bytes == 2 * model.n_parameters * 8 + state  # the weights, and once more for single tokens


@every_architecture
def test_trains_by_the_trainer_and_goes_on_from_a_state(architecture):
    config = tiny(architecture, n_steps=6, d_type="fp32", r_dropout=0.2)
    tokenizer = registry.tokenizer.get("char")("abcdefg")
    ids = ids_for(config, tokens=80, batch=1)[0]

    def weights(trainer):
        return trainer.model.params.flat.copy()

    whole = Trainer(Model.create(config, VOCAB), tokenizer, ids, sample_tokens=2)
    assert isinstance(list(whole)[-1], events.End)
    first = Trainer(Model.create(config, VOCAB), tokenizer, ids, sample_tokens=2)
    for event in first:
        if isinstance(event, events.Step) and event.step == 3:
            break
    rest = Trainer(Model.create(config, VOCAB), tokenizer, ids, resume=first.state(), sample_tokens=2)
    list(rest)
    assert np.array_equal(weights(whole), weights(rest))


@every_architecture
def test_shards_add_up_to_the_whole_batch(architecture):
    config = tiny(architecture)
    model, ids, targets = wild(config), ids_for(config), ids_for(config, seed=8)
    whole, parts = Gradients(model.params), Gradients(model.params)
    model.loss_and_gradients(ids, targets, whole)
    for shard in range(3):
        model.loss_and_gradients(ids[shard : shard + 1], targets[shard : shard + 1], parts, shard=shard, scale=1 / 3)
    np.testing.assert_allclose(parts.finish(), whole.finish(), atol=1e-13)
