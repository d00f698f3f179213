"""The configuration that --config, --preset, --set and --steps describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from babytui.cli.output import Output
from engine.config import Config, preset
from engine.errors import FormatError, NotFound, UsageError
from store.workspace import Workspace

MAX_BYTES = 1 << 20


def config_of(arguments: Any, workspace: Workspace, out: Output) -> Config:
    """The configuration: a file or a preset, else settings/current.json, else the defaults; then --set, then --steps."""
    if arguments.config and arguments.preset:
        raise UsageError("--config and --preset both say where to start; give one of them.")
    if arguments.config:
        config = Config.read(_read(Path(arguments.config).expanduser()), strict=False)
    elif arguments.preset:
        config = preset(arguments.preset)
    elif current := workspace.current():
        config = Config.read(current, strict=False)
        out.say(f"Parameters start from {workspace.settings / 'current.json'}.")
    else:
        config = Config.read()
    config = Config(config.values)  # what a file holds beyond parameters belongs to the model it came from
    changes = dict(_assignment(text) for text in arguments.set or [])
    if arguments.steps:
        changes["n_steps"] = arguments.steps
    return Config.read(changes, base=config).validate()


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"{path} is too large for a config file.")
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise NotFound(f"There is no config file {path}.") from None
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not a config file: it is not JSON ({error}).") from None
    if not isinstance(raw, dict):
        raise FormatError(f"{path} is not a config file: it does not hold one JSON object.")
    return raw


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise UsageError(f"--set takes PARAMETER=VALUE, such as n_layers=2, not '{text}'.")
    return name.strip(), value.strip()
