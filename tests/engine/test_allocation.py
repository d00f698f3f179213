"""After its first steps a run finds every large buffer where it left it, and 10 000 steps later it holds no more."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine import data
from engine.config import Config
from engine.model import Model
from engine.parallel import Team

BENCH = Path(__file__).parents[1] / "bench" / "bench_memory.py"
STEP = 160 << 10  # bytes; NumPy's own buffers for operands that are not contiguous are up to 96 KiB at a time


@pytest.mark.parametrize(("attention", "network"), [
    ("mha", "mlp"), ("gqa", "swi"), ("moh", "moe"), ("gla", "lor"), ("aft", "ggl"), ("swh", "gln")])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_step_allocates_nothing_large(attention, network, dropout):
    config = Config.read({"c_attention": attention, "c_network": network, "n_ctx": 64, "n_emb": 128, "head_size": 128,
                          "n_heads": 4, "n_layers": 2, "batch_size": 12, "r_dropout": dropout})
    model = Model.create(config, 65)
    team = Team(model)
    inputs, targets = np.random.default_rng(0).integers(0, 65, (2, 12, 64))

    def train(steps: range) -> None:
        for step in steps:
            team.gradient(step, inputs, targets, 1.0)
            team.update(1e-3, 1.0)

    train(range(2))
    held = model.arena.bytes
    tracemalloc.start()
    try:
        train(range(2, 4))
        peaks, kept = [], []
        for step in range(4, 9):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            train(range(step, step + 1))
            after, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - before)
            kept.append(after - before)
    finally:
        tracemalloc.stop()
    assert len(data.lanes(config)) == 2
    assert model.arena.bytes == held
    # Threads of the test runner allocate as well, now and then: most steps tell.
    assert sorted(peaks)[2] < STEP, f"bytes above what it held before each step: {peaks}"
    assert sorted(kept)[2] < 1 << 12, f"bytes kept by each step: {kept}"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("cores", [1, 2])
def test_ten_thousand_steps_hold_no_more_than_a_thousand(cores):
    """Resident memory and open files, of the run's process and of its worker."""
    printed = subprocess.run([sys.executable, str(BENCH), "--steps", "10000", "--cores", str(cores), "--json"],
                             check=True, capture_output=True, timeout=300)
    looks = json.loads(printed.stdout)
    assert [look["step"] for look in looks] == list(range(1000, 10_001, 1000))
    assert looks[-1]["files"] == looks[0]["files"]
    for process in range(cores):
        resident = [look["resident"][process] for look in looks]
        more = sorted(after - before for before, after in pairwise(resident))
        # A leak grows with every thousand steps. Pages of libraries come in once, whenever the system likes.
        assert more[len(more) // 2] < 1 << 16, f"at each look {resident}"
        assert resident[-1] - resident[0] < 4 << 20, f"at each look {resident}"
