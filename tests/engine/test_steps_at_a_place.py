"""A token at a position that is read from an array gives the same as one at a position that is known."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import ATTENTIONS, NETWORKS, tiny, wild

BATCH = 3
EVERY_VARIANT = [("pre", attention, "mlp") for attention in ATTENTIONS] + [("post", "mha", n) for n in NETWORKS]


@pytest.mark.parametrize("architecture", EVERY_VARIANT, ids="-".join)
@pytest.mark.parametrize("start", [0, 1, 5])
def test_every_position(architecture, start):
    """After a prompt of `start` tokens, to the end of a context that is longer than windows, kernels and blocks."""
    config = tiny(architecture, n_ctx=40, s_window=7)
    model = wild(config)
    ids = np.random.default_rng(0).integers(0, model.vocab_size, (BATCH, config.n_ctx))
    states, at = model.state(BATCH), model.state(BATCH)
    if start:
        for each in (states, at):
            model.prefill(ids[:, :start], each)
    for position in range(start, config.n_ctx):
        expected = model.step(ids[:, position], states, position)
        np.testing.assert_allclose(model.step_at(ids[:, position], at, np.array([position])), expected, rtol=1e-9,
                                   atol=1e-9)
    for pair, other in zip(states, at, strict=True):
        for state, same in zip(pair, other, strict=True):
            for name, value in vars(state).items():
                if name != "position":
                    np.testing.assert_allclose(vars(same)[name], value, rtol=1e-9, atol=1e-9)
