"""The checkpoints of a run: written by a thread beside the training, the last few and the best kept.

    checkpoints/step_000001200.safetensors   the last ones
    checkpoints/best.safetensors             the one of the evaluation with the lowest loss of all that were written

A checkpoint is on the disk after the journal lines that lead to it: whoever goes on from one has the whole story.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from engine.errors import BabyError, FormatError, NotFound
from store import atomic, checkpoint, states
from store.atomic import StoreError
from store.journal import Journal

USUAL = 3  # the default of n_checkpoints
BEST, AS_BEST = "best.safetensors", "best"  # its file; the reason for which a checkpoint is written there only
_PATTERN = "step_*.safetensors"
_EXTRA = "extra/"  # what a model's file holds beside weights
# Arrays and plain data; of the latter, step, looked, due and validation_loss are used.
State = tuple[dict[str, Any], dict[str, Any]]


def with_extra(state: State, extra: dict[str, Any]) -> State:
    """A state that also holds what a model's file has beside weights: arrays, numbers, anything by name, in order."""
    arrays = {_EXTRA + name: value for name, value in extra.items() if hasattr(value, "dtype")}
    plain = [[name, None if hasattr(value, "dtype") else value] for name, value in extra.items()]
    return {**state[0], **arrays}, {**state[1], "extra": plain}


def extra_of(state: State) -> dict[str, Any]:
    """What `with_extra` put there."""
    arrays, meta = state
    return {name: arrays.get(_EXTRA + name, value) for name, value in meta.get("extra", [])}


def at(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step_{step:09}.safetensors"


def listed(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the best one not among them, the newest first."""
    return sorted(folder.glob(_PATTERN), reverse=True)


@dataclass
class Saved:
    """What became of one: `error` is None when it is on the disk."""

    step: int
    path: Path
    reason: str
    error: Exception | None = None


class Checkpoints:
    """Those in `folder`. keep: how many of the last. journal: of what has to be on the disk before a checkpoint is."""

    def __init__(self, folder: Path, journal: Journal, keep: int = 3):
        if folder.is_symlink():  # in a run that came in an archive it could lead anywhere, and files in it are deleted
            raise FormatError(f"{atomic.shown_path(folder)} is a link; a run keeps its checkpoints in its own folder.")
        self.folder, self.journal, self.keep = folder, journal, keep
        self.best: float | None = None  # the lowest validation loss of any that was written
        self.for_the_best = 0.0  # seconds that went into writing what was only the best
        self._thread: threading.Thread | None = None
        self._done: list[Saved] = []
        self._failed: tuple[State, str, bool] | None = None

    # Writing ----------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether one is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, state: State, reason: str, *, newest: bool = False) -> None:
        """Begin to write a state, after the one before it is done. newest: those of later steps are given up."""
        self.wait()
        self._failed = None
        self._thread = threading.Thread(target=self._write, args=(state, reason, newest), daemon=True)
        self._thread.start()

    def retry(self) -> None:
        """Write the last one again if that failed, and wait for it."""
        self.wait()
        if self._failed is not None:
            self.save(self._failed[0], self._failed[1], newest=self._failed[2])
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def told(self) -> list[Saved]:
        """What has been written, or could not be, since this was asked last."""
        told, self._done = self._done, []
        return told

    def _write(self, state: State, reason: str, newest: bool) -> None:
        step, loss = int(state[1]["step"]), state[1].get("validation_loss")
        path = self.folder / BEST if reason == AS_BEST else at(self.folder, step)
        saved = Saved(step, path, reason)
        try:
            atomic.make_folder(self.folder)
            self.journal.sync()
            if newest:
                for later in [old for old in listed(self.folder) if old.name > path.name]:
                    later.unlink(missing_ok=True)
            seen = state[1].get("looked") == step and "evaluation" not in state[1].get("due", [])  # these very weights
            better = seen and loss is not None and isfinite(loss) and (self.best is None or loss < self.best)
            begun = time.monotonic()
            if reason != AS_BEST or better:
                checkpoint.write(path, *state)
            if reason == AS_BEST:
                self.for_the_best += time.monotonic() - begun
            if better:
                if reason != AS_BEST:
                    self._mark(path, state)
                self.best = loss
            for old in listed(self.folder)[self.keep:]:
                old.unlink(missing_ok=True)
        except (OSError, BabyError) as error:
            saved.error = atomic.explain(error, path) if isinstance(error, OSError) else error
            self._failed = state, reason, newest
        except Exception as error:  # a thread has nobody to raise it to
            saved.error = error
        self._done.append(saved)

    def _mark(self, path: Path, state: State) -> None:
        """Make this one the best: a second name of the same file, or a copy where the disk knows no such thing."""
        link = self.folder / f".{BEST}.{os.urandom(6).hex()}.tmp"
        try:
            os.link(path, link)
        except OSError:
            checkpoint.write(self.folder / BEST, *state)
            return
        try:
            os.replace(link, self.folder / BEST)
            atomic.sync_folder(self.folder)
        finally:
            link.unlink(missing_ok=True)  # a rename onto another name of the same file leaves both

    def thin(self) -> None:
        """The run is finished and will not go on: give up all but the last and the best, unless more than USUAL were
        asked for, to look back at."""
        self.wait()
        for old in listed(self.folder)[1 if self.keep <= USUAL else self.keep:]:
            with suppress(OSError):
                old.unlink()

    # Reading ----------------------------------------------------------------------------------------------------------

    def load(self, before: int | None = None) -> Iterator[State | BabyError]:
        """The states that are whole, the newest first and last the best, read as they are asked for; an error for each
        that is not.

        before: only of earlier steps.
        """
        self.wait()
        for path in [*listed(self.folder), self.folder / BEST]:
            if before is not None and path.name != BEST and path.name >= at(self.folder, before).name:
                continue
            try:
                arrays, meta = checkpoint.read(path)
                states.check(arrays, meta, path.name)
            except NotFound:
                continue
            except (FormatError, StoreError) as error:
                yield error
            else:
                if before is None or meta.get("step", before) < before:
                    yield arrays, meta

    def recall(self) -> None:
        """What a process has to know that goes on after another one; clears away what that one left half-written.

        Only for the holder of the run's lock.
        """
        for debris in self.folder.glob(".*.tmp"):
            with suppress(OSError):
                debris.unlink()
        with suppress(BabyError):
            loss = checkpoint.read(self.folder / BEST)[1].get("validation_loss")
            self.best = float(loss) if isinstance(loss, (int, float)) else None
