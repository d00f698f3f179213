"""Start, watch, pause, stop, resume, attach: the only door to a training process.

A run is a folder, runs/<GUID>/, and while it is alive a process that holds the lock in it:

    plan.json       what was asked for; only its name may change
    events.jsonl    the journal: every event, appended by the worker
    control.jsonl   commands, appended by any number of faces
    checkpoints/    the last states
    worker.log      what the process printed, with tracebacks
    lock            held by the worker as long as it lives

Imports no arrays, except inside `start`. What is fine-tuned is worked out in babytui.finetuning, and begun here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from babytui.process import Work, last_words, listed, past, spawn
from babytui.workspace_choice import existing
from engine.config import Config
from engine.errors import FormatError, NotFound, RunError, UsageError
from engine.events import Control, End, Event, Start, Step
from engine.events import parse as parse_event
from store import atomic, journal
from store.lock import Lock
from store.names import FINETUNED, check_name
from store.workspace import Workspace, new_guid

COMMANDS = ("pause", "resume", "stop", "checkpoint", "learning_rate")
SHIPPED = "baby"  # the name of the model that comes with the package
LIVE = ("starting", "running", "paused")
OVER = ("finished", "stopped", "failed", "died")
_BEGIN = 3.0  # seconds that `start` waits for a worker that is reading its text


@dataclass(frozen=True)
class Run(Work):
    """One training run, alive or over. Its plan: config, texts, notes, dataset, …, and base when it is fine-tuned."""

    @property
    def dir(self) -> Path:
        """The run's folder."""
        return self.workspace.run_dir(self.guid)

    @property
    def journal(self) -> Path:
        return self.dir / "events.jsonl"

    @property
    def verb(self) -> str:
        """The command that started it."""
        return "finetune" if self.guid.endswith(FINETUNED) else "train"

    @property
    def base_name(self) -> str:
        """The name of the model that it fine-tunes; empty for one that begins from nothing."""
        base = self.plan.get("base")
        return str(base.get("name") or "") if isinstance(base, dict) else ""

    def status(self) -> str:
        """starting, running, paused; or finished, stopped, failed, died. Derived from the lock and the last events."""
        alive = self.alive
        last = self.last_events()
        if not alive:
            if last and isinstance(last[-1], End):
                reason = last[-1].reason
                return reason if reason in ("stopped", "failed") else "finished"
            return "starting" if self.young and not last and not (self.dir / "worker.log").exists() else "died"
        for event in reversed(last):
            if isinstance(event, End):
                break  # of the time before it was resumed
            if isinstance(event, Control) and event.command in ("pause", "resume"):
                return "paused" if event.command == "pause" else "running"
            if isinstance(event, (Start, Step)):
                return "running"
        return "starting"

    def last_events(self, count: int = 20) -> list[Event]:
        """The last events, oldest first, without reading the whole journal."""
        return self.tail(count)[0]

    def tail(self, count: int) -> tuple[list[Event], int]:
        """The last events, and the journal offset to go on from: how to attach to a long run quickly."""
        lines, offset = journal.tail_with_offset(self.journal, count)
        return _parse(lines), offset

    def events(self, offset: int = 0, limit: int | None = None) -> tuple[list[Event], int]:
        """Events after a journal offset (about `limit` bytes of them at most), and the offset to go on from."""
        lines, offset = journal.read(self.journal, offset, limit)
        return _parse(lines), offset

    def follow(self, offset: int = 0, *, poll: float = 0.1) -> Iterator[Event]:
        """Every event after `offset` as it comes, until the run is over. Ends without an End when its process died."""
        while True:
            alive = self.alive
            before = offset
            found, offset = self.events(offset, 1 << 20)
            yield from found
            if offset == before:
                if not alive:
                    return
                time.sleep(poll)

    def __iter__(self) -> Iterator[Event]:
        return self.follow()

    def command(self, name: str, value: float | None = None) -> None:
        """Ask a live run to pause, resume, stop, checkpoint or change its learning_rate (to `value`).

        Returns at once; the run answers with a Control event after the step it is in. RunError when it is over.
        """
        if name not in COMMANDS:
            raise UsageError(f"A run knows no command '{name}'; use one of {', '.join(COMMANDS)}.")
        if name == "learning_rate" and not (isinstance(value, (int, float)) and 0 <= value <= 10):
            raise UsageError(f"A learning rate is a number from 0 to 10, not {value!r}.")
        if not self.alive:
            raise RunError(f"{self.name} is not running (it {past(self.status())}); start another with babytui "
                           f"{self.verb}.")
        line = orjson.dumps({"command": name, "value": value, "time": time.time()}) + b"\n"
        try:
            descriptor = os.open(self.dir / "control.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                whole = os.write(descriptor, line) == len(line)  # one write: several faces never interleave
            finally:
                os.close(descriptor)
            if not whole:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            owner = Lock.owner(self.dir / "lock")
            if name != "stop" or owner is None:
                raise atomic.explain(error, self.dir / "control.jsonl") from error
            os.kill(owner, signal.SIGTERM)  # a full disk must not keep anybody from stopping a run

    @property
    def disk_is_full(self) -> bool:
        """Whether the disk has no room for the journal: nothing can be heard of the run until it has."""
        try:
            return shutil.disk_usage(self.dir).free < 1 << 16
        except OSError:
            return True

    def wait_for(self, *statuses: str, timeout: float = 5.0) -> str:
        """The status, as soon as it is one of `statuses` or after `timeout` seconds."""
        end = time.monotonic() + timeout
        while (status := self.status()) not in statuses and time.monotonic() < end:
            time.sleep(0.03)
        return status

    def resume(self) -> Run:
        """Let a paused run go on, or continue a stopped, failed or dead one from its last checkpoint."""
        status = self.status()
        if status == "paused":
            self.command("resume")
        elif status == "finished":
            raise RunError(f"{self.name} is finished; there is nothing left to continue.")
        elif status in OVER:
            if not list((self.dir / "checkpoints").glob("*.safetensors")):
                raise RunError(f"{self.name} {past(status)} before its first checkpoint; start it again with babytui "
                               f"{self.verb}.")
            self._launch(resume=True)
        return self

    def _launch(self, *, resume: bool = False) -> None:
        """Start the worker and wait until it has begun: until its Start, or _BEGIN seconds with the lock for a long
        text.

        RunError, with the worker's own sentence if it left one, when it ended before that.
        """
        control = self.dir / "control.jsonl"
        seen = control.stat().st_size if control.exists() else 0
        before = self.journal.stat().st_size if self.journal.exists() else 0
        printed = self.dir / "worker.log"
        child = spawn(["worker", self.guid, "--workspace", str(self.workspace.root), "--control", str(seen),
                       *(["--resume"] if resume else [])], printed)
        end = None
        while end is None or time.monotonic() < end:
            over = child.poll() is not None  # looked at before the journal, which it finishes first
            if end is None and self.alive:
                end = time.monotonic() + _BEGIN
            found, _ = self.events(before)
            if any(isinstance(event, Start) for event in found):
                return
            if over:
                said = found[-1].message if found and isinstance(found[-1], End) else ""
                raise RunError(said or
                               f"The training process ended at once; its last words were: {last_words(printed)}")
            time.sleep(0.01)


def start(workspace: Workspace, config: Config, texts: Sequence[str | os.PathLike[str]] = (), *,
          name: str | None = None, prompt: str = "", time_budget: float | None = None,
          steps: int | None = None) -> Run:
    """Begin a run in its own process and return when it has begun.

    texts: paths, or names of texts in the workspace or shipped ones; none: what `texts.default` finds.
    time_budget: seconds of training. steps: overrides n_steps. Everything that can be wrong with configuration and
    texts is a ConfigError, TextError or NotFound raised here, before anything is written.
    """
    from babytui import texts as find

    if steps:
        config = config.replace(n_steps=steps)
    config.validate()
    paths = find.find(workspace, texts)
    text = find.read(paths)
    vocab_size, dataset = find.check(config, text, prompt), find.dataset(paths)
    return begin(workspace, config, vocab_size, {
        "name": choose_name(workspace, name, dataset), "texts": [str(path) for path in paths],
        "notes": list(text.notes), "dataset": dataset, "prompt": prompt, "time_budget": time_budget})


def begin(workspace: Workspace, config: Config, vocab_size: int, plan: dict[str, Any], guid: str | None = None) -> Run:
    """Write the plan of a run (what `Run.plan` tells but guid, created and config) and start its worker.

    guid: None or one that is taken makes a new one, with the same suffix. RunError, and then nothing is left of it.
    """
    need_room(workspace, config, vocab_size)
    workspace.ensure()
    plan = {"config": config.to_dict(), **plan}
    run = Run(workspace, guid or new_guid())
    if not run.begin(plan):  # somebody began another at this moment
        run = Run(workspace, new_guid() + (FINETUNED if run.guid.endswith(FINETUNED) else ""))
        run.begin(plan)
    return run


def all_runs(workspace: Workspace) -> list[Run]:
    """Every run in the workspace, newest first."""
    return listed(workspace.runs, lambda guid: Run(workspace, guid))


def find(workspace: Workspace, reference: str) -> Run:
    """The run with this GUID, start of a GUID or name; "last" is the newest that is alive, else the newest."""
    if reference == "last":
        runs = all_runs(workspace)
        if not runs:
            raise NotFound(f"There are no runs in {workspace.root}; start one with babytui train.")
        return next((run for run in runs if run.alive), runs[0])
    run = Run(workspace, workspace.resolve(reference))
    if not (run.dir / "plan.json").is_file():
        raise NotFound(f"{reference} is a model without a run folder; babytui runs lists the runs there are.")
    return run


def need_room(workspace: Workspace, config: Config, vocab_size: int) -> None:
    """RunError when the disk cannot hold the model and its checkpoints: better now than after the training."""
    from engine.estimate import estimate

    cost = estimate(config, vocab_size=vocab_size)
    # a checkpoint holds weights and two moments; two are kept while a third is written
    need = cost.model_file_bytes + 3 * 3 * cost.parameters * (8 if config.d_type == "fp64" else 4)
    free = shutil.disk_usage(existing(workspace.root)).free
    if free < need:
        raise RunError(f"The disk of {workspace.root} has {free / 1e6:,.1f} MB free, but this model and its "
                       f"checkpoints need about {need / 1e6:,.1f} MB; free some space or use another --workspace.")


def _parse(lines: list[dict[str, Any]]) -> list[Event]:
    found = []
    for line in lines:
        with contextlib.suppress(FormatError):
            found.append(parse_event(line))
    return found


def choose_name(workspace: Workspace, wish: str | None, otherwise: str) -> str:
    """A checked name that is free: the one wished for, else `otherwise` with the first free number. UsageError."""
    taken = {entry.name for entry in workspace.entries()}
    if wish is not None and (wish := check_name(wish)):
        if wish.lower() == SHIPPED:
            raise UsageError(f"The name '{wish}' is that of the model that ships; choose another.")
        if wish in taken:
            raise UsageError(f"There is a model called '{wish}' already; choose another name.")
        return wish
    base = "".join(c if c.isprintable() and c not in "/\\" else "-" for c in otherwise)[:48].lstrip(".-") or "text"
    number = 1
    while (name := base if number == 1 else f"{base}-{number}") in taken or name.lower() in ("last", SHIPPED):
        number += 1
    return name
