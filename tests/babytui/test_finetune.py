"""Fine-tuning as an ordinary run: names, vocabulary, what may be changed, what is said, dying and going on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import babytui
from babytui import actions, finetuning, runs
from babytui.workspace_choice import BOX
from engine import events
from engine.adaptation import Adaptation
from engine.config import Config
from engine.errors import ConfigError, RunError
from store import artifacts
from store.lock import Lock
from store.names import short
from store.workspace import Workspace

ROOT = Path(__file__).parents[2]
KNOWN = "The dog sat on the cat. The mat ran and saw the dog.\n" * 8
STRANGE = "Élan! The cat said: 7 × 8.\x1b\n" * 12
SEEDS = Path(os.environ.get("BABYTUI_SEED_FILES", Path(__file__).parents[3] / "shared" / "seed_files"))


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A text without a symbol that tiny does not know."""
    path = tmp_path / "dogs.txt"
    path.write_text(KNOWN, encoding="utf-8")
    return path


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A text with new symbols, among them one that drives terminals."""
    path = tmp_path / "sums.txt"
    path.write_text(STRANGE, encoding="utf-8")
    return path


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.01)


def contents(workspace: Workspace) -> dict[Path, str]:
    """What every file of the workspace holds, but for settings/last.json."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in workspace.root.rglob("*")
            if path.is_file() and path.name != "last.json"}


def done(run: runs.Run) -> runs.Run:
    assert run.wait(60) == "finished", run.tail(3)
    return run


def saved(run: runs.Run) -> list[events.Checkpoint]:
    return [event for event in run.events()[0] if isinstance(event, events.Checkpoint)]


def model(workspace: Workspace, guid: str) -> dict:
    return artifacts.load_model(workspace, guid)


# --- names and files -------------------------------------------------------------------------------------------------


def test_from_the_command_line_to_the_artifacts(nest, strange):
    workspace, guid = nest
    before = contents(workspace)
    told = subprocess.run(
        [sys.executable, "-P", "-m", "babytui", "finetune", "tiny", "--input", str(strange), "--steps", "6", "--json",
         "--freeze", "wpe*", "--workspace", str(workspace.root)],
        capture_output=True, text=True, timeout=120, cwd=workspace.root,
        env={"HOME": str(workspace.root), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)})
    assert told.returncode == 0, told.stderr
    data = json.loads(told.stdout)
    tuned = guid + "_finetuned"
    new = sorted(set(STRANGE) - set(artifacts.load_tokenizer(workspace, guid)))
    assert {"parameters", "tokens", "seconds", "tokens_per_second", "train_loss", "validation_loss"} <= data.keys()
    assert (data["guid"], data["base"], data["steps"], data["new_symbols"]) == (tuned, guid, 6, len(new))
    assert data["trained_parameters"] == data["parameters"] - 8 * 8  # wpe: n_ctx × n_emb
    for sentence in (f"{data['trained_parameters']:,} of them trained", "% of what training all of it takes",
                     "Parameters start from those of tiny; r_learn ", f"The new model is {tuned}",
                     f"{len(new)} new symbols"):
        assert sentence in told.stderr
    assert "\x1b" not in told.stderr and "␛" in told.stderr
    assert {path: digest for path, digest in contents(workspace).items() if path in before} == before
    for kind in ("config", "tokenizer", "model", "report", "completion"):
        assert workspace.path(kind, guid, finetuned=True).is_file()
    assert workspace.last()["last_uuid"] == tuned
    digest = hashlib.sha256(workspace.path("model", guid).read_bytes()).hexdigest()
    for kind in ("config", "report"):
        about = json.loads(workspace.path(kind, tuned).read_text())["babytui_base"]
        assert (about["guid"], about["sha256"], about["freeze"]) == (guid, digest, ["wpe*"])
        assert about["trained_parameters"] == data["trained_parameters"]
    vocab = artifacts.load_tokenizer(workspace, tuned)
    assert vocab == artifacts.load_tokenizer(workspace, guid) + new
    old, now = model(workspace, guid), model(workspace, tuned)
    assert np.array_equal(old["wpe_weight"], now["wpe_weight"])
    assert not np.array_equal(old["wte_weight"], now["wte_weight"][: len(vocab) - len(new)])
    assert babytui.load(tuned, workspace=workspace.root).logits("Élan").shape == (4, len(vocab))


def test_nothing_is_ever_overwritten(nest, known):
    workspace, guid = nest
    tune = {"inputs": [known], "workspace": workspace, "steps": 2}
    first = done(babytui.finetune("tiny", **tune))
    assert first.guid == guid + "_finetuned" and first.name == "tiny-dogs"
    before = contents(workspace)
    second = done(babytui.finetune("tiny", **tune, prompt="The"))
    third = done(babytui.finetune(short(first.guid), **tune))
    assert third.plan["config"]["r_learn"] == second.plan["config"]["r_learn"]  # not lower every time
    for run, base in ((second, guid), (third, first.guid)):
        assert run.guid.endswith("_finetuned") and not run.guid.startswith(guid)
        assert workspace.entry(run.guid).base["guid"] == base and workspace.entry(run.guid).has_model
    assert [second.name, third.name] == ["tiny-dogs-2", "tiny-dogs-dogs"]
    assert {path: digest for path, digest in contents(workspace).items() if path in before} == before


def test_a_run_that_goes_on_has_its_name(nest, known):
    workspace, guid = nest
    run = babytui.finetune("tiny", [known], workspace, steps=10_000_000)
    assert run.guid == guid + "_finetuned"
    assert finetuning.target_guid(workspace, guid) != run.guid
    plan = {**run.plan, "base": {**run.plan["base"], "sha256": "0"}}
    with pytest.raises(RunError, match="has changed"):  # from a folder of its own, of which nothing is left
        runs.begin(workspace, Config.read(plan["config"]), 20, plan, run.guid)
    assert [found.guid for found in runs.all_runs(workspace)] == [run.guid, guid]
    run.command("stop")
    assert run.wait(60) == "stopped"


def test_the_baby_that_ships_stays_in_its_box(command, known):
    before = contents(Workspace(BOX))
    told = command("finetune", "baby", "--input", known, "--steps", "1", "--lora", "2", "--target", "*0_mha_q_weight",
                   "--set", "batch_size=1", "--workspace", "w", "--json")
    assert told.code == 0, told.err
    (entry,) = Workspace("w").entries()
    assert entry.guid == told.data["guid"] == told.data["base"] + "_finetuned" and entry.has_model
    assert entry.name == "baby-dogs" and not entry.problems
    assert contents(Workspace(BOX)) == before
    shown = command("info", short(entry.guid), "--workspace", "w")
    assert "fine-tuned from  baby" in shown.out and "adapters of rank 2 on *0_mha_q_weight" in shown.out
    assert f"adapter_{entry.guid}.safetensors" in shown.out and "loss before" in shown.out
    assert command("list", "--workspace", "w").out.splitlines()[1].startswith(short(entry.guid) + " ")


# --- texts -----------------------------------------------------------------------------------------------------------


def prepared(workspace: Workspace, text: str, tmp_path: Path, **options) -> finetuning.Prepared:
    path = tmp_path / "some.txt"
    path.write_text(text, encoding="utf-8")
    return finetuning.prepare(finetuning.open_base("tiny", workspace), workspace, [path], **options)


def test_texts_with_no_and_with_only_new_symbols(trained, tmp_path):
    workspace = trained[0]
    plain = prepared(workspace, KNOWN, tmp_path)
    assert plain.symbols == [] and not any("knows no" in each for each in plain.warnings())
    assert "has no symbols that tiny does not know" in plain.symbols_sentence()
    alien = prepared(workspace, "αβγδ" * 20, tmp_path, prompt="αβ")
    assert alien.symbols == list("αβγδ") and "knows no symbol of some" in alien.warnings()[0]
    assert prepared(workspace, "αβγδ" * 20 + "The", tmp_path).strange is False


def test_only_new_symbols_train(nest, tmp_path, command):
    workspace, _ = nest
    path = tmp_path / "greek.txt"
    path.write_text("αβγδ" * 20, encoding="utf-8")
    told = command("finetune", "tiny", "--input", path, "--steps", "60", "--set", "r_learn=0.05", "--json",
                   "--workspace", workspace.root)
    assert told.code == 0 and "knows no symbol of greek" in told.err
    assert told.data["new_symbols"] == 4 and told.data["validation_loss"] < 1.3  # of 20 symbols, it has learnt which 4


@pytest.mark.parametrize("historic", [False, True])
def test_words(tmp_path, historic):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("the cat sat on the mat\n" * 12)
    second.write_text("a dog sat on  the cat\n" * 12)
    tiny = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 4, "batch_size": 2, "c_tokenizer": "word"}
    workspace = Workspace(tmp_path / "w")
    base = done(babytui.train(tiny, [first], workspace, steps=1))
    if historic:  # the earlier program kept the words alone
        baby = babytui.load(base.guid, workspace)
        words = [number for number, piece in enumerate(baby.tokenizer.vocab) if not piece.isspace()]
        arrays = model(workspace, base.guid)
        arrays["wte_weight"] = arrays["wte_weight"][words]
        arrays["lm_head_weight"], arrays["lm_head_bias"] = arrays["lm_head_weight"][:, words], None
        artifacts.save_model(workspace, base.guid, arrays)
        path = workspace.path("tokenizer", base.guid)
        path.write_text(json.dumps({"vocab": [baby.tokenizer.vocab[n] for n in words], "vocab_size": len(words)}))
    old = artifacts.load_tokenizer(workspace, base.guid)
    tuned = done(babytui.finetune(base.guid, [second], workspace, steps=2))
    new = ["a", "dog"] if historic else ["  ", "a", "dog"]
    assert artifacts.load_tokenizer(workspace, tuned.guid) == old + new
    baby = babytui.load(tuned.guid, workspace)
    assert baby.tokenizer.separator == (" " if historic else "")
    assert baby.tokenizer.decode(baby.tokenizer.encode("a dog sat")) == "a dog sat"


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the earlier program's sample files are not here")
def test_models_of_the_earlier_program_learn_more(tmp_path, known):
    for folder in ("configs", "models", "tokenizers"):
        shutil.copytree(SEEDS / folder, tmp_path / "w" / folder)
    workspace = Workspace(tmp_path / "w")
    guid = next(entry.guid for entry in workspace.entries() if "moe" in entry.config["c_network"])
    run = done(babytui.finetune(guid, [known], workspace, steps=1, lora=2, target=["*_q_weight"]))
    assert run.guid == guid + "_finetuned" and workspace.entry(run.guid).base["guid"] == guid
    old, now = model(workspace, guid), model(workspace, run.guid)
    tensors = [name for name, value in old.items() if hasattr(value, "shape")]
    changed = {name for name in tensors if not np.array_equal(old[name], now[name])}
    assert changed == {name for name in tensors if name.endswith("_q_weight")}


# --- what may be changed, and what was chosen ------------------------------------------------------------------------


def test_parameters_that_were_not_given(trained, tmp_path):
    workspace = trained[0]
    base = finetuning.open_base("tiny", workspace).config
    full = prepared(workspace, KNOWN, tmp_path)
    assert full.config.r_learn == pytest.approx(base.r_learn * finetuning.RATE, rel=0.05)
    assert full.chosen.keys() == {"r_learn", "n_steps"}
    assert prepared(workspace, KNOWN[:200], tmp_path).config.n_steps == finetuning.FEWEST
    assert full.config.n_steps == pytest.approx(finetuning.EPOCHS * len(KNOWN) * 0.9 / 32, abs=3)  # 4 windows of 8
    assert prepared(workspace, KNOWN * 100, tmp_path).config.n_steps == finetuning.MOST
    lora = prepared(workspace, KNOWN, tmp_path, adaptation=Adaptation(rank=2))
    assert lora.config.r_learn == pytest.approx(base.r_learn * finetuning.LORA_RATE, rel=0.05)
    given = prepared(workspace, KNOWN, tmp_path, changes={"lr": "0.5", "n_epochs": 2, "s_warmup": "none",
                                                          "d_type": "fp64"})
    assert given.chosen == {"n_steps": 0} and given.config.r_learn == 0.5 and given.config.d_type == "fp64"
    assert given.config.values | {"r_learn": 0, "n_steps": 0, "n_epochs": 0, "s_warmup": 0, "d_type": 0} == \
        base.values | {"r_learn": 0, "n_steps": 0, "n_epochs": 0, "s_warmup": 0, "d_type": 0}


def test_the_help_tells_the_defaults_there_are():
    details = actions.find("finetune").details
    assert f"({finetuning.FEWEST} to {finetuning.MOST} steps)" in details and f"{finetuning.EPOCHS} passes" in details
    assert "{" not in details


def test_trained_parameters_and_memory_shrink(trained, tmp_path):
    workspace = trained[0]
    full = prepared(workspace, KNOWN, tmp_path)
    head = prepared(workspace, KNOWN, tmp_path, adaptation=Adaptation(freeze=("block*", "w?e*")))
    lora = prepared(workspace, KNOWN, tmp_path, adaptation=Adaptation(rank=1))
    for part in (head, lora):
        assert part.estimate.trained_parameters < full.estimate.trained_parameters
        assert part.share < 1 and part.full.training_bytes == full.estimate.training_bytes


@pytest.mark.parametrize(("words", "code", "said"), [
    (["--set", "n_emb=16"], 2, "n_emb is part of what tiny is"), (["--set", "n_ctx=4"], 2, "n_ctx is part of"),
    (["--set", "c_tokenizer=word"], 2, "c_tokenizer is part of"), (["--set", "r_temp=2"], 2, "r_temp is part of"),
    (["--set", "r_lern=1"], 2, "did you mean 'r_learn'"), (["--set", "r_learn"], 2, "PARAMETER=VALUE"),
    (["--lora", "9"], 2, "rank 9"), (["--lora", "2", "--target", "*_p_weight"], 2, "*_p_weight"),
    (["--freeze", "wte_wieght"], 2, "wte_weight"), (["--freeze", "*"], 2, "frozen"), (["--target", "*"], 2, "rank"),
    (["--alpha", "2"], 2, "rank"), (["--lora", "0"], 2, "at least 1"), (["--name", "tiny"], 2, "already"),
    (["--prompt", "Ω"], 1, "'Ω'"),
])
def test_what_cannot_be_is_one_sentence(nest, known, command, words, code, said):
    workspace, _ = nest
    before = contents(workspace)
    told = command("finetune", "tiny", "--input", known, *words, "--workspace", workspace.root)
    assert told.code == code and said in told.err and len(told.err.splitlines()) == 1 and not told.out
    assert contents(workspace) == before


def test_what_is_not_there_or_too_short_is_one_sentence(nest, tmp_path, known, command):
    workspace, _ = nest
    short_text = tmp_path / "short.txt"
    short_text.write_text("The")
    for words, code, said in ((["tiny"], 2, "--input"), (["tiny", "--input", short_text], 1, "3 tokens"),
                              (["nobody", "--input", known], 1, "nobody"), (["tiny", "--input", "none"], 1, "'none'"),
                              ([], 2, "GUID")):
        told = command("finetune", *words, "--workspace", workspace.root)
        assert told.code == code and said in told.err and len(told.err.splitlines()) == 1


def test_steps_of_the_form_parse_back():
    line = actions.command_line("finetune", {"guid": "baby", "input": ["a"], "set": {"r_learn": 0.1}, "lora": 4,
                                             "target": ["*_q_weight"], "freeze": ["-x"], "steps": 3})
    assert line == ("babytui finetune --input a --set r_learn=0.1 --steps 3 --freeze=-x --lora 4 "
                    "--target '*_q_weight' baby")


# --- dying and going on ----------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_without_its_base_to_the_same_bytes(nest, strange, tmp_path):
    workspace, guid = nest
    path = workspace.path("model", guid)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "old_table": [[1.5, 2.5]], "babytui_note": {"kept": [1, "x"]}}))
    other = Workspace(tmp_path / "other")
    shutil.copytree(workspace.root, other.root)
    tune = {"inputs": [strange], "steps": 600, "lora": 2, "target": ["*_mha_*_weight", "lm_head_weight"],
            "config": {"c_device_cpu_cores": 1, "r_learn": 0.01}}
    run = babytui.finetune("tiny", workspace=workspace, **tune)
    until(lambda: any(isinstance(event, events.Step) for event in run.events()[0]), "a first step")
    run.command("pause")
    until(lambda: len(saved(run)) > 1, "the checkpoint of the pause")
    assert [(event.reason, event.step > 0) for event in saved(run)] == [("start", False), ("command", True)]
    os.kill(Lock.owner(run.dir / "lock"), signal.SIGKILL)
    until(lambda: not run.alive, "death")
    for file in workspace.entry(guid).files:  # the base is gone
        file.unlink()
    run.resume()
    done(run)
    twin = done(babytui.finetune("tiny", workspace=other, **tune))
    assert twin.guid == run.guid
    for kind in ("model", "tokenizer", "adapter"):
        assert workspace.path(kind, run.guid).read_bytes() == other.path(kind, twin.guid).read_bytes(), kind
    kept = json.loads(workspace.path("model", run.guid).read_text())
    assert kept["old_table"] == [[1.5, 2.5]] and kept["babytui_note"] == {"kept": [1, "x"]}
    assert list(kept) == [*whole, "old_table", "babytui_note"]


def test_a_base_that_has_changed_meanwhile_is_noticed(nest, known):
    workspace, guid = nest
    ready = finetuning.prepare(finetuning.open_base("tiny", workspace), workspace, [known])
    path = workspace.path("model", guid)
    path.write_text(path.read_text() + "\n")
    with pytest.raises(RunError, match="has changed since"):
        finetuning.start(workspace, ready)
    path.unlink()
    with pytest.raises(RunError, match="cannot be read any more"):
        finetuning.start(workspace, ready)
    assert [run.guid for run in runs.all_runs(workspace)] == [guid]


def test_a_configuration_error_names_its_field(trained, tmp_path):
    for options, name in (({"changes": {"n_emb": 4}}, "n_emb"), ({"adaptation": Adaptation(freeze=("x",))}, "freeze"),
                          ({"adaptation": Adaptation(rank=2, target=("x",))}, "target"),
                          ({"adaptation": Adaptation(rank=99)}, "rank"), ({"name": "tiny"}, "name")):
        with pytest.raises(ConfigError) as caught:
            prepared(trained[0], KNOWN, tmp_path, **options)
        assert caught.value.field == name
