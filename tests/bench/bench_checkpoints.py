"""What a checkpoint costs a run that goes on training beside its writing.

    python tests/bench/bench_checkpoints.py [--cores 2] [--rounds 9] [--size small large] [--every 60]

Two figures: the processor time of copying and writing one while nothing else runs, which is the most that it can take
from a training that uses every core; and the median difference between segments of steps with and without one, which
take turns. The second means little on a machine whose clock changes; `--rounds 0` leaves it out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

from babytui.bench import SIZES  # noqa: E402
from babytui.checkpoints import Checkpoints  # noqa: E402
from engine import registry  # noqa: E402
from engine.config import Config  # noqa: E402
from engine.events import Step  # noqa: E402
from engine.model import Model  # noqa: E402
from engine.trainer import Trainer  # noqa: E402
from store.journal import Journal  # noqa: E402

VOCAB = 65
SEGMENT = 1.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two checkpoints")
    parser.add_argument("--size", nargs="+", default=["small", "large"], choices=sorted(SIZES))
    given = parser.parse_args()
    for size in given.size:
        measure(size, given.cores, given.rounds, given.every)


def measure(size: str, cores: int, rounds: int, every: float) -> None:
    config = Config.read({**SIZES[size], "n_steps": 10**9, "c_schedule": "constant"})
    model = Model.create(config, VOCAB)
    text = np.random.default_rng(0).integers(0, VOCAB, 1_000_000).astype(np.uint8)
    tokenizer = registry.tokenizer.get("char")([chr(33 + i) for i in range(VOCAB)])
    trainer = Trainer(model, tokenizer, text, cores=cores, sample_tokens=1)
    steps = (event for event in trainer if isinstance(event, Step))

    def take(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            next(steps)
        return time.perf_counter() - begun

    take(3)
    count = max(2, round(SEGMENT / (take(5) / 5)))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder) / "checkpoints", Journal(Path(folder) / "events.jsonl"))

        def save() -> None:
            arrays, meta = trainer.state()
            checkpoints.save((arrays, {**meta, "vocab": tokenizer.vocab}), "bench")

        alone = []
        for _ in range(5):
            begun = time.process_time()
            save()
            checkpoints.wait()
            alone.append(time.process_time() - begun)
        differences = []
        for _ in range(rounds):
            before = take(count)
            begun = time.perf_counter()
            save()
            during = time.perf_counter() - begun + take(count)
            checkpoints.wait()
            differences.append(during - (before + take(count)) / 2)
        assert not [saved for saved in checkpoints.told() if saved.error]
        size_of = next((Path(folder) / "checkpoints").glob("step_*")).stat().st_size
    most = statistics.median(alone)
    print(f"{size}: {model.n_parameters:,} parameters, {size_of / 1e6:.1f} MB; {1e3 * most:.0f} ms of one core, every "
          f"{every:g} s at most {most / every:.2%}", end="")
    if differences:
        cost = statistics.median(differences)
        print(f"; measured {1e3 * cost:.0f} ms, {cost / every:.2%}, of {rounds} between {1e3 * min(differences):.0f} "
              f"and {1e3 * max(differences):.0f}", end="")
    print(flush=True)


if __name__ == "__main__":
    main()
