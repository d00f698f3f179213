"""The catalogue: what it says about a text is so."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from engine.errors import NotFound
from inputs import catalogue


def test_shipped_texts_are_there_with_the_size_and_checksum_that_are_told():
    shipped = catalogue.entries("shipped")
    assert [entry.name for entry in shipped] == ["nursery", "stories", "rhymes", "dialogues"]
    for entry in shipped:
        data = entry.path.read_bytes()
        assert entry.bytes == len(data) > 5000
        assert entry.sha256 == hashlib.sha256(data).hexdigest()
        assert not entry.url
        assert catalogue.read(entry.name).text.encode() == data
        assert catalogue.shipped()[entry.name] == entry.path


def test_every_shipped_file_is_in_the_catalogue():
    assert {path.stem for path in catalogue.FOLDER.iterdir()} == set(catalogue.shipped())


def test_web_entries_are_complete():
    for entry in catalogue.entries("web"):
        assert entry.path is None and urlsplit(entry.url).scheme == "https"
        assert entry.bytes and entry.note and entry.title
        assert entry.sha256 is None or len(bytes.fromhex(entry.sha256)) == 32
        assert entry.sha256 or "not pinned" in entry.note


def test_names_are_unique_and_safe():
    from inputs.reading import safe_name

    names = catalogue.names()
    assert len(set(names)) == len(names) == len(catalogue.ENTRIES)
    assert all(safe_name(name) == name for name in names)


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(NotFound, match=r"nursary.*did you mean nursery"):
        catalogue.find("nursary")
    with pytest.raises(NotFound, match="choose from nursery, stories"):
        catalogue.find("zzz")
    with pytest.raises(NotFound) as caught:
        catalogue.find("a\x1b[2J")
    assert str(caught.value).isprintable()


def test_a_web_text_is_not_read_without_being_fetched():
    with pytest.raises(NotFound, match="fetch it first"):
        catalogue.read("tiny-shakespeare")


def test_listing_the_catalogue_needs_neither_numpy_nor_a_network():
    code = (
        "import sys; import inputs.catalogue; "
        "heavy = {'numpy', 'textual', 'urllib.request', 'ssl', 'store', 'babytui'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
