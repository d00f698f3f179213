"""Which texts a run learns from: paths, the workspace's own by name, and those that ship."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from engine.config import Config, shown
from engine.errors import NotFound, TextError
from store.workspace import Workspace

CHECKED_CHARACTERS = 4_000_000  # a longer text is not too short for anything


def find(workspace: Workspace, names: Sequence[str | os.PathLike[str]] = ()) -> list[Path]:
    """The files that `names` mean: a path, else a text in the workspace's inputs/, else one that ships.

    Without names: the texts in the workspace's inputs/, else the nursery text. NotFound says what there is.
    """
    if not names:
        return workspace.texts() or [shipped()["nursery"]]
    found: list[Path] = []
    for name in names:
        for path in _one(workspace, name):
            if path not in found:
                found.append(path)
    return found


def _one(workspace: Workspace, name: str | os.PathLike[str]) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        texts = sorted(p for p in path.rglob("*.txt") if p.is_file())
        if not texts:
            raise NotFound(f"The folder {path} holds no .txt file.")
        return [p.absolute() for p in texts]
    if path.exists():
        return [path.absolute()]
    plain = str(name)
    own = {p.name: p for p in workspace.texts()}
    for candidate in (plain, plain + ".txt"):
        if candidate in own:
            return [own[candidate].absolute()]
    if plain in shipped():
        return [shipped()[plain]]
    from inputs import catalogue

    if plain in catalogue.names():
        raise NotFound(f"{plain} has not been fetched yet; `babytui inputs fetch {plain}` downloads it.")
    raise NotFound(f"There is no text {shown(plain)}: no such file, and none of that name in {workspace.inputs} or "
                   "among those that ship; `babytui inputs list` shows what there is.")


def shipped() -> dict[str, Path]:
    """The texts that come with babytui, by name."""
    from inputs import catalogue

    return catalogue.shipped()


def read(paths: Sequence[Path]) -> str:
    """The texts one after the other. TextError for what is not text."""
    from inputs.reading import read_texts

    return read_texts(list(paths))


def dataset(paths: Sequence[Path]) -> str:
    """What a set of texts is called: the file's stem, or the first one's and how many more."""
    stems = [path.stem for path in paths]
    return "+".join(stems) if len(stems) <= 2 else f"{stems[0]}+{len(stems) - 1}"


def check(config: Config, paths: Sequence[Path], prompt: str = "") -> None:
    """TextError when these texts cannot be learnt with this configuration, or lack symbols of the prompt."""
    from engine import data, registry

    text = read(paths)
    if not text.strip():
        raise TextError("The text is empty; there is nothing to learn from.")
    if len(text) > CHECKED_CHARACTERS:
        return
    tokenizer = registry.tokenizer.get(config.c_tokenizer).fit(text)
    data.split(tokenizer.encode(text), config.replace(c_shuffle=False))
    if missing := tokenizer.missing(prompt):
        few = ", ".join(map(repr, missing[:8]))
        raise TextError(f"The prompt has symbols that the text does not have: {few}; leave them out.")
