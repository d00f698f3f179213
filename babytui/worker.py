"""The training process: `python -m babytui worker GUID`, started by babytui.runs and by nothing else.

Takes the run's lock, trains, appends every event to the journal, carries out commands between two steps, saves
checkpoints, and at the end writes the artifacts and then End. It outlives the terminal; SIGTERM and SIGINT stop it
and keep the model. While the disk refuses it waits. Whenever it is killed, another one goes on to the same bytes.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babytui import outcome, process, runs, thinning
from babytui.checkpoints import AS_BEST, Checkpoints, State, extra_of, with_extra
from babytui.process import Displaced
from engine import events
from engine.config import Config, complete
from engine.errors import BabyError, FormatError, RunError
from store import atomic, journal, plans
from store.atomic import StoreError
from store.lock import Lock
from store.workspace import Workspace

if TYPE_CHECKING:
    from babytui.mpi import Mpi
    from inputs.reading import Text

FLUSH_SECONDS = 0.1
IDLE_SECONDS = 0.05  # how often a paused run looks for a command
RETRY_SECONDS = 2.0  # how often a run that the disk refuses tries again
KEPT_CHARACTERS = 1 << 26  # of a text that a run keeps a copy of
LONG_JOURNAL = 1 << 24  # bytes, from which the journal of a run that has ended is thinned
COST, FREE_SECONDS = 0.02, 0.5  # of the time, and beyond, may go into writing what was the best so far
RESERVE = 1 << 16  # bytes kept on the disk, so that a run can say that it is full


def main(argv: list[str]) -> int:
    """Train the run named on the command line and return the exit code."""
    parser = process.parser("worker")
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(argv)
    run = runs.Run(Workspace(given.workspace), given.guid)

    def work(lock: Lock) -> int:
        return Worker(run, given.control, given.resume, lock=lock).run_to_end()

    try:
        return process.hold(run, given.lock, work)
    except BabyError as error:  # of its very folder: there is no journal to tell it in
        print(error, file=sys.stderr)
        return 1


class Worker:
    """One training process. `control`: journal offset of the first command that is meant for it. group: other processes
    that take part; this is rank 0 of them. lock: that of the run, which is held."""

    def __init__(self, run: runs.Run, control: int, resume: bool, group: Mpi | None = None, lock: Lock | None = None):
        self.run = run
        self.hold = process.Hold(lock)
        self.plan = plans.read(run.dir / plans.NAME, need=("config", "texts"))
        self.resume = resume
        self.journal = journal.Journal(run.journal)
        self.checkpoints = Checkpoints(run.dir / "checkpoints", self.journal)
        self.reserve, self.kept_text = run.dir / "reserve", run.dir / "text.txt"
        self.control = run.dir / "control.jsonl"
        self.group = group
        self.offset = control
        self.device = os.stat(run.dir.parent).st_dev
        self.step = 0
        self.paused = False
        self.stops = 0
        self.deaf = False  # told that commands cannot be read
        self.trouble: Exception | None = None  # what the disk refused
        self.again: deque[events.Control] = deque()  # learning rates that were set at its step or later
        self.rates: list[events.Control] = []  # all that were set before this process
        self.trainer: Any = None
        self.model: Any = None
        self.tokenizer: Any = None
        self.digest = ""
        self.begun = self.last_flush = self.last_saved = time.monotonic()
        self.saved_step = -1
        self.rollbacks = 0
        process.heed(self.stop)

    def stop(self, *_: object) -> None:
        """Stop and keep the model; a signal handler."""
        self.stops += 1
        if self.trainer is not None:
            self.trainer.stop()

    def run_to_end(self) -> int:
        """Train; whatever goes wrong is an Alarm and an End in the journal, and its traceback in worker.log."""
        try:
            self._train()
            return 0
        except Displaced as error:  # what there is belongs to the other now
            _log(error)
            return 1
        except Exception as error:
            _log(traceback.format_exc())
            self._fail(self._sentence(error))
            return 1
        finally:
            self.checkpoints.wait()

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, BabyError):
            return str(error)
        if isinstance(error, MemoryError):
            return "The machine has too little memory for this; lower batch_size, n_ctx or n_emb."
        log = self.run.dir / "worker.log"
        return f"Training met an unexpected error ({type(error).__name__}: {error}); see {log}."

    def _fail(self, message: str) -> None:
        done = self.trainer
        end = events.End(step=self.step, reason="failed", train_loss=done.train_loss if done else None,
                         validation_loss=done.validation_loss if done else None, tokens=done.tokens if done else 0,
                         seconds=done.seconds if done else 0, message=message)
        self._write(events.Alarm(step=self.step, name="failed", message=message))
        self._write(end)
        try:
            self.journal.close()
        except BabyError as error:  # then the run counts as died, and its log may have the reason
            _log(error)

    def _train(self) -> None:
        from babytui import texts

        self.config = Config.read(complete(self.plan.get("config") or {}), strict=False)
        self.checkpoints.keep = self.config.n_checkpoints
        text = self._text()
        self.digest = texts.digest(text)
        with suppress(OSError, StoreError):
            self._take_reserve()
        self._prepare(text)
        if self.stops and self.trainer.over != "stopped":
            self.trainer.stop()
        try:
            end = self._steps()
        except Displaced:
            raise
        except Exception:
            if self.trainer.team.whole:  # what was trained so far is not lost with what went wrong
                self._checkpoint("failed")
                self.checkpoints.wait()
                self._tell_checkpoints()
            raise
        self._finish(end)

    def _text(self) -> Text:
        """What the run learns: when it goes on, the copy that it has kept from its beginning, else the files that it
        was started with, which may have gone or changed meanwhile."""
        from babytui import texts

        if self.resume and self.kept_text.is_file():
            return texts.read([self.kept_text])
        text = texts.read([Path(path) for path in self.plan["texts"]])
        if text.characters <= KEPT_CHARACTERS:
            try:
                with atomic.replacing(self.kept_text) as file:
                    file.writelines(part.encode("utf-8", "surrogatepass") for part in text)
            except StoreError as error:  # then it needs the files
                _log(error)
        return text

    def _prepare(self, text: Iterable[str]) -> None:
        """Trainer, model and vocabulary: those of the last checkpoint that is whole and fits, else new ones."""
        from engine.estimate import cores
        from engine.trainer import Trainer

        for state in self._states():
            try:
                self._begin_with(self.config, text, state)
                self.trainer = Trainer(self.model, self.tokenizer, self.tokenizer.encode(text), resume=state,
                                       prompt=self.plan.get("prompt", ""), dataset=self.plan.get("dataset", ""),
                                       time_budget=self.plan.get("time_budget"), group=self.group,
                                       cores=(self.group.cores if self.group else cores)(self.config),
                                       last_good=self._last_good)
            except FormatError as error:
                if state is None:
                    raise
                self._alarm(f"{error} The one before it is used.")
            else:
                self.step, self.rollbacks = self.trainer.step, self.trainer.rollbacks
                self.saved_step = self.step if state is not None else -1
                self.again = deque(event for event in self.rates if event.step >= self.step)
                return

    def _states(self) -> Iterator[State | None]:
        """What to begin with, the best first: the states of checkpoints, then None. RunError when the text is another.
        """
        if self.resume:
            self.checkpoints.recall()
            self.rates = self._rates()
            for found in self.checkpoints.load():
                if isinstance(found, BabyError):
                    self._alarm(f"{found} The one before it is used.")
                    continue
                if found[1].get("text_sha256") != self.digest:
                    raise RunError("The text has changed since this run was started; put the old one back, or start a "
                                   "new run.")
                yield found
        yield None

    def _rates(self) -> list[events.Control]:
        """Every learning rate that a person has set, by step; a rollback has used up those before it."""
        found: list[events.Control] = []
        offset, before = 0, -1
        while offset != before:
            before = offset
            told, offset = self.run.events(offset, 1 << 22)
            for event in told:
                if isinstance(event, events.Control) and event.command == "learning_rate":
                    found.append(event)
                elif isinstance(event, events.Alarm) and event.name == "rollback":
                    found.clear()
        return sorted(found, key=lambda event: event.step)

    def _last_good(self, before: int | None) -> State | None:
        """The newest checkpoint whose numbers were finite, one of before a step if it is given such."""
        return next((found for found in self.checkpoints.load(before)
                     if not isinstance(found, BabyError) and not found[1].get("bad")), None)

    def _begin_with(self, config: Config, text: Iterable[str], state: State | None) -> None:
        """The vocabulary and the model: new ones, those of the base, or empty ones for what a checkpoint holds."""
        from babytui import finetuning
        from engine import contents, registry
        from engine.adaptation import Adaptation
        from engine.model import Model, each_tensor

        kind = registry.tokenizer.get(config.c_tokenizer)
        if state is not None:
            self.tokenizer = kind(state[1]["vocab"])
            adaptation, size = Adaptation.read(self.plan.get("adaptation", {})), len(self.tokenizer.vocab)
            contents.check_state(each_tensor(config.validate(), size), state[0], "The checkpoint")
            runs.need_memory(config, size, adaptation)
            self.model = Model(config, size, adaptation)
            self.model.extra = extra_of(state)
        elif self.plan.get("base"):
            self.model, self.tokenizer = finetuning.newborn(self.plan, config, text)
        else:
            self.tokenizer = kind.fit(text)
            runs.need_memory(config, len(self.tokenizer.vocab))
            self.model = Model.create(config, len(self.tokenizer.vocab))

    def _steps(self) -> events.End:
        for event in self.trainer:
            self.step = event.step
            if isinstance(event, events.End):
                return event
            self._write(event)
            if isinstance(event, events.Start):
                if self.trainer.rollbacks > self.rollbacks:  # what came later is given up, and so is the old rate
                    self.rollbacks = self.trainer.rollbacks
                    self._checkpoint("rollback", newest=True)
                elif self.saved_step < 0:  # from here on nothing but the text is needed, and there is a way back
                    self._checkpoint("start")
            elif isinstance(event, events.Evaluation):
                self._keep_the_best(event)
            if isinstance(event, (events.Start, events.Step)):
                self._between_steps()
        raise AssertionError("the last event is the end")

    def _between_steps(self) -> None:
        """Commands, signals, a disk that refuses, and the checkpoint policy."""
        while self.again and self.again[0].step <= self.step:
            if (rate := self.again.popleft().value) is not None:
                self.trainer.set_learning_rate(rate)
        self._poll()
        self._tell_checkpoints()
        while (self.paused or self.trouble) and not self.stops:
            if self.trouble:
                self._wait_for_the_disk()
                continue
            time.sleep(IDLE_SECONDS)
            self._poll()
            self._tell_checkpoints()
        if self.trainer.over:
            self._checkpoint("end")  # before the last look at the model, so that a stopped run can go on as if it had
        elif self._due():            # never been stopped
            self._checkpoint("policy")

    def _due(self) -> bool:
        """Whether the policy asks for a checkpoint.

        One that is due by its step is of that very step, on a slow disk too, where it waits for the one before it.
        """
        seconds, steps = self.config.s_checkpoint_seconds, self.config.s_checkpoint_steps
        if self.step == self.saved_step:
            return False
        return bool((steps and self.step - self.saved_step >= steps)
                    or (seconds and not self.checkpoints.busy and time.monotonic() - self.last_saved >= seconds))

    def _keep_the_best(self, event: events.Evaluation) -> None:
        """A checkpoint at the very evaluation that is the best so far, unless so many were made that it would be felt.
        """
        best, loss, saved = self.checkpoints.best, event.validation_loss, self.checkpoints
        if event.full or not event.step or loss is None or (best is not None and loss >= best):
            return
        if not saved.busy and saved.for_the_best <= COST * (time.monotonic() - self.begun) + FREE_SECONDS:
            self._checkpoint(AS_BEST)

    def _poll(self) -> None:
        self.hold.look()
        if self.group is not None:
            self.group.check()
            if self.group.stopping and not self.stops:  # a launcher signals all ranks; once is enough
                self.stop()
        try:
            if os.stat(self.control).st_size == self.offset:
                return
            commands, self.offset = journal.read(self.control, self.offset)
        except (OSError, StoreError):  # it may be read again, and signals reach the run meanwhile
            return
        except FormatError as error:
            if not self.deaf:
                self.deaf = True
                self._alarm(f"{error} Until that is mended the run hears signals only.", "control")
            return
        self.deaf = False
        for command in commands:
            self._obey(str(command.get("command")), command.get("value"))

    def _obey(self, name: str, value: Any) -> None:
        if name == "learning_rate":
            if not isinstance(value, (int, float)) or not 0 <= value <= 10:
                return
            self.trainer.set_learning_rate(float(value))
        elif name in ("pause", "resume"):
            if self.paused == (name == "pause"):
                return
            self.paused = name == "pause"
        elif name == "stop":
            self.stop()
        elif name != "checkpoint":
            return
        self._write(events.Control(step=self.step, command=name, value=value if name == "learning_rate" else None))
        if name in ("checkpoint", "pause"):
            self._checkpoint("command")

    def _write(self, event: events.Event) -> None:
        """Append to the journal. While the disk has no room the lines wait in memory."""
        try:
            self.journal.append(event.to_dict())
            now = time.monotonic()
            if not isinstance(event, events.Step) or now - self.last_flush > FLUSH_SECONDS:
                self.last_flush = now
                self.journal.flush()
        except StoreError as error:
            self.trouble = error
            _log(error)

    def _checkpoint(self, reason: str, *, newest: bool = False) -> None:
        """Save parameters, moments, configuration, cursor, vocabulary and what else the model's file will hold, beside
        the training. A disk that refuses is trouble, anything else an alarm."""
        if self.step == self.saved_step and not newest and (self.trainer.over or reason == "failed"):
            return  # and what came after it is no state that one could go on from
        try:
            self.journal.flush()
        except StoreError as error:
            self.trouble = error
            return
        arrays, meta = with_extra(self.trainer.state(), self.model.extra)
        meta |= {"vocab": self.tokenizer.vocab, "text_sha256": self.digest}
        self.checkpoints.save((arrays, meta), reason, newest=newest)
        if reason != AS_BEST:  # which comes when it likes, and is no part of the series
            self.last_saved, self.saved_step = time.monotonic(), self.step

    def _tell_checkpoints(self) -> None:
        """Write to the journal which checkpoints there are now; not every time that one is better than all before."""
        for saved in self.checkpoints.told():
            if saved.error is None and saved.reason == AS_BEST:
                continue
            if saved.error is None:
                self._write(events.Checkpoint(step=saved.step, path=f"checkpoints/{saved.path.name}",
                                              reason=saved.reason))
            elif isinstance(saved.error, StoreError):
                self.trouble = saved.error
            else:
                self._alarm(f"The checkpoint was not saved: {saved.error}")

    def _alarm(self, message: str, name: str = "checkpoint") -> None:
        self._write(events.Alarm(step=self.step, name=name, message=message))

    def _finish(self, end: events.End) -> None:
        """Keep everything: the last checkpoint, the artifacts, settings/last.json; then End."""
        completion = outcome.completion(self.run, self.plan, self.model, self.tokenizer)
        self._insist(lambda: self._save(end, completion))
        self.checkpoints.retry()
        self._tell_checkpoints()
        self._write(end)
        self._insist(lambda: self.journal.flush(sync=True))
        self.journal.close()
        needless = [self.reserve]
        if end.reason in ("finished", "time"):  # it will not go on
            self.checkpoints.thin()
            needless.append(self.kept_text)
        with suppress(BabyError, OSError):
            if self.run.journal.stat().st_size > LONG_JOURNAL:
                thinning.thin(self.run)
        for path in needless:
            with suppress(OSError):
                path.unlink()

    # A disk that refuses ----------------------------------------------------------------------------------------------

    def _wait_for_the_disk(self) -> None:
        """Wait until the journal and a checkpoint can be written again, or somebody stops the run."""
        def write() -> None:
            self.trouble = None
            self.journal.flush()
            self.checkpoints.retry()
            self._tell_checkpoints()
            if self.trouble is not None:
                raise self.trouble
            self._take_reserve()  # the lines that say so have been written into its room: that is no sign of more

        trouble, self.trouble = self.trouble, None
        self._insist(write, trouble, enough=0)

    def _insist(self, write: Callable[[], None], trouble: Exception | None = None, enough: int = 1) -> None:
        """Carry out `write`; as long as the disk refuses, say so, wait and try again. StoreError when more than
        `enough` stops were asked for.

        trouble: what it refused before; then it is told at once.
        """
        told = False
        while True:
            try:
                if trouble is not None:
                    raise trouble
                write()
                break
            except StoreError as error:
                trouble = None
                if self._deleted():
                    raise RunError(f"The folder of this run is gone: {self.run.dir}.") from None
                if self.stops > enough and told:
                    if enough:
                        raise
                    break  # the run ends, and insists on its model
                if not told:
                    told = True
                    with suppress(OSError):
                        self.reserve.unlink()  # the room for these two lines
                    again = ("stop it twice to give its model up" if enough else
                             "it goes on where it is as soon as it can")
                    self._alarm(f"{error} The run waits and tries again every {RETRY_SECONDS:g} s; {again}.", "disk")
                    self._write(events.Control(step=self.step, command="pause"))
            end = time.monotonic() + RETRY_SECONDS
            while time.monotonic() < end and self.stops <= enough:
                time.sleep(IDLE_SECONDS)
                self._poll()
        self.trouble = None
        if told and not self.paused:
            self._write(events.Control(step=self.step, command="resume"))

    def _deleted(self) -> bool:
        """Whether somebody took the run's folder away; a disk that was lost takes its parent along, or leaves another
        in its place."""
        try:
            return os.stat(self.run.dir.parent).st_dev == self.device and not self.run.dir.is_dir()
        except OSError:
            return False

    def _take_reserve(self) -> None:
        """Take the room on the disk that is given up when it is full. StoreError."""
        if not self.reserve.exists():
            atomic.write_bytes(self.reserve, os.urandom(RESERVE))  # zeros may take no room

    def _save(self, end: events.End, completion: dict[str, Any]) -> None:
        self.journal.flush(sync=True)  # the report is made from it
        for save in outcome.savers(self.run, self.plan, self.model, self.tokenizer, end, completion).values():
            save()
        self.run.workspace.save_last(self.run.guid, prompt=self.plan.get("prompt") or None)


def _log(what: object) -> None:
    """To worker.log, which lies on the disk that may be full."""
    try:
        print(what, file=sys.stderr, flush=True)
    except OSError:
        pass
