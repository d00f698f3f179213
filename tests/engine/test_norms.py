"""The norms of gradients, updates and weights that a run tells: against the weights before and after the step."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np
import pytest
from architectures import VOCAB, tiny, wild

from engine import events, registry
from engine.adaptation import Adaptation
from engine.config import Config
from engine.errors import FormatError
from engine.model import Model
from engine.norms import part
from engine.trainer import Trainer
from store import states

IDS = np.tile(np.random.default_rng(1).integers(0, VOCAB, 90), 4).astype(np.uint8)
TOKENIZER = registry.tokenizer.get("char")("abcdefg")


def trainer(model: Model, **options) -> Trainer:
    return Trainer(model, TOKENIZER, IDS, sample_tokens=2, **options)


def config(**values) -> Config:
    architecture = (values.pop("c_sequence", "pre"), values.pop("c_attention", "mha"), values.pop("c_network", "mlp"))
    return tiny(architecture, **{"n_steps": 20, "r_learn": 0.01, "r_clip": 0.5, "r_decay": 0.3, **values})


def size(*arrays: np.ndarray) -> float:
    return sqrt(sum(float((np.asarray(array, np.float64) ** 2).sum()) for array in arrays))


def expected(name: str) -> str:
    """The part of a tensor of the file, spelt out."""
    if name in ("wte_weight", "wpe_weight"):
        return "embedding"
    if not name.startswith("block_"):
        return "head"
    block, index, kind = name.split("_")[:3]
    return f"{block}_{index}_" + ("norms" if kind.startswith("ln") else
                                  "attention" if kind in registry.attention.names() else "network")


def by_part(arrays: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for name, array in arrays.items():
        found.setdefault(expected(name), []).append(array)
    return found


def weights_of(run: Trainer) -> dict[str, np.ndarray]:
    return {name.removeprefix("weights/"): array for name, array in run.state()[0].items()
            if name.startswith("weights/")}


def close(found: dict, arrays: dict, tolerance: float) -> None:
    assert set(found) == set(arrays)
    for own, values in arrays.items():
        assert found[own] == pytest.approx(size(*values), rel=tolerance, abs=1e-12), own


@pytest.mark.parametrize("values", [
    {}, {"c_momentum": "plain"}, {"d_type": "fp32"}, {"d_type": "fp16"}, {"r_decay": 0.0}, {"r_clip": 0.0},
    {"c_attention": "rfa", "c_network": "moe"}, {"c_network": "lor"},
    {"c_attention": "swh", "c_network": "nft"}], ids=str)
def test_what_a_step_did(values):
    """The update is the difference of the weights, the weights are those after it, the gradient is that of the step."""
    exact = values.get("d_type", "fp64") == "fp64"
    run, before, told = trainer(Model.create(config(**values), VOCAB)), {}, 0
    for event in run:
        if isinstance(event, events.Step):
            norm = event.gradient_norm
        if isinstance(event, events.Norms):
            now = weights_of(run)
            change = {name: now[name].astype(np.float64) - before[name] for name in now}
            close(event.update, by_part(change), 1e-9 if exact else 1e-4)
            close(event.weight, by_part(now), 1e-12 if exact else 1e-6)
            assert sqrt(sum(value**2 for value in event.gradient.values())) == pytest.approx(norm, rel=1e-6)
            assert list(event.gradient) == list(event.update) == list(event.weight)
            assert events.parse(json.loads(json.dumps(event.to_dict()))) == event
            told += 1
        before = before if isinstance(event, events.Step) else weights_of(run)
    assert told == 20, "one for each evaluation but the first"


def test_the_gradient_of_each_part():
    """Of a step at a known batch: the gradients that the model itself gives."""
    run = trainer(Model.create(config(batch_size=2), VOCAB))
    for event in run:
        if isinstance(event, events.Norms):
            arrays = {name: view.copy() for name, view in run.team.named.items()}
            close(event.gradient, by_part(arrays), 1e-12)
    assert size(*arrays.values()) > 0


def test_what_is_frozen_has_neither_gradient_nor_update():
    model = wild(config())
    again = Model.from_arrays(model.config, model.export(), adaptation=Adaptation(freeze=("wte*", "wpe*", "block_0_*")))
    told = [event for event in trainer(again) if isinstance(event, events.Norms)][-1]
    still = {own for own, value in told.update.items() if value == 0}
    assert still == {"embedding", "block_0_norms", "block_0_attention", "block_0_network"}
    assert still == {own for own, value in told.gradient.items() if value == 0}
    assert all(value > 0 for value in told.weight.values())


def test_rows_that_are_held_and_adapters():
    """New symbols train in matrices that are held otherwise; of adapted matrices the factors train."""
    model = wild(config())
    again = Model.from_arrays(model.config, model.export(), adaptation=Adaptation(rank=2, new_symbols=2))
    run, before = trainer(again), {}
    for event in run:
        if isinstance(event, events.Norms):
            now = weights_of(run)
            change = {name: now[name] - before[name] for name in now if not again.params.tensors[name].frozen}
            close({own: value for own, value in event.update.items() if value}, by_part(change), 1e-9)
            kept = {name: array for name, array in now.items() if ".lora" not in name}
            close(event.weight, by_part(kept), 1e-12)
        before = before if isinstance(event, events.Step) else weights_of(run)


def test_the_same_for_one_process_and_two():
    wide = config(n_ctx=16, batch_size=64, n_emb=16, head_size=16, d_type="fp32", n_steps=4)
    told = []
    for cores in (1, 2):
        run = trainer(Model.create(wide, VOCAB), cores=cores)
        told.append([(event.step, event.gradient, event.update, event.weight) for event in run
                     if isinstance(event, events.Norms)])
        assert run.team.processes == cores
    assert told[0] == told[1] and len(told[0]) == 4


def test_a_state_may_hold_norms_that_are_still_to_be_told():
    run = trainer(Model.create(config(), VOCAB))
    for event in run:
        if isinstance(event, events.Step):
            _, meta = run.state()
            if event.step == 1:
                break
    assert meta["norms"].keys() == {"gradient", "update", "weight"}
    good = states._FIELDS["norms"][0]
    assert good(meta["norms"]) and good(None) and good(json.loads(json.dumps(meta["norms"])))
    for wrong in ({}, [], {"gradient": {}, "update": {}}, {**meta["norms"], "weight": {"head": "1"}},
                  {**meta["norms"], "weight": {"head": -1.0}}, {**meta["norms"], "weight": {"head": float("nan")}},
                  {**meta["norms"], "weight": {"x" * 10**6: 1.0}}):
        assert not good(wrong)


@pytest.mark.parametrize("wrong", [None, [], {"head": None}, {"head": "1"}, {1: 1.0}, {"head": True},
                                   {"head": float("inf")}, {"head": float("nan")}], ids=str)
def test_a_journal_line_that_is_none(wrong):
    line = events.Norms(step=1, gradient={}, update={}, weight={}).to_dict()
    with pytest.raises(FormatError, match="update"):
        events.parse({**line, "update": wrong})


def test_parts_of_every_tensor():
    for attention in registry.attention.names():
        model = Model(config(c_attention=attention), VOCAB)
        assert {name: part(name, attention) for name in model.params} == {name: expected(name) for name in model.params}
