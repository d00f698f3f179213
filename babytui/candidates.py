"""What a model might say next: the likeliest tokens, and what each filter of the sampler makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from babytui.library import Baby
    from engine.generate import Sampler

COUNT = 10


@dataclass(frozen=True)
class Step:
    """One stage of the sampler: its name, whether it acts, and how many tokens are left after it."""

    name: str
    acts: bool
    left: int


@dataclass(frozen=True)
class Candidate:
    """A token and its probability after each stage, the first by the model alone, the last what it is drawn with."""

    id: int
    text: str
    shares: tuple[float, ...]

    @property
    def before(self) -> float:
        """By the model alone."""
        return self.shares[0]

    @property
    def after(self) -> float:
        """After every filter."""
        return self.shares[-1]


@dataclass(frozen=True)
class Table:
    """The candidates, those that can be drawn first, and the stages. seen: tokens that the model had in view."""

    steps: tuple[Step, ...]
    rows: tuple[Candidate, ...]
    seen: int
    vocab_size: int

    @property
    def shown(self) -> list[int]:
        """The indices of the stages that change something: the model's, those that act."""
        return [index for index, step in enumerate(self.steps) if index == 0 or step.acts]

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        names = [step.name for step in self.steps]
        rows = [{"id": row.id, "text": row.text, "probabilities": dict(zip(names, row.shares, strict=True))}
                for row in self.rows]
        return {"stages": [{"name": step.name, "acts": step.acts, "left": step.left} for step in self.steps],
                "candidates": rows, "context": self.seen, "vocab_size": self.vocab_size}


def table(baby: Baby, prompt: Sequence[int], sampler: Sampler, *, reply: Sequence[int] = (), begun: int | None = None,
          cache: bool = True, count: int = COUNT, also: int | None = None) -> Table:
    """What may follow the tokens of a prompt and of the reply so far, computed anew from them.

    begun: how many tokens of the reply were there when the part of it began that is being written (None: all), on which
    depends what is in view. also: a token to list even when it is not among the `count` first.
    """
    import numpy as np

    from engine.generate import Decoder, in_view, stages

    ids = [*prompt, *reply] or [0]
    start = len(ids) if begun is None else len(prompt) + begun
    n_ctx = baby.config.n_ctx
    seen = in_view(start, len(ids) - start, n_ctx, cache and baby.model.causal)
    logits = Decoder(baby.model, cache=False).start(np.array([ids[-seen:]]))[0]
    found = stages(logits, sampler, ids[-n_ctx:] if sampler.repetition != 1 else ())
    first, last = found[0].probabilities, found[-1].probabilities
    order = [int(i) for i in np.lexsort((np.arange(len(first)), -first, -last))[:count]]
    if also is not None and also not in order:
        order.append(also)
    rows = tuple(Candidate(i, baby.tokenizer.vocab[i], tuple(float(stage.probabilities[i]) for stage in found))
                 for i in order)
    return Table(tuple(Step(stage.name, stage.acts, stage.left) for stage in found), rows, seen, len(first))


def percent(share: float) -> str:
    """A probability in five characters: 41.2, 0.03, <.01, or a dash for one that was filtered out."""
    if share == 0:
        return "–"
    value = 100 * share
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2f}" if value >= 0.01 else "<.01"


def title(name: str) -> str:
    """How a stage is headed: top-k."""
    return name.replace("_", "-")
