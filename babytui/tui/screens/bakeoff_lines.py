"""What stands around the table of a bake-off: how it goes, what the columns mean, and the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from babytui import bakeoff_table as table
from babytui.bakeoff_progress import DONE, FAILED, Row
from babytui.tui.axis import clock
from babytui.tui.bindings import key_of
from babytui.tui.widgets.lines import Line

if TYPE_CHECKING:
    from babytui.bakeoff_progress import Progress

KEYS = (("n", "new"), ("l", "earlier"), ("⏎", "info"), ("c", "chat"), ("w", "watch"), ("o", "sort"), ("O", "turn"),
        ("x", "export"), ("s", "stop"), ("r", "resume"), ("d", "delete"), ("Esc", "back"))


def empty() -> str:
    """What is said where no bake-off is."""
    return f"There is no bake-off here; {key_of('bakeoff new')} starts one."


def head_lines(progress: Progress | None, rows: Sequence[Row], status: str, left: float | None,
               width: int) -> list[Line]:
    """Its name and how far it is, above what its runs share. left: seconds, None when that is not known."""
    if progress is None:
        return [[("bake-offs", "strong")], [(empty(), "label")]]
    plan = progress.plan
    done = sum(row.state in (DONE, FAILED) for row in rows)
    role = {"running": "good", "failed": "bad", "died": "bad"}.get(status, "accent")
    parts: Line = [(str(plan.get("name") or ""), "strong"), ("  ", "text"),
                   (status, role), (f"  {done} of {len(rows)} done", "value")]
    if left is not None:
        parts.append((f"  about {clock(left)} left", "value"))
    config = plan.get("config") or {}
    facts = [f"{progress.budget} each", str(plan.get("dataset") or ""),
             f"seed {plan.get('seed')}", count(config.get("n_layers"), "layer"), f"width {config.get('n_emb')}",
             f"context {config.get('n_ctx')}", f"batch {config.get('batch_size')}"]
    if (jobs := int(plan.get("jobs") or 1)) > 1:
        facts.append(f"{jobs} at once")
    while len(" · ".join(facts)) > width and len(facts) > 2:
        facts.pop()
    return [parts, [(" · ".join(facts), "label")]]


def word_lines(row: Row | None, sorted_by: str) -> list[Line]:
    """Why the chosen one failed, else what the column means that the table is sorted by (empty: there is none)."""
    if row is not None and row.values.get("error"):
        return [[(f"{row.architecture.label}: {row.values['error']}", "bad")]]
    if sorted_by in ("architecture", ""):
        return [[]]
    column = table.BY_KEY[sorted_by]
    unit = f" ({column.unit})" if column.unit else ""
    return [[(column.title, "strong"), (f"  {column.help}{unit}", "label")]]


def now_lines(rows: Sequence[Row], status: str, message: str, width: int) -> list[Line]:
    """What is being done, with a bar; or how it ended. message: why it failed, or what it waits for."""
    if status == "running" and message:
        return [[(message, "warn")]]
    live = [row for row in rows if row.live]
    ended = {"died": "It died; r goes on with what is missing.",
             "stopped": "It was stopped; r goes on with what is missing.", "failed": message}.get(status, "")
    if ended or not live:
        return [[(ended, "warn")]]
    row = live[0]
    words = f"  {row.architecture.label} {row.text}"
    if row.values.get("validation_loss") is not None:
        words += f"  val {table.loss(row.values['validation_loss'])}"
    if row.values.get("tokens_per_second"):
        words += f"  {table.amount(row.values['tokens_per_second'])} tokens/s"
    if len(live) > 1:
        words += f"  and {len(live) - 1} more"
    room = max(4, min(40, width - cell_len(words)))
    halves = round(row.share * room * 2)
    bar = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return [[(bar, "train"), ("─" * (room - len(bar)), "dim"), (words, "value")]]


def count(number: Any, noun: str) -> str:
    """1 layer, 4 layers."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def key_lines(width: int) -> list[Line]:
    """The keys, in as many lines as they need."""
    lines: list[Line] = []
    used = width
    for key, text in KEYS:
        need = cell_len(key) + 1 + len(text)
        if used + 2 + need > width:
            lines.append([])
            used = -2
        lines[-1] += [*([("  ", "text")] if lines[-1] else []), (key, "key"), (f" {text}", "label")]
        used += 2 + need
    return lines
