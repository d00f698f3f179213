"""A config as JSON that both programs read: ours, and the earlier one, which has other names and texts for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config import ALIASES, PARAMETERS, Config
from engine.errors import ConfigError, FormatError

FORMAT = 1  # babytui_format

_DOUBLES = {"head_size": "s_head", "batch_size": "s_batch"}
_FOREIGN = {"c_optimizer": "adamw", "c_device_gpu_cuda": "auto"}
# There, 0 cores are none and a number larger than the machine has means all: so 0 is written as our largest.
_ALL_CORES = str(int(PARAMETERS["c_device_cpu_cores"].high or 4096))


def export_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in `config`, each also under the earlier program's name, with the keys that only it needs."""
    written: dict[str, Any] = {}
    for key, value in config.items():
        written[key] = _as_text(key, value)
        if key in _DOUBLES:
            written[_DOUBLES[key]] = written[key]
    for key, value in _FOREIGN.items():
        written.setdefault(key, value)
    return written


def _as_text(key: str, value: Any) -> Any:
    if key == "c_device_cpu_cores":
        return _ALL_CORES if value in (0, "0") else str(value)
    if key in ("c_device_gpu_core", "c_device_gpu_tensor"):
        return str(int(value)) if isinstance(value, (bool, int)) else str(value)
    if key == "s_warmup" and isinstance(value, float) and value >= 1 and value == int(value):
        return int(value)
    return value


def _supplied(raw: Mapping[str, Any]) -> dict[str, Any]:
    """`raw` with what the two programs mean differently put right."""
    given = dict(raw)
    if str(given.get("c_device_cpu_cores")) == _ALL_CORES:
        given["c_device_cpu_cores"] = 0
    if "babytui_format" not in raw:
        for name, parameter in PARAMETERS.items():
            if parameter.absent is not None:
                given.setdefault(name, parameter.absent)
    return given


def import_config(raw: Mapping[str, Any], name: str) -> Config:
    """A Config from the keys of either program, any mixture of aliases; unknown keys are in its `extra`.

    `name` is the file's, for messages: FormatError for a value that is not allowed or keys that contradict.
    """
    try:
        return Config.read(_supplied(raw), strict=False)
    except ConfigError as error:
        raise FormatError(f"{name}: {error}") from None


def parameters_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a config file holds, under our names, as far as they can be understood; never raises.

    For lists: choices are not checked against the variants that exist, which would import them.
    """
    found: dict[str, Any] = {}
    for key, value in (_supplied(raw) if raw else {}).items():
        parameter = PARAMETERS.get(ALIASES.get(key, key))
        if parameter is None or (parameter.name in found and key != parameter.name):
            continue
        if parameter.kind != "choice":
            try:
                value = parameter.coerce(value)
            except ConfigError:
                continue
        elif not isinstance(value, str):
            continue
        found[parameter.name] = value
    return found


def unknown_keys(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a config file holds besides parameters."""
    return {key: value for key, value in raw.items() if key not in PARAMETERS and key not in ALIASES}
