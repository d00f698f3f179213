"""Low-rank adapters, kept beside the model they were merged into: models/adapter_<GUID>_finetuned.safetensors.

Arrays: `<matrix>.lora_a` (D, r) and `<matrix>.lora_b` (r, E) for every adapted matrix of the base, and, for symbols
that the base does not know, `new/<tensor>`: their rows of wte_weight, columns of lm_head_weight, numbers of
lm_head_bias.
Meta data: base (guid, name, sha256 of its model file), rank, alpha, scale, freeze, target, symbols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import shown
from engine.errors import FormatError
from store import checkpoint
from store.atomic import make_folder, shown_path
from store.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1  # babytui_adapter
LIMIT = 8 << 30  # bytes of a file that is read
MAX_SYMBOLS = 1 << 21
NEW = "new/"


@dataclass(frozen=True)
class Adapter:
    """factors: by name, in pairs. new: what belongs to new symbols, by tensor. symbols: their texts, in order.
    scale: what A·B is multiplied with. base: GUID and SHA-256 of the model file that it belongs to."""

    factors: dict[str, np.ndarray]
    new: dict[str, np.ndarray]
    symbols: list[str]
    scale: float
    base_guid: str
    base_sha256: str
    meta: dict[str, Any]


def save(ws: Workspace, guid: str, factors: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray],
         meta: Mapping[str, Any]) -> Path:
    """Writes the adapters of the finetuned model `guid` and returns the path. StoreError."""
    path = ws.path("adapter", guid)
    make_folder(path.parent)
    arrays = {**factors, **{NEW + name: array for name, array in new.items()}}
    checkpoint.write(path, arrays, {"babytui_adapter": FORMAT, **meta})
    return path


def load(path: str | Path) -> Adapter:
    """The adapters in a file, every field checked; whether they fit a model is for the reader to see.

    NotFound; FormatError for a file that is damaged, is no adapter or holds what an adapter cannot.
    """
    import numpy as np

    name = shown_path(Path(path).name)
    arrays, meta = checkpoint.read(path, LIMIT, "an adapter")
    if meta.get("babytui_adapter") != FORMAT:
        raise FormatError(f"{name} is not an adapter of this version; it may be a checkpoint.")
    for key, array in arrays.items():
        if array.dtype.kind != "f" or not 1 <= array.ndim <= 2 or not np.isfinite(array).all():
            raise FormatError(f"{name}: {shown(key)} must be a matrix or a row of finite numbers.")
    base, scale, symbols = meta.get("base"), meta.get("scale"), meta.get("symbols")
    if not isinstance(base, dict) or not all(isinstance(base.get(key), str) for key in ("guid", "sha256")):
        raise FormatError(f"{name} does not say which model it belongs to; it is damaged.")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not isfinite(scale):
        raise FormatError(f"{name}: scale must be a number, not {shown(scale)}.")
    if not isinstance(symbols, list) or len(symbols) > MAX_SYMBOLS or len(set(map(repr, symbols))) != len(symbols) \
            or not all(isinstance(symbol, str) and symbol for symbol in symbols):
        raise FormatError(f"{name}: symbols must be a list of distinct texts.")
    new = {key.removeprefix(NEW): array for key, array in arrays.items() if key.startswith(NEW)}
    factors = {key: array for key, array in arrays.items() if not key.startswith(NEW)}
    if not factors:
        raise FormatError(f"{name} holds no adapters.")
    return Adapter(factors, new, symbols, float(scale), base["guid"], base["sha256"], meta)
