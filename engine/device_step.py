"""One optimizer step on a GPU, which the host never waits for.

Loss, the gradient's norm, whether it is finite, clipping, the number of updates and the loss scale stay on the device
(engine/kernels/update.py): an update that is not to be made is not made there. What the host wants to know is copied
behind each step and read when the next one has been launched. Nothing of a step depends on its number but two values in
the device's memory, so that the whole of it is one graph where launching kernels takes longer than they do.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

from engine import backend, data
from engine.backend import xp
from engine.errors import ConfigError
from engine.graph import Graph
from engine.model import Model
from engine.optimizer import SCRATCH, AdamW, LossScaler
from engine.parallel import Outcome
from engine.parameters import Gradients
from engine.tape import Tape

PIECE = (1 << 16) - 1  # tokens of one pass, and the most sequences that a grid has room for
SMALL = 1 << 25  # numbers of all blocks' inputs up to which a step takes the host longer than the device


class Buffers:
    """What a run has on its GPU: the model's weights, master weights (halves only), what adapted matrices were before,
    moments and the gradient (1, P)."""

    def __init__(self, model: Model):
        params = model.params
        self.weights, self.base = params.flat, params.base
        self.master = params.flat if model.storage is model.dtype else params.flat.copy()
        self.m, self.v = backend.zeros(params.trained, params.dtype), backend.zeros(params.trained, params.dtype)
        self.gradients = backend.zeros(params.trained, params.dtype).reshape(1, -1)


class Hand:
    """The optimizer as `norms` asks for it; updates are the kernels'."""

    def __init__(self, model: Model, buffers: Buffers):
        config, dtype = model.config, model.params.dtype
        self.optimizer = AdamW(model.params, config.r_decay, (config.r_beta1, config.r_beta2), (buffers.m, buffers.v),
                               backend.zeros(SCRATCH, dtype).reshape(SCRATCH, 1),
                               nesterov=config.c_momentum == "nesterov")


class DeviceTeam:
    """A `Team` of one GPU. A result may be asked for when the step after it has been launched, and no later."""

    ahead = 1
    processes = 1
    whole = True
    place = 1, ""  # one process, wherever it is

    def __init__(self, model: Model):
        if not xp.kernels:
            raise ConfigError("A device's step needs a GPU; set c_device to gpu.", "c_device")
        config = model.config
        self.model, self.updates = model, 0
        self.shared = Buffers(model)
        self.hand = Hand(model, self.shared)
        self._gradients = Gradients(model.params, self.shared.gradients[0])
        self.named = self._gradients.joined
        self._shape = config.batch_size, config.n_ctx
        self._pieces = data.slices(0, config.batch_size, -(-config.batch_size * config.n_ctx // PIECE))
        self._ids = xp.zeros((2, *self._shape), np.int64)
        states = [xp.kernels.random_state(config.n_seed, 0, piece) for piece in range(len(self._pieces))]
        self._noise = xp.asarray(np.array(states)) if config.r_dropout else None
        places = xp.kernels.State
        self._numbers = xp.zeros(len(places) + 1, np.float64)  # the update's state, then the loss
        self._state, self._loss = self._numbers[:-1], self._numbers[-1:]
        self._scale = self._numbers[places.SCALE : places.SCALE + 1]
        self._agreed = False
        self._clip = 0.0
        # two of each, as a step may be launched before the result of the one before is read
        self._up = [backend.pinned((2, *self._shape), np.int64) for _ in range(2)]
        self._down = [backend.pinned((len(self._numbers),), np.float64) for _ in range(2)]
        small = config.batch_size * config.n_ctx * config.n_emb * config.n_layers <= SMALL
        self._run: Any = Graph(self._work, "The training step") if small else self._work

    def changed(self) -> None:
        """Weights, moments, `updates` or the scaler were set from outside."""
        self._agreed = False

    def train(self, step: int, inputs: np.ndarray, targets: np.ndarray, rate: float, clip: float,
              scaler: LossScaler) -> Outcome:
        """Launch a step; see `Team.train`. clip is that of the first call."""
        kernels, slot = xp.kernels, step % 2
        if not self._agreed:
            self._state.set(kernels.initial_state(scaler.scale, self.updates, scaler.calm))
            self._scaled, self._clip, self._agreed = scaler.active, clip, True
        self._up[slot][0], self._up[slot][1] = inputs, targets
        self._ids.set(self._up[slot])
        self._state[kernels.State.RATE] = rate
        if self._noise is not None:
            self._noise[:, 2] = step
        self._run()
        down = self._down[slot]
        self._numbers.get(out=down, blocking=False)
        done = xp._module.cuda.get_current_stream().record()

        def result() -> tuple[float, float]:
            done.synchronize()
            loss, norm = float(down[-1]), float(down[kernels.State.NORM])
            self.updates += isfinite(loss) and isfinite(norm)
            return loss, norm

        return result

    def _work(self) -> None:
        """Everything that a step does on the device."""
        model, config, kernels, buffers = self.model, self.model.config, xp.kernels, self.shared
        optimizer, params, gradient = self.hand.optimizer, self.model.params, self.shared.gradients[0]
        share = 1 / (config.batch_size * config.n_ctx)
        self._gradients.reset()
        for number, rows in enumerate(self._pieces):
            tape = Tape(model.arena, model.dtype, recording=True, loss_scale=self._scale,
                        rng=None if self._noise is None else self._noise[number])
            losses = model.losses_and_gradients(self._ids[0, rows], self._ids[1, rows], self._gradients, tape, share)
            total = xp.sum(losses, keepdims=True)
            if number:
                self._loss += total * share
            else:
                xp.multiply(total, share, out=self._loss)
        self._gradients.finish()
        if params.mask is not None:
            xp.multiply(gradient, params.mask, out=gradient)
        kernels.begin(gradient, self._state, self._clip, optimizer.betas, optimizer.decay, loss=self._loss,
                      nesterov=optimizer.nesterov, scaled=self._scaled)
        kernels.adamw(buffers.master[: params.trained], gradient, buffers.m, buffers.v, self._state, optimizer.betas,
                      params.decayed, params.mask, nesterov=optimizer.nesterov)
        params.correct(buffers.master)
        if buffers.master is not buffers.weights:
            buffers.weights[...] = buffers.master.astype(model.storage)

    def recall(self, rate: float, scale: float) -> None:
        """Let the optimizer know what the last update was made with."""
        self.hand.optimizer.begin(rate, scale, self.updates)

    def close(self) -> None:
        """Give back what only steps need."""
        if isinstance(self._run, Graph):
            self._run.close()
