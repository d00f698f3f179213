"""At least two hundred kill -9 at random moments of training, checkpointing, saving, fine-tuning and deleting.

Every run is resumed until it is finished (now and then it is stopped politely, too), and must then have the bytes of
one that was never killed, on however many cores; what a deletion left must be whole. The seed is printed;
BABYTUI_STORM_SEED sets it, and BABYTUI_STORM_KILLS how many kills there are at least.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import storm
from waiting import until

from babytui import finetuning, runs
from engine.adaptation import Adaptation
from engine.config import Config
from engine.errors import RunError
from store.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="reads /proc, needs pidfds")]
KILLS = int(os.environ.get("BABYTUI_STORM_KILLS", 200))
AT_ONCE = 2  # runs
STEPS, TUNING = 100, 40
CHECKPOINTS = {"s_checkpoint_steps": 5, "s_checkpoint_seconds": 0, "n_checkpoints": 2}
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 64, "batch_size": 12, **CHECKPOINTS}
SMALLER = {"n_emb": 2, "head_size": 2, "n_heads": 1, "n_ctx": 2, "batch_size": 1, "n_steps": 2500,
           "s_checkpoint_steps": 100}
TEXT = "The cat sat on the mat. The dog saw the cat and ran.\n" * 120
OTHER = "The fox sät on the hill; the owl saw the fox & flew.\n" * 60
PHASES = ("beginning", "training", "checkpointing", "saving", "starting", "deleting", "restoring", "emptying")
VICTIMS = ("worker", "group", "lane", "steered", "stopping", "nobody")
FEWEST = 3  # kills in each phase


@dataclass(frozen=True)
class Kind:
    """What is run: "train", "finetune" (with new symbols), "lora" (low-rank adapters) or "long" (more steps than a
    report has lines), and in which numbers."""

    what: str
    d_type: str

    @property
    def begins_anew(self) -> bool:
        return self.what in ("train", "long")


ALL = [*(Kind(what, d_type) for what in ("train", "finetune", "lora") for d_type in ("fp32", "fp16", "fp64")),
       Kind("long", "fp32")]


@dataclass
class Storm:
    """What all stories share: the nest they begin in (a text, another text, a finished base model), what runs give that
    are never killed, and the tally of kills by phase and victim."""

    folder: Path
    seed: int
    base: str = ""
    whole: dict[Kind, tuple[dict[str, bytes], dict[Any, Any]]] = field(default_factory=dict)
    journal: dict[Kind, int] = field(default_factory=dict)
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> None:
        """Train the base, then one run of each kind that nobody kills."""
        nest = Workspace(self.folder / "nest").ensure()
        (nest.inputs / "cats.txt").write_text(TEXT)
        (nest.inputs / "owls.txt").write_text(OTHER)
        run = runs.start(nest, Config.read({**TINY, "n_steps": 20}), ["cats"], name="base", prompt="The")
        assert run.wait(60) == "finished"
        self.base = run.guid
        for kind in ALL:
            story = Story(self, kind, f"whole-{kind.what}-{kind.d_type}", random.Random(0))
            run = story.begin()
            assert run.wait(120) == "finished", run.tail(3)
            assert storm.unreadable(story.ws) == []
            self.whole[kind] = storm.artifacts_of(story.ws, run.guid), storm.telling(run)
            self.journal[kind] = run.journal.stat().st_size

    def tell(self, phase: str, victim: str) -> None:
        with self.lock:
            self.kills[phase, victim] += 1

    @property
    def phases(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (phase, _), number in self.kills.items():
            found[phase] += number
        return found

    @property
    def enough(self) -> bool:
        phases = self.phases
        return phases.total() >= KILLS and all(phases[phase] >= FEWEST for phase in PHASES)


class Story:
    """One run that is killed again and again, in a workspace of its own."""

    def __init__(self, storm_: Storm, kind: Kind, name: str, dice: random.Random):
        self.storm, self.kind, self.dice = storm_, kind, dice
        self.folder = storm_.folder / name
        shutil.copytree(storm_.folder / "nest", self.folder)
        self.ws = Workspace(self.folder)
        self.log = self.folder / "cli.log"
        self.known = frozenset([storm_.base])
        self.done: list[str] = []  # what happened, for the message of a failure
        self.stopped = False  # politely, so that there may be artifacts of then
        self.killed = False

    # --- starting it --------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        own: dict[str, Any] = {"d_type": self.kind.d_type}
        if self.kind.what == "long":
            return {**TINY, **SMALLER, **own}
        if self.kind.what == "train":
            return {**TINY, **own, "n_steps": STEPS}
        return {**CHECKPOINTS, **own, "n_steps": TUNING}

    def begin(self) -> runs.Run:
        """In this process, through the library's doors."""
        if self.kind.begins_anew:
            return runs.start(self.ws, Config.read(self.config), ["cats"], name="kitten", prompt="The")
        prepared = finetuning.prepare(finetuning.open_base(self.storm.base, self.ws), self.ws, ["owls"],
                                      changes=self.config, name="kitten", prompt="The",
                                      adaptation=Adaptation(rank=2 if self.kind.what == "lora" else 0))
        return finetuning.start(self.ws, prepared)

    def words(self) -> list[str]:
        """The same for the command line."""
        own = [word for name, value in self.config.items() for word in ("--set", f"{name}={value}")]
        own += ["--name", "kitten", "--prompt", "The", "--workspace", str(self.folder)]
        if self.dice.random() < 0.5:
            own.append("--detach")
        if self.kind.begins_anew:
            return ["train", "--input", "cats", *own]
        return ["finetune", self.storm.base, "--input", "owls", *own,
                *(["--lora", "2"] if self.kind.what == "lora" else [])]

    @contextlib.contextmanager
    def some_cores(self):
        """What is started inside may use one core or all; runs may not care."""
        everything = os.sched_getaffinity(0)  # of this thread, inherited by its children
        if self.dice.random() < 0.5:
            os.sched_setaffinity(0, {self.dice.choice(sorted(everything))})
        try:
            yield
        finally:
            os.sched_setaffinity(0, everything)

    # --- killing it ---------------------------------------------------------------------------------------------------

    def run_dir(self) -> Path | None:
        return storm.run_folder(self.folder, self.known)

    def inside(self, name: str) -> Path | None:
        folder = self.run_dir()
        return folder / name if folder else None

    def moment(self) -> tuple[str, storm.Moment]:
        """A phase and when in it to kill."""
        dice = self.dice
        phase = dice.choices(PHASES[:4], (1, 3, 3, 4))[0]
        if phase == "beginning":
            return phase, storm.after(dice.uniform(0, 0.5))
        if phase == "training":
            return phase, storm.grown(partial(self.inside, "events.jsonl"),
                                      dice.randrange(1, max(2, int(0.7 * self.storm.journal[self.kind]))))
        delay = min(0.02, dice.expovariate(1000))
        if phase == "checkpointing":
            return phase, storm.changed(partial(self.inside, "checkpoints"), dice.randint(1, 12), delay)
        where = dice.choice([self.ws.configs, self.ws.tokenizers, self.ws.models, self.ws.outputs, self.ws.outputs,
                             self.ws.settings])
        return phase, storm.changed(lambda: where, dice.randint(1, 4 if where == self.ws.outputs else 2), delay)

    def aim(self, victim: str) -> bool:
        """Kill the run's worker, its group or a lane; or stop it politely and perhaps kill it then; or steer it (pause,
        resume, checkpoint) and kill it then.

        False when there was nobody to do it to; `killed` tells whether somebody was killed.
        """
        self.killed = False
        found = storm.workers(self.folder)
        if not found:
            return False
        pid = found[0].pid
        if victim in ("nobody", "stopping"):
            self.stopped = True
            os.kill(pid, signal.SIGTERM)
            if victim == "stopping":
                time.sleep(self.dice.uniform(0, 0.3))
                self.killed = storm.kill(pid)
            return True
        if victim == "steered":
            for command in self.dice.choices(("pause", "resume", "checkpoint"), k=3):
                with contextlib.suppress(RunError):  # it has ended
                    runs.Run(self.ws, self.run_dir().name).command(command)
                time.sleep(self.dice.uniform(0, 0.05))
        if victim == "lane":
            others = storm.lanes(pid)
            self.killed = bool(others) and storm.kill(self.dice.choice(others).pid)
        else:
            self.killed = storm.kill(pid, group=victim == "group")
        return self.killed

    def launch(self, run: runs.Run | None, hunted: storm.Hunter | None) -> None:
        """Begin or resume; when that fails, it must be because something was killed."""
        if run is not None and run.alive:
            return
        try:
            with self.some_cores():
                if run is None:
                    self.begin()
                else:
                    run.resume()
        except RunError as error:
            if hunted is None or not hunted.end():
                raise
            self.done.append(f"  {error}")

    def start_and_kill_the_cli(self) -> None:
        """A command line that starts, resumes or watches the run, killed at some moment; the run may not care."""
        run = self.found()
        words = self.words() if run is None else ["attach" if run.alive else "resume", run.guid, "--workspace",
                                                  str(self.folder)]
        with self.some_cores():
            child = storm.babytui(words, self.log)
        moment = storm.after(self.dice.uniform(0, 0.7)) if self.dice.random() < 0.4 else \
            storm.changed(lambda: self.run_dir() or self.ws.runs, self.dice.randint(1, 4), self.dice.expovariate(300))
        with storm.Hunter(moment, lambda: storm.kill(child.pid)) as hunter:
            child.wait()
        if hunter.hit:
            self.storm.tell("starting", "cli")
            self.done.append(f"starting: killed {words[0]}")
        # a worker it has started is alive from its first moment: nobody may take the run for dead
        for worker in storm.workers(self.folder):
            run = self.found()
            assert run is not None, f"a worker without a run: {worker}"
            assert run.alive or not storm.workers(self.folder), "a worker without the run's lock"

    def found(self) -> runs.Run | None:
        folder = self.run_dir()
        return runs.Run(self.ws, folder.name) if folder else None

    def go(self, most: int) -> None:
        """Kill it up to `most` times, let it finish, compare."""
        while True:
            run = self.found()
            if run is not None and run.status() == "finished" and not run.alive:
                break
            if most > 0 and self.dice.random() < (0.5 if run is None else 0.1):
                self.start_and_kill_the_cli()
                most -= 1
                self.check()
                continue
            phase, moment = self.moment()
            victim = self.dice.choices(VICTIMS, (6, 4, 4, 1, 1, 1))[0]
            hunter = storm.Hunter(moment, lambda victim=victim: self.aim(victim)) if most > 0 else None
            with hunter or contextlib.nullcontext():
                self.launch(run, hunter)
                run = self.found()
                if run is not None:
                    until(lambda run=run: not run.alive, "the run to end", 120)
            if hunter is not None and hunter.hit:
                most -= 1
                last = run.last_events(1) if run else None
                self.done.append(f"{phase}: {'killed' if self.killed else 'stopped'} {victim} at {last}")
                if self.killed:
                    self.storm.tell(phase, victim)
            elif run is not None and run.status() != "finished":
                raise AssertionError(f"{run.status()} although nothing was killed: {run.last_events(3)}")
            until(lambda: not storm.workers(self.folder), "the processes to end")
            self.check()
        self.compare(run)
        doctor(self.folder)
        self.compare(run)

    def check(self) -> None:
        """Nothing is unreadable, and what is complete has its bytes already."""
        assert storm.unreadable(self.ws) == []
        run = self.found()
        if run is not None:
            assert run.status() in runs.OVER or run.alive
        if run is not None and not self.stopped:
            whole = self.storm.whole[self.kind][0]
            storm.same(storm.artifacts_of(self.ws, run.guid), whole, complete=False)

    def compare(self, run: runs.Run) -> None:
        """All is as if nobody had killed it, and the base is what it was."""
        whole, telling = self.storm.whole[self.kind]
        storm.same(storm.artifacts_of(self.ws, run.guid), whole)
        told = storm.telling(run)
        assert told.keys() == telling.keys(), f"the journal differs in {sorted(told.keys() ^ telling.keys())[:10]}"
        wrong = [(told[key], telling[key]) for key in told if told[key] != telling[key]]
        assert not wrong, wrong[:3]
        base = self.storm.base
        storm.same(storm.artifacts_of(self.ws, base), storm.artifacts_of(Workspace(self.storm.folder / "nest"), base))
        assert self.ws.last()["last_uuid"] == run.guid


def doctor(folder: Path) -> None:
    """Repair a workspace; afterwards nothing is left of the processes that were killed."""
    log = folder.parent / f"{folder.name}-doctor.log"
    storm.age(folder)
    assert storm.babytui(["doctor", "--repair", "--deep", "--yes", "--workspace", folder], log).wait() == 0, \
        log.read_text()
    assert storm.leftovers(folder) == []


class Deletion:
    """A model that is deleted and brought back by command lines that are killed, in a workspace of its own."""

    def __init__(self, storm_: Storm, name: str, dice: random.Random):
        self.storm, self.dice = storm_, dice
        self.folder = storm_.folder / name
        shutil.copytree(storm_.folder / "nest", self.folder)
        self.ws = Workspace(self.folder)
        self.log = self.folder / "cli.log"
        self.files = self.contents()
        self.done: list[str] = []

    def contents(self) -> dict[str, str]:
        """SHA-256 of everything of the model that is in its place, by path; without locks, which tell who was alive."""
        found = {}
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder)
            if self.storm.base in str(name) and name.parts[0] != ".trash" and path.is_file() and path.name != "lock":
                found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def somewhere(self) -> dict[str, str]:
        """The same of what is in its place or in the trash."""
        found = self.contents()
        for trash in (self.folder / ".trash").glob("*"):
            for path in trash.rglob("*"):
                name = str(path.relative_to(trash))
                if path.is_file() and name in self.files:
                    assert name not in found, f"{name} is there twice"
                    found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def command(self, *words: str) -> tuple[int, str]:
        """A command line that nobody kills: its code, and what it printed."""
        log = self.log.with_name("words.log")
        log.unlink(missing_ok=True)
        code = storm.babytui([*words, "--workspace", self.folder], log).wait()
        return code, log.read_text()

    def killed(self, phase: str, *words: str) -> bool:
        """The same, killed at some moment; whether it was."""
        child = storm.babytui([*words, "--workspace", self.folder], self.log)
        folders = [self.folder / ".trash", self.ws.configs, self.ws.tokenizers, self.ws.models, self.ws.outputs,
                   self.ws.runs]
        where = folders[0] if phase == "emptying" else self.dice.choice(folders)
        moment = storm.changed(lambda: where, 1, self.dice.choice([0, self.dice.expovariate(3000)]))
        with storm.Hunter(moment, lambda: storm.kill(child.pid)) as hunter:
            child.wait()
        if hunter.hit:
            self.storm.tell(phase, "cli")
            self.done.append(f"{phase}: killed {words}, {where.name} had changed")
        return hunter.hit

    def delete(self) -> int:
        """Killed up to three times, then done; how often it was killed."""
        kills = 0
        while kills < 3 and self.killed("deleting", "delete", self.storm.base, "--yes"):
            kills += 1
            assert self.somewhere() == self.files
        if self.contents():
            code, said = self.command("delete", self.storm.base, "--yes")
            assert code == 0, said
        assert self.contents() == {} and self.somewhere() == self.files
        assert storm.unreadable(self.ws) == []
        return kills

    def go(self, most: int) -> None:
        while most > 0:
            most -= 1 + self.delete()
            for _ in range(3):
                if not self.killed("restoring", "trash", "restore", self.storm.base):
                    break
                most -= 1
                assert self.somewhere() == self.files
            if self.contents() != self.files:
                code, said = self.command("trash", "restore", self.storm.base)
                assert code == 0, said
            assert self.contents() == self.files
            assert storm.unreadable(self.ws) == []
        doctor(self.folder)
        assert self.contents() == self.files
        self.delete()
        for _ in range(2):
            if not self.killed("emptying", "trash", "empty", "--yes"):
                break
            left = self.somewhere()
            assert self.contents() == {} and left == {name: self.files[name] for name in left}
        code, said = self.command("trash", "empty", "--yes")
        assert code == 0 and not self.somewhere(), said
        doctor(self.folder)


def test_two_hundred_kills_lose_nothing(tmp_path, capsys):
    seed = int(os.environ.get("BABYTUI_STORM_SEED") or secrets.randbits(32))
    shared = Storm(tmp_path, seed)
    with capsys.disabled():
        print(f"\nThe seed of this storm is {seed}; BABYTUI_STORM_SEED={seed} repeats its choices.", flush=True)
    shared.prepare()
    numbers, over = count(), threading.Event()

    def tell_stories() -> None:
        while not shared.enough and not over.is_set():
            number = next(numbers)
            dice = random.Random(f"{seed}/{number}")
            name = f"story-{number}"
            story: Story | Deletion
            if number % 6 == 5:
                story, most = Deletion(shared, name, dice), 6
            else:
                story, most = Story(shared, ALL[(number - number // 6) % len(ALL)], name, dice), 10
            try:
                story.go(most)
            except BaseException as error:
                over.set()
                kind = getattr(story, "kind", "deletion")
                error.add_note(f"seed {seed}, story {number} ({kind}) in {story.folder}:\n" + "\n".join(story.done))
                raise
            shutil.rmtree(story.folder)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = [pool.submit(tell_stories) for _ in range(AT_ONCE)]
    for story in told:
        story.result()
    table = {f"{phase}, {victim}": number for (phase, victim), number in sorted(shared.kills.items())}
    with capsys.disabled():
        print(f"{shared.phases.total()} kills in {next(numbers)} stories: {json.dumps(table)}", flush=True)


