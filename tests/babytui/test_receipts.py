"""Receipts: the same text again, in another process; what is said when it cannot be; files of strangers."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from architectures import ARCHITECTURES, every_pair, tiny
from hypothesis import given
from hypothesis import strategies as st

from babytui import library, process, receipts
from babytui.library import Baby
from engine import registry
from engine.errors import FormatError, NotFound, RunError
from engine.model import Model
from store import artifacts
from store.workspace import Workspace, new_guid

VOCAB = list("\n abcdehilot.")
SOME = [("pre", "mha", "mlp"), ("post", "gla", "moe"), ("pre", "rfa", "glu"), ("pre", "aft", "nft")]
SOME = [one for one in SOME if one in ARCHITECTURES] or ARCHITECTURES[:3]


def born(workspace: Workspace, architecture: Any = ("pre", "mha", "mlp"), **options: Any) -> Baby:
    """A newborn model in files, and as it is read from them."""
    config = tiny(architecture, **{"n_ctx": 12, "n_seed": 3, **options})
    guid = new_guid()
    model = Model.create(config, len(VOCAB))
    artifacts.save_config(workspace, guid, {**config.to_dict(), "babytui_name": "chick"})
    artifacts.save_tokenizer(workspace, guid, "char", VOCAB)
    artifacts.save_model(workspace, guid, model.export())
    return library.load(guid, workspace)


def written(baby: Baby, tokens: int = 40, **options: Any) -> dict[str, Any]:
    generation = baby.generate("the ", tokens, **{"seed": 5, **options})
    list(generation)
    return generation.completion()


def forked(baby: Baby) -> tuple[str, dict[str, Any]]:
    """A reply of 30 tokens, forked at the 11th with another sampler, gone on from, and forked again before that."""
    first = baby.generate("the ", 30, seed=5)
    list(first)
    parts = [receipts.part_of(first)]
    ids = [*list(first.written)[:10], 4]
    second = baby.generate("the ", 20, seed=8, temperature=0.5, top_k=4, kept=ids)
    list(second)
    parts.append(receipts.part_of(second, 4))
    third = baby.generate("the ", 15, seed=8, repetition=1.3, cache=False, kept=[*second.kept, *second.written])
    list(third)
    parts.append(receipts.part_of(third))
    ids = [*[*third.kept, *third.written][:8], 2]
    fourth = baby.generate("the ", 9, seed=8, kept=ids)
    list(fourth)
    return fourth.text, {"generation": fourth.text, receipts.KEY: receipts.of(fourth, parts, 2)}


def elsewhere(workspace: Workspace, path: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """`babytui inference --replay` in another process."""
    return subprocess.run([sys.executable, "-P", "-m", "babytui", "inference", "--replay", str(path), "--workspace",
                           str(workspace.root), *words], capture_output=True, env=process.environment(), check=False)


@pytest.fixture
def nest(home: Path) -> Workspace:
    return Workspace(home / "w").ensure()


@every_pair
def test_a_model_has_one_hash_before_and_after_its_file(architecture, nest):
    config = tiny(architecture)
    model = Model.create(config, len(VOCAB))
    tokenizer = registry.tokenizer.get("char")(VOCAB)
    again = Model.from_arrays(config, model.export())
    one, other = Baby(model, tokenizer), Baby(again, tokenizer)
    assert one.sha256 == other.sha256
    again.params["wte_weight"][0, 0] += 1
    assert Baby(again, tokenizer).sha256 != one.sha256
    assert Baby(model, registry.tokenizer.get("char")(VOCAB[::-1])).sha256 != one.sha256


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
@pytest.mark.parametrize("architecture", SOME, ids="-".join)
def test_replay_writes_the_same_text(architecture, d_type, cache, nest):
    baby = born(nest, architecture, d_type=d_type)
    for options in ({}, {"temperature": 0.6, "top_k": 5, "top_p": 0.9, "min_p": 0.02, "repetition": 1.2}):
        completion = json.loads(json.dumps(written(baby, cache=cache, **options)))
        replay = receipts.Replay(receipts.parse(completion, "x"), nest)
        assert "".join(replay) == completion["generation"]
        assert replay.difference() == ""


@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_replay_of_forks_and_continuations(d_type, nest):
    text, completion = forked(born(nest, d_type=d_type))
    replay = receipts.Replay(receipts.parse(json.loads(json.dumps(completion)), "x"), nest)
    assert "".join(replay) == text and replay.difference() == ""
    assert len(replay.ids) == 8 + 1 + 9 and replay.ids[8] == 2


@pytest.mark.parametrize(("architecture", "d_type", "cache"), [
    (SOME[0], "fp32", True), (SOME[0], "fp16", False), (SOME[1], "fp32", True), (SOME[2], "fp64", True)])
def test_replay_in_another_process(architecture, d_type, cache, nest):
    baby = born(nest, architecture, d_type=d_type)
    completion = written(baby, cache=cache)
    path = artifacts.save_completion(nest, baby.guid, completion, stamped=True)
    done = elsewhere(nest, path, "-q")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == completion["generation"].encode() and done.stderr == b""


def test_replay_of_a_fork_in_another_process_from_standard_input(nest, command):
    text, completion = forked(born(nest))
    alone = json.dumps(completion[receipts.KEY])  # the receipt by itself
    done = command("inference", "--replay", "-", "--workspace", nest.root, "--json", stdin=alone)
    assert done.code == 0, done.err
    assert done.data["generation"] == text and done.data["same"] is True and done.data["tokens"] == 18
    path = nest.root / "fork.json"
    path.write_bytes(orjson.dumps(completion))
    assert elsewhere(nest, path).stdout == text.encode()


def test_another_model_in_its_place(nest, command):
    baby = born(nest)
    path = artifacts.save_completion(nest, baby.guid, written(baby), stamped=True)
    arrays = artifacts.load_model(nest, baby.guid)
    arrays["wte_weight"][0, 0] += 1
    artifacts.save_model(nest, baby.guid, arrays)
    done = command("inference", "--replay", path, "--workspace", nest.root)
    assert done.code == 1 and done.out == "" and "another model" in done.err and baby.sha256[:12] in done.err


def test_the_model_is_gone(nest, command):
    baby = born(nest)
    path = nest.root / "reply.json"
    path.write_bytes(orjson.dumps(written(baby)))
    nest.delete(baby.guid)
    done = command("inference", "--replay", path, "--workspace", nest.root)
    assert done.code == 1 and "chick" in done.err and "trash restore" in done.err


def test_where_the_first_token_differs(nest, command):
    baby = born(nest)
    completion = written(baby)
    ids = completion[receipts.KEY]["ids"]
    ids[16] = (ids[16] + 1) % len(VOCAB)
    completion[receipts.KEY]["versions"]["numpy"] = "1.0"
    path = nest.root / "reply.json"
    path.write_bytes(orjson.dumps(completion))
    done = command("inference", "--replay", path, "--workspace", nest.root)
    assert done.code == 1 and "token 17" in done.err and "numpy 1.0, here" in done.err
    assert repr(VOCAB[ids[16]]) in done.err
    assert done.out == completion["generation"]


@pytest.mark.parametrize("words", [["--prompt", "x"], ["--seed", "1"], ["last2"], ["--tokens", "3"], ["--no-cache"],
                                   ["--temperature", "2"], ["--step", "3"]])
def test_a_replay_takes_everything_from_its_receipt(words, nest, command):
    path = nest.root / "reply.json"
    path.write_bytes(orjson.dumps(written(born(nest))))
    done = command("inference", "--replay", path, *words, "--workspace", nest.root)
    assert done.code == 2 and "--replay" in done.err


def broken(change: Any) -> dict[str, Any]:
    """A receipt with something wrong in it."""
    receipt = {"format": 1, "prompt": "a", "prompt_ids": [2], "ids": [1, 2, 3], "versions": {}, "parts": [
        {"keep": 0, "chosen": None, "tokens": 3, "cache": True,
         "sampler": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition": 1.0, "seed": 1},
         "model": {"guid": new_guid(), "name": "x", "step": None, "sha256": "0" * 64}}]}
    change(receipt)
    return receipt


@pytest.mark.parametrize(("change", "said"), [
    (lambda r: r.update(format=2), "format 2"), (lambda r: r.update(prompt=3), "prompt"),
    (lambda r: r.update(prompt_ids=[]), "prompt_ids"), (lambda r: r.update(ids=[1.5, 2, 3]), "ids"),
    (lambda r: r.update(ids=[1, 2]), "damaged"), (lambda r: r.update(ids=[True, 2, 3]), "ids"),
    (lambda r: r.update(parts=[]), "parts"), (lambda r: r.update(parts=[3]), "part 1"),
    (lambda r: r.update(ids="123"), "ids"), (lambda r: r["parts"][0].update(keep=1), "keeps 1"),
    (lambda r: r["parts"][0].update(tokens=-1), "tokens"), (lambda r: r["parts"][0].update(tokens=10**12), "tokens"),
    (lambda r: r["parts"][0].update(chosen="x"), "chosen"), (lambda r: r["parts"][0].update(cache=1), "cache"),
    (lambda r: r["parts"][0]["sampler"].update(top_p=7.0), "top_p"),
    (lambda r: r["parts"][0]["sampler"].update(seed=1.5), "sampler"),
    (lambda r: r["parts"][0]["sampler"].update(evil=1), "sampler"),
    (lambda r: r["parts"][0]["sampler"].update(temperature="1"), "sampler"),
    (lambda r: r["parts"][0]["model"].update(guid="../../etc"), "GUID"),
    (lambda r: r["parts"][0]["model"].update(sha256="zz"), "sha256"),
    (lambda r: r["parts"][0]["model"].update(step=-1), "step"), (lambda r: r.pop("parts"), "no receipt"),
])
def test_files_of_strangers(change, said):
    receipts.parse(copy.deepcopy(broken(lambda r: None)), "f.json")
    with pytest.raises(FormatError, match=said):
        receipts.parse(broken(change), "f.json")


def test_files_that_are_no_receipts(nest, command):
    for content, said in ((b"{", "not valid JSON"), (b"[1]", "one JSON object"), (b'{"generation": "x"}', "earlier"),
                          (b"{}", "neither")):
        path = nest.root / "x.json"
        path.write_bytes(content)
        done = command("inference", "--replay", path, "--workspace", nest.root)
        assert done.code == 1 and said in done.err, done.err
    done = command("inference", "--replay", nest.root / "none.json", "--workspace", nest.root)
    assert done.code == 1 and "no file" in done.err
    with pytest.raises(FormatError, match="does not know"):  # a token outside the vocabulary
        completion = written(born(nest))
        completion[receipts.KEY]["prompt_ids"] = [99]
        receipts.Replay(receipts.parse(completion, "x"), nest)
    with pytest.raises(NotFound, match="no checkpoint of step 7"):
        completion = written(born(nest))
        completion[receipts.KEY]["parts"][0]["model"] |= {"step": 7, "sha256": "0" * 64}
        receipts.Replay(receipts.parse(completion, "x"), nest)
    with pytest.raises(RunError, match="another model"):
        completion = written(born(nest))
        completion[receipts.KEY]["parts"][0]["model"]["sha256"] = "0" * 64
        receipts.Replay(receipts.parse(completion, "x"), nest)


_VALUES = st.recursive(st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False)
                       | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
                       | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=6)


@given(st.data())
def test_whatever_stands_in_a_receipt_it_is_read_or_refused(data):
    """Any value in any place: a sentence, never another error."""
    receipt = broken(lambda r: None)
    here: Any = receipt
    while True:
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if isinstance(here[key], (dict, list)) and here[key] and data.draw(st.booleans()):
            here = here[key]
            continue
        here[key] = data.draw(_VALUES)
        break
    try:
        found = receipts.parse(receipt, "f.json")
    except FormatError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
    else:
        assert receipts.parse(json.loads(json.dumps(found.to_dict())), "f.json") == found
