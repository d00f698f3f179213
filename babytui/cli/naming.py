"""babytui rename and babytui annotate"""

from __future__ import annotations

from typing import Any

from babytui import workspace_choice
from babytui.cli.output import Output
from engine.errors import UsageError
from store.names import short
from store.workspace import Entry, Workspace


def rename(arguments: Any) -> int:
    """Give a model or run another name."""
    out, workspace, entry = _own(arguments)
    workspace.rename(entry.guid, arguments.name)
    now = workspace.entry(entry.guid)
    if arguments.json:
        out.data({"guid": now.guid, "name": now.name, "was": entry.name})
    before = entry.name or short(entry.guid)
    out.say(f"{before} is now called {now.name}." if now.name else f"{before} has no name any more.")
    return 0


def annotate(arguments: Any) -> int:
    """Keep a note with a model or run."""
    out, workspace, entry = _own(arguments)
    workspace.annotate(entry.guid, arguments.text)
    now = workspace.entry(entry.guid)
    if arguments.json:
        out.data({"guid": now.guid, "name": now.name, "note": now.note})
    label = now.name or short(now.guid)
    out.say(f"The note is kept with {label}; `babytui info {short(now.guid)}` shows it." if now.note
            else f"{label} has no note any more.")
    return 0


def _own(arguments: Any) -> tuple[Output, Workspace, Entry]:
    """The entry of the workspace that is meant. UsageError for the model that ships."""
    from babytui.library import locate

    workspace = workspace_choice.choose(arguments.workspace)
    home, guid = locate(arguments.guid, workspace)
    if home.root != workspace.root:
        raise UsageError(f"{arguments.guid} is the model that ships with babytui; export and import it to have one of "
                         "your own.")
    return arguments.out, workspace, workspace.entry(guid)
