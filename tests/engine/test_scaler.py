"""Halves: stored in 16 bits, computed in 32, with master weights and a loss scale that gives way to overflows."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import ARCHITECTURES, VOCAB, ids_for, tiny, wild

from engine import events, registry
from engine.model import Model
from engine.optimizer import LossScaler
from engine.trainer import Trainer

PATTERN = np.tile(np.random.default_rng(2).integers(0, VOCAB, 40), 20).astype(np.uint8)


def trainer(d_type: str, architecture=("pre", "mha", "mlp"), **values) -> Trainer:
    sizes = {"n_steps": 60, "n_emb": 16, "head_size": 16, "r_learn": 0.005}
    config = tiny(architecture, **{"d_type": d_type, **sizes, **values})
    return Trainer(Model.create(config, VOCAB), registry.tokenizer.get("char")("abcdefg"), PATTERN, sample_tokens=2)


def steps(run) -> list[events.Step]:
    return [event for event in run if isinstance(event, events.Step)]


def test_weights_are_halves_at_every_moment_and_masters_are_not():
    t = trainer("fp16", ("pre", "moh", "moe"))
    for _ in t:
        flat, master = t.model.params.flat, t.team.shared.master
        assert flat.dtype == master.dtype == np.float32
        assert np.array_equal(flat, flat.astype(np.float16)), "a weight is one that 16 bits can hold"
        assert np.array_equal(flat, master.astype(np.float16)), "the one nearest to its master"
    assert not np.array_equal(flat, master)
    assert all(array.dtype == np.float16 for array in t.model.export().values() if hasattr(array, "dtype"))


def test_masters_collect_what_halves_would_lose():
    """Steps of 1e-5 are below the resolution of a half near 1, but a hundred of them are not."""
    t = trainer("fp16", r_learn=1e-5, s_warmup="none", c_schedule="constant", n_steps=100)
    list(t)
    gamma = t.model.params["ln_f_gamma"]
    assert (gamma != 1).any() and np.abs(gamma - 1).max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids="-".join)
def test_training_in_halves_follows_training_in_single_precision(architecture):
    ours, theirs = (steps(trainer(d_type, architecture)) for d_type in ("fp16", "fp32"))
    assert len(ours) == len(theirs) == 60, "nothing overflows"
    difference = [abs(a.loss - b.loss) for a, b in zip(ours, theirs, strict=True)]
    # where the loss falls steeply, being a fraction of a step ahead already shows
    ahead = np.mean([a.loss - b.loss for a, b in zip(ours[-10:], theirs[-10:], strict=True)])
    assert max(difference[:5]) < 0.02 and abs(ahead) < 0.05
    assert theirs[0].loss - theirs[-1].loss > 0.15
    assert max(difference) > 0, "they are different formats"
    assert ours[0].gradient_norm == pytest.approx(theirs[0].gradient_norm, rel=0.02), "it is that of the true gradient"


def test_the_loss_scale_changes_no_gradient():
    config = tiny(d_type="fp16")
    model, ids, targets = wild(config), ids_for(config), ids_for(config, seed=2)
    model.round()
    norms = []
    for scale in (1.0, 2.0**15):
        t = Trainer(model, registry.tokenizer.get("char")("abcdefg"), PATTERN, sample_tokens=1)
        loss, norm = t.team.gradient(0, ids, targets, scale)
        norms.append((loss, norm / scale))
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_an_overflow_halves_the_scale_and_leaves_the_step_out():
    t = trainer("fp16", n_steps=12)
    begun, whole = LossScaler(True).scale, t.model.loss_and_gradients
    t.scaler.scale = 2.0**24

    def overflow(ids, targets, gradients, *, scale, **more):
        loss = whole(ids, targets, gradients, scale=scale, **more)
        if scale > 2 * begun:  # as if the largest gradient were just within range at 2^16
            gradients.joined["ln_f_beta"][0] = np.inf
        return loss

    t.model.loss_and_gradients = overflow
    before, seen, scales = t.model.params.flat.copy(), [], []
    for event in t:
        seen.append(event)
        if isinstance(event, events.Step):
            scales.append(t.scaler.scale)
            if event.step == 9:
                assert not np.array_equal(t.model.params.flat, before)
    # 2^24 … 2^17 overflow: eight steps are left out, silently, and the ninth is the first to be made
    assert [event.step for event in steps(seen)] == [9, 10, 11, 12]
    assert scales == [2.0**16] * 4 and t.team.updates == 4
    assert not any(isinstance(event, events.Alarm) for event in seen) and seen[-1].reason == "finished"


def test_steps_that_are_left_out_change_nothing():
    t = trainer("fp16", n_steps=3)

    def overflow(ids, targets, gradients, **more):
        gradients.layer("").add("ln_f_beta", np.inf)
        return 1.0

    t.model.loss_and_gradients = overflow
    before = t.model.params.flat.copy(), t.team.shared.master.copy()
    seen = list(t)
    assert steps(seen) == [] and t.team.updates == 0 and t.scaler.scale == LossScaler(True).scale / 8
    assert np.array_equal(t.model.params.flat, before[0]) and np.array_equal(t.team.shared.master, before[1])


@pytest.mark.parametrize("d_type", ["fp32", "fp64"])
def test_other_formats_are_not_scaled(d_type):
    t = trainer(d_type, n_steps=3)
    list(t)
    assert t.scaler.scale == 1.0


def test_the_largest_half():
    """Weights beyond 65504 are not what a half can hold; such a model is told apart, not saved as infinite."""
    model = Model.create(tiny(d_type="fp16"), VOCAB)
    model.params["ln_f_gamma"][0] = 65504
    model.round()
    assert model.params["ln_f_gamma"][0] == 65504
