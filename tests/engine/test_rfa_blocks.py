"""Recent-window attention over several blocks of queries: the tiny shapes of the conformance tests fill only one."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import ids_for, relative_error, tiny, wild

from engine.attention.rfa import carried
from engine.parameters import Gradients

# (tokens, window): the last block full, nearly full and holding one query; windows around the least size of a block
SHAPES = [(96, 32), (97, 32), (70, 5), (64, 1), (65, 31), (90, 40), (160, 33), (33, 32)]


@pytest.mark.parametrize(("tokens", "window"), SHAPES)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients(tokens, window, dropout):
    config = tiny(("pre", "rfa", "mlp"), n_ctx=tokens, s_window=window, n_layers=1, n_heads=2, r_dropout=dropout)
    model = wild(config)
    ids, targets = ids_for(config, batch=2), ids_for(config, seed=2, batch=2)
    gradients, throwaway = Gradients(model.params), Gradients(model.params)
    model.loss_and_gradients(ids, targets, gradients)
    gradients.finish()
    rng = np.random.default_rng(0)

    def loss() -> float:
        return model.loss_and_gradients(ids, targets, throwaway)

    for name in ("block_0_rfa_qkv_weight", "block_0_rfa_memory_decay", "wpe_weight"):
        assert relative_error(loss, model.params.joined[name], gradients.joined[name], rng, elements=4) < 1e-6, name
    assert np.abs(gradients.joined["block_0_rfa_memory_decay"]).max() > 1e-6


@pytest.mark.parametrize(("tokens", "window"), SHAPES)
def test_one_token_at_a_time(tokens, window):
    config = tiny(("pre", "rfa", "mlp"), n_ctx=tokens, s_window=window, n_layers=2)
    model, ids = wild(config), ids_for(config, batch=2)
    expected = model.logits(ids)
    for start in (1, window, min(window + 1, tokens - 1), tokens // 2, tokens - 1):
        states = model.state(2)
        found = [model.prefill(ids[:, :start], states)]
        found += [model.step(ids[:, t], states, t) for t in range(start, tokens)]
        np.testing.assert_allclose(np.stack(found, 1), expected[:, start - 1 :], rtol=1e-9, atol=1e-9)


def test_memories_are_carried_over_chunks():
    rng = np.random.default_rng(0)
    x, decay = rng.standard_normal((2, 3, 200, 4)), np.array([0.5, 0.99, 0.0])
    expected = np.zeros_like(x)
    for i in range(200):
        expected[:, :, i] = x[:, :, i] + (decay[:, None] * expected[:, :, i - 1] if i else 0)
    np.testing.assert_allclose(carried(x, decay), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(carried(x[:, :, :5], decay), expected[:, :, :5], rtol=1e-12, atol=1e-12)
