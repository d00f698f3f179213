"""The conversations that are kept with models, and one thread at a time that keeps them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.errors import BabyError

if TYPE_CHECKING:
    from babytui.conversation import Conversation
    from babytui.conversation_file import Row
    from babytui.library import Baby
    from store.workspace import Workspace


def kept(workspace: Workspace, baby: Baby) -> tuple[Conversation | None, str]:
    """The conversation that was kept with a model, if there is one; and why it cannot be read, in a sentence."""
    from babytui import conversation_file

    try:
        return conversation_file.load(workspace, baby.guid, baby.tokenizer.vocab), ""
    except (BabyError, OSError) as error:
        return None, f"{error} What is said now is not kept; `babytui doctor --repair` moves that file to the trash."


class Keeper:
    """Writes conversations from threads: of two for one model the later one stays, and what is already written is not
    written again."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._latest: dict[str, Sequence[Row]] = {}
        self._writing = threading.Lock()

    def take(self, guid: str, rows: Sequence[Row]) -> None:
        """Notes what is to be kept with a model; `write` does it."""
        self._latest[guid] = rows

    def write(self) -> None:
        """Writes what was taken and not yet written; StoreError."""
        from babytui import conversation_file

        with self._writing:
            for guid in list(self._latest):
                rows = self._latest.pop(guid)  # also when the disk refuses: that is told of once
                if self._there(guid):
                    conversation_file.save(self.workspace, guid, rows)

    def _there(self, guid: str) -> bool:
        """Whether the model is still there: what was deleted takes its conversation along."""
        from babytui import workspace_choice
        from store.workspace import Workspace

        return self.workspace.run_dir(guid).is_dir() or any(
            place.path("model", guid).is_file() for place in (self.workspace, Workspace(workspace_choice.BOX)))
