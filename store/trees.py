"""Folders of any depth, as an archive may hold them: neither recursion nor the length of a path ends them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def walk(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, top down: (where, folders, other names); links are not followed, what cannot be read is left out."""
    waiting = [os.fspath(folder)]
    while waiting:
        where = waiting.pop()
        folders: list[str] = []
        others: list[str] = []
        with suppress(OSError), os.scandir(where) as items:
            for item in items:
                (folders if item.is_dir(follow_symlinks=False) else others).append(item.name)
        yield where, folders, others
        waiting += [os.path.join(where, name) for name in folders]


def remove(folder: str | Path) -> None:
    """Deletes a folder with everything in it, links as what they are. OSError; what is left can be deleted again.

    What lies deep is first moved up, so that no path is longer than two names below the folder.
    """
    folder = os.fspath(folder)
    waiting, number = [folder], 0
    while waiting:
        where = waiting[-1]
        folders = []
        with os.scandir(where) as items:
            for item in list(items):
                if item.is_dir(follow_symlinks=False):
                    folders.append(item.name)
                else:
                    os.unlink(item.path)
        if where == folder and folders:
            waiting += [os.path.join(where, name) for name in folders]
            continue
        for name in folders:
            while os.path.lexists(up := os.path.join(folder, f".{number}")):
                number += 1
            os.rename(os.path.join(where, name), up)
            waiting.insert(1, up)
        os.rmdir(where)
        waiting.pop()
