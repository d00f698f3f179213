"""Models that the earlier program trained give the logits that it gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import twins

from engine import registry
from engine.config import Config
from engine.errors import FormatError
from engine.generate import Decoder
from engine.model import Model
from engine.parameters import Gradients

FOLDER = Path(__file__).parents[2].parent / "shared" / "seed_files"
GUIDS = sorted(path.stem.removeprefix("expected_") for path in FOLDER.glob("expected_*.json"))
NONE = [pytest.param("", marks=pytest.mark.skip(reason="there is no ../shared/seed_files"))]
every_seed = pytest.mark.parametrize("guid", GUIDS or NONE)


def read(guid: str, d_type: str = "fp64"):
    """(config, arrays, expectation) of a seed: plain JSON, without the store."""
    config = json.loads((FOLDER / "configs" / f"config_{guid}.json").read_text(encoding="utf-8"))
    raw = json.loads((FOLDER / "models" / f"model_{guid}.json").read_text(encoding="utf-8"))
    arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in raw.items()}
    expected = json.loads((FOLDER / f"expected_{guid}.json").read_text(encoding="utf-8"))
    return Config.read({**config, "d_type": d_type}, strict=False), arrays, expected


@every_seed
@pytest.mark.parametrize(("d_type", "tolerance"), [("fp64", 1e-6), ("fp32", 1e-5)])
def test_logits(guid, d_type, tolerance):
    config, arrays, expected = read(guid, d_type)
    arrays = {name: value.astype(np.float32) if hasattr(value, "dtype") else value for name, value in arrays.items()}
    model = Model.from_arrays(config, arrays)
    np.testing.assert_allclose(model.logits(expected["prompt_ids"]), expected["logits"], rtol=0, atol=tolerance)


@every_seed
def test_logits_of_the_twin(guid):
    """The twins agree with a program that nobody of us wrote."""
    config, arrays, expected = read(guid)
    ids = expected["prompt_ids"][:6]
    weights = {name: value.astype(np.float32) for name, value in arrays.items() if hasattr(value, "dtype")}
    np.testing.assert_allclose(twins.logits(weights, ids, config), expected["logits"][:6], rtol=0, atol=1e-6)


@every_seed
def test_logits_one_token_at_a_time(guid):
    config, arrays, expected = read(guid)
    decoder, ids = Decoder(Model.from_arrays(config, arrays)), np.array(expected["prompt_ids"])
    found = [decoder.start(ids[None, :3])[0], *(decoder.next(ids[t : t + 1])[0] for t in range(3, len(ids)))]
    np.testing.assert_allclose(found, expected["logits"][2:], rtol=0, atol=2e-6)


@every_seed
def test_the_prompt_is_encoded_as_it_was(guid):
    vocab = json.loads((FOLDER / "tokenizers" / f"tokenizer_{guid}.json").read_text(encoding="utf-8"))["vocab"]
    _, arrays, expected = read(guid)
    tokenizer = registry.tokenizer.get("char")(vocab)
    assert tokenizer.encode(expected["prompt"]).tolist() == expected["prompt_ids"]
    assert tokenizer.decode(expected["prompt_ids"]) == expected["prompt"] and len(vocab) == len(arrays["wte_weight"])


@every_seed
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_export_gives_the_same_model(guid, d_type):
    config, arrays, expected = read(guid, d_type)
    model = Model.from_arrays(config, arrays)
    exported = model.export()
    again = Model.from_arrays(config, exported)
    assert np.array_equal(again.logits(expected["prompt_ids"]), model.logits(expected["prompt_ids"]))
    arrays = {name.replace("moe_expansion", "moe_n_expansion"): value for name, value in arrays.items()}
    assert set(exported) == set(arrays), "every key is kept, under its name of today, and none is made up"
    for name, value in exported.items():
        if hasattr(value, "dtype"):
            assert np.array_equal(value, arrays[name].astype(model.dtype).astype(value.dtype)), name
            assert value.flags.c_contiguous, name
        else:
            assert value == arrays[name], name


@every_seed
def test_export_keeps_the_order_of_the_file(guid):
    config, arrays, _ = read(guid)
    exported = Model.from_arrays(config, arrays).export()
    assert [name for name in exported if hasattr(exported[name], "dtype")] == \
        [name for name in arrays if hasattr(arrays[name], "dtype")]


@every_seed
def test_what_the_config_does_not_say(guid):
    """Shapes decide: a config without sizes finds them in the file."""
    config, arrays, expected = read(guid)
    bare = Config.read({"d_type": "fp64", "c_attention": config.c_attention, "c_network": config.c_network,
                        "n_heads": config.n_heads})
    model = Model.from_arrays(bare, arrays)
    assert [model.config.values[name] for name in ("n_ctx", "n_emb", "head_size", "n_layers", "n_heads")] == \
        [config.values[name] for name in ("n_ctx", "n_emb", "head_size", "n_layers", "n_heads")]
    np.testing.assert_allclose(model.logits(expected["prompt_ids"]), expected["logits"], rtol=0, atol=1e-6)


@every_seed
def test_null_biases_are_zero(guid):
    config, arrays, expected = read(guid)
    nulls = {name: None if name.endswith("bias") else value for name, value in arrays.items()}
    zeros = {name: np.zeros_like(value) if name.endswith("bias") else value for name, value in arrays.items()}
    ids = expected["prompt_ids"]
    assert np.array_equal(Model.from_arrays(config, nulls).logits(ids), Model.from_arrays(config, zeros).logits(ids))


@every_seed
def test_historic_names(guid):
    config, arrays, expected = read(guid)
    old = {"mlp_proj_up": "mlp_fc", "mlp_proj_dn": "mlp_proj", "moe_n_expansion": "moe_expansion"}
    renamed = {}
    for name, value in arrays.items():
        for new, before in old.items():
            name = name.replace(new, before) if new in name else name.replace(before, new) if "moe" in before else name
        renamed[name] = value
    assert set(renamed) != set(arrays), "what is old becomes new and what is new becomes old"
    found = Model.from_arrays(config, renamed).logits(expected["prompt_ids"])
    np.testing.assert_allclose(found, expected["logits"], rtol=0, atol=1e-6)


@every_seed
def test_what_is_not_ours_is_kept(guid):
    config, arrays, _ = read(guid)
    more = {**arrays, "block_0_aft_q_weight": np.ones((2, 2)), "babytui_note": "hello", "block_0_moe_g_bias": None}
    exported = Model.from_arrays(config, more).export()
    assert exported["babytui_note"] == "hello" and np.array_equal(exported["block_0_aft_q_weight"], np.ones((2, 2)))
    assert "block_0_moe_g_bias" in exported


@every_seed
def test_damaged_files_are_refused_in_a_sentence(guid):
    config, arrays, _ = read(guid)
    attention = f"_{config.c_attention}_"
    damages = [("wte_weight", None), ("wpe_weight", arrays["wpe_weight"][0]), ("ln_f_gamma", None), ("ln_f_beta", 3.0),
               ("lm_head_weight", arrays["lm_head_weight"][:-1]), ("block_1_ln2_gamma", arrays["ln_f_gamma"][:-1]),
               (f"block_1{attention}q_weight", None), (f"block_0{attention}k_weight", np.ones((3, 3)))]
    for name, value in damages:
        without = {key: kept for key, kept in arrays.items() if key != name}
        for damaged in ({**arrays, name: value}, without):
            with pytest.raises(FormatError, match=name) as caught:
                Model.from_arrays(config, damaged, source="model_x.json")
            assert str(caught.value).startswith("model_x.json") and str(caught.value).endswith(".")
    with pytest.raises(FormatError):
        Model.from_arrays(config.replace(c_attention="mha" if config.c_attention == "moh" else "moh"), arrays)


@every_seed
def test_a_seed_can_be_trained_on(guid):
    config, arrays, expected = read(guid)
    model = Model.from_arrays(config.replace(r_dropout=0.0), arrays)
    ids = np.array([expected["prompt_ids"]])
    loss = model.loss_and_gradients(ids[:, :-1], ids[:, 1:], Gradients(model.params))
    assert loss == pytest.approx(np.mean(twins.cross_entropy(np.array(expected["logits"][:-1]), ids[0, 1:])), abs=1e-6)
