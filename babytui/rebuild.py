"""Writing what is damaged or missing of a model anew, from the last checkpoint and the journal of its run.

A run that has ended keeps the checkpoint of its last step; the files that are made of it are, byte for byte, those that
the run made. Imports no arrays before something is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from babytui import checkpoints, outcome
from babytui.runs import Run
from engine.config import Config, complete
from engine.errors import BabyError
from engine.events import End
from store import artifacts, checkpoint, states
from store.workspace import Workspace


def possible(workspace: Workspace, guid: str) -> Callable[[str], Callable[[], None]] | None:
    """What prepares to write a kind of file of this model; that returns what writes it. None when the run has not come
    to an end, or its last checkpoint is not there."""
    run = Run(workspace, guid)
    try:
        last = run.last_events(1)
    except BabyError:
        return None
    if not last or not isinstance(last[-1], End) or last[-1].reason == "failed":
        return None
    end = last[-1]
    if not checkpoints.at(run.dir / "checkpoints", end.step).is_file():
        return None
    return lambda kind: _prepare(run, end, kind)


def _prepare(run: Run, end: End, kind: str) -> Callable[[], None]:
    """Reads what is needed; writing is all that is left. FormatError, RunError."""
    from engine import registry

    plan = run.plan
    config = Config.read(complete(plan.get("config") or {}), strict=False)
    model, vocab = _model(run, end, plan, config)
    return outcome.savers(run, plan, model, registry.tokenizer.get(config.c_tokenizer)(vocab), end)[kind]


def _model(run: Run, end: End, plan: dict[str, Any], config: Config) -> tuple[Any, list[str]]:
    """The model as it was at the end, and its vocabulary."""
    from engine import contents
    from engine.adaptation import Adaptation
    from engine.model import Model, each_tensor
    from engine.trainer import fill

    path = checkpoints.at(run.dir / "checkpoints", end.step)
    arrays, meta = checkpoint.read(path)
    states.check(arrays, meta, path.name)
    vocab = artifacts.check_vocabulary(meta.get("vocab"), config.c_tokenizer, path.name)
    contents.check_state(each_tensor(config.validate(), len(vocab)), arrays, path.name)  # before anything is allocated
    model = Model(config, len(vocab), Adaptation.read(plan.get("adaptation", {})))
    model.extra = checkpoints.extra_of((arrays, meta))
    fill("weights", model.params.views(model.params.flat), arrays)
    fill("base", model.params.base_views(), arrays)
    model.round()
    return model, vocab
