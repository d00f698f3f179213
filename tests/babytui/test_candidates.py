"""Candidates of a next token against a slow twin, in the middle of replies, and on the command line."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import twins
from architectures import ARCHITECTURES, tiny, wild

from babytui import candidates
from babytui.library import Baby
from engine import registry
from engine.generate import Sampler, stream

VOCAB = list("abcdefg")
SOME = ARCHITECTURES[:: max(1, len(ARCHITECTURES) // 8)]


def nestling(architecture=("pre", "mha", "mlp")) -> Baby:
    return Baby(wild(tiny(architecture)), registry.tokenizer.get("char")(VOCAB), name="wild")


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("architecture", SOME, ids="-".join)
def test_the_candidates_of_every_token_of_a_reply(architecture, cache):
    """Computed anew from the ids: the chosen one has the probability that it was drawn with."""
    baby = nestling(architecture)
    sampler = Sampler(0.8, 5, 0.95, 0.01, 1.1, seed=4)
    prompt, n_ctx = [1, 2, 3], baby.config.n_ctx
    tokens = list(stream(baby.model, prompt, 25, sampler, cache=cache))
    ids = [token.id for token in tokens]
    views = twins.continuation_contexts(prompt, ids, n_ctx, cache and baby.model.causal)
    for at, token in enumerate(tokens):
        table = candidates.table(baby, prompt, sampler, reply=ids[:at], begun=0, cache=cache, count=3, also=token.id)
        row = next(row for row in table.rows if row.id == token.id)
        assert row.after == pytest.approx(token.probability, rel=1e-6) and row.text == VOCAB[token.id]
        assert table.seen == len(views[at])
        slow = twins.softmax([float(x) for x in np.asarray(baby.model.logits(np.array([views[at]])))[0, -1]])
        assert row.before == pytest.approx(slow[token.id], rel=1e-6)


def test_order_and_counts():
    baby = nestling()
    table = candidates.table(baby, [1, 2], Sampler(top_k=3, temperature=0.5), count=5)
    assert [step.name for step in table.steps] == ["model", "repetition", "temperature", "top_k", "top_p", "min_p"]
    assert table.shown == [0, 2, 3] and table.steps[3].left == 3 and table.vocab_size == 7
    after = [row.after for row in table.rows]
    assert after == sorted(after, reverse=True) and after[3:] == [0, 0] and sum(after) == pytest.approx(1)
    assert table.rows[3].before >= table.rows[4].before
    assert len(candidates.table(baby, [1], Sampler(), count=50).rows) == 7
    assert candidates.table(baby, [], Sampler()).seen == 1


def test_percent():
    assert [candidates.percent(x) for x in (0, 1, 0.4125, 0.0051, 0.00002)] == ["–", "100.0", "41.2", "0.51", "<.01"]


def test_on_the_command_line(command, trained):
    workspace, _run = trained
    where = ["--workspace", workspace.root]
    data = command("candidates", "tiny", "--prompt", "The", "--top-k", "3", "--json", *where).data
    assert data["prompt"] == "The" and data["context"] == 3
    last = [row["probabilities"]["min_p"] for row in data["candidates"]]
    assert sum(x > 0 for x in last) == 3 and sum(last) == pytest.approx(1)
    shown = command("candidates", "tiny", "--prompt", "The", "--top-k", "3", "--count", "5", *where)
    lines = shown.out.splitlines()
    assert shown.code == 0 and len(lines) == 7 and "top-k" in lines[0] and "█" in lines[1] and "left" in lines[-1]
    assert "after 3 in view" in shown.err
    unknown = command("candidates", "tiny", "--prompt", "Öl", *where)
    assert unknown.code == 1 and "'Ö'" in unknown.err
    assert command("candidates", "tiny", "--count", "0", *where).code == 2
    early = command("candidates", "tiny", "--step", "30", "--json", *where).data
    assert early["step"] == 30


def test_scrub_on_the_command_line(command, trained, tmp_path, text_file):
    from babytui import runs
    from engine.config import Config
    from store.workspace import Workspace

    config = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4,
              "s_checkpoint_steps": 10, "n_checkpoints": 6}
    run = runs.start(Workspace(tmp_path / "w"), Config.read(config), [text_file], steps=50, name="s")
    assert run.wait(60) == "finished"
    where = ["--workspace", tmp_path / "w"]
    data = command("scrub", "s", "--prompt", "The", "--tokens", "30", "--seed", "2", "--json", *where).data
    places = data["checkpoints"]
    assert len(places) >= 5 and places[-1]["step"] is None and data["seed"] == 2
    assert places[-1]["differs"] is None and places[-1]["ids"] == places[-2]["ids"]  # the last checkpoint is the model
    for before, here in pairwise(places):
        same = next((i for i, (a, b) in enumerate(zip(before["ids"], here["ids"], strict=True)) if a != b), None)
        assert here["differs"] == same
        one = command("inference", "s", "--prompt", "The", "--tokens", "30", "--seed", "2", "--json", "--no-save",
                      *(["--step", here["step"]] if here["step"] is not None else []), *where).data
        assert one["generation"] == here["generation"]
    shown = command("scrub", "s", "--prompt", "The", "--tokens", "30", "--seed", "2", *where)
    assert "▸" in shown.out and "the same as before" in shown.out and "n_checkpoints" in shown.err
    assert command("scrub", "nobody", *where).code == 1
    assert command("scrub", "s", "--prompt", "Öl", *where).code == 1
