"""A workspace that is the same every time, for looking at screens: fixed names, numbers, moments and weights.

Three models, a run that has ended and one that is at work, a bake-off, completions, two texts. It is written without
training anything, so that no figure depends on the machine.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import orjson

from babytui import checkpoints, workspace_choice
from engine import events, registry
from engine.config import Config
from engine.model import Model
from engine.trainer import Trainer
from store import artifacts, checkpoint
from store.journal import Journal
from store.lock import Lock
from store.workspace import Workspace

NOW = 1772625600.0  # 4 March 2026, 12:00 UTC
DAY = 86400.0
KITTEN = "4a77e200-0000-4000-8000-000000000001"
PUPPY = "9099e400-0000-4000-8000-000000000002"
LONG = "b0a60000-0000-4000-8000-000000000003"
LIVE = "11fe0000-0000-4000-8000-000000000004"
BAKE_OFF = "bace0ff0-0000-4000-8000-000000000005"
TEXT = "The cat sat on the mat. The dog saw the cat and ran.\n" * 40
SAID = "The cat sat on the mat and the dog saw it.\nThe mat ran."
_SMALL = {"n_layers": 2, "n_emb": 16, "head_size": 8, "n_heads": 2, "n_ctx": 32, "batch_size": 4, "n_steps": 400}
_MODELS: tuple[tuple[str, str, dict[str, Any], float], ...] = (
    (KITTEN, "kitten", {}, 1.4321),
    (PUPPY, "puppy", {"c_attention": "gla", "c_network": "swi", "n_layers": 1}, 1.5678),
    (LONG, "a name that is as long as a name may well be", {"c_attention": "aft", "c_sequence": "post"}, 2.3456),
)


def nursery(folder: Path) -> Workspace:
    """Makes it in `folder`. The run LIVE has no process until `Trainee` holds its lock."""
    made = Workspace(folder).ensure()
    (made.inputs / "cats.txt").write_text(TEXT, encoding="utf-8")
    (made.inputs / "dogs.txt").write_text(TEXT.replace("cat", "dog"), encoding="utf-8")
    for number, (guid, name, changes, loss) in enumerate(_MODELS):
        _model(made, guid, name, Config.read({**_SMALL, **changes}), loss, NOW - (number + 1) * 3 * DAY)
    _run(made, KITTEN, "kitten", NOW - 3 * DAY, 400, "finished")
    _run(made, LIVE, "foal", NOW - 240, 240, "")
    _bake_off(made)
    made.save_current(Config.read(_SMALL).to_dict())
    made.save_last(KITTEN, prompt="The cat")
    for path in sorted(made.root.rglob("*")):
        os.utime(path, (NOW, NOW))
    return made


def box(folder: Path) -> Path:
    """What ships with the program, as old every time."""
    shutil.copytree(workspace_choice.BOX, folder)
    for config in folder.glob("configs/config_*.json"):
        config.write_text(json.dumps({**json.loads(config.read_text()), "babytui_created": NOW - 60 * DAY}))
    for path in folder.rglob("*"):
        os.utime(path, (NOW - 60 * DAY, NOW - 60 * DAY))
    return folder


class Trainee:
    """Holds the lock of the run LIVE: to everybody else it is at work."""

    def __init__(self, workspace: Workspace):
        self.lock = Lock(workspace.run_dir(LIVE) / "lock")

    def __enter__(self) -> Trainee:
        assert self.lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def _vocabulary() -> list[str]:
    return sorted(set(TEXT))


def _model(made: Workspace, guid: str, name: str, config: Config, loss: float, created: float) -> None:
    model = Model.create(config, len(_vocabulary()))
    artifacts.save_config(made, guid, {**config.to_dict(), "babytui_name": name}, {"model_params": model.n_parameters})
    path = made.path("config", guid)
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "babytui_created": created}))
    artifacts.save_tokenizer(made, guid, "char", _vocabulary())
    artifacts.save_model(made, guid, model.export())
    curve = [[step, 3.0 * math.exp(-step / 100) + loss, 3.1 * math.exp(-step / 110) + loss]
             for step in range(20, 401, 20)]
    artifacts.save_report(made, guid, {
        "n_epochs": 4, "dataset": "cats", "average_train_loss_per_epoch": loss - 0.1,
        "average_val_loss_per_epoch": loss, "total_time": 61.5, "babytui_parameters": model.n_parameters,
        "babytui_tokens": 51200, "babytui_steps": 400, "babytui_seconds": 61.5, "babytui_validation_loss": loss,
        "babytui_curve": curve, "babytui_reason": "finished"})
    for prompt in ("The cat", "The dog"):
        artifacts.save_completion(made, guid, {
            "prompt": prompt, "generation": prompt + SAID.removeprefix("The cat"), "inference_max_tokens": 60,
            "inference_total_time": 0.5, "inference_cache": True})


def story(begun: float, steps: int, planned: int, config: Config, reason: str = "") -> list[events.Event]:
    """What a run tells, with everything that can happen to one. reason: how it ends; "" while it is at work."""
    told: list[events.Event] = [events.Start(
        step=0, time=begun, config=config.to_dict(), parameters=7_654, vocab_size=19, steps=planned, dataset="cats",
        tokens_per_step=128, train_tokens=1908, validation_tokens=212)]
    for step in range(1, steps + 1):
        now = begun + step / 4
        wave = 0.12 * math.sin(step * 1.7) + 0.05 * math.cos(step * 0.37)
        told.append(events.Step(step=step, time=now, loss=1.3 + 2.2 * math.exp(-step / 70) + wave,
                                learning_rate=0.004 * min(1, step / 20), gradient_norm=1.1 + wave, epoch=step / 14,
                                tokens=step * 128, seconds=step / 4, tokens_per_second=512.0))
        if step % 20 == 0:
            told.append(events.Evaluation(step=step, time=now, train_loss=1.35 + 2.2 * math.exp(-step / 70),
                                          validation_loss=1.5 + 2.1 * math.exp(-step / 75), tokens=step * 128,
                                          seconds=step / 4))
            told.append(_norms(step, now, config))
        if step % 60 == 0:
            told += [events.Sample(step=step, time=now, prompt="The", text=SAID),
                     events.Checkpoint(step=step, time=now, path=f"checkpoints/step_{step:09d}.safetensors",
                                       reason="policy")]
        if step == 100:
            told += [events.Control(step=step, time=now, command="pause"),
                     events.Control(step=step, time=now + 30, command="resume"),
                     events.Control(step=step, time=now + 30, command="learning_rate", value=0.002)]
        if step == 180:
            told.append(events.Alarm(step=step, time=now, name="rising-validation",
                                     message="The validation loss has risen three times in a row; the model begins to "
                                             "learn its text by heart."))
    if reason:
        told.append(events.End(step=steps, time=begun + steps / 4, reason=reason, train_loss=1.31, validation_loss=1.43,
                               tokens=steps * 128, seconds=steps / 4))
    return told


def _norms(step: int, now: float, config: Config) -> events.Norms:
    parts = ["embedding", *(f"block_{n}_{part}" for n in range(config.n_layers)
                            for part in ("norms", "attention", "network")), "head"]
    sizes = {part: 1 + n % 3 for n, part in enumerate(parts)}
    return events.Norms(
        step=step, time=now, gradient={part: size * 20 / (step + 40) for part, size in sizes.items()},
        update={part: size * 0.02 if part != "head" else 0.2 for part, size in sizes.items()},
        weight={part: 4.0 * size for part, size in sizes.items()})


def _run(made: Workspace, guid: str, name: str, created: float, steps: int, reason: str) -> None:
    folder = made.run_dir(guid)
    folder.mkdir(parents=True, mode=0o700)
    config = Config.read(_SMALL)
    (folder / "plan.json").write_bytes(orjson.dumps(
        {"guid": guid, "created": created, "name": name, "config": config.to_dict(), "texts": ["cats"],
         "dataset": "cats", "prompt": "The", "time_budget": None, "notes": []}))
    lines = Journal(folder / "events.jsonl")
    for event in story(created, steps, 400, config, reason):
        lines.append(event.to_dict())
    lines.close()
    if not reason:
        _checkpoints(folder / "checkpoints", config, steps)


def _checkpoints(folder: Path, config: Config, steps: int) -> None:
    """Those of which the journal tells. Each has the same random weights, the later the larger: what the model says
    becomes another thing by and by."""
    folder.mkdir()
    tokenizer = registry.tokenizer.get("char")(_vocabulary())
    model = Model.create(config, len(_vocabulary()))
    for step in range(60, steps + 1, 60):
        trainer = Trainer(model, tokenizer, tokenizer.encode(TEXT))
        trainer.step = step
        arrays, meta = trainer.state()
        checkpoint.write(checkpoints.at(folder, step), arrays, {**meta, "vocab": _vocabulary(), "text_sha256": ""})
        for view in model.params.values():
            view *= 1.3


def _bake_off(made: Workspace) -> None:
    folder = made.root / "bakeoffs" / BAKE_OFF
    folder.mkdir(parents=True, mode=0o700)
    pairs = [(attention, network, "pre") for attention in ("mha", "gla", "aft") for network in ("mlp", "swi")]
    (folder / "plan.json").write_bytes(orjson.dumps(
        {"guid": BAKE_OFF, "created": NOW - DAY, "name": "spring", "dataset": "cats", "architectures": pairs,
         "budget": {"steps": 200}, "seed": 1, "jobs": 1, "texts": ["cats"], "config": Config.read(_SMALL).to_dict(),
         "machine": {"processor": "a processor", "cores": 2}}))
    results = []
    for number, (attention, network, order) in enumerate(pairs[:-1]):
        results.append({"attention": attention, "network": network, "sequence": order, "guid": "",
                        "validation_loss": 1.4 + number / 10, "perplexity": math.exp(1.4 + number / 10),
                        "train_loss": 1.3 + number / 10, "tokens_per_second": 20_000.0 - 1000 * number,
                        "generation_tokens_per_second": 3000.0 + 100 * number, "parameters": 7_000 + 300 * number,
                        "cache_bytes_per_token": 512, "state_bytes": 16384, "steps": 200, "tokens": 25_600,
                        "seconds": 12.5 + number, "elapsed": 15.0})
    attention, network, order = pairs[-1]
    results.append({"attention": attention, "network": network, "sequence": order,
                    "error": "The loss was not finite at step 17; lower r_learn."})
    (folder / "results.jsonl").write_bytes(b"".join(orjson.dumps(result) + b"\n" for result in results))
