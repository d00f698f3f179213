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
from architectures import ARCHITECTURES, ATTENTIONS, NETWORKS, VOCAB, ids_for, tiny, wild

from engine import events, registry
from engine.model import Model
from engine.parameters import Gradients, stem
from engine.trainer import Trainer

PYTHON = os.environ.get("BABYTUI_TORCH_PYTHON") or (sys.executable if importlib.util.find_spec("torch") else None)
SCRIPT = Path(__file__).parents[1] / "support" / "torch_twin.py"
needs_torch = pytest.mark.skipif(PYTHON is None, reason="no PyTorch: set BABYTUI_TORCH_PYTHON to a Python that has it")
FROZEN = {"lor": {"c_proj_weight", "c_proj_bias"}}  # torch gives them gradients all the same
OTHERS = {  # what the plain sizes leave out: (architecture, changes of the config, factor of the keys)
    "two kv heads, no shuffle": (("pre", "gqa", "ggl"), {"n_kv_heads": 2, "ggl_shuffle": False}, 1),
    "four kv heads, four groups": (("post", "gqa", "ggl"), {"n_kv_heads": 4, "n_groups": 4}, 1),
    "window above a block, one expert": (("post", "rfa", "moe"), {"s_window": 40, "n_experts": 1}, 1),
    "window of one, rank one": (("pre", "rfa", "lor"), {"s_window": 1, "n_rank": 1}, 1),
    "one token left the window, full rank": (("pre", "rfa", "lor"), {"s_window": 129, "n_rank": 8}, 1),
    "nothing left the window": (("post", "rfa", "swi"), {"s_window": 130}, 1),
    "kernel of one": (("pre", "gla", "gln"), {"s_kernel": 1}, 1),
    "kernel above the context": (("post", "gla", "gln"), {"s_kernel": 200}, 1),
    "centred kernel": (("pre", "gla", "mlp"), {"s_kernel": 8, "c_convolution": "centred"}, 1),
    "centred odd kernel": (("post", "gla", "gln"), {"s_kernel": 5, "c_convolution": "centred"}, 1),
    "some keys clipped": (("pre", "aft", "nft"), {}, 10),
    "some keys clipped, post": (("post", "aft", "nft"), {}, 10),
    "one switched head": (("pre", "swh", "mlp"), {"n_heads": 1}, 1),
    "eight switched heads": (("post", "swh", "mlp"), {"n_heads": 8, "head_size": 24}, 1),
}
CASES = {"-".join(architecture): (architecture, {}, 1) for architecture in ARCHITECTURES} | OTHERS
RUNS = [("exact", ("pre", "mha", "mlp")), ("exact", ("post", "moh", "moe")), ("torch", ("pre", "moh", "moe"))]


def plan(config, **more):
    return np.array(json.dumps({**config.values, **more}))


def named_gradients(model, gradients):
    """Gradients of what is trained under the names of the file format."""
    found = {}
    for name, value in gradients.joined.items():
        parts = model.params.tensors[name].parts
        found |= {stem(name) + part: value[index] for part, index in parts} or {name: value}
    return found


def model_for(case):
    """130 tokens: attention walks the query rows in more than one block, and so do the sums over time."""
    architecture, changes, factor = CASES[case]
    model = wild(tiny(architecture, **{"n_ctx": 130, "r_temp": 0.7, "n_experts": 3, "s_kernel": 4, **changes}), seed=11)
    for name, view in model.params.items():
        if name.endswith("_k_weight"):
            view *= factor
    return model


def trainer_for(architecture):
    config = tiny(architecture, n_steps=20, r_clip=0.8, r_learn=0.01, s_warmup=5, r_decay=0.3, batch_size=5,
                  r_beta1=0.8, r_beta2=0.95, c_momentum="plain")
    ids = np.tile(ids_for(config, batch=1, tokens=40)[0], 5)
    return Trainer(Model.create(config, VOCAB), registry.tokenizer.get("char")("abcdefg"), ids, sample_tokens=1)


@pytest.fixture(scope="module")
def torch_says(tmp_path_factory):
    """Everything torch is asked for, in one process: it takes seconds to start."""
    asked = {}
    for case in CASES:
        model = model_for(case)
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
@pytest.mark.parametrize("case", CASES)
def test_loss_and_every_gradient(case, torch_says):
    model = model_for(case)
    gradients = Gradients(model.params)
    loss = model.loss_and_gradients(ids_for(model.config), ids_for(model.config, seed=2), gradients)
    gradients.finish()
    assert loss == pytest.approx(float(torch_says[f"{case}/loss"]), rel=1e-9)
    found, start = named_gradients(model, gradients), f"{case}/g/"
    network = model.config.c_network
    frozen = {f"block_{i}_{network}_{name}" for i in range(model.config.n_layers) for name in FROZEN.get(network, ())}
    assert set(found) == {name.removeprefix(start) for name in torch_says if name.startswith(start)} - frozen
    for name, value in found.items():
        expected = torch_says[start + name]
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max(), err_msg=name)


def test_every_variant_is_written_in_torch():
    text = SCRIPT.read_text(encoding="utf-8")
    assert all(f'"{name}": {name}' in text for name in (*ATTENTIONS, *NETWORKS))


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
