"""Which workspace a command means, and the one that ships with the package."""

from __future__ import annotations

import os
from pathlib import Path

from babytui import settings
from store.names import expanded
from store.workspace import Workspace

HELP = ("the folder of models and runs; 'same' = the current folder. Without it: $BABYTUI_WORKSPACE, else the current "
        "folder if it holds settings/ or models/, else the setting workspace, else ~/babytui")
BOX = Path(__file__).parent / "box"


def choose(given: str | os.PathLike[str] | None = None) -> Workspace:
    """The workspace for `--workspace` (see HELP). Creates nothing: call `.ensure()` before writing."""
    return Workspace(folder(given))


def folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The absolute folder that `choose` opens."""
    named = given or os.environ.get("BABYTUI_WORKSPACE")
    if named:
        return Path.cwd() if named == "same" else expanded(named).absolute()
    here = Path.cwd()
    if (here / "settings").is_dir() or (here / "models").is_dir():
        return here
    chosen = settings.get("workspace")
    return expanded(chosen).absolute() if chosen else Path.home() / "babytui"


def existing(place: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
