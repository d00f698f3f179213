"""The matrix products of a step: as many as the estimate counts, at the places where the step has them."""

from __future__ import annotations

import numpy as np
import pytest

from engine import data, registry
from engine.config import Config
from engine.estimate import forward_flops
from engine.products import StepProducts

PAIRS = [*((name, "mlp") for name in registry.attention.names()), *(("mha", name) for name in registry.network.names())]


@pytest.mark.parametrize(("n_ctx", "batch_size", "heads", "more"), [(16, 3, 4, 1.04), (32, 70, 4, 1.06),
                                                                      (192, 12, 2, 1.15)])
def test_as_many_as_the_estimate_counts(n_ctx, batch_size, heads, more):
    config = Config.read({"n_ctx": n_ctx, "n_emb": 96, "head_size": 96, "n_heads": heads, "n_layers": 2,
                          "batch_size": batch_size})
    counted = 3 * batch_size * forward_flops(config, 65, n_ctx)
    # more by the half of the scores that lie in the future, and by the gradient of the embeddings
    assert counted <= StepProducts(config, 65).flops <= more * counted


def test_pieces_of_several_sizes_are_all_counted():
    values = {"n_ctx": 16, "n_emb": 16, "head_size": 16, "n_heads": 2, "n_layers": 1}
    one, many = (Config.read({**values, "batch_size": size}) for size in (1, 101))
    assert len({piece.stop - piece.start for lane in data.lanes(many) for piece in lane}) > 1
    assert StepProducts(many, 65).flops == 101 * StepProducts(one, 65).flops


@pytest.mark.parametrize(("attention", "network"), list(dict.fromkeys(PAIRS)))
def test_every_variant_is_watched_to_its_end(attention, network):
    config = Config.read({"c_attention": attention, "c_network": network, "n_ctx": 16, "n_emb": 32, "head_size": 32,
                          "n_heads": 2, "n_layers": 1, "batch_size": 2})
    products = StepProducts(config, 65)
    for _ in range(5):
        products.run()
    assert all(np.isfinite(out).all() for found, _ in products._passes for _, _, out in found._calls)
    linear = 3 * 2 * 2 * 16 * 32 * 65  # the head's alone
    assert products.flops > 2 * linear


def test_they_are_made_on_memory_laid_out_alike():
    config = Config.read({"n_ctx": 16, "n_emb": 32, "head_size": 32, "n_heads": 2, "n_layers": 1, "batch_size": 2})
    ((found, number),) = StepProducts(config, 65)._passes
    assert number == 1
    strided = 0
    for a, b, out in found._calls:
        assert type(a) is type(b) is type(out) is np.ndarray and a.dtype == np.float32
        assert np.matmul(a, b).shape == out.shape
        strided += not (a.flags.c_contiguous and b.flags.c_contiguous)
    assert strided > 5  # keys, heads and gradients are views
