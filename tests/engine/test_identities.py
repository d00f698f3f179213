"""What must hold between the variants, and of each of them, over random shapes and number formats."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import ATTENTIONS, NETWORKS
from cases import cases, divisors, examples
from hypothesis import assume, given
from hypothesis import strategies as st
from layers import numbers

from engine.backend import Arena
from engine.functional import sigmoid
from engine.scan import average, average_backward
from engine.tape import Tape

# Attentions that are others -------------------------------------------------------------------------------------------


@given(cases(), st.floats(0.2, 3))
@examples(40)
def test_gqa_with_a_key_head_for_each_is_mha(case, temperature):
    gqa = case.layer("gqa", n_kv_heads=case.h, r_temp=temperature)
    case.same_layers(gqa, case.layer("mha", 5, r_temp=temperature).take(gqa))


@given(cases(h=st.sampled_from([2, 3, 4, 6, 8])), st.data())
@examples(40)
def test_gqa_is_mha_with_repeated_keys_and_values(case, data):
    """Query head j reads key head ⌊j·k/h⌋; what its readers ask of a key head adds up."""
    shared = data.draw(st.sampled_from(divisors(case.h)))
    gqa, mha = case.layer("gqa", n_kv_heads=shared), case.layer("mha")
    mha.take(gqa, without=("k_weight", "v_weight"))
    reads = np.arange(case.h) * shared // case.h
    for name in ("k_weight", "v_weight"):
        mha.weights[name].reshape(case.D, case.h, case.d)[...] = \
            gqa.weights[name].reshape(case.D, shared, case.d)[:, reads]
    x, dy = case.inputs
    (y, dx, gradients), (its_y, its_dx, its_gradients) = gqa.gradients(x, dy), mha.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)
    for name in ("k_weight", "v_weight"):
        expected = np.zeros((case.D, shared, case.d))
        np.add.at(expected, (slice(None), reads), its_gradients[name].reshape(case.D, case.h, case.d))
        case.same(gradients[name], expected.reshape(case.D, -1), name)
    for name in ("q_weight", "c_weight", "c_bias"):
        case.same(gradients[name], its_gradients[name], name)
    case.same(gqa.decode(x, [(case.T + 1) // 2]), its_y)


@given(cases(), st.integers(0, 5), st.floats(0.2, 3))
@examples(40)
def test_rfa_whose_window_is_never_left_is_mha(case, more, temperature):
    rfa = case.layer("rfa", s_window=case.T + more, r_temp=temperature)
    gradients = case.same_layers(rfa, case.layer("mha", 5, r_temp=temperature).take(rfa))
    assert not gradients["memory_decay"].any()


@given(cases(T=st.one_of(st.integers(2, 12), st.sampled_from([33, 66, 140]))))
@examples(40)
def test_rfa_that_forgets_at_once_keeps_the_one_key_that_left(case):
    """λ = 0: the slot is the last key that left the window, so that one more token sees all there is."""
    rfa = case.layer("rfa", s_window=case.T - 1)
    rfa.weights["memory_decay"][...] = -60
    case.same_layers(rfa, case.layer("mha", 5).take(rfa))


@given(cases(T=st.one_of(st.integers(4, 12), st.sampled_from([33, 70]))), st.data())
@examples(40)
def test_rfa_that_forgets_at_once_has_a_window_of_one_more(case, data):
    """λ = 0 as mha over the last W + 1 tokens, token by token."""
    W = data.draw(st.integers(1, case.T - 1))
    rfa, mha = case.layer("rfa", s_window=W), case.layer("mha")
    rfa.weights["memory_decay"][...] = -60
    mha.take(rfa)
    x, _ = case.inputs
    y = rfa.forward(x)
    for t in {0, W - 1, W, (W + case.T) // 2, case.T - 1}:
        case.same(y[:, t], mha.forward(x[:, max(0, t - W) : t + 1])[:, -1], f"token {t}")


@given(cases(h=st.just(1)), st.sampled_from(["moh", "swh"]), st.floats(0.2, 3))
@examples(40)
def test_one_mixed_or_switched_head_is_mha(case, name, temperature):
    layer = case.layer(name, r_temp=temperature)
    mha = case.layer("mha", 5, r_temp=temperature).take(layer, c_weight="m_weight", c_bias="m_bias")
    gradients = case.same_layers(layer, mha, m_weight="c_weight", m_bias="c_bias")
    case.same(gradients["g_weight"], np.zeros((case.D, 1)))


@given(cases(), st.sampled_from(["moh", "swh"]))
@examples(40)
def test_heads_that_say_the_same_can_be_mixed_or_switched_at_will(case, name):
    layer, mha = case.layer(name), case.layer("mha", 5, n_heads=1, head_size=case.d)
    mha.take(layer, without=("q_weight", "k_weight", "v_weight"), c_weight="m_weight", c_bias="m_bias")
    for part in ("q_weight", "k_weight", "v_weight"):
        layer.weights[part][...] = np.tile(mha.weights[part], case.h)
    x, dy = case.inputs
    (y, dx, gradients), (its_y, its_dx, its_gradients) = layer.gradients(x, dy), mha.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)
    case.same(gradients["g_weight"], np.zeros((case.D, case.h)))
    for part in ("q_weight", "k_weight", "v_weight"):
        together = gradients[part].reshape(case.D, case.h, case.d).sum(1)
        case.same(together, its_gradients[part], part)
    case.same(gradients["m_weight"], its_gradients["c_weight"])


@given(cases(d_type=st.just("fp64")), st.floats(0.2, 3))
@examples(40)
def test_the_gate_of_switched_heads_learns_as_that_of_mixed_ones(case, temperature):
    """The surrogate of swh gives its gate the softmax Jacobian of ⟨dy, o_j⟩ over all heads, which is moh's gradient."""
    swh, moh = case.layer("swh", r_temp=temperature), case.layer("moh", 5, r_temp=temperature)
    x, dy = case.inputs
    gradients, its_gradients = swh.gradients(x, dy)[2], moh.take(swh).gradients(x, dy)[2]
    case.same(gradients["g_weight"], its_gradients["g_weight"])


@given(cases(d_type=st.just("fp64")), st.data())
@examples(40)
def test_a_head_that_is_always_chosen_is_alone(case, data):
    """mha with that head only; the others have no gradient, and the gate has one as long as it is unsure."""
    j = data.draw(st.integers(0, case.h - 1))
    swh, mha = case.layer("swh"), case.layer("mha", 5, n_heads=1, head_size=case.d)
    x, dy = case.inputs
    x[..., 0] = 1  # a feature that is always on, and decides
    swh.weights["g_weight"][1:] = 0
    swh.weights["g_weight"][0] = 0
    swh.weights["g_weight"][0, j] = 0.5
    mha.take(swh, without=("q_weight", "k_weight", "v_weight"), c_weight="m_weight", c_bias="m_bias")
    own = slice(j * case.d, (j + 1) * case.d)
    for part in ("q_weight", "k_weight", "v_weight"):
        mha.weights[part][...] = swh.weights[part][:, own]
    (y, _, gradients), (its_y, _, its_gradients) = swh.gradients(x, dy), mha.gradients(x, dy)
    case.same(y, its_y)
    for part in ("q_weight", "k_weight", "v_weight"):
        case.same(gradients[part][:, own], its_gradients[part], part)
        assert not np.delete(gradients[part], own, 1).any()
    case.same(gradients["m_weight"], its_gradients["c_weight"])
    assert case.h == 1 or gradients["g_weight"].any()


@given(cases(), st.integers(1, 9), st.integers(1, 9))
@examples(40)
def test_gla_does_not_hear_what_its_kernel_gives_no_weight(case, kernel, more):
    """A longer kernel that begins with zeros, also longer than the text."""
    short, long = case.layer("gla", s_kernel=kernel), case.layer("gla", 5, s_kernel=kernel + more)
    long.take(short, without=("conv_weight",))
    long.weights["conv_weight"][:, :more] = 0
    long.weights["conv_weight"][:, more:] = short.weights["conv_weight"]
    x, dy = case.inputs
    (y, dx, gradients), (its_y, its_dx, its_gradients) = long.gradients(x, dy), short.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)
    case.same(gradients["conv_weight"][:, more:], its_gradients["conv_weight"])
    for name in set(gradients) - {"conv_weight"}:
        case.same(gradients[name], its_gradients[name], name)
    case.same(long.decode(x, [(case.T + 1) // 2]), its_y)


# Averages over time ---------------------------------------------------------------------------------------------------


@given(cases(d_type=st.sampled_from(["fp32", "fp64"])), st.floats(-12, 12))
@examples(40)
def test_an_average_does_not_change_when_a_constant_is_added_to_the_keys(case, constant):
    k, v = case.inputs
    dy = numbers(*k.shape, seed=case.seed + 9).astype(k.dtype)
    k = np.clip(k, -3, 3)  # away from the clip at 20
    found = []
    for keys in (k.copy(), (k + constant).astype(k.dtype)):
        tape = Tape(Arena(), k.dtype, recording=True)
        y = average(keys, v, tape)[0].copy()
        found.append((y, *average_backward(dy, tape)))
    for moved, still in zip(found[1], found[0], strict=True):
        case.same(moved, still)
    case.same(found[0][1].sum(1), np.zeros((case.B, case.D)), "so the gradients of the keys add up to 0")


@given(cases(), st.sampled_from(["aft", "nft"]), st.floats(-9, 9), st.floats(0.5, 2))
@examples(40)
def test_layers_that_average_do_not_change_when_a_constant_is_added_to_the_keys(case, name, constant, temperature):
    layer, moved = (case.layer(name, r_temp=temperature) for _ in range(2))
    for one in (layer, moved):
        one.weights["k_weight"][...] *= 0.5  # away from the clip
    factor = temperature if name == "aft" else 1
    moved.weights["k_weight"][0] += constant * factor
    x, dy = case.inputs
    x = np.clip(x, -3, 3)
    x[..., 0] = 1  # a feature that is always on adds its row of the matrix to every key
    (y, dx, gradients), (its_y, its_dx, its_gradients) = moved.gradients(x, dy), layer.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx[..., 1:], its_dx[..., 1:])
    for part in gradients:
        case.same(gradients[part], its_gradients[part], part)
    case.same(gradients["k_weight"][0], np.zeros(case.D))
    case.same(moved.decode(x, [(case.T + 1) // 2]), its_y)


@given(cases(), st.floats(1e-3, 1))
@examples(40)
def test_nft_without_a_query_is_half_of_aft(case, temperature):
    """σ(0) = ½; nft has no temperature."""
    nft, aft = case.layer("nft", r_temp=temperature), case.layer("aft", 5, r_temp=1)
    nft.weights["q_weight"][...] = 0
    aft.take(nft)
    nft.weights["c_weight"][...] *= 2
    x, dy = case.inputs
    (y, dx, gradients), (its_y, its_dx, its_gradients) = nft.gradients(x, dy), aft.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)
    case.same(2 * gradients["c_weight"], its_gradients["c_weight"])
    for part in ("k_weight", "v_weight", "c_bias"):
        case.same(gradients[part], its_gradients[part], part)


@given(cases())
@examples(30)
def test_nft_and_nft_with_the_opposite_query_add_up_to_aft(case):
    """σ(z) + σ(-z) = 1."""
    nft, opposite, aft = case.layer("nft"), case.layer("nft"), case.layer("aft").take(case.layer("nft"))
    opposite.weights["q_weight"][...] *= -1
    x, dy = case.inputs
    (y, dx, _), (more, more_dx, _), (whole, whole_dx, _) = (one.gradients(x, dy) for one in (nft, opposite, aft))
    case.same(y + more - nft.weights["c_bias"], whole)
    case.same(dx + more_dx, whole_dx)


@given(cases(T=st.just(1)), st.sampled_from(["aft", "nft", "mha", "gqa", "rfa"]))
@examples(30)
def test_one_token_hears_itself(case, name):
    """One value is its own average, whatever the keys."""
    layer, (x, _) = case.layer(name), case.inputs
    heard = x @ layer.weights["v_weight"]
    if name == "nft":
        heard = heard * sigmoid(x @ layer.weights["q_weight"])
    if name == "gqa":
        kv = layer.weights["v_weight"].shape[1] // case.d
        heard = heard.reshape(case.B, 1, kv, 1, case.d).repeat(case.h // kv, 3).reshape(case.B, 1, -1)
    case.same(layer.forward(x), heard @ layer.weights["c_weight"] + layer.weights["c_bias"])


# Networks that are others ---------------------------------------------------------------------------------------------


@given(cases())
@examples(30)
def test_one_expert_is_mlp(case):
    names = {f"expert_0_{part}": f"proj_{part}" for part in ("up_weight", "up_bias", "dn_weight", "dn_bias")}
    moe, mlp = case.layer("moe", n_experts=1), case.layer("mlp", 5)
    moe.take(mlp, **names)
    gradients = case.same_layers(moe, mlp, **names)
    case.same(gradients["g_weight"], np.zeros((case.D, 1)))


@given(cases(), st.integers(2, 5))
@examples(30)
def test_equal_experts_are_mlp_whatever_the_gate(case, experts):
    moe, mlp = case.layer("moe", n_experts=experts), case.layer("mlp", 5)
    parts = ("up_weight", "up_bias", "dn_weight", "dn_bias")
    for e in range(experts):
        for part in parts:
            moe.weights[f"expert_{e}_{part}"][...] = mlp.weights[f"proj_{part}"]
    x, dy = case.inputs
    (y, dx, gradients), (its_y, its_dx, its_gradients) = moe.gradients(x, dy), mlp.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)
    case.same(gradients["g_weight"], np.zeros((case.D, experts)))
    for part in parts:
        case.same(sum(gradients[f"expert_{e}_{part}"] for e in range(experts)), its_gradients[f"proj_{part}"], part)


@given(cases(), st.integers(2, 5))
@examples(30)
def test_experts_of_which_only_the_biases_are_left_are_a_softmax_mixture_of_them(case, experts):
    moe, (x, dy) = case.layer("moe", n_experts=experts), case.inputs
    for e in range(experts):
        moe.weights[f"expert_{e}_dn_weight"][...] = 0
    biases, gate = np.array([moe.weights[f"expert_{e}_dn_bias"] for e in range(experts)]), moe.weights["g_weight"]
    powers = np.exp(x @ gate)
    shares = powers / powers.sum(-1, keepdims=True)
    slopes = shares * (dy @ biases.T - (dy * (shares @ biases)).sum(-1, keepdims=True))
    y, dx, gradients = moe.gradients(x, dy)
    case.same(y, shares @ biases)
    case.same(dx, slopes @ gate.T)
    case.same(gradients["g_weight"], np.einsum("btd,bte->de", x, slopes))


@given(cases(), st.integers(1, 3))
@examples(30)
def test_lor_without_a_correction_is_its_base(case, rank):
    """The frozen base has no gradient, A has none yet; B has."""
    lor, (x, dy) = case.layer("lor", n_rank=rank), case.inputs
    lor.weights["c_proj_up_weight"][...] = 0
    y, dx, gradients = lor.gradients(x, dy)
    base = lor.weights["c_proj_weight"]
    case.same(y, x @ base + lor.weights["c_proj_bias"])
    case.same(dx, dy @ base.T)
    assert set(gradients) == {"c_proj_dn_weight", "c_proj_up_weight"}
    assert not gradients["c_proj_dn_weight"].any()
    low = (x @ lor.weights["c_proj_dn_weight"]).reshape(-1, rank) / rank
    case.same(gradients["c_proj_up_weight"], low.T @ dy.reshape(-1, case.D))


@given(cases(), st.integers(1, 3))
@examples(30)
def test_lor_is_its_merged_base(case, rank):
    lor, merged = case.layer("lor", n_rank=rank), case.layer("lor", n_rank=rank)
    merged.weights["c_proj_weight"][...] += \
        lor.weights["c_proj_dn_weight"] @ lor.weights["c_proj_up_weight"] / rank
    merged.weights["c_proj_up_weight"][...] = 0
    x, dy = case.inputs
    (y, dx, _), (its_y, its_dx, _) = lor.gradients(x, dy), merged.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)


@given(cases(), st.booleans())
@examples(30)
def test_one_group_is_an_ungrouped_gate(case, shuffle):
    """One group has nothing to shuffle; a gated linear unit without biases is the same."""
    ggl, gln = case.layer("ggl", ggl_shuffle=shuffle), case.layer("gln", 5)
    gln.take(ggl, c_weight="linear_0_weight", g_weight="gate_0_weight")
    gln.weights["c_bias"][...] = gln.weights["g_bias"][...] = 0
    case.same_layers(ggl, gln, linear_0_weight="c_weight", gate_0_weight="g_weight")
    x, _ = case.inputs
    gate = 1 / (1 + np.exp(-(x @ ggl.weights["gate_0_weight"])))
    case.same(ggl.forward(x), x @ ggl.weights["linear_0_weight"] * gate)


@given(cases(D=st.sampled_from([4, 6, 8, 12])), st.data())
@examples(30)
def test_groups_are_blocks_of_an_ungrouped_gate_and_the_shuffle_deals_them_out(case, data):
    G = data.draw(st.sampled_from(divisors(case.D)))
    width = case.D // G
    plain, shuffled = (case.layer("ggl", n_groups=G, ggl_shuffle=shuffle) for shuffle in (False, True))
    whole = case.layer("ggl", 5)
    for kind in ("linear", "gate"):
        whole.weights[f"{kind}_0_weight"][...] = 0
        for g in range(G):
            own = slice(g * width, (g + 1) * width)
            whole.weights[f"{kind}_0_weight"][own, own] = plain.weights[f"{kind}_{g}_weight"]
    x, dy = case.inputs
    (y, dx, gradients), (its_y, its_dx, its_gradients) = plain.gradients(x, dy), whole.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)
    for kind in ("linear", "gate"):
        for g in range(G):
            own = slice(g * width, (g + 1) * width)
            case.same(gradients[f"{kind}_{g}_weight"], its_gradients[f"{kind}_0_weight"][own, own])
    order = [g * width + i for i in range(width) for g in range(G)]  # output channel i·G + g is channel i of group g
    moved, moved_dx, moved_gradients = shuffled.gradients(x, dy[..., order])
    case.same(moved, y[..., order])
    case.same(moved_dx, dx)
    for name in gradients:
        case.same(moved_gradients[name], gradients[name], name)


@given(cases())
@examples(30)
def test_a_gate_and_its_opposite_add_up(case):
    """gln: σ(z) + σ(-z) = 1. swi: swish(z) - swish(-z) = z."""
    x, dy = case.inputs
    gln, opposite = case.layer("gln"), case.layer("gln")
    for name in ("g_weight", "g_bias"):
        opposite.weights[name][...] *= -1
    (y, dx, _), (more, more_dx, _) = gln.gradients(x, dy), opposite.gradients(x, dy)
    case.same(y + more, x @ gln.weights["c_weight"] + gln.weights["c_bias"])
    case.same(dx + more_dx, dy @ gln.weights["c_weight"].T)
    swi, opposite = case.layer("swi"), case.layer("swi")
    for name in ("c_proj_gt_weight", "c_proj_gt_bias"):
        opposite.weights[name][...] *= -1
    w = swi.weights
    up, gate = (x @ w[f"c_proj_{part}_weight"] + w[f"c_proj_{part}_bias"] for part in ("up", "gt"))
    (y, dx, _), (less, less_dx, _) = swi.gradients(x, dy), opposite.gradients(x, dy)
    case.same(y - less, (up * gate) @ w["c_proj_dn_weight"])
    hidden = dy @ w["c_proj_dn_weight"].T
    case.same(dx - less_dx, (hidden * gate) @ w["c_proj_up_weight"].T + (hidden * up) @ w["c_proj_gt_weight"].T)


# Temperature ----------------------------------------------------------------------------------------------------------

COOLED = {"mha": ["q_weight"], "gqa": ["q_weight"], "rfa": ["q_weight"], "moh": ["q_weight", "g_weight"],
          "swh": ["q_weight", "g_weight"], "gla": ["k_weight"], "aft": ["k_weight"]}  # what the temperature divides


@pytest.mark.parametrize("name", [*ATTENTIONS, *NETWORKS])
@given(case=cases(), temperature=st.floats(0.2, 5), window=st.integers(1, 9))
@examples(12)
def test_temperature_divides_these_weights_and_nothing_else(name, case, temperature, window):
    """τ with W is 1 with W/τ, whose gradients are τ times as large. No network has a temperature."""
    hot = case.layer(name, r_temp=temperature, s_window=window)
    assume(case.d_type == "fp64" or not hot.variant.straight_through)  # two gates may be as good as equal
    plain = case.layer(name, 5, r_temp=1, s_window=window).take(hot)
    for part in COOLED.get(name, []):
        plain.weights[part][...] /= temperature
    x, dy = case.inputs
    (y, dx, gradients), (its_y, its_dx, its_gradients) = hot.gradients(x, dy), plain.gradients(x, dy)
    case.same(y, its_y)
    case.same(dx, its_dx)
    for part in gradients:
        case.same(gradients[part], its_gradients[part] / (temperature if part in COOLED.get(name, []) else 1), part)
    case.same(hot.decode(x, [(case.T + 1) // 2]), its_y)


def test_every_attention_is_asked_for_its_temperature():
    assert set(COOLED) == set(ATTENTIONS)
