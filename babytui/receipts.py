"""Receipts: what a reply was made of, so that `babytui inference --replay` writes the same text again.

A reply is a function of its prompt, of models and samplers, and of what a person did: went on, or put another token
somewhere. It is written in parts; each keeps the first tokens of what was there, may put a chosen one after them, and
then writes so many tokens, with the random numbers of their places in the reply:

    {"format": 1, "prompt": text or null, "prompt_ids": [1, 5], "ids": [the reply's],
     "parts": [{"keep": 0, "chosen": null, "tokens": 40, "cache": true, "sampler": {"temperature": 0.8, …, "seed": 7},
                "model": {"guid": "…", "name": "cats", "step": null, "sha256": "…"}}],
     "versions": {"babytui": "0.1.0", "numpy": "2.4.0", …}}

It stands in completion files under KEY. The same machine gives the same bits; another BLAS or processor may round
otherwise, and then a token may differ, which is told.
"""

from __future__ import annotations

import platform
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import shown
from engine.errors import BabyError, ConfigError, FormatError, NotFound, RunError
from store.names import short, valid_guid
from store.reading import parse_json, read_bytes
from store.workspace import Workspace

if TYPE_CHECKING:
    from babytui.library import Baby, Generation
    from engine.generate import Sampler

KEY = "babytui_receipt"
FORMAT = 1
LIMIT = 16 << 20  # bytes of a file, as of every completion
_MOST_PARTS, _MOST_TOKENS = 10_000, 4_000_000
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Origin:
    """Which model it was. step: of its run's checkpoint, None for the model's file. sha256: see Baby.sha256."""

    guid: str
    name: str
    step: int | None
    sha256: str

    @property
    def label(self) -> str:
        """As a person knows it: cats, step 1,200."""
        return self.name + (f", step {self.step:,}" if self.step is not None else "")


@dataclass(frozen=True)
class Part:
    """A stretch of a reply that was written at once: after `keep` tokens of it and the `chosen` one, `tokens` more."""

    origin: Origin
    sampler: Sampler
    cache: bool
    tokens: int
    keep: int = 0
    chosen: int | None = None


@dataclass(frozen=True)
class Receipt:
    """Everything that a reply was made of."""

    prompt: str | None
    prompt_ids: Sequence[int]
    ids: Sequence[int]
    parts: Sequence[Part]
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As it is written to a file."""
        parts = [{"keep": part.keep, "chosen": part.chosen, "tokens": part.tokens, "cache": part.cache,
                  "sampler": asdict(part.sampler), "model": asdict(part.origin)} for part in self.parts]
        return {"format": FORMAT, "prompt": self.prompt, "prompt_ids": list(self.prompt_ids), "ids": list(self.ids),
                "parts": parts, "versions": self.versions}


def origin(baby: Baby) -> Origin:
    """Which model a baby is."""
    return Origin(baby.guid, baby.name, baby.step, baby.sha256)


def part_of(generation: Generation, chosen: int | None = None) -> Part:
    """The part of a reply that a generation has written so far. chosen: the last of what it kept, when a person has
    put it there."""
    keep = len(generation.kept) - (chosen is not None)
    return Part(origin(generation.baby), generation.sampler, generation.cache, generation.count, keep, chosen)


def of(generation: Generation, earlier: Iterable[Part] = (), chosen: int | None = None) -> dict[str, Any]:
    """The receipt of a generation as it stands. earlier: the parts that wrote what it kept."""
    return Receipt(generation.prompt, generation.ids, [*generation.kept, *generation.written],
                   [*earlier, part_of(generation, chosen)], versions()).to_dict()


def versions() -> dict[str, str]:
    """Of what may round otherwise elsewhere."""
    import numpy as np

    from babytui import __version__, blas

    kernels = blas.kernel()
    return {"babytui": __version__, "python": platform.python_version(), "numpy": np.__version__, "blas": blas.name(),
            "kernels": kernels[0] if kernels else "", "machine": platform.machine()}


# Reading: a file may come from anybody -------------------------------------------------------------------------------


def load(source: str | Path) -> Receipt:
    """The receipt in a completion file, or one by itself; "-" is standard input. NotFound, FormatError."""
    if str(source) == "-":
        data, name = sys.stdin.buffer.read(LIMIT + 1), "standard input"
        if len(data) > LIMIT:
            raise FormatError(f"The receipt on standard input has more than {LIMIT:,} bytes.")
    else:
        data, name = read_bytes(source, LIMIT), str(source)
    return parse(parse_json(data, name), Path(name).name)


def parse(raw: dict[str, Any], name: str) -> Receipt:
    """A receipt from what a file holds. FormatError names what is wrong with it."""
    found = raw.get(KEY, raw)
    if not isinstance(found, dict) or "parts" not in found:
        what = "it was written by an earlier version, or by another program" if "generation" in raw else \
            "it is neither a completion file nor a receipt"
        raise FormatError(f"{name} has no receipt to replay: {what}.")
    if found.get("format") != FORMAT:
        raise FormatError(f"{name}: the receipt has format {shown(found.get('format'))}; this version knows {FORMAT}.")
    prompt, told = found.get("prompt"), found.get("versions")
    if not isinstance(prompt, (str, type(None))):
        raise FormatError(f"{name}: prompt must be text or null.")
    ids = [_ids(found.get(key), f"{name}: {key}") for key in ("prompt_ids", "ids")]
    parts = found["parts"]
    if not isinstance(parts, list) or not 0 < len(parts) <= _MOST_PARTS:
        raise FormatError(f"{name}: parts must be a list of 1 to {_MOST_PARTS:,} parts.")
    read, length = [], 0
    for number, part in enumerate(parts, 1):
        where = f"{name}: part {number}"
        if not isinstance(part, dict):
            raise FormatError(f"{where} must be an object.")
        read.append(_part(part, where))
        if read[-1].keep > length:
            raise FormatError(f"{where} keeps {read[-1].keep:,} tokens of {length:,}.")
        length = read[-1].keep + (read[-1].chosen is not None) + read[-1].tokens
    if not ids[0] or length != len(ids[1]):
        raise FormatError(f"{name}: its parts write {length:,} tokens, but ids has {len(ids[1]):,}; it is damaged."
                          if ids[0] else f"{name}: prompt_ids is empty; it is damaged.")
    known = {str(key)[:40]: text[:80] for key, text in told.items() if isinstance(text, str)} \
        if isinstance(told, dict) else {}
    return Receipt(prompt, ids[0], ids[1], read, known)


def _ids(value: Any, where: str) -> array[int]:
    if not isinstance(value, list) or len(value) > _MOST_TOKENS or not all(
            type(i) is int and 0 <= i < 1 << 31 for i in value):
        raise FormatError(f"{where} must be a list of at most {_MOST_TOKENS:,} token ids.")
    return array("I", value)


def _count(value: Any, where: str, most: int = _MOST_TOKENS) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise FormatError(f"{where} must be a whole number from 0 to {most:,}, not {shown(value)}.")
    return value


def _part(part: dict[str, Any], where: str) -> Part:
    from engine.generate import Sampler

    chosen, given, cache = part.get("chosen"), part.get("sampler"), part.get("cache")
    known = {field.name: field.type for field in fields(Sampler)}
    if not isinstance(given, dict) or set(given) != set(known) or not all(
            type(value) is int or (type(value) is float and key not in ("top_k", "seed"))
            for key, value in given.items()):
        raise FormatError(f"{where}: sampler must have {', '.join(known)}, all of them numbers.")
    if not isinstance(cache, bool):
        raise FormatError(f"{where}: cache must be true or false.")
    try:
        sampler = Sampler(**given)
    except ConfigError as error:
        raise FormatError(f"{where}: {error}") from None
    return Part(_origin(part.get("model"), where), sampler, cache, _count(part.get("tokens"), f"{where}: tokens"),
                _count(part.get("keep"), f"{where}: keep"),
                None if chosen is None else _count(chosen, f"{where}: chosen", (1 << 31) - 1))


def _origin(model: Any, where: str) -> Origin:
    if not isinstance(model, dict) or not valid_guid(model.get("guid")):
        raise FormatError(f"{where}: model must name a GUID.")
    name, step, sha256 = model.get("name"), model.get("step"), model.get("sha256")
    if not isinstance(sha256, str) or len(sha256) != 64 or not _HEX.issuperset(sha256):
        raise FormatError(f"{where}: sha256 of the model must be 64 hexadecimal digits.")
    called = name[:80] if isinstance(name, str) and name else short(model["guid"])
    return Origin(model["guid"], called, None if step is None else _count(step, f"{where}: step", 1 << 53), sha256)


# Replay ---------------------------------------------------------------------------------------------------------------


class Replay:
    """A reply that is written again: iterate over its pieces, the prompt first; then `difference` tells whether it is
    the same. The models are read, and compared with the receipt, when this is made: NotFound, FormatError, RunError."""

    def __init__(self, receipt: Receipt, workspace: Workspace):
        self.receipt = receipt
        self.ids: list[int] = []
        self.babies: dict[Origin, Baby] = {}
        self._running: Generation | None = None
        for part in receipt.parts:
            if part.origin not in self.babies:
                self.babies[part.origin] = find(part.origin, workspace)
            size = self.babies[part.origin].model.vocab_size
            if (part.chosen or 0) >= size or max(receipt.prompt_ids) >= size:
                raise FormatError(f"The receipt has a token that {part.origin.label} does not know; it is damaged.")

    @property
    def baby(self) -> Baby:
        """The model of the last part."""
        return self.babies[self.receipt.parts[-1].origin]

    def __iter__(self) -> Iterator[str]:
        parts, prompt = self.receipt.parts, list(self.receipt.prompt_ids)
        first = self.babies[parts[0].origin]
        yield self.receipt.prompt if self.receipt.prompt is not None else first.tokenizer.decode(prompt)
        told = 0
        for number, part in enumerate(parts):
            later = [other.keep for other in parts[number + 1:]]
            final, wanted = min(later, default=_MOST_TOKENS * 2), later[0] if later else None
            self.ids = self.ids[: part.keep] + ([part.chosen] if part.chosen is not None else [])
            baby, sampler = self.babies[part.origin], asdict(part.sampler)
            tokens = part.tokens if wanted is None else max(0, min(part.tokens, wanted - len(self.ids)))
            run = self._running = baby.generate(prompt, tokens, cache=part.cache, kept=self.ids, **sampler)
            while told < min(len(self.ids), final):
                yield run.piece(self.ids[told])
                told += 1
            for token, piece in run.tokens():
                self.ids.append(token.id)
                if told < min(len(self.ids), final):
                    yield piece
                    told += 1
            run.close()

    def close(self) -> None:
        """Stops it."""
        if self._running is not None:
            self._running.close()

    def difference(self) -> str:
        """Where the reply differs from the one of the receipt, in a sentence; empty when it does not."""
        wanted, got = list(self.receipt.ids), self.ids
        if wanted == got:
            return ""
        place = first_difference(wanted, got)
        vocab = self.baby.tokenizer.vocab
        was, now = (shown(vocab[ids[place]]) if place < len(ids) and ids[place] < len(vocab) else "nothing"
                    for ids in (wanted, got))
        here = versions()
        other = [f"{key} {self.receipt.versions[key]}, here {here[key]}" for key in here
                 if self.receipt.versions.get(key, here[key]) != here[key]]
        why = "it was written with " + "; ".join(other) + ", which may round otherwise" if other else \
            "the versions are the same, so that the receipt was changed or this machine rounds otherwise"
        return f"The text differs from token {place + 1:,} of the reply on: it was {was} and is {now}; {why}."


def first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    """The first place where two replies differ, the length of the shorter one if it begins the other."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def find(origin: Origin, workspace: Workspace) -> Baby:
    """The very model that wrote a part. NotFound when it is gone, RunError when another is in its place."""
    from babytui import checkpoint_models, library, workspace_choice
    from babytui.runs import Run

    home = workspace
    box = Workspace(workspace_choice.BOX)
    if not any(entry.guid == origin.guid for entry in home.entries()):
        if not any(entry.guid == origin.guid for entry in box.entries()):
            raise NotFound(f"The model {shown(origin.name)} ({origin.guid}) is not in {workspace.root}; bring it back "
                           "with `babytui trash restore` or `babytui import`, or name its --workspace.")
        home = box
    run, found = Run(home, origin.guid), []
    if origin.step is not None:
        same = [one for one in checkpoint_models.kept(run) if one.step == origin.step]
        found = [checkpoint_models.read(run, same[0])] if same else []
    if not found or found[0].sha256 != origin.sha256:
        try:
            found.append(library.load(origin.guid, home))  # a finished model may be that of its last checkpoint
        except BabyError:
            if origin.step is None:
                raise
    for baby in found:
        if baby.sha256 == origin.sha256:
            return baby
    if origin.step is not None and not same:
        raise NotFound(f"{origin.name} keeps no checkpoint of step {origin.step:,} any more, and its later weights "
                       "are others; the text cannot be written again.")
    raise RunError(f"{origin.label} is another model than the one that wrote this: its SHA-256 begins with "
                   f"{found[0].sha256[:12]}, that of the receipt with {origin.sha256[:12]}.")
