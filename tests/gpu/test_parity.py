"""Every architecture on a real GPU equals the CPU: loss, gradients, logits, text, runs; and resumes to the same bytes.

The tolerances are those of the format; sums are made in another order than on the CPU.
"""

from __future__ import annotations

import numpy as np
import parity
import pytest
from architectures import ARCHITECTURES, ids_for, tiny
from parity import CLOSE

from engine import backend
from engine.backend import host, xp

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids="-".join)


@every_architecture
@pytest.mark.parametrize("d_type", ["fp32", "fp64"])
def test_loss_and_gradients(architecture, d_type):
    parity.loss_and_gradients(architecture, d_type, CLOSE[d_type])


@every_architecture
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 6), (5, 1), (2, 4)])
def test_corner_shapes(architecture, batch, tokens):
    parity.loss_and_gradients(architecture, "fp64", CLOSE["fp64"], batch, tokens)


@every_architecture
def test_wider_and_longer(architecture):
    parity.loss_and_gradients(architecture, "fp64", 1e-9, 2, 150, n_ctx=160, n_emb=48, head_size=48, s_window=20)


@every_architecture
def test_dropout(architecture):
    parity.dropout_is_a_function_of_step_and_shard(architecture)


@every_architecture
def test_shards(architecture):
    parity.shards_add_up(architecture, CLOSE["fp64"])


@every_architecture
@pytest.mark.parametrize("d_type", ["fp32", "fp64"])
def test_logits_and_text(architecture, d_type):
    parity.logits_and_text(architecture, d_type, CLOSE[d_type])


@every_architecture
def test_steps(architecture):
    parity.steps_equal_the_forward_pass(architecture, CLOSE["fp64"])


@every_architecture
def test_causality(architecture):
    parity.no_token_changes_an_earlier_output(architecture)


@every_architecture
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_exported_arrays(architecture, d_type):
    parity.exported_arrays_are_the_same(architecture, d_type)


@every_architecture
def test_overfits_one_batch(architecture):
    parity.overfits_one_batch(architecture)


@every_architecture
@pytest.mark.parametrize(("d_type", "close"), [("fp16", 5e-2), ("fp32", 1e-3), ("fp64", 1e-9)])
def test_runs(architecture, d_type, close):
    parity.runs_are_alike(architecture, d_type, close)


@every_architecture
@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_runs_that_go_on(architecture, d_type):
    parity.a_run_that_goes_on_is_the_same(architecture, d_type)


@every_architecture
def test_tf32_is_near(architecture):
    """TF32 has 10 bits of fraction, as halves have: products are exact to about a thousandth."""
    parity.loss_and_gradients(architecture, "fp32", 1e-2, c_device_gpu_tensor=True)


@pytest.mark.parametrize("d_type", ["fp32", "fp64"])
def test_memory_does_not_grow_with_steps(d_type):
    """The pool holds after 30 steps what it held after 3."""
    config = parity.on_gpu(tiny(d_type=d_type, n_steps=1000))
    from engine.model import Model
    from engine.parameters import Gradients

    model = Model.create(config, 7)
    gradients, ids = Gradients(model.params), xp.asarray(ids_for(config))
    held = []
    for step in range(30):
        gradients.reset()
        float(model.loss_and_gradients(ids, ids, gradients, step=step))
        gradients.finish()
        held.append(xp.get_default_memory_pool().total_bytes())
    assert held[-1] == held[2]


def test_arrays_come_and_go():
    values = np.random.default_rng(1).standard_normal((5, 7))
    assert np.array_equal(host(xp.asarray(values)), values) and xp._module is not backend.np
