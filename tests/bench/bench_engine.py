"""Training step, cached decode, model load and save; beside a PyTorch program when one is given.

    python tests/bench/bench_engine.py [--peer-python PYTHON --peer-script torch_gpt.py] [--repeats N] [--json F]

Every figure is a median over repeats in fresh processes; ours and the peer's take turns, so that the ratio holds when
the machine's speed drifts. Run it with OPENBLAS_CORETYPE unset and set (`env -u`), since BLAS kernels decide much.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZES = {
    "small": {"n_ctx": 64, "n_emb": 128, "n_heads": 4, "n_layers": 4, "batch_size": 12},
    "heads": {"n_ctx": 128, "n_emb": 128, "n_heads": 16, "n_layers": 4, "batch_size": 16},
    "large": {"n_ctx": 256, "n_emb": 384, "n_heads": 6, "n_layers": 6, "batch_size": 16},
}


def measure(mode: str, size: dict[str, int], cores: int) -> float:
    """Tokens per second of one training or decode run in this process."""
    import numpy as np

    from engine.config import Config
    from engine.generate import Sampler, stream
    from engine.model import Model
    from engine.parallel import Team

    config = Config.read({**size, "head_size": size["n_emb"]})
    model = Model.create(config, 65)
    times = []
    if mode == "decode":
        begun = time.perf_counter()
        for _ in stream(model, [0], 620, Sampler(seed=1)):
            times.append(time.perf_counter() - begun)
            begun = time.perf_counter()
        # the mean, since refilling a full context is part of the price
        return 1 / statistics.fmean(times[20:])
    team = Team(model, cores)
    rng = np.random.default_rng(0)
    for step in range(60 if size["n_emb"] < 256 else 12):
        ids = rng.integers(0, 65, (config.batch_size, config.n_ctx + 1))
        begun = time.perf_counter()
        _, norm = team.gradient(step, ids[:, :-1], ids[:, 1:], 1.0)
        team.update(1e-3, min(1.0, 1 / norm))
        times.append(time.perf_counter() - begun)
    team.close()
    return config.batch_size * config.n_ctx / statistics.median(times[5:])


def ours(mode: str, size: str, cores: int) -> float:
    """`measure` in a fresh process with one BLAS thread, as training runs have."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, __file__, "--one", mode, size, str(cores)], env=environment, text=True,
                         capture_output=True, check=True)
    return float(out.stdout)


def peer(python: str, script: str, mode: str, size: dict[str, int]) -> float:
    """The peer's tokens per second."""
    flags = [f"--{name}={value}" for name, value in size.items()]
    steps = ["--steps", "12"] if size["n_emb"] >= 256 else []
    out = subprocess.run([python, script, mode, *flags, *steps], text=True, capture_output=True, check=True)
    return float(json.loads(out.stdout.splitlines()[-1])["tokens_per_s"])


def files() -> list[dict[str, object]]:
    """Writing and reading a model file of ten million parameters."""
    from engine.config import Config
    from engine.model import Model
    from store.model_file import read_model, write_model

    model = Model.create(Config.read({**SIZES["large"], "head_size": 384}), 65)
    arrays = model.export()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        for work, call in (("save 10.8 M parameters", lambda: write_model(path, arrays)),
                           ("load 10.8 M parameters", lambda: read_model(path))):
            times = []
            for _ in range(3):
                begun = time.perf_counter()
                call()
                times.append(time.perf_counter() - begun)
            rows.append({"work": work, "ours": statistics.median(times), "unit": "s"})
    return rows


def blas() -> str:
    """The BLAS kernels in use, as OpenBLAS reports them."""
    out = subprocess.run([sys.executable, "-c", "import numpy"], env={**os.environ, "OPENBLAS_VERBOSE": "2"}, text=True,
                         capture_output=True, check=False)
    lines = (out.stdout + out.stderr).splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("Core: ")), "?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python")
    parser.add_argument("--peer-script", default=str(ROOT.parent / "shared" / "peers" / "torch_gpt.py"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--json")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from engine import processor

    if given.one:
        print(measure(given.one[0], SIZES[given.one[1]], int(given.one[2])))
        return
    cores = processor.cores()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {cores} cores, BLAS kernels {blas()}, Python {platform.python_version()}")
    rows = []
    for mode in ("train", "decode"):
        for size in given.sizes:
            mine, theirs = [], []
            for _ in range(given.repeats):
                mine.append(ours(mode, size, cores))
                if given.peer_python:
                    theirs.append(peer(given.peer_python, given.peer_script, mode, SIZES[size]))
            row = {"work": f"{mode} {size}", "config": SIZES[size], "ours": statistics.median(mine), "unit": "tokens/s",
                   "cores": cores, "blas": blas()}
            if theirs:
                row["peer"] = statistics.median(theirs)
                row["ratio"] = statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            rows.append(row)
            show(row)
    for row in files():
        rows.append(row)
        show(row)
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def show(row: dict) -> None:
    """One line of the table."""
    other = f"   peer {row['peer']:>10,.0f}   ratio {row['ratio']:.2f}" if "peer" in row else ""
    number = f"{row['ours']:>10,.0f}" if row["unit"] == "tokens/s" else f"{row['ours']:>10.2f}"
    print(f"{row['work']:24} {number} {row['unit']}{other}", flush=True)


if __name__ == "__main__":
    main()
