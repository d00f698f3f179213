"""babytui trash, trash restore, trash empty"""

from __future__ import annotations

import time
from typing import Any

from babytui import workspace_choice
from babytui.cli.asking import agreed
from babytui.cli.output import Output, date, size, table
from store import trash
from store.names import short
from store.trash import Item

_STATES = {trash.WHOLE: "", trash.MOVING: "half deleted", trash.RESTORING: "half restored"}


def _what(item: Item) -> str:
    """What a restore calls it."""
    return short(item.guid) if item.guid else item.folder.name


def _name(item: Item) -> str:
    return item.name or _what(item)


def list_items(arguments: Any) -> int:
    """List what was deleted, the latest first."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    found = trash.items(workspace.root)
    if arguments.json:
        out.data([_facts(item) for item in found])
        return 0
    if not found:
        out.say(f"The trash of {workspace.root} is empty.")
        return 0
    rows = [("DELETED", "GUID", "NAME", "KIND", "FILES", "SIZE", "STATE")]
    rows += [(date(item.deleted), _what(item), item.name[:30], item.kind, str(item.files), size(item.bytes),
              _STATES[item.state]) for item in found]
    for line in table(rows, right=(4, 5)):
        out.print(line)
    out.say(f"{size(sum(item.bytes for item in found))}; `babytui trash restore GUID` brings something back, `babytui "
            "trash empty` deletes everything for good.")
    return 0


def restore(arguments: Any) -> int:
    """Bring back what was deleted."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    chosen = {item.folder: item for item in (trash.find(workspace.root, word) for word in arguments.trashed)}
    told = []
    for folder, item in chosen.items():
        places = trash.restore(workspace.root, folder)
        told.append({**_facts(item), "files": [str(path) for path in places]})
        out.say(f"{_name(item)} is back.")
    if arguments.json:
        out.data(told)
    return 0


def empty(arguments: Any) -> int:
    """Delete for good what lies in the trash, after saying what that is."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    before = time.time() - (arguments.older_than or 0.0)
    old = [item for item in trash.items(workspace.root) if item.deleted < before or arguments.older_than is None]
    found = [item for item in old if item.state == trash.WHOLE]
    if found and not arguments.yes:
        for item in found:
            out.warn(f"  {date(item.deleted)}  {_what(item)}  {_name(item)}, {size(item.bytes)}")
        total, number = size(sum(item.bytes for item in found)), "this" if len(found) == 1 else f"these {len(found)}"
        if not agreed(f"Delete {number} ({total}) for good?", out):
            return 0
    gone = trash.empty(workspace.root, [item.folder for item in found])  # not what came while the question stood
    if arguments.json:
        out.data([_facts(item) for item in gone])
    if gone:
        out.say(f"{len(gone)} deleted for good, {size(sum(item.bytes for item in gone))} freed.")
    else:
        age = "" if arguments.older_than is None else " that is so old"
        out.say(f"There is nothing in the trash of {workspace.root}{age}.")
    for item in old:
        if item.state != trash.WHOLE:
            out.alarm(f"{_name(item)} is {_STATES[item.state]} and stays; `babytui doctor --repair` finishes that.")
    return 0


def _facts(item: Item) -> dict[str, Any]:
    return {"guid": item.guid, "name": item.name, "kind": item.kind, "deleted": item.deleted, "files": item.files,
            "bytes": item.bytes, "state": item.state, "trash": str(item.folder)}
