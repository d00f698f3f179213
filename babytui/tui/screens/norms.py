"""How large the gradients and updates of every part of the watched model are: where it learns and where not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen

from babytui.tui.panes.base import paragraph
from babytui.tui.safe import plain
from babytui.tui.widgets.bars import hint_content
from babytui.tui.widgets.lines import Line, Lines
from engine.errors import BabyError

if TYPE_CHECKING:
    from store.workspace import Workspace

_DECADES = (1e-6, 1.0)
_TAIL = 5000  # lines of a run's journal in which the last norms are looked for
_USUAL = (1e-4, 1e-2)
"""The share of its weights by which a step usually changes a part that learns well."""


class NormsScreen(ModalScreen[None]):
    """Shows the last norms of a run; `tell` shows newer ones."""

    CSS_PATH = ["dialogs.tcss", "curve.tcss"]
    HELP = ("The gradient norm of a part tells how much it would have to change; update / weight, by how much of "
            "itself one step changes it. Parts that hardly change learn nothing; parts that change by a hundredth or "
            "more at every step forget, and want a lower learning rate.")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,n,ctrl+c,enter", "dismiss", "Back"),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]

    def __init__(self, name: str, norms: Mapping[str, Any] | None):
        super().__init__()
        self._name, self._norms = name, norms

    def compose(self) -> ComposeResult:
        box = Vertical(classes="dialog")
        box.border_title = plain(f"Norms of {self._name}" if self._name else "Norms")
        box.border_subtitle = hint_content([("↑ ↓", "scroll"), ("Esc", "back")])
        with box, VerticalScroll():
            yield Lines(id="norms")

    def on_mount(self) -> None:
        self.query_one(Lines).show(lambda width: norm_lines(self._norms, width))

    def tell(self, norms: Mapping[str, Any]) -> None:
        """Newer norms of the same run."""
        self._norms = norms
        if self.is_mounted:
            self.query_one(Lines).show(lambda width: norm_lines(self._norms, width))

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)


def norm_lines(norms: Mapping[str, Any] | None, width: int) -> list[Line]:
    """A line for each part of a model: its gradient norm as a bar, and update over weight on a logarithmic scale.

    norms: the fields of a Norms event. Gradients are of the mean loss, before clipping.
    """
    if not norms:
        return paragraph("No norms yet: a run tells them at each evaluation, and runs of earlier versions do not tell "
                         "them.", width, "dim")
    gradient, update, weight = norms["gradient"], norms["update"], norms["weight"]
    parts = [part for part in gradient if part in update and part in weight]
    name = min(20, max([4, *(len(part) for part in parts)]))
    bar = max(4, (width - name - 24) // 2)
    highest = max([0.0, *(_number(gradient[part]) for part in parts)])
    lines: list[Line] = [[(f"after step {norms.get('step', 0):,}", "value")], [],
                         [(f"{'part':<{name}} ", "label"), (f"{'gradient norm':<{bar + 10}} ", "label"),
                          ("update / weight", "label")]]
    for part in parts:
        size, ratio = _number(gradient[part]), 0.0
        if _number(weight[part]) > 0:
            ratio = _number(update[part]) / _number(weight[part])
        if not size and not ratio:
            lines.append([(f"{part[:name]:<{name}} ", "label"), ("not trained", "dim")])
            continue
        usual = _USUAL[0] <= ratio <= _USUAL[1]
        lines.append([(f"{part[:name]:<{name}} ", "label"), *_bar(size / highest if highest else 0.0, bar),
                      (f" {size:<8.3g} ", "value"), *_scale(ratio, bar),
                      (f" {ratio:.1e}", "value" if usual else "warn"), ("" if usual else " !", "warn")])
    lines += [[], *paragraph(f"Update / weight is how much one step changes a part, from {_DECADES[0]:.0e} to "
                             f"{_DECADES[1]:.0f}; {_USUAL[0]:.0e} to {_USUAL[1]:.0e} is usual, and ! marks what is "
                             "beyond.", width, "dim")]
    return lines


def _number(value: Any) -> float:
    """A strange journal may hold anything."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0 else 0.0


def _bar(share: float, width: int) -> Line:
    halves = max(1, round(share * width * 2)) if share else 0
    bar = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return [(bar, "train"), (" " * (width - len(bar)), "text")]


def _scale(ratio: float, width: int) -> Line:
    """A point on a logarithmic scale on which what is usual is drawn stronger."""
    low, high = (math.log10(edge) for edge in _DECADES)

    def place(value: float) -> int:
        share = (math.log10(max(value, _DECADES[0])) - low) / (high - low)
        return min(width - 1, max(0, round(share * (width - 1))))

    first, last, at = place(_USUAL[0]), place(_USUAL[1]), place(ratio)
    return [("●", "value" if first <= n <= last else "warn") if n == at else
            ("─", "label") if first <= n <= last else ("·", "dim") for n in range(width)]


def last_norms(workspace: Workspace, guid: str) -> dict[str, Any] | None:
    """The last norms that a run told; None without a run or norms."""
    from babytui import runs
    from engine.events import Norms

    try:
        run = runs.find(workspace, guid)
    except BabyError:
        return None
    return next((event.to_dict() for event in reversed(run.last_events(_TAIL)) if isinstance(event, Norms)), None)
