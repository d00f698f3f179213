"""How the cost of each variant grows with the length of the text, and of decoding with the position.

    python tests/bench/bench_complexity.py [--variants mha,gla,…] [--longest 4096] [--repeats N] [--json F]

Training: forward and backward pass of one layer alone and of a whole model (each attention with mlp, nft with gla), in
microseconds of processor time per token at T = 128, 256, … tokens; beside it the growth when T doubles, which is 1 for
what is O(T), and the speed-up against mha. Decode: microseconds per token at several positions of one context.
Processor time, the smallest of several repeats: other work on the machine then disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402

from engine import data, registry  # noqa: E402
from engine.backend import Arena  # noqa: E402
from engine.config import Config  # noqa: E402
from engine.model import Model  # noqa: E402
from engine.parameters import Gradients  # noqa: E402
from engine.prepared import stepper  # noqa: E402
from engine.tape import Tape  # noqa: E402

WIDTH, HEADS, LAYERS, TOKENS = 128, 4, 2, 2048


def pair(name: str) -> tuple[str, str]:
    """(attention, network) of the model that a variant is measured in; a network that mixes time gets an O(T) one."""
    return (name, "mlp") if name in registry.attention.names() else ("gla", name)


def config_for(name: str, T: int, layers: int = LAYERS) -> Config:
    attention, network = pair(name)
    return Config.read({"c_attention": attention, "c_network": network, "n_ctx": T, "n_emb": WIDTH, "head_size": WIDTH,
                        "n_heads": HEADS, "n_layers": layers, "batch_size": max(1, TOKENS // T)})


def best(function: Any, repeats: int) -> float:
    """The least processor time of `function()` in seconds; the first call is not counted."""
    function()
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        function()
        times.append(time.process_time() - begun)
    return min(times)


def layer(name: str, T: int, repeats: int) -> float:
    """µs per token of one layer's forward and backward pass."""
    config = config_for(name, T, 1)
    model = Model.create(config, 65)
    gradients, block, arena = Gradients(model.params), model.blocks[0], Arena()
    attention = name in registry.attention.names()
    variant, weights = (block.attention, block.a) if attention else (block.network, block.n)
    own = gradients.layer(f"block_0_{name}_")
    x = np.random.default_rng(0).standard_normal((config.batch_size, T, WIDTH), np.float32)

    def once() -> None:
        gradients.reset()
        tape = Tape(arena, np.dtype(np.float32).type, recording=True)
        variant.forward(weights, x, tape)
        variant.backward(weights, x, tape, own)

    return best(once, repeats) / (config.batch_size * T) * 1e6


def step(name: str, T: int, repeats: int) -> float:
    """µs per token of a whole model's forward and backward pass."""
    config = config_for(name, T)
    model = Model.create(config, 65)
    gradients = Gradients(model.params)
    ids = np.random.default_rng(0).integers(0, 65, (config.batch_size, T + 1))
    pieces = [piece for lane in data.lanes(config, model.params.trained) for piece in lane]

    def once() -> None:
        gradients.reset()
        for rows in pieces:
            model.loss_and_gradients(ids[rows, :-1], ids[rows, 1:], gradients)
        gradients.finish()

    return best(once, repeats) / (config.batch_size * T) * 1e6


def decode(name: str, positions: list[int], repeats: int) -> list[float]:
    """µs per token where decoding stands at each of the positions."""
    config = config_for(name, 2 * positions[-1])
    model = Model.create(config, 65)
    found = []
    for position in positions:
        ids = np.random.default_rng(0).integers(0, 65, (1, position))
        times = []
        for _ in range(repeats):
            states = model.state()
            model.prefill(ids, states)
            step = stepper(model, states, 1)
            for t in range(position, position + 20):
                begun = time.process_time()
                step(ids[:, 0], t)
                times.append(time.process_time() - begun)
        found.append(min(times) * 1e6)
    return found


def growth(values: list[float]) -> str:
    """Each value, and how often the one before it goes into it."""
    cells = [f"{values[0]:8.1f}       "]
    cells += [f"{b:8.1f} ({b / a:4.2f})" for a, b in pairwise(values)]
    return "".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    timed = [name for name in registry.network.names() if registry.network.get(name).mixes_time]
    parser.add_argument("--variants", default=",".join(["mha", *(n for n in registry.attention.names() if n != "mha"),
                                                        *timed]))
    parser.add_argument("--longest", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    names, lengths = given.variants.split(","), [128]
    while lengths[-1] * 2 <= given.longest:
        lengths.append(lengths[-1] * 2)
    out: dict[str, Any] = {"lengths": lengths, "width": WIDTH, "heads": HEADS, "layers": LAYERS}
    for kind, measure in (("layer", layer), ("step", step)):
        print(f"\n{kind}: µs per token (growth) at T = {', '.join(map(str, lengths))}; width {WIDTH}, {HEADS} heads")
        for name in names:
            out.setdefault(kind, {})[name] = [measure(name, T, given.repeats) for T in lengths]
            print(f"{name:5}{growth(out[kind][name])}", flush=True)
    if names[0] == "mha":
        print(f"\nstep: times as fast as mha at T = {', '.join(map(str, lengths))}")
        for name in (n for n in names[1:] if n in registry.attention.names()):
            ratios = [a / b for a, b in zip(out["step"]["mha"], out["step"][name], strict=True)]
            print(f"{name:5}" + "".join(f"{ratio:8.2f}" for ratio in ratios))
    positions = [length for length in (16, 64, 256, 1024, 2048) if length <= given.longest // 2]
    print(f"\ndecode: µs per token (growth) at position {', '.join(map(str, positions))}")
    for name in names:
        out.setdefault("decode", {})[name] = decode(name, positions, given.repeats)
        print(f"{name:5}{growth(out['decode'][name])}", flush=True)
    out["positions"] = positions
    if given.json:
        given.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
