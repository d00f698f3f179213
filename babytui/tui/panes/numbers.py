"""A run's numbers as aligned lines: where it stands, how well it does, how fast it goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from babytui.tui.axis import amount, clock, size
from babytui.tui.widgets.lines import Line

NARROW, BROAD = 40, 74
_LEFT_OUT = ("val. ppl", "tokens", "steps/s")  # of what stands in four columns, where there is less room


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
    memory: int | None = None  # bytes that its process holds
    norms: Mapping[str, Any] | None = None  # the last Norms event
    gone: bool = False  # its files are not there any more

    @property
    def title(self) -> str:
        """Its name, and that of the model it fine-tunes."""
        return f"{self.name} from {self.base}" if self.base else self.name

    @property
    def over(self) -> bool:
        """Whether its process has ended."""
        return self.status not in ("starting", "running", "paused")

    @property
    def state(self) -> str:
        """Its status in a word; deleted when its files went after its end."""
        return "deleted" if self.gone and self.status and self.over else self.status

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
        parts = [self.name, self.state if self.state != "running" else f"{self.share:.0%}"]
        if isinstance(self.step.get("loss"), float):
            parts.append(f"loss {self.step['loss']:.3f}")
        if self.left is not None and self.status == "running":
            parts.append(clock(self.left) + " left")
        return " · ".join(parts)


_BY_NEED = ("loss", "val. loss", "rate", "grad norm", "tokens/s", "memory", "best val.", "epoch", "elapsed")


def numbers(view: RunView, width: int, rows: int = 12) -> list[Line]:
    """Four columns, three, or one in a narrow place, where no more than `rows` of them are shown."""
    if not view.guid:
        return []
    step = view.step
    pace = float(step.get("seconds") or 0)
    facts = {
        "loss": _loss(step.get("loss")), "val. loss": _loss(view.validation), "best val.": _loss(view.best),
        "val. ppl": _perplexity(view.validation),
        "tokens/s": amount(step["tokens_per_second"]) if step else "–",
        "rate": _rate(step["learning_rate"]) if step else "–",
        "grad norm": _loss(step.get("gradient_norm"), 2), "memory": size(view.memory) if view.memory else "–",
        "epoch": f"{step['epoch']:.2f}" if step else "–", "tokens": amount(step["tokens"]) if step else "–",
        "steps/s": f"{step['step'] / pace:.3g}" if pace else "–", "elapsed": clock(pace) if step else "–",
    }
    if width < NARROW:
        where: Line = [(f"{'step':<11}", "label"), (view.where, "value")]
        known = [name for name in _BY_NEED if name in facts][: max(0, rows - 3)]
        return [_bar(view.share, width), [(f"{view.share:>4.0%} {_remaining(view)}", "value")], where,
                *([(f"{name:<11}", "label"), (facts[name], "value")] for name in facts if name in known)]
    shown = [fact for fact in facts.items() if width >= BROAD or fact[0] not in _LEFT_OUT]
    columns = 4 if width >= BROAD else 3
    column = width // columns
    lines: list[Line] = []
    for n in range(0, len(shown), columns):
        cells = [((f"{name:<10}", "label"), (f"{value[:column - 11]:<{column - 10}}", "value"))
                 for name, value in shown[n: n + columns]]
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


def _rate(value: float) -> str:
    """A learning rate in at most seven characters."""
    return next((text for text in (f"{value:.3g}", f"{value:.2g}") if len(text) <= 7), f"{value:.1e}")


def _perplexity(loss: float | None) -> str:
    """How many symbols the model is torn between, on average."""
    return "–" if loss is None or not 0 <= loss < 14 else f"{math.exp(loss):.4g}"
