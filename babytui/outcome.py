"""What a run leaves in the workspace: its artifacts, made of the model, the plan and the journal."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from babytui import receipts, report
from engine.config import Config
from engine.errors import FormatError
from engine.events import End

if TYPE_CHECKING:
    from babytui.runs import Run
    from engine.model import Model
    from engine.tokenizer._base import Tokenizer

COMPLETION_TOKENS = 300


def savers(run: Run, plan: dict[str, Any], model: Model, tokenizer: Tokenizer, end: End,
           reply: dict[str, Any] | None = None) -> dict[str, Callable[[], None]]:
    """By kind of artifact, in the order in which they are written, what writes it. reply: the completion, if any.

    The model is the last: where one is, everything is.
    """
    from babytui import finetuning
    from store import artifacts

    ws, guid, config = run.workspace, run.guid, model.config
    about: dict[str, Any] = {"babytui_base": finetuning.record(plan, model)} if plan.get("base") else {}
    values = {**config.to_dict(), **about, "babytui_name": plan.get("name", "")}
    found: dict[str, Callable[[], None]] = {}
    if about:
        found["adapter"] = lambda: finetuning.save_adapter(ws, guid, plan, model, tokenizer)
    if reply is not None:
        def save_reply() -> None:
            artifacts.save_completion(ws, guid, reply)

        found["completion"] = save_reply
    return found | {
        "config": lambda: artifacts.save_config(ws, guid, values, runtime(config, model.n_parameters)),
        "tokenizer": lambda: artifacts.save_tokenizer(ws, guid, config.c_tokenizer, tokenizer.vocab),
        "report": lambda: artifacts.save_report(ws, guid, {**report.build(run, end), **about}),
        "model": lambda: artifacts.save_model(ws, guid, model.export()),
    }


def completion(run: Run, plan: dict[str, Any], model: Model, tokenizer: Tokenizer) -> dict[str, Any]:
    """What the finished model says, in the completion file's keys."""
    from babytui.library import Baby

    generation = Baby(model, tokenizer, guid=run.guid).generate(plan.get("prompt") or "", COMPLETION_TOKENS,
                                                                temperature=0.8, seed=model.config.n_seed)
    with suppress(FormatError):  # its numbers have gone wrong: it says no more than it could
        for _ in generation:
            pass
    found = generation.completion()
    del found[receipts.KEY]  # names the run: what the same configuration and text give would not be the same bytes
    return found


def runtime(config: Config, parameters: int) -> dict[str, Any]:
    """The `runtime` object of a saved configuration: what it was trained on."""
    import numpy as np

    from engine.estimate import cores

    cpu = config.c_device == "cpu"
    return {"model_version": "v0.1.0", "model_params": parameters, "model_size": 4 * parameters,
            "device_name": platform.processor() or platform.machine() if cpu else "gpu",
            "device_cores": str(cores(config)) if cpu else "all", "library_version": f"numpy {np.__version__}",
            "library_driver": "default" if cpu else "cuda"}
