"""Memory of a GPU that runs out, at every allocation of a run in turn: a sentence, and a run that can go on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from architectures import VOCAB, ids_for, tiny
from strict_xp import installed

from engine import backend, registry
from engine.config import Config
from engine.cublas import WORKSPACE
from engine.errors import RunError
from engine.estimate import estimate
from engine.events import End, Step
from engine.generate import Sampler, stream
from engine.model import Model
from engine.trainer import Trainer

CONFIG = tiny(n_steps=4, d_type="fp32", c_device="gpu", batch_size=4)
IDS = ids_for(CONFIG, tokens=80, batch=1)[0]
LONG = ids_for(CONFIG, tokens=2000, batch=1)[0]


def trainer(config: Config = CONFIG, resume: Any = None, ids: np.ndarray = IDS) -> Trainer:
    tokenizer = registry.tokenizer.get("char")("abcdefg")
    return Trainer(Model.create(config, VOCAB), tokenizer, ids, sample_tokens=3, resume=resume)


def run(state: Any = None) -> tuple[Trainer, str]:
    """A run from `state`, and why it ended: "finished", or what was said."""
    found = trainer(resume=state)
    try:
        for event in found:
            if isinstance(event, End):
                return found, event.reason
    except RunError as error:
        return found, str(error)
    raise AssertionError("no end")


@pytest.mark.slow
def test_every_allocation_of_a_run_may_fail():
    with installed():
        run()  # constants are kept from now on
    with installed() as hardware:
        whole, reason = run()
        assert reason == "finished"
        expected, total = whole.state()[0], hardware.allocations
    before = after = 0
    for number in np.linspace(1, total, 24).astype(int):
        with installed(fails=frozenset({int(number)})):
            found = None
            try:
                found, said = run()
            except RunError as error:  # before there is a run
                said = str(error)
                before += 1
            if said != "finished":  # a graph that cannot be captured is done without
                assert "GPU" in said and "run out" in said and "lower" in said, said
            if found is None or not found.team.whole:
                continue
            after += said != "finished"
            again, reason = run(found.state())
            assert reason == "finished" and again.step == CONFIG.n_steps
            arrays, _ = again.state()
            for name, value in expected.items():
                assert np.array_equal(arrays[name], value), name
    assert before and after > 8


def test_a_batch_that_is_too_large_gets_one_that_fits():
    config = CONFIG.replace(batch_size=64, n_ctx=64, n_emb=64, head_size=64)
    need = estimate(config, vocab_size=VOCAB).training_bytes
    with installed(memory=need // 2), pytest.raises(RunError) as caught:
        list(trainer(config, ids=LONG))
    batch = int(str(caught.value).split("batch_size to ")[1].split(",")[0])
    assert 1 <= batch <= 32
    with installed(memory=need // 2):
        assert any(isinstance(event, Step) for event in trainer(config.replace(batch_size=batch), ids=LONG))


def test_a_reply_may_find_no_memory():
    with installed() as hardware:
        model = Model.create(CONFIG, VOCAB)
        hardware.fails = frozenset({hardware.allocations + 5})
        with pytest.raises(RunError, match=r"GPU has run out.*c_device to cpu"):
            list(stream(model, [1, 2], 4, Sampler(seed=1)))
        assert len(list(stream(model, [1, 2], 4, Sampler(seed=1)))) == 4


def test_memory_errors_of_the_cpu_pass(monkeypatch):
    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(backend, "zeros", fail)
    with pytest.raises(MemoryError, match="no room"):
        Model.create(CONFIG.replace(c_device="cpu"), VOCAB)


@pytest.mark.parametrize("attention", registry.attention.names())
@pytest.mark.parametrize("network", ["mlp", "nft"])
def test_the_estimate_is_near_what_is_taken(attention, network):
    config = tiny(("pre", attention, network), d_type="fp32", n_layers=3, n_ctx=64, n_emb=32, head_size=32,
                  batch_size=8, s_window=16, c_device="gpu", n_steps=2)
    need = estimate(config, vocab_size=VOCAB).training_bytes - WORKSPACE
    with installed() as hardware:
        list(trainer(config, ids=LONG))
        peak = hardware.peak - WORKSPACE
    assert 0.7 * peak < need < 3 * peak
