"""`mpirun -n N babytui train …`: one run over the processes that an MPI launcher started.

The run lives in the process of rank 0 itself, not in one of its own, because it has to end with the others; a child
watches it. The other ranks follow (engine/ranks.py) and touch no file. Imports no arrays before the launcher is known.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from babytui import process
from babytui.blas import THREADS
from babytui.launchers import VARIABLES, launched
from babytui.visible import visible
from engine.errors import BabyError, RunError, UsageError
from store.lock import Lock
from store.reading import open_to_append

if TYPE_CHECKING:
    from babytui.mpi import Mpi
    from babytui.runs import Run
    from engine.config import Config

INSTALL = "pip install 'babytui[mpi]'"


@dataclass
class Led:
    """The group of which this process is rank 0, and the run that it will be, once there is one."""

    group: Mpi
    run: Run | None = None
    descriptor: int = -1  # of the run's lock
    control: int = 0
    journal: int = 0
    resume: bool = False
    failed: bool = False


_led: Led | None = None


def perform(verb: Callable[[], int]) -> int:
    """Carry out a verb that trains as rank 0 of the processes that were started, or follow rank 0. The exit code."""
    global _led
    found = launched()
    assert found is not None
    os.environ.update(dict.fromkeys(THREADS, "1"))  # as every training process has it
    try:
        group = _join(*found)
    except BabyError:
        if found[0]:
            return 0  # rank 0 says it, and is not killed by the launcher before it has
        raise
    if group.rank:
        return _follow(group)
    _led = Led(group)
    try:
        return verb()
    except BaseException:
        _led.failed = _led.failed or _led.run is not None
        raise
    finally:
        led, _led = _led, None
        _end(led)


def _join(rank: int, size: int) -> Mpi:
    """The group. UsageError when mpi4py is missing or belongs to another MPI."""
    try:
        from babytui.mpi import Mpi
    except ModuleNotFoundError as error:
        if error.name != "mpi4py":
            raise
        raise UsageError(f"{size} ranks were started, but mpi4py is not installed; run {INSTALL}, or train without "
                         "mpirun.") from None
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"mpi4py cannot load an MPI library ({error}); install the MPI that mpirun belongs to, or "
                         "train without mpirun.") from None
    group = Mpi()
    if group.size != size:
        raise UsageError(f"The launcher started {size} ranks, but mpi4py sees {group.size}: it uses another MPI than "
                         "the launcher; install mpi4py for that one, or use its own mpirun.")
    return group


def _follow(group: Mpi) -> int:
    """What ranks but 0 do until rank 0 ends them. A signal that they get is passed on to it."""
    from engine.ranks import follow

    def stop(*_: object) -> None:
        group.stopping = True

    process.heed(stop)
    with suppress(OSError):
        os.nice(process.NICENESS)
    try:
        follow(group, group.cores, group.gpu)
    except Exception as error:
        if not isinstance(error, BabyError):
            import traceback

            sys.stderr.write(traceback.format_exc())
            sys.stderr.flush()
        group.linger()
        return 1
    return 0


def _end(led: Led) -> None:
    """Let the other ranks go; end them at once where they may be in the middle of a step."""
    from engine.ranks import tell

    if not led.failed:
        with suppress(RunError):
            tell(led.group, b"e")
            return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    led.group.abort()


# Rank 0 ---------------------------------------------------------------------------------------------------------------

def leading() -> bool:
    """Whether this process is rank 0 of a group."""
    return _led is not None


def taken() -> bool:
    """Whether a run has been begun that is to live in this process."""
    return _led is not None and _led.run is not None


def check(config: Config, vocab_size: int, adaptation: dict[str, Any] | None = None) -> None:
    """ConfigError when there are more ranks than lanes. adaptation: what the plan of a fine-tuning run says of it."""
    if _led is not None:
        from engine.adaptation import Adaptation
        from engine.data import lanes
        from engine.estimate import estimate
        from engine.ranks import check_size

        cost = estimate(config, vocab_size=vocab_size, adaptation=Adaptation.read(adaptation) if adaptation else None)
        check_size(_led.group.size, len(lanes(config, cost.trained_parameters, _led.group.size)))


def take(run: Run, lock: Lock, control: int, journal: int, resume: bool) -> None:
    """Remember a run that has been begun and is to live in this process, and keep its lock. control, journal: offsets
    of what is said to it and by it from now on."""
    assert _led is not None
    _led.run, _led.descriptor, _led.resume = run, os.dup(lock.descriptor), resume
    _led.control, _led.journal = control, journal


def lead(arguments: Any) -> int:
    """Train the run that was taken to its end, with a child that shows it. The exit code."""
    from babytui.worker import Worker

    led = _led
    assert led is not None and led.run is not None
    run = led.run
    led.failed = True  # until it has ended well
    flags = [flag for flag, wanted in (("--json", arguments.json), ("--quiet", arguments.quiet),
                                       ("--no-color", arguments.no_color)) if wanted]
    # a session of its own: neither ctrl+c nor the launcher shall keep it from saying how the run ended
    watcher = subprocess.Popen([sys.executable, "-P", "-m", "babytui", "watcher", run.guid, "--workspace",
                                str(run.workspace.root), "--journal", str(led.journal), *flags],
                               stdin=subprocess.DEVNULL, env=_environment(), start_new_session=True)
    with _printing_to(run.dir / "worker.log") as terminal:
        def train(lock: Lock) -> int:
            worker = Worker(run, led.control, led.resume, led.group, lock)

            def stop(*_: object) -> None:
                if not worker.stops:  # said at once: some launchers wait only an instant before they kill
                    _say(f"{run.name} stops and keeps its model; `babytui resume {run.short}` goes on with it.",
                         terminal)
                worker.stop()

            process.heed(stop)
            return worker.run_to_end()

        code = process.hold(run, led.descriptor, train, goes_on=True)
    led.failed = code != 0
    return watcher.wait() or code


def watcher(argv: list[str]) -> int:
    """The process that shows a run whose own process is rank 0 of a group. The exit code."""
    from babytui.cli.main import attempt
    from babytui.cli.output import Output
    from babytui.cli.train import finish
    from babytui.cli.watching import Watch
    from babytui.runs import Run
    from store.workspace import Workspace

    parser = process.parser("watcher")
    parser.add_argument("--journal", type=int, default=0)
    for flag in ("--json", "--quiet", "--no-color"):
        parser.add_argument(flag, action="store_true")
    given = parser.parse_args(argv)
    out = Output(json=given.json, quiet=given.quiet, color=False if given.no_color else None)
    watch = Watch(Run(Workspace(given.workspace), given.guid), out, offset=given.journal, owner=False)

    def show() -> int:
        code = watch.follow()
        finish(watch, out, given.json)
        return code

    return attempt(show)


def _environment() -> dict[str, str]:
    """That of a process which is no rank."""
    found = process.environment()
    for names in VARIABLES:
        for name in names:
            found.pop(name, None)
    return found


def _say(sentence: str, otherwise: int) -> None:
    """Print on the terminal that the launcher was started in, since it may pass nothing on any more; on descriptor
    `otherwise` when there is none."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        to = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY)
    except OSError:
        to = os.dup(otherwise)
    with suppress(OSError):
        os.write(to, f"babytui: {visible(sentence, newlines=False)}\n".encode())
    os.close(to)


@contextmanager
def _printing_to(log: Path) -> Iterator[int]:
    """Whatever this process prints, traceback or library, goes to the run's log. Yields what standard error was."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    printed = open_to_append(log)
    try:
        for number in (1, 2):
            os.dup2(printed, number)
        yield kept[1]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        os.close(printed)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)  # the run is over; the launcher's next signal is SIGKILL
