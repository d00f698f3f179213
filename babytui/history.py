"""What was typed before: to the chat's prompt, the shell and the app's command line, across sessions.

One private file for each kind of line in $XDG_STATE_HOME/babytui (~/.local/state/babytui). Several faces may write to
one at once. What cannot be read or written is left out: a history is no reason to fail.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from engine.errors import BabyError
from store import atomic, journal
from store.reading import open_regular

KEPT = 2000  # entries
LONGEST = 20_000  # characters of one; a longer one was pasted and is not kept
MAX_BYTES = 64 << 20
PROMPTS, COMMANDS = "prompts", "commands"


def folder() -> Path:
    """Where the files lie."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "babytui"


class History:
    """The entries of one kind, "prompts" or "commands", as of when it was opened and what was added since."""

    def __init__(self, kind: str, place: Path | None = None):
        self.path = (place or folder()) / f"{kind}.jsonl"
        self._entries: list[str] | None = None

    @property
    def entries(self) -> list[str]:
        """Everything that is kept, oldest first, never the same twice in a row."""
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def add(self, text: str) -> bool:
        """Keeps a text; False when it says nothing new: empty, as the last one, or too long."""
        if not text.strip() or len(text) > LONGEST or self.entries[-1:] == [text]:
            return False
        self.entries.append(text)
        with suppress(BabyError, OSError):
            atomic.make_folder(self.path.parent, 0o700)
            journal.append(self.path, {"text": text, "time": time.time()})
            if len(self.entries) > 2 * KEPT:
                self._shorten()
        return True

    def search(self, word: str) -> list[str]:
        """The entries that hold `word` in any case, the latest first, each once."""
        wanted = word.casefold()
        return list(dict.fromkeys(text for text in reversed(self.entries) if wanted in text.casefold()))

    def forget(self) -> None:
        """Deletes all of it."""
        self._entries = []
        with suppress(OSError):
            self.path.unlink()

    def _read(self) -> list[str]:
        found: list[str] = []
        with suppress(BabyError, OSError):
            open_regular(self.path, MAX_BYTES)[0].close()  # a pipe in its place would be waited for
            for line in journal.tail(self.path, 2 * KEPT):
                text = line.get("text")
                if isinstance(text, str) and text.strip() and len(text) <= LONGEST and found[-1:] != [text]:
                    found.append(text)
        return found

    def _shorten(self) -> None:
        """Keeps the last ones only, those of other faces too."""
        everything = self._read()[-KEPT:]
        data = b"".join(atomic.encode_json(self.path, {"text": text, "time": time.time()}, indent=False).rstrip()
                        + b"\n" for text in everything)
        atomic.write_bytes(self.path, data)
        self.path.chmod(0o600)
        self._entries = everything
