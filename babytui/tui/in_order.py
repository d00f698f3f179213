"""Keys that arrive together, as over a slow link, do what they do in the order in which they were typed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.message_pump import MessagePump

LOOK = 0.1  # seconds between two looks at whether a key is stuck
LOOKS = 30  # of them, then the keys behind it go on
ROUNDS = 8  # at most, for what a key has set off


class InOrder(App[Any]):
    """An app that takes a key or a paste when all that the one before has set off is done: its binding was run, what
    it changed was told, the screen that it opened stands and has its focus.

    Textual forwards a key to the widget that has the focus at once, and looks for its binding when the event has come
    up to the app: behind keys that have followed meanwhile, which are then the wrong widget's. Here they wait while a
    callback goes the way that the key's messages go, from the widget up to the app, as often as it finds another
    screen or focus there than it left; a key that has no others behind it is not delayed.
    """

    def __init__(self, *args: Any, **named: Any):
        super().__init__(*args, **named)
        self._waiting: deque[events.Key | events.Paste] = deque()
        self._turn = 0  # counts the keys that were taken
        self._busy = False  # with the last of them
        self._rounds = 0
        self._before: tuple[Any, Any] = (None, None)  # the screen and the focus when this round began
        self._watched: asyncio.TimerHandle | None = None

    async def typed(self, event: events.Key | events.Paste) -> None:
        """A key or a paste, when it is its turn."""
        await super().on_event(event)

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, (events.Key, events.Paste)) or event.is_forwarded:
            await super().on_event(event)
        elif self._busy:
            self._waiting.append(event)
            if self._watched is None:
                self._watch(self._turn, LOOKS)
        else:
            await self._take(event)

    async def _take(self, event: events.Key | events.Paste) -> None:
        self._turn += 1
        self._busy, self._rounds = True, ROUNDS
        await self.typed(event)
        self._round()

    def _round(self) -> None:
        """From the focus up to the app, behind all that is on its way there."""
        if self._screen_stack:
            self._before = self.screen, self.focused
            self._up(self._turn, self.focused or self.screen)

    def _up(self, turn: int, node: DOMNode | MessagePump | None) -> None:
        while node is not None and node is not self:
            parent = node._parent
            if node.call_later(self._up, turn, parent):
                return
            node = parent  # that one is closing
        self.call_later(self._arrived, turn)

    async def _arrived(self, turn: int) -> None:
        await self._flush_next_callbacks()  # the answer of a screen that was left
        if turn != self._turn or not self._screen_stack:
            return
        first, changed = self._rounds == ROUNDS, self._before != (self.screen, self.focused)
        self._rounds -= 1
        if self._rounds > 0 and (first or changed):
            self._round()
        elif self._waiting:
            await self._take(self._waiting.popleft())
        else:
            self._busy = False

    def _watch(self, turn: int, looks: int) -> None:
        """Lets the keys go on that wait for a widget which does not come back to its messages."""
        if turn != self._turn:
            turn, looks = self._turn, LOOKS
        elif looks <= 0:
            self._turn = turn = turn + 1  # what is still on its way for that key counts no more
            self._rounds, looks = 0, LOOKS
            self.call_later(self._arrived, turn)
        again = bool(self._waiting) and self._running
        self._watched = asyncio.get_running_loop().call_later(LOOK, self._watch, turn, looks - 1) if again else None
