"""compare, export, import, rename, annotate: what they print, refuse and leave."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest

from babytui import comparison
from babytui.library import load
from store.workspace import Workspace


@pytest.fixture
def pair(trained, tmp_path, command):
    """A workspace with "tiny" and a copy of it called "other", which has another GUID and a changed config."""
    workspace, run = trained
    ws = Workspace(shutil.copytree(workspace.root, tmp_path / "pair"))
    shutil.rmtree(ws.trash, ignore_errors=True)
    assert command("export", run.guid, "--to", tmp_path / "t.zip", "--workspace", ws.root).code == 0
    done = command("import", tmp_path / "t.zip", "--json", "--workspace", ws.root)
    other = done.data[0]["guid"]
    path = ws.path("config", other)
    path.write_text(json.dumps({**json.loads(path.read_text()), "babytui_name": "other", "r_learn": 0.5,
                                "c_device_cpu_cores": "3"}))
    return ws, run.guid, other


def test_compare_shows_only_what_differs(command, pair):
    ws, guid, other = pair
    where = ["--workspace", ws.root]
    done = command("compare", "tiny", "other", *where)
    assert done.code == 0 and done.err == ""
    lines = {line.split()[0]: line.split()[1:] for line in done.out.splitlines() if line.strip()}
    assert lines["r_learn"] == ["0.004", "0.5"] and "n_emb" not in lines
    assert lines["GUID"] == [guid[:8], other[:8]] and lines["steps"] == ["30", "30"]
    assert done.out.index("r_learn") < done.out.index("c_device_cpu_cores")  # what changes nothing comes last
    assert "n_emb" in command("compare", "tiny", "other", "--all", *where).out
    data = command("compare", "tiny", "other", "baby", "--json", *where).data
    assert data["differences"]["r_learn"][:2] == [0.004, 0.5] and len(data["models"]) == 3
    report = json.loads(ws.path("report", guid).read_text())
    curve = [point for point in report["babytui_curve"] if point[2] is not None]
    first = data["models"][0]
    assert first["final_validation_loss"] == curve[-1][2] and first["steps"] == 30
    assert first["best_validation_loss"] == min(point[2] for point in curve)
    assert {"guid", "name", "parameters", "validation_loss", "dataset", "created", "bytes", "config"} <= first.keys()


def test_compare_writes_from_the_same_seed(command, pair):
    ws, guid, other = pair
    where = ["--workspace", ws.root]
    words = ["compare", guid, other, "baby", "--prompt", "The cat", "--tokens", "25", "--seed", "7", *where]
    data = command(*words, "--json").data
    replies = data["replies"]
    alone = load(guid, ws).generate("The cat", 25, seed=7, temperature=0.8)
    "".join(alone)
    assert replies[0]["generation"] == replies[1]["generation"] == alone.text and replies[0]["tokens"] == 25
    shown = command(*words)
    assert replies[2]["generation"] in shown.out and "Seed 7" in shown.err
    texts = [reply["generation"][len("The cat"):] for reply in replies]
    together = next(n for n, (a, b) in enumerate(zip(texts[0], texts[2], strict=False)) if a != b)
    assert data["first_difference"] == together and f"number {together + 1}" in shown.err
    same = command("compare", guid, other, "--prompt", "The", "--tokens", "9", "--seed", "1", *where)
    assert "they write the same" in same.err


def test_one_that_cannot_write_does_not_keep_the_others(command, pair):
    ws, guid, other = pair
    done = command("compare", guid, other, "--prompt", "{", "--json", "--workspace", ws.root)
    assert done.code == 1 and all("error" in reply for reply in done.data["replies"])
    ws.path("model", other).write_text("{")
    done = command("compare", guid, other, "--prompt", "The", "--json", "--workspace", ws.root)
    assert done.code == 1 and "generation" in done.data["replies"][0] and "error" in done.data["replies"][1]


@pytest.mark.parametrize(("replies", "number"), [
    (["abc", "abd"], 2), (["abc", "abc"], None), (["ab", "abc"], 2), (["a", "b", "a"], 0), ([], None), (["x"], None),
    (["", "a"], 0)])
def test_the_first_token_that_differs(replies, number):
    assert comparison.first_difference(replies) == number


@pytest.mark.parametrize(("words", "code", "said"), [
    (["compare", "tiny"], 2, "2 to 8"), (["compare", "tiny", "tiny"], 2, "second time"),
    (["compare", "tiny", "nobody"], 1, "no model"), (["compare"], 2, "needs GUID"),
    (["export", "nobody"], 1, "no model"), (["export", "tiny", "--only", "half"], 2, "model"),
    (["export", "tiny", "--to", "nowhere/x.zip"], 1, "does not exist"), (["import", "nothing.zip"], 1, "nothing.zip"),
    (["rename", "tiny"], 2, "needs NAME"), (["rename", "tiny", "a/b"], 2, "name"),
    (["rename", "tiny", "other"], 2, "already the name"), (["rename", "baby", "x"], 2, "ships"),
    (["annotate", "tiny", "a\x1b[2J"], 2, "contains"), (["annotate", "tiny", "x" * 2001], 2, "at most"),
])
def test_what_is_refused(command, pair, monkeypatch, tmp_path, words, code, said):
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in pair[0].root.rglob("*.json")}
    done = command(*words, "--workspace", pair[0].root)
    assert done.code == code and said in done.err and done.out == ""
    assert done.err.startswith("babytui: ") and done.err.count("\n") == 1 and "\x1b" not in done.err
    assert {path: path.read_bytes() for path in pair[0].root.rglob("*.json")} == before


def test_export_names_its_file_and_never_replaces_one(command, pair, monkeypatch, tmp_path):
    ws, guid, _ = pair
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    command("rename", guid, "a: b (c)", "--workspace", ws.root)
    done = command("export", guid, "--workspace", ws.root)
    name = f"a-b-c-{guid[:8]}.zip"
    assert done.code == 0 and done.out == f"{name}\n"
    again = command("export", guid, "--workspace", ws.root)
    assert again.code == 2 and "--overwrite" in again.err
    data = command("export", guid, "--to", tmp_path / "out", "--overwrite", "--only", "model", "--json", "--workspace",
                   ws.root).data
    assert data["path"] == str(tmp_path / "out" / name) and len(data["files"]) == 3
    assert data["bytes"] == (tmp_path / "out" / name).stat().st_size
    with zipfile.ZipFile(tmp_path / "out" / name) as found:
        assert found.testzip() is None
    baby = command("export", "baby", "--to", tmp_path / "b.zip", "--workspace", ws.root)
    assert baby.code == 0 and command("import", tmp_path / "b.zip", "--workspace", tmp_path / "new").code == 0
    assert command("inference", "last", "--tokens", "5", "--workspace", tmp_path / "new").code == 0


def test_an_imported_model_writes_the_same(command, pair, tmp_path):
    ws, guid, _ = pair
    words = ["inference", guid, "--prompt", "The", "--tokens", "30", "--seed", "4", "--no-save", "--workspace"]
    text = command(*words, ws.root).out
    command("annotate", guid, "the good one", "--workspace", ws.root)
    command("export", guid, "--to", tmp_path / "x.zip", "--workspace", ws.root)
    done = command("import", tmp_path / "x.zip", "--workspace", tmp_path / "new")
    assert done.out.strip() == guid and command(*words, tmp_path / "new").out == text
    (listed,) = command("list", "--json", "--workspace", tmp_path / "new").data
    assert listed["note"] == "the good one" and listed["name"] == "tiny"


def test_a_note_comes_and_goes(command, pair):
    ws, guid, _ = pair
    where = ["--workspace", ws.root]
    done = command("annotate", "tiny", " two lines\nof  it ", *where, "--json")
    assert done.code == 0 and done.data["note"] == "two lines\nof  it"
    assert command("info", guid, "--json", *where).data["note"] == "two lines\nof  it"
    assert "two lines of  it" in command("info", guid, *where).out
    raw = json.loads(ws.path("config", guid).read_text())
    assert raw["babytui_note"] == "two lines\nof  it" and raw["n_emb"] == 8
    assert command("rename", guid, "", *where).code == 0
    assert command("annotate", guid, "", *where, "-q").err == ""
    raw = json.loads(ws.path("config", guid).read_text())
    assert "babytui_note" not in raw and raw["babytui_name"] == ""
    assert ws.entry(guid).note == ""


def test_a_note_on_a_live_run_is_kept_with_its_model(command, long_run):
    ws, guid = long_run.workspace, long_run.guid
    assert command("annotate", guid, "watch this", "--workspace", ws.root).code == 0
    assert command("rename", guid, "sprinter", "--workspace", ws.root).code == 0
    talk = command("compare", guid, "baby", "--prompt", "The", "--tokens", "5", "--json", "--workspace", ws.root)
    assert [reply["tokens"] for reply in talk.data["replies"]] == [5, 5]  # it writes while it learns
    assert ws.entry(guid).note == "watch this"
    long_run.command("stop")
    long_run.wait(60)
    entry = ws.entry("sprinter")
    assert entry.note == "watch this" and entry.has_model
    data = command("compare", guid, "baby", "--json", "--workspace", ws.root).data
    assert data["models"][0]["steps"] > 0
