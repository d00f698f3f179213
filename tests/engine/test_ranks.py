"""A run over the ranks of a group: the same bytes as one process, for any number of ranks and of their cores."""

from __future__ import annotations

import numpy as np
import pytest
import threaded_group
from architectures import VOCAB, tiny

from engine import data, events, ranks, registry
from engine.adaptation import Adaptation
from engine.errors import ConfigError, RunError
from engine.model import Model
from engine.trainer import Trainer

TEXT = np.random.default_rng(1).integers(0, VOCAB, 3000).astype(np.uint8)


def lanes_of(batch: int, n_ctx: int, **values):
    return tiny(("pre", "moh", "moe"), batch_size=batch, n_ctx=n_ctx, n_experts=2, **{"n_steps": 4, **values})


def trainer(config, model: Model | None = None, **options) -> Trainer:
    tokenizer = registry.tokenizer.get("char")("abcdefg")
    return Trainer(model or Model.create(config, VOCAB), tokenizer, TEXT, sample_tokens=2, **options)


def finish(run: Trainer) -> tuple[bytes, list]:
    told = [(e.step, e.loss, e.gradient_norm) for e in run if isinstance(e, events.Step)]
    arrays, _ = run.state()
    return run.model.params.flat.tobytes() + b"".join(array.tobytes() for array in arrays.values()), told


def outcome(config, size: int, cores: int = 1, **options) -> tuple[bytes, list]:
    with threaded_group.group(size, cores) as group:
        return finish(trainer(config, cores=cores, group=group, **options))


@pytest.mark.parametrize("d_type", ["fp16", "fp32", "fp64"])
def test_any_number_of_ranks_gives_the_same_bytes(d_type):
    config = lanes_of(24, 64, d_type=d_type, r_dropout=0.2)
    assert len(data.lanes(config)) == 4
    alone = finish(trainer(config))
    assert len(alone[1]) == 4 and alone[0] != finish(trainer(config.replace(n_seed=2)))[0]
    for size in (2, 3, 4):
        assert outcome(config, size) == alone


def test_ranks_that_have_processes_of_their_own():
    config = lanes_of(24, 64, d_type="fp32", n_steps=2)
    assert outcome(config, 2, cores=2) == finish(trainer(config))


def test_a_gradient_of_many_chunks(monkeypatch):
    monkeypatch.setattr("engine.optimizer._BLOCK", 64)
    monkeypatch.setattr("engine.ranks._CHUNK", 200)
    config = lanes_of(24, 64, d_type="fp32", n_steps=2)
    run = trainer(config)
    assert len(list(ranks.chunks(run.team.hand))) > 10
    assert outcome(config, 3) == finish(run)


def test_what_is_fine_tuned():
    """Adapters, a base that stays, and tensors of which only a part is trained."""
    config = lanes_of(24, 64, d_type="fp32", n_steps=3)
    adaptation = Adaptation(rank=2, alpha=3.0)

    def model() -> Model:
        arrays = Model.create(config, VOCAB).export()
        return Model.from_arrays(config, arrays, adaptation=adaptation)

    alone = trainer(config, model())
    expected = finish(alone)
    with threaded_group.group(3) as group:
        run = trainer(config, model(), group=group)
        assert len(run.team.shared.base)
        assert finish(run) == expected


def test_a_run_goes_on_with_another_number_of_ranks():
    config = lanes_of(24, 64, d_type="fp16", r_dropout=0.1)
    whole = finish(trainer(config))
    with threaded_group.group(3) as group:
        first = trainer(config, group=group)
        for event in first:
            if isinstance(event, events.Step) and event.step == 2:
                break
        state = first.state()
    assert finish(trainer(config, resume=state)) == (whole[0], whole[1][2:])
    assert outcome(config, 2, resume=state) == (whole[0], whole[1][2:])


def test_going_back_reaches_all_ranks():
    """A run that went wrong goes back to a state: the other ranks too."""
    config = lanes_of(24, 64, d_type="fp32", n_steps=12, c_not_finite="rollback")
    first = trainer(config)
    for event in first:
        if isinstance(event, events.Step) and event.step == 2:
            break
    state = first.state()

    def broken(**options) -> Trainer:
        run = trainer(config, last_good=lambda before: state, **options)
        gradient, counted = run.team.gradient, []

        def told(step, *arguments):
            loss, norm = gradient(step, *arguments)
            counted.append(step)
            return (float("nan"), norm) if 3 < len(counted) < 9 else (loss, norm)

        run.team.gradient = told
        return run

    alone = broken()
    expected = finish(alone)
    assert alone.rollbacks == 1
    with threaded_group.group(2) as group:
        assert finish(broken(group=group)) == expected


def test_each_number_of_the_gradient_passes_once_each_way():
    config = lanes_of(24, 64, d_type="fp32", n_steps=3)
    with threaded_group.group(3) as group:
        run = trainer(config, group=group)
        finish(run)
        chain = group.hall.sent[0, 1], group.hall.sent[1, 2]
        size, batch = run.team.shared.gradients[0].nbytes, 24 * 64 * 16
        once = 2 * len(run.model.params.flat) * 4 + 2 * run.team.shared.m.nbytes  # the state that it begins with
        assert chain[1] == 3 * size
        assert 3 * size < chain[0] < 3 * (size + batch) + once + 4000


def test_more_ranks_than_lanes():
    config = lanes_of(24, 64)
    with threaded_group.group(5) as group, pytest.raises(ConfigError, match=r"5 ranks .* 4 lanes, .* start 4") as found:
        trainer(config, group=group)
    assert found.value.field == "batch_size"


def test_a_rank_that_fails_is_told_and_the_weights_are_those_of_a_whole_step(monkeypatch):
    config = lanes_of(24, 64, d_type="fp32")
    reference = trainer(config)
    for event in reference:
        if isinstance(event, events.Step) and event.step == 2:
            break
    expected = reference.state()[0]
    carry_out = ranks._carry_out

    def fails(member, hosts, what, step, a, b):
        if hosts.rank == 2 and what == b"g" and step == 2:
            raise MemoryError("no room")
        carry_out(member, hosts, what, step, a, b)

    monkeypatch.setattr(ranks, "_carry_out", fails)
    with threaded_group.group(3) as group:
        run = trainer(config, group=group)
        with pytest.raises(RunError, match=r"Rank 2 of this run, on here, failed: MemoryError: no room"):
            list(run)
        assert run.team.whole and run.step == 2
        found = run.state()[0]
        assert all(np.array_equal(found[name], value) for name, value in expected.items())
