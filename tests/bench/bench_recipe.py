"""Seconds of training to a validation loss: our recipe beside the peer's model with its own.

    python tests/bench/bench_recipe.py shakespeare.txt --peer PYTHON [--steps N] [--target 1.88] [--repeats 3]
                                       [--size small] [--set r_learn=0.004 …]

Ours is a whole run of N steps, since the schedule ends with it; the losses are over everything that is held back. The
peer (babytui/torch_peer.py; PYTHON has torch) is evaluated every 25 steps until it has reached the target. Evaluations
do not count, the start of our processes does. Both use all the cores, take turns, and begin from a new seed each time.
Without --peer ours alone is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def ours(text: str, changes: dict[str, Any]) -> dict[str, Any]:
    """A whole run in this process: seconds of training, steps, full validation loss."""
    from engine import events
    from engine.config import Config
    from engine.estimate import cores
    from engine.model import Model
    from engine.trainer import Trainer

    config = Config.read(changes)
    ids, tokenizer = _encoded(text, config)
    trainer = Trainer(Model.create(config, len(tokenizer.vocab)), tokenizer, ids, sample_tokens=0, cores=cores(config))
    end = next(event for event in trainer if isinstance(event, events.End))
    return {"seconds": end.seconds, "steps": end.step, "loss": end.validation_loss,
            "parameters": trainer.model.n_parameters, "cores": trainer.team.processes}


def _encoded(text: str, config: Any) -> tuple[Any, Any]:
    from engine import registry

    written = Path(text).read_text(encoding="utf-8")
    tokenizer = registry.tokenizer.get(config.c_tokenizer).fit(written)
    return tokenizer.encode(written), tokenizer


def _peer(python: str, text: str, changes: dict[str, Any], folder: Path) -> list[str]:
    """The command that trains the peer's model on the same split."""
    from babytui.bench import SCRIPT
    from engine import data
    from engine.config import Config
    from engine.estimate import cores

    config = Config.read(changes)
    ids, tokenizer = _encoded(text, config)
    split = data.split(ids, config)
    path = folder / "ids"
    path.write_bytes(split.train.astype("<i4").tobytes() + split.validation.astype("<i4").tobytes())
    shape = [f"--{name}={config.values[name]}" for name in ("n_ctx", "n_emb", "n_heads", "n_layers", "batch_size")]
    return [python, str(SCRIPT), "learn", f"--ids={path}", f"--held-back={len(split.validation)}",
            f"--vocab={len(tokenizer.vocab)}", f"--threads={cores(config)}", *shape]


def _run(command: list[str]) -> dict[str, Any]:
    from babytui import blas
    from babytui.bench import run_process

    environment = {key: value for key, value in os.environ.items() if key not in blas.THREADS}
    if command[0] == sys.executable:
        environment |= dict.fromkeys(blas.THREADS, "1")
    code, printed, said, _ = run_process(command, environment | {"PYTHONSAFEPATH": "1"}, None)
    if code:
        sys.exit(f"{' '.join(command[:3])} failed: {said}")
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--peer", metavar="PYTHON")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--target", type=float, default=1.88)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", default="small")
    parser.add_argument("--set", action="append", default=[], metavar="PARAMETER=VALUE")
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if given.ours:
        print(json.dumps(ours(given.text, json.loads(given.ours))))
        return
    from babytui.bench import SIZES

    changes = {**SIZES[given.size], "n_steps": given.steps, **dict(item.split("=", 1) for item in given.set)}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        peer = _peer(given.peer, given.text, changes, Path(folder)) if given.peer else None
        for seed in range(1, given.repeats + 1):
            plan = json.dumps({**changes, "n_seed": seed})
            mine = _run([sys.executable, __file__, given.text, "--ours", plan])
            _tell("ours", mine, "" if mine["loss"] <= given.target else " MISSED")
            if peer:
                theirs = _run([*peer, f"--target={given.target}", f"--seed={seed}"])
                _tell(theirs["peer"], theirs, "" if theirs["loss"] else " MISSED")
                ratios.append(mine["seconds"] / theirs["seconds"])
                print(f"ours needs {ratios[-1]:.2f} of the peer's time, {mine['steps'] / theirs['steps']:.2f} of its "
                      "steps", flush=True)
    if ratios:
        print(f"median: {median(ratios):.2f} of the peer's time")


def _tell(who: str, found: dict[str, Any], remark: str) -> None:
    loss = found["loss"] if found["loss"] is not None else found["least"]
    print(f"{who}: {found['seconds']:.1f} s, {found['steps']} steps of {1000 * found['seconds'] / found['steps']:.1f} "
          f"ms, full validation loss {loss:.4f}{remark}", flush=True)


if __name__ == "__main__":
    main()
