"""Plans of runs and bake-offs, plan.json: what was asked for. One that is read is what it should be, field by field.

Its folder may have come in somebody's archive, so that whoever shows a plan, or carries it out, need not doubt it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.config import PARAMETERS, Parameter
from engine.errors import ConfigError, FormatError, shown
from store import reports
from store.atomic import shown_path
from store.names import valid_guid
from store.reading import read_json

NAME = "plan.json"
LIMIT = 8 << 20  # bytes: more than a command line can name texts
_LONG = 4096  # characters of a name or a path
_MANY = 200_000  # entries of a list


def read(path: str | Path, need: Sequence[str] = ()) -> dict[str, Any]:
    """The plan in a file. NotFound, StoreError; FormatError names the field that is not what it should be, or that is
    needed and missing. A link is not followed."""
    name = shown_path(Path(path).name)
    plan = check(read_json(path, LIMIT, follow=False), name)
    for key in need:
        if key not in plan:
            raise FormatError(f"{name} lacks {key}; the file is damaged.")
    return plan


def check(plan: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The plan itself, as plain data. FormatError names the first known field that is not what it should be."""
    for key, (good, wanted) in _FIELDS.items():
        if key in plan and not good(plan[key]):
            raise FormatError(f"{name}: {key} must be {wanted}, not {shown(plan[key])}; the file is damaged.")
    if "base" in plan and not {"adaptation", "trained_parameters"} <= plan.keys():
        raise FormatError(f"{name} does not say what is trained of the model that is fine-tuned; the file is damaged.")
    return dict(plan)


def _text(longest: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and len(value) <= longest and "\0" not in value


def _list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) <= _MANY and all(map(of, value))


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _number(value: Any) -> bool:
    return (found := reports.number(value)) is not None and 0 <= found <= 1e15


def _config(value: Any) -> bool:
    """Parameters of ours. What choices there are is known to who reads them."""
    return isinstance(value, dict) and all(_parameter(PARAMETERS[key], item) for key, item in value.items()
                                           if key in PARAMETERS)


def _parameter(parameter: Parameter, value: Any) -> bool:
    if parameter.kind == "choice" or (isinstance(value, str) and value in parameter.words):
        return isinstance(value, str)
    try:
        return not isinstance(value, str) and parameter.coerce(value) == value
    except ConfigError:
        return False


def _base(value: Any) -> bool:
    """The model that is fine-tuned."""
    return (isinstance(value, dict) and valid_guid(value.get("guid")) and _number(value.get("r_learn"))
            and all(_text(_LONG)(value.get(key)) for key in ("name", "sha256", "workspace")))


def _adaptation(value: Any) -> bool:
    """Of engine.adaptation, which checks the rest."""
    return (isinstance(value, dict) and _count(value.get("rank", 0)) and _count(value.get("new_symbols", 0))
            and _number(value.get("alpha", 0)) and all(_list(_text(_LONG))(value.get(key, []))
                                                       for key in ("freeze", "target")))


def _budget(value: Any) -> bool:
    return (isinstance(value, dict) and len(value) == 1 and set(value) <= {"steps", "tokens", "seconds"}
            and all(map(_number, value.values())))


def _architecture(value: Any) -> bool:
    return isinstance(value, list) and 2 <= len(value) <= 3 and all(map(_text(64), value))


_TEXT = "a text of a line"
_NUMBER = "a number of at least 0"
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "guid": (valid_guid, "a GUID"), "created": (lambda value: reports.moment(value) is not None, "a time"),
    "name": (_text(_LONG), _TEXT), "note": (_text(_LONG), "a text"),
    "dataset": (_text(_LONG), _TEXT), "prompt": (_text(LIMIT), "a text"),
    "texts": (_list(_text(_LONG)), "a list of paths"), "notes": (_list(_text(LIMIT)), "a list of sentences"),
    "config": (_config, "parameters with values that they can have"),
    "time_budget": (lambda value: value is None or _number(value), "a number of seconds, or null"),
    # of fine-tuning
    "base": (_base, "a model's guid, name, sha256, workspace and r_learn"),
    "adaptation": (_adaptation, "an adaptation"),
    "trained_parameters": (_count, "a whole number"),
    # of bake-offs
    "architectures": (_list(_architecture), "a list of architectures"), "text_sha256": (_text(64), "a checksum"),
    "vocab_size": (_count, "a whole number"), "budget": (_budget, "steps, tokens or seconds"),
    "seed": (_count, "a whole number"), "jobs": (lambda value: _count(value) and 1 <= value <= 1024, _NUMBER),
    "machine": (lambda value: isinstance(value, dict) and all(isinstance(item, (str, int, float, type(None)))
                                                              for item in value.values()), "an object"),
}
