"""What a bake-off is to be: which architectures compete, what all of it costs, and its start. Imports no arrays, except
inside `draft` and `Draft`.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from babytui import devices
from babytui.bakeoff import Architecture, BakeOff, Budget, all_bakeoffs, config_of
from babytui.workspace_choice import existing
from engine import processor, registry
from engine.config import PARAMETERS, PRESETS, Config, shown
from engine.errors import ConfigError, RunError, UsageError
from store.names import check_name, new_guid
from store.workspace import Workspace

MOST_JOBS = 64
LONGEST_NAME = 40
_CHOSEN = ("c_attention", "c_network", "c_sequence", "n_steps")  # parameters that a bake-off decides
_OVERHEAD = 4.0  # seconds a run takes beside its training: its start, its last evaluation, the measuring
_MEASURING, _CALIBRATION = 4.0, 8.0  # seconds that an estimate should take, and after which it measures no more


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


# --- starting one -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Cost:
    """What a bake-off takes: seconds (None when it was not measured), bytes on the disk, and bytes that are free."""

    seconds: float | None
    bytes: int
    free: int


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
        from engine.estimate import estimate

        configs = self.configs()
        free = shutil.disk_usage(existing(self.workspace.root)).free
        need = largest = 0
        seconds = 0.0 if measure or self.budget.seconds else None
        speeds: list[float] = []
        begun = time.monotonic()
        for n, config in enumerate(configs):
            if measure and not self.budget.seconds and (not speeds or time.monotonic() - begun < _CALIBRATION):
                if tell:
                    tell(n + 1, len(configs))
                speeds.append(devices.calibrated(config, min(0.3, _MEASURING / len(configs))))
            mean = len(speeds) / sum(1 / speed for speed in speeds) if speeds else None
            found = estimate(config, vocab_size=self.vocab_size, speed=speeds[n] if n < len(speeds) else mean)
            # the model, its journal and report, the last checkpoint and the best, of weights and two moments; and while
            # it is trained three more
            state = 3 * found.parameters * (8 if config.d_type == "fp64" else 4)
            need += found.model_file_bytes + 2 * state + 300 * min(found.steps, 20_000) + 100_000
            largest = max(largest, 3 * state)
            if seconds is not None:
                seconds += (self.budget.seconds or found.seconds or 0.0) + _OVERHEAD
        if seconds is not None:
            seconds /= self.jobs
        return Cost(seconds, need + self.jobs * largest, free)

    def need_room(self, cost: Cost) -> None:
        """RunError when the disk cannot hold it."""
        if cost.free < cost.bytes:
            raise RunError(f"The disk of {self.workspace.root} has {cost.free / 1e6:,.1f} MB free, but these "
                           f"{len(self.architectures)} models need about {cost.bytes / 1e6:,.1f} MB; free some space, "
                           "choose fewer, or use another --workspace.")

    def start(self) -> BakeOff:
        """Begin it in a process of its own and return when that has begun."""
        self.workspace.ensure()
        found = BakeOff(self.workspace, new_guid())
        found.begin({"name": self.name, "architectures": [list(one) for one in self.architectures],
                     "config": dict(self.config.values), "texts": self.texts, "dataset": self.dataset,
                     "notes": self.notes, "text_sha256": self.digest, "vocab_size": self.vocab_size,
                     "prompt": self.prompt, "budget": {self.budget.kind: self.budget.amount},
                     "seed": self.config.n_seed, "jobs": self.jobs, "machine": _machine()})
        return found


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
    vocab_size = find_texts.check(config, text, prompt)
    tokens = registry.tokenizer.get(config.c_tokenizer).fit(text).count(text)
    if budget is None:
        budget = Budget("steps", data.steps(data.train_tokens(tokens, config), config))
    return Draft(workspace, config, list(chosen), budget, [str(path) for path in paths], find_texts.dataset(paths),
                 list(text.notes), find_texts.digest(text), vocab_size, _name(workspace, name), jobs, prompt,
                 problems)


def _machine() -> dict[str, Any]:
    """What it runs on, in general terms: processor and cores."""
    name = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as text:
        name = next((line.split(":", 1)[1].strip() for line in text if line.startswith("model name")), name)
    return {"processor": name, "cores": processor.cores(), "system": platform.system(),
            "python": platform.python_version()}


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
