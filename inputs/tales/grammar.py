"""How a template becomes a text: people, things and places with their forms, and a teller that fills them in.

A template is plain text with two marks. `{hero}`, `{hero.his}`, `{thing.a}` is a form of something in the scene, with a
capital when the slot is written with one (`{Hero.he}`); `[this|that]` is one of several wordings. A form may itself be
a template.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

LONGEST_LINE = 190  # characters; a longer paragraph is broken between two sentences

_SLOT = re.compile(r"\{([A-Za-z]\w*)(?:\.(\w+))?\}")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SMALL_WORDS = frozenset(
    ("a", "an", "and", "at", "but", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with", "who", "which")
)

_FORMS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
}


def article(words: str) -> str:
    """`words` with "a" or "an" before it, for the sounds in this vocabulary ("an hour", "a unicorn")."""
    first = words.lower().split()[0]
    vowel = first[0] in "aeiou" and not first.startswith(("one", "use", "uni"))
    return ("an " if vowel or first.startswith("hour") else "a ") + words


@dataclass(frozen=True)
class Person:
    """Somebody in a story. `tags` say what parts they can play; `hands` is what they hold things with."""

    name: str
    kind: str
    pronoun: str
    home: str
    food: str
    hands: str
    tags: frozenset[str]

    def form(self, name: str) -> str:
        """One form by name: he, him, his, himself, full, kind, home, food, hands, hand, a (with the kind)."""
        if name in _FORMS["he"]:
            return _FORMS[self.pronoun][name]
        if name == "full":
            if "child" in self.tags:
                return f"little {self.name}"
            return f"{self.name} the {self.kind}" if self.kind else self.name
        if name == "a":
            return article(self.kind)
        if name == "hand":
            return {"hooves": "hoof", "feet": "foot"}.get(self.hands, self.hands[:-1])
        return str(getattr(self, name))


@dataclass(frozen=True)
class Thing:
    """An object that is one: `noun` with an adjective, so that "the red kite" is also "the kite"."""

    noun: str
    adjective: str = ""

    def form(self, name: str) -> str:
        """One form by name: name, a, an (without the adjective), noun."""
        whole = f"{self.adjective} {self.noun}".strip()
        return {"name": whole, "a": article(whole), "an": article(self.noun), "noun": self.noun}[name]


@dataclass(frozen=True)
class Forms:
    """Anything else with named forms, such as a place that is "at" and "to"."""

    forms: Mapping[str, str] = field(hash=False)

    def form(self, name: str) -> str:
        """One form by name."""
        return self.forms[name]


@dataclass(frozen=True)
class Pick:
    """A beat of a story that takes `count` different paragraphs from `options`, in any order."""

    count: int
    options: tuple[str, ...]


@dataclass(frozen=True)
class Maybe:
    """A beat of a story that is told about half of the time."""

    options: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """A kind of story: who plays, what is in it, what may happen. `cast` maps each part to the tag it needs."""

    name: str
    cast: Mapping[str, str]
    props: Mapping[str, Sequence[object]]
    titles: tuple[str, ...]
    beats: tuple[tuple[str, ...] | Pick | Maybe, ...]


class Teller:
    """Chooses and fills in. The same seed tells the same texts on every Python: only `Random.random` is used.

    Options are dealt like cards: each comes once before any comes twice, so the whole set is heard.
    """

    def __init__(self, seed: int):
        self._random = random.Random(seed)
        self._decks: dict[object, list[int]] = {}

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""
        return int(self._random.random() * count)

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in any order (Fisher and Yates)."""
        cards = list(options)
        for last in range(len(cards) - 1, 0, -1):
            other = self.below(last + 1)
            cards[last], cards[other] = cards[other], cards[last]
        return cards

    def deal(self, options: Sequence[T], key: object = None) -> T:
        """The next card of the deck that belongs to these options, or to `key`."""
        deck = self._decks.setdefault(options if key is None else key, [])
        if not deck:
            deck.extend(self.shuffled(range(len(options))))
        return options[deck.pop()]

    def fill(self, template: str, scene: Mapping[str, object]) -> str:
        """The template with its choices made and its slots filled from the scene."""
        text = template
        while "[" in text or "{" in text:
            text = _CHOICE.sub(lambda mark: self._one_of(mark.group(1).split("|")), text)
            text = _SLOT.sub(lambda mark: self._form(mark, scene), text)
        return text

    def tell(self, shape: Shape, people: Sequence[Person]) -> tuple[str, list[str]]:
        """A title and the paragraphs of one story."""
        scene = self.scene(shape.cast, shape.props, people)
        title = title_case(self.fill(self.deal(shape.titles), scene))
        paragraphs: list[str] = []
        for beat in shape.beats:
            if isinstance(beat, Pick):
                chosen = [self.deal(beat.options) for _ in range(beat.count)]
                # A new deck may begin in the middle; the same card twice in one story would show.
                chosen += [option for option in beat.options if option not in chosen]
                chosen = list(dict.fromkeys(chosen))[: beat.count]
            elif isinstance(beat, Maybe):
                chosen = [self.deal(beat.options)] if self.below(2) else []
            else:
                chosen = [self.deal(beat)]
            for template in chosen:
                for line in self.fill(template, scene).split("\n"):
                    paragraphs += broken(line)
        return title, paragraphs

    def scene(
        self, cast: Mapping[str, str], props: Mapping[str, Sequence[object]], people: Sequence[Person]
    ) -> dict[str, object]:
        """A different person for each part, and a prop for each slot."""
        scene: dict[str, object] = {}
        for part, tag in cast.items():
            # A tag may be several, such as "little ground"; "-fly" means that the person must not have it.
            fits = [person for person in people if person not in scene.values() and _suits(person, tag)]
            scene[part] = self.deal(fits, key=(tag, tuple(person.name for person in fits)))
        for slot, options in props.items():
            free = [option for option in options if option not in scene.values()]
            scene[slot] = free[self.below(len(free))]
        return scene

    def _one_of(self, options: Sequence[str]) -> str:
        return options[self.below(len(options))]

    def _form(self, mark: re.Match[str], scene: Mapping[str, object]) -> str:
        slot, form = mark.group(1), mark.group(2) or "name"
        value = scene[slot[0].lower() + slot[1:]]
        if isinstance(value, str):
            words = article(value) if form == "a" else value
        else:
            words = value.form(form)  # type: ignore[attr-defined]
        return words[0].upper() + words[1:] if slot[0].isupper() else words


def _suits(person: Person, tag: str) -> bool:
    return all((word[1:] not in person.tags) if word[0] == "-" else (word in person.tags) for word in tag.split())


def title_case(words: str) -> str:
    """A title with capitals, save for the small words inside it."""
    parts = words.split(" ")
    return " ".join(
        part if index and part in _SMALL_WORDS else part[:1].upper() + part[1:] for index, part in enumerate(parts)
    )


def broken(paragraph: str) -> list[str]:
    """The paragraph, in as many pieces as keep each within `LONGEST_LINE`, broken between sentences.

    It is never broken inside of quotation marks.
    """
    if len(paragraph) <= LONGEST_LINE:
        return [paragraph]
    ends = [
        mark.end()
        for mark in re.finditer(r"[.!?]\"?(?= )", paragraph)
        if paragraph.count('"', 0, mark.end()) % 2 == 0
    ]
    fitting = [end for end in ends if end <= LONGEST_LINE]
    if not fitting:
        return [paragraph]
    middle = min(fitting, key=lambda end: abs(end - len(paragraph) // 2))
    return broken(paragraph[:middle]) + broken(paragraph[middle + 1 :])
