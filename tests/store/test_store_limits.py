"""What a file may not be, hold or announce: sizes, kinds and counts that are known before memory is taken."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from historic import GUID, OTHER, newest, put, weights

from engine.errors import FormatError, NotFound, RunError
from store import artifacts, checkpoint, model_file, plans, reading, reports
from store.names import check_name, file_name
from store.workspace import Workspace


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("/dev/tty")]
)
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    path = tmp_path / "a.json"
    make(path)
    for read in (
        lambda: reading.read_json(path, 100),
        lambda: model_file.read_model(path),
        lambda: checkpoint.read(path),
        lambda: reports.read(path),
        lambda: plans.read(path),
    ):
        with pytest.raises((FormatError, RunError)):
            read()


def test_names_that_no_file_can_have(tmp_path):
    for name in ("a\0b", "\0"):
        with pytest.raises(NotFound):
            reading.read_json(tmp_path / name, 100)


def test_links_are_followed_only_where_they_may_be(tmp_path):
    (tmp_path / "real").write_text('{"a": 1}')
    (tmp_path / "link").symlink_to("real")
    assert reading.read_json(tmp_path / "link", 100) == {"a": 1}
    with pytest.raises(RunError):
        reading.read_json(tmp_path / "link", 100, follow=False)


def test_a_checkpoint_is_no_larger_than_the_machine(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"a": np.zeros(5000)}, {})
    monkeypatch.setattr(checkpoint, "memory", lambda: 20_000)
    with pytest.raises(FormatError, match=r"20,000"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "value", ["[[]," * 300_000 + "3" + "]" * 1, "[" + '"a",' * 700_000 + '"a"]', '"' + "x" * (3 << 20) + '"']
)
def test_what_is_no_tensor_is_small(tmp_path, value):
    """A list costs twenty times its text."""
    path = tmp_path / "model.json"
    path.write_text('{"notes": ' + value + "}")
    with pytest.raises(FormatError, match="notes"):
        model_file.read_model(path)


def test_so_are_many_of_them_together(tmp_path):
    path = tmp_path / "model.json"
    some = json.dumps(["a"] * 100_000)
    path.write_text("{" + ", ".join(f'"notes_{i}": {some}' for i in range(3)) + "}")
    assert len(model_file.read_model(path)) == 3
    path.write_text("{" + ", ".join(f'"notes_{i}": {some}' for i in range(6)) + "}")
    with pytest.raises(FormatError, match=r"notes_\d"):
        model_file.read_model(path)
    grids = json.dumps([[1.5] * 100] * 1000)  # numbers are no such thing: they become an array
    path.write_text("{" + ", ".join(f'"grid_{i}": {grids}' for i in range(6)) + "}")
    assert all(value.shape == (1000, 100) for value in model_file.read_model(path).values())


@pytest.mark.parametrize(
    "symbols", [["x" * (1 << 18 | 1)], ["a", "a"], ["a", 3], ["a", ""], ["a", None], [["a"]], "abc", {"a": 1}, []]
)
def test_vocabularies(tmp_path, symbols):
    ws = put(tmp_path / "w", newest("mha", "mlp"), weights("mha", "mlp"))
    ws.find("tokenizer", GUID).write_text(json.dumps({"vocab": symbols}))
    with pytest.raises(FormatError):
        artifacts.load_vocabulary(ws, GUID)


def test_a_report_is_of_its_types_or_says_nothing(tmp_path):
    wrong = {
        "n_epochs": "3",
        "dataset": ["x"],
        "total_time": "soon",
        "train_cache": 1,
        "batch_logs": "abc",
        "epoch_logs": [1, "b"],
        "babytui_steps": 1.5,
        "babytui_parameters": True,
        "babytui_curve": [[1, 2], [1, "x", None], ["y", 1, 1], 3, [2, 1.5, 1]],
        "babytui_validation_loss": [],
        "mine": {"kept": ["as", 1, "is"]},
        "average_val_loss_per_epoch": 1e301,
    }
    found = reports.normal(wrong)
    assert {key: found[key] for key in wrong} == {
        "n_epochs": None,
        "dataset": None,
        "total_time": None,
        "train_cache": None,
        "batch_logs": [],
        "epoch_logs": ["b"],
        "babytui_steps": None,
        "babytui_parameters": None,
        "babytui_curve": [[1, None, None], [2, 1.5, 1.0]],
        "babytui_validation_loss": None,
        "mine": {"kept": ["as", 1, "is"]},
        "average_val_loss_per_epoch": None,
    }
    good = {
        "n_epochs": 3,
        "dataset": "x",
        "total_time": 1.5,
        "train_cache": False,
        "babytui_steps": 9,
        "babytui_curve": [[1, None, 2.5]],
    }
    assert {key: reports.normal(good)[key] for key in good} == good


def test_completions_have_numbers_where_numbers_belong(tmp_path):
    ws = put(tmp_path / "w", newest("mha", "mlp"), weights("mha", "mlp"))
    ws.outputs.mkdir()
    ws.path("completion", GUID).write_text(
        json.dumps(
            {
                "generation": "abc",
                "inference_max_tokens": "many",
                "inference_total_time": [],
                "inference_cache": 0,
                "evaluation": "good",
            }
        )
    )
    found = artifacts.load_completion(ws, GUID)
    assert (found["inference_max_tokens"], found["inference_total_time"], found["evaluation"]) == (None, 0.0, "good")


@pytest.mark.parametrize("created", [1e300, -1, "soon", None, [], True, 253402214400])
def test_times_that_no_calendar_has(tmp_path, created):
    ws = put(tmp_path / "w", {**newest("mha", "mlp"), "babytui_created": created}, weights("mha", "mlp"))
    (entry,) = ws.entries()
    assert 0 < entry.created < 5e9  # that of its oldest file


@pytest.mark.parametrize(
    "reference",
    [
        "../x",
        "/etc/passwd",
        "a/b",
        "..",
        "a\0b",
        GUID + "/..",
        GUID.upper(),
        GUID + "\n",
        GUID + "_finetuned_finetuned",
        "０" * 8 + GUID[8:],
        "",
        None,
        3,
    ],
)
def test_nothing_but_a_guid_becomes_a_path(tmp_path, reference):
    ws = Workspace(tmp_path)
    for make in (
        lambda: ws.path("model", reference),
        lambda: ws.run_dir(reference),
        lambda: file_name("config", reference),
    ):
        with pytest.raises(NotFound):
            make()


@pytest.mark.parametrize("stamp", ["2026112222000", "../../../../a", "20261122220000/", "２０２６１１２２２２００００"])
def test_nothing_but_a_time_becomes_a_stamp(tmp_path, stamp):
    with pytest.raises(NotFound):
        Workspace(tmp_path).path("completion", OTHER, stamp=stamp)


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "..",
        ".hidden",
        "-rf",
        "a\0b",
        "a\nb",
        "a\x1b[2J",
        "\u202eabc",
        "a\u2028b",
        "x" * 61,
        "last",
        GUID,
        "\ud800",
        "\x9b31m",
        "a\\b",
    ],
)
def test_names_that_a_stranger_gave_are_not_used(tmp_path, name):
    from engine.errors import UsageError

    with pytest.raises(UsageError):
        check_name(name)
