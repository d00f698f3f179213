"""A conversation as a tree: what was said, what was replied, and every other way that it went.

An exchange is a prompt and its reply; what came after it are its children, and its siblings are other replies in the
same place: written again, to an edited prompt, or forked at a token. One child of each is shown: together they are the
path. No user interface, and bounded: the oldest exchanges go when there are too many tokens.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from babytui import receipts
from babytui.receipts import Origin, Part, Receipt

if TYPE_CHECKING:
    from babytui.library import Baby, Generation

KEPT_TOKENS = 400_000  # in all branches together; a token takes 8 bytes here
KEPT_EXCHANGES = 4000
FORMATS = ("text", "markdown", "json", "reply")
SAID, AGAIN, EDITED, FORKED = "said", "again", "edited", "forked"


@dataclass(eq=False)
class Exchange:
    """A prompt with its reply, in tokens.

    prompt: as it was sent, empty when nothing was. ids, probabilities: of the reply; one of 0 for a token that a person
    chose. how: said, again, edited or forked (at the token `at`). vocab, separator: what ids are in text.
    """

    prompt: str
    prompt_ids: list[int]
    opening: str
    vocab: Sequence[str]
    separator: str
    n_ctx: int
    how: str = SAID
    at: int = -1
    ids: array[int] = field(default_factory=lambda: array("I"))
    probabilities: array[float] = field(default_factory=lambda: array("f"))
    parts: list[Part] = field(default_factory=list)
    parent: Exchange | None = None
    children: list[Exchange] = field(default_factory=list)
    chosen: int = 0  # which of the children is shown
    versions: Mapping[str, str] | None = None  # of what wrote it; None: of what runs now

    @classmethod
    def of(cls, baby: Baby, prompt: str, how: str = SAID, at: int = -1) -> Exchange:
        """One that is about to be replied to. TextError for symbols that the model does not know."""
        ids = [int(i) for i in baby.encode(prompt)] if prompt else [0]
        tokenizer = baby.tokenizer
        return cls(prompt, ids, prompt or tokenizer.decode(ids), tokenizer.vocab, getattr(tokenizer, "separator", ""),
                   baby.config.n_ctx, how, at)

    def __len__(self) -> int:
        return len(self.ids)

    def piece(self, index: int) -> str:
        """What a token of the reply adds to the text."""
        return self.separator + self.vocab[self.ids[index]]

    @property
    def reply(self) -> str:
        """The text of the reply."""
        return "".join(self.separator + self.vocab[i] for i in self.ids)

    @property
    def text(self) -> str:
        """Prompt and reply, as a completion file's `generation`."""
        return self.opening + self.reply

    @property
    def origin(self) -> Origin | None:
        """The model that wrote its end; None before any has."""
        return self.parts[-1].origin if self.parts else None

    def copy_until(self, at: int) -> tuple[array[int], array[float], list[Part]]:
        """Ids, probabilities and parts of the first `at` tokens."""
        parts: list[Part] = []
        for part in self.parts:
            if parts and part.keep + (part.chosen is not None) > at:
                break  # a fork keeps what the parts before it wrote
            parts.append(part)
        return self.ids[:at], self.probabilities[:at], parts

    def wrote(self, generation: Generation, chosen: int | None = None) -> None:
        """Takes note of what a generation has written after what was there; called once, at its end."""
        self.parts.append(receipts.part_of(generation, chosen))

    def begun(self, index: int) -> tuple[int, bool]:
        """Where the part that wrote a token (or would write the one after the last) began, as a count of tokens of the
        reply, and whether it had a cache: what the model had in view depends on it."""
        for part in reversed(self.parts):
            start = part.keep + (part.chosen is not None)
            if start <= index:
                return start, part.cache
        return index, True

    def receipt(self) -> Receipt:
        """What it was made of; complete once the reply is."""
        versions = receipts.versions() if self.versions is None else dict(self.versions)
        return Receipt(self.prompt or None, self.prompt_ids, self.ids, self.parts, versions)

    def completion(self) -> dict[str, Any]:
        """What a completion file holds."""
        last = self.parts[-1] if self.parts else None
        return {"prompt": self.prompt or None, "generation": self.text, "inference_max_tokens": len(self.ids),
                "inference_cache": last.cache if last else True, receipts.KEY: self.receipt().to_dict()}


class Conversation:
    """The tree. `path` is what is shown."""

    def __init__(self, most: int = KEPT_TOKENS):
        self.root = Exchange("", [], "", (), "", 0)
        self.most = most

    @property
    def path(self) -> list[Exchange]:
        """The exchanges that are shown, the first first."""
        found, here = [], self.root
        while here.children:
            here = here.children[here.chosen]
            found.append(here)
        return found

    @property
    def last(self) -> Exchange | None:
        """The last one that is shown."""
        path = self.path
        return path[-1] if path else None

    @property
    def tokens(self) -> int:
        """Tokens of prompts and replies in all branches."""
        return sum(len(one.ids) + len(one.prompt_ids) for one in self._all(self.root))

    def say(self, exchange: Exchange) -> None:
        """A new one after the last that is shown."""
        self.hang(exchange, self.last or self.root)

    def beside(self, other: Exchange, exchange: Exchange) -> None:
        """A new one in the place of another, which stays as a branch."""
        self.hang(exchange, other.parent or self.root)

    def fork(self, other: Exchange, at: int, chosen: int | None = None, probability: float = 0.0) -> Exchange:
        """A branch that has the first `at` tokens of a reply, and then `chosen`. It is to be gone on from."""
        ids, probabilities, parts = other.copy_until(at)
        made = Exchange(other.prompt, other.prompt_ids, other.opening, other.vocab, other.separator, other.n_ctx,
                        FORKED, at, ids, probabilities, parts)
        if chosen is not None:
            made.ids.append(chosen)
            made.probabilities.append(probability)
        self.beside(other, made)
        return made

    def place(self, exchange: Exchange) -> tuple[int, int]:
        """Which of its siblings it is, counted from 1, and how many there are."""
        siblings = (exchange.parent or self.root).children
        return siblings.index(exchange) + 1, len(siblings)

    def switch(self, exchange: Exchange, by: int) -> Exchange:
        """Shows the sibling `by` places further on, around the end; that one."""
        parent = exchange.parent or self.root
        parent.chosen = (parent.children.index(exchange) + by) % len(parent.children)
        return parent.children[parent.chosen]

    def show(self, exchange: Exchange) -> None:
        """Shows a branch, wherever it is."""
        here = exchange
        while here.parent is not None:
            here.parent.chosen = here.parent.children.index(here)
            here = here.parent

    def branches(self) -> list[tuple[int, Exchange]]:
        """Every exchange of the tree with its depth, in the order of a page."""
        return list(self._walk(self.root, 0))

    def remove(self, exchange: Exchange) -> None:
        """Takes one out, with what came after it."""
        parent = exchange.parent or self.root
        index = parent.children.index(exchange)
        parent.children.remove(exchange)
        if parent.chosen >= index:
            parent.chosen = max(0, parent.chosen - 1)
        exchange.parent = None

    def clear(self) -> None:
        """Begins anew."""
        self.root.children.clear()
        self.root.chosen = 0

    def prune(self) -> int:
        """Drops the oldest exchanges while there are more than `most` tokens or KEPT_EXCHANGES, the last one never; how
        many went."""
        count, left = sum(1 for _ in self._all(self.root)), self.tokens
        gone = 0
        while left > self.most or count - gone > KEPT_EXCHANGES:
            first = self.root.children[self.root.chosen]
            hidden = [one for one in self.root.children if one is not first]
            if hidden:
                victims = list(self._all_of(hidden[0]))
                self.remove(hidden[0])
            elif first.children:
                victims = [first]
                self.root.children, self.root.chosen = first.children, first.chosen
                for child in self.root.children:
                    child.parent = self.root
            else:
                break
            gone += len(victims)
            left -= sum(len(one.ids) + len(one.prompt_ids) for one in victims)
        return gone

    def hang(self, exchange: Exchange, parent: Exchange, *, shown: bool = True) -> None:
        """A new one after another (or the root), as the last of its siblings."""
        exchange.parent = parent
        parent.children.append(exchange)
        if shown:
            parent.chosen = len(parent.children) - 1

    def _all(self, here: Exchange) -> Iterator[Exchange]:
        waiting = list(here.children)  # a long conversation is a deep tree
        while waiting:
            one = waiting.pop()
            yield one
            waiting += one.children

    def _all_of(self, here: Exchange) -> Iterator[Exchange]:
        yield here
        yield from self._all(here)

    def _walk(self, here: Exchange, depth: int) -> Iterator[tuple[int, Exchange]]:
        waiting = [(child, depth) for child in reversed(here.children)]
        while waiting:
            one, deep = waiting.pop()
            yield deep, one
            waiting += [(child, deep + 1) for child in reversed(one.children)]


# Export ---------------------------------------------------------------------------------------------------------------


def export(path: Sequence[Exchange], form: str, one: Exchange | None = None) -> str:
    """The exchanges as a file. form: text, markdown, json (all with their receipts), or reply (a completion file of
    `one`, else the last, which `babytui inference --replay` writes again)."""
    if form == "reply":
        return _json((one or path[-1]).completion())
    if form == "json":
        return _json({"babytui_conversation": 1, "exchanges": [exchange.completion() for exchange in path]})
    if form == "text":
        return "\n\n".join(exchange.text for exchange in path) + "\n"
    return "\n".join(_markdown(exchange) for exchange in path)


def _markdown(exchange: Exchange) -> str:
    """Prompt and reply as fenced blocks, and what wrote them."""
    fence = "```"
    while fence in exchange.text:
        fence += "`"
    about = ""
    if exchange.parts:
        part, sampler = exchange.parts[-1], exchange.parts[-1].sampler
        about = (f"\n{part.origin.label}, {len(exchange.ids)} tokens, temperature {sampler.temperature:g}, "
                 f"seed {sampler.seed}, SHA-256 {part.origin.sha256[:12]}\n")
    return (f"**Prompt**\n\n{fence}\n{exchange.prompt}\n{fence}\n\n"
            f"**Reply**\n\n{fence}\n{exchange.reply}\n{fence}\n{about}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, indent=1) + "\n"
