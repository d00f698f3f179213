"""The configuration that --config, --preset, --set and --steps describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from babytui.cli.output import Output
from engine.config import PRESETS, Config, preset, shown, unknown
from engine.errors import ConfigError, UsageError
from store import configs
from store.atomic import shown_path
from store.names import expanded
from store.reading import read_json
from store.workspace import Workspace

MAX_BYTES = 1 << 20
_FOREIGN = {"runtime", "c_optimizer", "c_device_gpu_cuda"}  # of the earlier program, without a meaning here


def config_of(arguments: Any, workspace: Workspace, out: Output) -> Config:
    """The configuration: a file or a preset, else settings/current.json, else the defaults; then --set and --steps."""
    if "" in (arguments.config, arguments.preset):
        raise UsageError("--config and --preset need a name; leave them out to begin with the defaults.")
    if arguments.config and arguments.preset:
        raise UsageError("--config and --preset both say where to start; give one of them.")
    if arguments.config:
        config = _read(expanded(arguments.config), out)
    elif arguments.preset:
        own = workspace.presets()
        if arguments.preset not in (*PRESETS, *own):
            raise ConfigError(f"There is no preset {shown(arguments.preset)}; choose one of "
                              f"{', '.join((*PRESETS, *own))}.", "preset")
        saved = arguments.preset not in PRESETS
        config = Config.read(workspace.preset(arguments.preset), strict=False) if saved else preset(arguments.preset)
    elif current := workspace.current():
        config = Config.read(current, strict=False)
        out.say(f"Parameters start from {workspace.settings / 'current.json'}.")
    else:
        config = Config.read()
    config = Config(config.values)  # what a file holds beyond parameters belongs to the model it came from
    return Config.read(assignments(arguments), base=config).validate()


def assignments(arguments: Any) -> dict[str, Any]:
    """What --set and --steps (of verbs that have it) change, by parameter."""
    changes: dict[str, Any] = dict(_assignment(text) for text in arguments.set or [])
    if steps := getattr(arguments, "steps", None):
        changes["n_steps"] = steps
    return changes


def _read(path: Path, out: Output) -> Config:
    config = configs.import_config(read_json(path, MAX_BYTES), shown_path(path.name))
    for key in config.extra:
        if key not in _FOREIGN and not str(key).startswith("babytui_"):
            out.alarm(f"{shown_path(path.name)}: {unknown(key)} It is ignored.")
    return config


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise UsageError(f"--set takes PARAMETER=VALUE, such as n_layers=2, not '{text}'.")
    return name.strip(), value.strip()
