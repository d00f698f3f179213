"""The learning rate of every step."""

from __future__ import annotations

from math import cos, pi

from engine.config import Config

FLOOR = 0.1  # a cosine ends at this share of r_learn


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
    return config.r_learn * (FLOOR + (1 - FLOOR) * 0.5 * (1 + cos(pi * share)))
