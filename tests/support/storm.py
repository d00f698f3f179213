"""Killing babytui's processes at random moments and looking at what is left. Linux only: reads /proc.

A Hunter waits in a thread for a moment (a time, a journal's size, a change in a folder) and then sends SIGKILL.
`unreadable` opens everything in a workspace; `artifacts` and `telling` give what has to be the same bytes however often
a run was killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from babytui import process, runs
from engine import events
from engine.errors import BabyError, NotFound
from store import adapters, artifacts, checkpoint
from store.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
LOOK = 2e-4  # seconds between two looks of a hunter
KINDS = ("config", "tokenizer", "model", "adapter", "report", "completion")
# What is measured in seconds, and how many cores there were, differs from run to run and is left out of comparisons.
_MEASURED = re.compile(rb'("(?:avg_train_time_per_batch|avg_val_time_per_batch|average_time_per_epoch|total_time|'
                       rb'babytui_seconds|inference_total_time|babytui_created|device_cores)": "?|execution_time = )'
                       rb'[-+.\deE]+')
_NAMED = re.compile(r"(config|tokenizer|model|adapter|report|completion)_([0-9a-f-]{36}(?:_finetuned)?)\.\w+")
_TEMPORARY = re.compile(r"\..*\.tmp")


# --- processes --------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Process:
    """A line of /proc. state: R, S, D, T (stopped), …"""

    pid: int
    parent: int
    session: int
    state: str
    words: tuple[str, ...]


def processes() -> Iterator[Process]:
    """Every process that is not a zombie."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
            if fields[0] in "ZX":
                continue
            words = Path(entry.path, "cmdline").read_bytes().decode(errors="replace").split("\0")
            yield Process(int(entry.name), int(fields[1]), int(fields[3]), fields[0], tuple(words))


def workers(root: Path) -> list[Process]:
    """The training processes of a workspace."""
    return [found for found in processes() if "worker" in found.words and str(root) in found.words]


def lanes(worker: int) -> list[Process]:
    """The processes that a training process has started."""
    return [found for found in processes() if found.parent == worker]


def kill(pid: int, *, group: bool = False) -> bool:
    """SIGKILL to a process or its group; False when it was dead already."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state in "ZX":
            return False
        if group:
            os.killpg(pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def command(words: Sequence[str | Path]) -> list[str]:
    """The command line with these words."""
    return [sys.executable, "-P", "-m", "babytui", *map(str, words)]


def babytui(words: Sequence[str | Path], log: Path) -> subprocess.Popen[bytes]:
    """The command line in a process and a session of its own; what it prints goes to `log`."""
    with open(log, "ab") as out:
        return subprocess.Popen(command(words), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                start_new_session=True, env=process.environment())


# --- moments ----------------------------------------------------------------------------------------------------------

Moment = Callable[[], bool]


def after(seconds: float) -> Moment:
    """So long from now."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def grown(path: Callable[[], Path | None], size: int) -> Moment:
    """When the file has so many bytes more than now."""

    def bytes_now() -> int:
        found = path()
        try:
            return os.stat(found).st_size if found else 0
        except OSError:
            return 0

    wanted = bytes_now() + size
    return lambda: bytes_now() >= wanted


def changed(folder: Callable[[], Path | None], times: int, delay: float) -> Moment:
    """`delay` seconds after the folder's listing has changed so often: a file was made, renamed or removed."""

    def look() -> frozenset[tuple[str, int]]:
        found = folder()
        try:
            return frozenset((entry.name, entry.inode()) for entry in os.scandir(found)) if found else frozenset()
        except OSError:
            return frozenset()

    before, left, end = look(), times, 0.0

    def come() -> bool:
        nonlocal before, left, end
        if left > 0:
            now = look()
            if now != before:
                before, left = now, left - 1
                end = time.monotonic() + delay
        return left <= 0 and time.monotonic() >= end

    return come


class Hunter:
    """Kills, in a thread, when the moment has come; `victim` does it and says whether something living was hit."""

    def __init__(self, moment: Moment, victim: Callable[[], bool]):
        self.moment, self.victim = moment, victim
        self.hit = False
        self._off = threading.Event()
        self._thread = threading.Thread(target=self._hunt, daemon=True)

    def __enter__(self) -> Hunter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> bool:
        """Give up; whether somebody was hit."""
        self._off.set()
        self._thread.join()
        return self.hit

    def _hunt(self) -> None:
        while not self._off.is_set():
            if self.moment():
                while not self._off.is_set() and not self.hit:
                    self.hit = self.victim()
                    if not self.hit:
                        time.sleep(LOOK)
                return
            time.sleep(LOOK)


# --- what is left -----------------------------------------------------------------------------------------------------

def run_folder(root: Path, known: frozenset[str]) -> Path | None:
    """The folder of the one run that is not among `known`."""
    try:
        found = [path for path in os.scandir(root / "runs") if path.name not in known and not path.name.startswith(".")]
    except OSError:
        return None
    assert len(found) < 2, f"there are two runs: {found}"
    return Path(found[0].path) if found else None


def unreadable(ws: Workspace) -> list[str]:
    """What in this workspace is neither whole nor absent: a sentence each. Temporary files count as absent."""
    wrong: list[str] = []

    def attempt(what: Path, read: Callable[[], object]) -> None:
        try:
            read()
        except (BabyError, OSError, ValueError) as error:
            if what.name != "plan.json" and not what.exists():
                return  # a live process has made room meanwhile
            wrong.append(f"{what.relative_to(ws.root)}: {error}")

    for folder in (ws.configs, ws.tokenizers, ws.models, ws.outputs):
        for path in folder.iterdir() if folder.is_dir() else []:
            if _TEMPORARY.fullmatch(path.name):
                continue
            match = _NAMED.fullmatch(path.name)
            if not match:
                wrong.append(f"{path.name} has no name of ours")
                continue
            kind, guid = match.groups()
            readers: dict[str, Callable[[], object]] = {
                "config": lambda guid=guid: artifacts.load_config(ws, guid),
                "tokenizer": lambda guid=guid: artifacts.load_tokenizer(ws, guid),
                "model": lambda guid=guid: artifacts.load_model(ws, guid),
                "report": lambda guid=guid: artifacts.load_report(ws, guid),
                "completion": lambda guid=guid: artifacts.load_completion(ws, guid),
                "adapter": lambda path=path: adapters.load(path)}
            attempt(path, readers[kind])
    for path in ws.settings.glob("[!.]*.json"):
        attempt(path, lambda path=path: orjson.loads(path.read_bytes()))
    for folder in ws.runs.iterdir() if ws.runs.is_dir() else []:
        if folder.name.startswith("."):
            continue  # not a run yet
        attempt(folder / "plan.json", lambda folder=folder: orjson.loads((folder / "plan.json").read_bytes()))
        for path in sorted((folder / "checkpoints").glob("[!.]*")):
            attempt(path, lambda path=path: checkpoint.read(path))
        for path in folder.glob("*.jsonl"):
            attempt(path, lambda path=path: [events.parse(orjson.loads(line)) if path.name == "events.jsonl" else
                                             orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1]])
    for entry in ws.entries():
        wrong += [f"{entry.guid}: {problem}" for problem in entry.problems]
    return wrong


def artifacts_of(ws: Workspace, guid: str) -> dict[str, bytes]:
    """The bytes of a model's files without what was measured in seconds, its own GUID and its name, by kind."""
    found = {}
    for kind in KINDS:
        with contextlib.suppress(NotFound):
            text = _MEASURED.sub(rb"\g<1>0", ws.find(kind, guid).read_bytes())
            found[kind] = text.replace(guid.encode(), b"GUID")
    return found


def same(found: Mapping[str, bytes], wanted: Mapping[str, bytes], *, complete: bool = True) -> None:
    """AssertionError that shows where the first file differs. complete: none may be missing."""
    assert not complete or found.keys() == wanted.keys(), f"{sorted(found)}, not {sorted(wanted)}"
    for kind, text in found.items():
        other = wanted.get(kind, b"")
        if text != other:
            at = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
            part = slice(max(0, at - 200), at + 200)
            raise AssertionError(f"{kind} differs at byte {at}:\n{text[part]!r}\ninstead of\n{other[part]!r}")


def telling(run: runs.Run) -> dict[tuple[str, int, bool], Mapping[str, Any]]:
    """What the journal says of the run as it finally went, by kind, step and whether it is the last look at the model;
    without seconds."""
    told: dict[tuple[str, int, bool], Mapping[str, Any]] = {}
    last = False
    for event in run.events()[0]:
        if isinstance(event, events.Start):  # what came after the state that it goes on from does not count
            told = {key: value for key, value in told.items() if key[1] <= event.step and not key[2]}
        elif isinstance(event, (events.Step, events.Evaluation, events.Sample)):
            last = event.full if isinstance(event, events.Evaluation) else last and isinstance(event, events.Sample)
            told[event.kind, event.step, last] = {name: value for name, value in event.to_dict().items()
                                                  if name not in ("time", "seconds", "tokens_per_second")}
    return told


def leftovers(root: Path) -> list[str]:
    """Temporary files and folders of killed processes, but for those that were moved to the trash."""
    found = [path.relative_to(root) for path in root.rglob(".*")
             if _TEMPORARY.fullmatch(path.name) or path.name.startswith((".new-", ".gone-"))]
    return sorted(str(path) for path in found if path.parts[0] != ".trash" or len(path.parts) == 2)


def age(root: Path) -> None:
    """Make what killed processes left an hour old: younger files could be those of a process that is at work."""
    then = time.time() - 3600
    for name in leftovers(root):
        os.utime(root / name, (then, then))
