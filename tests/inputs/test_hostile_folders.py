"""Folders of texts that somebody else packed: depths, pipes, links, and a pipe in the place of a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engine.errors import NotFound, TextError
from inputs import reading


def test_a_folder_too_deep_says_so(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # os.walk calls itself that often
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    try:
        with pytest.raises(TextError, match="deep"):
            reading.read_text(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_only_texts_of_its_own_are_taken(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("secret\n")
    folder = tmp_path / "texts"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "one.txt").write_text("one\n")
    (folder / "two.txt").write_text("two\n")
    (folder / "hidden").mkdir()
    (folder / ".three.txt").write_text("three\n")
    (folder / "link.txt").symlink_to(outside)
    (folder / "same.txt").symlink_to("two.txt")
    (folder / "circle.txt").symlink_to("circle.txt")
    (folder / "around").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    assert reading.read_text(folder).text == "one\n\ntwo\n\ntwo\n"


def test_a_pipe_that_took_the_place_of_a_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one two\n")
    text = reading.read_text(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TextError, match="changed"):
        list(text)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/tty", "a\0b", "/proc/self/mem"])
def test_devices_and_names_that_cannot_be(name):
    with pytest.raises((TextError, NotFound)):
        reading.read_text(Path(name))


def test_safe_names_of_any_length_and_kind():
    for name in (
        "\u0301\u0316" * 200_000,
        "\ufdfa" * 100_000,
        "../" * 1000,
        "con",
        "NUL.txt",
        "a\0b",
        "\x1b[2J",
        "\u202etxt.exe",
        "",
    ):
        safe = reading.safe_name(name)
        assert 0 < len(safe) <= reading.NAME_LENGTH + 5 and safe.isascii() and not set(safe) & set("/\\\0 \x1b")
        assert safe.split(".")[0].lower() not in ("con", "nul") and not safe.startswith(".")


def test_a_word_without_end(tmp_path):
    from engine.tokenizer.word import Word

    with pytest.raises(TextError, match="not a text of words"):
        Word.fit(["a b " + "x" * (1 << 18), "x y"])
    assert "x" * (1 << 18) in Word.fit(["x" * (1 << 18)]).ids
