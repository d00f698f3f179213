"""The runs of a workspace while something is typed: a line for the toolbar, and what is told above the prompt."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from babytui import runs
from babytui.cli.output import Output, loss, seconds
from babytui.cli.watching import Watch
from babytui.visible import cut, visible
from engine import events
from engine.errors import BabyError
from store.workspace import Workspace

LOOK_SECONDS = 1.0
SCAN_SECONDS = 10.0  # a resumed run does not change the folder that a new one appears in
LONGEST_SAMPLE = 72


class Watcher(threading.Thread):
    """Looks once a second, in a thread of its own. text: how the live run stands, one line; empty when there is none.
    tell: called in the thread with a line that is told; how: "ends", "all" or "off" (asked each time); changed: called
    when the text has changed."""

    def __init__(self, workspace: Workspace, how: Callable[[], str], tell: Callable[[str], None],
                 changed: Callable[[], None] = lambda: None):
        super().__init__(daemon=True, name="watcher")
        self.workspace, self._how, self._tell, self._changed_text = workspace, how, tell, changed
        self.text = ""
        self._known: dict[str, Watch] = {}
        self._seen: float | None = None
        self._scanned = 0.0
        self._wake, self._over = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except (BabyError, OSError):  # a broken workspace is told of by the commands
                self.text = ""
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()

    def stop(self) -> None:
        """Ends the thread soon."""
        self._over.set()
        self._wake.set()

    def again(self) -> None:
        """Looks at once: something may have been started."""
        self._scanned = 0.0
        self._wake.set()

    def skip(self) -> None:
        """What has happened until now was told by a command."""
        with self._lock:
            self._scan()
            for watch in list(self._known.values()):
                self._read(watch)
                if not watch.run.alive:
                    del self._known[watch.run.guid]

    def look(self) -> None:
        """Reads what is new, tells it, and makes the line."""
        with self._lock:
            if self._changed():
                self._scan()
            lines = []
            for guid, watch in list(self._known.items()):
                alive = watch.run.alive
                for event in self._read(watch):
                    if line := told(watch, event, self._how()):
                        lines.append(line)
                if not alive:
                    del self._known[guid]
                    if watch.end is None and watch.run.dir.is_dir() and self._how() != "off":
                        lines.append(f"{watch.run.name} died; `/resume {watch.run.short}` continues it.")
            before, self.text = self.text, self._line()
            for line in lines:
                self._tell(line)
        if self.text != before:
            self._changed_text()

    def _changed(self) -> bool:
        try:
            stamp = self.workspace.runs.stat().st_mtime
        except OSError:
            stamp = None
        changed = stamp != self._seen or time.monotonic() - self._scanned > SCAN_SECONDS
        self._seen = stamp
        return changed

    def _scan(self) -> None:
        self._scanned = time.monotonic()
        for run in runs.all_runs(self.workspace):
            if run.guid not in self._known and run.alive:
                recent, offset = run.tail(200)
                watch = self._known[run.guid] = Watch(run, Output(quiet=True), offset=offset, owner=False)
                for event in (*run.events(0, 1 << 16)[0], *recent):
                    watch.take(event)

    @staticmethod
    def _read(watch: Watch) -> list[events.Event]:
        found, watch.offset = watch.run.events(watch.offset, 1 << 20)
        for event in found:
            watch.take(event)
        return found

    def _line(self) -> str:
        if not self._known:
            return ""
        watch = next(iter(self._known.values()))
        more = f" · {len(self._known) - 1} more" if len(self._known) > 1 else ""
        status = watch.run.status()
        how = f" ({status})" if status != "running" else ""
        text = watch.text() if watch.step is not None else "…"
        return f"{cut(watch.run.name, 20)}{how} {text}{more}"


def told(watch: Watch, event: events.Event, how: str) -> str:
    """What an event says, in a line; empty when it is not told."""
    name = watch.run.name
    line = ""
    if how == "off":
        return ""
    if isinstance(event, events.End):
        if event.reason == "failed":
            line = f"{name} failed: {event.message}"
        else:
            words = {"finished": "is finished", "time": "has used its time", "stopped": "was stopped and kept"}
            line = (f"{name} {words.get(event.reason, 'ended')}: {event.step} steps in {seconds(event.seconds)}, "
                    f"validation loss {loss(event.validation_loss)}; `/model {watch.run.short}` talks to it.")
    elif isinstance(event, events.Alarm) and event.name != "failed":
        line = f"{name}: {event.message}"
    elif how == "all" and isinstance(event, events.Evaluation):
        line = f"{name} step {event.step}: loss {loss(event.train_loss)}, validation loss {loss(event.validation_loss)}"
    elif how == "all" and isinstance(event, events.Sample):
        line = f"{name} step {event.step}: {cut(' '.join(event.text.split()), LONGEST_SAMPLE)}"
    return visible(line, newlines=False)


class Board:
    """Lines that are told as soon as there is a prompt to tell them above."""

    def __init__(self, show: Callable[[str], None]):
        self._show = show
        self._waiting: deque[str] = deque(maxlen=50)
        self._lock = threading.Lock()
        self._open = False

    def add(self, line: str) -> None:
        """From any thread."""
        with self._lock:
            if self._open:
                self._show(line)
            else:
                self._waiting.append(line)

    def open(self) -> None:
        """A prompt stands: what waited is shown, and what comes."""
        with self._lock:
            self._open = True
            while self._waiting:
                self._show(self._waiting.popleft())

    def drop(self) -> None:
        """What waits was told by a command already."""
        with self._lock:
            self._waiting.clear()

    def close(self) -> None:
        """The prompt is gone."""
        with self._lock:
            self._open = False
