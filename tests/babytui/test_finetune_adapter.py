"""Low-rank adapters as a file of their own: they give the merged model again, or say why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import babytui
from babytui import runs
from engine.errors import FormatError, NotFound
from store import adapters, checkpoint
from store.workspace import Workspace

NEW = "Élan! The cat said: 7 × 8.\n" * 12


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory) -> tuple[Workspace, runs.Run, Path]:
    """The workspace with a copy of tiny, the run of its fine-tuning, and its adapter file. Only for reading."""
    import shutil

    folder = tmp_path_factory.mktemp("tuned")
    shutil.copytree(trained[0].root, folder / "w")
    workspace = Workspace(folder / "w")
    (folder / "sums.txt").write_text(NEW, encoding="utf-8")
    run = babytui.finetune("tiny", [folder / "sums.txt"], workspace, steps=20, lora=2, alpha=3, name="clever",
                           target=["*_mha_*_weight", "wte_weight", "lm_head_weight"], config={"r_learn": 0.05})
    assert run.wait(60) == "finished", run.tail(3)
    return workspace, run, workspace.path("adapter", run.guid)


def same(one: babytui.Baby, other: babytui.Baby) -> None:
    assert one.tokenizer.vocab == other.tokenizer.vocab
    assert list(one.params) == list(other.params)
    for name in one.params:
        np.testing.assert_allclose(one.params[name], other.params[name], rtol=0, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(one.logits("Élan 7"), other.logits("Élan 7"), rtol=0, atol=1e-5)


def test_base_and_adapter_are_the_merged_model(tuned):
    workspace, _, path = tuned
    base = babytui.load("tiny", workspace)
    whole = babytui.load("tiny", workspace, adapter=path)
    same(whole, babytui.load("clever", workspace))
    assert len(whole.tokenizer.vocab) > len(base.tokenizer.vocab)
    assert not np.allclose(whole.params["block_0_mha_q_weight"], base.params["block_0_mha_q_weight"], atol=1e-4)
    assert np.array_equal(whole.params["block_0_mlp_proj_up_weight"], base.params["block_0_mlp_proj_up_weight"])
    told, planned = workspace.entry("clever").base, tuned[1].plan
    assert told["trained_parameters"] == planned["trained_parameters"] and told["rank"] == 2 and told["alpha"] == 3
    kept = adapters.load(path)
    assert kept.scale == 1.5 and kept.meta["rank"] == 2 and kept.meta["target"][0] == "*_mha_*_weight"
    assert kept.base_guid == base.guid and kept.meta["base"]["name"] == "tiny"
    assert kept.symbols == whole.tokenizer.vocab[len(base.tokenizer.vocab):]
    assert kept.factors["block_0_mha_q_weight.lora_a"].shape == (8, 2)
    assert kept.new["lm_head_weight"].shape == (8, len(kept.symbols))


@pytest.mark.parametrize("target", [[], ["*_up_weight"]])
def test_also_where_the_vocabulary_is_not_adapted(nest, tmp_path, target):
    workspace, _ = nest
    (tmp_path / "sums.txt").write_text(NEW, encoding="utf-8")
    run = babytui.finetune("tiny", [tmp_path / "sums.txt"], workspace, steps=20, lora=1, target=target,
                           config={"r_learn": 0.05})
    assert run.wait(60) == "finished"
    base, merged = babytui.load("tiny", workspace), babytui.load(run.guid, workspace)
    same(babytui.load("tiny", workspace, adapter=workspace.path("adapter", run.guid)), merged)
    old = len(base.tokenizer.vocab)
    assert np.array_equal(merged.params["wte_weight"][:old], base.params["wte_weight"])
    assert np.array_equal(merged.params["lm_head_weight"][:, :old], base.params["lm_head_weight"])


def test_any_safetensors_reader_opens_it(tuned):
    safe_open = pytest.importorskip("safetensors").safe_open
    with safe_open(tuned[2], "np") as file:
        assert {name.rpartition(".")[0] for name in file.keys() if ".lora_" in name} == {  # noqa: SIM118 not a mapping
            *(f"block_0_mha_{part}_weight" for part in "qkvc"), "wte_weight", "lm_head_weight"}


def test_it_belongs_to_its_model_in_lists_and_in_the_trash(tuned, tmp_path):
    import shutil

    shutil.copytree(tuned[0].root, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    path = workspace.path("adapter", tuned[1].guid)
    assert path in workspace.entry("clever").files and path not in workspace.entry("tiny").files
    deleted = workspace.delete(tuned[1].guid)
    assert not path.exists() and path in deleted.files and workspace.entry("tiny").has_model
    workspace.undelete(deleted)
    assert path.exists() and workspace.entry("clever").has_model


def test_freezing_alone_makes_no_adapter(nest, tmp_path):
    workspace, _ = nest
    (tmp_path / "cats.txt").write_text("The cat sat on the mat.\n" * 12)
    run = babytui.finetune("tiny", [tmp_path / "cats.txt"], workspace, steps=1, freeze=["w*"])
    assert run.wait(60) == "finished" and not workspace.path("adapter", run.guid).exists()


def test_what_does_not_fit_is_refused(tuned, tmp_path):
    workspace, run, path = tuned
    with pytest.raises(FormatError, match="belongs to another model"):
        babytui.load("clever", workspace, adapter=path)
    with pytest.raises(FormatError, match="belongs to another model"):
        babytui.load("baby", workspace, adapter=path)
    with pytest.raises(NotFound):
        babytui.load("tiny", workspace, adapter=tmp_path / "none.safetensors")
    state = next((run.dir / "checkpoints").glob("*.safetensors"))
    with pytest.raises(FormatError, match="not an adapter"):
        babytui.load("tiny", workspace, adapter=state)
    with pytest.raises(FormatError, match="not an adapter"):
        babytui.load("tiny", workspace, adapter=workspace.path("model", run.guid))
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FormatError, match="cut off"):
        babytui.load("tiny", workspace, adapter=torn)


Q = "block_0_mha_q_weight"


@pytest.mark.parametrize(("changes", "about", "said"), [
    ({Q + ".lora_a": np.zeros((9, 2), np.float32)}, {}, Q),
    ({Q + ".lora_b": None}, {}, "pair"),
    ({"nothing.lora_a": np.zeros((8, 2), np.float32), "nothing.lora_b": np.zeros((2, 8), np.float32)}, {}, "nothing"),
    ({Q + ".lora_a": np.full((8, 2), np.nan, np.float32)}, {}, "finite"),
    ({Q + ".lora_a": np.zeros((8, 2), np.int32)}, {}, "finite"),
    ({"new/wte_weight": np.zeros((1, 8), np.float32)}, {}, "wte_weight"),
    ({"new/lm_head_bias": None}, {}, "lm_head_bias"),
    ({}, {"symbols": ["T"]}, "knows 'T'"), ({}, {"symbols": ["é", "é"]}, "distinct"), ({}, {"symbols": "é"}, "list"),
    ({}, {"scale": "1"}, "scale"), ({}, {"base": None}, "which model"), ({}, {"babytui_adapter": 2}, "version"),
])
def test_a_file_from_a_stranger_is_looked_at_first(tuned, tmp_path, changes, about, said):
    workspace, _, path = tuned
    arrays, meta = checkpoint.read(path)
    arrays = {name: array for name, array in {**arrays, **changes}.items() if array is not None}
    odd = tmp_path / "odd.safetensors"
    checkpoint.write(odd, arrays, {**meta, **about})
    with pytest.raises(FormatError, match=said) as caught:
        babytui.load("tiny", workspace, adapter=odd)
    assert "odd.safetensors" in str(caught.value) and "\n" not in str(caught.value)
