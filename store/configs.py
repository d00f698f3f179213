"""A config as JSON that both programs read: ours, and the earlier one, which has other names and texts for numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config import ALIASES, PARAMETERS, Config, complete, shown
from engine.errors import ConfigError, FormatError
from store import reports

FORMAT = 1  # babytui_format

_DOUBLES = {"head_size": "s_head", "batch_size": "s_batch"}
_FOREIGN = {"c_optimizer": "adamw", "c_device_gpu_cuda": "auto"}
# There, 0 cores are none and a number larger than the machine has means all: so 0 is written as our largest.
_THEIRS = {"c_attention": ("hda",), "c_network": ("sms",)}  # variants that only it has, from its v0.1.22 on
_LOWEST = PARAMETERS["r_temp"].low or 1e-6
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


def _supplied(raw: Mapping[str, Any], trained: bool) -> dict[str, Any]:
    """`raw` with what the two programs mean differently put right.

    trained: it belongs to weights, for which a missing switch of a variant means what the earlier program did. For
    a model that is yet to be made it means our default.
    """
    given = dict(raw)
    if str(given.get("c_device_cpu_cores")) == _ALL_CORES:
        given["c_device_cpu_cores"] = 0
    if "babytui_format" in raw:
        return complete(given) if trained else given
    for name, parameter in PARAMETERS.items():
        if parameter.absent is not None and (trained or parameter.owner is None):
            given.setdefault(name, parameter.absent)
    if (low := reports.number(_plain(given.get("r_temp")))) is not None and 0 <= low < _LOWEST:
        given["r_temp"] = _LOWEST  # there, any temperature is raised to this
    return given


def _plain(value: Any) -> Any:
    """A number that may be given as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


def import_config(raw: Mapping[str, Any], name: str, *, trained: bool = True) -> Config:
    """A Config from the keys of either program, any mixture of aliases; unknown keys are in its `extra`.

    `name` is the file's, for messages: FormatError for a value that is not allowed or keys that contradict.
    trained: whether it belongs to a model, see `_supplied`.
    """
    for key, theirs in _THEIRS.items():
        if isinstance(value := raw.get(key), str) and value.strip().lower() in theirs:
            raise FormatError(f"{name}: {key} is {shown(value)}, a variant of The Little Baby that babytui does not "
                              f"have; its models cannot be opened here.")
    try:
        return Config.read(_supplied(raw, trained), strict=False)
    except ConfigError as error:
        raise FormatError(f"{name}: {error}") from None


def parameters_of(raw: Mapping[str, Any], *, trained: bool = True) -> dict[str, Any]:
    """The parameters that a config file holds, under our names, as far as they can be understood; never raises.

    For lists: choices are not checked against the variants that exist, which would import them.
    """
    found: dict[str, Any] = {}
    for key, value in (_supplied(raw, trained) if raw else {}).items():
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
