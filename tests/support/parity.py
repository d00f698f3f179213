"""What a model must do alike on a GPU and on the CPU. The tests call these on a stand-in for CuPy and on real GPUs.

Each computes on both devices, or twice on the GPU, and asserts. `close` is relative to the largest number of its kind.
Dropout is left out where devices are compared, since its masks are made on the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from architectures import VOCAB, ids_for, tiny, wild

from engine import backend, registry
from engine.backend import host, xp
from engine.config import Config
from engine.events import End, Evaluation, Event, Sample, Step
from engine.generate import Sampler, stream
from engine.model import Model
from engine.optimizer import AdamW
from engine.parameters import Gradients
from engine.trainer import Trainer

Architecture = tuple[str, str, str]
CLOSE = {"fp32": 2e-5, "fp64": 1e-11}  # of forward and backward passes
TEXT = "abcdefg"


def on_gpu(config: Config) -> Config:
    return config.replace(c_device="gpu")


def pair(config: Config, **options: Any) -> tuple[Model, Model]:
    """The same wild model on the CPU and on the GPU, which is in use afterwards."""
    backend.use("cpu")
    model = wild(config, **options)
    model.round()
    return model, Model.from_arrays(on_gpu(config), model.export())


def near(found: Any, expected: Any, close: float, what: str = "") -> None:
    found, expected = host(found), host(expected)
    scale = max(1e-3, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=close * scale, err_msg=what)


def loss_and_gradients(architecture: Architecture, d_type: str, close: float, batch: int = 3, tokens: int = 6,
                       **changes: Any) -> None:
    """Loss and every gradient."""
    config = tiny(architecture, d_type=d_type, **changes)
    ids, targets = ids_for(config, 1, batch, tokens), ids_for(config, 2, batch, tokens)
    results = []
    for model in pair(config):
        backend.use(model.config.c_device)
        gradients = Gradients(model.params)
        loss = model.loss_and_gradients(xp.asarray(ids), xp.asarray(targets), gradients)
        gradients.finish()
        results.append((float(loss), {name: host(view) for name, view in gradients.joined.items()}))
    (expected_loss, expected), (loss, found) = results
    np.testing.assert_allclose(loss, expected_loss, rtol=close)
    for name, value in expected.items():
        near(found[name], value, 10 * close, name)


def dropout_is_a_function_of_step_and_shard(architecture: Architecture) -> None:
    """Gradients with dropout: the same twice, others at another step, and those of the loss that they come with."""
    config = tiny(architecture, r_dropout=0.3)
    _, model = pair(config)
    ids, targets = xp.asarray(ids_for(config)), xp.asarray(ids_for(config, seed=2))

    def at(step: int) -> tuple[float, np.ndarray]:
        gradients = Gradients(model.params)
        loss = float(model.loss_and_gradients(ids, targets, gradients, step=step))
        return loss, host(gradients.finish())

    (loss, first), (again, second), (other, _) = at(3), at(3), at(4)
    assert loss == again and np.array_equal(first, second) and loss != other
    variant = model.blocks[0].attention
    if variant.straight_through:
        return
    direction = np.random.default_rng(4).standard_normal(first.shape)
    move, h, trained = xp.asarray(direction), 1e-6, model.params.flat[: model.params.trained]
    trained += h * move
    up, _ = at(3)
    trained -= 2 * h * move
    down, _ = at(3)
    slope = float(first @ direction)
    assert abs((up - down) / (2 * h) - slope) < 1e-5 * max(1.0, float(np.abs(first).max()) * first.size**0.5)


def shards_add_up(architecture: Architecture, close: float) -> None:
    """The gradients of a batch's parts are those of the batch."""
    config = tiny(architecture)
    _, model = pair(config)
    ids, targets = xp.asarray(ids_for(config)), xp.asarray(ids_for(config, seed=8))
    whole, parts = Gradients(model.params), Gradients(model.params)
    model.loss_and_gradients(ids, targets, whole)
    for shard in range(3):
        rows = slice(shard, shard + 1)
        model.loss_and_gradients(ids[rows], targets[rows], parts, shard=shard, scale=1 / 3)
    near(parts.finish(), whole.finish(), close)


def logits_and_text(architecture: Architecture, d_type: str, close: float) -> None:
    """Logits; and text with and without cache, past the context, drawn from the same stream."""
    config = tiny(architecture, d_type=d_type)
    ids = ids_for(config, batch=2)
    results = []
    for model in pair(config):
        backend.use(model.config.c_device)
        logits = host(model.logits(xp.asarray(ids)))
        results.append((logits, [[token.id for token in stream(model, [1, 2], 16, Sampler(seed=5), cache=cache)]
                                 for cache in (True, False)]))
    near(results[1][0], results[0][0], close)
    assert results[1][1] == results[0][1]


def steps_equal_the_forward_pass(architecture: Architecture, close: float) -> None:
    """Prefill and single steps, at every split; prefill in two parts; and a state that was reset."""
    config = tiny(architecture)
    ids = ids_for(config, batch=2)
    _, model = pair(config)
    given = xp.asarray(ids)
    whole = host(model.logits(given))
    for prefilled in range(1, config.n_ctx):
        states = model.state(2)
        near(model.prefill(given[:, :prefilled], states), whole[:, prefilled - 1], close)
        for t in range(prefilled, config.n_ctx):
            near(model.step(given[:, t], states, t), whole[:, t], close)
    states = model.state(2)
    model.prefill(given[:, :2], states)
    near(model.prefill(given[:, 2:], states, 2), whole[:, -1], close)
    for state in (state for both in states for state in both):
        state.reset()
    near(model.prefill(given[:, :3], states), whole[:, 2], close)


def no_token_changes_an_earlier_output(architecture: Architecture) -> None:
    """Causality, to the last bit."""
    config = tiny(architecture)
    _, model = pair(config)
    ids = ids_for(config, batch=1)[0]
    before = host(model.logits(xp.asarray(ids)))
    for t in range(config.n_ctx):
        changed = ids.copy()
        changed[t] = (changed[t] + 1) % VOCAB
        after = host(model.logits(xp.asarray(changed)))
        assert np.array_equal(before[:t], after[:t]) and not np.allclose(before[t], after[t])


def exported_arrays_are_the_same(architecture: Architecture, d_type: str) -> None:
    """A newborn model's file, to the last bit, and a model that is read from it."""
    config = tiny(architecture, d_type=d_type)
    backend.use("cpu")
    expected = Model.create(config, VOCAB).export()
    found = Model.create(on_gpu(config), VOCAB).export()
    again = Model.from_arrays(on_gpu(config), found).export()
    assert list(found) == list(expected) == list(again)
    for name, value in expected.items():
        assert np.array_equal(found[name], value) and np.array_equal(again[name], value), name
        assert not hasattr(value, "dtype") or (isinstance(found[name], np.ndarray) and found[name].dtype == value.dtype)


def overfits_one_batch(architecture: Architecture) -> None:
    """Steps of loss, gradients and AdamW bring the loss of a batch down."""
    config = tiny(architecture, d_type="fp32", n_emb=16, head_size=16, n_rank=16, s_kernel=6, r_temp=1.0)
    model = Model.create(on_gpu(config), VOCAB)
    rng = np.random.default_rng(5)
    ids = np.tile(np.arange(config.n_ctx), (3, 1))
    ids[:, 0] = [0, 5, 6]
    targets = rng.permutation(VOCAB)[(ids + ids[:, :1]) % VOCAB]
    given, wanted = xp.asarray(ids), xp.asarray(targets)
    gradients, optimizer = Gradients(model.params), AdamW(model.params, 0.0)
    loss = np.inf
    for updates in range(1, 401):
        gradients.reset()
        loss = float(model.loss_and_gradients(given, wanted, gradients))
        optimizer.step(model.params.flat, gradients.finish(), 0.01, 1.0, updates)
        if loss < 0.05:
            break
    assert loss < 0.1


def trained(config: Config, resume: Any = None, until: int | None = None) -> tuple[list[Event], Any]:
    """The events of a run over random text, and its state at its end, or after step `until`."""
    ids = ids_for(config, tokens=80, batch=1)[0]
    trainer = Trainer(Model.create(config, VOCAB), registry.tokenizer.get("char")(TEXT), ids, sample_tokens=6,
                      resume=resume)
    found = []
    for event in trainer:
        found.append(event)
        if isinstance(event, Step) and event.step == until:
            break
    return found, trainer.state()


def told(events: list[Event]) -> list[Any]:
    """Losses, and what was said."""
    return [event.loss if isinstance(event, Step) else event.validation_loss
            for event in events if isinstance(event, (Step, Evaluation, End))]


def runs_are_alike(architecture: Architecture, d_type: str, close: float) -> None:
    """A whole run: losses, samples, weights and moments, as on the CPU."""
    config = tiny(architecture, n_steps=4, n_layers=1, d_type=d_type)
    backend.use("cpu")
    expected, (arrays, _) = trained(config)
    found, (ours, _) = trained(on_gpu(config))
    np.testing.assert_allclose(told(found), told(expected), rtol=close)
    if d_type == "fp64":
        assert [e.text for e in found if isinstance(e, Sample)] == [e.text for e in expected if isinstance(e, Sample)]
        assert list(ours) == list(arrays)
        for name, value in arrays.items():
            near(ours[name], value, 100 * close, name)


def a_run_that_goes_on_is_the_same(architecture: Architecture, d_type: str) -> None:
    """Stopped after any step and gone on with, a run has the same bytes on one device, dropout included."""
    config = on_gpu(tiny(architecture, n_steps=4, n_layers=1, d_type=d_type, r_dropout=0.2))
    _, (expected, _) = trained(config)
    for step in (1, 3):
        _, state = trained(config, until=step)
        _, (found, _) = trained(config, resume=state)
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert np.array_equal(found[name], value), name
