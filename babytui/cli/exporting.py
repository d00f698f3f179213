"""babytui export and babytui import"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

from babytui import workspace_choice
from babytui.cli.output import Output, size
from engine.errors import UsageError
from store.atomic import StoreError, destination
from store.names import expanded, short


def export(arguments: Any) -> int:
    """Write the files of a model into one archive."""
    from babytui.library import locate, need_model
    from store import archive

    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    home, guid = locate(arguments.guid, workspace, shipped_if_none=True)
    entry = home.entry(guid)
    need_model(home, guid, entry)
    path = place(arguments.to, entry.name, guid)
    try:
        written = archive.write(home, guid, path, only=arguments.only, name=entry.name, overwrite=arguments.overwrite)
    except StoreError as error:
        if error.errno == errno.EEXIST:
            raise UsageError(f"{path} is there already; give another path with --to, or add --overwrite.") from None
        raise
    if arguments.json:
        out.data({"guid": guid, "path": str(written.path), "bytes": written.bytes, "sha256": written.sha256,
                  "files": [{"path": name, "bytes": count} for name, count in written.files.items()]})
    else:
        out.value(str(written.path))
    out.say(f"{entry.name or short(guid)}: {len(written.files)} files in {size(written.bytes)}; `babytui import` takes "
            "them into another workspace.")
    return 0


def place(to: str | None, name: str, guid: str) -> Path:
    """Where an archive goes: `to`, or a name of its own in the folder `to`, or in the current folder."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    own = f"{plain}-{short(guid)}.zip" if plain and plain != short(guid) else f"{short(guid)}.zip"
    path = expanded(to) if to else Path(own)
    return destination(path / own if to and (to.endswith("/") or path.is_dir()) else path)


def bring(arguments: Any) -> int:
    """Take the models of an archive or a folder into the workspace."""
    from store import importing

    out: Output = arguments.out
    workspace = workspace_choice.choose(arguments.workspace)
    found = importing.bring(workspace, arguments.path)
    if arguments.json:
        out.data([{"guid": one.guid, "was": one.was, "name": one.name, "bytes": one.bytes,
                   "files": [str(path) for path in one.files], "remarks": one.remarks} for one in found])
    else:
        for one in found:
            out.value(one.guid)
    for one in found:
        out.say(f"{one.name or short(one.guid)}: {len(one.files)} files, {size(one.bytes)}; `babytui inference "
                f"{short(one.guid)}` talks to it.")
        for remark in one.remarks:
            out.warn(remark)
    return 0
