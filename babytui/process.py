"""Work that has a process of its own: what its folder tells everybody, how it is started, and how that process begins.

    plan.json   what was asked for
    lock        held by the process as long as it lives

Runs and bake-offs are such work. Imports no arrays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from babytui.blas import THREADS
from engine.errors import BabyError, RunError
from store import atomic
from store.lock import Lock
from store.names import short, valid_guid
from store.workspace import Workspace

GRACE = 10.0  # seconds a new process has to take its lock
NICENESS = 5
_children: list[subprocess.Popen[bytes]] = []  # kept so that finished ones are reaped


@dataclass(frozen=True)
class Work(ABC):
    """Something that a process does or did."""

    workspace: Workspace
    guid: str

    @property
    @abstractmethod
    def dir(self) -> Path:
        """Its folder."""

    @abstractmethod
    def status(self) -> str:
        """How it stands, in a word."""

    @property
    def plan(self) -> dict[str, Any]:
        """What was asked for: guid, created, name and more; {} if unreadable."""
        return _plan(self.dir)

    @property
    def name(self) -> str:
        """Its name, or the start of its GUID."""
        return str(self.plan.get("name") or self.short)

    @property
    def short(self) -> str:
        """The start of its GUID, as commands take it."""
        return short(self.guid)

    @property
    def created(self) -> float:
        """When it was started, in Unix seconds; 0 if that cannot be read."""
        return _created(self.plan)

    @property
    def alive(self) -> bool:
        """Whether its process holds its lock."""
        return Lock.held(self.dir / "lock")

    @property
    def young(self) -> bool:
        """Whether it was started so lately that its process may not have its lock yet."""
        return time.time() - self.created < GRACE

    def wait(self, timeout: float | None = None) -> str:
        """The status when its process has ended, or after `timeout` seconds."""
        end = time.monotonic() + timeout if timeout is not None else None
        while self.alive and (end is None or time.monotonic() < end):
            time.sleep(0.05)
        return self.status()

    def begin(self, plan: Mapping[str, Any]) -> bool:
        """Make its folder, write its plan (guid and created are added) and start its process. False when its folder is
        there already. RunError, and then nothing is left of it."""
        try:
            self.dir.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            return False
        except OSError as error:
            raise RunError(f"{self.dir} cannot be written: {error.strerror}.") from None
        try:
            atomic.write_json(self.dir / "plan.json", {"guid": self.guid, "created": time.time(), **plan})
            self._launch()
        except BabyError:
            shutil.rmtree(self.dir, ignore_errors=True)  # nothing was done yet
            raise
        return True

    @abstractmethod
    def _launch(self) -> None:
        """Start its process and wait until it has begun. RunError."""


W = TypeVar("W", bound=Work)


def listed(folder: Path, work: Callable[[str], W]) -> list[W]:
    """What has a plan in this folder, newest first. work: makes it of its GUID."""
    try:
        found = [path for path in folder.iterdir() if valid_guid(path.name) and (path / "plan.json").is_file()]
    except OSError:
        return []
    return [work(path.name) for path in sorted(found, key=lambda path: _created(_plan(path)), reverse=True)]


def _plan(folder: Path) -> dict[str, Any]:
    try:
        plan = orjson.loads((folder / "plan.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return plan if isinstance(plan, dict) else {}


def _created(plan: Mapping[str, Any]) -> float:
    created = plan.get("created")
    return float(created) if isinstance(created, (int, float)) else 0.0


def past(status: str) -> str:
    """A status as a verb: what became of it."""
    words = {"finished": "is finished", "stopped": "was stopped", "failed": "failed", "died": "died"}
    return words.get(status, "is " + status)


# --- starting it ------------------------------------------------------------------------------------------------------

def spawn(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `python -m babytui WORDS` as a session of its own that outlives this one, printing to `log`. RunError."""
    # -P: a folder called inputs/ or store/ where the user stands must not be taken for ours
    command = [sys.executable, "-P", "-m", "babytui", *words]
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        with open(log, "ab") as printed:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed,
                                     start_new_session=True, cwd="/", env=environment())
    except OSError as error:
        raise RunError(f"The training process cannot be started: {error.strerror or error}.") from None
    _children.append(child)
    return child


def environment() -> dict[str, str]:
    """The environment of such a process: this package importable, and one BLAS thread."""
    found = dict(os.environ)
    home = str(Path(__file__).resolve().parent.parent)
    found["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [found.get("PYTHONPATH")])])
    return {**found, **dict.fromkeys(THREADS, "1")}  # the trainer spreads lanes over processes, not threads


def last_words(log: Path) -> str:
    """The last line that a process printed."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "(nothing)"


# --- in the process ---------------------------------------------------------------------------------------------------

def parser(verb: str) -> argparse.ArgumentParser:
    """Of the words that it is started with: VERB GUID --workspace PATH; more may be added."""
    found = argparse.ArgumentParser(prog=f"babytui {verb}", allow_abbrev=False)
    found.add_argument("guid")
    found.add_argument("--workspace", required=True)
    return found


def hold(work: Work, do: Callable[[], int]) -> int:
    """The exit code of `do`, done with the lock of `work` and behind what people do here; 1 when another process has
    the lock."""
    lock = Lock(work.dir / "lock")
    if not lock.acquire():
        print(f"{work.guid} is worked on by another process already.", file=sys.stderr)
        return 1
    with suppress(OSError):
        os.nice(NICENESS)
    return do()


def heed(stop: Callable[..., None]) -> None:
    """Outlive the terminal, and call `stop` on SIGTERM and SIGINT."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
