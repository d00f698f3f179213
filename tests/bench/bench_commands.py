"""How long the light commands take as whole processes among 100 models: `python tests/bench/bench_commands.py`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.config import Config  # noqa: E402
from engine.model import Model  # noqa: E402
from store import artifacts  # noqa: E402
from store.workspace import Workspace, new_guid  # noqa: E402

BUDGETS = {("--help",): 0.15, ("list",): 0.25, ("info", "model-50"): 0.25}


def fill(workspace: Workspace) -> None:
    """100 models, each with its config, tokenizer, model and report."""
    workspace.ensure()
    model = Model.create(Config.read({"n_emb": 16, "head_size": 16, "n_layers": 1}), 65)
    for number in range(100):
        guid = new_guid()
        artifacts.save_config(workspace, guid, {**model.config.to_dict(), "babytui_name": f"model-{number}"})
        artifacts.save_tokenizer(workspace, guid, "char", [chr(33 + i) for i in range(65)])
        artifacts.save_model(workspace, guid, model.export())
        artifacts.save_report(workspace, guid, {"dataset": "text", "babytui_validation_loss": 2.0})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        fill(Workspace(folder))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BABYTUI_WORKSPACE": folder}
        for words, budget in BUDGETS.items():
            times = []
            for _ in range(8):
                begun = time.perf_counter()
                subprocess.run([sys.executable, "-m", "babytui", *words], env=environment, check=True,
                               stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - begun)
            print(f"babytui {' '.join(words):16} {statistics.median(times[1:]):.3f} s   (budget {budget} s)")


if __name__ == "__main__":
    main()
