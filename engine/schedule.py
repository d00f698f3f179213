"""The learning rate of every step."""

from __future__ import annotations

from math import cos, pi

from engine.config import Config

FLOOR = 0.1  # a cosine ends at this share of r_learn
PROJECTED_FROM = 5  # steps, before which their speed says little


def planned_steps(steps: int, step: int, seconds: float, time_budget: float | None) -> int:
    """The steps that a run is going to make: `steps`, or fewer when `step` steps in `seconds` show that its time (in
    seconds) ends before, so that a schedule reaches its end together with the time."""
    if time_budget is None or step < PROJECTED_FROM or seconds <= 0:
        return steps
    return min(steps, max(step + 1, round(step * (time_budget / seconds))))


def warmup_steps(config: Config, steps: int) -> int:
    """Steps of linear warm-up in a run of `steps`: none; auto = min(100, 10 %); a fraction; or a count above 1."""
    value = config.s_warmup
    if value == "none":
        return 0
    if value == "auto":
        return min(100, steps // 10)
    return min(steps, round(value * steps) if value <= 1 else round(value))


def learning_rate(config: Config, step: int, steps: int) -> float:
    """The learning rate of step `step` (counted from 0) in a run of `steps`."""
    warm = warmup_steps(config, steps)
    if step < warm:
        return config.r_learn * (step + 1) / warm
    if config.c_schedule == "constant":
        return config.r_learn
    share = min(1.0, (step - warm) / max(1, steps - warm))
    if config.c_schedule == "linear":
        return config.r_learn * min(1.0, (1 - share) / max(config.r_cooldown, 1 / max(1, steps - warm)))
    return config.r_learn * (FLOOR + (1 - FLOOR) * 0.5 * (1 + cos(pi * share)))
