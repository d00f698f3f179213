"""What fine-tuning costs when all of a model is trained, some of it, or low-rank adapters alone.

    python tests/bench/bench_finetune.py [--set n_emb=384 …] [--steps N]

For each: trained numbers, the estimate of training memory, the peak resident memory of a process of its own (Python and
NumPy included) and the least processor time of a step on one core.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"n_ctx": 256, "n_emb": 384, "head_size": 384, "n_heads": 6, "n_layers": 6, "batch_size": 16}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("everything", {}),
    ("--freeze 'wte*' --freeze 'wpe*' --freeze 'block_[0-3]_*'",
     {"freeze": ("wte*", "wpe*", "block_[0-3]_*")}),
    ("--lora 16", {"rank": 16}),
    ("--lora 4", {"rank": 4}),
    ("--lora 4 --target '*_q_weight' --target '*_v_weight'", {"rank": 4, "target": ("*_q_weight", "*_v_weight")}),
]


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def child(changes: dict[str, Any], what: dict[str, Any], steps: int) -> dict[str, float]:
    """Train some steps in this process."""
    import numpy as np

    from engine.adaptation import Adaptation
    from engine.config import Config
    from engine.estimate import estimate
    from engine.model import Model
    from engine.parallel import Team

    config = Config.read(changes)
    adaptation = Adaptation(**{key: tuple(value) if isinstance(value, list) else value for key, value in what.items()})
    model = Model.from_arrays(config, Model.create(config, 65).export(), adaptation=adaptation)
    team, times, rng = Team(model), [], np.random.default_rng(0)
    for step in range(steps):
        ids = rng.integers(0, 65, (config.batch_size, config.n_ctx + 1))
        begun = time.process_time()
        team.gradient(step, ids[:, :-1], ids[:, 1:], 1.0)
        team.update(1e-4, 1.0)
        times.append(time.process_time() - begun)
    cost = estimate(config, adaptation=adaptation)
    return {"trained": model.n_trained, "estimate": cost.training_bytes, "peak": peak(),
            "seconds": min(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", default=[], metavar="PARAMETER=VALUE")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    changes = {**SIZE, "c_device_cpu_cores": 1, **dict(item.split("=", 1) for item in given.set)}
    if given.child:
        print(json.dumps(child(changes, json.loads(given.child), given.steps)))
        return
    print(f"{'what':58}{'trained':>12}{'estimate':>10}{'peak':>10}{'step':>9}")
    for label, what in CASES:
        command = [sys.executable, __file__, "--child", json.dumps(what), "--steps", str(given.steps),
                   *(f"--set={item}" for item in given.set)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        sizes = "".join(f"{found[key] / 2**20:7.0f} MB" for key in ("estimate", "peak"))
        print(f"{label:58}{found['trained']:12,.0f}{sizes}{found['seconds']:7.2f} s", flush=True)


if __name__ == "__main__":
    main()
