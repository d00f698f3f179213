"""Work that has a process of its own: what its folder tells everybody, how it is started, and how that process begins.

    plan.json   what was asked for
    lock        held by the process as long as it lives, and before that by the one that starts it

Runs and bake-offs are such work. Imports no arrays.
"""

from __future__ import annotations

import argparse
import errno
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

from babytui.blas import THREADS
from engine.errors import BabyError, RunError
from store import atomic, plans
from store.lock import Lock
from store.names import short, valid_guid
from store.reading import open_regular, open_to_append
from store.workspace import Workspace

NEW = ".new-"  # how the folder of something that has not begun yet is called
NICENESS = 5
LOOK_SECONDS = 0.5  # how often a process looks whether its lock is still its own
_LOG = 1 << 40  # bytes of a log, of which the end is read
_children: list[subprocess.Popen[bytes]] = []  # kept so that finished ones are reaped


class Displaced(BabyError):
    """Another process does the work: its lock was taken away and given to that one."""


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

    def wait(self, timeout: float | None = None) -> str:
        """The status when its process has ended, or after `timeout` seconds."""
        end = time.monotonic() + timeout if timeout is not None else None
        while self.alive and (end is None or time.monotonic() < end):
            time.sleep(0.05)
        return self.status()

    def begin(self, plan: Mapping[str, Any]) -> bool:
        """Make its folder, write its plan (guid and created are added) and start its process. False when its folder is
        there already. RunError, and then nothing is left of it.

        The folder appears under its name with the plan and the lock in it, which the process then inherits: there is
        no moment at which it looks abandoned.
        """
        new, begun = self.dir.with_name(NEW + os.urandom(6).hex()), False
        lock = Lock(new / "lock")
        try:
            atomic.make_folder(self.dir.parent, 0o700)
            new.mkdir(mode=0o700)
            lock.acquire(sign=False)
            atomic.write_json(new / "plan.json", {"guid": self.guid, "created": time.time(), **plan})
            os.rename(new, self.dir)  # fails where something is
            begun = True
            atomic.sync_folder(self.dir.parent)
            lock.path = self.dir / "lock"
            self._launch(lock)
        except (BabyError, OSError) as error:
            lock.release()
            if not (begun and Lock.held(self.dir / "lock")):  # else its process has it, which may have begun
                shutil.rmtree(self.dir if begun else new, ignore_errors=True)  # nothing was done yet
            if not isinstance(error, OSError):
                raise
            if not begun and error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                return False
            raise atomic.explain(error, self.dir, "created") from error
        finally:
            lock.release()
        return True

    def take_up(self, *words: str) -> bool:
        """Start its process again, with `words` on its command line. False when somebody else has just done so, or
        deletes it. RunError."""
        lock = Lock(self.dir / "lock")
        if not lock.acquire(sign=False):
            return False
        try:
            self._launch(lock, *words)
        finally:
            lock.release()
        return True

    @abstractmethod
    def _launch(self, lock: Lock, *words: str) -> None:
        """Start its process with the lock that is held, and wait until it has begun. RunError."""


W = TypeVar("W", bound=Work)


def listed(folder: Path, work: Callable[[str], W]) -> list[W]:
    """What has a plan in this folder, newest first. work: makes it of its GUID."""
    try:
        found = [path for path in folder.iterdir() if valid_guid(path.name) and not path.is_symlink()
                 and (path / plans.NAME).is_file()]
    except OSError:
        return []
    return [work(path.name) for path in sorted(found, key=lambda path: _created(_plan(path)), reverse=True)]


def _plan(folder: Path) -> dict[str, Any]:
    try:
        return plans.read(folder / plans.NAME)
    except BabyError:
        return {}


def _created(plan: Mapping[str, Any]) -> float:
    return float(plan.get("created", 0.0))


def past(status: str) -> str:
    """A status as a verb: what became of it."""
    words = {"finished": "is finished", "stopped": "was stopped", "failed": "failed", "died": "died"}
    return words.get(status, "is " + status)


# --- starting it ------------------------------------------------------------------------------------------------------

def spawn(words: Sequence[str], work: Work, log: Path, lock: Lock) -> subprocess.Popen[bytes]:
    """Start `python -m babytui WORDS` for a work, as a session of its own that outlives this one, printing to `log`,
    and hand the work's lock over to it. RunError."""
    # -P: a folder called inputs/ or store/ where the user stands must not be taken for ours
    command = [sys.executable, "-P", "-m", "babytui", *words, work.guid, "--workspace", str(work.workspace.root),
               "--lock", str(lock.descriptor)]
    _children[:] = [child for child in _children if child.poll() is None]
    try:
        printed = open_to_append(log)
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=printed, stderr=printed, cwd="/",
                                     start_new_session=True, env=environment(), pass_fds=(lock.descriptor,))
        finally:
            os.close(printed)
    except OSError as error:
        raise RunError(f"The training process cannot be started: {error.strerror or error}.") from None
    lock.release()
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
    lines: list[str] = []
    with suppress(OSError, BabyError), open_regular(log, _LOG)[0] as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - (1 << 16)))
        lines = file.read(1 << 16).decode(errors="replace").strip().splitlines()
    return lines[-1][:1000] if lines else "(nothing)"


# --- in the process ---------------------------------------------------------------------------------------------------

def parser(verb: str) -> argparse.ArgumentParser:
    """Of the words that it is started with: VERB GUID --workspace PATH --lock N; more may be added."""
    found = argparse.ArgumentParser(prog=f"babytui {verb}", allow_abbrev=False)
    found.add_argument("guid")
    found.add_argument("--workspace", required=True)
    found.add_argument("--lock", type=int, default=-1)
    return found


class Hold:
    """The lock that a process has, None for none: `look` sees to it now and then that it is still its own."""

    def __init__(self, lock: Lock | None):
        self._lock, self._looked = lock, time.monotonic()

    def look(self) -> None:
        """Displaced when another process has it. Costs nothing when it was looked a moment ago."""
        if self._lock is None or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if not self._lock.keep():
            raise Displaced(f"{self._lock.path} was replaced, and another process has it; this one ends and writes "
                            "nothing more.")


def hold(work: Work, descriptor: int, do: Callable[[Lock], int], *, goes_on: bool = False) -> int:
    """The exit code of `do`, which gets the lock of `work`, done with it and behind what people do here; 1 when another
    process has the lock. descriptor: of the lock that was handed over; negative: none was. goes_on: the process does,
    and gives the lock back; otherwise it is held until the process is gone, as work is alive while anything of it is.
    """
    lock = Lock(work.dir / "lock")
    if not (lock.adopt(descriptor) if descriptor >= 0 else lock.acquire()):
        print(f"{work.guid} is worked on by another process already.", file=sys.stderr)
        return 1
    with suppress(OSError):
        os.nice(NICENESS)
    with suppress(OSError):
        os.chmod(work.dir, 0o700)  # one that came in an archive may be open to others, who could steer it
    try:
        return do(lock)
    except BabyError as error:  # before it could tell its journal
        print(error, file=sys.stderr)
        return 1
    finally:
        if goes_on:
            lock.release()


def heed(stop: Callable[..., None]) -> None:
    """Outlive the terminal, and call `stop` on SIGTERM and SIGINT."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
