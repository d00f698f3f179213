"""babytui as a library."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

import babytui
from engine import events
from engine.errors import NotFound, TextError
from store import model_file
from store.workspace import Workspace


@pytest.fixture(scope="module")
def baby(trained):
    workspace, _ = trained
    return babytui.load("tiny", workspace=workspace.root)


def test_what_a_baby_holds(baby, trained):
    assert baby.guid == trained[1].guid and baby.name == "tiny" and baby.config.n_emb == 8
    assert baby.params["wte_weight"].shape == (len(baby.tokenizer.vocab), 8)
    ids = baby.tokenizer.encode("The cat")
    logits = baby.logits("The cat")
    assert logits.shape == (7, len(baby.tokenizer.vocab))
    np.testing.assert_array_equal(logits, baby.logits([int(i) for i in ids]))
    with pytest.raises(TextError):
        baby.logits("ß")
    with pytest.raises(NotFound, match="Token ids"):
        baby.logits([10_000])


def test_a_model_is_parsed_once(trained, monkeypatch):
    read: list[str] = []
    once = model_file.read_model
    monkeypatch.setattr(model_file, "read_model", lambda path, *more: read.append(path.name) or once(path, *more))
    monkeypatch.setattr(model_file, "read_shapes", lambda path, *_: pytest.fail("its numbers are read anyway"))
    baby = babytui.load("tiny", workspace=trained[0].root)
    assert read == [f"model_{baby.guid}.json"]


def test_streaming(baby):
    whole = "".join(baby.stream("The", max_tokens=30, temperature=0.8, seed=1))
    assert len(whole) == 30 and whole == "".join(baby.stream("The", max_tokens=30, temperature=0.8, seed=1))
    assert "".join(itertools.islice(baby.stream("The", max_tokens=30, temperature=0.8, seed=1), 4)) == whole[:4]
    generation = baby.generate("The", 30, temperature=0.8)
    for number, _ in enumerate(generation, 1):
        if number == 5:
            generation.close()
    assert generation.count == 5 and generation.text.startswith("The") and len(generation.text) == 8
    again = baby.generate("The", 5, temperature=0.8, seed=generation.seed)
    list(again)
    assert again.text == generation.text


def test_an_empty_prompt_starts_from_token_0(baby):
    generation = baby.generate("", 3, seed=1)
    list(generation)
    assert generation.prompt is None and generation.text.startswith(baby.tokenizer.vocab[0])
    assert generation.completion()["prompt"] is None


def test_training(tmp_path, text_file):
    run = babytui.train({"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8}, inputs=[text_file],
                        workspace=tmp_path / "w", steps=10, name="mine")
    told = list(run)
    assert isinstance(told[-1], events.End) and told[-1].step == 10
    assert babytui.load("last", workspace=tmp_path / "w").name == "mine"


SEEDS = Path(os.environ.get("BABYTUI_SEED_FILES", Path(__file__).parents[3] / "shared" / "seed_files"))


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the earlier program's sample files are not here")
def test_models_of_the_earlier_program_are_loaded_and_listed(command):
    workspace = Workspace(SEEDS)
    for entry in workspace.entries():
        if entry.has_model:
            model = babytui.load(entry.guid, workspace=workspace).model
            told = command("info", entry.guid, "--json", "--workspace", SEEDS).data
            assert told["parameters"] == model.n_parameters > 0


def test_the_workspace_that_is_chosen(home, monkeypatch):
    from babytui import workspace_choice

    assert workspace_choice.folder() == home / "babytui"
    (home / "models").mkdir()
    assert workspace_choice.folder() == home
    monkeypatch.setenv("BABYTUI_WORKSPACE", str(home / "other"))
    assert workspace_choice.folder() == home / "other"
    assert workspace_choice.folder("~/third") == home / "third"
    assert workspace_choice.folder("same") == home
