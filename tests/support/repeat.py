"""The tests of the app and of the terminal again and again under load, to find those that pass only sometimes:

    python tests/support/repeat.py [TIMES] [--busy N] [-- PYTEST ARGUMENT…]

TIMES: 20. --busy: processes that keep the cores busy meanwhile (2). Without arguments for pytest: tests/babytui/tui,
tests/terminal and tests/snapshots, the slow ones too. Ends at once when one round fails, with its output; the seed of
nothing is fixed, the order of tests is pytest's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ["-m", "not gpu", "tests/babytui/tui", "tests/terminal", "tests/snapshots"]


def busy() -> None:
    """Keeps a core at work."""
    while True:
        sum(range(100_000))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", nargs="?", type=int, default=20)
    parser.add_argument("--busy", type=int, default=2)
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given, arguments = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1:]
    load = [multiprocessing.Process(target=busy, daemon=True) for _ in range(given.busy)]
    for process in load:
        process.start()
    try:
        for number in range(1, given.times + 1):
            begun = time.monotonic()
            done = subprocess.run([sys.executable, "-m", "pytest", "-q", *(arguments or DEFAULT)], cwd=ROOT,
                                  capture_output=True, text=True, check=False)
            last = done.stdout.rstrip().rpartition("\n")[2]
            print(f"{number}/{given.times}: {last} ({time.monotonic() - begun:.0f} s)", flush=True)
            if done.returncode:
                print(done.stdout + done.stderr)
                return 1
    finally:
        for process in load:
            process.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
