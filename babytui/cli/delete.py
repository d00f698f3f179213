"""babytui delete"""

from __future__ import annotations

from typing import Any

from babytui import removal, runs, workspace_choice
from babytui.cli.asking import may_delete, trashed
from babytui.cli.output import Output, size
from babytui.library import locate
from engine.errors import BabyError, RunError, UsageError
from store.names import short
from store.workspace import Deleted


def run(arguments: Any) -> int:
    """Move models to the trash, after saying what will go."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    entries, live = {}, {}
    for reference in arguments.guid:
        home, guid = locate(reference, workspace)
        if home.root != workspace.root:
            raise UsageError(f"{reference} is the model that ships with babytui; it cannot be deleted.")
        entries[guid] = workspace.entry(guid)
        training = runs.Run(workspace, guid)
        if training.alive:
            live[guid] = training
            if not arguments.stop:
                raise RunError(f"{training.name} is being trained; end it with `babytui stop {short(guid)}`, or delete "
                               "it with --stop.")
    if not arguments.yes:
        for entry in entries.values():
            first = ", is being trained and will be stopped" if entry.guid in live else ""
            out.warn(f"{entry.name} ({short(entry.guid)}), {size(entry.bytes)}{first}:")
            for path in entry.files:
                out.warn(f"  {path}")
        if not may_delete("this model" if len(entries) == 1 else f"these {len(entries)} models", out):
            return 0
    deleted: list[Deleted] = []
    code = 0
    for guid, entry in entries.items():
        name = entry.name or short(guid)
        try:
            if guid in live:
                out.say(f"Stopping {name}…")
                removal.halt(live[guid])
            deleted.append(workspace.delete(guid))
        except BabyError as error:  # the others are not kept for it
            out.warn(f"babytui: {error}")
            code = error.exit_code
            continue
        out.say(f"{name} is in the trash, {deleted[-1].trash}; `babytui trash restore {short(guid)}` brings it back.")
    if arguments.json:
        out.data(trashed(deleted))
    return code
