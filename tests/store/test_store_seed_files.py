"""A workspace in the earlier program's layout, copied: found, read and written again number for number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine import registry
from engine.errors import FormatError
from store import artifacts
from store.workspace import Workspace

SEEDS = Path(__file__).resolve().parents[2].parent / "shared" / "seed_files"
pytestmark = pytest.mark.skipif(not (SEEDS / "models").is_dir(), reason="shared/seed_files is not beside this checkout")


@pytest.fixture
def ws(tmp_path):
    for folder in ("configs", "tokenizers", "models"):
        (tmp_path / folder).mkdir()
        for path in (SEEDS / folder).iterdir():
            shutil.copyfile(path, tmp_path / folder / path.name)
    return Workspace(tmp_path)


def test_all_are_found(ws):
    entries = ws.entries()
    assert len(entries) == 4
    for entry in entries:
        assert entry.has_model and not entry.problems and entry.parameters is None and entry.report is None
        assert entry.config["head_size"] == 32 and entry.config["batch_size"] == 8 and entry.config["r_learn"] == 0.003
        assert {path.parent.name for path in entry.files} == {"configs", "tokenizers", "models"}
        assert ws.resolve(entry.guid[:4]) == entry.guid
    assert ws.resolve("last") == entries[0].guid


def test_configs_and_tokenizers(ws):
    for entry in ws.entries():
        known = entry.config["c_attention"] in registry.attention.names() and (
            entry.config["c_network"] in registry.network.names())
        if known:
            config = artifacts.load_config(ws, entry.guid)
            assert (config.n_ctx, config.n_layers, config.r_dropout, config.d_type) == (32, 2, 0.1, "fp32")
            assert {**config.values, **entry.config} == config.values
        else:
            with pytest.raises(FormatError):
                artifacts.load_config(ws, entry.guid)
        vocab = artifacts.load_tokenizer(ws, entry.guid)
        assert len(vocab) == 65 and vocab[:2] == ["\n", " "]


def test_models_come_back_number_for_number(ws):
    for entry in ws.entries():
        path = ws.path("model", entry.guid)
        plain = json.loads(path.read_bytes())
        model = artifacts.load_model(ws, entry.guid)
        assert list(model) == list(plain)
        for name, value in plain.items():
            if isinstance(value, list):
                assert np.array_equal(model[name], np.array(value, np.float32)) and model[name].dtype == np.float32
            else:
                assert model[name] == value and type(model[name]) is type(value)
        d, v, layers = 32, 65, 2
        assert model["wte_weight"].shape == (v, d) and model["lm_head_weight"].shape == (d, v)
        assert all(model[f"block_{i}_ln1_gamma"].shape == (d,) for i in range(layers))
        assert artifacts.load_shapes(ws, entry.guid) == {
            name: None if value is None else np.shape(value) for name, value in model.items()}

        artifacts.save_model(ws, entry.guid, model)
        first = path.read_bytes()
        again = artifacts.load_model(ws, entry.guid)
        assert all(np.array_equal(again[name], model[name]) for name in model if model[name] is not None)
        artifacts.save_model(ws, entry.guid, again)
        assert path.read_bytes() == first

        exact = {name: np.array(value) if isinstance(value, list) else value for name, value in plain.items()}
        artifacts.save_model(ws, entry.guid, exact)
        assert json.loads(path.read_bytes()) == plain
