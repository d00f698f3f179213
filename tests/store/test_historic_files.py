"""Every style that The Little Baby wrote files in, from v0.0.2 to v0.1.25, written here and opened by babytui.

What a model says is compared with the slow twins, which know nothing of files, given the same weights.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import twins
from historic import (
    ATTENTIONS,
    FIRST,
    GUID,
    IDS,
    LAYERS,
    NETWORKS,
    OTHER,
    OURS,
    RUNTIME,
    VOCAB,
    D,
    E,
    G,
    H,
    K,
    N,
    V,
    dump,
    every_variant,
    h,
    k,
    keys,
    mixed,
    newest,
    ours,
    put,
    r,
    second,
    third,
    weights,
)

from babytui import library
from engine import registry
from engine.config import Config
from engine.model import Model
from store import artifacts
from store.workspace import Workspace

pytestmark = pytest.mark.usefixtures("no_gpu")  # their configs ask for one


def said(contents: dict[str, Any], config: Config) -> np.ndarray:
    """What the twins make of these weights, (T, V)."""
    arrays = {name: value for name, value in contents.items() if hasattr(value, "shape")}
    if config.c_attention == "rfa" and "block_0_rfa_memory_decay" not in arrays:  # within its window it is mha
        assert config.s_window == config.n_ctx
        arrays |= {name.replace("_rfa_", "_mha_"): value for name, value in arrays.items()}
        config = Config({**config.values, "c_attention": "mha"})
    return twins.logits(arrays, IDS, config)


def opened(ws: Workspace, contents: dict[str, Any], guid: str = GUID, **expected: Any) -> library.Baby:
    """The loaded model, after its configuration and what it says have been checked."""
    entry = ws.entry(guid)
    assert entry.has_model and not entry.problems, entry.problems
    baby = library.load(guid, ws)
    values = {"n_ctx": N, "n_emb": D, "n_layers": LAYERS, "n_heads": h, "batch_size": 16, "r_dropout": 0.1,
              "n_epochs": 2, "r_learn": 0.001, "r_split": 0.9, "r_temp": 1.0, "c_shuffle": False, "c_tokenizer": "char",
              "c_device": "cpu", "d_type": "fp32", "head_size": H, "s_warmup": "none", **expected}
    assert {name: baby.config.values[name] for name in values} == values
    assert baby.tokenizer.vocab == VOCAB and baby.encode("é你").tolist() == [5, 6]
    np.testing.assert_allclose(baby.logits(IDS), said(contents, baby.config), rtol=0, atol=2e-5)
    return baby


# --- what we write ---------------------------------------------------------------------------------------------------

def test_the_lists_are_complete():
    assert sorted(ATTENTIONS) == sorted(registry.attention.names())
    assert sorted(NETWORKS) == sorted(registry.network.names())


@every_variant
def test_we_write_their_names_in_their_order(attention, network):
    exported = Model.create(ours(attention, network), V).export()
    expected: dict[str, Any] = {}
    for name, shape in keys(attention, network).items():
        expected[name] = shape
        if attention in OURS and name.endswith(f"_{attention}_c_bias"):
            expected |= {name.replace("c_bias", own): shape for own, shape in OURS[attention].items()}
    assert list(exported) == list(expected)
    for name, value in exported.items():
        assert (value.shape if hasattr(value, "shape") else value) == expected[name], name


@every_variant
def test_what_we_write_is_read_as_it_was(attention, network, tmp_path):
    config = ours(attention, network)
    model, ws = Model.create(config, V), Workspace(tmp_path)
    artifacts.save_config(ws, GUID, model.config.to_dict())
    artifacts.save_tokenizer(ws, GUID, "char", VOCAB)
    artifacts.save_model(ws, GUID, model.export())
    baby = library.load(GUID, ws)
    assert baby.config.to_dict(extra=False) == config.to_dict()
    assert np.array_equal(baby.logits(IDS), model.logits(IDS)) and baby.model.causal and baby.remarks == []


# --- what they wrote -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "configs"), [
    ("models/{}.weights", "config"), ("models/model_{}.weights", "configs"), ("models/model_{}.json", "configs")],
    ids=["v0.0.4", "v0.0.5", "v0.0.7"])
def test_the_first_versions(tmp_path, model, configs):
    contents = weights("mha", "mlp")
    old = {name.replace("mlp_proj_up", "mlp_fc").replace("mlp_proj_dn", "mlp_proj"): value
           for name, value in contents.items()}
    assert "block_0_mlp_fc_weight" in old and "block_1_mlp_proj_bias" in old and len(old) == len(contents)
    ws = put(tmp_path, FIRST, old, model=model, configs=configs)
    if configs == "config":
        (tmp_path / "models" / f"model_{GUID}_all.pkl").write_bytes(b"\x80\x04cos\nsystem\n")
    baby = opened(ws, contents, c_attention="mha", c_network="mlp", c_sequence="pre")
    assert list(baby.model.export()) == list(contents)


@pytest.mark.parametrize("attention", ["mha", "moh"])
@pytest.mark.parametrize("network", ["mlp", "moe"])
def test_version_0_0_8(tmp_path, attention, network):
    contents = weights(attention, network)
    old: dict[str, Any] = {}
    for name, value in contents.items():
        old[name.replace("moe_n_expansion", "moe_expansion")] = value
        if name.endswith(("_moh_g_weight", "_moe_g_weight")):
            old[name.replace("weight", "bias")] = None
    baby = opened(put(tmp_path, second(attention, network), old), contents, c_sequence="post", c_attention=attention,
                  c_network=network)
    exported = baby.model.export()
    assert all(name in exported and exported[name] is None for name, value in old.items() if value is None)
    assert set(exported) == {name.replace("moe_expansion", "moe_n_expansion") for name in old}


STYLES = {"v0.1.2": third, "v0.1.5": mixed, "v0.1.13": newest}


@every_variant
@pytest.mark.parametrize("style", STYLES)
def test_every_variant_of_the_later_versions(tmp_path, attention, network, style):
    """Sizes that no config of theirs has (kernel, rank, groups, experts, KV heads) are those of the tensors."""
    contents = weights(attention, network)
    alias = {"gla": "lda", "gln": "lin"} if style != "v0.1.13" else {}
    old = {name.replace("_gla_", f"_{alias.get('gla', 'gla')}_").replace("_gln_", f"_{alias.get('gln', 'gln')}_"): value
           for name, value in contents.items()}
    raw = STYLES[style](alias.get(attention, attention), alias.get(network, network))
    expected = {"gqa": {"n_kv_heads": k}, "gla": {"s_kernel": K, "c_convolution": "centred"},
                "rfa": {"s_window": N}, "moe": {"n_experts": E}, "lor": {"n_rank": r},
                "ggl": {"n_groups": G, "ggl_shuffle": False}}
    baby = opened(put(tmp_path, raw, old), contents, c_sequence="post", c_attention=attention, c_network=network,
                  s_warmup=100.0 if style == "v0.1.5" else "none", **expected.get(attention, {}),
                  **expected.get(network, {}))
    assert baby.model.causal == (attention != "gla")
    assert any("GPU" in remark for remark in baby.remarks) == (style == "v0.1.13")
    assert baby.config.extra.get("runtime") == (RUNTIME if style == "v0.1.13" else None)
    exported = baby.model.export()
    assert [name for name in exported if name in contents] == list(contents), "every key, in its place"
    assert all(np.array_equal(value, contents[name]) for name, value in exported.items() if name in contents)


@pytest.mark.parametrize("attention", ["moh", "swh"])
def test_the_heads_are_counted_where_the_config_is_silent(tmp_path, attention):
    contents = weights(attention, "mlp")
    raw = {key: value for key, value in second(attention, "mlp").items()
           if key not in ("n_heads", "n_layers", "n_ctx", "n_emb", "head_size")}
    opened(put(tmp_path, raw, contents), contents, c_sequence="post")


@every_variant
def test_null_biases_are_zero(tmp_path, attention, network):
    contents = weights(attention, network)
    old = {name: None if name.endswith("_bias") else value for name, value in contents.items()}
    contents = {name: np.zeros_like(value) if name.endswith("_bias") else value for name, value in contents.items()}
    opened(put(tmp_path, third(attention, network), old), contents, c_sequence="post")


def test_whole_numbers_and_every_digit_of_a_double(tmp_path):
    rng = np.random.default_rng(5)
    contents = {name: value if not hasattr(value, "shape") else
                np.ones(value.shape) if name.endswith("gamma") else
                np.round(3 * value) if name.startswith("wte") else 0.4 * rng.standard_normal(value.shape)
                for name, value in weights("mha", "mlp").items()}
    text = {name: value.astype(int).tolist() if name.endswith("gamma") or name.startswith("wte") else value
            for name, value in contents.items()}
    ws = put(tmp_path, newest("mha", "mlp"), text)
    assert "0.1" in ws.path("model", GUID).read_text() and " 1,\n" in ws.path("model", GUID).read_text()
    baby = opened(ws, contents, c_sequence="post")
    assert np.array_equal(baby.params["wpe_weight"], contents["wpe_weight"].astype(np.float32))
    exact = opened(put(tmp_path, {**newest("mha", "mlp"), "d_type": "fp64"}, text), contents, c_sequence="post",
                   d_type="fp64")
    assert np.array_equal(exact.params["wpe_weight"], contents["wpe_weight"])
    np.testing.assert_allclose(exact.logits(IDS), said(contents, exact.config), rtol=0, atol=1e-12)
    half = opened(put(tmp_path, {**newest("mha", "mlp"), "d_type": "fp16"}, text),
                  {name: value.astype(np.float16).astype(float) for name, value in contents.items()}, c_sequence="post",
                  d_type="fp16")
    assert np.array_equal(half.params["wpe_weight"], contents["wpe_weight"].astype(np.float16))


def test_another_alpha_gives_the_same_function(tmp_path):
    contents = weights("mha", "lor")
    old = {name: 2.5 if name.endswith("_lor_alpha") else value for name, value in contents.items()}
    for name in contents:
        if name.endswith("_up_weight"):
            contents[name] = contents[name] * 2.5
    opened(put(tmp_path, third("mha", "lor"), old), contents, c_sequence="post")


def test_a_gln_file_without_a_gate(tmp_path):
    """Up to v0.1.18 the gate was written only when there was one; without it the layer is linear."""
    contents = weights("mha", "gln")
    old = {name.replace("_gln_", "_lin_"): value for name, value in contents.items() if "_gln_g_" not in name}
    for name in contents:
        if "_gln_g_" in name:
            contents[name] = np.full(contents[name].shape, 1e3 if name.endswith("bias") else 0.0)
    baby = opened(put(tmp_path, third("mha", "lin"), old), contents, c_sequence="post")
    assert set(baby.model.export()) == set(contents)


def test_a_finetuned_model_without_a_config_of_its_own(tmp_path):
    base, tuned = weights("mha", "mlp"), weights("mha", "mlp", seed=1)
    put(tmp_path, second("mha", "mlp"), base)
    ws = put(tmp_path, None, tuned, guid=GUID + "_finetuned")
    opened(ws, base, c_sequence="post")
    opened(ws, tuned, GUID + "_finetuned", c_sequence="post")


def test_words_of_the_earlier_program(tmp_path):
    vocab = ["be", "not", "or", "that", "the", "to", "é"]
    ws = put(tmp_path, {**newest("mha", "mlp"), "c_tokenizer": "word"}, weights("mha", "mlp"), vocab)
    baby = library.load(GUID, ws)
    assert baby.encode("to  be\nor not").tolist() == [5, 0, 2, 1] and baby.tokenizer.decode([5, 0]) == "to be"
    reply = baby.generate("to be", 3, seed=1)
    assert len("".join(reply).split()) == 3 and reply.text.startswith("to be ")


def test_settings_where_old_versions_had_them(tmp_path):
    for folder in ("config", "configs", "settings"):
        ws = Workspace(tmp_path / folder)
        dump(ws.root / folder / "current.json", {**FIRST, "lr": "0.002"})
        dump(ws.root / folder / "last.json", {"last_uuid": GUID, "last_prompt": "None", "max_tokens": "500"})
        found = ws.current()
        assert (found["r_learn"], found["n_ctx"], found["s_warmup"]) == (0.002, N, "none")
        assert "c_convolution" not in found, "a model that is yet to be made is causal"
        assert (ws.last()["last_uuid"], ws.last()["last_prompt"]) == (GUID, None)


# --- not causal ------------------------------------------------------------------------------------------------------


def test_a_file_with_the_causal_convolution_is_switched_in_its_config(tmp_path):
    contents = weights("gla", "mlp")
    ws = put(tmp_path, {**newest("gla", "mlp"), "c_convolution": "causal"}, contents)
    assert opened(ws, contents, c_sequence="post", c_convolution="causal").model.causal
    ws = put(tmp_path, newest("gla", "mlp"), contents)
    baby = opened(ws, contents, c_sequence="post", c_convolution="centred")
    assert any("not causal" in remark and '"c_convolution": "causal"' in remark for remark in baby.remarks)
    reply = baby.generate("ab", 12, seed=3)
    context = [2, 3]
    for token, _ in reply.tokens():
        assert np.array_equal(token.logits, baby.logits(context[-N:])[-1])
        context.append(token.id)
    assert reply.completion()["inference_cache"] is False and len(context) == 14


def test_the_switch_stays_when_a_model_is_saved_again(tmp_path):
    contents = weights("gla", "mlp")
    old = {name.replace("gla", "lda"): value for name, value in contents.items()}
    baby = opened(put(tmp_path, third("lda", "mlp"), old), contents, c_sequence="post")
    ws = baby.workspace
    artifacts.save_config(ws, OTHER, baby.config.to_dict())
    artifacts.save_tokenizer(ws, OTHER, "char", VOCAB)
    artifacts.save_model(ws, OTHER, baby.model.export())
    again = library.load(OTHER, ws)
    assert again.config.c_convolution == "centred" and not again.model.causal
    assert np.array_equal(again.logits(IDS), baby.logits(IDS))
    assert json.loads(ws.path("config", OTHER).read_text())["c_attention"] == "gla"


# --- round trips -----------------------------------------------------------------------------------------------------


@every_variant
def test_what_is_not_ours_survives(tmp_path, attention, network):
    rng = np.random.default_rng(2)
    strange = {"block_0_moh_g_bias": None, "block_1_xyz_weight": rng.standard_normal((2, 3, 2)).astype(np.float32),
               "block_0_xyz_scale": 0.5, "evaluation": 43, "notes": {"a": [1, "b", None]}}
    contents = {**weights(attention, network), **strange}
    raw = {**newest(attention, network), "their_key": [1, {"b": None}]}
    ws = put(tmp_path, raw, contents)
    dump(ws.outputs / f"completion_{GUID}.json", {
        "prompt": None, "generation": "\nab", "inference_max_tokens": None, "inference_total_time": 0.5,
        "inference_cache": True, "evaluation": 30.5})
    dump(ws.outputs / f"report_{GUID}.json", {"n_epochs": 2, "dataset": "sophocles", "evaluation": 12})
    baby = library.load(GUID, ws)
    # as a training process saves
    artifacts.save_config(ws, GUID, {**baby.config.to_dict(), "r_learn": 0.5}, {"model_params": 77})
    artifacts.save_tokenizer(ws, GUID, "char", baby.tokenizer.vocab)
    artifacts.save_model(ws, GUID, baby.model.export())
    artifacts.save_report(ws, GUID, {"n_epochs": 3})
    artifacts.save_completion(ws, GUID, {"prompt": "a", "generation": "ab"})

    config = json.loads(ws.path("config", GUID).read_text())
    assert config["runtime"] == {**RUNTIME, "model_params": 77} and config["their_key"] == [1, {"b": None}]
    assert (config["s_head"], config["s_batch"], config["r_learn"], config["c_optimizer"]) == (H, 16, 0.5, "adamw")
    assert config["c_device_gpu_cuda"] == "cuda12" and config["c_device_gpu_tensor"] == "0"
    model = json.loads(ws.path("model", GUID).read_text())
    own = OURS.get(attention, {})
    assert [name for name in model if not name.endswith(tuple(own) or ("\0",))] == list(contents)
    for name, value in contents.items():
        if hasattr(value, "shape"):
            assert np.array_equal(np.array(model[name], np.float32), value.astype(np.float32)), name
        else:
            assert model[name] == value, name
    assert artifacts.load_completion(ws, GUID)["evaluation"] == 30.5
    assert artifacts.load_report(ws, GUID)["evaluation"] == 12
    again = library.load(GUID, ws)
    assert np.array_equal(again.logits(IDS), baby.logits(IDS)) and list(again.model.export()) == list(
        baby.model.export())
