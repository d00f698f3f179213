"""The trainer as a stream of events: their order, how a run ends, what is left out, and going on from a state."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from math import isfinite
from pathlib import Path

import numpy as np
import pytest
import twins
from architectures import VOCAB, tiny, wild

import engine
from engine import data, events, registry
from engine.errors import ConfigError, FormatError, TextError
from engine.model import Model
from engine.schedule import learning_rate
from engine.trainer import BAD_STEPS, RISES, Trainer, Trend

LETTERS = "abcdefg"
IDS = np.tile(np.random.default_rng(1).integers(0, VOCAB, 90), 4).astype(np.uint8)


def trainer(ids=IDS, *, sample_tokens=3, architecture=("pre", "mha", "mlp"), resume=None, **values) -> Trainer:
    names = ("prompt", "time_budget", "cores", "dataset", "last_good")
    options = {name: values.pop(name) for name in names if name in values}
    config = tiny(architecture, **{"d_type": "fp32", "n_steps": 40, **values})
    return Trainer(Model.create(config, VOCAB), registry.tokenizer.get("char")(LETTERS), ids, resume=resume,
                   sample_tokens=sample_tokens, **options)


def of(kind, run) -> list:
    return [event for event in run if isinstance(event, kind)]


def comparable(event) -> dict:
    """An event without what depends on the clock."""
    return {key: value for key, value in event.to_dict().items() if key not in ("time", "seconds", "tokens_per_second")}


# Events ---------------------------------------------------------------------------------------------------------------


def test_the_order_of_events():
    run = list(trainer(n_steps=40, prompt="ab", dataset="letters"))
    every = ["step", "step", "norms", "evaluation", "sample"]  # 20 evaluations in a run
    assert [event.kind for event in run if event.kind != "alarm"] == \
        ["start", "evaluation", "sample", *(every * 20), "end"]
    start, end = run[0], run[-1]
    assert (start.step, start.steps, start.tokens_per_step, start.vocab_size) == (0, 40, 18, VOCAB)
    assert start.dataset == "letters" and start.train_tokens == 324 and start.validation_tokens == 36
    assert start.parameters == trainer().model.n_parameters and start.config["n_emb"] == 8
    assert [event.step for event in of(events.Step, run)] == list(range(1, 41))
    assert [event.tokens for event in of(events.Step, run)] == [18 * step for step in range(1, 41)]
    assert [event.full for event in of(events.Evaluation, run)] == [False] * 20 + [True]
    assert (end.reason, end.step, end.tokens, end.message) == ("finished", 40, 720, "")
    assert [event.time for event in run] == sorted(event.time for event in run)
    for event in run:
        assert events.parse(json.loads(json.dumps(event.to_dict()))) == event, "an event is a journal line"


def test_numbers_of_the_steps():
    t = trainer(n_steps=12, s_warmup=3, r_learn=0.01)
    steps = of(events.Step, t)
    assert [event.learning_rate for event in steps] == [learning_rate(t.config, step, 12) for step in range(12)]
    assert [event.epoch for event in steps] == pytest.approx([3 * step / t.windows.count for step in range(1, 13)])
    assert all(event.tokens_per_second > 0 and event.gradient_norm > 0 for event in steps)
    assert [event.seconds for event in steps] == sorted(event.seconds for event in steps)


def test_losses_and_norms_are_those_of_the_model():
    t = trainer(n_steps=4, d_type="fp64")
    for event in t:
        if isinstance(event, events.Start):
            before = Model.from_arrays(t.config, t.model.export())
        if isinstance(event, events.Step):
            inputs, targets = t.windows.batch(event.step - 1)
            assert event.loss == pytest.approx(before.losses(inputs, targets).mean(), rel=1e-12)
            assert event.gradient_norm == pytest.approx(np.linalg.norm(t.team.shared.gradients[0]), rel=1e-12)
            before = Model.from_arrays(t.config, t.model.export())


def test_train_loss_is_the_mean_since_the_last_evaluation():
    run, since = list(trainer(n_steps=60)), []
    for event in run:
        if isinstance(event, events.Step):
            since.append(event.loss)
        if isinstance(event, events.Evaluation):
            assert event.train_loss == (pytest.approx(np.mean(since)) if since else None)
            since = []
    last = of(events.Evaluation, run)[-1]
    assert (run[-1].train_loss, run[-1].validation_loss) == (last.train_loss, last.validation_loss)


def test_training_learns():
    pattern = np.tile(np.random.default_rng(2).integers(0, VOCAB, 20), 20).astype(np.uint8)
    evaluations = of(events.Evaluation, trainer(pattern, n_steps=200, r_learn=0.01, n_emb=16, head_size=16,
                                               c_init="normal"))
    assert evaluations[0].validation_loss == pytest.approx(np.log(VOCAB), abs=0.2)
    assert evaluations[-1].validation_loss < 1.0


# How long -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", ["auto", 1, 4])
@pytest.mark.parametrize("epochs", [1, 3])
def test_epochs_decide_unless_steps_are_given(stride, epochs):
    t = trainer(n_steps=0, n_epochs=epochs, s_stride=stride, r_split=0.5, batch_size=30)
    starts = 180 - 6  # of windows of 6 + 1 in 180 tokens
    windows = {"auto": 28, 1: starts, 4: -(-starts // 4)}[stride]  # auto: one less than fit, for the random offset
    assert t.windows.count == windows and t.steps == -(-epochs * windows // 30)
    assert of(events.Step, t)[-1].step == t.steps
    assert trainer(n_steps=7, n_epochs=epochs).steps == 7


def test_a_time_budget_ends_the_run():
    run = list(trainer(n_steps=10**6, time_budget=0.05))
    assert run[-1].reason == "time" and 0 < run[-1].step < 10**6 and run[-1].seconds >= 0.05
    assert [event.kind for event in run[-3:]] == ["evaluation", "sample", "end"] and run[-3].full
    assert of(events.Step, run)[-2].seconds < 0.05
    nothing = list(trainer(time_budget=0.0))
    assert nothing[-1].reason == "time" and nothing[-1].step == 0 and not of(events.Step, nothing)


def test_the_schedule_and_the_evaluations_follow_the_time(monkeypatch):
    clock = iter(range(10**9))
    monkeypatch.setattr("engine.trainer.time.perf_counter", lambda: next(clock) * 0.5)  # half a second a step
    t = trainer(n_steps=10**6, time_budget=100.0, s_warmup="none", r_learn=0.01, c_schedule="cosine")
    run = list(t)
    steps, looks = of(events.Step, run), of(events.Evaluation, run)
    assert run[-1].reason == "time" and run[-1].step == 200 and t.planned == 201
    assert [event.learning_rate for event in steps[5:]] == [learning_rate(t.config, n, 200) for n in range(5, 200)]
    assert steps[-1].learning_rate == pytest.approx(0.001, rel=1e-2), "the cosine has reached its end"
    assert [event.step for event in looks] == [*range(0, 201, 10), 200], "20 evaluations, and the full one"
    assert [event.tokens for event in looks] == [18 * event.step for event in looks]


def test_a_timed_run_goes_on_from_a_state():
    t = trainer(n_steps=10**6, time_budget=10.0)
    for event in t:
        if isinstance(event, events.Step) and event.step == 30:
            state = t.state()
            t.stop()
    again = trainer(n_steps=10**6, time_budget=10.0, resume=state)
    assert (again.step, again.planned) == (30, schedule_of(30, state[1]["seconds"]))
    assert again.state()[1]["looked"] == state[1]["looked"] and again.state()[1]["length"] == state[1]["length"]


def schedule_of(step: int, seconds: float) -> int:
    return min(10**6, round(step * (10.0 / seconds)))


def test_stop():
    t, seen = trainer(n_steps=1000), []
    for event in t:
        seen.append(event)
        if event.kind == "step" and event.step == 3:
            t.stop()
    assert [event.kind for event in seen[-4:]] == ["step", "evaluation", "sample", "end"]
    assert seen[-1].reason == "stopped" and seen[-1].step == 3 and seen[-3].full
    t = trainer()
    t.stop()
    assert [event.kind for event in t] == ["start", "evaluation", "sample", "evaluation", "sample", "end"]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_set_learning_rate(schedule):
    t, rates = trainer(n_steps=20, c_schedule=schedule, s_warmup="none", r_learn=0.01), []
    for event in t:
        if isinstance(event, events.Step):
            rates.append(event.learning_rate)
            if event.step == 10:
                t.set_learning_rate(0.5)
                assert t.learning_rate == pytest.approx(0.5)
    planned = [learning_rate(t.config, step, 20) for step in range(20)]
    assert rates[:10] == planned[:10]
    assert rates[10:] == pytest.approx([rate * 0.5 / planned[10] for rate in planned[10:]])


def test_set_learning_rate_when_none_was_planned():
    t = trainer(n_steps=4, r_learn=0, s_warmup="none")
    try:
        t.set_learning_rate(0.25)
    except ConfigError as error:
        assert str(error).endswith(".")
    else:
        assert t.learning_rate == pytest.approx(0.25), "it is not silently left at 0"


# Validation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [7, 20, 36, 37, 100])
def test_full_validation_is_the_mean_over_the_text(length):
    """Against the slow twin, window by window: every token but the first is a target once."""
    ids = np.concatenate([IDS, IDS])
    t = trainer(ids, r_split=1 - length / len(ids), d_type="fp64", n_ctx=6, n_layers=1)
    assert len(t.split.validation) == length
    wild_weights = wild(t.config).params.flat
    t.model.params.flat[...] = wild_weights
    losses = []
    for start in range(0, length - 1, 6):
        window = t.split.validation[start : start + 7].tolist()
        losses += twins.cross_entropy(twins.logits(t.model.params, window[:-1], t.config), window[1:])
    assert len(losses) == length - 1
    assert t.evaluate() == pytest.approx(np.mean(losses), rel=1e-12)
    if length <= 37:
        assert t.evaluate(full=False) == pytest.approx(np.mean(losses), rel=1e-12), "a short text is always read whole"


def test_quick_validation_reads_a_part_always_the_same():
    ids = np.random.default_rng(3).integers(0, VOCAB, 60_000).astype(np.uint8)
    t = trainer(ids, r_split=0.2, n_steps=100, n_layers=1)
    t.model.params.flat[...] = 0.3 * np.random.default_rng(2).standard_normal(len(t.model.params.flat))
    read = sum(y.size for _, y in data.passes(t.split.validation, 6, 1024, max(36, int(3 * 0.05 / 20 * 100 * 18))))
    assert read < 100
    quick = t.evaluate(full=False)
    assert quick == t.evaluate(full=False) != t.evaluate()
    assert quick == pytest.approx(t.evaluate(), rel=0.3)


def test_no_validation():
    run = list(trainer(r_split=1))
    assert run[0].validation_tokens == 0 and run[0].train_tokens == len(IDS)
    assert all(event.validation_loss is None for event in of(events.Evaluation, run))
    assert run[-1].validation_loss is None and isfinite(run[-1].train_loss)


def test_looking_does_not_change_the_training():
    """Evaluations and samples draw from streams of their own."""
    weights = []
    for sample_tokens in (0, 50):
        t = trainer(n_steps=20, r_dropout=0.2, sample_tokens=sample_tokens, architecture=("post", "moh", "moe"))
        list(t)
        weights.append(t.model.params.flat.tobytes())
    assert weights[0] == weights[1]


def test_rising_validation_raises_one_alarm(monkeypatch):
    t = trainer(n_steps=20)
    values = [3.0, 2.0, 2.1, 2.2, 2.15, *(2.2 + 0.1 * i for i in range(RISES + 3)), 1.0, 1.1, *[1.0] * 20]
    told = iter(values)
    monkeypatch.setattr(t, "evaluate", lambda full=True: next(told))
    run = list(t)
    alarms = of(events.Alarm, run)
    assert [alarm.name for alarm in alarms] == ["rising-validation"] and alarms[0].message.endswith(".")
    assert alarms[0].step == 4 + RISES, "at the third rise in a row"


# Steps that are not finite --------------------------------------------------------------------------------------------


def poisoned(values: dict, steps: range, tensor: str, above: float = 0.0):
    """A trainer whose gradient of `tensor` is not a number in the given steps (from 1) at rates above that one."""
    t = trainer(**values)
    whole = t.model.loss_and_gradients

    def poison(ids, targets, gradients, *, step, **more):
        loss = whole(ids, targets, gradients, step=step, **more)
        if step + 1 in steps and t.learning_rate > above:
            gradients.joined[tensor][...] = np.nan
        return loss

    t.model.loss_and_gradients = poison
    return t


@pytest.mark.parametrize("tensor", ["block_1_mha_c_weight", "ln_f_beta", "wpe_weight"])
def test_a_step_that_is_not_finite_is_left_out(tensor):
    t, seen, before = poisoned({"n_steps": 12}, range(4, 6), tensor), [], None
    for event in t:
        seen.append(event)
        if isinstance(event, events.Step) and event.step == 3:
            before = t.model.params.flat.copy(), t.team.shared.m.copy(), t.team.shared.v.copy()
        if isinstance(event, events.Alarm) and event.name == "not-finite":
            assert all(np.array_equal(a, b) for a, b in
                       zip(before, (t.model.params.flat, t.team.shared.m, t.team.shared.v), strict=True))
    alarms = of(events.Alarm, seen)
    assert [alarm.step for alarm in alarms if alarm.name == "not-finite"] == [4, 5]
    assert tensor in alarms[0].message and alarms[0].message.endswith(".")
    assert [event.step for event in of(events.Step, seen)] == [1, 2, 3, *range(6, 13)]
    assert seen[-1].reason == "finished" and isfinite(seen[-1].train_loss) and seen[-1].tokens == 12 * 18
    assert np.isfinite(t.model.params.flat).all()


def test_several_in_a_row_end_the_run():
    seen = list(poisoned({"n_steps": 100}, range(3, 100), "wte_weight"))
    assert seen[-1].reason == "failed" and seen[-1].step == 2 + BAD_STEPS and seen[-1].message.endswith(".")
    assert len([alarm for alarm in of(events.Alarm, seen) if alarm.name == "not-finite"]) == BAD_STEPS
    almost = list(poisoned({"n_steps": 30}, range(3, 2 + BAD_STEPS), "wte_weight"))
    assert almost[-1].reason == "finished"


@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_weights_that_are_not_numbers_end_the_run_as_failed(d_type):
    """Whatever the format: a model that cannot learn any more must not look as if it had finished."""
    t = trainer(n_steps=120, d_type=d_type)
    for event in t:
        if isinstance(event, events.Step) and event.step == 2:
            t.model.params["wpe_weight"][...] = np.nan
            t.team.shared.master[...] = t.model.params.flat
    assert event.reason == "failed" and event.message


def test_a_run_that_diverges_says_so():
    """Each step multiplies the matrices by 1 - 10 · 10."""
    run = list(trainer(n_steps=200, r_learn=10.0, r_clip=0, s_warmup="none", c_schedule="constant", r_decay=10.0))
    assert run[-1].reason == "failed" and "r_learn" in run[-1].message and run[-1].step < 200


# Going on -------------------------------------------------------------------------------------------------------------


def interrupted(at: str, step: int, **values) -> tuple[list, Trainer]:
    """Events before and after a break right after the event `at` of `step`; the state goes through plain bytes."""
    first, seen = trainer(**values), []
    for event in first:
        seen.append(event)
        if event.kind == at and event.step == step:
            break
    arrays, meta = first.state()
    copied = {name: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) for name, array in arrays.items()}
    rest = trainer(resume=(copied, json.loads(json.dumps(meta))), **values)
    assert (rest.step, rest.tokens) == (step, 18 * step)
    return [*seen, *rest], rest


@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
@pytest.mark.parametrize("step", [1, 7, 12, 39])
def test_a_resumed_run_is_the_run_that_was_never_interrupted(d_type, step):
    values = {"n_steps": 40, "d_type": d_type, "r_dropout": 0.2, "architecture": ("pre", "moh", "moe")}
    whole = trainer(**values)
    expected = list(whole)
    seen, rest = interrupted("step", step, **values)
    assert whole.model.params.flat.tobytes() == rest.model.params.flat.tobytes()
    assert [(event.step, event.loss, event.learning_rate, event.gradient_norm) for event in of(events.Step, seen)] == \
        [(event.step, event.loss, event.learning_rate, event.gradient_norm) for event in of(events.Step, expected)]
    assert comparable(seen[-1]) == comparable(expected[-1])
    ours, theirs = whole.state(), rest.state()
    assert all(ours[0][name].tobytes() == theirs[0][name].tobytes() for name in ours[0])
    assert {**ours[1], "seconds": 0} == {**theirs[1], "seconds": 0}


@pytest.mark.parametrize(("at", "step"), [("step", 11), ("step", 12), ("evaluation", 12), ("sample", 12)])
def test_no_event_is_lost_or_made_twice(at, step):
    """Broken off before, in the middle of and after a look at the model (every second step has one)."""
    expected = [comparable(event) for event in trainer(n_steps=40)]
    seen, _ = interrupted(at, step, n_steps=40)
    found = [comparable(event) for event in seen]
    again = next(i for i, event in enumerate(found) if i and event["event"] == "start")
    del found[again]
    assert [event for event in found if event["event"] != "sample"] == \
        [event for event in expected if event["event"] != "sample"]


@pytest.mark.parametrize("momentum", ["plain", "nesterov"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_every_recipe_goes_on_bit_by_bit(momentum, schedule):
    values = {"n_steps": 20, "c_momentum": momentum, "c_schedule": schedule, "r_cooldown": 0.7, "c_init": "normal"}
    whole = trainer(**values)
    list(whole)
    _, rest = interrupted("step", 11, **values)
    ours, theirs = whole.state()[0], rest.state()[0]
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


def test_the_rises_go_on_after_a_break(monkeypatch):
    told = dict(zip(range(0, 41, 2), [3.0, 2.0, 2.1, 2.2, 2.3, *[1.0] * 16], strict=True))
    for at in ("evaluation", "sample"):
        monkeypatch.setattr(Trainer, "evaluate", lambda self, full=True: told[self.step])
        seen, _ = interrupted(at, 6, n_steps=40)
        assert [alarm.step for alarm in of(events.Alarm, seen)] == [8], f"interrupted at its {at}"


def test_what_resuming_remembers():
    values = {"n_steps": 30, "c_schedule": "cosine"}
    first = trainer(**values)
    for event in first:
        if isinstance(event, events.Step) and event.step == 5:
            first.set_learning_rate(0.123)
            break
    arrays, meta = first.state()
    rest = trainer(resume=(arrays, meta), **values)
    assert rest.learning_rate == pytest.approx(0.123) and rest.seconds == first.seconds > 0
    start = next(iter(rest))
    assert (start.kind, start.step, start.steps) == ("start", 5, 30)


def test_a_state_is_a_copy():
    t = trainer(n_steps=10)
    run = iter(t)
    for event in run:
        if isinstance(event, events.Step) and event.step == 2:
            break
    arrays, meta = t.state()
    before = {name: array.copy() for name, array in arrays.items()}, json.dumps(meta)
    list(run)
    assert all(np.array_equal(arrays[name], before[0][name]) for name in arrays) and json.dumps(meta) == before[1]


def test_a_state_of_another_model():
    arrays, meta = trainer(architecture=("pre", "moh", "mlp")).state()
    with pytest.raises(FormatError, match="mha") as caught:
        trainer(resume=(arrays, meta))
    assert str(caught.value).endswith(".")
    arrays, meta = trainer(n_emb=16).state()
    with pytest.raises(FormatError, match="does not fit"):
        trainer(resume=(arrays, meta))


# Randomness -----------------------------------------------------------------------------------------------------------

def digest(seed: int, **values) -> str:
    t = trainer(n_steps=15, n_seed=seed, r_dropout=0.3, c_shuffle=True, **values)
    run = [comparable(event) for event in t]
    return hashlib.sha256(t.model.params.flat.tobytes() + json.dumps(run).encode()).hexdigest()


def test_the_seed_decides_everything():
    assert digest(1) == digest(1)
    assert len({digest(seed) for seed in range(4)}) == 4


def test_another_process_gives_the_same_bytes():
    program = (f"import sys, importlib.util as u; sys.path.insert(0, {str(Path(__file__).parents[1] / 'support')!r}); "
               f"s = u.spec_from_file_location('t', {__file__!r}); m = u.module_from_spec(s); s.loader.exec_module(m); "
               "print(m.digest(5))")
    root = str(Path(engine.__file__).parents[1])
    for hash_seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root,
                              env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": hash_seed})
        assert done.stdout.strip() == digest(5)


@pytest.mark.parametrize(("name", "value"), [("n_seed", 2), ("r_dropout", 0.1), ("r_learn", 0.1), ("batch_size", 4)])
def test_what_matters_matters(name, value):
    one, other = trainer(n_steps=5), trainer(n_steps=5, **{name: value})
    list(one)
    list(other)
    assert not np.array_equal(one.model.params.flat, other.model.params.flat)


# Samples and refusals -------------------------------------------------------------------------------------------------


def test_samples():
    run = list(trainer(n_steps=4, prompt="abc", sample_tokens=5))
    for event in of(events.Sample, run):
        assert event.prompt == "abc" and event.text.startswith("abc") and len(event.text) == 8
        assert set(event.text) <= set(LETTERS)
    empty = of(events.Sample, trainer(n_steps=2, sample_tokens=5))
    assert all(len(event.text) == 6 and event.text[0] == "a" for event in empty), "no prompt starts from token 0"
    longer = of(events.Sample, trainer(n_steps=2, prompt="ab" * 20, sample_tokens=5))
    assert all(event.text.startswith("ab" * 20) and len(event.text) == 45 for event in longer)


@pytest.mark.parametrize("kind", ["char", "word"])
@pytest.mark.parametrize("prompt", ["a?b", "?", "a ? b", "a\tb"])
def test_prompts_with_unknown_symbols_do_not_end_a_run(kind, prompt):
    vocab = {"char": "ab cdef", "word": ["a", "b", " ", "c", "d", "e", "f"]}[kind]
    model = Model.create(tiny(d_type="fp32", n_steps=2, c_tokenizer=kind), VOCAB)
    run = list(Trainer(model, registry.tokenizer.get(kind)(vocab), IDS, prompt=prompt, sample_tokens=3))
    assert run[-1].reason == "finished" and all(event.prompt == prompt for event in of(events.Sample, run))


def test_texts_that_are_too_short():
    for length in (0, 1, 6, 7, 13):
        with pytest.raises(TextError) as caught:
            trainer(IDS[:length])
        assert str(caught.value).endswith(".")
    assert trainer(IDS[:14]).split.train.shape == (7,)
    assert list(trainer(IDS[:7], r_split=1))[-1].reason == "finished"


def test_a_model_of_contradictions_is_refused():
    with pytest.raises(ConfigError, match="n_heads"):
        Model.create(tiny(n_heads=3), VOCAB)


# Numbers gone wrong ---------------------------------------------------------------------------------------------------


def test_going_back_to_a_good_state():
    """Five bad steps in a row: on from the state of step 10, with half the rate; what it then does is what a run does
    that goes on from that state with that rate."""
    states = {}
    t = poisoned({"n_steps": 30, "c_schedule": "constant", "s_warmup": "none",
                  "last_good": lambda before: states.get(10)}, range(15, 20), "block_0_mha_c_weight", above=0.003)
    seen = []
    for event in t:
        seen.append(event)
        if isinstance(event, events.Step) and event.step == 10:
            states.setdefault(10, t.state())
    alarms = [alarm for alarm in of(events.Alarm, seen) if alarm.name != "rising-validation"]
    assert [alarm.name for alarm in alarms] == ["not-finite"] * BAD_STEPS + ["rollback"]
    assert "block_0_mha_c_weight" in alarms[0].message and "step 10" in alarms[-1].message
    again = seen[seen.index(alarms[-1]) + 1]
    assert isinstance(again, events.Start) and again.step == 10
    after = seen[seen.index(again):]
    assert [event.step for event in of(events.Step, after)] == list(range(11, 31))
    assert {event.learning_rate for event in of(events.Step, after)} == {t.config.r_learn / 2}
    assert t.rollbacks == 1 and t.seconds > of(events.Step, seen)[9].seconds
    twin = trainer(n_steps=30, c_schedule="constant", s_warmup="none",
                   resume=(states[10][0], {**states[10][1], "rate_factor": 0.5}))
    list(twin)
    assert twin.model.params.flat.tobytes() == t.model.params.flat.tobytes()


def test_a_state_that_led_there_twice_is_not_trusted_a_third_time():
    states, asked = {}, []

    def last_good(before):
        asked.append(before)
        return states[max(step for step in states if before is None or step < before)]

    t = poisoned({"n_steps": 40, "last_good": last_good}, range(25, 41), "ln_f_beta")
    seen = []
    for event in t:
        seen.append(event)
        if isinstance(event, events.Step) and event.step in (5, 20):
            states.setdefault(event.step, t.state())
    starts = [event.step for event in of(events.Start, seen)]
    assert starts == [0, 20, 5, 20, 5, 20], "the newest, then the one before, and again when it came to be made anew"
    assert asked[:3] == [None, None, 20] and seen[-1].reason == "failed" and t.rollbacks == 5
    assert "in a row" in seen[-1].message


@pytest.mark.parametrize("values", [{"c_not_finite": "stop", "last_good": lambda before: 1 / 0},
                                    {"c_not_finite": "rollback"},
                                    {"c_not_finite": "rollback", "last_good": lambda before: None}])
def test_no_way_back(values):
    seen = list(poisoned({"n_steps": 40, **values}, range(1, 41), "ln_f_beta"))
    assert seen[-1].reason == "failed" and len(of(events.Start, seen)) == 1
    assert [alarm.name for alarm in of(events.Alarm, seen)] == ["not-finite"] * BAD_STEPS


def test_a_spike_is_told_once_and_survives_a_break(monkeypatch):
    """The loss of steps 60 to 63 is 3 above the others."""

    def jumping(**values):
        t = trainer(n_steps=80, **values)
        gradient = t.team.gradient

        def told(step, *rest):
            _, norm = gradient(step, *rest)
            return 1.0 + 0.01 * (step % 5) + 3.0 * (60 <= step < 64), norm

        t.team.gradient = told
        return t

    whole = list(jumping())
    spikes = [event for event in of(events.Alarm, whole) if event.name == "spike"]
    assert [event.step for event in spikes] == [61] and "1.02 to 4.00" in spikes[0].message
    first = jumping()
    for event in first:
        if isinstance(event, events.Step) and event.step == 61:
            break
    rest = list(jumping(resume=first.state()))
    assert [event.step for event in of(events.Alarm, rest) if event.name == "spike"] == [61]
    assert [comparable(event) for event in rest[1:]] == [
        comparable(event) for event in whole[next(i for i, e in enumerate(whole) if e.kind == "step" and e.step == 61)
                                             + 1:]]


def test_the_trend_of_a_noisy_loss_has_no_spikes():
    rng = np.random.default_rng(0)
    trend = Trend()
    falling = [2 + 3 * np.exp(-i / 400) + 0.15 * rng.standard_normal() for i in range(5000)]
    assert not any(trend.add(float(loss)) for loss in falling)
    assert abs(trend.mean - 2) < 0.1 and 0.05 < trend.deviation < 0.2
    assert trend.add(4.0) and not trend.add(4.0) and not trend.add(2.0) and trend.add(4.0)


def test_stopping_twice_shortens_the_last_look():
    ids = np.tile(IDS, 40)
    t = trainer(ids, n_steps=40)
    seen = []
    for event in t:
        seen.append(event)
        if isinstance(event, events.Step) and event.step == 3:
            t.stop()
            t.stop()
    assert seen[-1].reason == "stopped" and not seen[-3].full and isfinite(seen[-1].validation_loss)
    t.step, t.steps = 3, 40
    assert t.over == "stopped"
