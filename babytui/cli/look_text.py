"""A look at a model in plain text: shades and bars that need no colour, as wide as the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from babytui import pictures
from babytui.cli.output import table
from babytui.looking import Page, Surprises, percent, symbol
from babytui.visible import cells, cut
from engine.observation import GATES, MAP, Observation
from engine.probe import Lens, Look, Stretch

_SYMBOL = 8  # columns that a token may take in a table
_SMALL = 24  # cells of a map that stands beside others
_ROWS = 8  # of a picture of many channels
_BANDS = 4  # how often a row of tokens may be broken before it is averaged instead


def padded(text: str, width: int, right: bool = False) -> str:
    """A text that takes `width` columns of a terminal, or more where it is longer."""
    gap = " " * (width - cells(text))
    return gap + text if right else text + gap


def lines(page: Page, what: str, width: int) -> Iterator[str]:
    """A look in words and shades, at most `width` columns wide. what: lens, attention, contribution, gates, norms."""
    if not page.look.causal:
        yield from ("Its tokens see later ones, so it may know what comes next.", "")
    yield from {"lens": _lens, "norms": _norms}.get(what, _observations)(page, what, width)


def _observations(page: Page, what: str, width: int) -> Iterator[str]:
    names = [symbol(piece) for piece in page.pieces]
    told: set[str] = set()
    first = True
    for layer, part, seen in page.told(what):
        if not first:
            yield ""
        first = False
        values, labels = page.chosen(seen)
        variant = page.variants[part == "network"]
        yield f"layer {layer.index}, {part} ({variant}): {seen.title}"
        if seen.about not in told:  # the same for every layer
            told.add(seen.about)
            yield from _wrapped(seen.about, width)
        if seen.kind == MAP:
            yield from _maps(values, labels, names, width)
        elif seen.kind == GATES:
            yield from _gates(values, labels, names, width)
        else:
            yield from _activations(seen, values, labels, names, width)


def _wrapped(text: str, width: int, indent: str = "  ") -> Iterator[str]:
    yield from textwrap.wrap(text, max(20, width), initial_indent=indent, subsequent_indent=indent)


def _drawn(values: np.ndarray, full: float, wide: int) -> list[str]:
    """A map from 0 to `full` in shades of the square root: a weight among many others is small, and is to be seen."""
    return pictures.shaded(np.sqrt(values), 0, math.sqrt(full), wide)


def _steps(full: float, T: int, parts: int) -> str:
    """What the shades of a map stand for, and its cells."""
    last = len(pictures.SHADES) - 1
    steps = ", ".join(f"{shade} {full * (i / last) ** 2:.2g}" for i, shade in enumerate(pictures.SHADES) if i)
    return f"  {steps}" + ("" if parts == T else f"; a cell is the mean of about {T / parts:.2g} × {T / parts:.2g}")


def _maps(values: np.ndarray, labels: Sequence[str], names: Sequence[str], width: int) -> Iterator[str]:
    if len(values) == 1:
        if labels[0] != "layer":
            yield f"  {labels[0]}"
        yield from _large(values[0], names, width)
        return
    T = values.shape[1]
    parts = min(T, _SMALL, max(4, width - 2))
    wide = 2 if 2 * parts <= _SMALL else 1
    small = np.array([pictures.cells(one, parts, parts) for one in values])
    full, each = float(small.max()), max(parts * wide, max(map(len, labels)))
    per = max(1, (width - 2 + 2) // (each + 2))
    for start in range(0, len(small), per):
        yield ("  " + "  ".join(padded(label, each) for label in labels[start : start + per])).rstrip()
        drawn = [_drawn(one, full, wide) for one in small[start : start + per]]
        for row in zip(*drawn, strict=True):
            yield ("  " + "  ".join(padded(part, each) for part in row)).rstrip()
    yield _steps(full, T, parts)


def _large(values: np.ndarray, names: Sequence[str], width: int) -> Iterator[str]:
    T = len(values)
    label = min(_SYMBOL, max(map(cells, names)))
    room = max(4, width - label - 4)
    wide = 2 if room >= 2 * T else 1
    parts = min(T, room // wide)
    shown = pictures.cells(values, parts, parts)
    full = float(shown.max())
    if parts == T and all(cells(name) == 1 for name in names):
        yield "  " + " " * (label + 2) + "".join(padded(name, wide) for name in names).rstrip()
    for name, row in zip(pictures.labelled(names, parts), _drawn(shown, full, wide), strict=True):
        yield f"  {padded(cut(name, label), label)}  {row}".rstrip()
    yield _steps(full, T, parts)
    yield "  Rows are outputs, columns what they take in."


def _stretches(names: Sequence[str], room: int) -> tuple[list[slice], bool]:
    """How a row of tokens is broken into lines; whether each token has a column of its own."""
    T = len(names)
    if all(cells(name) == 1 for name in names) and _BANDS * room >= T:
        return [slice(start, min(start + room, T)) for start in range(0, T, room)], True
    return [slice(0, T)], room >= T


def _gates(values: np.ndarray, labels: Sequence[str], names: Sequence[str], width: int) -> Iterator[str]:
    label, full = max(map(cells, labels)), float(values.max())
    room = max(8, width - label - 18)
    bands, _ = _stretches(names, room)
    for band in bands:
        own = values[:, band]
        single = own.shape[1] <= room
        if single and all(cells(name) == 1 for name in names[band]):
            yield "  " + " " * (label + 2) + "".join(names[band])
        for name, row, mean in zip(labels, pictures.cells(own, len(own), room), values.mean(1), strict=True):
            tail = f"  mean {mean:.3f}" if band.start == 0 else ""
            yield f"  {padded(name, label)}  {pictures.bars(row, 0, full)}{tail}".rstrip()
    yield f"  █ {full:.3g}" + ("" if single else f"; a bar is the mean of about {len(names) / room:.3g} tokens")


def _activations(seen: Observation, values: np.ndarray, labels: Sequence[str], names: Sequence[str],
                 width: int) -> Iterator[str]:
    n = len(values)
    cuts = pictures.edges(n, _ROWS)
    rows = [f"{seen.of} {a}" if b - a == 1 else f"{seen.of}s {a}–{b - 1}"
            for a, b in pairwise(cuts)] if n > 1 else list(labels)
    label = max(map(cells, rows))
    room = max(8, width - label - 4)
    bands, _ = _stretches(names, room)
    full = float(pictures.cells(values, _ROWS, values.shape[1], "rms").max())
    for band in bands:
        own = pictures.cells(values[:, band], _ROWS, room, "rms")
        single = band.stop - band.start <= room
        if single and all(cells(name) == 1 for name in names[band]):
            yield "  " + " " * (label + 2) + "".join(names[band])
        for name, row in zip(rows, pictures.shaded(own, 0, full), strict=True):
            yield f"  {padded(name, label)}  {row}".rstrip()
    size = "sizes" if n <= _ROWS and single else "root mean squares"
    yield f"  blank 0, {pictures.SHADES[-1]} {full:.3g}: {size}"
    every = seen.values
    yield (f"  mean {every.mean():.3g}, from {every.min():.3g} to {every.max():.3g}; sparsity "
           f"{seen.sparsity().mean():.2f}, zeros {percent(float(seen.zeros().mean()))}")


def _lenses(look: Look) -> list[tuple[str, Lens]]:
    return [("input", look.embedding_lens), *((f"layer {layer.index}", layer.lens) for layer in look.layers)]


def _lens(page: Page, what: str, width: int) -> Iterator[str]:
    names = [symbol(piece) for piece in page.pieces]
    known = [cut(symbol(piece), _SYMBOL) for piece in page.vocab]
    columns = _lenses(page.look)
    if len(page.look.layers) == 1:
        yield from _candidates(page, known, width)
        return
    last = columns[-1][1]
    each = max(max(cells(known[token]) for lens in columns for token in lens[1].ids[:, 0]) + 7, 8) + 2
    room = max(2, (width - _SYMBOL - 12) // each)
    picked = columns if len(columns) <= room else [columns[i] for i in
                                                   sorted({round(k * (len(columns) - 1) / (room - 1))
                                                           for k in range(room)})]
    yield from _wrapped("The likeliest next token after each position, if the model ended there.", width, "")
    if left := len(columns) - len(picked):
        yield f"{left} layer{'s are' if left > 1 else ' is'} left out; --layer shows one."
    yield ""
    rows = [["token", *(name for name, _ in picked), "next", "rank"]]
    for t, name in enumerate(names):
        row = [cut(name, _SYMBOL)]
        for _, lens in picked:
            row.append(f"{known[lens.ids[t, 0]]} {percent(lens.probabilities[t, 0])}")
        following = known[page.look.ids[t + 1]] if t + 1 < len(names) else ""
        rows.append([*row, following, str(last.rank[t]) if last.rank[t] else ""])
    yield from table(rows, right=[len(rows[0]) - 1])
    if len(names) > 1:
        yield ""
        yield from _means(columns)


def _means(columns: Sequence[tuple[str, Lens]]) -> list[str]:
    """How well each layer would foresee what comes, one below the other."""
    rows = [["", "mean rank of the next token", "mean loss"]]
    rows += [[name, f"{lens.rank[:-1].mean():.1f}",
              f"{-np.log(np.maximum(lens.probability[:-1], 1e-300)).mean():.3f}"] for name, lens in columns]
    return table(rows, right=[1, 2])


def _candidates(page: Page, known: Sequence[str], width: int) -> Iterator[str]:
    """One layer: the likeliest tokens after each position, and the place of what really comes."""
    name, lens = _lenses(page.look)[-1]
    ids = page.look.ids
    each = max(cells(known[token]) for token in lens.ids.reshape(-1)) + 9
    longest = min(_SYMBOL, max(cells(symbol(piece)) for piece in page.pieces))
    count = max(1, min(lens.ids.shape[1], (width - max(longest, 5) - max(longest, 4) - 18) // each))
    yield from _wrapped(f"The likeliest next tokens if the model ended with {name}.", width, "")
    yield ""
    rows = [["token", "next", "rank", "prob.", *(str(k + 1) for k in range(count))]]
    for t, piece in enumerate(page.pieces):
        more = t + 1 < len(ids)
        rows.append([cut(symbol(piece), _SYMBOL), known[ids[t + 1]] if more else "", str(lens.rank[t]) if more else "",
                     percent(float(lens.probability[t])) if more else "",
                     *(f"{known[lens.ids[t, k]]} {percent(lens.probabilities[t, k])}" for k in range(count))])
    yield from table(rows, right=[2, 3])


def _norms(page: Page, what: str, width: int) -> Iterator[str]:
    yield from _wrapped("L2 norms: of the residual stream after each layer, and of what its two parts add; means over "
                        "the tokens.", width, "")
    yield ""
    streams = [("input", page.look.embedding_norm), *((f"layer {one.index}", one.norm) for one in page.look.layers)]
    full = max(float(stream.max()) for _, stream in streams)
    room = max(8, width - 44)
    rows = [["", "stream", "attention", "network", "stream by token"]]
    parts = {f"layer {one.index}": one for one in page.look.layers}
    for name, stream in streams:
        layer = parts.get(name)
        rows.append([name, f"{stream.mean():.3f}", f"{layer.attention_norm.mean():.3f}" if layer else "",
                     f"{layer.network_norm.mean():.3f}" if layer else "",
                     pictures.bars(pictures.cells(stream[None], 1, room)[0], 0, full)])
    yield from table(rows, right=[1, 2, 3])
    yield ""
    yield f"█ {full:.3g}"




# A text, token by token ----------------------------------------------------------------------------------------------


def surprising(stretches: Iterable[Stretch], first: int, vocab: Sequence[str], width: int,
               sums: Surprises) -> Iterator[str]:
    """A text, line by line, with a bar below each token: how much it surprised, full for no better than guessing.

    first: the text's first token, which nothing foresees. sums: takes everything in.
    """
    full = math.log(max(2, len(vocab)))
    above, below, used = [symbol(vocab[first])], [" " * cells(symbol(vocab[first]))], cells(symbol(vocab[first]))
    for stretch in stretches:
        sums.add(stretch)
        heights = pictures.bars(stretch.losses, 0, full)
        for token, height in zip(stretch.ids, heights, strict=True):
            text = symbol(vocab[token])
            size = cells(text)
            if above and used + size > width:
                yield from _pair(above, below)
                above, below, used = [], [], 0
            above.append(text)
            below.append(height * size)
            used += size
            if "\n" in vocab[token]:
                yield from _pair(above, below)
                above, below, used = [], [], 0
    if above:
        yield from _pair(above, below)


def _pair(above: Sequence[str], below: Sequence[str]) -> tuple[str, str]:
    return "".join(above), "".join(below).rstrip()


def worst(sums: Surprises, ids: Sequence[int], vocab: Sequence[str], width: int) -> Iterator[str]:
    """The tokens that surprised most, and the sums."""
    facts = sums.facts()
    yield from _wrapped(f"{sums.count:,} tokens: loss {facts['mean_loss']:.4f} nats, {facts['bits_per_token']:.3f} "
                        f"bits a token, perplexity {facts['perplexity']:.2f}; {percent(facts['foreseen'])} were the "
                        "likeliest.", width, "")
    if not sums.worst:
        return
    yield ""
    rows = [["place", "after", "came", "prob.", "expected"]]
    for _, place, token, probability, likeliest in sums.worst:
        before = "".join(symbol(vocab[i]) for i in ids[max(0, place - 16) : place])
        rows.append([f"{place:,}", _end(before, min(24, max(8, width - 48))), cut(symbol(vocab[token]), _SYMBOL),
                     percent(probability), cut(symbol(vocab[likeliest]), _SYMBOL)])
    yield from table(rows, right=[0, 3])


def _end(text: str, room: int) -> str:
    """The last `room` columns of a text."""
    while cells(text) > room:
        text = text[1:]
    return text
