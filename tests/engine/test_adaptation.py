"""Fine-tuning: frozen tensors, low-rank adapters, new symbols. References: finite differences and full gradients."""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
import pytest
from architectures import ATTENTIONS, NETWORKS, VOCAB, ids_for, relative_error, tiny, wild

from engine import events, registry
from engine.adaptation import Adaptation, grow, merge
from engine.errors import ConfigError, FormatError
from engine.estimate import estimate
from engine.model import Model
from engine.parameters import Gradients, pieces
from engine.trainer import Trainer

TEXT = np.tile(np.random.default_rng(4).integers(0, VOCAB, 20), 100).astype(np.uint8)
PAIRS = [*((attention, "mlp") for attention in ATTENTIONS), *(("mha", network) for network in NETWORKS[1:])]


def adapted(base: Model, **what) -> Model:
    return Model.from_arrays(base.config, base.export(), adaptation=Adaptation(**what))


def trainer(model: Model, cores: int = 1, **options) -> Trainer:
    tokenizer = registry.tokenizer.get("char")("abcdefghijklm"[: model.vocab_size])
    return Trainer(model, tokenizer, TEXT, sample_tokens=2, cores=cores, **options)


def run(model: Model, cores: int = 1, **options) -> list[events.Event]:
    return list(trainer(model, cores, **options))


def named_gradients(model: Model, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Every gradient under the names of the file format, and those of factors."""
    gradients, config = Gradients(model.params), model.config
    model.loss_and_gradients(ids_for(config), ids_for(config, seed=2), gradients, scale=scale)
    gradients.finish()
    found = {}
    for name, value in gradients.joined.items():
        found |= {piece: value[index] for piece, index in pieces(model.params.tensors[name])}
    return found


def stir(model: Model, seed: int = 5) -> None:
    """Factors that matter, and the matrices that belong to them."""
    rng = np.random.default_rng(seed)
    for adapter in model.params.adapters:
        for name in (adapter.a, adapter.b):
            model.params.joined[name][...] = 0.5 * rng.standard_normal(model.params.joined[name].shape)
    model.params.correct(model.params.flat)


# Low-rank adapters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attention", "network"), PAIRS)
@pytest.mark.parametrize("sequence", ["pre", "post"])
def test_gradients_of_adapters(sequence, attention, network):
    """dA = s·dW·Bᵀ and dB = s·Aᵀ·dW with dW the gradient of the whole matrix, which the other tests establish."""
    base = wild(tiny((sequence, attention, network)))
    model = adapted(base, rank=2, alpha=3.0)
    stir(model)
    whole = named_gradients(Model.from_arrays(base.config, model.export()))
    found = named_gradients(model)
    factors = model.adapters()
    seen = 0
    for name in (n.removesuffix(".lora_a") for n in factors if n.endswith(".lora_a")):
        if name.endswith("lor_c_proj_weight"):  # frozen in the variant, so `whole` has none; see the next test
            continue
        seen += 1
        a, b, dW = factors[name + ".lora_a"], factors[name + ".lora_b"], whole[name]
        np.testing.assert_allclose(found[name + ".lora_a"], 1.5 * dW @ b.T, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(found[name + ".lora_b"], 1.5 * a.T @ dW, rtol=1e-9, atol=1e-12, err_msg=name)
    assert seen >= 4 and set(found) == set(factors)


@pytest.mark.parametrize(("network", "target"), [
    ("moe", ("block_*_up_weight",)), ("mlp", ("wte_weight", "wpe_weight", "lm_head_weight")),
    ("moe", ("*_expert_1_*_weight", "*_v_weight")), ("lor", ("*_lor_*_weight",)), ("ggl", ("*_ggl_*",))])
def test_adapters_by_central_differences(network, target):
    model = adapted(wild(tiny(("pre", "gqa", network), n_kv_heads=2)), rank=2, alpha=1.0, target=target)
    stir(model)
    ids, targets = ids_for(model.config), ids_for(model.config, seed=2)
    gradients = Gradients(model.params)
    model.loss_and_gradients(ids, targets, gradients)
    gradients.finish()

    def loss() -> float:
        model.params.correct(model.params.flat)
        return float(model.losses(ids, targets).mean())

    rng = np.random.default_rng(0)
    for name, gradient in gradients.joined.items():
        assert relative_error(loss, model.params.joined[name], gradient, rng, elements=4) < 1e-6, name


@pytest.mark.parametrize(("attention", "network"), [("mha", "moe"), ("gla", "ggl"), ("rfa", "lor"), ("swh", "nft")])
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_only_adapters_are_trained_and_merge(attention, network, d_type):
    base = wild(tiny(("pre", attention, network), d_type=d_type, n_steps=30, r_learn=0.02, r_decay=0.2, batch_size=4))
    before = base.export()
    model = adapted(base, rank=2, alpha=1.0)
    losses = [e.validation_loss for e in run(model) if isinstance(e, events.Evaluation)]
    after, factors = model.export(), model.adapters()
    assert losses[-1] < losses[0] - 0.05
    assert list(after) == list(before), "an ordinary model file"
    targets = {name.removesuffix(".lora_a") for name in factors if name.endswith(".lora_a")}
    for name, value in after.items():
        if not hasattr(value, "shape"):
            assert value == before[name]
        elif name in targets:
            assert not np.array_equal(value, before[name]), name
        else:
            np.testing.assert_array_equal(value, before[name], err_msg=name)
    merged = merge({name: np.asarray(value, np.float64) if hasattr(value, "shape") else value
                    for name, value in before.items()},
                   {name: value.astype(np.float64) for name, value in factors.items()}, 0.5)
    tolerance = {"fp16": 2e-3, "fp32": 1e-6, "fp64": 1e-13}[d_type]
    for name in targets:
        np.testing.assert_allclose(after[name], merged[name], rtol=tolerance, atol=tolerance, err_msg=name)


def test_a_fresh_adapter_changes_nothing():
    base = wild(tiny(("post", "moh", "swi")))
    ids = ids_for(base.config)
    np.testing.assert_array_equal(adapted(base, rank=3).logits(ids), base.logits(ids))


def test_default_targets_are_the_matrices_of_blocks_that_are_wide_enough():
    model = adapted(wild(tiny(("pre", "moh", "moe"), n_experts=3)), rank=4)
    names = {name.rsplit(".", 1)[0].removeprefix("block_1_") for name in model.adapters() if "block_1" in name}
    # moh_m is 2 × 8 and moe_g 8 × 3: too narrow for rank 4; moh_g is 8 × 4
    assert names == {"moh_q_weight", "moh_k_weight", "moh_v_weight", "moh_g_weight",
                     *(f"moe_expert_{e}_{part}_weight" for e in range(3) for part in ("up", "dn"))}


# Freezing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patterns", [("wte*", "wpe*", "block_0_*"), ("*_q_weight",), ("*ln*", "*_bias"),
                                      ("*_expert_1_*",), ("block_*",)])
@pytest.mark.parametrize("d_type", ["fp16", "fp32"])
def test_frozen_tensors_stay_and_the_others_learn(patterns, d_type):
    base = wild(tiny(("pre", "moh", "moe"), d_type=d_type, n_steps=5, r_learn=0.01, r_decay=0.5, batch_size=4))
    model = adapted(base, freeze=patterns)
    before, n_trained = base.export(), 0
    run(model)
    for name, value in model.export().items():
        if not hasattr(value, "shape"):
            continue
        frozen = any(fnmatchcase(name, pattern) for pattern in patterns)
        assert np.array_equal(value, before[name]) == frozen, name
        n_trained += 0 if frozen else value.size
    assert model.n_trained == n_trained < model.n_parameters
    cost = estimate(base.config, vocab_size=VOCAB, adaptation=Adaptation(freeze=patterns))
    assert (cost.trained_parameters, cost.parameters) == (n_trained, base.n_parameters)


def test_what_is_not_frozen_has_its_usual_gradient():
    base = wild(tiny(("post", "mha", "moe")))
    whole = named_gradients(base)
    for patterns in (("wte*", "wpe*", "block_0_*"), ("block_1_*", "*_up_*"), ("wpe*", "lm_head*")):
        found = named_gradients(adapted(base, freeze=patterns))
        for name, value in whole.items():
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                assert name not in found or "expert" in name, name  # parts of a joined tensor are masked later
            else:
                np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-15, err_msg=name)


def test_blocks_below_what_is_trained_keep_nothing():
    base = wild(tiny(n_layers=4))
    patterns = ("wte*", "wpe*", "block_0_*", "block_1_*")
    model = adapted(base, freeze=patterns)
    tapes = {}
    for each in (base, model):
        tape = each.tape()
        tape.recording = True
        each.forward(ids_for(base.config), tape)
        tapes[each] = len(tape)
    assert tapes[model] < 0.65 * tapes[base]


def test_the_norm_counts_only_what_is_trained():
    base = wild(tiny(("pre", "mha", "mlp"), r_clip=0, n_steps=1))
    model = adapted(base, freeze=("*_q_weight", "*_v_weight"))
    step = next(e for e in run(model) if isinstance(e, events.Step))
    again = adapted(base, freeze=("*_q_weight", "*_v_weight"))
    inputs, targets = trainer(again).windows.batch(0)
    gradients = Gradients(again.params)
    again.loss_and_gradients(inputs, targets, gradients)
    gradients.finish()
    total = 0.0
    for name, value in gradients.joined.items():
        for piece, index in pieces(again.params.tensors[name]):
            if not piece.endswith(("_q_weight", "_v_weight")):
                total += float((value[index] ** 2).sum())
    assert step.gradient_norm == pytest.approx(np.sqrt(total), rel=1e-9)


# New symbols ----------------------------------------------------------------------------------------------------------


def test_new_symbols_leave_the_old_logits():
    base = wild(tiny(("pre", "rfa", "gln")))
    grown = Model.from_arrays(base.config, grow(base.export(), VOCAB + 4))
    ids = ids_for(base.config)
    assert grown.vocab_size == VOCAB + 4
    np.testing.assert_array_equal(grown.params["wte_weight"][:VOCAB], base.params["wte_weight"])
    np.testing.assert_allclose(grown.logits(ids)[..., :VOCAB], base.logits(ids), rtol=1e-12, atol=1e-12)
    new = grown.params["wte_weight"][VOCAB:]
    assert len(np.unique(new)) == new.size and np.abs(new).max() < 5 * np.abs(base.params["wte_weight"]).max()


@pytest.mark.parametrize("what", [{"freeze": ("wte*", "lm_head*", "block_0*")}, {"rank": 2}])
def test_new_symbols_learn_where_the_rest_is_held(what):
    base = wild(tiny(n_steps=5, r_learn=0.05, r_decay=0.5))
    start = grow(base.export(), VOCAB + 3)
    model = Model.from_arrays(base.config, start, adaptation=Adaptation(**what, new_symbols=3))
    text = np.random.default_rng(4).integers(0, VOCAB + 3, 2000).astype(np.uint8)
    list(Trainer(model, registry.tokenizer.get("char")("abcdefghij"), text, sample_tokens=2))
    after = model.export()
    for name, take in (("wte_weight", lambda x: x), ("lm_head_weight", np.transpose), ("lm_head_bias", lambda x: x)):
        old, new = take(start[name]), take(after[name])
        np.testing.assert_array_equal(new[:VOCAB], old[:VOCAB], err_msg=name)
        assert (new[VOCAB:] != old[VOCAB:]).mean() > 0.9, name
    expected = 3 * (2 * base.config.n_emb + 1) + sum(value.size for value in model.adapters().values())
    assert model.n_trained == expected or "freeze" in what


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [{"rank": 2}, {"freeze": ("*_q_weight", "block_0_ln*")}])
@pytest.mark.parametrize("d_type", ["fp16", "fp32"])
def test_any_number_of_processes_and_resume_give_the_same_bytes(what, d_type):
    base = wild(tiny(("pre", "moh", "moe"), batch_size=24, n_ctx=64, d_type=d_type, n_steps=6, n_experts=2,
                     r_dropout=0.1, r_learn=0.01))

    def outcome(model: Model) -> bytes:
        return b"".join(value.tobytes() for value in model.export().values() if hasattr(value, "tobytes"))

    alone = adapted(base, **what)
    run(alone)
    two = adapted(base, **what)
    run(two, cores=2)
    assert outcome(two) == outcome(alone) != outcome(base)
    halted = trainer(adapted(base, **what))
    for event in halted:
        if isinstance(event, events.Step) and event.step == 3:
            state = halted.state()
            break
    # the model that goes on was never trained and its base is not looked at: all is in the state
    other = adapted(wild(base.config, seed=9), **what)
    run(other, cores=2, resume=state)
    if "rank" not in what:
        assert outcome(other) == outcome(alone)
    else:
        for name in other.adapters():
            np.testing.assert_array_equal(other.adapters()[name], alone.adapters()[name])
        assert outcome(other) == outcome(alone)


def test_memory_and_trained_numbers_shrink():
    config = tiny(n_emb=64, head_size=64, d_type="fp32", batch_size=4, n_ctx=32)
    full = estimate(config)
    lora = estimate(config, adaptation=Adaptation(rank=4))
    frozen = estimate(config, adaptation=Adaptation(freeze=("wte*", "wpe*", "block_0_*")))
    assert lora.trained_parameters < 0.2 * full.trained_parameters
    assert max(lora.training_bytes, frozen.training_bytes) < full.training_bytes
    assert lora.flops_per_step < full.flops_per_step
    base = Model.create(config, 65)
    for what, cost in (({"rank": 4}, lora), ({"freeze": ("wte*", "wpe*", "block_0_*")}, frozen)):
        model = adapted(base, **what)
        shared = trainer(model).team.shared
        assert (model.n_parameters, model.n_trained) == (cost.parameters, cost.trained_parameters)
        numbers = sum(a.size for a in (shared.weights, shared.base, shared.m, shared.v, shared.gradients))
        plain = trainer(Model.create(config, 65)).team.shared
        assert numbers < 0.8 * sum(a.size for a in (plain.weights, plain.m, plain.v, plain.gradients))


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "says", "field"), [
    ({"freeze": ("mha_q",)}, "one is called block_0_mha_q_weight", "freeze"),
    ({"rank": 2, "target": ("*_nothing",)}, "fits no tensor", "target"),
    ({"rank": 2, "target": ("*_q_weigth*",)}, "one is called block_0_mha_q_weight", "target"),
    ({"freeze": ("wet_weight",)}, "one is called wte_weight", "freeze"),
    ({"rank": 2, "target": ("*_bias",)}, "fits no matrix", "target"),
    ({"rank": 9}, "use at most 8", "rank"),
    ({"rank": 9, "target": ("*_q_weight",)}, "block_0_mha_q_weight (8 × 8); use at most 8", "rank"),
    ({"freeze": ("*",)}, "nothing would be learnt", "freeze"),
])
def test_mistakes_are_one_sentence(what, says, field):
    with pytest.raises(ConfigError) as error:
        adapted(wild(tiny()), **what)
    assert says in str(error.value) and error.value.field == field


@pytest.mark.parametrize("what", [{"rank": -1}, {"target": ("*",)}, {"alpha": 2.0}, {"rank": 1, "alpha": float("nan")}])
def test_contradictions(what):
    with pytest.raises(ConfigError):
        Adaptation(**what)


def test_adaptations_travel_as_plain_data():
    what = Adaptation(("a*",), 4, 8.0, ("b", "c"), 2)
    assert Adaptation.read(what.to_dict()) == what and what.scale == 2.0 and bool(what)
    assert Adaptation.read({}) == Adaptation() and not Adaptation(new_symbols=3)
    for damaged in ({"rank": "4"}, {"freeze": "a"}, {"freeze": [1]}, {"rank": True}, {"new_symbols": -1}):
        with pytest.raises(FormatError):
            Adaptation.read(damaged)


def test_adapters_that_do_not_fit_are_refused():
    base = wild(tiny())
    factors = adapted(base, rank=2).adapters()
    other = wild(tiny(n_emb=16, head_size=8)).export()
    for arrays, given in ((other, factors), ({}, factors), (base.export(), dict(list(factors.items())[:1])),
                          (base.export(), {"wte_weight": factors["block_0_mha_q_weight.lora_a"]})):
        with pytest.raises(FormatError):
            merge(arrays, given, 1.0)
    with pytest.raises(FormatError, match="more than"):
        grow(base.export(), VOCAB - 1)
