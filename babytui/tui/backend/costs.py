"""What a configuration costs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from babytui import devices
from babytui.tui.backend.texts import named
from engine.errors import BabyError

if TYPE_CHECKING:
    from engine.config import Config
    from engine.estimate import Estimate
    from store.workspace import Workspace

_COUNTED = 20_000_000  # a longer text is not read to know its symbols; characters are then about bytes


@dataclass
class Cost:
    """The answer to a form: the parameters that have an effect, what contradicts, and the estimate."""

    active: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    estimate: Estimate | None = None
    error: str = ""


_counts: dict[tuple[Any, ...], tuple[int, int]] = {}
_speed: float | None = None
_calibrating = threading.Lock()


def cost(workspace: Workspace, values: Mapping[str, Any], text: str, *, measure: bool = False) -> Cost:
    """What training with these values would cost. measure: time it on this machine first (half a second)."""
    from engine.config import Config
    from engine.estimate import estimate

    config = Config(dict(values))
    found = Cost([p.name for p in config.active()], {p.field: p.message for p in config.problems()})
    if found.problems:
        found.error = next(iter(found.problems.values()))
        return found
    try:
        vocab, tokens = _count(workspace, text, config.c_tokenizer)
        found.estimate = estimate(config, vocab_size=vocab, text_tokens=tokens, speed=_speed)
        if measure:
            speed = _measure(config, found.estimate)
            found.estimate = estimate(config, vocab_size=vocab, text_tokens=tokens, speed=speed)
    except BabyError as error:
        found.error = str(error)
    except (MemoryError, OverflowError):
        found.error = "These sizes are beyond what this machine can even estimate; lower n_emb, n_layers or n_ctx."
    return found


def _measure(config: Config, estimate: Estimate) -> float | None:
    """FLOP/s here; for a configuration too large to try out, what was measured last."""
    global _speed
    small = estimate.training_bytes < 2e9 and estimate.flops_per_step / config.n_layers < 5e10
    if small:
        with _calibrating:
            _speed = devices.calibrated(config, 0.3)
    return _speed


def _count(workspace: Workspace, text: str, tokenizer: str) -> tuple[int, int]:
    """The size of the vocabulary and the number of tokens of a text; kept until the file changes."""
    from babytui import texts
    from engine import registry

    paths = texts.find(workspace, named(text))
    stamps = tuple((str(path), path.stat().st_mtime, path.stat().st_size) for path in paths)
    key = (tokenizer, stamps)
    if key not in _counts:
        size = sum(stamp[2] for stamp in stamps)
        if size > _COUNTED:
            return (256 if tokenizer == "char" else 50_000), size
        content = texts.read(paths)
        fitted = registry.tokenizer.get(tokenizer).fit(content)
        _counts[key] = (len(fitted.vocab), fitted.count(content))
    return _counts[key]


def suggested_rate(rate: float, old_batch: int, new_batch: int) -> float:
    """The learning rate that goes with another batch size (engine.estimate's rule, without importing arrays)."""
    return float(f"{rate * new_batch / old_batch:.6g}")
