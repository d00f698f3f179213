"""The workspace: what is found, under which names, and that nothing leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import FormatError, NotFound, RunError, UsageError
from store import trash
from store.atomic import StoreError, write_json
from store.lock import Lock
from store.names import check_name, split_guid
from store.workspace import Workspace, new_guid, valid_guid

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "aaaabbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"


@pytest.fixture
def ws(tmp_path):
    return Workspace(tmp_path / "w").ensure()


ALL = ("config", "tokenizer", "model", "report")


def put(ws: Workspace, guid: str, *, name: str = "", created: float = 1.0, kinds=ALL):
    contents = {
        "config": {"n_emb": 32, "s_head": "32", "babytui_name": name, "babytui_created": created,
                   "runtime": {"model_params": 1234}},
        "tokenizer": {"vocab": ["a", "b"], "vocab_size": 2}, "model": {"wte_weight": [[1.0], [2.0]]},
        "report": {"n_epochs": 1, "dataset": "tales", "average_train_loss_per_epoch": 1.5,
                   "average_val_loss_per_epoch": 1.75, "babytui_tokens": 99, "batch_logs": ["x"]},
        "completion": {"prompt": None, "generation": "hi"}}
    for kind in kinds:
        write_json(ws.path(kind, guid), contents[kind])


def put_run(ws: Workspace, guid: str, **plan) -> Path:
    folder = ws.run_dir(guid)
    folder.mkdir()
    write_json(folder / "plan.json", {"guid": guid, "name": "", "config": {"n_emb": 64}, "texts": ["in/one.txt", "two"],
                                      "created": 50.0, **plan})
    (folder / "events.jsonl").write_bytes(b"{}\n")
    return folder


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


# --- names -----------------------------------------------------------------------------------------------------------


def test_guids():
    guid = new_guid()
    assert valid_guid(guid) and valid_guid(guid + "_finetuned") and split_guid(guid + "_finetuned") == (guid, True)
    for bad in [guid.upper(), guid + "\n", guid[:-1], f"../{guid}", guid + "_x", "", None, 3,
                guid + "_finetuned_finetuned", guid.replace("-", "٠"), "٠" * 8 + guid[8:], f"{guid}\0"]:
        assert not valid_guid(bad)


@given(st.text())
def test_only_guids_become_paths(text):
    ws = Workspace("/nowhere")
    if not valid_guid(text):
        for call in (lambda: ws.path("model", text), lambda: ws.find("model", text), lambda: ws.run_dir(text),
                     lambda: ws.delete(text), lambda: ws.completions(text), lambda: ws.save_last(text)):
            with pytest.raises(NotFound):
                call()


@pytest.mark.parametrize("stamp", ["", "2026", "../../../etc/x", "20260101000000\n", "٢0260101000000"])
def test_only_stamps_become_paths(ws, stamp):
    with pytest.raises(NotFound):
        ws.path("completion", A, stamp=stamp or "x")
    with pytest.raises(NotFound):
        ws.path("model", A, stamp="20260101000000")


def test_paths(ws):
    assert ws.path("model", A) == ws.root / f"models/model_{A}.json"
    assert ws.path("config", A, finetuned=True) == ws.path("config", A + "_finetuned")
    assert ws.path("completion", A + "_finetuned", stamp="20260102030405").name == (
        f"completion_{A}_finetuned_20260102030405.json")
    assert ws.run_dir(A) == ws.root / "runs" / A and oct(ws.runs.stat().st_mode)[-3:] == "700"


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a\nb", "a\0b", "a\x1b[31m", "a\u202eb", "a\u2028b", "x" * 61, "..",
                                  "-x", "last", "LAST", A, A.upper(), "\ud800"])
def test_names_that_are_refused(name):
    with pytest.raises(UsageError) as caught:
        check_name(name)
    assert str(caught.value).isprintable()


@given(st.text(max_size=70))
def test_an_accepted_name_is_printable_and_stable(text):
    try:
        name = check_name(text)
    except UsageError:
        return
    assert check_name(name) == name and len(name) <= 60 and not set(name) & set("/\\\n\0\x1b")


# --- entries ---------------------------------------------------------------------------------------------------------


def test_entries_newest_first_with_all_that_is_known(ws):
    put(ws, A, name="old one", created=10)
    put(ws, B, created=20, kinds=("config", "tokenizer", "model"))
    put_run(ws, C, name="live")
    live, second, first = ws.entries()
    assert [live.guid, second.guid, first.guid] == [C, B, A]
    assert (first.name, first.parameters, first.validation_loss, first.train_loss, first.tokens, first.dataset) == (
        "old one", 1234, 1.75, 1.5, 99, "tales")
    assert first.config == {"n_emb": 32, "head_size": 32, "s_warmup": "none", "ggl_shuffle": False,
                            "c_convolution": "centred"}
    assert first.has_model and not first.problems
    assert first.report["n_epochs"] == 1 and "batch_logs" not in first.report
    assert first.bytes == sum(p.stat().st_size for p in first.files) and len(first.files) == 4
    assert (live.name, live.dataset, live.created, live.config["n_emb"]) == ("live", "one, two", 50, 64)
    assert not live.has_model
    assert live.parameters is None and live.report is None and len(live.files) == 2 and not live.problems
    assert second.report is None and second.validation_loss is None


def test_a_broken_file_is_named_and_hides_nothing(ws):
    put(ws, A, created=10)
    put(ws, B, created=20)
    for kind in ("config", "report"):
        ws.path(kind, B).write_bytes(b'{"torn": ')
    put_run(ws, C)
    (ws.run_dir(C) / "plan.json").write_bytes(b"[" * 10_000)
    (ws.outputs / "notes.txt").write_text("foreign")
    (ws.outputs / f"report_{C}.json").mkdir()
    entries = {entry.guid: entry for entry in ws.entries()}
    assert not entries[A].problems
    assert [name in " ".join(entries[B].problems) for name in (f"config_{B}.json", f"report_{B}.json")] == [True, True]
    assert len(entries[B].problems) == 2 and entries[B].has_model
    assert "not a regular file" in entries[C].problems[0] and "plan.json" in entries[C].problems[1]


@pytest.mark.parametrize("value", [None, True, "text", [], {}, -1, 1e308, float(2**70), "1e999", [[[]]]])
def test_odd_values_never_raise(ws, value):
    put(ws, A)
    put_run(ws, A, created=value, name=value, texts=value, config=value)
    config = ["n_emb", "s_head", "c_attention", "runtime", "babytui_name", "babytui_created"]
    report = ["n_epochs", "dataset", "average_val_loss_per_epoch", "babytui_tokens", "batch_logs", "babytui_parameters",
              "babytui_validation_loss", "average_train_loss_per_epoch"]
    write_json(ws.path("config", A), dict.fromkeys(config, value))
    write_json(ws.path("report", A), dict.fromkeys(report, value))
    entry, = ws.entries()
    assert entry.has_model and isinstance(entry.name, str) and isinstance(entry.dataset, str)
    assert isinstance(entry.created, float) and (entry.parameters is None or entry.parameters > 0)


def test_a_name_from_a_stranger_is_not_used(ws):
    put(ws, A, name="\x1b]0;owned\x07")
    entry, = ws.entries()
    assert entry.name == "" and "name" in entry.problems[0] and entry.problems[0].isprintable()


def test_files_of_earlier_versions(ws):
    put(ws, A, kinds=("tokenizer",))
    (ws.models / f"model_{A}.weights").write_bytes(b'{"wte_weight": [1.0]}')
    (ws.root / "config").mkdir()
    write_json(ws.root / "config" / f"config_{A}.json", {"lr": 0.1})
    (ws.models / f"{B}.weights").write_bytes(b'{"wte_weight": [1.0]}')
    (ws.models / f"model_{C}_all.pkl").write_bytes(b"\x80\x04N.")
    entries = {entry.guid: entry for entry in ws.entries()}
    assert entries[A].has_model and entries[A].config["r_learn"] == 0.1 and not entries[A].problems
    assert entries[B].has_model and ws.find("model", B).name == f"{B}.weights"
    assert ws.find("model", A).suffix == ".weights" and ws.find("config", A).parent.name == "config"
    assert not entries[C].has_model and "never read" in entries[C].problems[0]
    with pytest.raises(FormatError, match="pickle"):
        ws.find("model", C)


def test_an_empty_or_missing_workspace(tmp_path):
    ws = Workspace(tmp_path / "none")
    assert ws.entries() == [] and ws.texts() == [] and ws.current() == {} and ws.plan(A) == {}
    assert ws.last() == {"last_uuid": None, "last_prompt": None}
    with pytest.raises(NotFound, match="train one first"):
        ws.resolve("last")
    assert not ws.root.exists()
    with pytest.raises(UsageError):
        Workspace("a\0b")


# --- references ------------------------------------------------------------------------------------------------------


def test_resolve(ws):
    put(ws, A, name="Anna", created=10)
    put(ws, A + "_finetuned", name="Anna two", created=30)
    put(ws, B, name="cc", created=20)
    put(ws, C, created=5)
    assert {ws.resolve(ref) for ref in (A, A.upper(), "Anna", "anna", "aaaaa")} == {A}
    assert ws.resolve(A + "_finetuned") == ws.resolve("aaaaa_finetuned") == ws.resolve("Anna two") == A + "_finetuned"
    assert ws.resolve("cc") == B and ws.resolve("ccc") == C and ws.resolve(" ccc ") == C
    assert ws.resolve("last") == A + "_finetuned"
    ws.save_last(B)
    assert ws.resolve("last") == B
    with pytest.raises(NotFound, match=r"'aaaa' fits 3 models: .*\(cc\).*give more"):
        ws.resolve("aaaa")
    with pytest.raises(NotFound, match="did you mean Anna"):
        ws.resolve("Annna")
    for nothing in ["", "zzz", "../x", "\0", "_finetuned", "%s{}", "\x1b[31m"]:
        with pytest.raises(NotFound) as caught:
            ws.resolve(nothing)
        assert str(caught.value).isprintable()


def test_last_falls_back_to_the_newest_model(ws):
    put(ws, A, created=10)
    put_run(ws, C)
    ws.save_last(B)
    assert ws.resolve("last") == A
    (ws.settings / "last.json").write_bytes(b"{broken")
    assert ws.resolve("last") == A


def test_at_most_five_are_listed(ws):
    for i in range(7):
        put(ws, f"dddd000{i}-0000-4000-8000-000000000000", kinds=("model",))
    with pytest.raises(NotFound) as caught:
        ws.resolve("d")
    assert str(caught.value).count("dddd") == 5 and "7 models" in str(caught.value)


def test_rename(ws):
    put(ws, A)
    put(ws, B, name="taken")
    put_run(ws, C)
    ws.rename(A, " Ännchen ")
    assert ws.resolve("Ännchen") == A
    ws.rename(C, "live")
    assert ws.resolve("live") == C and ws.plan(C)["texts"]
    with pytest.raises(UsageError, match="already the name"):
        ws.rename(A, "Taken")
    with pytest.raises(UsageError):
        ws.rename(A, "../x")
    with pytest.raises(NotFound):
        ws.rename("eeeeeeee-0000-4000-8000-000000000000", "x")
    ws.rename(A, "")
    assert {e.name for e in ws.entries()} == {"", "taken", "live"}


# --- deleting --------------------------------------------------------------------------------------------------------


def test_delete_and_undelete(ws):
    put(ws, A, kinds=("config", "tokenizer", "model", "report", "completion"))
    write_json(ws.path("completion", A, stamp="20260101000000"), {"generation": "x"})
    put(ws, B)
    folder = put_run(ws, A)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "1.safetensors").write_bytes(b"1")
    before = tree(ws.root)
    deleted = ws.delete(A)
    assert deleted.guid == A and len(deleted.files) == 9 and deleted.bytes == sum(
        len(data) for path, data in before.items() if A in path)
    assert [e.guid for e in ws.entries()] == [B] and not folder.exists()
    assert {p for p in tree(ws.root) if not p.startswith(".trash")} == {p for p in before if A not in p}
    assert oct(ws.trash.stat().st_mode)[-3:] == "700"
    ws.undelete(deleted)
    after = tree(ws.root)
    after.pop(f"runs/{A}/lock")
    after.pop(".trash/lock")
    after.pop(".trash/reserve")
    assert after == before and not trash.items(ws.root)
    with pytest.raises(NotFound, match="is gone"):
        ws.undelete(deleted)
    with pytest.raises(NotFound):
        ws.delete(C)


def test_two_deletions_within_a_second(ws):
    put(ws, A, kinds=("model",))
    first = ws.delete(A)
    put(ws, A, kinds=("model",))
    second = ws.delete(A)
    assert first.trash != second.trash
    ws.undelete(second)
    with pytest.raises(StoreError, match="already exists"):
        ws.undelete(first)
    assert ws.entry(A).has_model and first.trash.exists()


def test_a_live_run_is_not_deleted(ws):
    put(ws, A)
    lock = Lock(put_run(ws, A) / "lock")
    assert lock.acquire()
    before = tree(ws.root)
    with pytest.raises(RunError, match="still training"):
        ws.delete(A)
    after = tree(ws.root)
    after.pop(".trash/lock")
    after.pop(".trash/reserve")
    assert after == before
    lock.release()
    ws.delete(A)


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_failing_delete_moves_nothing(ws, monkeypatch, nth):
    put(ws, A)
    put_run(ws, A)
    (ws.run_dir(A) / "lock").touch()
    before, real, count = {**tree(ws.root)}, os.rename, 0

    def rename(*args):
        nonlocal count
        count += 1
        if count == nth:
            raise PermissionError(13, "Permission denied")
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="permission"):
        patch.setattr(os, "rename", rename)
        ws.delete(A)
    after = tree(ws.root)
    after[f"runs/{A}/lock"] = before[f"runs/{A}/lock"]
    after.pop(".trash/lock")
    after.pop(".trash/reserve")
    assert after == before and not trash.items(ws.root)


def test_a_base_and_its_finetuned_are_two(ws):
    put(ws, A)
    put(ws, A + "_finetuned", kinds=("tokenizer", "model"))
    assert ws.entry(A + "_finetuned").config["n_emb"] == 32
    ws.delete(A)
    entry = ws.entry(A)
    assert entry.guid == A + "_finetuned" and entry.config["n_emb"] == 32 and not entry.problems


# --- links -----------------------------------------------------------------------------------------------------------


def test_links_out_of_the_workspace_are_not_followed(ws, tmp_path):
    secret = tmp_path / "secret.json"
    write_json(secret, {"n_emb": 99, "babytui_name": "secret"})
    put(ws, A, kinds=("tokenizer",))
    ws.path("config", B).symlink_to(secret)
    (ws.models / f"model_{A}.json").symlink_to(secret)
    (ws.inputs / "s.txt").symlink_to(secret)
    (ws.inputs / "a.txt").write_text("a")
    (ws.settings / "last.json").symlink_to(secret)
    entries = {entry.guid: entry for entry in ws.entries()}
    assert not entries[A].has_model and "link" in entries[A].problems[0]
    assert "n_emb" not in entries[B].config and entries[B].name == ""
    for call in (lambda: ws.path("config", B), lambda: ws.find("model", A), ws.last, lambda: ws.save_last(A)):
        with pytest.raises(FormatError, match="leads out of the workspace"):
            call()
    assert [p.name for p in ws.texts()] == ["a.txt"]
    before = secret.read_bytes()
    ws.delete(A)
    assert secret.read_bytes() == before and not os.path.lexists(ws.models / f"model_{A}.json")


def test_a_folder_that_is_a_link(ws, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    ws.models.rmdir()
    ws.models.symlink_to(outside)
    (outside / f"model_{A}.json").write_bytes(b"{}")
    assert ws.entries() == []
    with pytest.raises(FormatError, match="leads out"):
        ws.path("model", A)
    inner = ws.root / "big"
    inner.mkdir()
    ws.models.unlink()
    ws.models.symlink_to(inner)  # within the workspace it may be one
    assert ws.path("model", A) == ws.models / f"model_{A}.json"


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [{"last_uuid": "None", "last_prompt": "None"}, {},
                                 {"last_uuid": None, "last_prompt": 3}, {"last_uuid": "../../x", "last_prompt": ""}])
def test_last_survives_the_nones_of_the_earlier_program(ws, raw):
    write_json(ws.settings / "last.json", raw)
    assert (ws.last()["last_uuid"], ws.last()["last_prompt"]) == (None, None)


def test_last_round_trip_and_older_places(ws):
    write_json(ws.configs / "last.json", {"last_uuid": A.upper(), "last_prompt": "To Be", "max_tokens": "500"})
    assert ws.last() == {"last_uuid": A, "last_prompt": "To Be", "max_tokens": "500"}
    ws.save_last(B, "ROMEO:")
    assert ws.last() == {"last_uuid": B, "last_prompt": "ROMEO:", "max_tokens": "500"}
    ws.save_last(B)
    assert ws.last()["last_prompt"] is None and b'"last_prompt": ""' in (ws.settings / "last.json").read_bytes()


def test_current(ws):
    write_json(ws.configs / "current.json", {"dropout": "0.5", "s_head": 8, "mystery": [1]})
    assert ws.current() == {"r_dropout": 0.5, "head_size": 8, "s_warmup": "none"}  # no weights yet
    ws.save_current({"head_size": 16, "c_device_cpu_cores": 0})
    saved = (ws.settings / "current.json").read_bytes()
    assert b'"s_head": 16' in saved and b"mystery" in saved and b'"c_device_cpu_cores": "4096"' in saved
    assert ws.current() == {"head_size": 16, "c_device_cpu_cores": 0}
    (ws.settings / "current.json").write_bytes(b'{"n_emb": "wide"}')
    with pytest.raises(FormatError, match=r"settings/current\.json: n_emb must be"):
        ws.current()


def test_listing_and_deleting_import_no_arrays(tmp_path):
    code = ("import sys; from store.workspace import Workspace; from store import journal, lock, artifacts; "
            "ws = Workspace(sys.argv[1]).ensure(); ws.entries(); ws.last(); ws.current(); "
            "bad = {'numpy', 'textual', 'safetensors'} & set(sys.modules); assert not bad, bad")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
