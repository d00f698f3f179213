"""From a long text to its ids, to batches, and from a model file to a model: processor seconds and memory.

    python tests/bench/bench_data.py [--megabytes 100] [--text FILE …]

Each kind of text is made of FILE (default: the texts that ship) by repetition with noise, and taken by each tokenizer
in a process of its own, the way a training run takes it. Memory is the peak above what Python and NumPy take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from babytui import texts  # noqa: E402
from engine import data, registry  # noqa: E402
from engine.config import Config  # noqa: E402
from engine.model import Model  # noqa: E402
from store import model_file  # noqa: E402

NOISE = 0.003  # of the characters
LETTERS = np.arange(ord("a"), ord("z") + 1)
MANY = np.concatenate([np.arange(0x4E00, 0x4E00 + 20_000), np.arange(0x1F300, 0x1F600)])
SIZES = [{"n_ctx": 64, "batch_size": 12}, {"n_ctx": 128, "batch_size": 16}, {"n_ctx": 256, "batch_size": 16}]
STEPS = 2000
LARGE = {"n_ctx": 256, "n_emb": 384, "head_size": 384, "n_heads": 6, "n_layers": 6}


def peak() -> float:
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux may be the parent's, from before this program was loaded
        return next(int(line.split()[1]) * 1024 / 1e6 for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def timed(what: Callable[[], Any]) -> tuple[float, Any]:
    """(processor seconds, result): what else runs on the machine hardly changes them."""
    begun = time.process_time()
    found = what()
    return time.process_time() - begun, found


def make(path: Path, source: str, noise: np.ndarray, size: int, change: Callable[[str], str] = str) -> None:
    """A text of `size` bytes: `source` again and again, some of its letters replaced."""
    points = np.frombuffer(source.encode("utf-32-le"), "<u4")
    letters = np.flatnonzero([letter.isalpha() for letter in source])
    rng = np.random.default_rng(1)
    with open(path, "wb") as file:
        while file.tell() < size:
            some = points.copy()
            some[rng.choice(letters, int(len(points) * NOISE))] = rng.choice(noise, int(len(points) * NOISE))
            file.write(change(some.tobytes().decode("utf-32-le")).encode())


def child(tokenizer: str, path: str) -> dict[str, float]:
    """What a run does before its first step."""
    before, found = peak(), {}
    found["read"], text = timed(lambda: texts.read([Path(path)]))
    found["digest"], _ = timed(lambda: texts.digest(text))
    found["fit"], known = timed(lambda: registry.tokenizer.get(tokenizer).fit(text))
    found["encode"], ids = timed(lambda: known.encode(text))
    found["peak"] = peak() - before
    found["split"], _ = timed(lambda: data.split(ids, Config.read({"c_shuffle": True})))
    return {**found, "vocabulary": len(known.vocab), "tokens": len(ids), "ids": ids.nbytes / 1e6}


def child_load(path: str) -> dict[str, float]:
    """What inference does before its first token."""
    before = peak()
    parse, arrays = timed(lambda: model_file.read_model(path))
    build, model = timed(lambda: Model.from_arrays(Config.read(LARGE), arrays))
    return {"parse": parse, "build": build, "peak": peak() - before, "weights": 4 * model.n_parameters / 1e6}


def alone(*words: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--child", *words], check=True, capture_output=True)
    return json.loads(done.stdout)


def batches() -> None:
    for size in SIZES:
        windows = data.Windows(np.zeros(1_000_000, np.uint8), Config.read(size))
        seconds, _ = timed(lambda windows=windows: [windows.batch(step) and None for step in range(STEPS)])
        print(f"batch n_ctx {size['n_ctx']:3}, batch_size {size['batch_size']}   {seconds / STEPS * 1e6:6.1f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--text", nargs="+", type=Path, default=sorted((ROOT / "inputs" / "texts").glob("*.txt")))
    parser.add_argument("--child", nargs="+")
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child_load(*given.child[1:]) if given.child[0] == "load" else child(*given.child)))
        return
    source, size = texts.read(given.text).text, int(given.megabytes * 1e6)
    kinds = [("as it is", LETTERS, str), ("mark, CRLF", LETTERS, lambda text: "\ufeff" + text.replace("\n", "\r\n")),
             ("many symbols", MANY, str)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.txt")
        print(f"{given.megabytes:4g} MB, seconds   read digest    fit encode  split    all   peak MB   ids MB"
              "  vocabulary")
        for name, noise, change in kinds:
            make(path, source, noise, size, change)
            for tokenizer in registry.tokenizer.names():
                found = alone(tokenizer, str(path))
                stages = [found[stage] for stage in ("read", "digest", "fit", "encode", "split")]
                print(f"{name:13}{tokenizer:5}  " + "".join(f"{seconds:7.2f}" for seconds in [*stages, sum(stages)])
                      + f"{found['peak']:10.0f}{found['ids']:9.1f}{found['vocabulary']:12,.0f}", flush=True)
        path.unlink()
        batches()
        model_file.write_model(Path(folder, "model.json"), Model.create(Config.read(LARGE), 65).export())
        found = alone("load", str(Path(folder, "model.json")))
        print(f"load {found['weights'] / 4:.1f} M parameters: parse {found['parse']:.2f} s, build "
              f"{found['build']:.2f} s, peak {found['peak']:.0f} MB for {found['weights']:.0f} MB of weights")


if __name__ == "__main__":
    main()
