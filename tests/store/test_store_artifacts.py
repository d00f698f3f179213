"""The five artifacts under their names and keys, and that what is not ours is kept."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from engine.config import Config
from engine.errors import FormatError, NotFound
from store import artifacts, reports
from store.atomic import write_json
from store.workspace import Workspace

A = "aaaaaaaa-0000-4000-8000-000000000001"


@pytest.fixture
def ws(tmp_path):
    return Workspace(tmp_path)


def raw(ws, kind, **more):
    return json.loads(ws.path(kind, A, **more).read_text())


# --- config ----------------------------------------------------------------------------------------------------------


def test_config_is_readable_by_both(ws):
    values = {**Config.read().values, "c_device_cpu_cores": 0, "c_device_gpu_tensor": True, "s_warmup": 100.0}
    artifacts.save_config(ws, A, values, {"model_params": 12, "device_name": "cpu"})
    found = raw(ws, "config")
    assert (found["s_head"], found["s_batch"]) == (128, 12)
    assert (found["c_optimizer"], found["c_device_gpu_cuda"]) == ("adamw", "auto")
    assert (found["c_device_cpu_cores"], found["c_device_gpu_core"], found["c_device_gpu_tensor"]) == ("4096", "0", "1")
    assert found["runtime"] == {"model_params": 12, "device_name": "cpu"} and found["s_warmup"] == 100
    assert found["babytui_format"] == 1 and found["babytui_name"] == "" and found["babytui_created"] > 1e9
    assert artifacts.load_config(ws, A).values == {**values}
    assert ws.entry(A).config == values


def test_config_rewritten_keeps_name_date_and_strangers(ws):
    ws.ensure()
    write_json(ws.path("config", A), {"lr": 0.5, "s_head": 4, "their_key": {"a": 1}, "babytui_name": "Anna",
                                      "babytui_created": 5.0, "runtime": {"library_version": "1"}})
    artifacts.save_config(ws, A, {"r_learn": 0.25, "head_size": 8, "babytui_name": "stale"}, {"model_params": 3})
    found = raw(ws, "config")
    assert found["their_key"] == {"a": 1} and found["babytui_name"] == "Anna" and found["babytui_created"] == 5.0
    assert found["runtime"] == {"library_version": "1", "model_params": 3} and "lr" not in found
    config = artifacts.load_config(ws, A)
    assert config.r_learn == 0.25 and config.head_size == 8 and config.extra["their_key"] == {"a": 1}


def test_a_run_renamed_while_it_trained_keeps_the_new_name(ws):
    ws.ensure()
    ws.run_dir(A).mkdir()
    write_json(ws.run_dir(A) / "plan.json", {"name": "first", "created": 7})
    ws.rename(A, "second")
    artifacts.save_config(ws, A, {"n_emb": 8, "babytui_name": "first"})
    assert ws.entry(A).name == "second" and raw(ws, "config")["babytui_created"] == 7


@pytest.mark.parametrize("old", [
    {"n_ctx": 32, "dropout": "0.1", "head_size": "32", "n_heads": 4, "num_epochs": 2, "batch_size": "8", "lr": "0.003"},
    {"n_ctx": "32", "r_dropout": 0.1, "s_head": 32, "n_heads": 4.0, "n_epochs": 2, "s_batch": 8, "r_learn": 0.003,
     "c_device_cpu_cores": "16", "c_device_gpu_tensor": "0", "c_optimizer": "adamw", "s_warmup": "none"},
    {"n_ctx": 32, "dropout": 0.1, "s_head": 32, "head_size": 32, "n_heads": 4, "n_epochs": 2, "num_epochs": 2,
     "s_batch": 8, "r_learn": 0.003, "runtime": {"model_params": 1}},
])
def test_configs_of_every_generation(ws, old):
    ws.ensure()
    write_json(ws.path("config", A), old)
    config = artifacts.load_config(ws, A)
    assert (config.n_ctx, config.r_dropout, config.head_size, config.n_epochs, config.batch_size, config.r_learn) == (
        32, 0.1, 32, 2, 8, 0.003)
    assert (config.c_device, config.c_tokenizer, config.c_sequence, config.d_type, config.r_temp, config.r_split,
            config.s_warmup, config.c_shuffle) == ("cpu", "char", "pre", "fp32", 1.0, 0.9, "none", False)


@pytest.mark.parametrize(("text", "word"), [
    ('{"n_emb": "wide"}', "n_emb must"), ('{"s_head": 4, "head_size": 8}', "differ"), ("[]", "object"), ("{", "JSON"),
    ('{"c_attention": "zzz"}', "c_attention"), ("[" * 99, "levels"), ('{"n_emb": [[[[[[[[[[1]]]]]]]]]]}', "levels")])
def test_a_bad_config_is_one_sentence(ws, text, word):
    ws.ensure()
    ws.path("config", A).write_text(text)
    with pytest.raises(FormatError) as caught:
        artifacts.load_config(ws, A)
    assert word in str(caught.value) and f"config_{A}.json" in str(caught.value)


def test_a_huge_config_is_not_read(ws):
    ws.ensure()
    ws.path("config", A).write_bytes(b" " * (2 << 20))
    with pytest.raises(FormatError, match="more than the"):
        artifacts.load_config(ws, A)


def test_a_finetuned_model_without_config_has_its_bases(ws):
    artifacts.save_config(ws, A, {"n_emb": 24})
    assert artifacts.load_config(ws, A + "_finetuned").n_emb == 24
    with pytest.raises(NotFound, match="no config"):
        artifacts.load_config(ws, "b" + A[1:] + "_finetuned")


# --- tokenizer -------------------------------------------------------------------------------------------------------


def test_tokenizer(ws):
    vocab = ["\n", " ", "a", "é", "你", "\x1b"]
    artifacts.save_tokenizer(ws, A, "char", vocab)
    assert raw(ws, "tokenizer") == {"vocab": vocab, "vocab_size": 6, "babytui_kind": "char"}
    assert artifacts.load_tokenizer(ws, A) == vocab and artifacts.load_vocabulary(ws, A) == (vocab, "char")
    write_json(ws.path("tokenizer", A), {"vocab": ["to", "be"], "vocab_size": 99, "theirs": 1})
    assert artifacts.load_vocabulary(ws, A) == (["to", "be"], None)
    artifacts.save_tokenizer(ws, A, "word", ["or", "not"])
    assert raw(ws, "tokenizer") == {"vocab": ["or", "not"], "vocab_size": 2, "theirs": 1, "babytui_kind": "word"}


@pytest.mark.parametrize(("vocab", "word"), [
    ([], "at least one"), ("abc", "list"), (None, "list"), (["a", "a"], "twice, at 0 and 1"), (["a", 1], "entry 1"),
    (["a", None], "entry 1"), (["a", ""], "entry 1"), (["a", ["b"]], "entry 1"), ([{}], "entry 0")])
def test_a_bad_vocabulary_is_one_sentence(ws, vocab, word):
    ws.ensure()
    write_json(ws.path("tokenizer", A), {"vocab": vocab})
    with pytest.raises(FormatError) as caught:
        artifacts.load_tokenizer(ws, A)
    assert word in str(caught.value) and f"tokenizer_{A}.json" in str(caught.value)
    with pytest.raises(FormatError):
        artifacts.save_tokenizer(ws, A, "char", ["ab"])


# --- model -----------------------------------------------------------------------------------------------------------


def test_model(ws):
    arrays = {"wte_weight": np.ones((2, 3), np.float32), "block_0_moe_n_experts": 4, "lm_head_bias": None}
    artifacts.save_model(ws, A, arrays)
    back = artifacts.load_model(ws, A)
    assert list(back) == list(arrays) and np.array_equal(back["wte_weight"], arrays["wte_weight"])
    assert artifacts.load_model(ws, A, dtype="float64")["wte_weight"].dtype == np.float64
    assert artifacts.load_shapes(ws, A) == {"wte_weight": (2, 3), "block_0_moe_n_experts": (), "lm_head_bias": None}
    ws.path("model", A).unlink()
    with pytest.raises(NotFound, match="no model"):
        artifacts.load_model(ws, A)


# --- reports ---------------------------------------------------------------------------------------------------------

FIRST = {"num_epochs": 2, "train_batches_per_epoch": 5, "val_batches_per_epoch": 1, "average_train_loss_per_epoch": 1.5,
         "average_val_loss_per_epoch": 1.75, "average_time_per_epoch": 2.0, "batch_logs": ["b"], "epoch_logs": ["e"],
         "total_time": 4.0}
SECOND = {**FIRST, "train_cache": True}
THIRD = {"n_epochs": 2, "dataset": "sophocles", "avg_train_time_per_batch": 0.1, "train_batches_per_epoch": 5,
         "avg_val_time_per_batch": 0.1, "val_batches_per_epoch": 1, "average_train_loss_per_epoch": 1.5,
         "average_val_loss_per_epoch": 1.75, "average_time_per_epoch": 2.0, "total_time": 4.0, "train_cache": True,
         "batch_logs": ["b"], "epoch_logs": ["e"]}


@pytest.mark.parametrize("report", [FIRST, SECOND, THIRD])
def test_three_generations_have_one_form(ws, report):
    ws.ensure()
    write_json(ws.path("report", A), {**report, "evaluation": 43})
    found = artifacts.load_report(ws, A)
    assert list(found)[:13] == list(THIRD) and found["n_epochs"] == 2 and found["total_time"] == 4.0
    assert found["evaluation"] == 43 and found["dataset"] == report.get("dataset") and "num_epochs" not in found
    entry = ws.entry(A)
    assert (entry.train_loss, entry.validation_loss) == (1.5, 1.75)


def test_our_report_has_their_keys_in_their_order(ws):
    artifacts.save_report(ws, A, {
        "babytui_curve": [[i, 2.0, None] for i in range(5000)], "babytui_parameters": 10, "zzz": 1, "n_epochs": 3,
        "batch_logs": [f"line {i}" for i in range(100_000)], "dataset": "tales", "babytui_validation_loss": 1.25,
        "average_val_loss_per_epoch": 1.5})
    found = raw(ws, "report")
    assert list(found) == [*THIRD, "babytui_parameters", "babytui_validation_loss", "babytui_curve", "zzz"]
    logs = found["batch_logs"]
    assert len(logs) == 200 and (logs[0], logs[-1]) == ("line 0", "line 99999")
    assert len(found["babytui_curve"]) == 1000 and found["babytui_curve"][-1] == [4999, 2.0, None]
    assert found["average_train_loss_per_epoch"] is None and found["train_cache"] is False
    assert ws.entry(A).validation_loss == 1.25 and ws.entry(A).parameters == 10
    assert ws.path("report", A).stat().st_size < 100_000


def test_a_rewritten_report_keeps_what_was_added(ws):
    artifacts.save_report(ws, A, {"n_epochs": 1, "total_time": 9.0})
    write_json(ws.path("report", A), {**raw(ws, "report"), "evaluation": 30.5})
    artifacts.save_report(ws, A, {"n_epochs": 2})
    assert raw(ws, "report")["evaluation"] == 30.5 and raw(ws, "report")["total_time"] == 0.0


@pytest.mark.parametrize("report", [FIRST, THIRD])
def test_of_a_huge_report_only_the_ends_are_read(ws, report, monkeypatch):
    ws.ensure()
    huge = {**report, "batch_logs": [f"Epoch 1/1 | Batch {i}/20000 | train_loss = 1.0000" for i in range(20_000)]}
    write_json(ws.path("report", A), huge)
    entry = ws.entry(A)
    assert (entry.train_loss, entry.validation_loss, entry.report["total_time"]) == (1.5, 1.75, 4.0)
    assert entry.problems == ["It has no model; these files are what is left of one."]
    assert len(artifacts.load_report(ws, A)["batch_logs"]) == 20_000
    write_json(ws.path("report", A), {"x": "y" * 300_000})
    assert "is not a report" in ws.entry(A).problems[0]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 11, 1000])
def test_thinning_keeps_both_ends_evenly(count):
    items = list(range(count))
    thinned = reports.thin(items, 10)
    assert len(thinned) == min(count, 10) and thinned == sorted(set(thinned))
    if count:
        assert thinned[0] == 0 and thinned[-1] == count - 1
        gaps = {b - a for a, b in pairwise(thinned)}
        assert not gaps or max(gaps) - min(gaps) <= 1


# --- completions -----------------------------------------------------------------------------------------------------


def test_completions(ws):
    base = {"generation": "To be", "prompt": "To", "inference_total_time": 0.5, "receipt": {"seed": 1}}
    path = artifacts.save_completion(ws, A, base)
    assert path.name == f"completion_{A}.json"
    assert list(raw(ws, "completion")) == ["prompt", "generation", "inference_max_tokens", "inference_total_time",
                                          "inference_cache", "receipt"]
    write_json(path, {**raw(ws, "completion"), "evaluation": 43})
    artifacts.save_completion(ws, A, {**base, "generation": "To see"})
    assert artifacts.load_completion(ws, A)["evaluation"] == 43
    stamped = [artifacts.save_completion(ws, A, {**base, "generation": str(i)}, stamped=True) for i in range(3)]
    assert len(set(stamped)) == 3  # within one second
    found = artifacts.load_completions(ws, A)
    assert [c.data["generation"] for c in found] == ["To see", "0", "1", "2"] and found[0].stamp is None
    assert artifacts.load_completion(ws, A, found[1].stamp)["generation"] == "0"
    stamped[1].write_text("{")
    assert len(artifacts.load_completions(ws, A)) == 3
    assert artifacts.load_completions(ws, A + "_finetuned") == []
    with pytest.raises(FormatError, match="JSON"):
        artifacts.load_completion(ws, A, found[2].stamp)
    path.write_text('{"generation": 3}')
    with pytest.raises(FormatError, match="generation must be text"):
        artifacts.load_completion(ws, A)


def test_what_the_earlier_program_means_by_a_missing_key():
    from store.configs import import_config

    old, ours = import_config({"c_network": "ggl"}, "config"), import_config({"babytui_format": 1}, "config")
    new = import_config({"c_network": "ggl"}, "current", trained=False)
    assert (old.s_warmup, old.ggl_shuffle, old.c_convolution) == ("none", False, "centred")
    assert (new.s_warmup, new.ggl_shuffle, new.c_convolution) == ("none", True, "causal")
    assert (ours.s_warmup, ours.ggl_shuffle, ours.c_convolution) == ("auto", True, "causal")
    assert (ours.c_init, ours.c_momentum) == ("normal", "plain"), "before there were such parameters"
    zero = import_config({"r_temp": "0"}, "config")
    assert zero.r_temp == 1e-6, "there, the temperature has a floor"
