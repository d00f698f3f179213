"""The texts there are, and the parameters of last time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import BabyError

if TYPE_CHECKING:
    from store.workspace import Workspace

ALL_TEXTS = "all of the workspace"


def texts(workspace: Workspace) -> list[str]:
    """The names of the texts there are: the workspace's own first, then those that ship."""
    from babytui import texts as found

    known = [text for text in found.available(workspace) if text.path is not None]
    own = sum(text.kind == "own" for text in known)
    return [*([ALL_TEXTS] if own > 1 else []), *(text.name for text in known)]


def named(text: str) -> list[str]:
    """The form's text as names; none for all of the workspace."""
    return [] if text in ("", ALL_TEXTS) else [text]


def current(workspace: Workspace) -> dict[str, Any]:
    """The parameters of last time (settings/current.json); empty when there are none or they cannot be read."""
    try:
        return dict(workspace.current())
    except BabyError:
        return {}


def saved_configs(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """The configurations that were saved under a name; broken ones are left out."""
    found = {}
    for name in list(workspace.presets())[:200]:
        try:
            found[name] = workspace.preset(name)
        except BabyError:
            continue
    return found


def save_config(workspace: Workspace, name: str, values: Mapping[str, Any]) -> None:
    """Saves a configuration under a name."""
    workspace.save_preset(name, values)


def last_run(workspace: Workspace) -> tuple[str, dict[str, Any]]:
    """Name and parameters of what was trained last here, with the defaults where its file has none; empty without."""
    from engine.config import Config

    for entry in workspace.entries():  # the newest first
        if entry.config and not entry.base:
            try:
                return entry.name or entry.guid[:8], dict(Config.read(entry.config, strict=False).values)
            except BabyError:
                continue
    return "", {}
