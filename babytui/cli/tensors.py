"""babytui tensors"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from babytui import workspace_choice
from babytui.cli.output import Output, columns, table
from engine.errors import NotFound, shown

_ROWS = 24  # of a picture


def run(arguments: Any) -> int:
    """Show a model's tensors in numbers, or one of them as a picture."""
    from babytui import pictures
    from babytui.cli.look import opened

    out: Output = arguments.out
    baby = opened(arguments, workspace_choice.choose(arguments.workspace), out)
    arrays = {name: array for name, array in baby.model.export().items() if hasattr(array, "shape")}
    name = arguments.tensor
    width = columns(sys.stdout)
    about = {"guid": baby.guid, "name": baby.name, "step": baby.step}
    if name in arrays:
        if arguments.json:
            down, across = _size(arrays[name], width)
            matrix = pictures.matrix(arrays[name])
            cells = {how: pictures.cells(matrix, down, across, how).tolist() for how in ("mean", "rms")}
            out.data({**about, "tensor": {**pictures.summary(name, arrays[name]).to_dict(), "cells": cells}})
            return 0
        for line in picture(name, arrays[name], width):
            out.print(line)
        return 0
    chosen = _chosen(arrays, name, baby.name)
    if arguments.json:
        out.data({**about, "tensors": [one.to_dict() for one in pictures.summaries(chosen)]})
        return 0
    for line in listing(chosen, width):
        out.print(line)
    return 0


def _chosen(arrays: Mapping[str, Any], pattern: str | None, whose: str) -> Mapping[str, Any]:
    """The tensors that a pattern names; NotFound says which name is near."""
    if pattern is None:
        return arrays
    found = {name: array for name, array in arrays.items() if fnmatchcase(name, pattern)}
    if not found:
        near = difflib.get_close_matches(pattern, arrays, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise NotFound(f"{whose} has no tensor {shown(pattern)}{hint}")
    return found


def listing(arrays: Mapping[str, Any], width: int) -> list[str]:
    """A line for each tensor; as much of it as fits."""
    from babytui import pictures

    longest = max(map(len, arrays))
    least = longest + 2 + 11 + 4 * 11 + 8
    bins = max(8, min(24, width - least - 2))
    rows = [["tensor", "shape", "mean", "std", "min", "max", "zeros", "histogram"]]
    for one in pictures.summaries(arrays, bins):
        rows.append([one.name, "×".join(map(str, one.shape)), *map(_number, (one.mean, one.std, one.low, one.high)),
                     f"{100 * one.zeros:.0f} %", pictures.counted(one.counts)])
    if width < least + 2 + bins:  # what matters least goes first
        keep = [0, 1, 3, 6, 7] if width < least - 22 + 2 + bins else [0, 1, 2, 3, 6, 7]
        rows = [[row[i] for i in keep] for row in rows]
    return table(rows, right=range(2, len(rows[0]) - 1))


def _number(value: float) -> str:
    return f"{value:.3g}"


def _size(array: Any, width: int) -> tuple[int, int]:
    """Rows and columns of its picture."""
    from babytui import pictures

    R, _ = pictures.matrix(array).shape
    return min(R, _ROWS), max(8, width - len(f"{R}–{R}") - 4)


def picture(name: str, array: Any, width: int) -> Iterator[str]:
    """One tensor: its numbers, its histogram, and its rows and columns brought down to cells."""
    from babytui import pictures

    bins = max(16, min(64, width - 24))
    one = pictures.summary(name, array, bins)
    yield f"{name}  {'×'.join(map(str, one.shape))}, {one.size:,} numbers"
    yield (f"  mean {_number(one.mean)}, std {_number(one.std)}, from {_number(one.low)} to {_number(one.high)}, "
           f"zeros {100 * one.zeros:.2g} %" + (f", not finite {one.odd}" if one.odd else ""))
    yield ""
    yield f"  {_number(one.edges[0]):>9} {pictures.counted(one.counts)} {_number(one.edges[-1])}"
    yield ""
    matrix = pictures.matrix(array)
    shown = pictures.cells(matrix, *_size(array, width), "rms")
    full = float(shown.max(initial=0))
    cuts = pictures.edges(len(matrix), len(shown))
    labels = [str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in pairwise(cuts)]
    label = max(map(len, labels))
    for text, row in zip(labels, pictures.shaded(shown, 0, full), strict=True):
        yield f"  {text:>{label}}  {row}".rstrip()
    across = matrix.shape[1] / shown.shape[1]
    yield f"  blank 0, {pictures.SHADES[-1]} {full:.3g}; rows down, columns across"
    yield "  A cell is " + ("a number's size." if shown.shape == matrix.shape else
                            f"the root mean square of about {len(matrix) / len(shown):.3g} × {across:.3g}.")
