"""A run that goes on from its state at any event, the very first included, gives the bytes of one that was not
interrupted: in all number formats, with adapters and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine import registry
from engine.adaptation import Adaptation
from engine.config import Config
from engine.events import Event
from engine.model import Model
from engine.trainer import Trainer

VOCABULARY, STEPS = 20, 9
SMALL = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 16, "batch_size": 4, "n_steps": STEPS,
         "r_learn": 0.01}
IDS = np.random.default_rng(1).integers(0, VOCABULARY, 600, np.uint8)
TOKENIZER = registry.tokenizer.get("char")([chr(ord("a") + i) for i in range(VOCABULARY)])


def told(events: Iterator[Event]) -> list[dict[str, Any]]:
    """What the events say, without what the clock says."""
    measured = ("time", "seconds", "tokens_per_second")
    return [{name: value for name, value in event.to_dict().items() if name not in measured} for event in events]


def numbers(model: Model) -> dict[str, bytes]:
    exported = model.export() | model.adapters()
    return {name: np.asarray(value).tobytes() for name, value in exported.items() if value is not None}


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_from_every_event_on(d_type, rank):
    config = Config.read({**SMALL, "d_type": d_type})
    base = Model.create(config.replace(d_type="fp32"), VOCABULARY).export()  # not rounded to halves
    adaptation = Adaptation(rank=rank, new_symbols=2)
    model = Model.from_arrays(config, base, adaptation=adaptation)
    trainer = Trainer(model, TOKENIZER, IDS, sample_tokens=4)
    states, events = [], []
    for event in trainer:
        states.append(trainer.state())
        events.append(event)
    whole = told(iter(events))
    last_look = next(number for number, event in enumerate(whole) if event.get("full"))  # is repeated as a whole
    for number, state in enumerate(states[:last_look]):
        again = Model(config, VOCABULARY, adaptation)
        again.extra = dict(model.extra)
        rest = told(iter(Trainer(again, TOKENIZER, IDS, resume=state, sample_tokens=4)))
        assert rest[0]["event"] == "start" and rest[0]["step"] == state[1]["step"]
        assert rest[1:] == whole[number + 1:], f"from event {number}, {events[number].kind} {events[number].step}"
        assert numbers(again) == numbers(model), f"from event {number}"
