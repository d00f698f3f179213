"""Composes the nursery text: the hand-written texts among stories, dialogues and rhymes told from a grammar.

    python -m inputs.composer --out inputs/texts/nursery.txt

The same seed and size give the same bytes on every machine and every Python from 3.11. A piece is a title, a blank
line and its paragraphs; two blank lines lie between pieces, so that a model can learn where one ends.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from inputs.tales import at_home, at_night, out_of_doors, talk, verse
from inputs.tales.grammar import Teller, article
from inputs.tales.words import PEOPLE

SEED = 1
BYTES = 400_000
WRITTEN = ("stories", "rhymes", "dialogues")  # hand-written, each in texts/<name>.txt
BETWEEN = "\n\n\n"  # between two pieces

STORIES = (*at_home.SHAPES, *out_of_doors.SHAPES, *at_night.SHAPES)
DIALOGUES = talk.SHAPES

# What a turn of the wheel brings: mostly stories, because those are the hardest to learn.
WHEEL = ("story", "dialogue", "story", "story", "rhyme", "dialogue", "story", "dialogue", "story", "silly")


def compose_story(teller: Teller) -> str:
    """A story: a title and paragraphs with a blank line between them."""
    title, paragraphs = teller.tell(teller.deal(STORIES, "stories"), PEOPLE)
    return "\n\n".join([title, *paragraphs])


def compose_dialogue(teller: Teller) -> str:
    """A dialogue: a title, a blank line, and a turn in each line as "Name: text"."""
    title, lines = teller.tell(teller.deal(DIALOGUES, "dialogues"), PEOPLE)
    turns: list[str] = []
    for line in lines:
        name, words = line.split(": ", 1)
        # Where one beat ends and the next begins with the same speaker, it is still one turn.
        if turns and turns[-1].startswith(f"{name}: "):
            turns[-1] += " " + words
        else:
            turns.append(line)
    return title + "\n\n" + "\n".join(turns)


def compose_rhyme(teller: Teller) -> str:
    """Two or four couplets on one theme."""
    theme = teller.deal(tuple(verse.LINES))
    families = teller.shuffled(verse.LINES[theme])[: 4 if teller.below(3) == 0 else 2]
    couplets = []
    for family in families:
        first = teller.deal(family)
        second = teller.deal(family)
        while second == first:
            second = teller.deal(family)
        # Only a comma at the end of a couplet becomes a full stop; a question keeps its mark.
        couplets.append(first + "\n" + (second[:-1] + "." if second.endswith(",") else second))
    stanzas = ["\n".join(couplets[start : start + 2]) for start in range(0, len(couplets), 2)]
    return "\n\n".join([teller.deal(verse.TITLES[theme]), *stanzas])


def compose_silly(teller: Teller) -> str:
    """Three lines that rhyme inside, and one that ends them."""
    pairs: list[tuple[str, str]] = []
    while len(pairs) < 2:
        pair = teller.deal(verse.PAIRS)
        if pair not in pairs:
            pairs.append(pair)
    one, two, end = teller.deal(verse.LAST_PAIRS)
    line = teller.deal(verse.SILLY_LINES)
    lines = [teller.fill(line, {"one": article(a), "two": article(b)}) for a, b in [*pairs, (one, two)]]
    return "\n\n".join([teller.deal(verse.SILLY_TITLES), "\n".join([*lines, end])])


_MAKERS = {"story": compose_story, "dialogue": compose_dialogue, "rhyme": compose_rhyme, "silly": compose_silly}


def composed(seed: int) -> Iterator[str]:
    """Composed pieces without end; none comes twice."""
    teller = Teller(seed)
    seen: set[str] = set()
    turn = 0
    while True:
        piece = _MAKERS[WHEEL[turn % len(WHEEL)]](teller)
        turn += 1
        body = piece.split("\n\n", 1)[1]
        if body not in seen:
            seen.add(body)
            yield piece


def written(folder: Path | None = None) -> list[str]:
    """The hand-written pieces, in the order of the files."""
    folder = folder or Path(__file__).parent / "texts"
    pieces: list[str] = []
    for name in WRITTEN:
        pieces += (folder / f"{name}.txt").read_text(encoding="ascii").strip("\n").split(BETWEEN)
    return pieces


def compose(seed: int = SEED, size: int = BYTES) -> str:
    """The nursery text, of at least `size` bytes (more if the hand-written pieces alone are longer).

    The hand-written pieces are spread evenly, so that a validation part cut off anywhere is like the rest.
    """
    by_hand = Teller(seed).shuffled(written())
    room = size - sum(len(piece) + len(BETWEEN) for piece in by_hand)
    new: list[str] = []
    source = composed(seed)
    while room > 0:
        new.append(next(source))
        room -= len(new[-1]) + len(BETWEEN)
    places = [((index + 0.5) / len(by_hand), piece) for index, piece in enumerate(by_hand)]
    places += [((index + 0.5) / len(new), piece) for index, piece in enumerate(new)]
    places.sort(key=lambda place: place[0])
    return BETWEEN.join(piece for _, piece in places) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: writes the text to --out, or to standard output."""
    parser = argparse.ArgumentParser(prog="python -m inputs.composer", description="Compose the nursery text.")
    parser.add_argument("--seed", type=int, default=SEED, help=f"which text (default {SEED})")
    parser.add_argument("--bytes", type=int, default=BYTES, help=f"at least how long (default {BYTES})")
    parser.add_argument("--out", type=Path, help="where to write it (default: standard output)")
    options = parser.parse_args(arguments)
    text = compose(options.seed, options.bytes)
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.write_bytes(text.encode("ascii"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
