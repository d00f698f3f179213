"""Models that go to the trash, and come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.message import Message

from babytui.tui import backend
from babytui.tui.axis import size
from babytui.tui.bindings import keys_of
from babytui.tui.messages import Failed, ModelsChanged
from babytui.tui.panes.base import Pane
from babytui.tui.threads import in_thread
from babytui.visible import visible
from engine.errors import BabyError

_LISTED = 12  # files of a model that are named before it is deleted


class Deleting(Pane):
    """A pane that can delete models, and undo it. What it deletes is asked for first."""

    class Deleted(Message):
        """A thread has moved models' files to the trash (or, `undone`, back), each with its name; perhaps none.

        asked: the GUIDs that were to be deleted.
        """

        def __init__(self, gone: list[tuple[Any, str]], asked: set[str] | None = None, undone: bool = False):
            super().__init__()
            self.gone, self.asked, self.undone = gone, asked or set(), undone

    class Trashed(Message):
        """A thread has looked into the trash. found: what to show, what it is, and its name."""

        def __init__(self, found: list[tuple[str, Any, str]]):
            super().__init__()
            self.found = found

    def __init__(self, id: str):
        super().__init__(id)
        self.marked: set[str] = set()
        self._trash: list[list[tuple[Any, str]]] = []  # what was deleted here, the last at the end
        self._leaving: list[set[str]] = []  # GUIDs of deletions that are under way
        self._undo_asked = False  # while one was

    @property
    def _workspace(self) -> Any:
        return self.app.workspace  # type: ignore[attr-defined]

    def _warn(self, text: str) -> None:
        self.post_message(Failed(text, "warning"))

    def deletes(self, guid: str) -> bool:
        """Whether this model was deleted here, or is being deleted."""
        return any(guid in asked for asked in self._leaving) or any(
            deleted.guid == guid for gone in self._trash for deleted, _ in gone)

    def delete(self, rows: Sequence[backend.Row]) -> None:
        """Asks, with everything that will go, before these are moved to the trash."""
        from babytui.tui.screens.confirm import ConfirmScreen

        ours = [row for row in rows if not row.shipped]
        if not ours:
            self._warn("The baby that ships is part of the program and stays.")
            return
        live = [row for row in ours if row.live]
        said = [f"{row.name} is still training. It will be stopped, saved and then deleted." for row in live]
        if len(ours) < len(rows):
            said.append("The baby that ships stays.")
        undo = (keys_of("undo") or ["undo"])[0]
        lines = [*said, f"Everything moves to the trash; {undo} brings it back, also after you quit."]
        for row in ours:
            lines += ["", *self._files(row, alone=len(ours) == 1)]

        def answered(agreed: bool | None) -> None:
            if agreed:
                self._delete(ours)

        title = f"Delete {ours[0].name}?" if len(ours) == 1 else (
            f"Delete {len(ours)} models, {size(sum(row.bytes or 0 for row in ours))}?")
        self.app.push_screen(ConfirmScreen(visible(title, newlines=False), lines, "Stop and delete" if live else
                                           "Delete"), answered)

    def _files(self, row: backend.Row, alone: bool) -> list[str]:
        root, run = self._workspace.root, f"runs/{row.guid}"
        names = [file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file) for file in row.files]
        inner = sum(name.startswith(f"{run}/") for name in names)
        files = [visible(name, newlines=False) for name in names if not name.startswith(f"{run}/")]
        more = [] if alone or len(files) <= _LISTED else [f"  and {len(files) - _LISTED} more files"]
        files = files if alone else files[:_LISTED]
        head = f"{len(names)} files, {size(row.bytes or 0)}:"
        return [head if alone else f"{row.name}, {head}", *(f"  {file}" for file in files), *more,
                *([f"  {run}/ ({inner} files)"] if inner else [])]

    def _delete(self, rows: Sequence[backend.Row]) -> None:
        workspace = self._workspace
        if live := [row.name for row in rows if row.live]:
            self.notify(f"Stopping {visible(', '.join(live), newlines=False)}…", markup=False)
        self.app.did("delete", {"guid": [row.guid for row in rows], "stop": bool(live)})  # type: ignore[attr-defined]

        def work() -> None:
            gone: list[tuple[Any, str]] = []
            try:
                for row in rows:
                    try:
                        if row.live:
                            backend.halt(workspace, row.guid)
                        gone.append((backend.delete(workspace, row.guid), row.name))
                    except BabyError as error:  # the others are not kept for it
                        self.post_message(Failed(str(error)))
            finally:
                self.post_message(self.Deleted(gone, asked))

        asked = {row.guid for row in rows}
        self._leaving.append(asked)
        in_thread(self, work, "delete")

    def action_undelete(self) -> None:
        if self._leaving:  # the row may be gone before its last file is
            self._undo_asked = True
        elif self._trash:
            self._restore(self._trash[-1])
        else:
            self.action_restore()

    def action_restore(self) -> None:
        """Offers everything in the trash, also what was deleted before the app was opened."""
        workspace = self._workspace
        in_thread(self, lambda: self.post_message(self.Trashed(backend.trashed(workspace))), "trash", exclusive=True)

    def on_deleting_trashed(self, event: Trashed) -> None:
        if not event.found:
            self._warn("The trash is empty.")
            return
        from babytui.tui.screens.choose import ChooseScreen

        offered = {visible(label, newlines=False): (deleted, name) for label, deleted, name in event.found}

        def answered(label: str | None) -> None:
            if label is not None:
                self._restore([offered[label]])

        self.app.push_screen(ChooseScreen("Bring back", list(offered)), answered)

    def _restore(self, gone: Sequence[tuple[Any, str]]) -> None:
        workspace = self._workspace
        back = {deleted.trash for deleted, _ in gone}
        self._trash = [kept for group in self._trash if (kept := [one for one in group if one[0].trash not in back])]

        def work() -> None:
            done: list[tuple[Any, str]] = []
            try:
                for deleted, name in gone:
                    backend.undelete(workspace, deleted)
                    done.append((deleted, name))
            finally:
                if done:
                    self.post_message(self.Deleted(done, undone=True))

        self.app.did("trash restore", {"trashed": [deleted.guid for deleted, _ in gone]})  # type: ignore[attr-defined]
        in_thread(self, work, "delete")

    def on_deleting_deleted(self, event: Deleted) -> None:
        if event.gone:
            self._say(event)
        if not event.undone:
            self._leaving.remove(event.asked)
            if self._undo_asked and not self._leaving:
                self._undo_asked = False
                self.action_undelete()

    def _say(self, event: Deleted) -> None:
        names = visible(", ".join(name for _, name in event.gone[:3]), newlines=False)
        several = len(event.gone) > 1
        names += f" and {len(event.gone) - 3} more" if len(event.gone) > 3 else ""
        if event.undone:
            self.notify(f"{names} {'are' if several else 'is'} back.", markup=False)
        else:
            self._trash.append(event.gone)
            self.marked -= {deleted.guid for deleted, _ in event.gone}
            undo = (keys_of("undo") or ["undo"])[0]
            self.notify(f"{names} {'were' if several else 'was'} deleted; {undo} brings {'them' if several else 'it'} "
                        "back.", markup=False)
        self.post_message(ModelsChanged())
