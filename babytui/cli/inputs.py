"""babytui inputs list, add, fetch"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from babytui import texts, workspace_choice
from babytui.cli.output import Output, size, table


def list_texts(arguments: Any) -> int:
    """List the texts that --input can name."""
    out: Output = arguments.out
    known = texts.available(workspace_choice.choose(arguments.workspace))
    if arguments.json:
        out.data([{"name": text.name, "kind": text.kind, "bytes": text.bytes, "title": text.title,
                   "path": str(text.path) if text.path else None} for text in known])
        return 0
    kinds = {"own": "yours", "shipped": "ships", "web": "to fetch"}
    rows = [("NAME", "SIZE", "WHERE", "WHAT")]
    rows += [(text.name, size(text.bytes), kinds[text.kind], text.title or str(text.path)) for text in known]
    for line in table(rows, right=(1,)):
        out.print(line)
    return 0


def add(arguments: Any) -> int:
    """Copy a text into the workspace."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    return _said(texts.add(workspace, arguments.source, arguments.name, _progress(out)), arguments)


def fetch(arguments: Any) -> int:
    """Download a well-known text into the workspace."""
    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    return _said(texts.fetch(workspace, arguments.name, _progress(out)), arguments)


def _progress(out: Output) -> Callable[[int, int | None], None]:
    def show(done: int, total: int | None) -> None:
        out.line(f"{size(done)} of {size(total)}" if total else size(done))

    return show


def _said(added: texts.Added, arguments: Any) -> int:
    out: Output = arguments.out
    out.clear()
    for note in added.notes:
        out.say(note)
    if arguments.json:
        out.data({"name": added.path.stem, "path": str(added.path), "bytes": added.path.stat().st_size})
    else:
        out.value(str(added.path))
    out.say(f"`babytui train --input {added.path.stem}` learns it.")
    return 0
