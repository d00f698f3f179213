"""What `babytui bench` measures, each time in a fresh process, beside a peer's program where one is given.

Ours and the peer's take turns, so that their ratio holds while the speed of the machine drifts.
"""

from __future__ import annotations

import difflib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from babytui import blas, process
from engine import processor, registry
from engine.config import PRESETS, Config
from engine.errors import RunError, UsageError, shown
from store.names import expanded

SIZES: dict[str, dict[str, Any]] = {
    "small": {"n_ctx": 64, "n_emb": 128, "head_size": 128, "n_heads": 4, "n_layers": 4, "batch_size": 12},
    "heads": {"n_ctx": 128, "n_emb": 128, "head_size": 128, "n_heads": 16, "n_layers": 4, "batch_size": 16},
    "large": {"n_ctx": 256, "n_emb": 384, "head_size": 384, "n_heads": 6, "n_layers": 6, "batch_size": 16},
    "newborn": PRESETS["newborn"],
}
WORKS = ("train", "decode", "prefill", "load", "save")
PLAIN = ("mha", "mlp")
PEER_MODEL = {"c_attention": "mha", "c_network": "mlp", "c_sequence": "pre", "d_type": "fp32", "c_device": "cpu",
              "r_dropout": 0}
SCRIPT = Path(__file__).with_name("torch_peer.py")
_SHAPE = ("n_ctx", "n_emb", "n_heads", "n_layers", "batch_size")  # that a peer is told
_STEPS = (12, 60)  # that a peer measures, at least and at most

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A configuration to measure, and the size it comes from."""

    size: str
    config: Config

    @property
    def pair(self) -> tuple[str, str]:
        return self.config.c_attention, self.config.c_network

    @property
    def label(self) -> str:
        """small, or small gla/mlp."""
        return self.size if self.pair == PLAIN else f"{self.size} {'/'.join(self.pair)}"

    @property
    def comparable(self) -> bool:
        """Whether the peer's model is the same."""
        values = self.config.values
        return values["head_size"] == values["n_emb"] and all(values[name] == PEER_MODEL[name] for name in PEER_MODEL)


# --- choosing ---------------------------------------------------------------------------------------------------------

def works(names: Iterable[str] = ()) -> list[str]:
    """What to measure; everything without names, which may be several in one text, with commas. UsageError."""
    wanted = [_known(name, WORKS, "work") for name in _split(names)]
    return [work for work in WORKS if work in wanted or not wanted]


def cases(sizes: Iterable[str] = (), variants: Iterable[str] = (), changes: Mapping[str, Any] | None = None
          ) -> list[Case]:
    """The configurations of these sizes (all; with variants, small) and variants, with `changes` to their parameters.

    A changed n_emb takes head_size with it. UsageError suggests the nearest for a name that does not exist.
    """
    pairs, given = architectures(variants), Config.read(changes or {}).given
    if pairs and given & {"c_attention", "c_network"}:
        raise UsageError("Architectures are chosen with --variants or with --set, not with both.")
    names = [_known(name, tuple(SIZES), "size") for name in _split(sizes)] or (["small"] if pairs else list(SIZES))
    found = []
    for name in dict.fromkeys(names):
        config = Config.read(changes or {}, base=Config.read(SIZES[name]))
        if "n_emb" in given and "head_size" not in given:
            config = config.replace(head_size=config.n_emb)
        for attention, network in pairs or [(config.c_attention, config.c_network)]:
            found.append(Case(name, config.replace(c_attention=attention, c_network=network).validate()))
    return found


def architectures(variants: Iterable[str]) -> list[tuple[str, str]]:
    """(attention, network) for names of either (the other one is mha or mlp), pairs such as gla/swi, or "all"."""
    attentions, networks = registry.attention.names(), registry.network.names()
    alone = {**{name: (name, PLAIN[1]) for name in attentions}, **{name: (PLAIN[0], name) for name in networks}}
    found: list[tuple[str, str]] = []
    for name in _split(variants):
        attention, sign, network = name.partition("/")
        if sign:
            found.append((registry.attention.resolve(attention), registry.network.resolve(network)))
        elif name == "all":
            found += alone.values()
        else:
            found.append(alone[_known(name, ("all", *alone), "variant")])
    return list(dict.fromkeys(found))


def _split(names: Iterable[str]) -> list[str]:
    return [part for name in names for part in name.lower().replace(",", " ").split()]


def _known(name: str, names: Sequence[str], noun: str) -> str:
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"choose among {', '.join(names)}."
    raise UsageError(f"There is no {noun} {shown(name)}; {hint}")


# --- the peer ---------------------------------------------------------------------------------------------------------

class PeerError(RunError):
    """The peer's program failed."""


@dataclass(frozen=True)
class Peer:
    """A program that does the same work: `python script MODE --n_ctx N … --threads N --steps N`.

    Modes are among WORKS. Its last line is a JSON object with tokens_per_s, for load and save with seconds. steps: how
    many training steps it measures.
    """

    python: str
    script: str
    modes: Collection[str]

    @classmethod
    def find(cls, python: str, script: str | None = None) -> Peer:
        """The peer, once it has told its modes. UsageError or PeerError in one sentence when it cannot run."""
        found = os.path.abspath(os.path.expanduser(python)) if os.sep in python else shutil.which(python)
        path = expanded(script).absolute() if script else SCRIPT
        if not found or not os.access(found, os.X_OK):
            raise UsageError(f"--peer takes a Python interpreter, and {shown(python)} is not one that can be started.")
        if not path.is_file():
            raise UsageError(f"There is no file {shown(str(script or path))} for --peer-script.")
        # which modes there are stands in the first braces of an argparse help
        help_text = cls(found, str(path), ())._run(["--help"], None)[0]
        named = re.search(r"\{([\w,-]+)\}", help_text)
        modes = [work for work in WORKS if named and work in named[1].split(",")]
        if not modes:
            raise PeerError(f"The peer {path.name} can do nothing that is measured: its --help names none of "
                            f"{', '.join(WORKS)}.")
        return cls(found, str(path), modes)

    def ask(self, work: str, config: Config, steps: int, threads: int, folder: str) -> tuple[float, int, str]:
        """(tokens per second or seconds, peak resident bytes, what it calls itself). PeerError."""
        words = [work, *(f"--{name}={config.values[name]}" for name in _SHAPE), f"--threads={threads}",
                 f"--steps={steps}"]
        printed, peak = self._run(words, folder)
        try:
            found = json.loads(printed.splitlines()[-1])
            return float(found["seconds" if work in ("load", "save") else "tokens_per_s"]), peak, str(found["peer"])
        except (ValueError, LookupError, TypeError):
            raise PeerError(f"The peer {Path(self.script).name} printed no figure for {work}.") from None

    def _run(self, words: Sequence[str], folder: str | None) -> tuple[str, int]:
        environment = {key: value for key, value in os.environ.items() if key not in blas.THREADS}  # those are ours
        if self.script == str(SCRIPT):
            environment["PYTHONSAFEPATH"] = "1"  # its neighbours are no modules for torch to find
        code, printed, said, peak = run_process([self.python, self.script, *words], environment, folder)
        if code == 0:
            return printed, peak
        if "No module named 'torch'" in said:
            raise PeerError(f"{self.python} has no torch; give --peer an interpreter that has it.")
        raise PeerError(f"The peer {Path(self.script).name} failed: {_last_line(said, code)}")


def run_process(command: Sequence[str], environment: Mapping[str, str], folder: str | None
                ) -> tuple[int, str, str, int]:
    """(exit code, standard output, standard error, peak resident bytes) of a process; whatever ends us ends it."""
    with tempfile.TemporaryFile() as errors:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                       env=dict(environment), cwd=folder)
        except OSError as error:
            raise RunError(f"{command[0]} cannot be started: {error.strerror or error}.") from None
        assert child.stdout is not None
        try:
            with child.stdout:
                printed = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)  # unlike wait, it tells the memory of this process alone
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            child.terminate()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            raise
        errors.seek(0)
        said = errors.read()
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return child.returncode, printed.decode(errors="replace"), said.decode(errors="replace"), peak


def _last_line(said: str, code: int) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with {'signal' if code < 0 else 'exit code'} {abs(code)}."


# --- measuring --------------------------------------------------------------------------------------------------------

class Bench:
    """A benchmark: `rows()` measures. tell: called with what is measured next. alarm: called with what went wrong.

    total: how many processes will be started; done: how many have ended.
    """

    def __init__(self, chosen: Sequence[Case], wanted: Sequence[str], repeats: int, peer: Peer | None = None, *,
                 tell: Callable[[str], None] = lambda what: None, alarm: Callable[[str], None] = lambda what: None):
        self.chosen, self.wanted, self.repeats, self.peer = chosen, wanted, repeats, peer
        self.tell, self.alarm = tell, alarm
        self.done, self.peer_failed, self.peer_name = 0, False, ""
        self.total = repeats * sum(1 + self._has_peer(case, work) + self._has_roofline(case, work)
                                   for case in chosen for work in wanted)

    def rows(self) -> Iterator[Row]:
        """A row for each figure, as soon as it is known. RunError when a measurement fails."""
        from engine.estimate import cores

        self._blas = blas_in_use()
        with tempfile.TemporaryDirectory(prefix="babytui-bench-") as self._folder:
            for work in self.wanted:
                for case in self.chosen:
                    yield from self._compare(case, work, cores(case.config))
                    if self._has_roofline(case, work):
                        yield self._roofline(case)

    def _has_peer(self, case: Case, work: str) -> bool:
        return self.peer is not None and case.comparable and work in self.peer.modes

    def _has_roofline(self, case: Case, work: str) -> bool:
        return work == "train" and case.config.c_device == "cpu"

    def _compare(self, case: Case, work: str, threads: int) -> Iterator[Row]:
        ours, theirs = [], []
        peer = self.peer if self._has_peer(case, work) else None
        for number in range(self.repeats):
            ours.append(self._ours(case, work, number))
            if peer is not None:
                self.tell(f"{work} {case.label}, the peer's turn {number + 1} of {self.repeats}")
                steps = min(max(ours[0].get("steps", 0), _STEPS[0]), _STEPS[1])
                try:
                    theirs.append(peer.ask(work, case.config, steps, threads, self._folder))
                    self.peer_name = theirs[-1][2]
                except PeerError as error:
                    self.alarm(str(error))
                    self.peer_failed, peer, theirs = True, None, []
                self.done += 1
        unit = "s" if work in ("load", "save") else "tokens/s"
        row = self._row(case, work, [one["value"] for one in ours], [one[0] for one in theirs], unit, ours[0]["cores"])
        yield row | {key: ours[0][key] for key in ("parameters", "bytes") if key in ours[0]}
        if work == "train":
            yield self._row(case, "memory", [one["memory"] for one in ours], [one[1] for one in theirs], "bytes",
                            ours[0]["cores"])

    def _roofline(self, case: Case) -> Row:
        found = [self._ours(case, "products", number) for number in range(self.repeats)]
        row = self._row(case, "products", [one["step"] for one in found], [], "s", 1)
        alone = median(one["products"] for one in found)
        return row | {"ratio": median(one["ratio"] for one in found), "products_seconds": alone,
                      "flops": found[0]["flops"], "flops_per_second": found[0]["flops"] / alone}

    def _ours(self, case: Case, work: str, number: int) -> dict[str, Any]:
        self.tell(f"{work} {case.label}, {number + 1} of {self.repeats}")
        plan = json.dumps({"work": work, "config": dict(case.config.values), "folder": self._folder})
        code, printed, said, _ = run_process([sys.executable, "-P", "-m", "babytui.bench_worker", plan],
                                             process.environment(), self._folder)
        self.done += 1
        try:
            found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        except (ValueError, IndexError):
            found = {"error": _last_line(said, code)}
        if "error" in found:
            raise RunError(f"{work} {case.label} could not be measured: {found['error']}")
        return found

    def _row(self, case: Case, work: str, ours: list[float], theirs: list[float], unit: str, cores: int) -> Row:
        """ratio: how many times as fast as the peer, or for memory its share of the peer's; None without a peer."""
        ratios = [b / a if unit == "s" else a / b for a, b in zip(ours, theirs, strict=False)]
        return {"work": work, "case": case.label, "size": case.size, "config": case.config.to_dict(extra=False),
                "ours": median(ours), "peer": median(theirs) if theirs else None,
                "ratio": median(ratios) if theirs else None, "unit": unit, "cores": cores, "blas": self._blas,
                "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
                "peer_name": self.peer_name if theirs else None, "samples": {"ours": ours, "peer": theirs}}


# --- the machine ------------------------------------------------------------------------------------------------------

def blas_in_use() -> str:
    """NumPy's BLAS and the kernels it chose: scipy-openblas 0.3.31, SkylakeX kernels."""
    kernel = blas.kernel()
    return blas.name() + (f", {kernel[0]} kernels" if kernel else "")


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores that may be used, BLAS, versions."""
    import numpy as np

    return {"processor": _processor(), "cores": processor.cores(), "blas": blas_in_use(),
            "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"), "python": platform.python_version(),
            "numpy": np.__version__, "system": f"{platform.system()} {platform.machine()}"}


def others(seconds: float = 0.3) -> float:
    """How many cores are at work for somebody else, watched for a moment; 0 where the system does not tell."""
    def busy() -> float:
        with open("/proc/stat", encoding="ascii") as lines:
            ticks = [int(word) for word in lines.readline().split()[1:9]]
        return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # without idle and waiting for disks

    try:
        before, begun = busy(), time.monotonic()
        time.sleep(seconds)
        return (busy() - before) / (time.monotonic() - begun)
    except (OSError, ValueError, IndexError):
        return 0.0


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
