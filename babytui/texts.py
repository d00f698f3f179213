"""Which texts there are and which a run learns from: paths, the workspace's own by name, and those that ship."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.config import Config, shown
from engine.errors import NotFound, TextError, UsageError
from inputs import catalogue, reading
from inputs.reading import Text
from store import atomic
from store.names import expanded
from store.workspace import Workspace

CHECKED_CHARACTERS = 4_000_000  # a longer text is not too short for anything
DEFAULT = "nursery"


@dataclass(frozen=True)
class Known:
    """A text that can be named. kind: own (in the workspace), shipped, or web (`path` is None: fetch it first)."""

    name: str
    kind: str
    bytes: int | None
    title: str
    path: Path | None


@dataclass(frozen=True)
class Added:
    """A text that was put into the workspace; notes say what was done to it, a sentence each."""

    path: Path
    notes: tuple[str, ...]


def available(workspace: Workspace) -> list[Known]:
    """The workspace's own texts, those that ship, then those on the web that were not fetched."""
    own = [Known(path.stem, "own", path.stat().st_size, "", path) for path in workspace.texts()]
    names = {text.name for text in own}
    return own + [Known(entry.name, entry.kind, entry.bytes, entry.title, entry.path)
                  for entry in catalogue.entries()
                  if entry.name not in names and (entry.path is None or entry.path.is_file())]


def find(workspace: Workspace, names: Sequence[str | os.PathLike[str]] = ()) -> list[Path]:
    """The files and folders that `names` mean: a path, else a text in the workspace's inputs/, else one that ships.

    Without names: the texts in the workspace's inputs/, else the nursery text. NotFound says what there is.
    """
    if not names:
        return workspace.texts() or _one(workspace, DEFAULT)
    return list(dict.fromkeys(path for name in names for path in _one(workspace, name)))


def _one(workspace: Workspace, name: str | os.PathLike[str]) -> list[Path]:
    if not str(name):
        raise UsageError("An empty name is no text; give a file, a folder or the name of a text.")
    path = expanded(name)
    if path.exists():
        return [path.absolute()]
    plain = str(name)
    for known in available(workspace):
        if plain in (known.name, f"{known.name}.txt"):
            if known.path is None:
                raise NotFound(f"{plain} has not been fetched yet; `babytui inputs fetch {plain}` downloads it.")
            return [known.path.absolute()]
    raise NotFound(f"There is no text {shown(plain)}: no such file, and none of that name in {workspace.inputs} or "
                   "among those that ship; `babytui inputs list` shows what there is.")


def read(paths: Sequence[Path]) -> Text:
    """The texts one after the other. TextError for what is not text."""
    return reading.read_texts(list(paths))


def dataset(paths: Sequence[Path]) -> str:
    """What a set of texts is called: the file's stem, or the first one's and how many more."""
    stems = [reading.safe_name(path.name if path.is_dir() else path.stem) for path in paths]
    return "+".join(stems) if len(stems) <= 2 else f"{stems[0]}+{len(stems) - 1}"


def digest(text: Iterable[str]) -> str:
    """By which a text, given in parts, is recognised."""
    found = hashlib.sha256()
    for part in text:
        found.update(part.encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def check(config: Config, text: Text, prompt: str = "") -> int:
    """The size of its vocabulary (about, for a very long one). TextError when a text cannot be learnt with this
    configuration, or lacks symbols of the prompt."""
    from engine import data, registry

    if text.characters > CHECKED_CHARACTERS:
        return 256 if config.c_tokenizer == "char" else 50_000
    tokenizer = registry.tokenizer.get(config.c_tokenizer).fit(text)
    data.train_tokens(tokenizer.count(text), config)
    if missing := tokenizer.missing(prompt):
        few = ", ".join(map(repr, missing[:8]))
        raise TextError(f"The prompt has symbols that the text does not have: {few}; leave them out.")
    return len(tokenizer.vocab)


def add(workspace: Workspace, source: str, name: str | None = None,
        progress: Callable[[int, int | None], None] | None = None) -> Added:
    """Copy a file, a folder (as one text), standard input ("-") or a web address into inputs/, as UTF-8."""
    if source.startswith(("http://", "https://")):
        from inputs.fetching import fetch as download

        last = unquote(urlsplit(source).path).rstrip("/").rsplit("/", 1)[-1]
        text = reading.read_bytes(last or "text", download(source, progress))
    else:
        text = reading.read_text(source if source == "-" else expanded(source))
    return _keep(workspace, text, name)


def fetch(workspace: Workspace, name: str, progress: Callable[[int, int | None], None] | None = None) -> Added:
    """Download a text of the catalogue into inputs/. NotFound, TextError (also when offline)."""
    from inputs.fetching import fetch as download

    entry = catalogue.find(name)
    return _keep(workspace, reading.read_bytes(f"{entry.name}.txt", download(entry, progress)), entry.name)


def _keep(workspace: Workspace, text: Text, name: str | None) -> Added:
    stem = reading.safe_name(name.removesuffix(".txt")) if name else text.name
    path = workspace.inputs / f"{stem}.txt"
    if path.exists():
        with open(path, "rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == digest(text)
        if same:
            return Added(path, (*text.notes, f"{stem} was there already."))
        raise UsageError(f"There is another text called {stem} in {workspace.inputs}; give this one a --name.")
    workspace.ensure()
    with atomic.replacing(path, overwrite=False) as file:
        file.writelines(part.encode("utf-8", "surrogatepass") for part in text)
    return Added(path, text.notes)
