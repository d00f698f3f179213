"""Steps and tokens with the kernels' own sources, compiled for the CPU, in place of their twins: what the engine gives
to them is what they take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
import strict_xp
from architectures import ATTENTIONS, NETWORKS, VOCAB, tiny, wild
from strict_xp import installed, plain, state

from engine import kernels
from engine.backend import host
from engine.device_step import DeviceTeam
from engine.generate import Decoder
from engine.model import Model
from engine.optimizer import LossScaler
from engine.parallel import Team

pytestmark = pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no g++")
EVERY_VARIANT = [("pre", attention, "mlp") for attention in ATTENTIONS] + [("post", "mha", n) for n in NETWORKS]
OWN = {name: getattr(kernels, name) for name in kernels.TWINS if hasattr(kernels, name)}


class RawModule(cuda_on_cpu.RawModule):
    """Its kernels take arrays of the stand-in, and can be captured."""

    def get_function(self, name: str) -> Any:
        function = super().get_function(name)

        def launch(grid: Any, block: Any, args: Any, shared_mem: int = 0) -> None:
            hosts = tuple(map(plain, args))
            state.launch(lambda: function(grid, block, hosts, shared_mem=shared_mem))

        return launch


@pytest.fixture
def device() -> Iterator[None]:
    """A machine with a GPU."""
    with installed():
        yield


def use_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernels be their sources, not their twins."""
    for name, function in OWN.items():
        monkeypatch.setattr(kernels, name, function)
    monkeypatch.setattr(strict_xp.cupy, "RawModule", RawModule)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY_VARIANT, ids="-".join)
def test_steps_and_tokens(architecture, device, monkeypatch):
    """Of two replies, past the end of the context; steps before and after they have become a graph."""
    use_sources(monkeypatch)
    found = []
    for on in ("gpu", "cpu"):
        config = tiny(architecture, c_device=on, d_type="fp64", n_ctx=12, s_window=5)
        model = Model.from_arrays(config, wild(config.replace(c_device="cpu")).export())
        team: Any = DeviceTeam(model) if on == "gpu" else Team(model)
        rng, told = np.random.default_rng(0), []
        for step in range(4):
            inputs, targets = rng.integers(0, VOCAB, (2, config.batch_size, config.n_ctx))
            told.append(team.train(step, inputs, targets, 0.01, 1.0, LossScaler(False))())
        decoder = Decoder(model, 2, cache=True)
        logits = [decoder.start(np.array([[1, 2], [3, 4]]))]
        logits += [decoder.next(np.array([token % VOCAB, 1])) for token in range(14)]
        found.append((np.array(told), host(model.params.flat), np.array(logits)))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("d_type", ["fp16", "fp32"])
@pytest.mark.parametrize("architecture", [("pre", "gqa", "mlp"), ("post", "rfa", "swi"), ("pre", "gla", "nft")],
                         ids="-".join)
def test_dropout(architecture, d_type, device, monkeypatch):
    """Masks of the sources are those of the twins, in steps that accumulate over pieces and clip."""
    monkeypatch.setattr("engine.device_step.PIECE", 10)
    found = []
    for sources in (False, True):
        if sources:
            use_sources(monkeypatch)
        config = tiny(architecture, c_device="gpu", d_type=d_type, r_dropout=0.3, s_window=4)
        team = DeviceTeam(Model.create(config, VOCAB))
        rng, told = np.random.default_rng(0), []
        for step in range(4):
            inputs, targets = rng.integers(0, VOCAB, (2, config.batch_size, config.n_ctx))
            told.append(team.train(step, inputs, targets, 0.01, 0.5, LossScaler(d_type == "fp16"))())
        found.append((np.array(told), host(team.shared.master)))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-4)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=2e-3)
