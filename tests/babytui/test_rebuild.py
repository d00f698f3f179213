"""Files of a model that are damaged or gone are written anew from its run, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from babytui import rebuild, runs
from engine.config import Config
from store import trash
from store.lock import Lock
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
KINDS = ("config", "tokenizer", "model", "report")


def mended(command, workspace: Workspace) -> dict[str, bool]:
    """What the doctor found of models, by kind of finding and file, and whether it mended it."""
    done = command("doctor", "--repair", "--yes", "--json", "--workspace", workspace.root)
    assert done.code == 0, done.err
    return {f"{one['check']} {Path(one['path']).name.partition('_')[0]}": one["repaired"] for one in done.data
            if "path" in one}


@pytest.mark.parametrize("gone", [False, True])
def test_every_file_that_a_run_made(command, nest, gone):
    workspace, guid = nest
    before = {kind: workspace.path(kind, guid).read_bytes() for kind in KINDS}
    assert mended(command, workspace) == {}
    for kind in KINDS:
        path = workspace.path(kind, guid)
        path.unlink() if gone else path.write_bytes(before[kind][: len(before[kind]) // 2])
    assert mended(command, workspace) == {f"{'missing' if gone else 'damaged'} {kind}": True for kind in KINDS}
    assert {kind: workspace.path(kind, guid).read_bytes() for kind in KINDS} == before
    assert mended(command, workspace) == {}
    assert sum(len(item.inside()) for item in trash.items(workspace.root)) == (0 if gone else 4)


def test_one_that_is_damaged_again_is_moved_again(command, nest):
    workspace, guid = nest
    path = workspace.path("model", guid)
    before = path.read_bytes()
    for _ in range(2):
        path.write_bytes(b"{}x")
        assert mended(command, workspace) == {"damaged model": True} and path.read_bytes() == before


@pytest.mark.parametrize("values", [{"d_type": "fp64"}, {"d_type": "fp16"}, {"c_attention": "aft", "c_network": "moe"}])
def test_every_number_format(command, tmp_path, text_file, values):
    workspace = Workspace(tmp_path / "w")
    run = runs.start(workspace, Config.read({**TINY, **values}), [text_file], steps=7)
    assert run.wait(60) == "finished"
    path = workspace.path("model", run.guid)
    before = path.read_bytes()
    path.unlink()
    assert mended(command, workspace) == {"missing model": True} and path.read_bytes() == before


@pytest.mark.parametrize("words", [[], ["--lora", "2"], ["--freeze", "wte*"]])
def test_a_fine_tuned_model(command, nest, tmp_path, words):
    workspace, _ = nest
    text = tmp_path / "more.txt"
    text.write_text("The dog saw 7 cats and ran! " * 30)
    done = command("finetune", "tiny", "--input", text, "--steps", "6", *words, "--workspace", workspace.root)
    assert done.code == 0, done.err
    guid = done.out.strip()
    kinds = [kind for kind in (*KINDS, "adapter") if workspace.path(kind, guid).exists()]
    before = {kind: workspace.path(kind, guid).read_bytes() for kind in kinds}
    assert ("adapter" in kinds) == ("--lora" in words)
    for kind in kinds:
        workspace.path(kind, guid).write_bytes(before[kind][:40])
    assert mended(command, workspace) == {f"damaged {kind}": True for kind in kinds}
    assert {kind: workspace.path(kind, guid).read_bytes() for kind in kinds} == before


def test_what_cannot_be_made_stays_as_it_is(command, nest):
    """The checkpoint is damaged too, or of another step, or there is none, or the run has not come to its end."""
    workspace, guid = nest
    path, run = workspace.path("model", guid), runs.Run(workspace, guid)
    path.write_bytes(b"{")
    (last,) = [saved for saved in (run.dir / "checkpoints").iterdir() if saved.name.startswith("step_")]
    good = last.read_bytes()
    last.write_bytes(good[:-8])
    done = command("doctor", "--repair", "--yes", "--workspace", workspace.root)
    assert done.code == 1 and last.name in done.err and path.read_bytes() == b"{"
    assert not trash.items(workspace.root), "what cannot be replaced is not taken away"
    last.rename(last.with_name("step_000000029.safetensors"))
    assert rebuild.possible(workspace, guid) is None
    assert mended(command, workspace) == {"damaged model": False}
    last.write_bytes(good)
    assert rebuild.possible(workspace, guid) is not None
    with Lock(run.dir / "lock"):
        assert mended(command, workspace) == {}, "it is at work"
    journal = run.journal.read_bytes()
    run.journal.write_bytes(journal[: journal.rindex(b"\n", 0, -1) + 1])
    assert rebuild.possible(workspace, guid) is None
