"""The verbs, in process and off a terminal: what they print, and how they end."""

from __future__ import annotations

import json
import shutil

import pytest

from babytui import runs
from engine.config import Config
from store.lock import Lock
from store.workspace import Workspace

SET = [word for name, value in {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8,
                                "batch_size": 4}.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture
def copied(trained, tmp_path):
    """A workspace of its own with the finished model "tiny"."""
    workspace, run = trained
    return Workspace(shutil.copytree(workspace.root, tmp_path / "copy")), run.guid


def test_train_in_the_foreground(command, tmp_path, text_file):
    done = command("train", *SET, "--input", text_file, "--steps", "12", "--name", "kitten", "--workspace",
                   tmp_path / "w")
    assert done.code == 0
    guid = done.out.strip()
    assert Workspace(tmp_path / "w").entry("kitten").guid == guid
    assert f"babytui inference {guid[:8]}" in done.err and "12 steps" in done.err and "\x1b" not in done.err


def test_train_json_and_quiet(command, tmp_path, text_file):
    done = command("-q", "train", *SET, "--input", text_file, "--steps", "5", "--workspace", tmp_path / "w", "--json")
    assert done.code == 0 and done.err == ""
    assert {"guid", "parameters", "steps", "tokens", "seconds", "tokens_per_second", "train_loss",
            "validation_loss"} <= done.data.keys()
    assert done.data["steps"] == 5 and done.data["tokens"] == 5 * 4 * 8


def test_train_detached_then_steered(command, tmp_path, text_file):
    where = ["--workspace", tmp_path / "w"]
    started = command("train", *SET, "--input", text_file, "--steps", "9999999", "--detach", *where)
    guid = started.out.strip()
    assert started.code == 0 and Lock.held(tmp_path / "w" / "runs" / guid / "lock")
    assert command("runs", "--json", *where).data[0]["status"] in runs.LIVE
    assert command("pause", *where, "--json").data["status"] == "paused"
    assert "paused" in command("list", *where).out
    assert command("resume", guid[:5], *where, "--json").data["status"] == "running"
    assert command("checkpoint", *where).out.strip().endswith(".safetensors")
    early = command("inference", guid, *where)
    assert early.code == 0 and "as it was at step" in early.err and len(early.out) == 501
    refused = command("delete", guid, "--yes", *where)
    assert refused.code == 1 and f"babytui stop {guid[:8]}" in refused.err
    assert command("stop", *where, "--json").data["status"] == "stopped"
    watched = command("attach", *where, "--json")
    assert watched.code == 0 and watched.data["guid"] == guid and watched.data["validation_loss"] is not None
    again = command("pause", *where)
    assert again.code == 1 and "not running" in again.err


def test_train_starts_from_files(command, tmp_path, text_file):
    workspace = Workspace(tmp_path / "w").ensure()
    small = Config.read({"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8})
    workspace.save_current(small.values)
    shutil.copy(text_file, workspace.inputs / "mine.txt")
    done = command("train", "--steps", "2", "--workspace", workspace.root)
    assert done.code == 0 and "current.json" in done.err
    entry = workspace.entry("last")
    assert entry.config["n_emb"] == 8 and entry.dataset == "mine"
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"n_layers": 2, "n_emb": 4, "s_head": "4", "n_heads": 1, "n_ctx": 4, "n_layer": 3}))
    done = command("train", "--config", given, "--set", "n_layers=1", "--steps", "2", "--input", "mine", "--workspace",
                   workspace.root, "--json")
    assert done.code == 0 and "did you mean 'n_layers'" in done.err
    config = workspace.entry(done.data["guid"]).config
    assert (config["n_emb"], config["head_size"], config["n_layers"]) == (4, 4, 1)


@pytest.mark.parametrize(("words", "code", "said"), [
    (["--set", "n_layer=2"], 2, "did you mean 'n_layers'"),
    (["--set", "n_layers=0"], 2, "n_layers must be"),
    (["--set", "n_layers"], 2, "PARAMETER=VALUE"),
    (["--set", "n_heads=3"], 2, "does not divide head_size"),
    (["--set", "c_attention=mah"], 2, "did you mean"),
    (["--preset", "7m"], 2, "newborn"),
    (["--preset", "6m", "--config", "x"], 2, "give one of them"),
    (["--config", "nothing.json"], 1, "nothing.json"),
    (["--input", "nothing"], 1, "There is no text 'nothing'"),
    (["--input", "EMPTY"], 1, "empty"),
    (["--input", "SHORT"], 1, "window"),
    (["--input", "BINARY"], 1, "binary.txt"),
    (["--config", "BROKEN"], 1, "not valid JSON"),
    (["--name", "a/b", "--input", "GOOD"], 2, "name"),
])
def test_what_train_refuses(command, tmp_path, words, code, said):
    files = {"GOOD": b"The cat sat. " * 200, "EMPTY": b"", "SHORT": b"abc", "BINARY": bytes(range(256)) * 9,
             "BROKEN": b'{"n_layers": '}
    for name, content in files.items():
        (tmp_path / f"{name.lower()}.txt").write_bytes(content)
    words = [str(tmp_path / f"{word.lower()}.txt") if word in files else word for word in words]
    done = command("train", *words, "--workspace", tmp_path / "w")
    assert done.code == code and said in done.err and done.out == ""
    assert done.err.startswith("babytui: ") and done.err.count("\n") == 1
    assert not list((tmp_path / "w").glob("**/*.json"))


def test_inference_prints_the_text_and_nothing_else(command, copied):
    workspace, guid = copied
    where = ["--workspace", workspace.root]
    plain = command("inference", "tiny", "--prompt", "The cat", "--tokens", "20", "--seed", "5", "--no-save", *where)
    asked = command("inference", guid[:6], "--prompt", "The cat", "--tokens", "20", "--seed", "5", "--json", *where)
    assert plain.code == asked.code == 0
    assert plain.out == asked.data["generation"] and plain.out.startswith("The cat") and len(plain.out) == 27
    assert {"guid": guid, "prompt": "The cat", "tokens": 20, "seed": 5, "cache": True}.items() <= asked.data.items()
    assert asked.data["seconds"] >= asked.data["prefill_seconds"] > 0 and asked.data["tokens_per_second"] > 0
    saved = list(workspace.outputs.glob(f"completion_{guid}_*.json"))
    assert len(saved) == 1
    kept = json.loads(saved[0].read_text())
    assert kept["generation"] == plain.out and kept["inference_max_tokens"] == 20
    assert kept["babytui_sampler"]["seed"] == 5
    slow = command("inference", "--prompt", "The cat", "--tokens", "20", "--seed", "5", "--no-save", "--no-cache",
                   "--json", *where)
    assert slow.data["cache"] is False and slow.data["generation"] != ""
    piped = command("inference", "--prompt", "-", "--tokens", "3", "--no-save", "-q", *where, stdin="The dog\n")
    assert piped.out.startswith("The dog") and len(piped.out) == 10 and piped.err == ""
    empty = command("inference", "--tokens", "3", "--no-save", "--json", *where)
    assert empty.data["prompt"] is None and len(empty.data["generation"]) == 4


def test_inference_names_what_it_does_not_know(command, copied):
    where = ["--workspace", copied[0].root, "--tokens", "3", "--no-save"]
    refused = command("inference", "--prompt", "The €uro ß", *where)
    assert refused.code == 1 and "'ß'" in refused.err and "'€'" in refused.err and "--skip-unknown" in refused.err
    assert refused.out == ""
    assert command("inference", "--prompt", "The €cat", "--skip-unknown", *where).out.startswith("The cat")
    bad = command("inference", "--prompt", "-", *where, stdin="\udcff")
    assert bad.code == 1 and "UTF-8" in bad.err


def test_info_and_list(command, copied):
    workspace, guid = copied
    where = ["--workspace", workspace.root]
    keys = {"guid", "name", "parameters", "validation_loss", "dataset", "created", "bytes", "config"}
    info = command("info", "tiny", "--json", *where)
    assert keys <= info.data.keys() and info.data["status"] == "finished" and info.data["config"]["n_emb"] == 8
    listed = command("list", "--json", *where)
    assert keys <= listed.data[0].keys() and listed.data[0]["guid"] == guid
    text = command("info", *where)
    assert text.code == 0 and "mha + mlp" in text.out and guid in text.out
    assert "tiny" in command("list", *where).out
    nothing = command("list")
    assert nothing.code == 0 and nothing.out == "" and "no models" in nothing.err
    assert command("list", "--json").data == []


def test_broken_files_are_one_sentence(command, copied):
    workspace, guid = copied
    where = ["--workspace", workspace.root]
    model = workspace.path("model", guid)
    good = model.read_text()
    raw = json.loads(good)
    for broken, said in [("{", "cut off"), (good.replace("[", "[null,", 1), "model_"),
                         (json.dumps({**raw, "ln_f_gamma": [1.0, 2.0]}), "ln_f_gamma"),
                         (json.dumps({**raw, "ln_f_gamma": [float("nan")] * 8}), "")]:
        model.write_text(broken)
        done = command("inference", "--tokens", "2", *where)
        assert done.code == 1 and said in done.err and done.err.count("\n") == 1 and done.out == ""
    workspace.path("config", guid).write_text("[]")
    assert "config_" in command("list", *where).err
    done = command("info", guid, *where)
    assert done.code == 1 and guid in done.out and done.err.startswith("! config_") and done.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["info", "inference", "delete", "attach", "pause", "stop", "resume", "checkpoint"])
def test_an_unknown_model(command, copied, verb):
    done = command(verb, "nosuch", "--workspace", copied[0].root)
    assert done.code == 1 and "nosuch" in done.err and done.err.count("\n") == 1


def test_an_ambiguous_prefix(command, tmp_path):
    workspace = Workspace(tmp_path / "w").ensure()
    for end in "12":
        name = f"config_aaaaaaaa-0000-4000-8000-00000000000{end}.json"
        (workspace.configs / name).write_text(json.dumps(Config.read().to_dict()))
    done = command("info", "aaaa", "--workspace", workspace.root)
    assert done.code == 1 and "fits 2 models" in done.err


def test_delete_asks_and_can_be_undone(command, copied):
    workspace, guid = copied
    where = ["--workspace", workspace.root]
    asked = command("delete", "tiny", *where)
    assert asked.code == 2 and "--yes" in asked.err and str(workspace.path("model", guid)) in asked.err
    assert workspace.path("model", guid).exists()
    done = command("delete", "tiny", "--yes", "--json", *where)
    assert done.code == 0 and done.data[0]["guid"] == guid and ".trash" in done.data[0]["trash"]
    assert done.data[0]["trash"] in done.err
    assert not workspace.path("model", guid).exists() and not workspace.run_dir(guid).exists()


def test_estimate(command, text_file, tmp_path):
    done = command("estimate", *SET, "--steps", "10", "--input", text_file, "--json", "--workspace", tmp_path / "w")
    assert done.code == 0
    assert {"parameters", "model_file_bytes", "training_bytes", "generation_bytes", "flops_per_step", "tokens_needed",
            "steps", "seconds"} <= done.data.keys()
    assert done.data["steps"] == 10 and done.data["seconds"] > 0
    assert "parameters" in command("estimate", *SET, "--input", text_file, "--workspace", tmp_path / "w").out
    assert not (tmp_path / "w").exists()


def test_doctor(command, tmp_path):
    done = command("doctor", "--json", "--workspace", tmp_path / "w")
    found = {item["check"]: item["state"] for item in done.data}
    assert done.code == 0
    assert {"Python", "numpy", "BLAS", "cores", "GPU", "terminal", "workspace", "disk"} <= found.keys()


def test_no_permission(command, tmp_path, text_file):
    place = tmp_path / "file"
    place.write_text("")
    done = command("train", *SET, "--input", text_file, "--steps", "1", "--workspace", place)
    assert done.code == 1 and str(place) in done.err and done.err.count("\n") == 1


def test_the_playground_needs_a_terminal(command):
    done = command()
    assert done.code == 2 and done.err.count("\n") == 1 and "babytui train" in done.err
