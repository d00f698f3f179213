"""Ranks with GPUs: what passes by NCCL and what through the hosts, on stand-ins for CuPy and NCCL."""

from __future__ import annotations

from types import SimpleNamespace

import fake_nccl
import numpy as np
import pytest
import strict_xp
import threaded_group
from architectures import VOCAB, tiny

from engine import events, group, registry
from engine.backend import xp
from engine.errors import ConfigError, RunError
from engine.model import Model
from engine.trainer import Trainer

TEXT = np.random.default_rng(1).integers(0, VOCAB, 3000).astype(np.uint8)


def config(**values):
    return tiny(("pre", "moh", "mlp"), n_ctx=64, c_device="gpu", d_type="fp32",
                **{"batch_size": 24, "n_steps": 3, **values})


def outcome(conf, **options) -> tuple[dict[str, bytes], list]:
    tokenizer = registry.tokenizer.get("char")("abcdefg")
    run = Trainer(Model.create(conf, VOCAB), tokenizer, TEXT, sample_tokens=2, **options)
    told = [(e.step, e.loss, e.gradient_norm) for e in run if isinstance(e, events.Step)]
    return run.state()[0], told


def close(found, expected) -> None:
    """Equal but for rounding: on GPUs the batch is cut by the number of ranks."""
    np.testing.assert_allclose(found[1], expected[1], rtol=2e-5)
    for name, array in expected[0].items():
        if name.startswith("weights"):
            np.testing.assert_allclose(found[0][name], array, atol=2e-5)


def same(found, expected) -> None:
    assert found[1] == expected[1]
    assert all(np.array_equal(found[0][name], array) for name, array in expected[0].items())


@pytest.fixture
def device():
    with strict_xp.installed() as hardware:
        yield hardware


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_nccl_between_gpus_of_their_own(device, old):
    """old: the id of CuPy 13."""
    with fake_nccl.installed(3, old) as network, threaded_group.group(3) as ranks:
        found = outcome(config(), group=ranks)
        sent = {rank: [count for who, what, count in network.calls if who == rank and what == "send"]
                for rank in range(3)}
        size = sum(sent[0]) // 3  # of the gradient, which passes once in each of three steps
        assert size > 1000 and sum(sent[1]) == 3 * size and not sent[2]
        assert ranks.hall.sent[1, 2] < size, "nothing of the gradient through the hosts"
    close(found, outcome(config()))
    with fake_nccl.installed(1), threaded_group.group(3) as ranks:
        same(outcome(config(), group=ranks), found)


def test_through_the_hosts_where_ranks_share_a_gpu(device):
    with fake_nccl.installed(1) as network, threaded_group.group(2) as ranks:
        close(outcome(config(), group=ranks), outcome(config()))
        assert not network.calls


def test_through_the_hosts_without_nccl(device):
    with threaded_group.group(2) as ranks:
        close(outcome(config(), group=ranks), outcome(config()))


def test_more_ranks_than_sequences(device):
    with threaded_group.group(3) as ranks, pytest.raises(ConfigError, match="cut into 2 lanes"):
        outcome(config(batch_size=2), group=ranks)


def test_a_rank_that_dies_while_nccl_waits(device, monkeypatch):
    """The stream never ends; the group notices, and NCCL is given up."""
    class Lonely(threaded_group.Threaded):
        looks = 0

        def broadcast(self, array, root):
            pass

        def check(self):
            self.looks += 1
            if self.looks > 5:
                raise RunError("Rank 1 died.")

    with fake_nccl.installed(1) as network:
        lonely = Lonely(threaded_group.Hall(2), 0)
        made = group.Nccl(lonely, group._nccl())
        monkeypatch.setattr(group, "_stream", lambda: SimpleNamespace(done=False, ptr=0))
        made.broadcast(xp.zeros(4, np.float32), 0)
        with pytest.raises(RunError, match="Rank 1 died"):
            made.flush()
        assert network.calls[-1] == (0, "abort", 0)


def test_an_error_of_nccl_is_a_sentence(device):
    with fake_nccl.installed(1):
        nccl = group._nccl()

        def refuse(*_):
            raise nccl.NcclError("NCCL_ERROR_UNHANDLED_CUDA_ERROR: unhandled cuda error")

        nccl.NcclCommunicator = refuse
        with pytest.raises(RunError, match=r"cannot reach each other \(NCCL: NCCL_ERROR_UNHANDLED_CUDA_ERROR"):
            group.Nccl(threaded_group.Threaded(threaded_group.Hall(1), 0), nccl)
