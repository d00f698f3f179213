"""The learning rate of every step, against a twin and by hand."""

from __future__ import annotations

import pytest
import twins
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Config
from engine.schedule import learning_rate, planned_steps, warmup_steps


@pytest.mark.parametrize(("warmup", "steps", "expected"), [
    ("none", 1000, 0), ("auto", 1000, 100), ("auto", 5000, 100), ("auto", 500, 50), ("auto", 9, 0), (0, 1000, 0),
    (0.25, 1000, 250), (1, 1000, 1000), (1.5, 1000, 2), (25, 1000, 25), ("25", 1000, 25), (5000, 1000, 1000)])
def test_warmup_steps(warmup, steps, expected):
    assert warmup_steps(Config.read({"s_warmup": warmup}), steps) == expected


@given(st.integers(1, 300), st.one_of(st.sampled_from(["none", "auto"]), st.floats(0, 1), st.integers(2, 400)),
       st.floats(1e-6, 1))
def test_cosine_equals_its_twin(steps, warmup, peak):
    config = Config.read({"s_warmup": warmup, "c_schedule": "cosine", "r_learn": peak})
    warm = warmup_steps(config, steps)
    for step in range(steps):
        assert learning_rate(config, step, steps) == pytest.approx(twins.cosine(peak, warm, step, steps), rel=1e-12)


@given(st.integers(1, 300), st.one_of(st.sampled_from(["none", "auto"]), st.floats(0, 1), st.integers(2, 400)),
       st.floats(0, 1))
def test_linear_equals_its_twin(steps, warmup, cooldown):
    config = Config.read({"s_warmup": warmup, "c_schedule": "linear", "r_learn": 0.5, "r_cooldown": cooldown})
    warm = warmup_steps(config, steps)
    for step in range(steps):
        assert learning_rate(config, step, steps) == pytest.approx(twins.linear(0.5, warm, step, steps, cooldown),
                                                                   rel=1e-9)


def test_linear_by_hand():
    config = Config.read({"s_warmup": 10, "c_schedule": "linear", "r_learn": 1.0, "r_cooldown": 0.5})
    expected = {0: 0.1, 9: 1.0, 10: 1.0, 60: 1.0, 61: 0.98, 85: 0.5, 109: 0.02, 110: 0.0, 500: 0.0}
    assert {step: learning_rate(config, step, 110) for step in expected} == pytest.approx(expected)
    whole, none = config.replace(r_cooldown=1), config.replace(r_cooldown=0)
    assert [learning_rate(whole, step, 110) for step in (10, 11, 60, 109)] == pytest.approx([1, 0.99, 0.5, 0.01])
    assert [learning_rate(none, step, 110) for step in (10, 60, 109, 110)] == [1, 1, 1, 0]


def test_cosine_by_hand():
    config = Config.read({"s_warmup": "none", "c_schedule": "cosine", "r_learn": 1.0})
    assert learning_rate(config, 0, 100) == 1.0
    assert learning_rate(config, 50, 100) == pytest.approx(0.55)
    assert learning_rate(config, 100, 100) == pytest.approx(0.1)
    assert learning_rate(config, 500, 100) == pytest.approx(0.1), "a run that goes on stays at the end"
    rates = [learning_rate(config, step, 100) for step in range(101)]
    assert rates == sorted(rates, reverse=True)


def test_constant_by_hand():
    config = Config.read({"s_warmup": 4, "c_schedule": "constant", "r_learn": 0.2})
    assert [learning_rate(config, step, 100) for step in (0, 1, 2, 3, 4, 50, 99)] == \
        pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2])


def test_the_first_step_already_learns():
    config = Config.read({"s_warmup": 1, "r_learn": 1.0, "c_schedule": "cosine"})
    assert learning_rate(config, 0, 10) == pytest.approx(0.1)
    assert learning_rate(config, 9, 10) == pytest.approx(1.0)


@pytest.mark.parametrize(("steps", "step", "seconds", "budget", "expected"), [
    (1000, 100, 10.0, None, 1000), (1000, 100, 10.0, 60.0, 600), (1000, 100, 10.0, 600.0, 1000),
    (1000, 3, 10.0, 60.0, 1000), (1000, 0, 0.0, 60.0, 1000), (1000, 100, 0.0, 60.0, 1000),
    (1000, 100, 60.0, 60.0, 101), (1000, 100, 90.0, 60.0, 101), (1000, 1000, 10.0, 60.0, 1000)])
def test_planned_steps_follow_the_time(steps, step, seconds, budget, expected):
    assert planned_steps(steps, step, seconds, budget) == expected


def test_a_timed_cosine_ends_with_its_time():
    config = Config.read({"s_warmup": "auto", "r_learn": 1.0, "c_schedule": "cosine"})
    each, budget = 0.01, 5.0  # 500 steps fit
    rates = [learning_rate(config, step, planned_steps(10**9, step, step * each, budget)) for step in range(500)]
    assert rates[49] == pytest.approx(1.0) and rates[-1] == pytest.approx(0.1, abs=1e-4)
    assert rates[50:] == sorted(rates[50:], reverse=True)
    config = config.replace(c_schedule="linear")
    rates = [learning_rate(config, step, planned_steps(10**9, step, step * each, budget)) for step in range(500)]
    assert rates[49] == rates[270] == 1.0 and 0 < rates[-1] < 0.01
