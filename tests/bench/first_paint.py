"""How long the playground takes to its first paint, beside a bare Textual app: `python tests/bench/first_paint.py [N]`.

Each is started N times (default 7) in a pseudo-terminal of 120×40; the clock runs from the start of the process until
a word that is on its first screen has arrived. Prints the medians and their difference.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "terminal"))
from pty_app import PtyApp

BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("hello-bare")
Bare().run()
"""


def measure(arguments: list[str], word: bytes) -> float:
    """Seconds from the start of a process until `word` is on its screen."""
    begun = time.perf_counter()
    with PtyApp(arguments, 120, 40) as app:
        app.wait_for(word, 20)
        return time.perf_counter() - begun


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, "-m", "babytui", "--workspace", folder]
        os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        bare = statistics.median(measure([sys.executable, "-c", BARE], b"hello-bare") for _ in range(count))
        mine = statistics.median(measure(ours, b"Training") for _ in range(count))
    print(f"bare Textual app {bare:.3f} s, playground {mine:.3f} s, difference {mine - bare:.3f} s (budget 0.500 s)")


if __name__ == "__main__":
    main()
