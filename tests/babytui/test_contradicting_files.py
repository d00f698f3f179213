"""Model files that contradict their config or themselves: one sentence each, from the library and the command line."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from historic import (
    FIRST,
    GUID,
    VOCAB,
    D,
    E,
    F,
    G,
    H,
    K,
    N,
    d,
    every_variant,
    newest,
    ours,
    put,
    r,
    weights,
)

from babytui import library
from engine.config import Config
from engine.errors import FormatError
from engine.model import Model
from store.workspace import Workspace

pytestmark = pytest.mark.usefixtures("no_gpu")  # their configs ask for one


def refused(ws: Workspace, command: Any, *words: str, file: str = "model") -> str:
    """The one sentence with which library, `inference` and (for a config) `info` refuse the model."""
    with pytest.raises(FormatError) as caught:
        library.load(GUID, ws)
    sentence = str(caught.value)
    assert sentence.startswith(f"{file}_{GUID}.json") and sentence[-1] in ".?" and "\n" not in sentence
    assert all(word in sentence for word in words), sentence
    done = command("inference", GUID, "--workspace", ws.root)
    assert (done.code, done.out, done.err) == (1, "", f"babytui: {sentence}\n")
    info = command("info", GUID, "--workspace", ws.root)
    assert GUID in info.out and "Traceback" not in info.err
    if file == "config":
        assert info.code == 1 and info.err == f"! {sentence}\n"
    return sentence


@pytest.mark.parametrize(("key", "value", "words"), [
    ("c_attention", "hda", ("hda", "Little Baby", "cannot be opened")), ("c_network", "sms", ("sms", "Little Baby")),
    ("c_attention", "mhaa", ("did you mean 'mha'",)), ("c_network", "mpl", ("did you mean 'mlp'",)),
    ("c_attention", 3, ("c_attention must be",)), ("n_emb", "wide", ("n_emb must be",)),
    ("d_type", "fp8", ("fp16, fp32, fp64",)), ("head_size", H + 1, ("s_head and head_size", "differ"))])
def test_a_config_that_cannot_be_used(tmp_path, command, key, value, words):
    ws = put(tmp_path / "w", {**newest("mha", "mlp"), key: value}, weights("mha", "mlp"))
    refused(ws, command, *words, file="config")


@pytest.mark.parametrize(("key", "value", "words"), [
    ("n_ctx", N + 1, ("n_ctx is 7", "say 6")), ("n_emb", D + 2, ("n_emb is 10", "say 8")),
    ("n_layers", 4, ("n_layers is 4", "say 2")), ("n_layers", 1, ("n_layers is 1", "say 2")),
    ("s_head", 16, ("head_size is 16", "say 12")), ("n_heads", 5, ("n_heads 5 does not divide head_size 12",)),
    ("c_attention", "moh", ("c_attention is moh", "those of mha")), ("c_network", "ggl", ("c_network is ggl", "mlp")),
    ("c_attention", "lda", ("c_attention is gla", "those of mha"))])
def test_a_config_that_the_tensors_contradict(tmp_path, command, key, value, words):
    ws = put(tmp_path / "w", {**newest("mha", "mlp"), key: value}, weights("mha", "mlp"))
    refused(ws, command, *words)


@pytest.mark.parametrize(("attention", "network", "key", "value", "words"), [
    ("gqa", "mlp", "n_kv_heads", 4, ("n_kv_heads is 4", "say 2")), ("gla", "mlp", "s_kernel", 8, ("s_kernel is 8",)),
    ("mha", "moe", "n_experts", 4, ("n_experts is 4", "say 3")), ("mha", "lor", "n_rank", 4, ("n_rank is 4",)),
    ("mha", "ggl", "n_groups", 4, ("n_groups is 4", "say 2")), ("moh", "mlp", "n_heads", 6, ("n_heads is 6", "say 4"))])
def test_a_size_of_a_variant_that_the_tensors_contradict(tmp_path, command, attention, network, key, value, words):
    ws = put(tmp_path / "w", {**newest(attention, network), key: value}, weights(attention, network))
    refused(ws, command, *words)


@every_variant
def test_every_missing_tensor_is_named(attention, network):
    contents = weights(attention, network)
    config = ours(attention, network)
    nullable = ("_bias", "scale", "n_expansion", "n_experts", "rank", "alpha", "kernel_size", "aft_q_weight")
    for name in contents:
        if name.endswith(nullable):
            continue
        with pytest.raises(FormatError) as caught:
            Model.from_arrays(config, {other: value for other, value in contents.items() if other != name},
                              source="model_x.json")
        text = str(caught.value)
        assert text.startswith("model_x.json") and (name in text or "n_groups" in text), (name, text)


@every_variant
def test_every_wrong_shape_is_named(attention, network):
    """Each tensor in turn one row longer, one dimension more, or a number; each number another."""
    contents, silent = weights(attention, network), Config.read({"c_attention": attention, "c_network": network})
    for name, value in contents.items():
        if name.endswith(("aft_q_weight", "lor_alpha")):  # nothing is computed with it; every value has its meaning
            continue
        wrong = ([np.zeros((value.shape[0] + 1, *value.shape[1:])), np.zeros((1, *value.shape)), 1.5]
                 if hasattr(value, "shape") else [value + 1, "four", np.ones(1)])
        for bad in wrong:
            for start in (silent, ours(attention, network)):
                if name == "wpe_weight" and start is silent and bad is wrong[0]:
                    continue  # then the context is longer
                with pytest.raises(FormatError) as caught:
                    Model.from_arrays(start, {**contents, name: bad}, source="model_x.json")
                text = str(caught.value)
                assert text.startswith("model_x.json") and text.endswith(".") and len(text) < 300, text


@pytest.mark.parametrize(("attention", "network", "name", "value", "words"), [
    ("mha", "moe", "block_0_moe_n_experts", 5, ("is 5", "say 3")),
    ("mha", "moe", "block_1_moe_n_experts", 2, ("is 2",)),
    ("mha", "moe", "block_0_moe_n_expansion", 8, ("is 8", "say 4")), ("mha", "lor", "block_1_lor_rank", 4, ("is 4",)),
    ("gla", "mlp", "block_0_gla_kernel_size", 8, ("is 8", "say 5")),
    ("mha", "lor", "block_1_lor_c_proj_dn_weight", (D, r + 1), ("8×3", "not 8×2")),
    ("gla", "mlp", "block_1_gla_conv_weight", (D, K + 1), ("8×6", "not 8×5")),
    ("mha", "moe", "block_1_moe_g_weight", (D, E + 1), ("8×4", "not 8×3")),
    ("mha", "moe", "block_0_moe_expert_3_up_weight", (D, F), ("leave no place",)),
    ("mha", "ggl", "block_1_ggl_linear_2_weight", (D // G, D // G), ("leave no place",)),
    ("mha", "ggl", "block_1_ggl_gate_0_weight", (2, 2), ("2×2", "not 4×4")),
    ("gqa", "mlp", "block_1_gqa_k_weight", (D, d), ("8×3", "not 8×6")),
    ("moh", "mlp", "block_1_moh_g_weight", (D, 2), ("8×2", "not 8×4")),
    ("mha", "mlp", "block_1_mha_c_weight", None, ("lacks",)),
    ("mha", "mlp", "block_1_ln2_gamma", (D + 1,), ("9 numbers",)),
])
def test_layers_that_contradict_each_other(tmp_path, command, attention, network, name, value, words):
    contents = weights(attention, network)
    contents[name] = np.ones(value) if isinstance(value, tuple) else value
    refused(put(tmp_path / "w", newest(attention, network), contents), command, name, *words)


def test_a_small_file_cannot_ask_for_much_memory(monkeypatch):
    """A row of 65,536 numbers would be a model of 340 GB: it is refused before one is made."""
    monkeypatch.setattr(Model, "__init__", lambda *_: pytest.fail("nothing may be allocated"))
    wide = {"wte_weight": np.zeros((1, 65536), np.float32), "wpe_weight": np.zeros((1, 65536), np.float32)}
    with pytest.raises(FormatError, match="lacks the tensor ln_f_gamma"):
        Model.from_arrays(Config.read({"n_layers": 1024}), wide)
    assert prod(wide["wte_weight"].shape) * 4 < 1 << 20


def test_a_tokenizer_of_another_size(tmp_path, command):
    ws = put(tmp_path / "w", newest("mha", "mlp"), weights("mha", "mlp"), VOCAB[:-1])
    with pytest.raises(FormatError, match=f"tokenizer_{GUID}.json has 6 symbols but model_{GUID}.json has 7"):
        library.load(GUID, ws)
    done = command("inference", GUID, "--workspace", ws.root)
    assert done.code == 1 and done.err.count("\n") == 1 and "6 symbols" in done.err


def test_a_pickle_is_never_opened(tmp_path, command):
    ws = put(tmp_path / "w", FIRST, weights("mha", "mlp"))
    ws.path("model", GUID).unlink()
    (ws.models / f"model_{GUID}_all.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(FormatError, match="pickle"):
        library.load(GUID, ws)
    done = command("inference", GUID, "--workspace", ws.root)
    assert done.code == 1 and "never" in done.err and done.err.count("\n") == 1


def test_a_model_that_is_not_causal_is_announced(tmp_path, command):
    ws = put(tmp_path / "w", newest("gla", "mlp"), weights("gla", "mlp"))
    where = ["--workspace", ws.root]
    info = command("info", GUID, *where)
    assert info.code == 0 and "not causal" in info.out and '"c_convolution": "causal"' in info.out
    assert "c_convolution        centred" in info.out and "ggl_shuffle" not in info.out
    told = command("info", GUID, "--json", *where).data
    assert len(told["remarks"]) == 1 and "ggl_shuffle" not in told["config"]
    written = command("inference", GUID, "--prompt", "ab", "--tokens", "5", "--no-save", *where)
    assert written.code == 0 and "not causal" in written.err.splitlines()[0] and len(written.out) == 7
    quiet = command("-q", "inference", GUID, "--prompt", "ab", "--tokens", "5", "--no-save", *where)
    assert quiet.err == ""
    causal = put(tmp_path / "w", {**newest("gla", "mlp"), "c_convolution": "causal"}, weights("gla", "mlp"))
    assert "not causal" not in command("info", GUID, "--workspace", causal.root).out
    other = put(tmp_path / "w", newest("mha", "mlp"), weights("mha", "mlp"))
    plainly = command("info", GUID, "--workspace", other.root)
    assert "not causal" not in plainly.out and "c_convolution" not in plainly.out
