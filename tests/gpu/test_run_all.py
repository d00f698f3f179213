"""The script that measures a GPU: what it measures, compares and reports, on the stand-in for CuPy."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
from strict_xp import installed

PATH = Path(__file__).with_name("run_all")
TINY = {"n_ctx": 8, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_layers": 1, "batch_size": 2}


@pytest.fixture(scope="module")
def script() -> Any:
    loader = SourceFileLoader("run_all", str(PATH))
    spec = spec_from_loader("run_all", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules["run_all"] = module
    loader.exec_module(module)
    return module


def test_speeds_are_those_of_whole_steps_and_tokens(script):
    with installed():
        assert script.train_speed(script.configuration(TINY), 2, 3) > 0
        assert script.decode_speed(script.configuration(TINY), 2, 12) > 0


def test_every_work_is_a_configuration(script):
    for work in script.WORKS:
        config = script.configuration(work.changes)
        assert config.head_size == config.n_emb and config.c_device == "gpu" and config.r_dropout == 0


def test_medians_are_compared_with_the_bar(script):
    work = script.Work("train", "train", TINY, bar=1.5)
    ours, theirs = iter([30.0, 10.0, 31.0]), iter([20.0, 19.0, 90.0])
    row = script.compare(work, lambda: next(ours), lambda: next(theirs))
    assert (row.ratio, row.bar, row.reached) == ("1.50", "1.5", True)
    assert not script.compare(work, lambda: 29.0, lambda: 20.0).reached
    assert script.compare(work, lambda: 29.0, None).reached is None


def test_what_fails_is_told_and_not_reached(script):
    def fail() -> float:
        raise RuntimeError("no room")

    work = script.Work("train", "train", TINY, bar=1.0)
    row = script.compare(work, fail, lambda: 1.0)
    assert row.reached is False and row.peer == "no room"
    assert script.compare(work, lambda: 5.0, fail).reached is None


@pytest.mark.parametrize(("seconds", "loss", "reached"), [(100, 1.46, True), (200, 1.46, False), (100, 1.5, False)])
def test_learning_has_a_limit(script, seconds, loss, reached):
    assert script.learned({"seconds": seconds, "steps": 5000, "loss": loss}).reached is reached


def test_the_report_is_a_table(script):
    rows = [script.Row("a", "1", "2", "0.5", "1", False), script.Row("b", "1", "-", "-", "-", None)]
    text = script.report(["a GPU"], (False, "1 failed"), rows, datetime(2025, 1, 2, 3, 4, tzinfo=UTC))
    assert text.startswith("# GPU report of 2025-01-02 03:04 UTC\n\n- a GPU\n")
    assert "**failed**: 1 failed" in text and "| a | 1 | 2 | 0.5 | 1 | **no** |" in text


def test_without_a_gpu_it_says_why(tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('not here')")
    done = subprocess.run([sys.executable, str(PATH), "--report", str(tmp_path / "report.md")], capture_output=True,
                          text=True, check=False, env={"PYTHONPATH": str(tmp_path), "PATH": ""})
    assert done.returncode == 1 and "c_device" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "report.md").exists()
