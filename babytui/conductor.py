"""The process of a bake-off: `python -m babytui conduct GUID`, started by babytui.bakeoff and by nothing else.

Takes the bake-off's lock and starts ordinary runs, as many at once as were asked for. When one has ended and nothing
else is being trained, it measures how fast the model writes and appends the result. It may be killed at any time:
what is done is in results.jsonl, and which run trains what was written to log.jsonl before that run was started.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import exp
from pathlib import Path
from typing import Any, TypeVar

import orjson

from babytui import library, process, runs, texts
from babytui.bakeoff import Architecture, BakeOff, architecture_of, config_of
from babytui.process import Displaced, Hold
from engine import events
from engine.config import Config, complete
from engine.errors import BabyError, RunError
from store import atomic, journal, plans
from store.atomic import StoreError
from store.lock import Lock
from store.names import new_guid, valid_guid
from store.workspace import Workspace

IDLE_SECONDS = 0.1
RETRY_SECONDS = 2.0  # how often a bake-off that the disk refuses tries again
RESERVE = 1 << 16  # bytes kept on the disk, so that it can say that it is full
ATTEMPTS = 3  # at a run that dies
MEASURE_SECONDS = 1.0
LEAST_REPEATS, MOST_REPEATS = 3, 50


T = TypeVar("T")


def main(argv: list[str]) -> int:
    """Conduct the bake-off named on the command line and return the exit code."""
    parser = process.parser("conduct")
    parser.add_argument("--retry", action="store_true")
    given = parser.parse_args(argv)
    found = BakeOff(Workspace(given.workspace), given.guid)
    return process.hold(found, given.lock, lambda lock: Conductor(found, given.retry, lock).run_to_end())


class Conductor:
    """One process at work on a bake-off. retry: also what failed before. lock: that of the bake-off, which is held."""

    def __init__(self, found: BakeOff, retry: bool = False, lock: Lock | None = None):
        self.bakeoff, self.workspace = found, found.workspace
        self.hold = Hold(lock)
        self.reserve = found.dir / "reserve"
        self.asked = False  # to stop, by a signal
        self.plan = plans.read(found.dir / plans.NAME, need=("architectures", "budget", "config", "texts",
                                                                 "vocab_size"))
        self.budget = found.budget
        self.jobs = max(1, int(self.plan.get("jobs") or 1))
        self.base = Config.read(complete(self.plan.get("config") or {}), strict=False)
        self.log = journal.Journal(found.log)
        done = journal.read(found.results)[0]
        self.again = [architecture_of(row) for row in done if row.get("error")] if retry else []
        if self.again:
            done = [row for row in done if not row.get("error")]
            atomic.write_bytes(found.results, b"".join(orjson.dumps(row) + b"\n" for row in done))
        self.results = journal.Journal(found.results)
        self.marker = found.dir / "stop"
        self.marker.unlink(missing_ok=True)
        self.stopping = False
        self.attempts: dict[Architecture, int] = {}
        self.begun: dict[Architecture, float] = {}
        self.runs = {architecture_of(line): str(line["guid"]) for line in journal.read(found.log)[0]
                     if line.get("event") == "run" and valid_guid(line.get("guid"))}
        finished = {architecture_of(row) for row in done}
        self.waiting = deque(one for one in found.architectures if one not in finished)
        self.live: dict[Architecture, runs.Run] = {}
        self.trained: deque[tuple[Architecture, runs.Run]] = deque()
        process.heed(self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        self.asked = True
        with suppress(OSError):
            self.marker.touch()

    def run_to_end(self) -> int:
        """Do what is missing; whatever ends it early is the last line of the log."""
        reason, message = "finished", ""
        self.log.append({"event": "begin", "pid": os.getpid(), "time": time.time()})
        self.log.flush(sync=True)  # whoever starts it waits for this line, and is told why it cannot be written
        try:
            with suppress(StoreError):
                self._take_reserve()
            for one in self.again:
                self.runs.pop(one, None)
                self._tell(event="retry", **one._asdict())
            self._work()
            reason = "stopped" if self.stopping else "finished"
        except Displaced as error:  # what there is belongs to the other now
            self._say(str(error))
            return 1
        except Exception as error:
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            reason = "failed"
            message = str(error) if isinstance(error, BabyError) else (
                f"The bake-off met an unexpected error ({type(error).__name__}: {error}); see "
                f"{self.bakeoff.dir / 'conductor.log'}.")
        try:
            self._tell(event="end", reason=reason, message=message)
        except BabyError as error:  # then it counts as died, and this says why
            print(error, file=sys.stderr, flush=True)
        with suppress(OSError):
            self.reserve.unlink()
        return 1 if reason == "failed" else 0

    def _tell(self, **line: Any) -> None:
        self.log.append({**line, "time": time.time()})
        self._insist(lambda: self.log.flush(sync=True))

    def _insist(self, do: Callable[[], T]) -> T:
        """What `do` gives. As long as the disk refuses, says so, waits and tries again; StoreError when it is to stop.
        """
        told = False
        while True:
            try:
                if told and not self._to_stop():
                    self._take_reserve()  # the lines that say so have been written into its room
                found = do()
                break
            except StoreError as error:
                if told and self._to_stop():
                    raise
                if not told:
                    told = True
                    with suppress(OSError):
                        self.reserve.unlink()
                    again = f"{error} The bake-off waits and tries again every {RETRY_SECONDS:g} s."
                    self._say(again)
                    self._note(event="disk", message=again)
            end = time.monotonic() + RETRY_SECONDS
            while time.monotonic() < end and not self._to_stop():
                self.hold.look()
                time.sleep(IDLE_SECONDS)
        if told:
            self._note(event="room")
        return found

    def _note(self, **line: Any) -> None:
        """A line of the log that may have to wait in memory for the next."""
        with suppress(StoreError):
            self.log.append({**line, "time": time.time()})
            self.log.flush()

    def _take_reserve(self) -> None:
        """Take the room on the disk that is given up when it is full. StoreError."""
        if not self.reserve.exists():
            atomic.write_bytes(self.reserve, os.urandom(RESERVE))  # zeros may take no room

    def _to_stop(self) -> bool:
        return self.stopping or self._just_asked()

    def _just_asked(self) -> bool:
        return self.asked or self.marker.exists()

    def _check_text(self) -> None:
        """RunError when the text is another than the one it was started with: its rows would not be comparable."""
        text = texts.read([Path(path) for path in self.plan["texts"]])
        if texts.digest(text) != self.plan.get("text_sha256"):
            raise RunError("The text has changed since this bake-off was started; put the old one back, or start "
                           "another bake-off.")

    def _work(self) -> None:
        self._check_text()
        while self.waiting or self.live or self.trained:
            self.hold.look()
            if self._to_stop():
                self._stop()
                return
            while self.waiting and len(self.live) < self.jobs and not (self.jobs == 1 and self.trained):
                one = self.waiting.popleft()
                self.begun.setdefault(one, time.monotonic())
                self._begin(one)
            for one, run in list(self.live.items()):
                self._watch(one, run)
            if self.trained and not self.live and (self.jobs == 1 or not self.waiting):
                self._measure(*self.trained.popleft())
            elif self.live:
                time.sleep(IDLE_SECONDS)

    def _stop(self) -> None:
        """Ask what is being trained to stop, every time somebody asks for it, and wait for it."""
        self.stopping = True
        while any(run.alive for run in self.live.values()):
            if self._just_asked():
                self.asked = False
                self.marker.unlink(missing_ok=True)
                for run in self.live.values():
                    with suppress(RunError):  # it has just ended
                        run.command("stop")
            time.sleep(IDLE_SECONDS)
        self.marker.unlink(missing_ok=True)

    # --- one architecture ---------------------------------------------------------------------------------------------

    def _begin(self, one: Architecture) -> None:
        """Start its run, go on with the one that was interrupted, or find it done."""
        try:
            config = config_of(self.base, one, self.budget, self.jobs)
            config.validate()
        except BabyError as error:
            self._result(one, error=str(error))
            return
        try:
            self.live[one] = self._earlier(one) or self._new(one, config)
        except StoreError:  # it was told to stop while it waited for room
            self.waiting.appendleft(one)
            time.sleep(IDLE_SECONDS)
        except BabyError as error:
            self._result(one, error=str(error))

    def _earlier(self, one: Architecture) -> runs.Run | None:
        """The run that was started for it before, going on if it was interrupted; None when there is none to keep."""
        guid = self.runs.get(one)
        if guid is None:
            return None
        run = runs.Run(self.workspace, guid)
        if not run.plan:  # killed before it was there
            return None
        if run.status() in ("stopped", "died", "failed"):  # one that failed with the disk may get further now
            try:
                self._insist(run.resume)
            except StoreError:
                raise
            except RunError as error:
                self._say(f"{one.label}: {error}")  # the run tells it too, as its end
        return run

    def _new(self, one: Architecture, config: Config) -> runs.Run:
        guid = new_guid()
        self.runs[one] = guid
        self._tell(event="run", guid=guid, **one._asdict())
        name = runs.choose_name(self.workspace, None, f"{self.plan.get('name', 'bake')} {one.label}")
        return self._insist(lambda: runs.begin(self.workspace, config, int(self.plan["vocab_size"]), {
            "name": name, "texts": self.plan["texts"], "notes": [], "dataset": self.plan.get("dataset", ""),
            "prompt": self.plan.get("prompt", ""), "time_budget": self.budget.seconds}, guid))

    def _watch(self, one: Architecture, run: runs.Run) -> None:
        """Take a run that is over out of those that are live."""
        status = run.status()
        if status in runs.LIVE:
            return
        del self.live[one]
        end = _last(run, events.End)
        if status == "finished":
            self.trained.append((one, run))
        elif status == "died":
            self.attempts[one] = self.attempts.get(one, 0) + 1
            if self.attempts[one] < ATTEMPTS:
                self.waiting.appendleft(one)
            else:
                self._result(one, run, error=f"It died {ATTEMPTS} times; {run.dir / 'worker.log'} may say why.")
        elif status == "stopped" and end is not None:
            self._result(one, run, error=f"It was stopped after {end.step:,} steps.")
        else:
            self._result(one, run, error=end.message if end is not None else "It failed.")

    def _measure(self, one: Architecture, run: runs.Run) -> None:
        try:
            speed = generation_speed(library.load(run.guid, self.workspace))
        except (BabyError, MemoryError) as error:
            self._result(one, run, error=f"Its model cannot write: {error or 'too little memory'}")
            return
        self._result(one, run, generation_tokens_per_second=speed)

    def _result(self, one: Architecture, run: runs.Run | None = None, **values: Any) -> None:
        """Append the row of an architecture that is done."""
        row = {**one._asdict(), **(numbers(run) if run else {}), **values,
               "elapsed": time.monotonic() - self.begun[one], "ended": time.time()}
        self.results.append(row)
        self._insist(lambda: self.results.flush(sync=True))
        self._say(f"{one.label}: {row.get('error') or row.get('validation_loss')}")

    def _say(self, text: str) -> None:
        print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def numbers(run: runs.Run) -> dict[str, Any]:
    """What a run that is over came to. perplexity is None without held-back text."""
    from engine.estimate import state_bytes

    end, first = _last(run, events.End), run.events(0, 1 << 16)[0]
    start = next((event for event in first if isinstance(event, events.Start)), None)
    found: dict[str, Any] = {"guid": run.guid, "name": run.name}
    if start is not None:
        config = Config.read(start.config, strict=False)
        total = state_bytes(config)
        found |= {"parameters": start.parameters, "state_bytes": total, "cache_bytes_per_token": total / config.n_ctx}
    if end is not None:
        loss = end.validation_loss
        found |= {"steps": end.step, "tokens": end.tokens, "seconds": end.seconds, "train_loss": end.train_loss,
                  "tokens_per_second": end.tokens / end.seconds if end.seconds else None, "validation_loss": loss,
                  "perplexity": exp(min(loss, 700.0)) if loss is not None else None}
    return found


def generation_speed(baby: library.Baby) -> float:
    """Tokens per second of one reply with the cache, from an empty context to a full one.

    The fastest of several: other work on the machine can only slow a reply down.
    """
    count = max(2, baby.config.n_ctx)
    speeds: list[float] = []
    spent = 0.0
    for _ in baby.generate("", count, seed=1, cache=True):  # warm
        pass
    while len(speeds) < LEAST_REPEATS or (spent < MEASURE_SECONDS and len(speeds) < MOST_REPEATS):
        generation = baby.generate("", count, temperature=0.8, seed=1, cache=True)
        for _ in generation:
            pass
        speeds.append(generation.tokens_per_second)
        spent += generation.seconds
    return max(speeds)


def _last(run: runs.Run, kind: type[Any]) -> Any:
    return next((event for event in reversed(run.last_events()) if isinstance(event, kind)), None)
