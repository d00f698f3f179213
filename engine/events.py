"""What a training run tells about itself, as typed events. Imports no arrays, so that every face can read them.

An event becomes one JSON object: its fields, `event` (the kind) and `time` (Unix seconds, set when it is made).
"""

from __future__ import annotations

import time as _time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar

from engine.errors import FormatError, shown

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
    """A run begins, or goes on after step `step`. `steps` is the planned total, `tokens_per_step` = batch · n_ctx.

    ranks: how many processes of a group train it (1: there is none), hosts: on which machines.
    """

    config: Mapping[str, Any]
    parameters: int
    vocab_size: int
    steps: int
    tokens_per_step: int
    train_tokens: int
    validation_tokens: int
    dataset: str = ""
    ranks: int = 1
    hosts: str = ""


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
class Norms(Event):
    """L2 norms of the parts of the model, told before an evaluation, of the step that was made last.

    gradient: of the mean loss, before clipping; update: what the optimizer added to the weights; weight: the weights
    after it. Keys, the same in all three and in the model's order: "embedding", for each block "block_0_norms" (its
    layer norms), "block_0_attention" and "block_0_network", and "head". What is not trained has a 0.
    """

    gradient: Mapping[str, float]
    update: Mapping[str, float]
    weight: Mapping[str, float]


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
    """The event of a journal line, every field of its type. Unknown fields are ignored; FormatError when the kind is
    unknown, or a field is missing or not what it should be: whoever shows an event need not look at it again."""
    kind = raw.get("event")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise FormatError(f"A journal line has the unknown event {shown(kind)}; it is ignored.")
    given = {}
    for name, good in _checks(cls.kind):
        if name in raw:
            value = raw[name]
            if not good(value):
                raise FormatError(f"A journal line of event '{cls.kind}' has the {name} {shown(value)}; it is ignored.")
            given[name] = value
    try:
        return cls(**given)
    except TypeError as error:
        raise FormatError(f"A journal line of event '{cls.kind}' lacks a field ({error}).") from None


def sound(raw: Mapping[str, Any]) -> bool:
    """Whether a journal line is an event, for whoever reads lines as they are."""
    try:
        parse(raw)
    except FormatError:
        return False
    return True


_NUMBERS = (int, float)
# by the annotation of a field; numbers beyond these bounds come from no run and break calendars and clocks
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int and 0 <= value < 1 << 63,
    "float": lambda value: type(value) in _NUMBERS and -1e300 < value < 1e300,
    "float | None": lambda value: value is None or (type(value) in _NUMBERS and -1e300 < value < 1e300),
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "Mapping[str, Any]": lambda value: isinstance(value, Mapping),
    "Mapping[str, float]": lambda value: isinstance(value, Mapping) and all(
        isinstance(key, str) and type(one) in _NUMBERS and -1e300 < one < 1e300 for key, one in value.items()),
}


@cache
def _checks(kind: str) -> tuple[tuple[str, Callable[[Any], bool]], ...]:
    """The fields of a kind of event, and what says whether a value can be theirs."""
    return tuple((f.name, _a_moment if f.name == "time" else _CHECKS[str(f.type)]) for f in fields(KINDS[kind]))


def _a_moment(value: Any) -> bool:
    return type(value) in _NUMBERS and 0 <= value < 253402214400  # until the year 9999
