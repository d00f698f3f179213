"""A model out of a run: every kept checkpoint, the newest of a live run, and the steps that replies come from."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest
from waiting import until

from babytui import checkpoint_models, checkpoints, library, process, receipts, runs
from babytui.worker import Worker
from engine import events
from engine.config import Config
from engine.errors import FormatError, NotFound, UsageError
from engine.trainer import Trainer
from store import atomic, checkpoint, states
from store.workspace import Workspace

TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}


@pytest.fixture
def spaced(tmp_path, text_file) -> runs.Run:
    """A stopped run with a checkpoint each ten steps."""
    run = runs.start(Workspace(tmp_path / "w"), Config.read({**TINY, "s_checkpoint_steps": 10, "n_checkpoints": 5}),
                     [text_file], steps=60, name="spaced")
    assert run.wait(60) == "finished"
    return run


def test_every_kept_checkpoint_is_the_model_of_that_step(tmp_path, text_file, spaced):
    """Against a training of so many steps in this process."""
    from babytui import texts
    from engine import registry
    from engine.model import Model

    text = texts.read([text_file])
    config = Config.read({**TINY, "s_checkpoint_steps": 10, "n_checkpoints": 5, "n_steps": 60})
    tokenizer = registry.tokenizer.get("char").fit(text)
    model = Model.create(config, len(tokenizer.vocab))
    there = {one.step: one for one in checkpoint_models.kept(spaced)}
    compared = 0
    for event in Trainer(model, tokenizer, tokenizer.encode(text), cores=1, prompt=""):
        if type(event).__name__ == "Step" and event.step in there:
            baby = checkpoint_models.load(spaced, event.step)
            for name, view in model.params.items():
                np.testing.assert_array_equal(baby.params[name], view)
            assert baby.step == event.step and baby.name == "spaced" and baby.tokenizer.vocab == tokenizer.vocab
            compared += 1
    assert compared >= 5
    assert checkpoint_models.load(spaced).sha256 == library.load(spaced.guid, spaced.workspace).sha256


def test_a_finished_run_keeps_what_was_asked_for(spaced, trained):
    """More than the three that are the default: all of them; else the last and the best."""
    steps = [one.step for one in checkpoint_models.kept(spaced)]
    assert steps[-1] == 60 and len(steps) >= 5
    usual = checkpoint_models.kept(trained[1])
    assert 1 <= len(usual) <= 2 and usual[-1].step == 30


def test_steps_are_spaced_as_asked_on_a_slow_disk(tmp_path, text_file, monkeypatch):
    """The worker in this process; each write takes far longer than the ten steps between two."""
    write = checkpoint.write

    def slowly(*args: Any) -> None:
        time.sleep(0.2)
        write(*args)

    monkeypatch.setattr(checkpoint, "write", slowly)
    monkeypatch.setattr(process, "heed", lambda stop: None)
    run = runs.Run(Workspace(tmp_path / "w").ensure(), "0f0f0f0f-0000-4000-8000-000000000000")
    run.dir.mkdir(mode=0o700)
    atomic.write_json(run.dir / "plan.json", {
        "guid": run.guid, "created": 1.0, "name": "slow", "texts": [str(text_file)], "notes": [], "dataset": "cats",
        "prompt": "The", "time_budget": None,
        "config": Config.read({**TINY, "s_checkpoint_steps": 10, "n_checkpoints": 9, "n_steps": 60}).to_dict()})
    assert Worker(run, 0, False).run_to_end() == 0
    kept = checkpoint_models.kept(run)
    assert [one.step for one in kept if one.path.name.startswith("step_")] == [0, 10, 20, 30, 40, 50, 60]


def test_which_checkpoint(spaced):
    assert checkpoint_models.find(spaced, "last").step == 60
    assert checkpoint_models.find(spaced, "best").best
    with pytest.raises(NotFound, match=r"of step 7; there are .*60"):
        checkpoint_models.find(spaced, 7)
    assert [checkpoint_models.which(text) for text in (None, "last", "best", "1,200", 3)] == [
        None, "last", "best", 1200, 3]
    for wrong in ("first", "-1", "1.5", "9" * 30):
        with pytest.raises(UsageError, match="last or best"):
            checkpoint_models.which(wrong)


def test_only_the_weights_are_held(spaced):
    path = checkpoint_models.find(spaced, "last").path
    whole, meta = checkpoint.read(path)
    some, same = checkpoint.read(path, wanted=lambda name: name.startswith("weights/"))
    assert meta == same and list(some) == [name for name in whole if name.startswith("weights/")] != list(whole)
    assert all(np.array_equal(some[name], whole[name]) for name in some)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # in a moment that is not wanted
    path.write_bytes(data)
    with pytest.raises(FormatError, match="checksum"):
        checkpoint.read(path, wanted=lambda name: name.startswith("weights/"))
    path.write_bytes(data[:-5])
    with pytest.raises(FormatError):
        checkpoint.read(path, wanted=lambda name: name.startswith("weights/"))


def test_adapters_are_merged(nest, tmp_path):
    """A run that fine-tunes with low-rank adapters: its checkpoint is the merged model that it leaves."""
    from babytui import finetuning

    text = tmp_path / "more.txt"
    text.write_text("the cat and the dog sat and sat.\n" * 30)
    workspace, guid = nest
    run = library.finetune(guid, [text], workspace, lora=2, steps=8)
    assert run.wait(60) == "finished"
    assert finetuning  # its module is what made the plan
    last = checkpoint_models.load(run, "last")
    assert last.step == 8 and last.sha256 == library.load(run.guid, workspace).sha256


def test_a_live_run_is_asked_for_its_present_weights(long_run):
    until(lambda: checkpoint_models.kept(long_run), "the first checkpoint")
    first = checkpoint_models.kept(long_run)[-1]
    old = time.time() - 100
    for one in checkpoints.listed(long_run.dir / "checkpoints"):
        os.utime(one, (old, old))
    baby = library.load(long_run.guid, long_run.workspace, step="now")
    assert baby.step is not None and baby.step > first.step
    asked = len(_asked(long_run))
    assert asked == 1
    assert library.load(long_run.guid, long_run.workspace, step="now").step == baby.step  # it is not old
    assert len(_asked(long_run)) == asked
    with pytest.raises(NotFound, match="no model yet"):
        library.load(long_run.guid, long_run.workspace)


def _asked(run: runs.Run) -> list[Any]:
    return [event for event in run.events()[0] if type(event).__name__ == "Control"]


def test_a_paused_run_is_not_disturbed(long_run):
    until(lambda: checkpoint_models.kept(long_run), "the first checkpoint")
    long_run.command("pause")
    assert long_run.wait_for("paused") == "paused"
    before = len(_asked(long_run))
    assert checkpoint_models.refresh(long_run, older=0) is False
    assert len(_asked(long_run)) == before


def test_replies_of_a_live_run_are_replayed(long_run):
    """From its checkpoint while that is kept; a sentence when it is gone."""
    until(lambda: checkpoint_models.kept(long_run), "the first checkpoint")
    long_run.command("pause")
    assert long_run.wait_for("paused") == "paused"
    until(lambda: any(getattr(event, "reason", "") == "command" for event in long_run.events()[0]), "its checkpoint")
    baby = library.load(long_run.guid, long_run.workspace, step="last")
    reply = baby.generate("the ", 30, seed=1)
    list(reply)
    receipt = receipts.parse(reply.completion(), "x")
    assert receipt.parts[0].origin.step == baby.step
    replay = receipts.Replay(receipt, long_run.workspace)
    assert "".join(replay) == reply.text and not replay.difference()
    long_run.command("stop")
    assert long_run.wait(60) == "stopped"
    for one in checkpoint_models.kept(long_run):
        if one.step == baby.step:
            one.path.unlink()
    if library.load(long_run.guid, long_run.workspace).sha256 == baby.sha256:
        assert "".join(receipts.Replay(receipt, long_run.workspace)) == reply.text
    else:
        with pytest.raises(NotFound, match="keeps no checkpoint of step"):
            receipts.Replay(receipt, long_run.workspace)


def test_the_command_line_chooses_a_checkpoint(command, spaced):
    where = ["--workspace", spaced.workspace.root]
    said = [command("inference", "spaced", "--step", step, "--seed", "1", "--json", "--no-save", *where).data
            for step in ("20", "60", "last", "best")]
    assert [one["step"] for one in said[:3]] == [20, 60, 60]
    assert said[0]["generation"] != said[1]["generation"] == said[2]["generation"]
    final = command("inference", "spaced", "--seed", "1", "--json", "--no-save", *where).data
    assert final["step"] is None and final["generation"] == said[1]["generation"]
    assert command("inference", "spaced", "--step", "soon", *where).code == 2
    missing = command("inference", "spaced", "--step", "61", *where)
    assert missing.code == 1 and "no checkpoint of step 61" in missing.err


def test_the_best_is_of_the_very_weights_that_were_evaluated(trained, tmp_path, text_file):
    """Not the last that was known of others."""
    run = runs.start(Workspace(tmp_path / "w"), Config.read({**TINY, "s_checkpoint_steps": 7, "n_checkpoints": 99,
                                                             "n_steps": 400}), [text_file])
    assert run.wait(60) == "finished"
    path = run.dir / "checkpoints" / checkpoints.BEST
    meta = checkpoint.read(path)[1]
    told = {event.step: event.validation_loss for event in run.events()[0] if isinstance(event, events.Evaluation)
            and not event.full}
    assert meta["validation_loss"] == told[meta["step"]] and meta["looked"] == meta["step"]


def test_weights_that_are_not_finite_are_no_checkpoint(trained, tmp_path):
    run = trained[1]
    path = checkpoints.listed(run.dir / "checkpoints")[0]
    arrays, meta = checkpoint.read(path)
    states.check(arrays, meta, path.name)
    for bad in (float("nan"), float("inf")):
        for name in ("weights/", "m/"):
            key = next(key for key in arrays if key.startswith(name))
            broken = {**arrays, key: arrays[key].copy()}
            broken[key].flat[-1] = bad
            with pytest.raises(FormatError, match="not finite"):
                states.check(broken, meta, path.name)
