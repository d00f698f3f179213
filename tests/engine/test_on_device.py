"""Everything that a model does, on arrays that are as strict as CuPy's, equals what it does on the CPU.

The device is tests/support/strict_xp.py; tests/gpu/test_parity.py asks the same of a real one.
"""

from __future__ import annotations

from collections.abc import Iterator

import parity
import pytest
from architectures import ARCHITECTURES, NETWORKS, every_pair
from parity import CLOSE
from strict_xp import Hardware, installed

# every variant; every pair of them computes its gradients
some_architectures = pytest.mark.parametrize("architecture", ARCHITECTURES[:: len(NETWORKS) * 2 - 1], ids="-".join)


@pytest.fixture(autouse=True)
def device() -> Iterator[Hardware]:
    """A machine with a GPU."""
    with installed() as hardware:
        yield hardware


@every_pair
def test_loss_and_gradients(architecture):
    parity.loss_and_gradients(architecture, "fp64", CLOSE["fp64"])


@some_architectures
def test_loss_and_gradients_in_single_precision(architecture):
    parity.loss_and_gradients(architecture, "fp32", CLOSE["fp32"])


@some_architectures
@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 6), (5, 1)])
def test_corner_shapes(architecture, batch, tokens):
    parity.loss_and_gradients(architecture, "fp64", CLOSE["fp64"], batch, tokens)


@some_architectures
def test_dropout(architecture):
    parity.dropout_is_a_function_of_step_and_shard(architecture)


@some_architectures
def test_shards(architecture):
    parity.shards_add_up(architecture, CLOSE["fp64"])


@every_pair
def test_logits_and_text(architecture):
    parity.logits_and_text(architecture, "fp64", CLOSE["fp64"])


@some_architectures
def test_steps(architecture):
    parity.steps_equal_the_forward_pass(architecture, CLOSE["fp64"])


@some_architectures
def test_causality(architecture):
    parity.no_token_changes_an_earlier_output(architecture)


@every_pair
def test_exported_arrays(architecture):
    parity.exported_arrays_are_the_same(architecture, "fp32")


@some_architectures
@pytest.mark.parametrize(("d_type", "close"), [("fp16", 1e-3), ("fp64", 1e-9)])
def test_runs(architecture, d_type, close):
    parity.runs_are_alike(architecture, d_type, close)


@pytest.mark.slow
@some_architectures
@pytest.mark.parametrize("d_type", ["fp16", "fp32"])
def test_runs_that_go_on(architecture, d_type):
    parity.a_run_that_goes_on_is_the_same(architecture, d_type)
