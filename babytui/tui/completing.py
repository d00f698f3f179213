"""Completion of a command while it is typed in the app: between a field, the list above it, and what there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.widget import Widget

from babytui.actions import APP
from babytui.completion import Completer, Completion
from babytui.tui.threads import in_thread
from babytui.tui.widgets.completions import CompletionList
from store.workspace import Workspace


class Completing:
    """Completes what stands in a field.

    read: the command as it is typed and the cursor in it; None when what is typed is no command. write: puts another
    command and cursor in its place. told: is called with what is meant at the cursor whenever that may have changed.
    """

    def __init__(self, owner: Widget, workspace: Workspace, shown: Callable[[], CompletionList],
                 read: Callable[[], tuple[str, int] | None], write: Callable[[str, int], None],
                 told: Callable[[str], None] = lambda hint: None):
        self._owner, self._shown, self._read, self._write, self._told = owner, shown, read, write, told
        self._completer = Completer(workspace, APP, wait=False)
        self._base = ("", 0)
        self._items: Sequence[Completion] = ()
        self._written: str | None = None  # by a choice, not by hand
        self._looking = False

    @property
    def open(self) -> bool:
        """Whether there is something to choose from."""
        return bool(self._items)

    def look(self) -> None:
        """Finds in a thread what the workspace holds, and completes again with it."""
        if self._looking:
            return
        self._looking = True

        def work() -> None:
            self._completer.look()
            self._owner.call_later(self._looked)  # thread-safe: it posts a message

        in_thread(self._owner, work, "complete")

    def _looked(self) -> None:
        self._looking = False
        if self._written is None and self._shown().chosen < 0:
            self.typed()

    def typed(self) -> None:
        """The field has changed."""
        now = self._read()
        if now is not None and now[0] == self._written:
            return
        self._written = None
        self._base = now or ("", 0)
        self._items = self._completer.complete(*now) if now is not None else ()
        text, at = self._base
        if len(self._items) == 1 and text[self._items[0].start:at] == self._items[0].text:
            self._items = ()  # it stands there already
        self._shown().offer(self._items)
        self._told(self._completer.hint(*now) if now is not None else "")

    def close(self) -> None:
        """Hides the list until something is typed."""
        self._items, self._written = (), (self._read() or (None,))[0]
        self._shown().offer(())

    def move(self, by: int) -> None:
        """Puts the next or the previous completion into the field; past the ends what was typed."""
        now = self._read()
        if now is not None and now[0] != self._written and now != self._base:
            self.typed()  # the message that says so is still on its way
        count = len(self._items)
        if not count:
            return
        chosen = (self._shown().chosen + 1 + by) % (count + 1) - 1
        if count == 1 and chosen < 0:
            chosen = 0
        text, at = self._base
        if chosen >= 0:
            one = self._items[chosen]
            text, at = text[:one.start] + one.text + text[at:], one.start + len(one.text)
        self._written = text
        self._shown().offer(self._items, chosen)
        self._write(text, at)
        self._told(self._completer.hint(text, at))
