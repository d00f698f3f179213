"""babytui delete"""

from __future__ import annotations

from typing import Any

from babytui import runs, workspace_choice
from babytui.cli.asking import may_delete, trashed
from babytui.cli.output import Output, size
from babytui.library import locate
from engine.errors import RunError, UsageError
from store.names import short


def run(arguments: Any) -> int:
    """Move models to the trash, after saying what will go."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    entries = {}
    for reference in arguments.guid:
        home, guid = locate(reference, workspace)
        if home.root != workspace.root:
            raise UsageError(f"{reference} is the model that ships with babytui; it cannot be deleted.")
        live = runs.Run(workspace, guid)
        if live.alive:
            raise RunError(f"{live.name} is being trained; end it with `babytui stop {short(guid)}`, then delete it.")
        entries[guid] = workspace.entry(guid)
    if not arguments.yes:
        for entry in entries.values():
            out.warn(f"{entry.name} ({short(entry.guid)}), {size(entry.bytes)}:")
            for path in entry.files:
                out.warn(f"  {path}")
        noun = "this model" if len(entries) == 1 else f"these {len(entries)} models"
        if not may_delete(noun, out):
            return 0
    deleted = [workspace.delete(guid) for guid in entries]
    if arguments.json:
        out.data(trashed(deleted))
    for item in deleted:
        out.say(f"{entries[item.guid].name} is in the trash, {item.trash}; move its files back to have it again.")
    return 0
