"""What the playground sends over the wire, in a real pseudo-terminal: `python tests/bench/wire.py [WIDTH HEIGHT]`.

Bytes per second while a run is watched and while a reply streams, the time from a key to its paint meanwhile, and the
same while both happen. Default 120×40.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "terminal")]
from pty_app import PtyApp

from babytui import runs
from store.workspace import Workspace

SECONDS = 10
RUN = ('{"n_layers": 2, "n_emb": 64, "head_size": 64, "n_heads": 4, "n_ctx": 32, "batch_size": 16, "r_learn": 0.003, '
       '"n_steps": 1000000}')


def rate(app: PtyApp, what: str, budget: str) -> None:
    """Prints the bytes per second of the next seconds."""
    got = len(app.read(SECONDS))
    print(f"{what:<44} {got / SECONDS / 1000:7.2f} kB/s   (budget {budget})", flush=True)


def latency(app: PtyApp, what: str) -> None:
    """Prints the time from a key in the prompt to its paint."""
    times = []
    for n in range(60):
        key = b"abcdefghij"[n % 10: n % 10 + 1]
        app.read(0.05)
        start, begun = len(app.output), time.perf_counter()
        app.type(key)
        app.wait_for(key, 5, start)
        times.append((time.perf_counter() - begun) * 1000)
        app.type(b"\x7f")
    ordered = sorted(times)
    print(f"{what:<44} median {statistics.median(times):.0f} ms, p95 {ordered[int(len(ordered) * 0.95)]:.0f} ms   (budget 50 ms)",
          flush=True)


def main() -> None:
    width, height = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (120, 40)
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder).ensure()
        (workspace.settings / "current.json").write_text(RUN)
        with PtyApp([sys.executable, "-m", "babytui", "--workspace", folder], width, height) as app:
            app.wait_for(b"temperature", 20)
            app.read(3)
            rate(app, "idle", "none")
            latency(app, "key to paint, idle")
            app.type(b"\x1b[20~")  # F9
            app.wait_for(b"running", 30)
            app.read(3)
            rate(app, f"a run is watched, {width}x{height}", "8 kB/s")
            app.type(b"\x1b[15~")  # F5
            app.read(1)
            latency(app, "key to paint, a run on every core")
            app.type(b"\x1b[13~s")  # F3, stop
            app.wait_for(b"stopped", 30)
            app.type(b"\x1b[15~")
            app.read(3)
            for key in [b"\t"] * 7 + [b"\x05", b"\x15", b"2000000"]:  # to the field of the most tokens
                app.type(key)
                app.read(0.2)
            app.type(b"\x1b")  # back to the prompt
            app.read(1)
            app.type(b"The\r")
            app.read(2)
            rate(app, "a reply streams as fast as it can", "25 kB/s at 300 tokens/s")
            latency(app, "key to paint, a reply streams")
        for run in runs.all_runs(workspace):
            if run.alive:
                run.command("stop")
                run.wait(30)


if __name__ == "__main__":
    main()
