"""The report of a run, built from its journal: the earlier program's keys, then the curve under our own."""

from __future__ import annotations

from typing import Any

from babytui.runs import Run
from engine import events

MAX_LINES = 1000


class Curve:
    """The steps and evaluations of a run, in bounded memory: when there are too many steps, every other one goes."""

    def __init__(self) -> None:
        self.start: events.Start | None = None
        self.steps: list[events.Step] = []
        self.evaluations: list[events.Evaluation] = []
        self.every = 1

    def add(self, event: events.Event) -> None:
        """Take one event in. A Start after a resume drops what was done after the checkpoint it went on from, and the
        last look at the model of a run that had ended there; what is told twice of a step counts once."""
        if isinstance(event, events.Start):
            self.start = event
            self.steps = [step for step in self.steps if step.step <= event.step]
            self.evaluations = [found for found in self.evaluations
                                if found.step < event.step or (found.step == event.step and not found.full)]
        elif isinstance(event, events.Evaluation):
            if self.evaluations and self.evaluations[-1].step == event.step:
                self.evaluations.pop()
            self.evaluations.append(event)
        elif isinstance(event, events.Step) and event.step % self.every == 0:
            self.steps.append(event)
            if len(self.steps) > 2 * MAX_LINES:
                self.every *= 2
                self.steps = [step for step in self.steps if step.step % self.every == 0]


def read_curve(run: Run) -> Curve:
    """The curve of a run from its journal."""
    curve, offset = Curve(), 0
    while True:
        found, after = run.events(offset, 1 << 22, every=curve.every)
        for event in found:
            curve.add(event)
        if after == offset:
            return curve
        offset = after


def build(run: Run, end: events.End) -> dict[str, Any]:
    """The report of a run that ended with `end`. Seconds, mean losses in nats per token."""
    curve = read_curve(run)
    start = curve.start
    assert start is not None  # an End is only made after a Start
    per_epoch = max(1, start.train_tokens // start.tokens_per_step)
    validation = start.validation_tokens // start.tokens_per_step
    seconds_per_step = end.seconds / max(1, end.step)
    epochs = max(1, -(-end.step // per_epoch))
    batches = [
        f"Epoch {(step.step - 1) // per_epoch + 1}/{epochs} | Batch {(step.step - 1) % per_epoch + 1}/{per_epoch} | "
        f"train_loss = {step.loss:.4f} | execution_time = {step.seconds / max(1, step.step):.4f}"
        for step in curve.steps
    ]
    epoch_lines = [
        f"Epoch {min(epochs, (found.step - 1) // per_epoch + 1)}/{epochs} | train_loss = {_four(found.train_loss)} | "
        f"val_loss = {_four(found.validation_loss)} | execution_time = {found.seconds:.4f}"
        for found in curve.evaluations
    ]
    return {
        "n_epochs": epochs, "dataset": start.dataset, "avg_train_time_per_batch": seconds_per_step,
        "train_batches_per_epoch": per_epoch, "avg_val_time_per_batch": 0.0, "val_batches_per_epoch": validation,
        "average_train_loss_per_epoch": end.train_loss, "average_val_loss_per_epoch": end.validation_loss,
        "average_time_per_epoch": end.seconds / epochs, "total_time": end.seconds, "train_cache": True,
        "batch_logs": batches, "epoch_logs": epoch_lines,
        "babytui_parameters": start.parameters, "babytui_tokens": end.tokens, "babytui_steps": end.step,
        "babytui_seconds": end.seconds, "babytui_validation_loss": end.validation_loss,
        "babytui_curve": [[found.step, found.train_loss, found.validation_loss] for found in curve.evaluations],
        "babytui_reason": end.reason,
    }


def _four(loss: float | None) -> str:
    return "nan" if loss is None else f"{loss:.4f}"
