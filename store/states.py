"""The meta data of a checkpoint: everything but arrays that a run goes on from. One that is read is what it should be.

A checkpoint may be a stranger's, made to match its checksum: nothing in it is taken for a number, a text or a list
before it was looked at here. Whether it fits the model is for engine/contents.py and engine/trainer.py to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from engine import events
from engine.errors import FormatError, shown
from store.artifacts import check_vocabulary
from store.model_writing import MAX_DIMS, NAME

if TYPE_CHECKING:
    import numpy as np

MAX_EXTRA = 1 << 18  # entries: what a model file held beside weights
_DUE = frozenset({"evaluation", "alarm", "sample", "spike"})


def check(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any], name: str) -> None:
    """FormatError names what of a run's state is missing or not what it should be. name: the file's, for messages."""
    for key, (good, needed) in _FIELDS.items():
        if key not in meta:
            if needed:
                raise FormatError(f"{name} lacks {key}; it is not a checkpoint of a run, or it is damaged.")
        elif not good(meta[key]):
            raise FormatError(f"{name}: {key} cannot be {shown(meta[key])}; it is damaged.")
    check_vocabulary(meta["vocab"], None, name)
    for key, array in arrays.items():
        if key.startswith(("weights/", "m/", "v/", "base/")) and array.dtype.kind != "f":
            raise FormatError(f"{name}: {shown(key)} holds {array.dtype}, not numbers with a fraction; it is damaged.")
        if key.startswith(("weights/", "m/", "v/", "base/")) and array.size and not (
                isfinite(array.max()) and isfinite(array.min())):
            raise FormatError(f"{name}: {shown(key)} holds numbers that are not finite; it is damaged.")
        if key.startswith("extra/") and not (array.dtype.kind in "fiu" and array.size and array.ndim <= MAX_DIMS):
            raise FormatError(f"{name}: {shown(key)} cannot be kept in a model file; it is damaged.")


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _whole(value: Any) -> bool:
    return type(value) is int and -1 <= value < 1 << 53


def _number(value: Any) -> bool:
    """A finite number."""
    return type(value) in (int, float) and isfinite(value) and abs(value) < 1e300


def _positive(value: Any) -> bool:
    return _number(value) and value >= 0


def _loss(value: Any) -> bool:
    """A loss may be unknown, and is whatever came out when numbers went wrong."""
    return value is None or isinstance(value, float) or _number(value)


def _events(value: Any) -> bool:
    """Events that were still to be told."""
    try:
        return isinstance(value, list) and all(isinstance(event, dict) and bool(events.parse(event)) for event in value)
    except FormatError:
        return False


def _scaler(value: Any) -> bool:
    return (isinstance(value, dict) and _number(value.get("scale")) and 1 <= value["scale"] <= 2**24
            and _count(value.get("calm")))


def _trend(value: Any) -> bool:
    kinds = {"mean": _number, "deviation": _number, "count": _count, "high": lambda high: isinstance(high, bool)}
    return isinstance(value, dict) and value.keys() <= kinds.keys() and all(kinds[key](value[key]) for key in value)


def _norms(value: Any) -> bool:
    """None, or three kinds of norms by part of the model."""
    return value is None or (isinstance(value, dict) and value.keys() == {"gradient", "update", "weight"} and all(
        isinstance(parts, dict) and len(parts) <= MAX_EXTRA and all(
            isinstance(part, str) and len(part) <= NAME and _positive(norm) for part, norm in parts.items())
        for parts in value.values()))


def _due(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= len(_DUE) and all(isinstance(one, str) and one in _DUE
                                                                      for one in value)


def _extra(value: Any) -> bool:
    """[[name, value], …], where null stands for an array of the checkpoint."""
    return isinstance(value, list) and len(value) <= MAX_EXTRA and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and len(pair[0]) <= NAME
        for pair in value)


# what says whether it is right, and whether it must be there
_FIELDS: dict[str, tuple[Callable[[Any], bool], bool]] = {
    "step": (_count, True), "seconds": (_positive, True), "updates": (_count, True),
    "rate_factor": (_positive, True), "rate_added": (_number, True), "scaler": (_scaler, True),
    "loss_sum": (_number, True), "loss_count": (_count, True), "train_loss": (_loss, True),
    "validation_loss": (_loss, True), "rises": (_count, True), "bad": (_count, True), "due": (_due, True),
    "looked": (_count, False), "length": (lambda value: value is None or _count(value), False),
    "spike": (lambda value: isinstance(value, list) and len(value) in (0, 2) and all(map(_number, value)), False),
    "norms": (_norms, False), "trend": (_trend, False), "rollbacks": (_count, False), "back": (_whole, False),
    "untold": (_events, False),
    "config": (lambda value: isinstance(value, dict), True), "vocab": (lambda value: isinstance(value, list), True),
    "text_sha256": (lambda value: isinstance(value, str), True), "extra": (_extra, False),
}
