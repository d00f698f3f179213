"""babytui curve"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from babytui import workspace_choice
from babytui.cli.output import Output, columns
from babytui.cli.parser import duration
from babytui.curve import loading, plot
from babytui.curve.curve import GLYPHS, MARK_NAMES, Curve
from babytui.curve.window import Window
from engine.errors import UsageError

WIDTH, HEIGHT = 80, 20


def run(arguments: Any) -> int:
    """Draw the loss of models and runs as text, or print its points."""
    out: Output = arguments.out
    if len(arguments.guid) > plot.MOST:
        raise UsageError(f"babytui curve draws at most {plot.MOST} models together, not {len(arguments.guid)}.")
    workspace = workspace_choice.choose(arguments.workspace)
    curves = [loading.load(workspace, reference) for reference in arguments.guid]
    by = _unit(curves, arguments.by, out)
    low, high = (_place(text, flag, by) for text, flag in ((arguments.first, "--from"), (arguments.last, "--to")))
    window = None
    if low is not None or high is not None:
        whole, _ = plot.axis_of(curves, by, arguments.log_x)
        window = Window(whole.low if low is None else low, whole.high if high is None else high)
        if window.high <= window.low:
            if high is None:
                raise UsageError(f"--from must be before the end of the curve, {whole.high:g}.")
            raise UsageError(f"--to must be more than --from; the curve goes to {whole.high:g}.")
        curves = [loading.load(workspace, curve.guid or reference, _steps(curve, by, window))
                  for curve, reference in zip(curves, arguments.guid, strict=True)]
    empty = [curve for curve in curves if curve.empty]
    if arguments.json:
        out.data([_data(curve, by, window, arguments.smooth) for curve in curves])
        return 1 if len(empty) == len(curves) else 0
    for curve in empty:
        out.warn(f"babytui: nothing is known yet of how {curve.name} learned.")
    if len(empty) == len(curves):
        return 1
    width = arguments.width or columns(sys.stdout, WIDTH)
    options = plot.Options(by, arguments.log_x, arguments.log_y, arguments.smooth, arguments.show, window)
    picture = plot.draw(curves, width, arguments.height or HEIGHT, options)
    for line in picture.plain.split("\n"):
        out.print(line.rstrip())
    said = [f"{glyph} {MARK_NAMES[kind]}" for kind, glyph in GLYPHS.items()
            if any(mark.kind == kind for mark in curves[0].marks)]
    if said:
        out.say("marks: " + ", ".join(said))
    return 0


def _unit(curves: list[Curve], by: str, out: Output) -> str:
    """What the axis can count, and a word when that is not what was asked for."""
    for curve in curves:
        if not curve.empty and not {"time": curve.timed, "tokens": curve.tokens_per_step}.get(by, True):
            out.warn(f"babytui: the report of {curve.name} does not tell {by}; counting steps.")
            return "step"
    return by


def _place(text: str | None, flag: str, by: str) -> float | None:
    """A place on the axis: a number, of time also 5m or 1h. UsageError."""
    if text is None:
        return None
    try:
        place = duration(text) if by == "time" and text.strip("0.") else float(text)
    except (ValueError, argparse.ArgumentTypeError):
        place = -1.0
    if not 0 <= place < 1e18:
        kind = "a time such as 60s or 5m" if by == "time" else "a number of at least 0"
        raise UsageError(f"babytui curve: {flag} is {kind}, not '{text}'.")
    return place


def _steps(curve: Curve, by: str, window: Window) -> tuple[float, float] | None:
    if curve.empty:
        return None
    return curve.step_at(window.low, by), curve.step_at(window.high, by)


def _data(curve: Curve, by: str, window: Window | None, smoothing: float) -> dict[str, Any]:
    """What --json prints of a curve."""
    def rows(which: str) -> list[dict[str, Any]]:
        return [{"step": p.step, "tokens": p.step * curve.tokens_per_step or None,
                 "seconds": p.seconds if curve.timed else None, "loss": p.value,
                 **({"learning_rate": p.rate, "gradient_norm": p.norm} if p.rate or p.norm else {})}
                for p in curve.points(which, smoothing, 1.0)
                if window is None or window.low <= curve.x(p, by) <= window.high]

    return {"guid": curve.guid, "name": curve.name, "train": rows("train"), "validation": rows("validation"),
            "marks": [{"step": mark.step, "kind": mark.kind, "text": mark.text} for mark in curve.marks
                      if window is None or window.low <= curve.x(mark, by) <= window.high]}
