"""One measurement in a process of its own: `python -m babytui.bench_worker PLAN`, started by babytui.bench.

Prints one JSON object: what was measured, or the error that kept it from it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import benchmark
from engine.config import Config
from engine.errors import BabyError
from engine.model import Model
from store.model_file import read_model, write_model

_ENGINE = {"train": benchmark.training, "products": benchmark.roofline, "decode": benchmark.decode,
           "prefill": benchmark.prefill}


def measure(work: str, config: Config, folder: Path) -> dict[str, Any]:
    """One measurement. Model files are written to `folder`."""
    if work in _ENGINE:
        return _ENGINE[work](config)
    model, path = Model.create(config, benchmark.VOCABULARY), folder / f"{work}.json"

    def save() -> None:
        write_model(path, model.export())

    def load() -> None:
        Model.from_arrays(config, read_model(path, dtype="float64" if config.d_type == "fp64" else "float32"))

    save()
    value = benchmark.timed(save if work == "save" else load, warm=1, least=3)
    return {"value": value, "cores": 1, "parameters": model.n_parameters, "bytes": path.stat().st_size}


def main(arguments: Sequence[str]) -> int:
    """Measure what the plan says and print it."""
    plan = json.loads(arguments[0])
    try:
        found = measure(plan["work"], Config.read(plan["config"]), Path(plan["folder"]))
    except BabyError as error:
        found = {"error": str(error)}
    except MemoryError:
        found = {"error": "There is not enough memory for it; choose a smaller size."}
    print(json.dumps(found))
    return 1 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
