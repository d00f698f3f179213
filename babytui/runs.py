"""Start, watch, pause, stop, resume, attach: the only door to a training process.

A run is a folder, runs/<GUID>/, and while it is alive a process that holds the lock in it:

    plan.json       what was asked for; only its name may change
    events.jsonl    the journal: every event, appended by the worker
    control.jsonl   commands, appended by any number of faces
    checkpoints/    the last states, and the best
    worker.log      what the process printed, with tracebacks
    lock            held by the worker as long as it lives, and before that by the process that starts it
    text.txt        the text, while the run may go on and unless it is very long
    reserve         room on the disk, given up when it is full so that the run can still say so

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

from babytui import ranks
from babytui.process import Work, last_words, listed, past, spawn
from babytui.workspace_choice import existing
from engine.config import Config
from engine.errors import BabyError, FormatError, NotFound, RunError, UsageError
from engine.events import Control, End, Event, Start, Step
from engine.events import parse as parse_event
from store import atomic, journal, trash
from store.lock import Lock
from store.names import FINETUNED, SHIPPED, check_name
from store.reading import memory
from store.workspace import Workspace, check_free, new_guid

COMMANDS = ("pause", "resume", "stop", "checkpoint", "learning_rate")
LIVE = ("starting", "running", "paused")
OVER = ("finished", "stopped", "failed", "died")
_LONG_TAIL = 5000  # events
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
        alive = self.alive  # looked at before the journal, which its process finishes first
        last = self.last_events()
        if not alive:
            if last and isinstance(last[-1], End):
                reason = last[-1].reason
                return reason if reason in ("stopped", "failed") else "finished"
            return "died"
        if Lock.owner(self.dir / "lock") is None:
            return "starting"  # its process has not taken over yet
        for count in (len(last), _LONG_TAIL):  # somebody may have sent a paused run many commands
            for event in reversed(last if count == len(last) else self.last_events(count)):
                if isinstance(event, End):
                    return "starting"  # that was before it was resumed
                if isinstance(event, Control) and event.command in ("pause", "resume"):
                    return "paused" if event.command == "pause" else "running"
                if isinstance(event, (Start, Step)):
                    return "running"
        return "starting"

    def last_events(self, count: int = 20) -> list[Event]:
        """The last events, oldest first, without reading the whole journal; none when it cannot be read, so that one
        broken run hides no other."""
        try:
            return self.tail(count)[0]
        except BabyError:
            return []

    def tail(self, count: int) -> tuple[list[Event], int]:
        """The last events, and the journal offset to go on from: how to attach to a long run quickly."""
        lines, offset = journal.tail_with_offset(self.journal, count)
        return _parse(lines), offset

    def events(self, offset: int = 0, limit: int | None = None, *, every: int = 1) -> tuple[list[Event], int]:
        """Events after a journal offset (about `limit` bytes of them at most), and the offset to go on from. every: of
        the steps only multiples of it, which is much quicker."""
        lines, offset = journal.read(self.journal, offset, limit, every)
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
        if not self.dir.is_dir():
            raise RunError(f"{self.short} is not there any more; `babytui trash` shows what was deleted.")
        if not self.alive:
            raise RunError(f"{self.name} is not running (it {past(self.status())}); start another with babytui "
                           f"{self.verb}.")
        try:
            journal.append(self.dir / "control.jsonl", {"command": name, "value": value, "time": time.time()})
        except atomic.StoreError:
            owner = Lock.owner(self.dir / "lock")
            if name != "stop" or owner is None:
                raise
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
        """Let a paused run go on, or continue a stopped, failed or dead one: from its last checkpoint that is whole, or
        from the beginning when there is none, to the same end. RunError when it is finished."""
        status = self.status()
        if status == "paused":
            self.command("resume")
        elif status == "finished":
            raise RunError(f"{self.name} is finished; there is nothing left to continue.")
        elif status in OVER:
            if self.take_up("--resume"):
                return self
            if not self.dir.is_dir():
                raise RunError(f"{self.name} is being deleted.")
        return self

    def _launch(self, lock: Lock, *words: str) -> None:
        """Start the worker and wait until it has begun: until its Start, or _BEGIN seconds for a long text.

        RunError, with the worker's own sentence if it left one, when it ended before that.
        """
        control = self.dir / "control.jsonl"
        seen = journal.end(control)
        before = journal.tail_with_offset(self.journal, 1)[1]  # a torn line after it will be cut off
        if ranks.leading():  # the run is this process
            ranks.take(self, lock, seen, before, "--resume" in words)
            return
        printed = self.dir / "worker.log"
        child = spawn(["worker", *words, "--control", str(seen)], self, printed, lock)
        end = time.monotonic() + _BEGIN
        while time.monotonic() < end:
            over = child.poll() is not None  # looked at before the journal, which it finishes first
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
    ranks.check(config, vocab_size, plan.get("adaptation"))
    need_room(workspace, config, vocab_size)
    if not plan.get("base"):  # of which not everything may be trained
        need_memory(config, vocab_size)
    workspace.ensure()
    trash.prepare(workspace.root)
    for kind in ("config", "tokenizer", "model", "report"):  # a folder that leads out is found before the training
        workspace.path(kind, guid or new_guid())
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
    """StoreError when the disk cannot hold the model and its checkpoints: better now than after the training."""
    from engine.estimate import estimate

    cost = estimate(config, vocab_size=vocab_size)
    # a checkpoint holds weights and two moments; the last ones and the best are kept while another is written
    number = 8 if config.d_type == "fp64" else 4
    need = cost.model_file_bytes + 3 * (config.n_checkpoints + 2) * cost.parameters * number
    free = shutil.disk_usage(existing(workspace.root)).free
    if free < need:
        raise atomic.StoreError(f"The disk of {workspace.root} has {free / 1e6:,.1f} MB free, but this model and its "
                       f"checkpoints need about {need / 1e6:,.1f} MB; free some space or use another --workspace.",
                         workspace.root, errno.ENOSPC)


def need_memory(config: Config, vocab_size: int, adaptation: Any = None) -> None:
    """RunError when training would take more than twice the memory that the machine has: it would end in swapping, or
    be killed without a word; or more than twice that of the GPU. adaptation: engine.adaptation.Adaptation of a
    fine-tuning run."""
    from engine import device
    from engine.estimate import estimate, smaller

    need = estimate(config, vocab_size=vocab_size, adaptation=adaptation).training_bytes
    if config.c_device == "cpu":
        there, what, advice = memory(), "this machine", "lower batch_size, n_ctx or n_emb"
    elif gpu := device.memory(config.c_device_gpu_core):
        there, what, advice = gpu[1], "the GPU", smaller(config, gpu[1], vocab_size, adaptation)
    else:
        return
    if need > 2 * there:
        raise RunError(f"Training needs about {need / 2**30:,.0f} GiB of memory, but {what} has {there / 2**30:,.0f} "
                       f"GiB; {advice}.")


def _parse(lines: list[dict[str, Any]]) -> list[Event]:
    found = []
    for line in lines:
        with contextlib.suppress(FormatError):
            found.append(parse_event(line))
    return found


def choose_name(workspace: Workspace, wish: str | None, otherwise: str) -> str:
    """A checked name that is free: the one wished for, else `otherwise` with the first free number. UsageError."""
    entries = workspace.entries()
    if wish is not None and (wish := check_name(wish)):
        check_free(wish, entries)
        return wish
    taken = {entry.name.casefold() for entry in entries}
    base = "".join(c if c.isprintable() and c not in "/\\" else "-" for c in otherwise)[:48].lstrip(".-") or "text"
    number = 1
    while (name := base if number == 1 else f"{base}-{number}").casefold() in taken | {"last", SHIPPED}:
        number += 1
    return name
