"""Nothing looks ahead, and one token at a time is the same function: of all that is registered, over random shapes."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import ATTENTIONS, NETWORKS, VOCAB, every_pair, wild
from cases import cases, examples
from hypothesis import given
from hypothesis import strategies as st
from layers import numbers

from engine import registry
from engine.config import Config


@pytest.mark.parametrize("name", [*ATTENTIONS, *NETWORKS])
@given(case=cases(T=st.one_of(st.integers(2, 12), st.sampled_from([33, 65, 140]))), window=st.integers(1, 9),
       kernel=st.integers(1, 9), data=st.data())
@examples(12)
def test_the_future_has_no_influence_and_gets_no_gradient(name, case, window, kernel, data):
    layer = case.layer(name, s_window=window, s_kernel=kernel)
    t = data.draw(st.integers(1, case.T - 1))
    x, dy = case.inputs
    other = x.copy()
    other[:, t:] = numbers(*other[:, t:].shape, seed=case.seed + 7)
    for recording in (False, True):
        case.same(layer.forward(other, recording=recording)[:, :t], layer.forward(x, recording=recording)[:, :t])
    dy[:, t:] = 0
    _, dx, gradients = layer.gradients(x, dy)
    assert not dx[:, t:].any()
    _, other_dx, other_gradients = layer.gradients(other, dy)
    case.same(other_dx, dx)
    for part in gradients:
        case.same(other_gradients[part], gradients[part], part)


def sizes():
    """Changes of the config, over which whole models are compared."""
    return st.fixed_dictionaries({
        "n_ctx": st.one_of(st.integers(1, 10), st.sampled_from([35, 70, 130])), "n_heads": st.sampled_from([1, 2, 4]),
        "head_size": st.sampled_from([4, 8, 12]), "n_emb": st.sampled_from([4, 8]), "n_layers": st.integers(1, 2),
        "s_window": st.sampled_from([1, 2, 5, 40]), "s_kernel": st.integers(1, 9), "n_experts": st.integers(1, 3),
        "n_groups": st.sampled_from([1, 2, 4]), "ggl_shuffle": st.booleans(), "n_rank": st.integers(1, 4),
        "n_kv_heads": st.sampled_from([0, 1]), "r_temp": st.sampled_from([0.5, 1, 2])})


def model_of(architecture, changes):
    sequence, attention, network = architecture
    return wild(Config.read({"c_sequence": sequence, "c_attention": attention, "c_network": network, **changes}))


@every_pair
@given(changes=sizes(), d_type=st.sampled_from(["fp16", "fp32", "fp64"]), batch=st.integers(1, 3), data=st.data())
@examples(4)
def test_prefill_and_steps_equal_the_forward_pass(architecture, changes, d_type, batch, data):
    """Any split into a first prefill, a second one and steps."""
    if registry.attention.get(architecture[1]).straight_through:
        d_type = "fp64"  # in single precision two gates may be as good as equal
    model, T = model_of(architecture, {**changes, "d_type": d_type}), changes["n_ctx"]
    ids = np.random.default_rng(T).integers(0, VOCAB, (batch, T))
    whole, states = model.logits(ids), model.state(batch)
    first = data.draw(st.integers(1, T))
    second = data.draw(st.integers(first, T))
    atol = (1e-9 if d_type == "fp64" else 2e-4) * max(1.0, np.abs(whole).max())
    np.testing.assert_allclose(model.prefill(ids[:, :first], states), whole[:, first - 1], rtol=0, atol=atol)
    if second > first:
        found = model.prefill(ids[:, first:second], states, first)
        np.testing.assert_allclose(found, whole[:, second - 1], rtol=0, atol=atol)
    for t in range(second, T):
        np.testing.assert_allclose(model.step(ids[:, t], states, t), whole[:, t], rtol=0, atol=atol)


@every_pair
@given(changes=sizes(), data=st.data())
@examples(4)
def test_changing_a_token_changes_nothing_before_it(architecture, changes, data):
    model, T = model_of(architecture, {**changes, "d_type": "fp64"}), changes["n_ctx"]
    ids = np.random.default_rng(T).integers(0, VOCAB, T)
    t = data.draw(st.integers(0, T - 1))
    changed = ids.copy()
    changed[t] = (ids[t] + data.draw(st.integers(1, VOCAB - 1))) % VOCAB
    before, after = model.logits(ids), model.logits(changed)
    np.testing.assert_allclose(after[:t], before[:t], rtol=0, atol=1e-10 * max(1.0, np.abs(before).max()))
    assert not np.allclose(after[t], before[t])
