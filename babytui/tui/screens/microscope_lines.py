"""What the microscope says in words: its heading, tabs and keys, and the numbers under the cursor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from babytui import pictures
from babytui.looking import percent, symbol
from babytui.tui.bindings import hint_of
from babytui.tui.widgets.lines import Line
from babytui.visible import cells, cut, visible

if TYPE_CHECKING:
    from babytui.microscope import Losses, Microscope
    from engine.observation import Observation
    from engine.probe import Lens

VIEWS = ("attention", "gates", "lens", "loss", "tensors", "norms", "stream")
Said = list[tuple[str, str]]  # paragraphs and their roles


def heading(scope: Microscope, width: int) -> Line:
    """Whose it is, and what it reads."""
    baby = scope.baby
    name = visible(baby.name, newlines=False) + ("" if baby.step is None else f", step {baby.step:,}")
    extra = "" if not scope.start else f"the last {len(scope.seen)} of {len(scope.ids):,} tokens: "
    left = f", without {len(scope.missing)} unknown symbols" if scope.missing else ""
    words = extra + "".join(scope.pieces)
    return [(cut(name, width), "strong"), (" · " + cut(words, max(4, width - cells(name) - cells(left) - 3)), "label"),
            (left, "warn")]


def tabs(view: str, width: int) -> Line:
    """The views, the present one between bars."""
    line: Line = []
    before = ""
    for number, name in enumerate(VIEWS, 1):
        here = name == view
        word = "maps" if name == "attention" and width < 70 else name
        gap = "▌" if here else before or " "
        line += [(gap, "strong"), (f"{number} {word}", "strong" if here else "label")]
        before = "▐" if here else ""
        if width >= 70:  # a cell of its own on both sides
            line.append((before or " ", "strong"))
            before = ""
    return [*line, (before, "strong")]


def key_line(view: str, width: int) -> Line:
    """The keys of a view, as many as fit."""
    layer, head = ("previous layer", "next layer"), ("previous head", "next head")
    other = ("other observation", "observation before")
    views = {"attention": (layer, head, other, ("all heads",)), "gates": (layer, head, other),
             "lens": (layer,), "stream": (layer,), "loss": (("most surprising", "less surprising"),)}
    shown = [*(hint for names in (*views.get(view, ()), ("read text",), ("look again",))
               if (hint := hint_of(*names)) is not None), ("Esc", "back")]
    while len(shown) > 1 and sum(cells(key) + cells(word) + 3 for key, word in shown) - 2 > width:
        del shown[-2]
    gaps = ["  "] * (len(shown) - 1) + [""]
    return [piece for (key, word), gap in zip(shown, gaps, strict=True)
            for piece in ((key, "key"), (f" {word}{gap}", "label"))]


# --- what the cursor reads --------------------------------------------------------------------------------------------


def token_at(scope: Microscope, column: int) -> str:
    """A token that is read, and its place."""
    return f"{scope.start + column} “{scope.pieces[column]}”"


def map_reading(scope: Microscope, seen: Observation, head: int, row: int, column: int) -> Said:
    """A cell of an attention map."""
    own = seen.values[head, row]
    largest = int(np.abs(own).argmax())
    when = "a later one" if column > row else "itself" if column == row else f"{row - column} before"
    return [(f"output {token_at(scope, row)} ← position {token_at(scope, column)} ({when}): {float(own[column]):.6g}",
             "value"),
            (f"row: sum {own.sum():.4g}, largest {np.abs(own).max():.4g} at {token_at(scope, largest)}", "label")]


def gate_reading(scope: Microscope, seen: Observation, row: int, column: int) -> Said:
    """A gate, or a hidden channel, at a token."""
    own = seen.values[row]
    said = [(f"{seen.labels()[row]} at {token_at(scope, column)}: {float(own[column]):.6g}", "value"),
            (f"mean over tokens {own.mean():.4g}, from {own.min():.4g} to {own.max():.4g}", "label")]
    if seen.kind != "gates":
        said.append((f"all at this token: sparsity {seen.sparsity()[column]:.3f}, zeros "
                     f"{percent(float(seen.zeros()[column]))}", "label"))
    return said


def lens_reading(scope: Microscope, name: str, lens: Lens, column: int) -> Said:
    """What a layer would say after a token."""
    vocab = scope.baby.tokenizer.vocab
    likely = "  ".join(f"“{symbol(vocab[token])}” {share:.4f}" for token, share in
                       zip(lens.ids[column], lens.probabilities[column], strict=True))
    if lens.rank[column]:
        following = symbol(vocab[scope.seen[column + 1]])
        true = f"really “{following}”: rank {lens.rank[column]}, probability {lens.probability[column]:.6g}"
    else:
        true = "what comes next is not known"
    return [(f"{name} after {token_at(scope, column)}: {likely}", "value"),
            (f"{true} · entropy {lens.entropy[column]:.4f} nats", "label")]


def stream_reading(scope: Microscope, name: str, norms: np.ndarray, column: int) -> Said:
    """The residual stream at a token."""
    return [(f"{name} at {token_at(scope, column)}: {float(norms[column]):.6g}", "value"),
            (f"mean over tokens {norms.mean():.4g}", "label")]


def loss_reading(scope: Microscope, found: Losses, place: int, surprise: int) -> Said:
    """The loss of a token. surprise: its rank among all, from 1."""
    vocab = scope.baby.tokenizer.vocab
    shown = f"token {place} “{symbol(vocab[scope.ids[place]])}”"
    if not found.rank[place]:
        return [(f"{shown}: nothing comes before it, so nothing foresees it.", "value")]
    best = found.rank[place] == 1
    expected = "it was expected" if best else f"“{symbol(vocab[found.likeliest[place]])}” was expected instead"
    return [(f"{shown}: loss {found.losses[place]:.4f} nats, probability {found.probabilities[place]:.6g}", "value"),
            (f"rank {found.rank[place]}; {expected} · {surprise:,} of {found.sums.count:,} by surprise", "label")]


# --- pages ------------------------------------------------------------------------------------------------------------


def at_most(lines: list[Line], count: int) -> list[Line]:
    """The first lines, with an ellipsis where there are more."""
    if len(lines) <= count:
        return lines
    text, role = lines[count - 1][0]
    return [*lines[: count - 1], [(text + " …", role)]]


def small_multiples(seen: Observation, head: int, width: int) -> list[Line]:
    """All maps of an observation, small; that of `head` is marked."""
    T, labels = seen.values.shape[-1], seen.labels()
    parts = min(T, 24, max(4, (width - 2) // 2))
    wide = 2 if 2 * parts <= 24 else 1
    small = [pictures.cells(np.abs(values), parts, parts) for values in seen.values]
    full = max(float(one.max(initial=0)) for one in small)
    each = max(parts * wide, *(cells(label) + 2 for label in labels)) + 2
    per = max(1, width // each)
    lines: list[Line] = []
    for start in range(0, len(small), per):
        here = range(start, min(start + per, len(small)))
        lines.append([((("▸ " if n == head else "  ") + labels[n]).ljust(each), "accent" if n == head else "label")
                      for n in here])
        drawn = [pictures.shaded(np.sqrt(small[n]), 0, math.sqrt(full), wide) for n in here]
        lines += [[(part.ljust(each), "train") for part in row] for row in zip(*drawn, strict=True)]
        lines.append([])
    return lines
