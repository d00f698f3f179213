"""babytui inputs: list, add, fetch."""

from __future__ import annotations

import gzip

import pytest

from engine.errors import TextError
from inputs import fetching


def test_add_from_everywhere(command, tmp_path):
    where = ["--workspace", tmp_path / "w"]
    inputs = tmp_path / "w" / "inputs"
    (tmp_path / "old.txt").write_bytes("Grüße aus Köln\r\n".encode("latin-1"))
    done = command("inputs", "add", tmp_path / "old.txt", *where)
    assert done.code == 0 and "Latin-1" in done.err and done.out.strip() == str(inputs / "old.txt")
    assert (inputs / "old.txt").read_text("utf-8") == "Grüße aus Köln\n"
    assert "already" in command("inputs", "add", tmp_path / "old.txt", *where).err
    piped = command("inputs", "add", "-", "--name", "piped", "--json", *where, stdin="Hello there")
    assert piped.data["name"] == "piped"
    (tmp_path / "zipped.txt.gz").write_bytes(gzip.compress(b"Packed words"))
    assert command("inputs", "add", tmp_path / "zipped.txt.gz", "-q", *where).code == 0
    folder = tmp_path / "many"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.txt").write_text(f"Text {name}")
    assert command("inputs", "add", folder, *where).code == 0
    assert (inputs / "many.txt").read_text() == "Text a\n\nText b\n"
    listed = command("inputs", "list", "--json", *where).data
    assert {"many", "old", "piped", "zipped"} == {text["name"] for text in listed if text["kind"] == "own"}
    assert "tiny-shakespeare" in command("inputs", "list", *where).out


def test_add_refuses(command, tmp_path):
    where = ["--workspace", tmp_path / "w"]
    (tmp_path / "a.txt").write_text("One")
    assert command("inputs", "add", tmp_path / "a.txt", *where).code == 0
    (tmp_path / "a.txt").write_text("Two")
    other = command("inputs", "add", tmp_path / "a.txt", *where)
    assert other.code == 2 and "--name" in other.err
    (tmp_path / "b.txt").write_bytes(b"\x00\x01" * 100)
    binary = command("inputs", "add", tmp_path / "b.txt", *where)
    assert binary.code == 1 and "binary" in binary.err
    assert command("inputs", "add", tmp_path / "none", *where).code == 1
    assert [path.name for path in (tmp_path / "w" / "inputs").iterdir()] == ["a.txt"]


def test_fetch(command, tmp_path, monkeypatch):
    where = ["--workspace", tmp_path / "w"]
    monkeypatch.setattr(fetching, "fetch", lambda entry, progress=None: b"First Citizen:\n")
    done = command("inputs", "fetch", "tiny-shakespeare", *where)
    assert done.code == 0 and (tmp_path / "w" / "inputs" / "tiny-shakespeare.txt").read_text() == "First Citizen:\n"
    asked = command("train", "--input", "alice", *where)
    assert asked.code == 1 and "babytui inputs fetch alice" in asked.err
    assert command("inputs", "fetch", "tiny-shakespear", *where).code == 1

    def offline(*_, **__):
        raise TextError("The host could not be found; check whether this computer is online.")

    monkeypatch.setattr(fetching, "fetch", offline)
    lost = command("inputs", "fetch", "alice", *where)
    assert lost.code == 1 and "online" in lost.err and lost.err.count("\n") == 1


@pytest.mark.parametrize("address", ["http://", "https://exa mple.org/a"])
def test_wrong_addresses(command, tmp_path, address):
    done = command("inputs", "add", address, "--workspace", tmp_path / "w")
    assert done.code == 1 and "web address" in done.err
