"""A small coverage-guided fuzzer: mutated files for every loader, in a process whose memory is bounded.

    python tests/support/fuzzing.py KIND,… COUNT SEED CORPUS OUT

Files are mutated as mutation.py does it; one that reaches a new pair of lines in our rooms joins those that are mutated
further (sys.settrace: the same on every Python and system). Prints a JSON object for each kind: what was done, and the
first file of each kind of failure, kept in OUT. The targets are in fuzz_targets.py.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from mutation import LARGEST, Rng, mutate

ROOT = Path(__file__).resolve().parents[2]
ROOMS = tuple(str(ROOT / room) + os.sep for room in ("store", "inputs", "engine", "babytui"))
HANG = 1.0  # seconds of processor time: those of a busy machine do not count
STUCK = 30.0  # seconds of any time: only something that waits for ever takes them
ROOM = 64 << 20  # bytes over what the process has when all its seeds have been read once
MOST_FAILURES = 5


class Hang(BaseException):
    """A file took too long. No Exception: nothing that is tested may catch it."""


# --- coverage ---------------------------------------------------------------------------------------------------------


class Coverage:
    """Which line was reached after which, in our rooms."""

    def __init__(self) -> None:
        self.pairs: set[tuple[Any, int, int]] = set()
        self.ours: dict[CodeType, bool] = {}
        self.before = 0
        self.new = False

    def __enter__(self) -> Coverage:
        self.before, self.new = 0, False
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        ours = self.ours.get(code)
        if ours is None:
            ours = self.ours[code] = code.co_filename.startswith(ROOMS)
        return self._line if ours else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            pair = frame.f_code, self.before, frame.f_lineno
            if pair not in self.pairs:
                self.pairs.add(pair)
                self.new = True
            self.before = frame.f_lineno
        return self._line


# --- the loop ---------------------------------------------------------------------------------------------------------


def _too_long(*_: object) -> None:
    raise Hang


def heed() -> None:
    """Let the timers of `bounded` raise Hang."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.signal(signal.SIGALRM, _too_long)


def bounded(target: Callable[[bytes], None], data: bytes) -> None:
    """`target` in bounded time; Hang when that is over."""
    signal.setitimer(signal.ITIMER_PROF, HANG)
    signal.setitimer(signal.ITIMER_REAL, STUCK)
    try:
        target(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _hangs(target: Callable[[bytes], None], data: bytes) -> bool:
    """Whether it takes too long also when nobody counts its lines, which takes ten times as long."""
    try:
        bounded(target, data)
    except Hang:
        return True
    except Exception:
        pass
    return False


def bound_memory(room: int | None) -> None:
    """No more than so many bytes of address space from now on, where the system can say how many there are; None: as
    many as before."""
    if sys.platform != "linux":
        return
    _, limit = resource.getrlimit(resource.RLIMIT_AS)
    hard = limit
    if room is not None:
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _most_memory() -> int:
    """The most resident memory that the process ever had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def fuzz(
    kind: str, target: Callable[[bytes], None], seeds: list[bytes], count: int, seed: int, out: Path
) -> dict[str, Any]:
    """Give `count` mutated files to the target. What it raises but BabyError is a failure."""
    from engine.errors import BabyError

    rng, coverage = Rng(f"{kind} {seed}"), Coverage()
    bound_memory(None)
    heed()
    pool = list(seeds)
    for data in seeds:  # everything is imported and cached before memory is measured
        try:
            target(data)
            with coverage:
                target(data)
        except BabyError:
            pass
    gc.collect()
    bound_memory(ROOM)
    baseline, begun, used = _most_memory(), time.monotonic(), time.process_time()
    failures: dict[str, str] = {}
    done = refused = 0
    slowest = 0.0
    while done < count and len(failures) < MOST_FAILURES:
        # half of the files come from the newest finds: they are where something is still to be found
        parent = rng.choice(pool[-20:] if rng.random() < 0.5 else pool)
        data = mutate(parent, rng, pool, kind)
        done += 1
        spent = time.process_time()
        try:
            with coverage:
                bounded(target, data)
        except BabyError:
            refused += 1
        except (Exception, Hang) as error:
            if isinstance(error, Hang) and not _hangs(target, data):
                continue
            where = traceback.extract_tb(error.__traceback__)[-1]
            name = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            if name not in failures:
                path = out / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                failures[name] = f"{path}\n" + "".join(traceback.format_exception(error, limit=-6))
        slowest = max(slowest, time.process_time() - spent)
        if coverage.new and len(data) <= max(LARGEST // 4, len(parent) + 1000):
            pool.append(data)
    return {
        "kind": kind,
        "seed": seed,
        "files": done,
        "refused": refused,
        "pool": len(pool),
        "pairs": len(coverage.pairs),
        "slowest": round(slowest, 3),
        "over": _most_memory() - baseline,
        "failures": failures,
        "seconds": round(time.monotonic() - begun, 1),
        "processor": round(time.process_time() - used, 1),
    }


def main() -> None:
    """Some kinds, in this process."""
    import fuzz_targets

    kinds, count, seed, corpus, out = sys.argv[1:]
    for kind in kinds.split(","):
        seeds = [path.read_bytes() for path in sorted(Path(corpus, kind).iterdir())]
        with fuzz_targets.target(kind) as target:
            found = fuzz(kind, target, seeds, int(count), int(seed), Path(out))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    main()
