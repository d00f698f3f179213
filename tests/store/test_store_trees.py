"""Folders deeper than Python calls itself and longer than a path: listed as far as they can be named, removed whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from store import trees


def deep(folder: Path, levels: int, name: str = "d") -> None:
    """So many folders in one another, each with a file in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.close(os.open("file", os.O_CREAT, dir_fd=descriptor))
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Files, links and folders, as os.walk can list them."""
    for path in ("a/b/c", "a/.0", "e"):
        (tmp_path / "tree" / path).mkdir(parents=True)
    for path in ("a/b/c/file", "a/b/file", ".0", "a/.0/.1"):
        (tmp_path / "tree" / path).write_text("x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("x")
    (tmp_path / "tree" / "a" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "tree" / "nowhere").symlink_to("nowhere")
    return tmp_path / "tree"


def listed(found: object) -> set[tuple[str, tuple[str, ...]]]:
    return {(where, tuple(sorted([*folders, *others]))) for where, folders, others in found}  # type: ignore[attr-defined]


def test_it_lists_what_os_walk_lists(place):
    assert listed(trees.walk(place)) == listed(os.walk(place))
    assert list(trees.walk(place / "nothing")) == [(str(place / "nothing"), [], [])]


def test_it_removes_everything_and_follows_no_link(place):
    trees.remove(place)
    assert not place.exists() and (place.parent / "outside" / "kept").exists()


@pytest.mark.parametrize("name", [pytest.param("d", marks=pytest.mark.slow), "a rather long name for a folder"])
def test_depths(place, name):
    deep(place, 1500, name)
    assert sum(len(others) for _, _, others in trees.walk(place)) > 100
    trees.remove(place)
    assert not place.exists()


def test_what_cannot_be_removed_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        trees.remove(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError):
        trees.remove(tmp_path / "file")
