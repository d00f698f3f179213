"""A team whose results come a step late, as a GPU's do: the run tells the same, and its states go on to the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from architectures import VOCAB, tiny

from engine import events, registry
from engine.model import Model
from engine.parallel import Outcome, Team
from engine.trainer import BAD_STEPS, Trainer
from store import states

IDS = np.tile(np.random.default_rng(1).integers(0, VOCAB, 90), 4).astype(np.uint8)


class Late(Team):
    """Steps change the weights when they are asked for; what came of them is known in the end only."""

    ahead = 1
    broken = range(0)  # steps whose gradient is not finite

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.asked, self.most = 0, 0

    def train(self, step, *given) -> Outcome:
        outcome = super().train(step, *given)
        self.asked += 1
        self.most = max(self.most, self.asked)

        def read() -> tuple[float, float]:
            self.asked -= 1
            return outcome()

        return read


def trainer(late: bool, monkeypatch, *, resume=None, broken=range(0), last_good=None, **values) -> Trainer:
    config = tiny(("pre", "mha", "mlp"), **{"d_type": "fp32", "n_steps": 40, **values})
    with monkeypatch.context() as patch:
        patch.setattr("engine.trainer.Team", Late if late else Team)
        run = Trainer(Model.create(config, VOCAB), registry.tokenizer.get("char")("abcdefg"), IDS, resume=resume,
                      sample_tokens=3, last_good=last_good)
    gradient = run.team.gradient

    def spoilt(step, *given):
        loss, norm = gradient(step, *given)
        return loss, np.inf if step in broken else norm

    run.team.gradient = spoilt
    return run


def told(event) -> dict:
    """An event without the clock, and without whose gradient it was: that of a later step may stand there by then."""
    return {key: value for key, value in event.to_dict().items()
            if (key not in ("time", "seconds", "tokens_per_second") and event.kind != "alarm") or key == "step"}


def test_the_same_events_and_weights(monkeypatch):
    early, late = (trainer(late, monkeypatch) for late in (False, True))
    assert [told(event) for event in late] == [told(event) for event in early]
    assert np.array_equal(late.model.params.flat, early.model.params.flat)
    assert late.team.most == 2, "a step was in flight while another was asked for"


@pytest.mark.parametrize("step", [1, 2, 3, 4, 39, 40])
def test_a_state_goes_on_as_if_it_had_not_been_taken(monkeypatch, step):
    """What was in flight is waited for, and told by whoever goes on."""
    whole = list(trainer(True, monkeypatch))
    run = trainer(True, monkeypatch)
    seen = []
    for event in run:
        seen.append(event)
        if event.kind == "step" and event.step == step:
            arrays, meta = run.state()
            break
    meta = json.loads(json.dumps(meta))
    states.check(arrays, {**meta, "vocab": list("abcdefg"), "text_sha256": ""}, "The checkpoint")
    again = trainer(True, monkeypatch, resume=(arrays, meta))
    assert again.step >= step
    rest = list(again)[1:]  # but the Start
    assert [told(event) for event in seen + rest] == [told(event) for event in whole]
    finished = trainer(False, monkeypatch)
    list(finished)
    assert np.array_equal(again.model.params.flat, finished.model.params.flat)


def test_steps_that_are_not_finite_are_left_out(monkeypatch):
    early, late = (trainer(late, monkeypatch, broken=(3, 4, 20)) for late in (False, True))
    assert [told(event) for event in late] == [told(event) for event in early]
    assert np.array_equal(late.model.params.flat, early.model.params.flat)
    assert late.team.updates == 37


@pytest.mark.parametrize("policy", ["rollback", "stop"])
def test_many_of_them_take_the_run_back(monkeypatch, policy):
    """To the state of step 6, or they end it; no step more than elsewhere has been made."""
    runs = []
    for late in (False, True):
        kept: list = []
        run = trainer(late, monkeypatch, broken=range(8, 8 + BAD_STEPS), last_good=lambda _, kept=kept: kept[0],
                      c_not_finite=policy)
        seen = []
        for event in run:
            seen.append(told(event))
            if event.kind == "sample" and event.step == 6:
                kept.append(run.state())
            if event.kind == "start" and event.step:
                run.team.gradient = run.team.__class__.gradient.__get__(run.team)  # it goes well from now on
        runs.append((seen, run.model.params.flat, run.rollbacks, run.team.updates))
    assert runs[0][0] == runs[1][0] and runs[0][2:] == runs[1][2:]
    assert runs[0][2] == (policy == "rollback")
    assert np.array_equal(runs[0][1], runs[1][1])


def test_halves_overflow_a_step_late(monkeypatch):
    """The scaler falls at the same step."""
    early, late = (trainer(late, monkeypatch, d_type="fp16", broken=(2, 3, 9)) for late in (False, True))
    for run in (early, late):
        list(run)
    assert early.scaler.state() == late.scaler.state() and early.scaler.scale == 2.0**12


def test_stopping_takes_in_what_is_in_flight(monkeypatch):
    run, steps = trainer(True, monkeypatch, n_steps=1000), []
    for event in run:
        steps += [event.step] if isinstance(event, events.Step) else []
        if event.kind == "step" and event.step == 3:
            run.stop()
    assert (event.kind, event.reason, event.step) == ("end", "stopped", steps[-1])
    assert steps == list(range(1, run.team.updates + 1)) and len(steps) <= 4
