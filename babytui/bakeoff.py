"""Bake-offs: many architectures trained for the same budget on the same text and seed, then measured.

A bake-off is a folder, bakeoffs/<GUID>/, and while it is at work a process that holds the lock in it:

    plan.json       what was asked for; never changes
    log.jsonl       what the conductor did: begin, which run trains what, end
    results.jsonl   a line for every architecture that is done, well or not
    stop            there while somebody waits for it to stop
    conductor.log   what the process printed, with tracebacks
    lock            held by the conductor as long as it lives

The runs it starts and the models they make are ordinary ones. Imports no arrays, except inside `draft` and `Draft`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from babytui import bakeoff_table, runs
from engine import registry
from engine.config import PARAMETERS, PRESETS, Config, shown
from engine.errors import BabyError, ConfigError, NotFound, RunError, UsageError
from store import atomic, journal, trash
from store.lock import Lock
from store.names import check_name, new_guid, valid_guid
from store.trash import Deleted
from store.workspace import Entry, Workspace

SEQUENCES = ("pre", "post", "both")
MOST_STEPS = 10**9  # of a run that ends with its time
MOST_JOBS = 64
LONGEST_NAME = 40
_CHOSEN = ("c_attention", "c_network", "c_sequence", "n_steps")  # parameters that a bake-off decides
_OVERHEAD = 4.0  # seconds a run takes beside its training: its start, its last evaluation, the measuring
_MEASURING, _CALIBRATION = 4.0, 8.0  # seconds that an estimate should take, and after which it measures no more
_GRACE = 10.0  # seconds a new conductor has to take its lock


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


@dataclass(frozen=True)
class Cost:
    """What a bake-off takes: seconds (None when it was not measured), bytes on the disk, and bytes that are free."""

    seconds: float | None
    bytes: int
    free: int


# --- choosing what competes -------------------------------------------------------------------------------------------

def architectures(attentions: Iterable[str] = (), networks: Iterable[str] = (), pairs: Iterable[str] = (),
                  sequence: str = "pre") -> list[Architecture]:
    """The architectures that these names mean, each once: all attentions × networks, and the pairs (mha/mlp).

    Names may be given several in one text, with commas. Nothing at all means every pair there is; only pairs means
    only those. ConfigError suggests the nearest for a name that does not exist.
    """
    attentions, networks, pairs = _split(attentions), _split(networks), _split(pairs)
    chosen: list[tuple[str, str]] = []
    if attentions or networks or not pairs:
        rows = [registry.attention.resolve(name) for name in attentions] or registry.attention.names()
        columns = [registry.network.resolve(name) for name in networks] or registry.network.names()
        chosen += [(attention, network) for attention in rows for network in columns]
    for pair in pairs:
        names = pair.replace("·", "/").replace("+", "/").split("/")
        if len(names) != 2:
            raise UsageError(f"--arch takes ATTENTION/NETWORK, such as mha/mlp, not {shown(pair)}.")
        chosen.append((registry.attention.resolve(names[0]), registry.network.resolve(names[1])))
    orders = ("pre", "post") if sequence == "both" else (sequence,)
    return list(dict.fromkeys(Architecture(*pair, order) for pair in chosen for order in orders))


def _split(names: Iterable[str]) -> list[str]:
    return [part for name in names for part in name.lower().replace(",", " ").split()]


def command_line(chosen: Sequence[Architecture], values: Mapping[str, Any], budget: Budget, texts: Sequence[str] = (),
                 *, name: str | None = None, jobs: int = 1, workspace: str | None = None) -> str:
    """The command that starts such a bake-off. values: parameters; those of a preset are told by its name."""
    from babytui import actions

    rows, columns, orders = (list(dict.fromkeys(one[n] for one in chosen)) for n in range(3))
    product = {(a, n, s) for a in rows for n in columns for s in orders} == set(map(tuple, chosen))
    given: dict[str, Any] = {}
    if not product:
        given["arch"] = list(dict.fromkeys(f"{one.attention}/{one.network}" for one in chosen))
    else:
        given["attention"] = [",".join(rows)] if set(rows) != set(registry.attention.names()) else []
        given["network"] = [",".join(columns)] if set(columns) != set(registry.network.names()) else []
    bases = {"": {}, **PRESETS}
    changed = {preset: {key: value for key, value in values.items() if key in PARAMETERS and key not in _CHOSEN
                        and value != base.get(key, PARAMETERS[key].default)} for preset, base in bases.items()}
    preset = min(changed, key=lambda one: (len(changed[one]), one))
    given |= {"sequence": "both" if len(orders) > 1 else orders[0], "preset": preset or None, "set": changed[preset],
              "input": list(texts), {"seconds": "time"}.get(budget.kind, budget.kind): f"{budget.amount:.10g}"
              if budget.kind == "seconds" else int(budget.amount), "name": name, "jobs": jobs}
    return actions.command_line("bakeoff", given, workspace=workspace)


# --- one bake-off -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class BakeOff:
    """One bake-off, at work or over."""

    workspace: Workspace
    guid: str

    @property
    def dir(self) -> Path:
        """Its folder."""
        return folder(self.workspace) / self.guid

    @property
    def results(self) -> Path:
        return self.dir / "results.jsonl"

    @property
    def log(self) -> Path:
        return self.dir / "log.jsonl"

    @property
    def plan(self) -> dict[str, Any]:
        """What was asked for: guid, name, created, architectures, config, texts, dataset, budget, seed, jobs, machine.
        {} if unreadable."""
        try:
            plan = orjson.loads((self.dir / "plan.json").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return plan if isinstance(plan, dict) else {}

    @property
    def name(self) -> str:
        """Its name, or the start of its GUID."""
        return str(self.plan.get("name") or self.guid[:8])

    @property
    def created(self) -> float:
        """When it was started, in Unix seconds; 0 if that cannot be read."""
        created = self.plan.get("created")
        return float(created) if isinstance(created, (int, float)) else 0.0

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

    @property
    def alive(self) -> bool:
        """Whether its conductor holds its lock."""
        return Lock.held(self.dir / "lock")

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
        young = time.time() - self.created < _GRACE
        return "starting" if young and not last else "died"

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
            raise RunError(f"{self.name} is not at work (it {runs.past(self.status())}).")
        try:
            (self.dir / "stop").touch()
        except OSError as error:
            raise atomic.explain(error, self.dir / "stop") from error

    def resume(self, *, retry: bool = False) -> BakeOff:
        """Let it go on with what is missing. retry: also with what failed before. Nothing when it is at work."""
        if self.alive:
            return self
        if self.status() == "finished" and not (retry and self.failures()):
            raise RunError(f"{self.name} is finished; `babytui bakeoff show {self.guid[:8]}` shows it.")
        _launch(self, retry)
        return self

    def failures(self) -> list[dict[str, Any]]:
        """The results that are errors."""
        return [row for row in journal.read(self.results)[0] if row.get("error")]

    def wait(self, timeout: float | None = None) -> str:
        """The status when its process has ended, or after `timeout` seconds."""
        end = time.monotonic() + timeout if timeout is not None else None
        while self.alive and (end is None or time.monotonic() < end):
            time.sleep(0.05)
        return self.status()

    def models(self) -> list[Entry]:
        """What its runs have left in the workspace."""
        mine = set(self.run_guids())
        return [entry for entry in self.workspace.entries() if entry.guid in mine]

    def delete(self) -> list[Deleted]:
        """Move its models and then itself to the trash. RunError when it or one of its runs is at work."""
        if self.alive:
            raise RunError(f"{self.name} is at work; end it with `babytui bakeoff stop {self.guid[:8]}`, then delete "
                           "it.")
        models = self.models()
        for entry in models:
            if runs.Run(self.workspace, entry.guid).alive:
                raise RunError(f"{entry.name} is being trained; end it with `babytui stop {entry.guid[:8]}` first.")
        gone = [self.workspace.delete(entry.guid) for entry in models]
        files = [path for path in sorted(self.dir.iterdir()) if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        gone.append(trash.discard(self.workspace.root, self.guid, files, size))
        with suppress(OSError):
            self.dir.rmdir()
        return gone


def folder(workspace: Workspace) -> Path:
    """Where the bake-offs of a workspace lie."""
    return workspace.root / "bakeoffs"


def all_bakeoffs(workspace: Workspace) -> list[BakeOff]:
    """Every bake-off in the workspace, newest first."""
    try:
        names = [path.name for path in folder(workspace).iterdir()
                 if valid_guid(path.name) and (path / "plan.json").is_file()]
    except OSError:
        return []
    found = [BakeOff(workspace, name) for name in names]
    return sorted(found, key=lambda one: one.created, reverse=True)


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
        few = ", ".join(f"{one.guid[:8]} ({names[one.guid]})" for one in fits[:5])
        raise NotFound(f"{shown(reference)} fits {len(fits)} bake-offs: {few}; give more of the GUID.")
    near = difflib.get_close_matches(wanted, names.values(), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "`babytui bakeoff list` shows all."
    raise NotFound(f"There is no bake-off {shown(reference)} in {workspace.root}; {hint}")


def architecture_of(line: dict[str, Any]) -> Architecture:
    """The one that a line of the log or of the results is about."""
    return Architecture(str(line.get("attention")), str(line.get("network")), str(line.get("sequence")))


# --- starting one -----------------------------------------------------------------------------------------------------

@dataclass
class Draft:
    """A bake-off that was checked and not started. problems: what is wrong with some of the architectures."""

    workspace: Workspace
    config: Config
    architectures: list[Architecture]
    budget: Budget
    texts: list[str]
    dataset: str
    notes: list[str]
    digest: str
    vocab_size: int
    name: str
    jobs: int = 1
    prompt: str = ""
    problems: dict[Architecture, str] = field(default_factory=dict)

    def configs(self) -> list[Config]:
        """The configurations that can be trained."""
        return [config_of(self.config, one, self.budget, self.jobs) for one in self.architectures
                if one not in self.problems]

    def cost(self, measure: bool = True, tell: Callable[[int, int], None] | None = None) -> Cost:
        """What it will take. measure: time each architecture for a moment, some seconds in all; tell: how far it is."""
        from engine.estimate import calibrate, estimate

        configs = self.configs()
        need = largest = 0
        seconds = 0.0 if measure or self.budget.seconds else None
        speeds: list[float] = []
        begun = time.monotonic()
        for n, config in enumerate(configs):
            if measure and not self.budget.seconds and (not speeds or time.monotonic() - begun < _CALIBRATION):
                if tell:
                    tell(n + 1, len(configs))
                speeds.append(calibrate(config, min(0.3, _MEASURING / len(configs))))
            mean = len(speeds) / sum(1 / speed for speed in speeds) if speeds else None
            found = estimate(config, vocab_size=self.vocab_size, speed=speeds[n] if n < len(speeds) else mean)
            # the model, its journal and report; and while it is trained three checkpoints of weights and two moments
            need += found.model_file_bytes + 300 * min(found.steps, 20_000) + 100_000
            largest = max(largest, 9 * found.parameters * (8 if config.d_type == "fp64" else 4))
            if seconds is not None:
                seconds += (self.budget.seconds or found.seconds or 0.0) + _OVERHEAD
        if seconds is not None:
            seconds /= self.jobs
        return Cost(seconds, need + self.jobs * largest, _free(self.workspace.root))

    def need_room(self, cost: Cost) -> None:
        """RunError when the disk cannot hold it."""
        if cost.free < cost.bytes:
            raise RunError(f"The disk of {self.workspace.root} has {cost.free / 1e6:,.1f} MB free, but these "
                           f"{len(self.architectures)} models need about {cost.bytes / 1e6:,.1f} MB; free some space, "
                           "choose fewer, or use another --workspace.")

    def start(self) -> BakeOff:
        """Begin it in a process of its own and return when that has begun."""
        self.workspace.ensure()
        bakeoff = BakeOff(self.workspace, new_guid())
        plan = {"guid": bakeoff.guid, "name": self.name, "created": time.time(),
                "architectures": [list(one) for one in self.architectures], "config": dict(self.config.values),
                "texts": self.texts, "dataset": self.dataset, "notes": self.notes, "text_sha256": self.digest,
                "vocab_size": self.vocab_size,
                "prompt": self.prompt, "budget": {self.budget.kind: self.budget.amount},
                "seed": self.config.n_seed, "jobs": self.jobs, "machine": machine()}
        try:
            bakeoff.dir.mkdir(parents=True, mode=0o700)
            atomic.write_json(bakeoff.dir / "plan.json", plan)
        except OSError as error:
            raise RunError(f"{bakeoff.dir} cannot be written: {error.strerror}.") from None
        try:
            _launch(bakeoff)
        except BabyError:
            shutil.rmtree(bakeoff.dir, ignore_errors=True)  # nothing was trained yet
            raise
        return bakeoff


def draft(workspace: Workspace, config: Config, chosen: Sequence[Architecture],
          texts: Sequence[str | os.PathLike[str]] = (), *, budget: Budget | None = None, name: str | None = None,
          jobs: int = 1, prompt: str = "") -> Draft:
    """Check what is asked for. Without a budget: n_steps, else n_epochs passes over the text.

    ConfigError when every architecture contradicts itself (one that does becomes a row that says so), TextError,
    NotFound, UsageError. Writes nothing.
    """
    from babytui import texts as find_texts
    from engine import data

    if not chosen:
        raise UsageError("Choose at least one attention and one network.")
    if not 1 <= jobs <= MOST_JOBS:
        raise UsageError(f"A bake-off trains 1 to {MOST_JOBS} models at once, not {jobs}.")
    problems = {one: found[0].message for one in chosen if (found := one.of(config).problems())}
    if len(problems) == len(chosen):
        raise ConfigError(problems[chosen[0]])
    paths = find_texts.find(workspace, texts)
    text = find_texts.read(paths)
    vocab_size = find_texts.check(config, text.text, prompt)
    tokenizer = registry.tokenizer.get(config.c_tokenizer).fit(text.text)
    tokens = len(tokenizer.pieces(text.text))
    if budget is None:
        budget = Budget("steps", data.steps(data.train_tokens(tokens, config), config))
    return Draft(workspace, config, list(chosen), budget, [str(path) for path in paths], find_texts.dataset(paths),
                 list(text.notes), digest_of(text.text), vocab_size, _name(workspace, name), jobs, prompt, problems)


def digest_of(text: str) -> str:
    """By which a text is recognised."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def config_of(base: Config, one: Architecture, budget: Budget, jobs: int = 1) -> Config:
    """The configuration that an architecture is trained with; several at once share the cores."""
    config = one.of(base).replace(n_steps=budget.steps(base))
    if jobs > 1 and config.c_device == "cpu":
        share = max(1, cores() // jobs)
        config = config.replace(c_device_cpu_cores=min(config.c_device_cpu_cores or share, share))
    return config


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What it runs on, in general terms: processor and cores."""
    import platform

    processor = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as text:
        processor = next((line.split(":", 1)[1].strip() for line in text if line.startswith("model name")), processor)
    return {"processor": processor, "cores": cores(), "system": platform.system(), "python": platform.python_version()}


def _name(workspace: Workspace, wish: str | None) -> str:
    taken = {one.name for one in all_bakeoffs(workspace)}
    if wish is not None and (wish := check_name(wish)):
        if len(wish) > LONGEST_NAME:
            raise UsageError(f"A bake-off's name has at most {LONGEST_NAME} characters, because its models' begin with "
                             f"it; this one has {len(wish)}.")
        if wish in taken:
            raise UsageError(f"There is a bake-off called '{wish}' already; choose another name.")
        return wish
    number = 1
    while (name := "bake" if number == 1 else f"bake-{number}") in taken:
        number += 1
    return name


def _free(place: Path) -> int:
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _launch(bakeoff: BakeOff, retry: bool = False) -> None:
    """Start the conductor and wait until it has begun. RunError with its last words when it ended before."""
    before = bakeoff.log.stat().st_size if bakeoff.log.exists() else 0
    printed = bakeoff.dir / "conductor.log"
    child = runs.spawn(["conduct", bakeoff.guid, "--workspace", str(bakeoff.workspace.root),
                        *(["--retry"] if retry else [])], printed)
    while not any(line.get("event") == "begin" for line in journal.read(bakeoff.log, before)[0]):
        if child.poll() is not None:
            if bakeoff.alive:  # somebody else has just started it
                return
            with suppress(OSError):
                words = printed.read_text(errors="replace").strip().splitlines()
                last = words[-1] if words else "(nothing)"
                raise RunError(f"The bake-off ended at once; its last words were: {last}")
        time.sleep(0.01)
