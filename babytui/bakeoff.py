"""Bake-offs: many architectures trained for the same budget on the same text and seed, then measured.

A bake-off is a folder, bakeoffs/<GUID>/, and while it is at work a process that holds the lock in it:

    plan.json       what was asked for; never changes
    log.jsonl       what the conductor did: begin, which run trains what, end
    results.jsonl   a line for every architecture that is done, well or not
    stop            there while somebody waits for it to stop
    conductor.log   what the process printed, with tracebacks
    lock            held by the conductor as long as it lives

The runs it starts and the models they make are ordinary ones. babytui.bakeoff_draft begins one. Imports no arrays.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from babytui import bakeoff_table
from babytui.process import Work, last_words, listed, past, spawn
from engine import processor
from engine.config import Config, shown
from engine.errors import FormatError, NotFound, RunError
from store import atomic, journal, trash
from store.lock import Lock
from store.names import inside, valid_guid
from store.reading import open_to_append
from store.trash import Deleted
from store.workspace import Entry, Workspace

MOST_STEPS = 10**9  # of a run that ends with its time


class Architecture(NamedTuple):
    """One of those that compete."""

    attention: str
    network: str
    sequence: str = "pre"

    @property
    def label(self) -> str:
        """mha·mlp, or mha·mlp post."""
        return bakeoff_table.label(*self)

    def of(self, config: Config) -> Config:
        """The configuration with this architecture."""
        return config.replace(c_attention=self.attention, c_network=self.network, c_sequence=self.sequence)


@dataclass(frozen=True)
class Budget:
    """What every architecture may spend. kind: steps, tokens or seconds (of training)."""

    kind: str
    amount: float

    def steps(self, config: Config) -> int:
        """The n_steps of a run; more than can be done when its time decides."""
        if self.kind == "seconds":
            return MOST_STEPS
        each = 1 if self.kind == "steps" else config.batch_size * config.n_ctx
        return max(1, -(-int(self.amount) // each))

    @property
    def seconds(self) -> float | None:
        return self.amount if self.kind == "seconds" else None

    def __str__(self) -> str:
        return f"{self.amount:,.0f} {self.kind}" if self.kind != "seconds" else f"{self.amount:g} seconds"


def config_of(base: Config, one: Architecture, budget: Budget, jobs: int = 1) -> Config:
    """The configuration that an architecture is trained with; several at once share the cores."""
    config = one.of(base).replace(n_steps=budget.steps(base))
    if jobs > 1 and config.c_device == "cpu":
        share = max(1, processor.cores() // jobs)
        config = config.replace(c_device_cpu_cores=min(config.c_device_cpu_cores or share, share))
    return config


@dataclass(frozen=True)
class BakeOff(Work):
    """One bake-off, at work or over. Its plan: architectures, config, texts, dataset, budget, seed, jobs, machine."""

    @property
    def dir(self) -> Path:
        """Its folder."""
        place = folder(self.workspace) / self.guid
        if not inside(place, self.workspace.root):
            raise FormatError(f"{atomic.shown_path(place)} is a link that leads out of the workspace; it is not "
                              "followed.")
        return place

    @property
    def results(self) -> Path:
        return self.dir / "results.jsonl"

    @property
    def log(self) -> Path:
        return self.dir / "log.jsonl"

    @property
    def architectures(self) -> list[Architecture]:
        """Those that compete, in the order they are trained. RunError when the plan cannot be read."""
        try:
            return [Architecture(*map(str, names)) for names in self.plan["architectures"]]
        except (KeyError, TypeError):
            raise self._unreadable() from None

    def _unreadable(self) -> RunError:
        return RunError(f"{self.dir / 'plan.json'} cannot be read; delete its folder and start another bake-off.")

    @property
    def budget(self) -> Budget:
        """What every architecture may spend."""
        try:
            ((kind, amount),) = self.plan["budget"].items()
            return Budget(str(kind), float(amount))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._unreadable() from None

    def status(self) -> str:
        """starting, running, stopping; or finished, stopped, failed, died. From the lock and what is written."""
        if self.alive:
            return "stopping" if (self.dir / "stop").exists() else "running"
        done = {architecture_of(row) for row in journal.read(self.results)[0]}
        plan = self.plan
        if plan and done.issuperset(self.architectures):
            return "finished"
        last = journal.tail(self.log, 1)
        if last and last[-1].get("event") == "end":
            return str(last[-1].get("reason"))
        return "died"

    @property
    def message(self) -> str:
        """Why it ended, when it failed."""
        last = journal.tail(self.log, 1)
        return str(last[-1].get("message") or "") if last else ""

    def run_guids(self) -> list[str]:
        """Every run it ever started."""
        return list(dict.fromkeys(str(line["guid"]) for line in journal.read(self.log)[0]
                                  if line.get("event") == "run" and valid_guid(line.get("guid"))))

    def stop(self) -> None:
        """Ask it to end after stopping what is being trained; returns at once. RunError when it is over."""
        if not self.alive:
            raise RunError(f"{self.name} is not at work (it {past(self.status())}).")
        try:
            os.close(open_to_append(self.dir / "stop"))
        except OSError as error:
            raise atomic.explain(error, self.dir / "stop") from error

    def resume(self, *, retry: bool = False) -> BakeOff:
        """Let it go on with what is missing. retry: also with what failed before. Nothing when it is at work."""
        if self.alive:
            return self
        if self.status() == "finished" and not (retry and self.failures()):
            raise RunError(f"{self.name} is finished; `babytui bakeoff show {self.short}` shows it.")
        self.take_up(*["--retry"] * retry)
        return self

    def _launch(self, lock: Lock, *words: str) -> None:
        """Start the conductor and wait until it has begun. RunError with its last words when it ended before."""
        before = journal.tail_with_offset(self.log, 1)[1]  # a torn line after it will be cut off
        printed = self.dir / "conductor.log"
        child = spawn(["conduct", *words], self, printed, lock)
        while not any(line.get("event") == "begin" for line in journal.read(self.log, before)[0]):
            if child.poll() is not None:
                raise RunError(f"The bake-off ended at once; its last words were: {last_words(printed)}")
            time.sleep(0.01)

    def failures(self) -> list[dict[str, Any]]:
        """The results that are errors."""
        return [row for row in journal.read(self.results)[0] if row.get("error")]

    def models(self) -> list[Entry]:
        """What its runs have left in the workspace."""
        mine = set(self.run_guids())
        return [entry for entry in self.workspace.entries() if entry.guid in mine]

    def delete(self) -> Deleted:
        """Move it and its models to the trash, all of them or none. RunError when it or one of its runs is at work."""
        mine: list[str] = []

        def folders() -> Iterator[Path]:
            yield self.dir
            mine.extend(self.run_guids())  # it is locked now and begins no more
            yield from map(self.workspace.run_dir, mine)

        if not self.dir.is_dir():
            raise NotFound(f"{self.name} is not there any more; somebody else has just deleted it.")
        return trash.discard(self.workspace.root, self.guid, folders(), lambda: self.workspace.files_to_delete(mine),
                             name=self.name, kind=trash.BAKE_OFF)


def folder(workspace: Workspace) -> Path:
    """Where the bake-offs of a workspace lie."""
    return workspace.root / "bakeoffs"


def all_bakeoffs(workspace: Workspace) -> list[BakeOff]:
    """Every bake-off in the workspace, newest first."""
    return listed(folder(workspace), lambda guid: BakeOff(workspace, guid))


def find(workspace: Workspace, reference: str) -> BakeOff:
    """The bake-off with this GUID, start of a GUID or name; "last" is the newest at work, else the newest. NotFound."""
    known = all_bakeoffs(workspace)
    if not known:
        raise NotFound(f"There are no bake-offs in {workspace.root}; `babytui bakeoff` starts one.")
    wanted = reference.strip()
    if wanted.lower() == "last":
        return next((one for one in known if one.alive), known[0])
    names = {one.guid: one.name for one in known}
    fits = [one for one in known if wanted in (one.guid, names[one.guid])] or [
        one for one in known if wanted and one.guid.startswith(wanted.lower())]
    if len(fits) == 1:
        return fits[0]
    if fits:
        few = ", ".join(f"{one.short} ({names[one.guid]})" for one in fits[:5])
        raise NotFound(f"{shown(reference)} fits {len(fits)} bake-offs: {few}; give more of the GUID.")
    near = difflib.get_close_matches(wanted, names.values(), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "`babytui bakeoff list` shows all."
    raise NotFound(f"There is no bake-off {shown(reference)} in {workspace.root}; {hint}")


def architecture_of(line: dict[str, Any]) -> Architecture:
    """The one that a line of the log or of the results is about."""
    return Architecture(str(line.get("attention")), str(line.get("network")), str(line.get("sequence")))
