"""The engine against the same models in PyTorch, in another process.

Runs when this Python has torch, or when BABYTUI_TORCH_PYTHON names one that has (it need not have anything of ours).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from architectures import VOCAB, ids_for, tiny, wild

from engine import events, registry
from engine.model import Model
from engine.parameters import Gradients, stem
from engine.trainer import Trainer

PYTHON = os.environ.get("BABYTUI_TORCH_PYTHON") or (sys.executable if importlib.util.find_spec("torch") else None)
SCRIPT = Path(__file__).parents[1] / "support" / "torch_twin.py"
needs_torch = pytest.mark.skipif(PYTHON is None, reason="no PyTorch: set BABYTUI_TORCH_PYTHON to a Python that has it")
CASES = [(sequence, attention, network) for sequence in ("pre", "post") for attention in ("mha", "moh")
         for network in ("mlp", "moe")]
RUNS = [("exact", ("pre", "mha", "mlp")), ("exact", ("post", "moh", "moe")), ("torch", ("pre", "moh", "moe"))]


def plan(config, **more):
    return np.array(json.dumps({**config.values, **more}))


def named_gradients(model, gradients):
    """Gradients under the names of the file format."""
    found = {}
    for tensor in model.params.tensors.values():
        value = gradients.joined[tensor.name]
        found |= {stem(tensor.name) + part: value[index] for part, index in tensor.parts} or {tensor.name: value}
    return found


def model_for(architecture):
    # 130 tokens: attention walks the query rows in more than one block
    return wild(tiny(architecture, n_ctx=130, r_temp=0.7, n_experts=3), seed=11)


def trainer_for(architecture):
    config = tiny(architecture, n_steps=20, r_clip=0.8, r_learn=0.01, s_warmup=5, r_decay=0.3, batch_size=5)
    ids = np.tile(ids_for(config, batch=1, tokens=40)[0], 5)
    return Trainer(Model.create(config, VOCAB), registry.tokenizer.get("char")("abcdefg"), ids, sample_tokens=1)


@pytest.fixture(scope="module")
def torch_says(tmp_path_factory):
    """Everything torch is asked for, in one process: it takes seconds to start."""
    asked = {}
    for architecture in CASES:
        case, model = "-".join(architecture), model_for(architecture)
        asked |= {f"{case}/w/{name}": value for name, value in model.params.items()}
        asked |= {f"{case}/plan": plan(model.config), f"{case}/inputs": ids_for(model.config)[None],
                  f"{case}/targets": ids_for(model.config, seed=2)[None]}
    for clip, architecture in RUNS:
        case, trainer = "-".join((clip, *architecture)), trainer_for(architecture)
        asked |= {f"{case}/w/{name}": value.copy() for name, value in trainer.model.params.items()}
        batches = [trainer.windows.batch(step) for step in range(trainer.steps)]
        rates = [event.learning_rate for event in trainer if isinstance(event, events.Step)]
        asked |= {f"{case}/plan": plan(trainer.config, clip=clip), f"{case}/rates": np.array(rates),
                  f"{case}/inputs": np.array([inputs for inputs, _ in batches]),
                  f"{case}/targets": np.array([targets for _, targets in batches])}
    folder = tmp_path_factory.mktemp("torch")
    np.savez(folder / "asked.npz", **asked)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    subprocess.run([PYTHON, str(SCRIPT), str(folder / "asked.npz"), str(folder / "said.npz")], check=True, timeout=300,
                   env=environment)
    return dict(np.load(folder / "said.npz"))


@needs_torch
@pytest.mark.parametrize("architecture", CASES, ids="-".join)
def test_loss_and_every_gradient(architecture, torch_says):
    case, model = "-".join(architecture), model_for(architecture)
    gradients = Gradients(model.params)
    loss = model.loss_and_gradients(ids_for(model.config), ids_for(model.config, seed=2), gradients)
    gradients.finish()
    assert loss == pytest.approx(float(torch_says[f"{case}/loss"]), rel=1e-9)
    found = named_gradients(model, gradients)
    assert {f"{case}/g/{name}" for name in found} == {name for name in torch_says if name.startswith(f"{case}/g/")}
    for name, value in found.items():
        expected = torch_says[f"{case}/g/{name}"]
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=name)


@needs_torch
@pytest.mark.parametrize(("clip", "architecture"), RUNS, ids=lambda it: it if isinstance(it, str) else "-".join(it))
def test_twenty_steps_of_adamw(clip, architecture, torch_says):
    """exact: gradients are divided by their norm; torch: by clip_grad_norm_, which adds 1e-6 to the norm."""
    case, trainer = "-".join((clip, *architecture)), trainer_for(architecture)
    steps = [event for event in trainer if isinstance(event, events.Step)]
    tolerance = 1e-9 if clip == "exact" else 1e-5
    norms = [event.gradient_norm for event in steps]
    assert any(norm > 0.8 for norm in norms) and any(norm < 0.8 for norm in norms), "clipped in some steps only"
    np.testing.assert_allclose([event.loss for event in steps], torch_says[f"{case}/losses"], rtol=tolerance)
    np.testing.assert_allclose(norms, torch_says[f"{case}/norms"], rtol=tolerance)
    for name, value in trainer.model.params.items():
        expected = torch_says[f"{case}/w/{name}"]
        np.testing.assert_allclose(value, expected, rtol=tolerance, atol=tolerance, err_msg=name)
