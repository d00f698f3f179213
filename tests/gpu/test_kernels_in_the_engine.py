"""The engine's passes with its kernels in them, whose sources run on the CPU: every attention and every network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
from architectures import ATTENTIONS, NETWORKS, VOCAB, ids_for, tiny, wild

from engine import backend, kernels
from engine.backend import host, xp
from engine.model import Model
from engine.parameters import Gradients

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++ to compile the kernels with")
ARCHITECTURES = [("pre", attention, "mlp") for attention in ATTENTIONS] + [("post", "mha", name) for name in NETWORKS]


every_variant = pytest.mark.parametrize("architecture", ARCHITECTURES, ids="-".join)


@pytest.fixture(autouse=True)
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The device is the test's choice: a model would turn to that of its configuration."""
    monkeypatch.setattr(backend, "use", lambda *device: None)
    yield
    xp._switch(np)


def passed(model: Model, ids: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients."""
    gradients = Gradients(model.params)
    loss = model.loss_and_gradients(xp.asarray(ids[:, :-1]), xp.asarray(ids[:, 1:]), gradients)
    return loss, {name: np.array(host(view)) for name, view in model.params.views(gradients.flat).items()}


def moved(model: Model, module: Any) -> Model:
    """The model again, on the stand-in for a GPU, with these kernels."""
    arrays = {name: np.array(value) for name, value in model.params.items()}
    xp._switch(cuda_on_cpu.arrays, module)
    model = Model.create(model.config, VOCAB)
    for name, value in arrays.items():
        model.params[name][...] = value
    return model


@every_variant
def test_a_pass_with_kernels_is_a_pass_without(architecture: tuple[str, str, str]) -> None:
    config = tiny(architecture, n_ctx=13, n_kv_heads=2)
    ids, model = ids_for(config, tokens=14), wild(config)
    expected, logits = passed(model, ids), model.logits(ids[0, :9])
    cuda_on_cpu.launches.clear()
    model = moved(model, kernels)
    loss, gradients = passed(model, ids)
    assert {"layer_norm", "layer_norm_backward", "cross_entropy"} <= set(cuda_on_cpu.launches)
    assert abs(loss - expected[0]) < 1e-12
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[1][name], rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(host(model.logits(xp.asarray(ids[0, :9]))), logits, rtol=1e-9, atol=1e-12)


@every_variant
def test_dropout_in_a_pass_with_kernels_is_that_of_their_twins(architecture: tuple[str, str, str]) -> None:
    config = tiny(architecture, n_ctx=13, n_kv_heads=2, r_dropout=0.3)
    ids, model = ids_for(config, tokens=14), wild(config)
    without = passed(model, ids)[0]
    twins = SimpleNamespace(**kernels.TWINS, State=kernels.State, fits=kernels.fits, random_state=kernels.random_state)
    (loss, gradients), (expected, other) = passed(moved(model, kernels), ids), passed(moved(model, twins), ids)
    assert abs(loss - expected) < 1e-12
    assert loss != without  # other masks than the CPU's
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, other[name], rtol=1e-9, atol=1e-12, err_msg=name)
