"""Signals to the app, to the command line and to the training process, in a real pseudo-terminal.

Whatever becomes of a face, the run goes on; and the terminal is given back as it was.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from babytui import runs
from engine.config import Config
from store.workspace import Workspace

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TINY = {"n_layers": 1, "n_emb": 8, "head_size": 8, "n_heads": 2, "n_ctx": 8, "batch_size": 4}
LEFT, ENTERED = b"\x1b[?1049l", b"\x1b[?1049h"
MODES = [b"\x1b[?1000", b"\x1b[?1003", b"\x1b[?1006", b"\x1b[?1004", b"\x1b[?2004", b"\x1b[?25", b"\x1b[?1049"]


class Shell:
    """A job-control shell that is the leader of a session on a pty, as a login is. `output`: every byte it showed."""

    def __init__(self, folder: Path, words: list[str] | None = None):
        self.output = bytearray()
        (folder / "inputrc").write_text("set enable-bracketed-paste off\n")  # which the app switches, too
        self.child, self.fd = pty.fork()
        if self.child == 0:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
            os.environ.update(HOME=str(folder), PYTHONPATH=str(ROOT), TERM="xterm-256color", PS1="ready$ ",
                              LANG="C.UTF-8", INPUTRC=str(folder / "inputrc"))
            for name in ("LINES", "COLUMNS", "NO_COLOR"):
                os.environ.pop(name, None)
            command = words or ["bash", "--norc", "--noprofile", "-i"]
            os.execvp(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def type(self, text: str) -> int:
        """Types; what comes from then on is behind the position that is returned."""
        start = len(self.output)
        os.write(self.fd, text.encode())
        return start

    def wait_for(self, word: str | bytes, start: int = 0, seconds: float = 60) -> None:
        word = word.encode() if isinstance(word, str) else word
        end = time.monotonic() + seconds
        while word not in self.output[start:]:
            assert time.monotonic() < end, f"{word!r} did not appear: {bytes(self.output[start:])[-600:]!r}"
            self.read()

    def read(self) -> None:
        if select.select([self.fd], [], [], 0.05)[0]:
            try:
                self.output += os.read(self.fd, 1 << 16)
            except OSError:
                pass

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, bytes(self.output[-600:])
            self.read()

    @property
    def modes(self) -> list[object]:
        """How the line discipline treats what is typed."""
        found = termios.tcgetattr(self.fd)
        return [*found[:4], [found[6][i] for i in (termios.VMIN, termios.VTIME, termios.VINTR, termios.VSUSP)]]

    @property
    def job(self) -> int:
        """The process group in the foreground."""
        return os.tcgetpgrp(self.fd)

    def close(self) -> None:
        """The terminal goes: the link is dropped."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def end(self) -> None:
        self.close()
        if self.child < 0:
            return
        for number in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.kill(self.child, number)
            except ProcessLookupError:
                break
        os.waitpid(self.child, 0)
        self.child = -1


def restored(output: bytes) -> bool:
    """Whether every mode that was switched on was switched off last (and the cursor on)."""
    for mode in MODES:
        last = max(output.rfind(mode + b"h"), output.rfind(mode + b"l"))
        assert last >= 0, mode
        if output[last: last + len(mode) + 1] != mode + (b"h" if mode.endswith(b"?25") else b"l"):
            return False
    return True


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def state(pid: int) -> str:
    """R, S, T (stopped), … as the system calls it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def steps(run: runs.Run) -> int:
    return max((event.step for event in run.last_events(50)), default=0)


def goes_on(run: runs.Run) -> bool:
    """Whether it makes another step."""
    before, end = steps(run), time.monotonic() + 60
    while steps(run) <= before:
        assert run.alive and time.monotonic() < end, run.tail(5)
        time.sleep(0.02)
    return run.status() == "running"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[runs.Run]:
    """One that lasts until the test ends it."""
    text = tmp_path / "cats.txt"
    text.write_text("The cat sat on the mat. The dog saw the cat and ran.\n" * 40)
    started = runs.start(Workspace(tmp_path / "nest"), Config.read(TINY), [text], steps=100_000_000, name="long")
    yield started
    if started.alive:
        started.command("stop")
        started.wait(60)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path)
    opened.wait_for("ready$ ")
    yield opened
    opened.end()


def app(shell: Shell, run: runs.Run) -> int:
    """Opens the playground on the run; its process."""
    start = shell.type(f"{sys.executable} -P -m babytui --workspace {run.workspace.root}; echo code=$?\n")
    shell.wait_for("long", start)
    shell.wait_for("running", start)
    shell.wait_for("tokens known", start)
    return shell.job


def leave(shell: Shell) -> None:
    """With a key, back to the shell."""
    start = shell.type("\x11")
    shell.wait_for(LEFT, start)
    shell.wait_for("ready$ ", start)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell states so")

# --- the app ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_app_gives_the_terminal_back_and_leaves_the_run(shell, run, number):
    before = shell.modes
    process = app(shell, run)
    assert shell.modes != before and ENTERED in shell.output
    start = len(shell.output)
    os.kill(process, number)
    shell.wait_for(f"code={128 + number}", start)
    shell.wait_for("ready$ ", start)
    assert restored(bytes(shell.output))
    shell.until(lambda: shell.modes == before)  # the shell changes them itself, when it asks for the next command
    assert b"Traceback" not in shell.output and goes_on(run)


def test_killing_the_app_is_nothing_to_the_run(shell, run):
    process = app(shell, run)
    os.kill(process, signal.SIGKILL)
    shell.until(lambda: gone(process))
    assert goes_on(run)


def test_a_thread_at_work_does_not_keep_the_app_from_ending(shell, tmp_path):
    """It is told to end while something takes for ever: then it gives the terminal back by itself."""
    before = shell.modes
    code = tmp_path / "busy.py"
    code.write_text("import sys, time\n"
                    "from babytui.tui import app, backend\n"
                    "backend.current = lambda workspace: time.sleep(3600)\n"
                    "sys.exit(app.main(sys.argv[1]))\n")
    start = shell.type(f"{sys.executable} -P {code} {tmp_path / 'w'}; echo code=$?\n")
    shell.wait_for("tokens known", start)
    start = len(shell.output)
    os.kill(shell.job, signal.SIGTERM)
    shell.wait_for("code=143", start)
    assert restored(bytes(shell.output))
    shell.until(lambda: shell.modes == before)  # the shell changes them itself, when it asks for the next command


@needs_proc
def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(shell, run):
    before = shell.modes
    process = app(shell, run)
    start = shell.type("\x1a")
    shell.wait_for("Stopped", start)
    shell.wait_for("ready$ ", start)
    assert restored(bytes(shell.output)) and shell.modes == before and goes_on(run)
    start = shell.type("bg\n")  # it has nothing to do there and waits on
    shell.wait_for("&", start)
    shell.wait_for("ready$ ", start)
    shell.until(lambda: state(process) == "T")
    asked = shell.type("jobs\n")
    shell.wait_for("Stopped", asked)
    assert ENTERED not in shell.output[start:]
    start = shell.type("fg\n")
    shell.wait_for(ENTERED, start)
    shell.wait_for("running", start)
    assert shell.job == process
    leave(shell)
    assert restored(bytes(shell.output)) and shell.modes == before and goes_on(run)


@pytest.mark.parametrize("twice", [False, True])
def test_a_link_that_takes_nothing_keeps_no_app_alive(shell, run, twice):
    """The other side is there and does not read: the app waits to be read, and is told to end."""
    before = shell.modes
    process = app(shell, run)
    for _ in range(200):  # each paints some kilobytes; the line discipline holds some of what is typed back
        select.select([], [shell.fd], [], 0.05)
        shell.type("\x1bOQ\x1b[15~")
    os.kill(process, signal.SIGTERM)
    if twice:
        os.kill(process, signal.SIGTERM)
    end = time.monotonic() + 60
    while not gone(process):
        assert time.monotonic() < end, "it waits for its terminal"
        time.sleep(0.02)
    shell.wait_for("code=143")
    shell.until(lambda: shell.modes == before)
    assert goes_on(run)


def test_an_app_that_was_stopped_can_be_killed(shell, run):
    """The shell continues it for that, in the background, where the terminal is not its own."""
    before = shell.modes
    process = app(shell, run)
    start = shell.type("\x1a")
    shell.wait_for("ready$ ", start)
    start = shell.type("kill %1\n")
    shell.until(lambda: gone(process))
    shell.wait_for("ready$ ", start)
    assert ENTERED not in shell.output[start:] and shell.modes == before and goes_on(run)


def test_a_stop_that_it_cannot_see_costs_it_nothing(shell, run):
    """SIGSTOP, while the shell changes the terminal's modes; then SIGCONT."""
    before = shell.modes
    process = app(shell, run)
    os.kill(process, signal.SIGSTOP)
    shell.wait_for("Stopped")
    assert goes_on(run)
    start = shell.type("fg\n")
    shell.wait_for(ENTERED, start)
    shell.wait_for("long", start)
    shell.until(lambda: not shell.modes[3] & termios.ECHO)
    shell.type("\x1b[15~")  # F5
    start = shell.type("written")
    shell.wait_for("written", start)
    leave(shell)
    assert restored(bytes(shell.output)) and shell.modes == before and goes_on(run)


@needs_proc
def test_stop_and_continue_from_elsewhere(shell, run):
    """As a batch system does: nobody types fg."""
    before = shell.modes
    process = app(shell, run)
    for _ in range(3):
        os.kill(process, signal.SIGCONT)
    start = shell.type("\x1b[15~still")
    shell.wait_for("still", start)
    assert len(os.listdir(f"/proc/{process}/task")) < 40
    leave(shell)
    assert restored(bytes(shell.output))
    shell.until(lambda: shell.modes == before)  # the shell changes them itself, when it asks for the next command


def test_ctrl_z_without_a_shell_stops_nothing(run, tmp_path):
    """As `ssh -t host babytui`, or a terminal emulator's -e: nobody could continue it."""
    alone = Shell(tmp_path, [sys.executable, "-P", "-m", "babytui", "--workspace", str(run.workspace.root)])
    try:
        alone.wait_for("running")
        alone.wait_for("tokens known")
        start = alone.type("\x1a")
        alone.wait_for("no shell here", start)
        start = alone.type("\x1b[15~alive")
        alone.wait_for("alive", start)
        alone.type("\x11")
        alone.wait_for(LEFT)
        assert goes_on(run)
    finally:
        alone.end()


@pytest.mark.parametrize("nohup", [False, True])
def test_the_app_ends_with_its_terminal_and_the_run_goes_on(shell, run, nohup):
    """A dropped link. With nohup no signal tells it: it would read nothing for ever, and write to nobody."""
    if nohup:
        start = shell.type("trap '' HUP\n")
        shell.wait_for("ready$ ", start)
    process = app(shell, run)
    shell.close()
    end = time.monotonic() + 60
    while not gone(process):
        assert time.monotonic() < end, "it outlives its terminal"
        time.sleep(0.02)
    assert goes_on(run)


# --- the command line -------------------------------------------------------------------------------------------------

def test_a_watching_command_is_stopped_continued_and_hung_up(shell, run):
    before = shell.modes
    start = shell.type(f"{sys.executable} -P -m babytui attach --workspace {run.workspace.root}\n")
    shell.wait_for("loss", start)
    process = shell.job
    start = shell.type("\x1a")
    shell.wait_for("Stopped", start)
    assert goes_on(run)
    start = shell.type("fg\n")
    shell.wait_for("loss", start)
    start = len(shell.output)
    os.killpg(process, signal.SIGTERM)
    shell.wait_for("ready$ ", start)
    assert shell.modes == before and goes_on(run)
    start = shell.type(f"{sys.executable} -P -m babytui attach --workspace {run.workspace.root}\n")
    shell.wait_for("loss", start)
    process = shell.job
    shell.close()
    end = time.monotonic() + 60
    while not gone(process):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert goes_on(run)


def test_a_run_outlives_the_terminal_it_was_started_in(shell, tmp_path):
    """Not only the process that asked, also the shell and the session are gone."""
    (tmp_path / "cats.txt").write_text("The cat sat on the mat.\n" * 60)
    sets = " ".join(f"--set {name}={value}" for name, value in TINY.items())
    start = shell.type(f"cd {tmp_path} && {sys.executable} -P -m babytui train {sets} --input cats.txt "
                       "--steps 99999999 --workspace nest\n")
    shell.wait_for("tokens/s", start)
    found = runs.find(Workspace(tmp_path / "nest"), "last")
    try:
        shell.end()
        assert goes_on(found)
    finally:
        found.command("stop")
        found.wait(60)
    assert found.status() == "stopped" and found.workspace.entry(found.guid).has_model


# --- the training process ---------------------------------------------------------------------------------------------

def worker(run: runs.Run) -> int:
    """The process that holds its lock."""
    from store.lock import Lock

    owner = Lock.owner(run.dir / "lock")
    assert owner is not None
    return owner


def test_hanging_up_is_nothing_to_a_run(run):
    os.kill(worker(run), signal.SIGHUP)
    assert goes_on(run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_keeps_its_model(run, number):
    os.kill(worker(run), number)
    assert run.wait(40) == "stopped" and run.workspace.entry(run.guid).has_model


@needs_proc
def test_a_run_that_is_stopped_goes_on_where_it_was(run):
    process = worker(run)
    os.kill(process, signal.SIGSTOP)
    end = time.monotonic() + 60
    while state(process) != "T":
        assert time.monotonic() < end
        time.sleep(0.01)
    before = steps(run)
    assert run.alive and run.status() == "running"
    os.kill(process, signal.SIGCONT)
    assert goes_on(run) and steps(run) > before
    numbers = [event.step for event in run.events()[0] if event.kind == "step"]
    assert numbers == sorted(set(numbers)), "no step twice"


def test_stopping_a_process_that_sleeps_ends_it_when_it_wakes(run):
    """A command reaches it, because it lies in a file."""
    process = worker(run)
    os.kill(process, signal.SIGSTOP)
    told = subprocess.Popen([sys.executable, "-P", "-m", "babytui", "stop", run.guid, "--workspace",
                             str(run.workspace.root)], env={**os.environ, "PYTHONPATH": str(ROOT)},
                            stderr=subprocess.PIPE, text=True)
    assert "Stopping" in told.stderr.readline()
    os.kill(process, signal.SIGCONT)
    assert told.wait(60) == 0 and run.status() == "stopped"
