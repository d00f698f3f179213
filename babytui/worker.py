"""The training process: `python -m babytui worker GUID`, started by babytui.runs and by nothing else.

Takes the run's lock, trains, appends every event to the journal, carries out commands between two steps, saves
checkpoints, and at the end writes the artifacts and then End. It outlives the terminal; SIGTERM and SIGINT stop it
and keep the model.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from babytui import process, report, runs
from engine import events
from engine.config import Config, complete
from engine.errors import BabyError, FormatError, RunError
from store import checkpoint, journal
from store.atomic import StoreError
from store.workspace import Workspace

CHECKPOINT_SECONDS = 60.0
KEEP = 2  # checkpoints
FLUSH_SECONDS = 0.1
IDLE_SECONDS = 0.05  # how often a paused run looks for a command
RETRY_SECONDS = 2.0  # how often a run whose model cannot be written tries again
COMPLETION_TOKENS = 300
_EXTRA = "extra/"  # in a checkpoint: what a model file holds beside weights
State = tuple[dict[str, Any], dict[str, Any]]  # of a checkpoint: arrays and plain data


def main(argv: list[str]) -> int:
    """Train the run named on the command line and return the exit code."""
    parser = process.parser("worker")
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args(argv)
    run = runs.Run(Workspace(given.workspace), given.guid)
    return process.hold(run, lambda: Worker(run, given.control, given.resume).run_to_end())


class Worker:
    """One training process. `control`: journal offset of the first command that is meant for it."""

    def __init__(self, run: runs.Run, control: int, resume: bool):
        self.run = run
        self.plan = run.plan
        self.resume = resume
        self.journal = journal.Journal(run.journal)
        self.control = run.dir / "control.jsonl"
        self.offset = control
        self.step = 0
        self.paused = False
        self.stopping = False
        self.stops = 0
        self.trainer: Any = None
        self.model: Any = None
        self.tokenizer: Any = None
        self.digest = ""
        self.last_flush = self.last_checkpoint = time.monotonic()
        process.heed(self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True
        self.stops += 1

    def run_to_end(self) -> int:
        """Train; whatever goes wrong is an Alarm and an End in the journal, and its traceback in worker.log."""
        try:
            self._train()
            return 0
        except Exception as error:
            _log(traceback.format_exc())
            self._fail(self._sentence(error))
            return 1

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
        from engine.estimate import cores
        from engine.trainer import Trainer

        config = Config.read(complete(self.plan.get("config") or {}), strict=False)
        text = texts.read([Path(path) for path in self.plan["texts"]])
        self.digest = texts.digest(text)
        state = self._last_checkpoint() if self.resume else None
        self._begin_with(config, text, state)
        self.trainer = Trainer(self.model, self.tokenizer, self.tokenizer.encode(text), resume=state,
                               prompt=self.plan.get("prompt", ""), dataset=self.plan.get("dataset", ""),
                               time_budget=self.plan.get("time_budget"), cores=cores(config))
        try:
            end = self._steps()
        except Exception:
            if self.trainer.team.whole:  # what was trained so far is not lost with what went wrong
                self._checkpoint("failed")
            raise
        self._finish(end)

    def _begin_with(self, config: Config, text: Iterable[str], state: State | None) -> None:
        """The vocabulary and the model: new ones, those of the base, or empty ones for what a checkpoint holds."""
        from babytui import finetuning
        from engine import registry
        from engine.adaptation import Adaptation
        from engine.model import Model

        kind = registry.tokenizer.get(config.c_tokenizer)
        if state is not None:
            self.tokenizer = kind(state[1]["vocab"])
            self.model = Model(config, len(self.tokenizer.vocab), Adaptation.read(self.plan.get("adaptation", {})))
            self.model.extra = {name: state[0].get(_EXTRA + name, value) for name, value in state[1].get("extra", [])}
        elif self.plan.get("base"):
            self.model, self.tokenizer = finetuning.newborn(self.plan, config, text)
        else:
            self.tokenizer = kind.fit(text)
            self.model = Model.create(config, len(self.tokenizer.vocab))

    def _steps(self) -> events.End:
        for event in self.trainer:
            self.step = event.step
            if isinstance(event, events.End):
                return event
            self._write(event)
            if isinstance(event, events.Start) and self.plan.get("base") and not self.resume:
                self._checkpoint("start")  # from here on the base is not needed any more
            if isinstance(event, (events.Start, events.Step)):
                self._between_steps()
        raise AssertionError("the last event is the end")

    def _between_steps(self) -> None:
        """Commands, signals and the checkpoint policy."""
        self._poll()
        while self.paused and not self.stopping:
            time.sleep(IDLE_SECONDS)
            self._poll()
        if self.stopping:
            self.trainer.stop()
        elif time.monotonic() - self.last_checkpoint > CHECKPOINT_SECONDS:
            self._checkpoint("policy")

    def _poll(self) -> None:
        try:
            size = os.stat(self.control).st_size
        except OSError:
            return
        if size == self.offset:
            return
        commands, self.offset = journal.read(self.control, self.offset)
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
            self._stop()
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
            _log(error)

    def _checkpoint(self, reason: str) -> None:
        """Save parameters, moments, configuration, cursor, vocabulary and what else the model's file will hold. A
        failure is an alarm, not the end."""
        folder = self.run.dir / "checkpoints"
        path = folder / f"step_{self.step:09}.safetensors"
        self.last_checkpoint = time.monotonic()
        try:
            folder.mkdir(exist_ok=True)
            arrays, meta = self.trainer.state()
            extra = self.model.extra
            arrays |= {_EXTRA + name: value for name, value in extra.items() if hasattr(value, "dtype")}
            meta = {**meta, "vocab": self.tokenizer.vocab, "text_sha256": self.digest,
                    "extra": [[name, None if hasattr(value, "dtype") else value] for name, value in extra.items()]}
            checkpoint.write(path, arrays, meta)
            for old in sorted(folder.glob("step_*.safetensors"))[:-KEEP]:
                old.unlink()
        except (OSError, BabyError) as error:
            self._alarm(f"The checkpoint was not saved: {error}")
            return
        self._write(events.Checkpoint(step=self.step, path=f"checkpoints/{path.name}", reason=reason))

    def _alarm(self, message: str, name: str = "checkpoint") -> None:
        self._write(events.Alarm(step=self.step, name=name, message=message))

    def _last_checkpoint(self) -> State:
        """The newest checkpoint that is whole. RunError when there is none or the text is another."""
        for path in sorted((self.run.dir / "checkpoints").glob("step_*.safetensors"), reverse=True):
            try:
                arrays, meta = checkpoint.read(path)
            except FormatError as error:
                self._alarm(f"{error} The one before it is used.")
                continue
            if meta.get("text_sha256") != self.digest:
                raise RunError("The text has changed since this run was started; put the old one back, or start a new "
                               "run.")
            return arrays, meta
        raise RunError(f"There is no checkpoint to continue from; start the run again with babytui {self.run.verb}.")

    def _finish(self, end: events.End) -> None:
        """Keep everything: the last checkpoint, the artifacts, settings/last.json; then End."""
        self._checkpoint("end")
        completion = self._completion()
        self._insist(lambda: self._save(end, completion))
        self._write(end)
        self._insist(lambda: self.journal.flush(sync=True))
        self.journal.close()

    def _save(self, end: events.End, completion: dict[str, Any]) -> None:
        from store import artifacts

        ws, guid, config = self.run.workspace, self.run.guid, self.model.config
        self.journal.flush()  # the report is made from it
        about = {}
        if self.plan.get("base"):
            from babytui import finetuning

            about = {"babytui_base": finetuning.record(self.plan, self.model)}
            finetuning.save_adapter(ws, guid, self.plan, self.model, self.tokenizer)
        artifacts.save_config(ws, guid, {**config.to_dict(), **about, "babytui_name": self.plan.get("name", "")},
                              runtime(config, self.model.n_parameters))
        artifacts.save_tokenizer(ws, guid, config.c_tokenizer, self.tokenizer.vocab)
        artifacts.save_model(ws, guid, self.model.export())
        artifacts.save_report(ws, guid, {**report.build(self.run, end), **about})
        artifacts.save_completion(ws, guid, completion)
        ws.save_last(guid, prompt=self.plan.get("prompt") or None)

    def _insist(self, save: Callable[[], None]) -> None:
        """Carry out `save`; as long as the disk refuses, say so, wait and try again. A second stop gives up."""
        told = False
        while True:
            try:
                save()
                break
            except StoreError as error:
                if self.stops > 1:
                    raise
                if not told:
                    told = True
                    self._alarm(f"{error} The run waits and tries again every {RETRY_SECONDS:g} s; stop it twice "
                                "to give its model up.", "disk")
                    self._write(events.Control(step=self.step, command="pause"))
            end = time.monotonic() + RETRY_SECONDS
            while time.monotonic() < end and self.stops < 2:
                time.sleep(IDLE_SECONDS)
                self._poll()
        if told:
            self._write(events.Control(step=self.step, command="resume"))

    def _completion(self) -> dict[str, Any]:
        """What the finished model says, in the completion file's keys."""
        from babytui.library import Baby

        baby = Baby(self.model, self.tokenizer, guid=self.run.guid)
        generation = baby.generate(self.plan.get("prompt") or "", COMPLETION_TOKENS, temperature=0.8,
                                   seed=self.model.config.n_seed)
        for _ in generation:
            pass
        return generation.completion()


def _log(what: object) -> None:
    """To worker.log, which lies on the disk that may be full."""
    try:
        print(what, file=sys.stderr, flush=True)
    except OSError:
        pass


def runtime(config: Config, parameters: int) -> dict[str, Any]:
    """The `runtime` object of a saved configuration: what it was trained on."""
    import numpy as np

    from engine.estimate import cores

    cpu = config.c_device == "cpu"
    return {"model_version": "v0.1.0", "model_params": parameters, "model_size": 4 * parameters,
            "device_name": platform.processor() or platform.machine() if cpu else "gpu",
            "device_cores": str(cores(config)) if cpu else "all", "library_version": f"numpy {np.__version__}",
            "library_driver": "default" if cpu else "cuda"}
