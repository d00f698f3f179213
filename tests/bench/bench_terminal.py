"""Every row of the budget of the terminal, measured with the real app in a real pseudo-terminal:

    python tests/bench/bench_terminal.py [--only ROW…] [--json]

The terminal is 120×40 and answers as terminals do. A link of so many bytes per second is a terminal that reads no
faster; what is on its way then lies in the buffers of the system, as it would in those of SSH.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "terminal"), str(Path(__file__).parent)]

import bench_commands  # noqa: E402
import first_paint  # noqa: E402
from pty_app import PtyApp  # noqa: E402

from babytui import runs  # noqa: E402
from engine import events  # noqa: E402
from store.journal import Journal  # noqa: E402
from store.lock import Lock  # noqa: E402
from store.workspace import Workspace  # noqa: E402

WIDTH, HEIGHT = 120, 40
SECONDS = 10.0  # over which bytes are counted
KEYS = 60
SPEED = 300  # tokens per second of the reply whose bytes are counted
RUN = {"n_layers": 2, "n_emb": 64, "head_size": 64, "n_heads": 4, "n_ctx": 32, "batch_size": 16, "r_learn": 0.003,
       "n_steps": 1_000_000}
MIB = 1 << 20
F3, F5, F9 = b"\x1b[13~", b"\x1b[15~", b"\x1b[20~"
# The app with replies of a given speed: everything else is as it is.
THROTTLED = """
import sys, time
from babytui import library
from babytui.tui import app
speed, generate = float(sys.argv[2]), library.Baby.generate
class Slow:
    def __init__(self, found): self.found = found
    def __getattr__(self, name): return getattr(self.found, name)
    def __iter__(self):
        begun = time.monotonic()
        for n, piece in enumerate(self.found):
            time.sleep(max(0.0, begun + n / speed - time.monotonic()))
            yield piece
library.Baby.generate = lambda self, *args, **options: Slow(generate(self, *args, **options))
sys.exit(app.main(sys.argv[1]))
"""


@dataclass
class Row:
    """One figure. most: its budget, in the same unit."""

    name: str
    what: str
    most: float | None
    measured: float
    unit: str

    @property
    def met(self) -> bool | None:
        return None if self.most is None else self.measured <= self.most


@contextmanager
def app(rate: float = float("inf"), speed: float | None = None, tokens: int = 2_000_000,
        workspace: Workspace | None = None) -> Iterator[tuple[PtyApp, Workspace]]:
    """The playground with the model that ships, the prompt focused. speed: tokens per second of its replies at most."""
    with tempfile.TemporaryDirectory() as folder:
        made = workspace or Workspace(Path(folder) / "w").ensure()
        if workspace is None:
            (made.settings / "current.json").write_text(json.dumps(RUN))
        environment = {"PYTHONPATH": str(ROOT), "HOME": folder, "BABYTUI_TOUR": "false", "XDG_CONFIG_HOME": folder,
                       "BABYTUI_SAMPLER_TOKENS": str(tokens), "BABYTUI_SETTINGS": str(Path(folder) / "settings.toml")}
        words = ["-m", "babytui", "--workspace", str(made.root)]
        if speed is not None:
            words = ["-c", THROTTLED, str(made.root), str(speed)]
        with PtyApp([sys.executable, *words], WIDTH, HEIGHT, environment, rate, answers=True) as opened:
            opened.wait_for(b"tokens known", 60)
            opened.read(3)
            yield opened, made
        for run in runs.all_runs(made) if workspace is None else ():  # those of others are held by this process
            if run.alive:
                run.command("stop")
                run.wait(30)


def watch(opened: PtyApp) -> None:
    """A run on every core, seen."""
    opened.type(F9)
    opened.wait_for(b"running", 60)
    opened.read(3)
    opened.type(F5)
    opened.read(1)


def reply(opened: PtyApp) -> None:
    """A reply that streams."""
    opened.type(F5)
    opened.read(0.5)
    opened.type(b"The\r")
    opened.read(3)


def bytes_per_second(opened: PtyApp) -> float:
    """kB per second of the next seconds."""
    return len(opened.read(SECONDS)) / SECONDS / 1000


def latencies(opened: PtyApp, keys: int = KEYS) -> list[float]:
    """Milliseconds from a key in the prompt to its paint, from the quickest to the slowest."""
    times = []
    for n in range(keys):
        key = b"QZXJKVWYUG"[n % 10: n % 10 + 1]  # letters that a reply hardly writes
        opened.read(0.11)
        start, begun = len(opened.output), time.perf_counter()
        opened.type(key)
        opened.wait_for(key, 20, start)
        times.append((time.perf_counter() - begun) * 1000)
        opened.type(b"\x7f")
    return sorted(times)


def p95(times: list[float]) -> float:
    return times[int(len(times) * 0.95)]


def resident(pid: int) -> int:
    """Bytes of a process in memory (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class Trainee:
    """A run whose lock is held and whose journal is written here."""

    def __init__(self, workspace: Workspace, steps: int, number: int = 1):
        guid = f"00000000-0000-4000-8000-00000000000{number}"
        self.run = runs.Run(workspace, guid)
        self.run.dir.mkdir(mode=0o700, parents=True)
        (self.run.dir / "plan.json").write_text(json.dumps(
            {"guid": guid, "created": time.time() + number, "name": f"run {number}", "config": {"n_steps": steps},
             "texts": [], "dataset": "cats"}))
        self.lock = Lock(self.run.dir / "lock")
        if not self.lock.acquire():
            raise SystemExit("the lock is held")
        self.journal = Journal(self.run.journal)
        self.journal.append(events.Start(
            step=0, config={}, parameters=100, vocab_size=20, steps=steps, dataset="cats", tokens_per_step=32,
            train_tokens=1900, validation_tokens=200).to_dict())
        self.step = 0

    def train(self, steps: int) -> None:
        """So many steps' lines, written as the worker writes them but faster."""
        self.journal.flush()
        now = time.time()
        with open(self.run.journal, "ab") as file:
            for step in range(self.step + 1, self.step + steps + 1):
                file.write(b'{"event":"step","step":%d,"time":%.3f,"loss":%.6f,"learning_rate":0.004,'
                           b'"gradient_norm":1.5,"epoch":%.4f,"tokens":%d,"seconds":%.4f,"tokens_per_second":31234.5}\n'
                           % (step, now, 2 + 1 / step, step / 15, step * 32, step / 1000))
        self.step += steps

    def end(self) -> None:
        self.journal.close()
        self.lock.release()


# --- rows -------------------------------------------------------------------------------------------------------------

def first() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "babytui", "--workspace", folder]
        os.environ.update(PYTHONPATH=str(ROOT), BABYTUI_TOUR="false")
        bare, mine = [], []
        for _ in range(7):
            bare.append(first_paint.measure([sys.executable, "-c", first_paint.BARE], b"hello-bare"))
            mine.append(first_paint.measure(ours, b"Training"))
    return [Row("first", "first paint of the playground, after a bare Textual app's", 0.5,
                statistics.median(mine) - statistics.median(bare), "s")]


def commands() -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench_commands.fill(Workspace(folder))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BABYTUI_WORKSPACE": folder}
        for words, budget in bench_commands.BUDGETS.items():
            times = []
            for _ in range(8):
                begun = time.perf_counter()
                subprocess.run([sys.executable, "-m", "babytui", *words], env=environment, check=True,
                               stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - begun)
            what = f"babytui {words[0]} with 100 models"
            rows.append(Row("commands", what, budget, statistics.median(times[1:]), "s"))
    return rows


def keys() -> list[Row]:
    with app() as (opened, _):
        idle = p95(latencies(opened))
        watch(opened)
        reply(opened)
        return [Row("keys", "key to paint, p95, nothing else going on", None, idle, "ms"),
                Row("keys", "key to paint, p95, a run on every core and a reply", 50, p95(latencies(opened)), "ms")]


def watching() -> list[Row]:
    with app() as (opened, _):
        watch(opened)
        return [Row("watching", f"bytes while a run is watched, {WIDTH}×{HEIGHT}", 8, bytes_per_second(opened), "kB/s")]


def streaming() -> list[Row]:
    with app(speed=SPEED) as (opened, _):
        reply(opened)
        slow = bytes_per_second(opened)
    with app() as (opened, _):
        reply(opened)
        quick = bytes_per_second(opened)
    return [Row("streaming", f"bytes while a reply streams at {SPEED} tokens/s", 25, slow, "kB/s"),
            Row("streaming", "bytes while a reply streams as fast as it can", None, quick, "kB/s")]


def link() -> list[Row]:
    rows = []
    for rate, most in ((100e3, 100.0), (10e3, None)):
        with app(rate) as (opened, _):
            watch(opened)
            opened.read(5 if most else 20)  # the governor has found its step
            times = latencies(opened, 40)
            what = f"key echo on a link of {rate / 1000:g} kB/s while a run is watched"
            rows += [Row("link", what + ", p95", most, p95(times), "ms"),
                     Row("link", what + ", median", None, statistics.median(times), "ms")]
    return rows


def memory() -> list[Row]:
    """Of the interface alone: it watches a run of 100 000 steps and then writes 100 000 tokens."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder).ensure()
        trainee = Trainee(workspace, 10_000_000)
        trainee.train(1)
        with app(workspace=workspace, tokens=100_000) as (opened, _):
            opened.type(b"The\r")
            opened.read(2)
            opened.type(b"\x1b")
            opened.read(1)
            before = resident(opened.process.pid)
            for _ in range(20):
                trainee.train(5000)
                opened.read(0.3)
            opened.type(b"Once\r")
            end = time.monotonic() + 300
            while time.monotonic() < end and b"100000 tokens" not in opened.output.replace(b",", b"")[-20000:]:
                opened.read(1)
            grown = resident(opened.process.pid) - before
        trainee.end()
    what = "memory of the interface after 100 000 events and 100 000 chat tokens"
    return [Row("memory", what, 40, grown / MIB, "MiB more")]


def attach() -> list[Row]:
    """From the key that goes from a young run to the long one until its last step's number is on the screen."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder).ensure()
        trainee = Trainee(workspace, 10_000_000)
        trainee.train(1_000_000)
        young = Trainee(workspace, 1000, 2)
        young.train(77)
        with app(workspace=workspace) as (opened, _):
            opened.wait_for(b"run 2", 30)
            opened.type(F3)
            opened.read(2)
            start, begun = len(opened.output), time.perf_counter()
            opened.type(b"[")
            opened.wait_for(b"1,000,000", 30, start)
            took = time.perf_counter() - begun
        trainee.end()
        young.end()
    return [Row("attach", "attach to a run with 1 000 000 events", 1.0, took, "s")]


ROWS: dict[str, Callable[[], list[Row]]] = {
    "first": first, "commands": commands, "keys": keys, "watching": watching, "streaming": streaming, "link": link,
    "memory": memory, "attach": attach}


def shown(row: Row) -> str:
    budget = "" if row.most is None else f"{row.most:g} {row.unit}"
    met = {None: "", True: "yes", False: "NO"}[row.met]
    return f"{row.what:<76} {budget:>9} {row.measured:>9.3g} {row.unit:<5} {met}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    given = parser.parse_args()
    found: list[Row] = []
    if not given.json:
        print(f"{'what':<76} {'budget':>9} {'measured':>9} {'':<5} met")
    for name in given.only or ROWS:
        for row in ROWS[name]():
            found.append(row)
            if not given.json:
                print(shown(row), flush=True)
    if given.json:
        print(json.dumps([{**asdict(row), "met": row.met} for row in found], indent=1))
    return int(any(row.met is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
