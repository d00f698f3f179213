"""babytui list"""

from __future__ import annotations

from typing import Any

from babytui import runs, workspace_choice
from babytui.cli.info import facts
from babytui.cli.output import Output, count, date, fit, loss, size, table
from babytui.visible import cut
from store.names import short


def run(arguments: Any) -> int:
    """List every model and live run of the workspace, newest first."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    entries = sorted(workspace.entries(), key=lambda entry: entry.created or 0, reverse=True)
    status = {run.guid: run.status() for run in runs.all_runs(workspace)}
    if arguments.json:
        out.data([{**facts(entry), "status": status.get(entry.guid)} for entry in entries])
        return 0
    if not entries:
        out.say(f"There are no models in {workspace.root}; `babytui train` makes one, `babytui inference baby` talks "
                "to the one that ships.")
        return 0
    rows = [("GUID", "NAME", "MODEL", "PARAMS", "VAL", "TOKENS", "TEXT", "CREATED", "SIZE", "RUN")]
    for entry in entries:
        state = status.get(entry.guid, "")
        config = entry.config
        rows.append((short(entry.guid), cut(entry.name, 20),
                     f"{config.get('c_attention', '?')}+{config.get('c_network', '?')}", count(entry.parameters),
                     loss(entry.validation_loss), count(entry.tokens), cut(entry.dataset or "–", 14),
                     date(entry.created), size(entry.bytes), state if state not in ("finished", "") else ""))
    for line in fit(table(rows, right=(3, 4, 5, 8))):
        out.print(line)
    for entry in entries:
        for problem in entry.problems:
            out.alarm(problem)
    return 0
