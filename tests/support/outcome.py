"""What a run leaves behind but for what the clock decides: to compare one that was interrupted with one that was not.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from store.workspace import Workspace

# the measured times in a report and in a completion; everything else is a function of configuration and text
TIMES = ("avg_train_time_per_batch", "avg_val_time_per_batch", "average_time_per_epoch", "total_time",
         "babytui_seconds", "inference_total_time")
_TIME = re.compile(r"(execution_time = )[0-9.]+")


def outcome(workspace: Workspace, guid: str) -> dict[str, bytes]:
    """Model, tokenizer, report and completion of a run by kind, with zeros for times."""
    found = {kind: workspace.path(kind, guid).read_bytes() for kind in ("model", "tokenizer")}
    for kind in ("report", "completion"):
        found[kind] = json.dumps(_timeless(json.loads(workspace.path(kind, guid).read_text()))).encode()
    adapter = workspace.path("adapter", guid)
    return {**found, "adapter": _numbers(adapter)} if adapter.exists() else found


def _timeless(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if isinstance(value, str):
        return _TIME.sub(r"\g<1>0", value)
    return 0 if key in TIMES else value


def _numbers(path: Path) -> bytes:
    """The arrays of a safetensors file: its header has the GUID."""
    data = path.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little"):]
