"""Decoding on a GPU: one token of each reply is one CUDA graph, as its many small kernels take less time than launching
them does. Its position is read from memory, and all of the context is attended to, most of it with weight 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine import backend
from engine.backend import xp
from engine.graph import Graph

if TYPE_CHECKING:
    from engine.model import Model, States


class DeviceSteps:
    """Logits (B, V) after one more token of each of `batch` replies; advances the states, as `Model.step` does."""

    def __init__(self, model: Model, states: States, batch: int):
        self._model, self._states = model, states
        self._given = xp.zeros(batch + 1, np.int64)  # ids, then their position
        self._up = backend.pinned((batch + 1,), np.int64)
        self._logits = xp.zeros((batch, model.vocab_size), model.dtype)
        self._down = backend.pinned((batch, model.vocab_size), model.dtype)
        self._run = Graph(self._work, "A token")

    def __call__(self, ids: np.ndarray, position: int) -> np.ndarray:
        """ids: (B,), at `position` < n_ctx. The host waits for what is given."""
        self._up[:-1], self._up[-1] = ids, position
        self._given.set(self._up)
        self._run()
        for pair in self._states:
            for state in pair:
                state.position = position + 1
        self._logits.get(out=self._down)
        return self._down.copy()

    def close(self) -> None:
        """Give back the graph's memory."""
        self._run.close()

    def _work(self) -> None:
        self._logits[...] = self._model.step_at(self._given[:-1], self._states, self._given[-1:])
