"""What a training run tells about itself, as typed events. Imports no arrays, so that every face can read them.

An event becomes one JSON object: its fields, `event` (the kind) and `time` (Unix seconds, set when it is made).
"""

from __future__ import annotations

import time as _time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from engine.errors import FormatError

KINDS: dict[str, type[Event]] = {}


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events. `step` counts finished optimizer steps; `time` is Unix seconds."""

    kind: ClassVar[str] = ""
    step: int
    time: float = field(default_factory=_time.time)

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls.kind = cls.__name__.lower()
        KINDS[cls.kind] = cls

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a journal line."""
        return {"event": self.kind, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Start(Event):
    """A run begins, or goes on after step `step`. `steps` is the planned total, `tokens_per_step` = batch · n_ctx."""

    config: Mapping[str, Any]
    parameters: int
    vocab_size: int
    steps: int
    tokens_per_step: int
    train_tokens: int
    validation_tokens: int
    dataset: str = ""


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One optimizer step. `loss` in nats per token, `tokens` and `seconds` (without pauses) since step 0."""

    loss: float
    learning_rate: float
    gradient_norm: float
    epoch: float
    tokens: int
    seconds: float
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class Evaluation(Event):
    """A pass over held-back text. `train_loss` is the mean since the last evaluation.

    `validation_loss` (nats per token) is None when nothing was held back. full: every token was read; otherwise the
    same evenly spread windows each time.
    """

    train_loss: float | None
    validation_loss: float | None
    tokens: int
    seconds: float
    full: bool = False


@dataclass(frozen=True, kw_only=True)
class Sample(Event):
    """What the model says at this step. `text` includes the prompt."""

    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Event):
    """Parameters and moments were saved to `path` (relative to the run's folder). `reason`: policy, command, end."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Alarm(Event):
    """Something a person should know: `name` is a short id ("not-finite"), `message` a sentence."""

    name: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Control(Event):
    """A command was carried out: pause, resume, stop, checkpoint, learning_rate (with `value`)."""

    command: str
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class End(Event):
    """The run is over. `reason`: finished, time, stopped, failed. `message` is a sentence when it failed."""

    reason: str
    train_loss: float | None
    validation_loss: float | None
    tokens: int
    seconds: float
    message: str = ""


def parse(raw: Mapping[str, Any]) -> Event:
    """The event of a journal line. Unknown fields are ignored; FormatError when the kind or a field is missing."""
    cls = KINDS.get(str(raw.get("event")))
    if cls is None:
        raise FormatError(f"A journal line has the unknown event '{raw.get('event')}'; it is ignored.")
    try:
        return cls(**{f.name: raw[f.name] for f in fields(cls) if f.name in raw})
    except TypeError as error:
        raise FormatError(f"A journal line of event '{cls.kind}' lacks a field ({error}).") from None
