"""Training as an iterator of typed events: pull one, and one step has been made.

    for event in Trainer(model, tokenizer, ids):
        ...

The caller decides what happens between two events: pause by not pulling, `stop()` to end early, `state()` for a
checkpoint. Every random number is a function of (n_seed, purpose, step, shard), so a run that goes on from a state
gives the same weights as one that was never interrupted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from engine import data, events, schedule
from engine.backend import Array, host, xp
from engine.device import guarded, memory
from engine.device_step import PIECE, DeviceTeam
from engine.errors import FormatError
from engine.estimate import smaller
from engine.generate import Sampler, stream
from engine.group import Group
from engine.model import Model
from engine.norms import norms
from engine.optimizer import LossScaler
from engine.parallel import Outcome, Team, clipped
from engine.ranks import Leader
from engine.tokenizer._base import Tokenizer

EVALUATIONS = 20  # in a run
EVALUATION_SHARE = 0.05  # of the run's time, for all of them but the last, full one
BAD_STEPS = 5  # that are not finite, in a row, end a run or take it back
ROLLBACKS = 5  # of a run; the last one trains with 1/32 of the planned learning rate
RISES = 3  # of the validation loss, in a row, raise an alarm
_WIDE = 1 << 27  # numbers that one pass of an evaluation may have at once on a GPU
_LOOK = ("evaluation", "sample")
State = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]


class _Flight(NamedTuple):
    """A step that has been asked for. last: something is due after it, so that no other may follow it before that."""

    outcome: Outcome
    rate: float
    last: bool


@dataclass
class Trend:
    """Where the loss has been lately, and whether a step leaves it.

    mean and deviation (mean absolute difference) are exponential averages over about 50 steps. A loss that is more than
    6 deviations and half a nat above the mean is a spike; the next one is told only after the loss has come back.
    """

    mean: float = 0.0
    deviation: float = 0.0
    count: int = 0
    high: bool = False

    def add(self, loss: float) -> bool:
        """Take a step's loss in; True when a spike begins with it."""
        bound = self.mean + max(6 * self.deviation, 0.5)
        known, above = self.count >= 50, loss > bound
        begins = known and above and not self.high
        self.high = known and (above or (self.high and loss > self.mean + 2 * self.deviation))
        self.count += 1
        weight = max(1 / self.count, 0.02)
        counted = min(loss, bound) if known else loss
        self.deviation += weight * (abs(counted - self.mean) - self.deviation) if self.count > 1 else 0.0
        self.mean += weight * (counted - self.mean)
        return begins


def fill(kind: str, views: Mapping[str, Array], arrays: Mapping[str, np.ndarray]) -> None:
    """Copy what a state holds of a kind (weights, m, v, base) into views by tensor name. FormatError."""
    for name, view in views.items():
        value = arrays.get(f"{kind}/{name}")
        if value is None or value.shape != view.shape:
            raise FormatError(f"The checkpoint does not fit this model: {kind}/{name} is missing or has another shape.")
        view[...] = xp.asarray(value)


class Trainer:
    """One run of `model` over the encoded text `ids` (T,).

    prompt: begins every sample. resume: what `state()` returned. time_budget: seconds of training after which the run
    ends. cores: processes to use; where BLAS has one thread, as in all of ours, the result is the same for any number.
    last_good: finds a state to go back to when numbers have gone wrong, one of before a step if it is given such.
    group: other processes, perhaps on other machines, that take part; this is rank 0 of them, and the result is the
    same. `step`, `tokens` and `seconds` (without pauses) tell how far it is; `steps` is the plan. RunError, between two
    events, when a process died: the weights are then those of `step`, and iterating again goes on from there.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, ids: np.ndarray, *, prompt: str = "", dataset: str = "",
                 resume: State | None = None, time_budget: float | None = None, sample_tokens: int = 160,
                 cores: int = 1, last_good: Callable[[int | None], State | None] | None = None,
                 group: Group | None = None):
        self.model, self.tokenizer, self.config = model, tokenizer, model.config
        self.prompt, self.dataset, self.sample_tokens = prompt, dataset, sample_tokens
        self.split = data.split(ids, self.config)
        self.windows = data.Windows(self.split.train, self.config)
        self.steps = data.steps(len(self.split.train), self.config)
        self.time_budget = time_budget
        self.scaler = LossScaler(self.config.d_type == "fp16")
        with self._memory():
            self.team: Team | DeviceTeam = (Leader(model, cores, group) if group is not None else
                                            DeviceTeam(model) if xp.kernels else Team(model, cores))
        self.step, self.seconds = 0, 0.0
        self.rate_factor, self.rate_added = 1.0, 0.0
        self.train_loss: float | None = None
        self.validation_loss: float | None = None
        self._loss_sum, self._loss_count = 0.0, 0  # since the last evaluation
        self._bad = 0
        self._rises = 0
        self._looked = 0  # the step of the last evaluation
        self._length = None if time_budget is not None else self.steps  # that decides how much an evaluation reads
        self._due: list[str] = list(_LOOK)  # what is still to be told about the present step
        self._recent: list[tuple[float, int]] = []
        self._flights: deque[_Flight] = deque()
        self._untold: deque[events.Event] = deque()
        self._begun = 0.0  # when time that counts for the next step to land began
        self._trend = Trend()
        self._norms: dict[str, dict[str, float]] | None = None  # of the last step, if they are still to be told
        self._spike: list[float] = []  # the loss that the last spike jumped from, and to
        self._last_good = last_good
        self.rollbacks, self._back = 0, -1  # how often, and to which step the last time
        self._stopping = self._hurried = False
        if resume is not None:
            self._restore(*resume)

    # What the caller may do -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End after the current step, with a last evaluation, sample and End event. May be called in a signal handler;
        asked twice, the last evaluation ends with what it has read by then."""
        self._hurried = self._stopping
        self._stopping = True

    @property
    def over(self) -> str:
        """Why no more steps will be made (finished, stopped, time); empty while there are more. A state of now goes on
        as if the run had not ended, if it is one that can."""
        if self.step >= self.steps:
            return "finished"
        if self._stopping:
            return "stopped"
        return "time" if self.time_budget is not None and self.seconds >= self.time_budget else ""

    @property
    def good(self) -> bool:
        """Whether the last step was finite, so that a state of now is one to go back to."""
        return not self._bad

    @property
    def planned(self) -> int:
        """Steps that the run is going to make: the plan, or what its time allows at the speed so far."""
        return schedule.planned_steps(self.steps, self.step, self.seconds, self.time_budget)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return schedule.learning_rate(self.config, self._launched, self.planned) * self.rate_factor + self.rate_added

    @property
    def _launched(self) -> int:
        """Steps that have been asked for."""
        return self.step + len(self._flights)

    def set_learning_rate(self, rate: float) -> None:
        """Make `rate` the learning rate of the next step; the schedule goes on from there in proportion.

        Where the schedule plans 0, `rate` is added to it instead.
        """
        planned = schedule.learning_rate(self.config, self._launched, self.planned)
        self.rate_factor, self.rate_added = (rate / planned, 0.0) if planned else (1.0, rate)

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.step * self.config.batch_size * self.config.n_ctx

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays (weights and moments by tensor name) and plain data that `resume` goes on from, copied.

        Waits for steps whose results come late; what has not been told of them is told by whoever goes on.
        """
        self._settle()
        arrays = {f"{kind}/{name}": np.array(host(view))
                  for kind, views in self._buffers().items() for name, view in views.items()}
        return arrays, {
            "step": self.step, "seconds": self.seconds, "rate_factor": self.rate_factor,
            "rate_added": self.rate_added, "updates": self.team.updates,
            "scaler": self.scaler.state(), "loss_sum": self._loss_sum, "loss_count": self._loss_count,
            "train_loss": self.train_loss, "validation_loss": self.validation_loss,
            "rises": self._rises, "bad": self._bad, "due": list(self._due),
            "norms": self._norms, "looked": self._looked, "length": self._length, "spike": list(self._spike),
            "trend": vars(self._trend).copy(), "rollbacks": self.rollbacks, "back": self._back,
            "config": self.config.to_dict(extra=False),
            **({"untold": [event.to_dict() for event in self._untold]} if self._untold else {}),
        }

    def _buffers(self) -> dict[str, dict[str, Array]]:
        """Everything that training changes or starts from, by kind and name."""
        params, shared = self.model.params, self.team.shared
        found = {kind: params.views(flat) for kind, flat in
                 (("weights", shared.master), ("m", shared.m), ("v", shared.v))}
        return {**found, "base": params.base_views()}

    def _restore(self, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
        for kind, views in self._buffers().items():
            fill(kind, views, arrays)
        self._flights.clear()
        self._untold = deque(events.parse(event) for event in meta.get("untold", []))
        self.model.params.flat[...] = self.team.shared.master
        self.model.round()
        self.team.changed()
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])
        self.rate_factor, self.rate_added = float(meta["rate_factor"]), float(meta["rate_added"])
        self.team.updates, self._due = int(meta["updates"]), [str(what) for what in meta["due"]]
        self.scaler.restore(meta["scaler"])
        self._loss_sum, self._loss_count = float(meta["loss_sum"]), int(meta["loss_count"])
        self.train_loss = meta["train_loss"]
        self.validation_loss, self._rises, self._bad = meta["validation_loss"], int(meta["rises"]), int(meta["bad"])
        self._looked = int(meta["looked"]) if "looked" in meta else self.step - self.step % self._apart
        self._length = meta.get("length", self._length)
        self._trend, self._spike = Trend(**meta.get("trend", {})), list(meta.get("spike", []))
        self.rollbacks, self._back = int(meta.get("rollbacks", 0)), int(meta.get("back", -1))
        self._norms = meta.get("norms")

    # The run ----------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[events.Event]:
        try:
            with self._memory():
                yield from self._run()
        finally:
            self.team.close()

    def _memory(self) -> AbstractContextManager[None]:
        """RunError, with what to do, where a GPU's memory runs out."""
        return guarded(self.config, lambda: smaller(
            self.config, room[0] if (room := memory(self.config.c_device_gpu_core)) else None, self.model.vocab_size,
            self.model.adaptation))

    def _run(self) -> Iterator[events.Event]:
        yield self._start()
        yield from self._tell()
        if self.step < self.steps:
            yield from self._look(full=False)
        message = ""
        while not (reason := self.over):
            yield from self._advance()
            if self._bad >= BAD_STEPS and not (yield from self._roll_back()):
                reason = "failed"
                message = (f"The gradient was not finite in {BAD_STEPS} steps in a row; "
                           "lower r_learn or set r_clip to 1 and train again.")
                break
            if self.step < self.steps:
                yield from self._look(full=False)
        self._settle()
        yield from self._tell()
        self._due = list(_LOOK)
        yield from self._look(full=True)
        yield events.End(step=self.step, reason=reason, train_loss=self.train_loss, tokens=self.tokens,
                         validation_loss=self.validation_loss, seconds=self.seconds, message=message)

    def _start(self) -> events.Event:
        config, (ranks, hosts) = self.config, self.team.place
        return events.Start(step=self.step, config=config.to_dict(extra=False), parameters=self.model.n_parameters,
                            vocab_size=self.model.vocab_size, steps=self.steps,
                            tokens_per_step=config.batch_size * config.n_ctx, train_tokens=len(self.split.train),
                            validation_tokens=len(self.split.validation), dataset=self.dataset, ranks=ranks,
                            hosts=hosts)

    def _roll_back(self) -> Generator[events.Event, None, bool]:
        """Go on from the last good state with half the learning rate: that of the state, or the present one if it is
        lower. False when there is none, or none any more.

        A state that led to this before is not trusted again while there is an older one.
        """
        if self.config.c_not_finite != "rollback" or self._last_good is None or self.rollbacks >= ROLLBACKS:
            return False
        state = self._last_good(None)
        if state is not None and state[1]["step"] <= self._back:
            state = self._last_good(self._back) or state
        if state is None:
            return False
        step, rollbacks, seconds, factor, added = (self.step, self.rollbacks, self.seconds, self.rate_factor,
                                                   self.rate_added)
        self._restore(*state)
        self.rollbacks, self.seconds, self._back = rollbacks + 1, seconds, self.step
        self.rate_factor, self.rate_added = min(self.rate_factor, factor) / 2, min(self.rate_added, added) / 2
        yield events.Alarm(step=step, name="rollback", message=f"{BAD_STEPS} steps in a row were not finite: the run "
                           f"goes on from step {self.step:,} with half the learning rate.")
        yield self._start()
        return True

    def _advance(self) -> Iterator[events.Event]:
        """Make a step and tell of it; where results come late, of the one before."""
        self._begun = time.perf_counter()
        if not self._flights or self._free:
            self._launch()
        while len(self._flights) > (self.team.ahead if self._free else 0):
            self._land()
            yield from self._tell()
            if self._flights:
                self._begun = time.perf_counter()

    @property
    def _free(self) -> bool:
        """Whether steps are in flight after which another one may be made before their results are known."""
        return bool(self._flights) and not self._bad and not self._flights[-1].last

    def _launch(self) -> None:
        """Have the next step made."""
        rate, step = self.learning_rate, self._launched
        inputs, targets = self.windows.batch(step)
        outcome = self.team.train(step, inputs, targets, rate, self.config.r_clip, self.scaler)
        last = step + 1 >= self.steps or step + 1 - self._looked >= self._apart
        self._flights.append(_Flight(outcome, rate, last))

    def _land(self) -> None:
        """Take in the result of the first step that is in flight, and note what is to be told of it."""
        flight = self._flights.popleft()
        rate, (loss, norm) = flight.rate, flight.outcome()
        good = isfinite(norm) and isfinite(loss)
        overflow = not good and self.scaler.active and self.scaler.scale > 1  # of halves: a smaller scale may help
        unscale = 1 / self.scaler.scale
        self.scaler.update(overflowed=not good)
        if good:
            self._loss_sum, self._loss_count = self._loss_sum + loss, self._loss_count + 1
            self._bad = 0
            before = self._trend.mean
            if self._trend.add(loss):
                self._spike = [before, loss]
        self.step += 1
        took = time.perf_counter() - self._begun
        self.seconds += took
        if not self._flights and self.step - self._looked >= self._apart:
            self._due, self._looked = list(_LOOK), self.step
        self._norms = None
        if good and ("evaluation" in self._due or self.step == self.steps):
            self.team.recall(rate, unscale * clipped(norm, self.config.r_clip))
            self._norms = norms(self.model.params, self.config.c_attention, self.team.hand.optimizer,
                                self.team.shared.master, self.team.shared.gradients[0], unscale)
        if good and self._spike:
            self._due = ["spike", *self._due]
        self._recent = [*self._recent[-19:], (took, self.config.batch_size * self.config.n_ctx)]
        if good:
            self._untold.append(events.Step(
                step=self.step, loss=loss, learning_rate=rate, gradient_norm=norm,
                epoch=self.step * self.config.batch_size / self.windows.count, tokens=self.tokens,
                seconds=self.seconds, tokens_per_second=self.speed))
        elif not overflow:
            self._bad += 1
            self._untold.append(events.Alarm(step=self.step, name="not-finite",
                                             message=f"{self._culprit(loss)} is not finite; the step was left out."))

    def _tell(self) -> Iterator[events.Event]:
        """What is known of the steps that have been made; struck off before it is told."""
        while self._untold:
            yield self._untold.popleft()

    def _settle(self) -> None:
        """Wait until the weights are those of `step`."""
        while self._flights:
            self._begun = time.perf_counter()
            self._land()

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
        if "spike" in self._due:
            (before, now), self._spike = self._spike, []
            self._due = [what for what in self._due if what != "spike"]
            yield events.Alarm(step=self.step, name="spike",
                               message=f"The loss jumped from about {before:.2f} to {now:.2f}; if it does not come "
                                       "back, lower the learning rate.")
        if self._norms is not None and "evaluation" in self._due:
            told, self._norms = self._norms, None
            yield events.Norms(step=self.step, gradient=told["gradient"], update=told["update"], weight=told["weight"])
        if "evaluation" in self._due:
            if self._loss_count:
                self.train_loss, self._loss_sum, self._loss_count = self._loss_sum / self._loss_count, 0.0, 0
            previous, self.validation_loss = self.validation_loss, self.evaluate(full=full)
            if not full and previous is not None and self.validation_loss is not None:
                self._rises = self._rises + 1 if self.validation_loss > previous else 0
            self._due = ["alarm", "sample"] if self._rises == RISES and not full else ["sample"]
            yield events.Evaluation(step=self.step, train_loss=self.train_loss, validation_loss=self.validation_loss,
                                    full=full and not self._hurried, tokens=self.tokens, seconds=self.seconds)
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
        widest = max(self.model.vocab_size, 12 * self.config.n_emb)
        tokens = min(PIECE, max(each, _WIDE // widest)) if xp.kernels else 1024
        for inputs, targets in data.passes(ids, self.config.n_ctx, tokens, limit):
            losses = self.model.losses(xp.asarray(inputs), xp.asarray(targets))
            total += float(losses.sum())
            count += losses.size
            if self._hurried:
                break
        return total / count

    def sample(self) -> str:
        """What the model says now: the prompt and `sample_tokens` tokens. The same random stream every time."""
        known = self.tokenizer.keep(self.prompt)
        ids = list(self.tokenizer.encode(known)) if known else [0]
        sampler = Sampler(temperature=0.8, seed=self.config.n_seed)
        ids += [token.id for token in stream(self.model, ids, self.sample_tokens, sampler)]
        return self.tokenizer.decode(ids)
