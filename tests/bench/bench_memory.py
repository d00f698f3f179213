"""Resident memory and open files of a long training run, process by process; nothing of it may grow. Linux only.

    python tests/bench/bench_memory.py [--steps 10000] [--cores 2] [--set n_emb=128 …] [--json]

A tiny model unless --set says otherwise; evaluations and samples are made as in every run.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

from engine import events, registry  # noqa: E402
from engine.config import Config  # noqa: E402
from engine.model import Model  # noqa: E402
from engine.trainer import Trainer  # noqa: E402

SIZE = {"n_ctx": 64, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_layers": 1, "batch_size": 12}  # two lanes
VOCABULARY = 65
LOOKS = 10  # in a run


def processes() -> list[int]:
    """This process, and those it has started."""
    found = [os.getpid()]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == os.getpid():
            found.append(int(stat.parent.name))
    return found


def look(step: int) -> dict[str, Any]:
    """step; resident: bytes of each process; files: how many each has open."""
    gc.collect()
    page = os.sysconf("SC_PAGE_SIZE")
    own = processes()
    return {"step": step, "resident": [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in own],
            "files": [len(os.listdir(f"/proc/{pid}/fd")) for pid in own]}


def measure(config: Config, cores: int) -> list[dict[str, Any]]:
    """What is held after each tenth of a run."""
    vocabulary = [chr(ord("0") + i) for i in range(VOCABULARY)]
    ids = np.random.default_rng(1).integers(0, VOCABULARY, 1 << 16, np.uint8)
    trainer = Trainer(Model.create(config, VOCABULARY), registry.tokenizer.get("char")(vocabulary), ids, cores=cores)
    return [look(event.step) for event in trainer
            if isinstance(event, events.Step) and event.step % max(1, config.n_steps // LOOKS) == 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    config = Config.read({**SIZE, **dict(pair.split("=", 1) for pair in given.set), "n_steps": given.steps})
    found = measure(config, given.cores)
    if given.json:
        print(json.dumps(found))
        return
    for line in found:
        resident = "  ".join(f"{size / 2**20:8.2f} MiB" for size in line["resident"])
        print(f"step {line['step']:6}  resident {resident}   open files {line['files']}")


if __name__ == "__main__":
    main()
