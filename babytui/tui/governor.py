"""How much the app may paint: it measures its own bytes and their delay, and steps down when the link is slow.

What was written to a terminal may lie in buffers of the system, of SSH and of the network for seconds, and a key's echo
waits behind it. So no more than a window of bytes is on its way at any time: frames that would be are not made, and
what they would have painted is painted by a later one. How much is on its way is known from the terminal's answers to
a question that travels behind the frames (`\\x1b[5n`), and where it gives none from how long writing blocks.

Nothing here knows of Textual, and the clock is given: seconds that only grow.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

QUESTION, ANSWER = "\x1b[5n", "\x1b[0n"
SMALLEST_WINDOW, FIRST_WINDOW, LARGEST_WINDOW = 1024, 16384, 131072  # bytes on their way
HELD = 20480  # bytes that a pseudo-terminal takes before writing blocks (Linux)
LATE = 0.1  # seconds of waiting in queues that are felt
BLOCKED = 0.02  # seconds for a write that went nowhere at first
LOST = 5.0  # seconds after which an answer is not waited for any more
PROBE = 0.5  # seconds after which a terminal that gives no answers is tried with a window, whatever its rate says
SLACK = 4096  # bytes that go at once where others have just been read: terminals are read in pieces
HAND = 0.3  # seconds after a key in which its consequences are painted as they come
BEHIND = 0.5  # seconds between two looks at a run while someone types
FIRST = 0.05  # seconds that other threads leave to a key: one that changes nothing is never painted
STEP_DOWN, STEP_UP, LONGEST_STEP_UP = 2.0, 10.0, 160.0  # seconds of trouble, or of calm, before a step


@dataclass(frozen=True)
class Level:
    """What the app does at one step. paints: frames a second that nobody's key asked for; period: seconds between two
    looks at a run, at least; colours: bits of a colour (24, 8 or 4); coarse: the curve is drawn with whole cells."""

    name: str
    paints: float
    period: float
    colours: int
    coarse: bool = False


LEVELS = (Level("full", 60, 0.0, 24), Level("calm", 8, 0.5, 24), Level("slow", 3, 1.0, 8),
          Level("thin", 1, 2.0, 4, coarse=True))
NAMES = tuple(level.name for level in LEVELS)


def _locked(method: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(method)
    def alone(self: Link, *arguments: Any) -> T:
        with self._lock:
            return method(self, *arguments)

    return alone


@dataclass
class Link:
    """The way to the terminal, as its writer, its reader and the app see it, each in a thread of its own. `ahead(now)`:
    the bytes on their way, as far as can be known."""

    window: float = FIRST_WINDOW
    answers: bool = False
    nearest: float = float("inf")  # seconds of the quickest answer
    delay: float = 0.0  # seconds that the last answer took longer than that, or a write was blocked
    written: int = 0
    rate: float = float("inf")  # bytes a second, once writing has blocked
    _queued: int = 0  # given to the writer, not written yet
    _asked: deque[tuple[int, float]] = field(default_factory=deque)  # written before the question, when
    _answered: int = 0  # bytes that have arrived
    _filled: float = 0.0  # bytes in buffers, by the rate
    _filled_at: float = 0.0
    _forgiven: float = 0.0  # of them
    _blocked: float = 0.0  # when writing last was
    _taken: int = 0  # bytes since then
    _begun: bool = False
    _most: float = 0.0  # bytes on their way since the last answer
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @_locked
    def queue(self, count: int) -> None:
        """So many bytes go to the writer."""
        self._queued += count
        self._most = max(self._most, self.written + self._queued - self._answered)

    @_locked
    def write(self, count: int, seconds: float, now: float) -> None:
        """So many of them were written, which took `seconds`."""
        self._queued = max(0, self._queued - count)
        self.written += count
        left = self._left(now)
        self._forgiven = min(self._forgiven, left)
        self._filled, self._filled_at = left + count, now
        if seconds > BLOCKED:
            pace = count / seconds
            self.rate = pace if self.rate == float("inf") else 0.7 * self.rate + 0.3 * pace
            self._filled = max(self._filled, HELD)
            self._blocked, self._taken, self._forgiven = now, 0, 0.0
            if not self.answers:
                self.delay = max(self.delay, self._filled / self.rate)
                self._shrink()
        elif self.rate < float("inf"):
            self._taken += count
            if self._taken > SLACK + self.rate * (now - self._blocked):  # it stood still, but is not slow
                self.rate, self.delay = float("inf"), 0.0
                self.window = max(self.window, FIRST_WINDOW / 2)
            else:
                self.rate *= 1 + 0.1 * min(1.0, seconds + 0.01)  # looks carefully whether there is more by now

    @_locked
    def ask(self, now: float) -> bool:
        """Whether a question should follow what was written; it counts as asked then."""
        if self._asked and not self.answers:  # nobody may be there to answer
            return False
        last = self._asked[-1][0] if self._asked else self._answered
        if self.written + self._queued - last < 256 and self._begun:  # the first tells how far the terminal is away
            return False
        self._begun = True
        self._asked.append((self.written + self._queued, now))
        return True

    @_locked
    def answer(self, now: float) -> None:
        """The terminal has answered a question."""
        if not self._asked:
            return
        first, self.answers = not self.answers, True
        self._answered, asked = self._asked.popleft()
        took = now - asked
        used, self._most = self._most > self.window / 2, 0.0
        if first and took > LOST:
            return
        self.nearest = min(self.nearest, took)
        self.delay = took - self.nearest
        if self.delay > LATE:
            self._shrink()
        elif self.delay < LATE / 2 and used:
            self.window = min(LARGEST_WINDOW, self.window + 1024)
        self._filled = min(self._filled, self.written - self._answered)

    @_locked
    def ahead(self, now: float) -> float:
        """Bytes that were given to the writer and have not arrived, as far as can be known."""
        if not self.answers:
            if now - self._filled_at >= PROBE:  # a rate measured while nobody read would be believed for minutes
                self._forgiven = self._left(now)
            return self._queued + max(0.0, self._left(now) - self._forgiven)
        while self._asked and now - self._asked[0][1] > LOST:  # it went lost; what comes later will answer for it
            self._answered = self._asked.popleft()[0]
        if not self._asked:
            return self._queued
        return self._queued + self.written - self._answered

    @_locked
    def waiting(self) -> bool:
        """Whether an answer is on its way."""
        return self.answers and bool(self._asked)

    def _left(self, now: float) -> float:
        if self.rate == float("inf"):
            return 0.0
        return max(0.0, self._filled - self.rate * (now - self._filled_at))

    def _shrink(self) -> None:
        self.window = max(SMALLEST_WINDOW, self.window / 2)


class Governor:
    """Says when a frame may be painted, and at which level the app works. fixed: the name of a level that is kept;
    most: frames a second that are painted at most unless a key asks for them."""

    def __init__(self, fixed: str = "auto", most: float = 60.0):
        self.link = Link()
        self.most = most
        self.fixed = fixed in NAMES
        self._level = NAMES.index(fixed) if self.fixed else 0
        self.lag = 0.0  # seconds by which the event loop was late
        self.reason = ""  # why it is not at the top
        self._painted = self._pressed = self._answered = float("-inf")
        self._dropped = 0
        self._trouble: float | None = None
        self._calm: float | None = None
        self._patience = STEP_UP
        self._just_up = False  # the last step was one up
        self._bytes: deque[tuple[float, int]] = deque(maxlen=6)

    @property
    def level(self) -> Level:
        return LEVELS[self._level]

    @property
    def said(self) -> str:
        """A few words for the person; "" at full detail."""
        return "" if self.fixed or not self._level else f"{self.reason}: {_WORDS[self._level]}"

    def pressed(self, now: float) -> None:
        """A key came: what it changes is painted first."""
        self._pressed = now

    def wait(self, now: float) -> float:
        """Seconds until the next frame may be painted, 0 for at once. Asked again when an answer has come."""
        if self.full(now):
            rate = self.link.rate if self.link.rate < float("inf") else 1e5
            return min(0.5, max(0.01, (self.link.ahead(now) - self.link.window) / rate))
        if self.urgent(now):
            return 0.0
        return max(0.0, self._painted + 1 / min(self.level.paints, self.most) - now)

    def urgent(self, now: float) -> bool:
        """Whether what a key has changed is still to be painted."""
        return self._pressed > self._painted or now - self._pressed < HAND

    def dropped(self) -> None:
        """A frame was not made because too much was on its way."""
        self._dropped += 1

    def full(self, now: float) -> bool:
        """Whether so much is on its way that nothing may follow."""
        return self.link.ahead(now) > self.link.window

    def painted(self, now: float) -> None:
        """A frame goes to the writer."""
        self._painted = now

    def answered(self, begun: float) -> None:
        """A frame that was begun then is on its way: what was pressed before is answered."""
        self._answered = begun

    def answering(self, now: float) -> bool:
        """Whether a key waits for its frame."""
        return self._pressed > self._answered and now - self._pressed < FIRST

    def tick(self, now: float, lag: float) -> bool:
        """Looks at how it goes, about once a second. lag: seconds by which the event loop was late. Returns whether the
        level has changed."""
        self.lag = lag
        self._bytes.append((now, self.link.written))
        late = self.link.delay > LATE or self.link.ahead(now) > self.link.window
        # what one frame after another was kept back for is a slow link, even where each of them came in time
        slow, busy = late or self._dropped > 2, lag > 2 * LATE
        calm = not self._dropped and self.link.delay < LATE / 2 and lag < LATE
        if not self.link.waiting():
            self.link.delay /= 2
        self._dropped = 0
        if self.fixed:
            return False
        if slow or busy:
            self._calm = None
            if self._trouble is None:
                self._trouble = now
            if now - self._trouble >= STEP_DOWN and self._level < len(LEVELS) - 1:
                if self._just_up:
                    self._patience = min(LONGEST_STEP_UP, 2 * self._patience)
                self._just_up = False
                self._level += 1
                self._trouble = now
                self.reason = "slow link" if slow else "busy machine"
                return True
        else:
            self._trouble = None if calm else self._trouble
            self._calm = (now if self._calm is None else self._calm) if calm else None
            if self._level and self._calm is not None and now - self._calm >= self._patience:
                self._level -= 1
                self._calm = now
                self._just_up = True
                return True
        return False

    @property
    def bytes_per_second(self) -> float:
        """What was written lately."""
        if len(self._bytes) < 2:
            return 0.0
        (begun, before), (now, after) = self._bytes[0], self._bytes[-1]
        return (after - before) / max(1e-9, now - begun)

    def made_present(self) -> None:
        """Threads that look at runs and write replies go by this governor's level."""
        global _present
        _present = self


_WORDS = ("", "calmer screen", "fewer colours", "few colours, plain curve")
_present: Governor | None = None


def level() -> Level:
    """The level of this process's app; everything where there is none."""
    return _present.level if _present is not None else LEVELS[0]


def typing() -> bool:
    """Whether someone has just pressed a key: what moves by itself then waits a little longer."""
    return _present is not None and _present.urgent(time.monotonic())


def after_keys() -> None:
    """Waits while a key is being answered. For threads that compute: the interpreter runs one thread at a time."""
    while _present is not None and _present.answering(time.monotonic()):
        time.sleep(0.002)


def period(seconds: float) -> float:
    """How long to wait between two looks at what is painted: `seconds`, or longer on a slow link or while one types."""
    return max(seconds, level().period, BEHIND if typing() else 0.0)
