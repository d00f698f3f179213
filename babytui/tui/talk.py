"""A reply as it is written, from a thread: tokens are gathered and handed over no faster than they are painted."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textual.message import Message

from babytui.tui.governor import after_keys, typing
from babytui.visible import visible
from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.conversation import Exchange
    from babytui.library import Baby, Generation
    from babytui.receipts import Part

PAINTS_PER_SECOND = 20
# From so many tokens between two paints the whole view scrolls with each of them; then it is painted less often, as
# nobody reads that fast and a thin link carries it.
RUSH, FLOOD = 20, 100


@dataclass(frozen=True)
class Pace:
    """How a reply is going. Seconds; tokens: written now; context: tokens in view of the model's n_ctx. step: of the
    checkpoint that writes."""

    tokens: int = 0
    tokens_per_second: float = 0.0
    prefill: float = 0.0
    context: int = 0
    n_ctx: int = 0
    seed: int = 0
    step: int | None = None


class Spoke(Message):
    """More of a reply: its text, safe to show, with ids and probabilities. `done` comes once, with why it ended: end,
    stopped or a sentence, and with what was written as a part for its receipt. baby: newer weights, once."""

    def __init__(self, serial: int, text: str, pace: Pace, done: str = "", ids: array[int] | None = None,
                 probabilities: array[float] | None = None, part: Part | None = None, baby: Baby | None = None):
        super().__init__()
        self.serial, self.text, self.pace, self.done = serial, text, pace, done
        self.ids, self.probabilities = ids or array("I"), probabilities or array("f")
        self.part, self.baby = part, baby


class Talk:
    """One reply, or more of one. `stop` ends it at the next token; the thread never waits for the screen.

    chosen: the last token that the exchange has, when a person has put it there. fetch: gives newer weights, called
    first, in the thread.
    """

    def __init__(self, baby: Baby, exchange: Exchange, settings: dict[str, Any], serial: int,
                 post: Callable[[Message], Any], *, chosen: int | None = None,
                 fetch: Callable[[Callable[[], bool]], Baby] | None = None):
        self.baby, self.exchange, self.settings, self.serial = baby, exchange, settings, serial
        self.chosen, self._fetch, self._post = chosen, fetch, post
        self._kept = array("I", exchange.ids)
        self._stopped = threading.Event()
        self._painted = threading.Event()
        self._painted.set()

    def stop(self) -> None:
        """Ends the reply soon; may be called from any thread."""
        self._stopped.set()

    def painted(self) -> None:
        """The last piece is on the screen."""
        self._painted.set()

    def run(self) -> None:
        """Runs in a thread."""
        from babytui import receipts

        generation: Generation | None = None
        part = None
        self._waiting: list[str] = []
        self._ids, self._shares = array("I"), array("f")
        done, pace = "end", Pace()
        try:
            if self._fetch is not None:
                newer = self._fetch(self._stopped.is_set)
                if newer is not self.baby:
                    self.baby = newer
                    self._post(Spoke(self.serial, "", Pace(step=newer.step), baby=newer))
            prompt = self.exchange.prompt
            generation = self.baby.generate(prompt, kept=self._kept, **self.settings)
            last = 0.0
            for token, piece in generation.tokens():
                self._waiting.append(piece)
                self._ids.append(token.id)
                self._shares.append(token.probability)
                now = time.monotonic()
                count = len(self._waiting)
                pause = (4 if count >= FLOOD or typing() else 2 if count >= RUSH else 1) / PAINTS_PER_SECOND
                if now - last >= pause and self._painted.is_set():
                    self._painted.clear()
                    pace = self._pace(generation)
                    self._tell(pace)
                    last = now
                if self._stopped.is_set():
                    done = "stopped"
                    break
                after_keys()
            pace = self._pace(generation)
        except BabyError as error:
            done = str(error)
        except MemoryError:
            done = "There is not enough memory to write; lower n_ctx or close something else."
        finally:
            if generation is not None:
                generation.close()
                part = receipts.part_of(generation, self.chosen)
            self._tell(pace, done, part)

    def _tell(self, pace: Pace, done: str = "", part: Part | None = None) -> None:
        """Hands over what has gathered."""
        text, ids, shares = visible("".join(self._waiting)), self._ids, self._shares
        self._waiting, self._ids, self._shares = [], array("I"), array("f")
        self._post(Spoke(self.serial, text, pace, done, ids, shares, part))

    def _pace(self, generation: Generation) -> Pace:
        n_ctx = self.baby.config.n_ctx
        return Pace(generation.count, generation.tokens_per_second, generation.prefill_seconds,
                    min(n_ctx, len(generation.ids) + len(generation.kept) + generation.count), n_ctx, generation.seed,
                    self.baby.step)
