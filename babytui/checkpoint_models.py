"""A model out of a run that is still training, or of any checkpoint that it has kept.

Reads what the training process has written and never disturbs it; for newer weights it is asked for a checkpoint, as by
`babytui checkpoint`, and that is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from babytui import checkpoints, devices
from babytui.library import Baby
from babytui.runs import Run
from engine.config import Config, complete
from engine.errors import BabyError, NotFound
from store import checkpoint, plans, states

LAST, BEST = "last", "best"
OLD = 5.0  # seconds after which the weights of a live run are asked for anew, and more for a large model:
BYTES_PER_SECOND = 5e7
PATIENCE = 10.0  # seconds that a checkpoint is waited for
_TRIES = 3  # a run that trains gives up old checkpoints at any moment
KEEP_MORE = "train with --set n_checkpoints=20 --set s_checkpoint_steps=N to keep the last 20, N steps apart"


@dataclass(frozen=True)
class Kept:
    """A checkpoint on the disk. best: whether its validation loss is the lowest so far."""

    step: int
    path: Path
    best: bool = False

    @property
    def label(self) -> str:
        """step 1,200, or step 900 (best)."""
        return f"step {self.step:,}" + (" (best)" if self.best else "")


def kept(run: Run) -> list[Kept]:
    """The checkpoints of a run by step, each step once; empty when there are none."""
    folder = run.dir / "checkpoints"
    found: dict[int, Kept] = {}
    with suppress(BabyError):
        path = folder / checkpoints.BEST
        step = checkpoint.verify(path, most=0).get("step")
        if isinstance(step, int) and step >= 0:
            found[step] = Kept(step, path, best=True)
    for path in checkpoints.listed(folder):
        number = path.stem.removeprefix("step_")
        if number.isascii() and number.isdigit():
            step = int(number)
            found[step] = Kept(step, path, best=step in found)
    return [found[step] for step in sorted(found)]


def find(run: Run, which: int | str) -> Kept:
    """The checkpoint of a step, the last or the best one. NotFound says which there are."""
    there = kept(run)
    if not there:
        raise NotFound(f"{run.name} has no checkpoint" + (" yet; try again in a moment." if run.alive else "."))
    if which == LAST:
        return there[-1]
    for one in there:
        if one.step == which or (which == BEST and one.best):
            return one
    steps = ", ".join(f"{one.step:,}" + (" (best)" if one.best else "") for one in there[-12:])
    raise NotFound(f"{run.name} keeps no checkpoint {'called best' if which == BEST else f'of step {which:,}'}; there "
                   f"{'is' if len(there) == 1 else 'are'} {steps}.")


def load(run: Run, which: int | str = LAST, *, fresh: bool = False) -> Baby:
    """The model as it was at a step, or at the last or the best checkpoint; its `step` says which.

    fresh: ask a live run for a new checkpoint first when the last one is old. NotFound, FormatError.
    """
    if fresh and which == LAST:
        refresh(run)
    for attempt in range(_TRIES):
        found = find(run, which)
        try:
            return read(run, found)
        except NotFound:  # given up since it was listed
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


def read(run: Run, found: Kept) -> Baby:
    """The model of one checkpoint, of which every byte is verified. NotFound, FormatError."""
    from engine import contents, registry
    from engine.adaptation import Adaptation
    from engine.model import Model, each_tensor
    from engine.trainer import fill

    arrays, meta = checkpoint.read(found.path, wanted=lambda name: not name.startswith(("m/", "v/")))
    states.check(arrays, meta, found.path.name)
    plan = plans.read(run.dir / plans.NAME, need=("config",))
    config, moved = devices.here(Config.read(complete(plan["config"]), strict=False))
    adaptation, vocab = Adaptation.read(plan.get("adaptation", {})), meta["vocab"]
    contents.check_state(each_tensor(config.validate(), len(vocab)), arrays, found.path.name)
    model = Model(config, len(vocab), adaptation)
    fill("weights", model.params.views(model.params.flat), arrays)
    fill("base", model.params.base_views(), arrays)
    model.round()
    model.extra = checkpoints.extra_of((arrays, meta))
    arrays = {}
    model = Model.from_arrays(config, model.export(), source=found.path.name)  # as it will be read from its file
    tokenizer = registry.tokenizer.get(config.c_tokenizer)(vocab)
    baby = Baby(model, tokenizer, guid=run.guid, name=run.name, workspace=run.workspace, step=int(meta["step"]))
    baby.remarks += moved
    return baby


def refresh(run: Run, *, older: float | None = None, patience: float = PATIENCE,
            cancelled: Callable[[], bool] = lambda: False) -> bool:
    """Asks a live run for a checkpoint if its last is more than `older` seconds old (None: as many as its size is
    worth), and waits for it at most `patience` seconds or until `cancelled`. Whether there is a newer one than before;
    no error when the run is over.
    """
    folder = run.dir / "checkpoints"
    before = _newest(folder)
    if before is not None:
        enough = OLD + before[2] / BYTES_PER_SECOND if older is None else older
        if time.time() - before[1] < enough or run.status() == "paused":
            return False
    try:
        if before is not None:
            run.command("checkpoint")
    except BabyError:
        return False
    end = time.monotonic() + patience
    while time.monotonic() < end and not cancelled():
        if (now := _newest(folder)) is not None and now != before:
            return True
        if not run.alive:
            return False
        time.sleep(0.05)
    return False


def _newest(folder: Path) -> tuple[str, float, int] | None:
    """Name, time and bytes of the last checkpoint."""
    for path in checkpoints.listed(folder):
        with suppress(OSError):
            status = path.stat()
            return path.name, status.st_mtime, status.st_size
    return None


def which(text: str | int | None) -> Any:
    """What --step says: a step, last, best; UsageError otherwise."""
    from engine.errors import UsageError

    if text is None or isinstance(text, int) or text in (LAST, BEST):
        return text
    digits = text.replace(",", "").replace("_", "")
    if digits.isascii() and digits.isdigit() and len(digits) < 16:
        return int(digits)
    raise UsageError(f"--step takes a number, last or best, not '{text[:40]}'.")
