"""A run's numbers as aligned lines: where it stands, how well it does, how fast it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from babytui.tui.axis import amount, clock
from babytui.tui.widgets.lines import Line

NARROW = 40


@dataclass
class RunView:
    """What is known about the watched run."""

    guid: str = ""
    name: str = ""
    status: str = ""
    steps: int = 0
    step: Mapping[str, Any] = field(default_factory=dict)
    validation: float | None = None
    best: float | None = None
    end: Mapping[str, Any] | None = None
    base: str = ""
    budget: float | None = None  # seconds of training

    @property
    def title(self) -> str:
        """Its name, and that of the model it fine-tunes."""
        return f"{self.name} from {self.base}" if self.base else self.name

    @property
    def done(self) -> int:
        return int((self.end or {}).get("step") or self.step.get("step") or 0)

    @property
    def share(self) -> float:
        by_steps = self.done / self.steps if self.steps else 0.0
        by_time = float(self.step.get("seconds") or 0) / self.budget if self.budget else 0.0
        return min(1.0, max(by_steps, by_time))

    @property
    def where(self) -> str:
        """Steps done, and planned unless its time decides."""
        return f"{self.done:,}" if self.budget else f"{self.done:,} / {self.steps:,}"

    @property
    def left(self) -> float | None:
        """Seconds that remain at the present speed."""
        if self.status not in ("running", "paused") or not self.done or not self.steps:
            return None
        seconds = float(self.step.get("seconds") or 0)
        by_steps = seconds / self.done * max(0, self.steps - self.done)
        return by_steps if self.budget is None else min(by_steps, max(0.0, self.budget - seconds))

    def summary(self) -> str:
        """One short line for the top of the screen."""
        parts = [self.name, self.status if self.status != "running" else f"{self.share:.0%}"]
        if isinstance(self.step.get("loss"), float):
            parts.append(f"loss {self.step['loss']:.3f}")
        if self.left is not None and self.status == "running":
            parts.append(clock(self.left) + " left")
        return " · ".join(parts)


def numbers(view: RunView, width: int) -> list[Line]:
    """Three columns, or one in a narrow place."""
    if not view.guid:
        return []
    step = view.step
    facts = [
        ("loss", _loss(step.get("loss"))), ("val. loss", _loss(view.validation)), ("best val.", _loss(view.best)),
        ("tokens/s", amount(step["tokens_per_second"]) if step else "–"),
        ("rate", f"{step['learning_rate']:.3g}" if step else "–"),
        ("grad norm", _loss(step.get("gradient_norm"), 2)),
        ("epoch", f"{step['epoch']:.2f}" if step else "–"), ("tokens", amount(step["tokens"]) if step else "–"),
        ("elapsed", clock(step["seconds"]) if step else "–"),
    ]
    if width < NARROW:
        bar = [_bar(view.share, width), [(f"{view.share:>4.0%} {_remaining(view)}", "value")]]
        where: Line = [(f"{'step':<11}", "label"), (view.where, "value")]
        return [*bar, where, *([(f"{name:<11}", "label"), (value, "value")] for name, value in facts)]
    column = width // 3
    lines: list[Line] = []
    for n in range(0, 9, 3):
        cells = [((f"{name:<10}", "label"), (f"{value:<{column - 10}}"[: column - 10], "value"))
                 for name, value in facts[n: n + 3]]
        lines.append([piece for cell in cells for piece in cell])
    text = f"  {view.where}  {view.share:>4.0%} {_remaining(view):<14}"
    return [[*_bar(view.share, max(4, width - len(text))), (text, "value")], *lines]


def _remaining(view: RunView) -> str:
    if view.status == "running" and view.left is not None:
        return clock(view.left) + " left"
    return view.status


def _bar(share: float, width: int) -> Line:
    """A bar in half cells; it changes as seldom as it can."""
    halves = round(share * width * 2)
    bar = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return [(bar, "train"), ("─" * (width - len(bar)), "dim")]


def _loss(value: Any, digits: int = 4) -> str:
    if not isinstance(value, (int, float)):
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.2e}"
