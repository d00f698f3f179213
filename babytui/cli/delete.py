"""babytui delete"""

from __future__ import annotations

import sys
from typing import Any

from babytui import runs, workspace_choice
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
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("Nothing was deleted: add --yes, because nobody can be asked here.")
        noun = "this model" if len(entries) == 1 else f"these {len(entries)} models"
        print(f"Move {noun} to the trash? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            out.say("Nothing was deleted.")
            return 0
    deleted = [workspace.delete(guid) for guid in entries]
    if arguments.json:
        out.data([{"guid": item.guid, "files": [str(path) for path in item.files], "bytes": item.bytes,
                   "trash": str(item.trash)} for item in deleted])
    for item in deleted:
        out.say(f"{entries[item.guid].name} is in the trash, {item.trash}; move its files back to have it again.")
    return 0
