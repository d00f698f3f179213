"""Training as an iterator of typed events: pull one, and one step has been made.

    for event in Trainer(model, tokenizer, ids):
        ...

The caller decides what happens between two events: pause by not pulling, `stop()` to end early, `state()` for a
checkpoint. Every random number is a function of (n_seed, purpose, step, shard), so a run that goes on from a state
gives the same weights as one that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import numpy as np

from engine import data, events, schedule
from engine.backend import Array, host, xp
from engine.errors import FormatError
from engine.generate import Sampler, stream
from engine.model import Model
from engine.optimizer import LossScaler
from engine.parallel import Team
from engine.tokenizer._base import Tokenizer

EVALUATIONS = 20  # in a run
EVALUATION_SHARE = 0.05  # of the run's time, for all of them but the last, full one
BAD_STEPS = 5  # that are not finite, in a row, end a run
RISES = 3  # of the validation loss, in a row, raise an alarm
_LOOK = ("evaluation", "sample")


class Trainer:
    """One run of `model` over the encoded text `ids` (T,).

    prompt: begins every sample. resume: what `state()` returned. time_budget: seconds of training after which the run
    ends. cores: processes to use; where BLAS has one thread, as in all of ours, the result is the same for any number.
    `step`, `tokens` and `seconds` (without pauses) tell how far it is; `steps` is the plan. RunError, between two
    events, when a process died: the weights are then those of `step`, and iterating again goes on from there.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, ids: np.ndarray, *, prompt: str = "", dataset: str = "",
                 resume: tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None = None,
                 time_budget: float | None = None, sample_tokens: int = 160, cores: int = 1):
        self.model, self.tokenizer, self.config = model, tokenizer, model.config
        self.prompt, self.dataset, self.sample_tokens = prompt, dataset, sample_tokens
        self.split = data.split(ids, self.config)
        self.windows = data.Windows(self.split.train, self.config)
        self.steps = data.steps(len(self.split.train), self.config)
        self.time_budget = time_budget
        self.scaler = LossScaler(self.config.d_type == "fp16")
        self.team = Team(model, cores)
        self.step, self.seconds = 0, 0.0
        self.rate_factor, self.rate_added = 1.0, 0.0
        self.train_loss: float | None = None
        self.validation_loss: float | None = None
        self._losses: list[float] = []
        self._bad = 0
        self._rises = 0
        self._looked = 0  # the step of the last evaluation
        self._length = None if time_budget is not None else self.steps  # that decides how much an evaluation reads
        self._due: list[str] = list(_LOOK)  # what is still to be told about the present step
        self._recent: list[tuple[float, int]] = []
        self._stopping = False
        if resume is not None:
            self._restore(*resume)

    # What the caller may do -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End after the current step, with a last evaluation, sample and End event."""
        self._stopping = True

    @property
    def planned(self) -> int:
        """Steps that the run is going to make: the plan, or what its time allows at the speed so far."""
        return schedule.planned_steps(self.steps, self.step, self.seconds, self.time_budget)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return schedule.learning_rate(self.config, self.step, self.planned) * self.rate_factor + self.rate_added

    def set_learning_rate(self, rate: float) -> None:
        """Make `rate` the learning rate of the next step; the schedule goes on from there in proportion.

        Where the schedule plans 0, `rate` is added to it instead.
        """
        planned = schedule.learning_rate(self.config, self.step, self.planned)
        self.rate_factor, self.rate_added = (rate / planned, 0.0) if planned else (1.0, rate)

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.step * self.config.batch_size * self.config.n_ctx

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays (weights and moments by tensor name) and plain data that `resume` goes on from, copied."""
        arrays = {f"{kind}/{name}": np.array(host(view))
                  for kind, views in self._buffers().items() for name, view in views.items()}
        return arrays, {
            "step": self.step, "seconds": self.seconds, "rate_factor": self.rate_factor,
            "rate_added": self.rate_added, "updates": self.team.updates,
            "scaler": self.scaler.state(), "losses": list(self._losses), "train_loss": self.train_loss,
            "validation_loss": self.validation_loss, "rises": self._rises, "bad": self._bad, "due": list(self._due),
            "looked": self._looked, "length": self._length,
            "config": self.config.to_dict(extra=False),
        }

    def _buffers(self) -> dict[str, dict[str, Array]]:
        """Everything that training changes or starts from, by kind and name."""
        params, shared = self.model.params, self.team.shared
        found = {kind: params.views(flat) for kind, flat in
                 (("weights", shared.master), ("m", shared.m), ("v", shared.v))}
        return {**found, "base": params.base_views()}

    def _restore(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        for kind, views in self._buffers().items():
            for name, view in views.items():
                value = arrays.get(f"{kind}/{name}")
                if value is None or value.shape != view.shape:
                    raise FormatError(f"The checkpoint does not fit this model: {kind}/{name} is missing or has "
                                      "another shape.")
                view[...] = xp.asarray(value)
        self.model.params.flat[...] = self.team.shared.master
        self.model.round()
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])
        self.rate_factor, self.rate_added = float(meta["rate_factor"]), float(meta["rate_added"])
        self.team.updates, self._due = int(meta["updates"]), [str(what) for what in meta["due"]]
        self.scaler.restore(meta["scaler"])
        self._losses, self.train_loss = list(meta["losses"]), meta["train_loss"]
        self.validation_loss, self._rises, self._bad = meta["validation_loss"], int(meta["rises"]), int(meta["bad"])
        self._looked = int(meta["looked"]) if "looked" in meta else self.step - self.step % self._apart
        self._length = meta.get("length", self._length)

    # The run ----------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[events.Event]:
        try:
            yield from self._run()
        finally:
            self.team.close()

    def _run(self) -> Iterator[events.Event]:
        config = self.config
        yield events.Start(step=self.step, config=config.to_dict(extra=False), parameters=self.model.n_parameters,
                           vocab_size=self.model.vocab_size, steps=self.steps,
                           tokens_per_step=config.batch_size * config.n_ctx, train_tokens=len(self.split.train),
                           validation_tokens=len(self.split.validation), dataset=self.dataset)
        if self.step < self.steps:
            yield from self._look(full=False)
        reason, message = "finished", ""
        while self.step < self.steps:
            if self._stopping:
                reason = "stopped"
                break
            if self.time_budget is not None and self.seconds >= self.time_budget:
                reason = "time"
                break
            yield from self._advance()
            if self._bad >= BAD_STEPS:
                reason = "failed"
                message = (f"The gradient was not finite in {BAD_STEPS} steps in a row; "
                           "lower r_learn or set r_clip to 1 and train again.")
                break
            if self.step < self.steps:
                yield from self._look(full=False)
        self._due = list(_LOOK)
        yield from self._look(full=True)
        yield events.End(step=self.step, reason=reason, train_loss=self.train_loss, tokens=self.tokens,
                         validation_loss=self.validation_loss, seconds=self.seconds, message=message)

    def _advance(self) -> Iterator[events.Event]:
        begun = time.perf_counter()
        rate = self.learning_rate
        inputs, targets = self.windows.batch(self.step)
        loss, norm = self.team.gradient(self.step, inputs, targets, self.scaler.scale)
        norm /= self.scaler.scale
        good = isfinite(norm) and isfinite(loss)
        overflow = not good and self.scaler.active and self.scaler.scale > 1  # of halves: a smaller scale may help
        unscale = 1 / self.scaler.scale
        self.scaler.update(overflowed=not good)
        if good:
            clip = self.config.r_clip / norm if self.config.r_clip and norm > self.config.r_clip else 1.0
            self.team.update(rate, unscale * clip)
            self._losses.append(loss)
            self._bad = 0
        self.step += 1
        took = time.perf_counter() - begun
        self.seconds += took
        if self.step - self._looked >= self._apart:
            self._due, self._looked = list(_LOOK), self.step
        self._recent = [*self._recent[-19:], (took, self.config.batch_size * self.config.n_ctx)]
        if good:
            yield events.Step(step=self.step, loss=loss, learning_rate=rate, gradient_norm=norm,
                              epoch=self.step * self.config.batch_size / self.windows.count, tokens=self.tokens,
                              seconds=self.seconds, tokens_per_second=self.speed)
        elif not overflow:
            self._bad += 1
            yield events.Alarm(step=self.step, name="not-finite",
                               message=f"{self._culprit(loss)} is not finite; the step was left out.")

    @property
    def _apart(self) -> int:
        """Steps between two evaluations."""
        return max(1, self.planned // EVALUATIONS)

    @property
    def speed(self) -> float:
        """Tokens per second over the last 20 steps."""
        took = sum(seconds for seconds, _ in self._recent)
        return sum(tokens for _, tokens in self._recent) / took if took else 0.0

    def _culprit(self, loss: float) -> str:
        for name, view in self.team.named.items():
            if not bool(xp.isfinite(view).all()):
                return f"The gradient of {name}"
        return "The loss" if not isfinite(loss) else "The gradient norm"

    # Looking at it ----------------------------------------------------------------------------------------------------

    def _look(self, full: bool) -> Iterator[events.Event]:
        """An evaluation and a sample, if they are due. All but the last evaluation read evenly spread windows.

        Each is struck off before it is told, so that a state taken at any event goes on with the next one.
        """
        if "evaluation" in self._due:
            if self._losses:
                self.train_loss = float(np.mean(self._losses))
                self._losses = []
            previous, self.validation_loss = self.validation_loss, self.evaluate(full=full)
            if not full and previous is not None and self.validation_loss is not None:
                self._rises = self._rises + 1 if self.validation_loss > previous else 0
            self._due = ["alarm", "sample"] if self._rises == RISES and not full else ["sample"]
            yield events.Evaluation(step=self.step, train_loss=self.train_loss, validation_loss=self.validation_loss,
                                    full=full, tokens=self.tokens, seconds=self.seconds)
        if "alarm" in self._due:
            self._due = ["sample"]
            yield events.Alarm(step=self.step, name="rising-validation",
                               message=f"Validation loss has risen {RISES} times in a row: the model begins to learn "
                                       "its text by heart; stop it, or give it more text.")
        if "sample" in self._due:
            self._due = []
            yield events.Sample(step=self.step, prompt=self.prompt, text=self.sample())

    def evaluate(self, full: bool = True) -> float | None:
        """Mean cross entropy (nats per token) over the held-back text; None when there is none.

        full: every token; otherwise the same evenly spread windows every time, as many as EVALUATION_SHARE allows.
        """
        ids = self.split.validation
        if len(ids) < 2:
            return None
        each = self.config.batch_size * self.config.n_ctx
        # a token costs three times as much in training as in a forward pass
        if self._length is None and self.step >= schedule.PROJECTED_FROM:
            self._length = self.planned
        limit = None if full else max(2 * each, int(3 * EVALUATION_SHARE / EVALUATIONS * (self._length or 0) * each))
        total, count = 0.0, 0
        for inputs, targets in data.passes(ids, self.config.n_ctx, 1024, limit):
            losses = self.model.losses(xp.asarray(inputs), xp.asarray(targets))
            total += float(losses.sum())
            count += losses.size
        return total / count

    def sample(self) -> str:
        """What the model says now: the prompt and `sample_tokens` tokens. The same random stream every time."""
        known = self.tokenizer.keep(self.prompt)
        ids = list(self.tokenizer.encode(known)) if known else [0]
        sampler = Sampler(temperature=0.8, seed=self.config.n_seed)
        ids += [token.id for token in stream(self.model, ids, self.sample_tokens, sampler)]
        return self.tokenizer.decode(ids)
