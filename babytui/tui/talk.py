"""A reply as it is written, from a thread: pieces are gathered and handed over no faster than they are painted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.message import Message

from babytui.visible import visible
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.library import Baby, Generation

PAINTS_PER_SECOND = 20
# From so many tokens between two paints the whole view scrolls with each of them; then it is painted less often, as
# nobody reads that fast and a thin link carries it.
RUSH, FLOOD = 20, 100


@dataclass(frozen=True)
class Pace:
    """How a reply is going. Seconds; context: tokens in view of the model's n_ctx."""

    tokens: int = 0
    tokens_per_second: float = 0.0
    prefill: float = 0.0
    context: int = 0
    n_ctx: int = 0
    seed: int = 0


class Spoke(Message):
    """More of a reply, already safe to show. `done` comes once, with why it ended: end, stopped or a sentence."""

    def __init__(self, serial: int, text: str, pace: Pace, done: str = ""):
        super().__init__()
        self.serial, self.text, self.pace, self.done = serial, text, pace, done


class Talk:
    """One reply. `stop` ends it at the next token; the thread never waits for the screen."""

    def __init__(self, baby: Baby, prompt: str, settings: dict[str, Any], serial: int, post: Callable[[Message], Any]):
        self.baby, self.prompt, self.settings, self.serial = baby, prompt, settings, serial
        self._post = post
        self._stopped = threading.Event()
        self._painted = threading.Event()
        self._painted.set()
        self.text = ""

    def stop(self) -> None:
        """Ends the reply soon; may be called from any thread."""
        self._stopped.set()

    def painted(self) -> None:
        """The last piece is on the screen."""
        self._painted.set()

    def run(self) -> None:
        """Runs in a thread."""
        generation: Generation | None = None
        waiting: list[str] = []
        said: list[str] = []
        done = "end"
        pace = Pace()
        try:
            generation = self.baby.generate(self.prompt, **self.settings)
            said.append(generation.opening)
            last = 0.0
            for piece in generation:
                waiting.append(piece)
                said.append(piece)
                now = time.monotonic()
                pause = (1 if len(waiting) < RUSH else 2 if len(waiting) < FLOOD else 4) / PAINTS_PER_SECOND
                if now - last >= pause and self._painted.is_set():
                    self._painted.clear()
                    pace = self._pace(generation)
                    self._post(Spoke(self.serial, visible("".join(waiting)), pace))
                    waiting.clear()
                    last = now
                if self._stopped.is_set():
                    done = "stopped"
                    break
            pace = self._pace(generation)
        except BabyError as error:
            done = str(error)
        except MemoryError:
            done = "There is not enough memory to write; lower n_ctx or close something else."
        finally:
            if generation is not None:
                generation.close()
            self.text = "".join(said)
            self._post(Spoke(self.serial, visible("".join(waiting)), pace, done))

    def _pace(self, generation: Generation) -> Pace:
        n_ctx = self.baby.config.n_ctx
        return Pace(generation.count, generation.tokens_per_second, generation.prefill_seconds,
                    min(n_ctx, len(generation.ids) + generation.count), n_ctx, generation.seed)
