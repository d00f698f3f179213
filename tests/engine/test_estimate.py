"""What is promised before anything is allocated, against what is then allocated, computed and written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from architectures import ARCHITECTURES, VOCAB, tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import estimate as estimates
from engine import registry
from engine.backend import xp
from engine.config import PRESETS, Config, preset
from engine.data import Windows, split
from engine.errors import ConfigError
from engine.estimate import calibrate, cores, estimate, forward_flops, state_bytes, suggested_rate
from engine.model import Model
from engine.parameters import Gradients
from engine.prepared import copied
from engine.tape import Tape
from engine.trainer import Trainer
from store.model_file import write_model

SHAPES = [
    {}, {"c_attention": "moh", "c_network": "moe"}, {"c_sequence": "post", "r_dropout": 0.1},
    {"n_layers": 6, "n_ctx": 24},
    {"n_ctx": 160, "batch_size": 4, "n_heads": 2}, {"d_type": "fp16"}, {"d_type": "fp64", "c_network": "moe"},
    {"n_emb": 128, "head_size": 64, "n_ctx": 16}, {"batch_size": 30, "r_dropout": 0.2, "c_attention": "moh"}]


def config(**values) -> Config:
    return Config.read({"n_ctx": 32, "n_emb": 64, "head_size": 64, "n_heads": 4, "n_layers": 2, "batch_size": 12,
                        "c_device_cpu_cores": 1, "r_split": 0.9, **values})


def text(length: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, VOCAB, length).astype(np.uint8)


def trainer(cfg: Config, length: int = 3000, vocab_size: int = VOCAB) -> Trainer:
    tokenizer = registry.tokenizer.get("char")([chr(97 + i) for i in range(vocab_size)])
    return Trainer(Model.create(cfg, vocab_size), tokenizer, text(length), sample_tokens=1)


# Parameters -----------------------------------------------------------------------------------------------------------


def counted_by_hand(c: Config, vocabulary: int) -> int:
    D, H, h = c.n_emb, c.head_size, c.n_heads
    attention = {"mha": 4 * D * H + D, "moh": 3 * D * H + D * h + (H // h) * D + D}[c.c_attention]
    expert = D * 4 * D + 4 * D + 4 * D * D + D
    network = {"mlp": expert, "moe": c.n_experts * expert + D * c.n_experts}[c.c_network]
    ends = vocabulary * D + c.n_ctx * D + 2 * D + D * vocabulary + vocabulary
    return ends + c.n_layers * (4 * D + attention + network)


@pytest.mark.parametrize("attention", ["mha", "moh"])
@pytest.mark.parametrize("network", ["mlp", "moe"])
@pytest.mark.parametrize("vocabulary", [1, 65, 3001])
def test_parameters_are_counted_exactly(attention, network, vocabulary):
    cfg = config(c_attention=attention, c_network=network, head_size=48, n_heads=3, n_experts=5)
    found = estimate(cfg, vocab_size=vocabulary)
    assert found.parameters == found.trained_parameters == counted_by_hand(cfg, vocabulary)
    assert found.parameters == Model.create(cfg, vocabulary).n_parameters


def test_nothing_is_allocated():
    """4 layers of width 32,768 have 50 billion parameters."""
    found = estimate(config(n_emb=32768, head_size=32768, n_layers=4), vocab_size=65)
    assert found.parameters > 5e10 and found.training_bytes > 16 * found.parameters
    assert any("GiB" in warning for warning in found.warnings)


# Memory ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", SHAPES, ids=str)
def test_training_memory(values):
    cfg = config(n_steps=2, **values)
    t = trainer(cfg, vocab_size=65)
    inputs, targets = t.windows.batch(0)
    t.team.gradient(0, inputs, targets, 1.0)
    t.team.update(0.001, 1.0)
    shared = t.team.shared
    held = shared.weights.nbytes + shared.m.nbytes + shared.v.nbytes + shared.gradients.nbytes + t.model.arena.bytes
    held += shared.master.nbytes if shared.master is not shared.weights else 0
    assert estimate(cfg, vocab_size=65).training_bytes == pytest.approx(held, rel=0.35)


@pytest.mark.parametrize("values", SHAPES, ids=str)
def test_generation_memory(values):
    model = Model.create(config(**values), 65)
    states = sum(state.bytes for pair in model.state(1) for state in pair)
    weights = sum(view.nbytes for view in model.params.values())
    assert estimate(model.config, vocab_size=65).generation_bytes == weights + copied(weights) + states


# FLOPs ----------------------------------------------------------------------------------------------------------------


def counted_flops(model: Model, tokens: int, monkeypatch) -> tuple[float, float]:
    """Multiply-adds, counted as two, in the matrix products of a training step over one sequence: forward, backward.
    Products with a vector are sums in disguise and are not counted."""
    made, matmul = [0.0], xp.matmul

    def counting(a, b, out=None):
        result = matmul(a, b) if out is None else matmul(a, b, out=out)
        if min(a.ndim, b.ndim) > 1:
            made[0] += 2.0 * result.size * a.shape[-1]
        return result

    ids, gradients = np.zeros((1, tokens), int), Gradients(model.params)
    monkeypatch.setattr(xp, "matmul", counting)
    model.forward(ids, Tape(model.arena, model.dtype, recording=True))
    forward = made[0]
    model.loss_and_gradients(ids, ids, gradients)
    monkeypatch.setattr(xp, "matmul", matmul)
    return forward, made[0] - 2 * forward


@pytest.mark.parametrize("values", [{}, {"c_attention": "moh", "c_network": "moe"}, {"n_ctx": 100, "n_heads": 8},
                                    {"n_emb": 32, "head_size": 96, "c_attention": "moh"}, {"n_ctx": 512, "n_emb": 32}],
                         ids=str)
def test_flops_against_the_products_that_are_made(values, monkeypatch):
    """The engine computes a little more than it must: scores of the future inside a block of rows."""
    cfg = config(**values)
    forward, backward = counted_flops(Model.create(cfg, 65), cfg.n_ctx, monkeypatch)
    assert forward_flops(cfg, 65, cfg.n_ctx) == pytest.approx(forward, rel=0.12)
    assert estimate(cfg, vocab_size=65).flops_per_step / cfg.batch_size == pytest.approx(forward + backward, rel=0.15)


def flops_by_hand(c: Config, vocabulary: int, T: int) -> float:
    """Two for every weight of a matrix and token, and for every pair of a query and a key that it may see."""
    D, H, h, d = c.n_emb, c.head_size, c.n_heads, c.head_size // c.n_heads
    pairs = T * (T + 1) / 2
    attention = {"mha": T * 4 * D * H, "moh": T * (3 * D * H + D * h + H + d * D)}[c.c_attention] + 2 * pairs * H
    network = {"mlp": T * 8 * D * D, "moe": T * c.n_experts * (8 * D * D + 2 * D)}[c.c_network]
    return 2 * (c.n_layers * (attention + network) + T * D * vocabulary)


@pytest.mark.parametrize("attention", ["mha", "moh"])
@pytest.mark.parametrize("network", ["mlp", "moe"])
def test_flops_against_a_count_by_hand(attention, network):
    cfg = config(c_attention=attention, c_network=network, head_size=96, n_experts=3)
    assert forward_flops(cfg, 65, 32) == pytest.approx(flops_by_hand(cfg, 65, 32), rel=1e-12)
    found = estimate(cfg, vocab_size=65)
    assert found.flops_per_step == pytest.approx(3 * 12 * flops_by_hand(cfg, 65, 32))
    assert found.flops_per_token == pytest.approx(flops_by_hand(cfg, 65, 32) / 32)
    assert found.tokens_per_step == 12 * 32


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [False, True], ids=["newborn", "trained"])
@pytest.mark.parametrize("values", [{}, {"d_type": "fp16"}, {"d_type": "fp64"},
                                    {"c_attention": "moh", "c_network": "moe"}], ids=str)
def test_size_of_a_model_file(values, trained, tmp_path):
    cfg = config(n_steps=20, r_learn=0.01, **values)
    t = trainer(cfg, vocab_size=65)
    if trained:
        list(t)
    write_model(tmp_path / "model.json", t.model.export())
    size = (tmp_path / "model.json").stat().st_size
    assert estimate(cfg, vocab_size=65).model_file_bytes == pytest.approx(size, rel=0.25)


# Steps ----------------------------------------------------------------------------------------------------------------


@given(st.integers(40, 3000), st.integers(1, 12), st.sampled_from(["auto", 1, 2, 5, 12]), st.integers(1, 3),
       st.integers(1, 40), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
@settings(max_examples=200)
def test_steps_are_those_of_the_trainer(length, n_ctx, stride, epochs, batch, share):
    stride = stride if stride == "auto" else min(stride, n_ctx)
    cfg = config(n_ctx=n_ctx, n_emb=4, head_size=4, n_layers=1, s_stride=stride, n_epochs=epochs, batch_size=batch,
                 r_split=share)
    found = estimate(cfg, vocab_size=VOCAB, text_tokens=length)
    assert found.steps == max(1, -(-epochs * Windows(split(text(length), cfg).train, cfg).count // batch))
    assert found.tokens == found.steps * batch * n_ctx


@pytest.mark.parametrize("stride", ["auto", 1, 7])
def test_steps_of_a_real_trainer(stride):
    cfg = config(s_stride=stride, n_epochs=2)
    assert estimate(cfg, vocab_size=VOCAB, text_tokens=3000).steps == trainer(cfg, 3000).steps


def test_given_steps_are_the_steps():
    assert estimate(config(n_steps=123), text_tokens=10_000).steps == 123
    assert estimate(config(n_steps=123)).steps == 123
    assert estimate(config()).steps == 0 and estimate(config()).seconds is None


def test_seconds(monkeypatch):
    found = estimate(config(n_steps=100), speed=1e9)
    working = 100 * found.flops_per_step / 1e9
    assert working <= found.seconds < 1.3 * working, "the work, and some looking at it"
    assert estimate(config(n_steps=200), speed=4e9).seconds == pytest.approx(found.seconds / 2)
    assert estimate(config(n_steps=100)).seconds is None
    monkeypatch.setattr(estimates.processor, "cores", lambda: 4)
    plans = [config(n_steps=9, batch_size=batch, c_device_cpu_cores=n)
             for batch, n in ((48, 1), (48, 2), (48, 0), (12, 0))]
    one, two, all_four, one_lane = (estimate(plan, speed=1e9).seconds for plan in plans)
    assert one / 2 <= two < one and one / 4 <= all_four < two
    assert one_lane == pytest.approx(one / 4, rel=0.05), "a batch of one lane gains nothing from more processes"


def test_tokens_needed():
    found = estimate(config())
    low, high = found.tokens_needed
    assert low == 20 * found.parameters < high


# Advice ---------------------------------------------------------------------------------------------------------------


def test_the_suggested_rate_is_proportional():
    assert suggested_rate(0.001, 12, 24) == pytest.approx(0.002)
    assert suggested_rate(0.001, 16, 4) == pytest.approx(0.00025)
    assert suggested_rate(0.001, 7, 7) == 0.001


def warnings_of(monkeypatch, *, memory=1 << 40, text_tokens=None, **values) -> list[str]:
    monkeypatch.setattr(estimates, "_memory", lambda: memory)
    found = estimate(config(**values), text_tokens=text_tokens).warnings
    assert all(warning.endswith(".") and warning.isprintable() for warning in found)
    return found


def test_warnings(monkeypatch):
    assert warnings_of(monkeypatch, n_steps=2000, text_tokens=1_000_000) == []
    assert "GiB" in warnings_of(monkeypatch, memory=10_000, n_steps=2000)[0]
    assert warnings_of(monkeypatch, memory=None, n_steps=2000) == [], "systems that do not tell their memory"
    assert "per parameter" in warnings_of(monkeypatch, n_steps=3)[0]
    assert "60 times" in warnings_of(monkeypatch, n_steps=20_000, text_tokens=10_000)[0]
    assert warnings_of(monkeypatch, n_steps=20_000, text_tokens=10_000, r_dropout=0.1) == []
    assert "warm-up" in warnings_of(monkeypatch, n_steps=2000, s_warmup=2000)[0]


def test_contradictions_are_refused():
    with pytest.raises(ConfigError, match="n_heads"):
        estimate(config(n_heads=3, head_size=64))


def test_cores(monkeypatch):
    monkeypatch.setattr(estimates.processor, "cores", lambda: 6)
    assert [cores(config(c_device_cpu_cores=n)) for n in (0, 1, 4, 64)] == [6, 1, 4, 6]
    assert cores(config(c_device="gpu")) == 1


def test_calibration_is_kept(monkeypatch):
    cfg = config(n_emb=16, head_size=16)
    speed = calibrate(cfg, seconds=1e-9)
    assert speed > 0 and calibrate(cfg, seconds=1e-9) == speed
    assert calibrate(cfg.replace(n_layers=9, n_steps=5), seconds=1e-9) == speed, "neither layers nor steps change it"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_estimated(name):
    found = estimate(preset(name), vocab_size=65, text_tokens=1_115_394)
    assert found.parameters == counted_by_hand(preset(name), 65) and found.steps > 0
    json.dumps(found.__dict__)


@pytest.mark.parametrize("values", [{"n_emb": 65536, "head_size": 65536, "n_layers": 100}, {"n_ctx": 1 << 20},
                                    {"batch_size": 65536}, {"n_ctx": 4096, "n_emb": 2048, "head_size": 2048}])
def test_calibration_of_what_does_not_fit_is_made_on_something_that_does(values):
    small = estimates._stand_in(Config.read(values))
    assert estimate(small).training_bytes < 2**30 + 2**24 and small.n_layers == 1
    assert estimate(small).flops_per_step < 6e10


@pytest.mark.parametrize("architecture", ARCHITECTURES[::2], ids=str)
def test_the_state_is_what_decoding_keeps(architecture):
    config = tiny(architecture, d_type="fp32")
    kept = sum(state.bytes for pair in Model.create(config, 9).state(1) for state in pair)
    assert state_bytes(config) == kept
