"""What was typed before: kept across sessions, private, short, and never a reason to fail."""

from __future__ import annotations

import json
import os
import stat

import pytest

from babytui import history
from babytui.history import History


def test_entries_survive_and_are_not_repeated(tmp_path):
    first = History("prompts", tmp_path / "state")
    assert [first.add(text) for text in ("a", "a", "b\nsecond line", "  ", "a", "x" * (history.LONGEST + 1))] == [
        True, False, True, False, True, False]
    again = History("prompts", tmp_path / "state")
    assert again.entries == ["a", "b\nsecond line", "a"] == first.entries
    assert again.search("SECOND") == ["b\nsecond line"] and again.search("a") == ["a"]
    assert History("commands", tmp_path / "state").entries == []
    assert stat.S_IMODE(os.stat(first.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(first.path.parent).st_mode) == 0o700


def test_two_faces_write_to_one(tmp_path):
    one, two = History("prompts", tmp_path), History("prompts", tmp_path)
    one.add("1")
    two.add("2")
    one.add("3")
    assert History("prompts", tmp_path).entries == ["1", "2", "3"]


def test_it_is_shortened(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEPT", 5)
    kept = History("prompts", tmp_path)
    for number in range(23):
        kept.add(str(number))
    assert len(kept.path.read_bytes().splitlines()) <= 10
    assert History("prompts", tmp_path).entries[-5:] == ["18", "19", "20", "21", "22"]
    assert stat.S_IMODE(os.stat(kept.path).st_mode) == 0o600


@pytest.mark.parametrize("content", [b"\xff\xfe", b'{"text": 3}\n[]\n{"text": "good"}\n', b'{"text": "good"}\n{"text"'])
def test_broken_files_are_read_as_far_as_they_go(tmp_path, content):
    (tmp_path / "prompts.jsonl").write_bytes(content)
    kept = History("prompts", tmp_path)
    assert kept.entries in ([], ["good"])
    assert kept.add("new") and History("prompts", tmp_path).entries[-1] == "new"


def test_no_place_to_write_is_no_error(tmp_path):
    os.mkfifo(tmp_path / "prompts.jsonl")
    kept = History("prompts", tmp_path)
    assert kept.entries == [] and kept.add("a") and kept.entries == ["a"]
    (tmp_path / "file").write_text("")
    assert History("prompts", tmp_path / "file").add("a")


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert History("prompts").path == tmp_path / "babytui" / "prompts.jsonl"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/somewhere")
    assert str(History("prompts").path) == "/somewhere/.local/state/babytui/prompts.jsonl"


def test_a_line_of_the_file_is_plain_json(tmp_path):
    History("prompts", tmp_path).add("The \x1b[31m cat")
    assert json.loads((tmp_path / "prompts.jsonl").read_text())["text"] == "The \x1b[31m cat"
