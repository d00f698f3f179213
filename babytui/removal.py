"""Stopping what is at work, so that it can be deleted. Imports no arrays."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from babytui.bakeoff import BakeOff
from babytui.runs import Run
from engine.errors import RunError
from engine.events import Alarm
from store.lock import Lock
from store.repair import suspended

LONGEST = 600.0  # seconds to wait for a process to end
_ROUND = 0.5
_AGAIN = 3.0  # seconds until one that waits for its disk is asked once more


def halt(work: Run | BakeOff, wanted: Callable[[], bool] = lambda: True) -> None:
    """Stop it if it is at work, and return when its process has ended. RunError when it does not end, or when `wanted`
    (looked at twice a second) says that nobody waits any more.

    A run that cannot save its model, because its disk is full, gives it up: it is about to be deleted.
    """
    begun = time.monotonic()
    asked = None
    while work.alive:
        owner = Lock.owner(work.dir / "lock")
        now = time.monotonic()
        if owner is not None and suspended(owner):
            raise RunError(f"{work.name} cannot stop: its process is suspended; `kill -CONT {owner}` lets it go on.")
        if now - begun > LONGEST:
            raise RunError(f"{work.name} has not stopped within {LONGEST / 60:.0f} minutes; delete it when it has.")
        if not wanted():
            raise RunError(f"{work.name} was asked to stop, but nobody waited for it; it is not deleted.")
        if asked is None or (now - asked > _AGAIN and _waits_for_disk(work)):
            asked = now
            with suppress(RunError):  # it has just ended
                if isinstance(work, Run):
                    work.command("stop")
                else:
                    work.stop()
        work.wait(_ROUND)


def _waits_for_disk(work: Run | BakeOff) -> bool:
    runs = [work] if isinstance(work, Run) else [Run(work.workspace, guid) for guid in work.run_guids()]
    return any(run.alive and (run.disk_is_full or any(isinstance(event, Alarm) and event.name == "disk"
                                                      for event in run.last_events(3))) for run in runs)
