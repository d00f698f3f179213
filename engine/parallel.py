"""One optimizer step over several processes, bit for bit the same for any number of them.

The batch is cut into lanes and each lane into pieces that fit the cache; both depend on the configuration only. A
process works on whole lanes, into a gradient buffer per lane. Gradients are then folded from the first lane to the
last, squared sums are kept per block and added up in order, and AdamW is element-wise: who does which part changes
nothing.

Weights, gradients and moments lie in one shared mapping of an unlinked file, so nothing is copied between processes and
nothing is left behind by a crash. A worker ends when its pipe closes, which it does however its parent dies.

When a worker dies, the weights stay those of a whole step. They change in an update only, and what a dead process left
undone of one is made good by the parent: `left` tells where it was, and either half of a block can be repeated.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import fsum, isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from engine import backend, data
from engine.adaptation import Adaptation
from engine.backend import Array, xp
from engine.config import Config
from engine.errors import RunError
from engine.model import Model
from engine.optimizer import SCRATCH, AdamW, LossScaler, block_size, blocks, squared_sums
from engine.parameters import Gradients

COMMAND = struct.Struct("<cqdd")  # what, step or count, two numbers
_DONE = b"+"
_yield = getattr(os, "sched_yield", lambda: None)
_SPIN = 3e-3  # seconds that a process looks for an answer before it sleeps: it would wake up late, and beside another
_PROGRAM = "from engine.parallel import work; work()"
_ENVIRONMENT = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Shared:
    """The arrays of a run: the model's weights, master weights (halves only), what adapted matrices were before,
    moments, lanes' gradients, the batch, and how far each process is with its update.

    left: halves of blocks that it has still to update. scratch: what the block it is at is made from.
    """

    def __init__(self, model: Model, lanes: int, ranks: int, fd: int | None = None):
        self.fd, params = fd, model.params
        B, T, P = model.config.batch_size, model.config.n_ctx, params.trained
        halves = model.storage is not model.dtype
        shapes: list[tuple[str, tuple[int, ...], Any]] = [
            ("weights", (len(params.flat),), params.dtype),
            ("master", (len(params.flat) if halves else 0,), params.dtype),
            ("base", (len(params.base),), params.dtype),
            ("m", (P,), params.dtype), ("v", (P,), params.dtype), ("gradients", (lanes, P), params.dtype),
            ("scratch", (ranks, SCRATCH, min(block_size(), max(P, 1))), params.dtype), ("left", (ranks,), np.int64),
            ("sums", (len(blocks(P)),), np.float64), ("losses", (lanes,), np.float64),
            ("inputs", (B, T), np.int64), ("targets", (B, T), np.int64)]
        offsets, end = [], 0
        for _, shape, dtype in shapes:
            offsets.append(end)
            end += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // 64) * 64
        memory = self._map(max(end, 1)) if ranks > 1 else None
        for (name, shape, dtype), offset in zip(shapes, offsets, strict=True):
            if memory is None:
                array = backend.zeros(int(np.prod(shape)), dtype).reshape(shape)
            else:
                array = np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)
            setattr(self, name, array)
        if fd is None:
            self.weights[...], self.base[...] = params.flat, params.base
        params.move(self.weights, self.base)
        model.bind()
        if not halves:
            self.master = self.weights
        elif fd is None:
            self.master[...] = self.weights

    weights: Array
    master: Array
    base: Array
    m: Array
    v: Array
    gradients: Array
    scratch: Array
    left: Array
    sums: Array
    losses: Array
    inputs: Array
    targets: Array

    def _map(self, size: int) -> mmap.mmap:
        if self.fd is None:
            self.fd = _unlinked_file(size)
            weakref.finalize(self, os.close, self.fd)
        return mmap.mmap(self.fd, size)


def _unlinked_file(size: int) -> int:
    """A descriptor of a nameless file of `size` bytes, in memory if there is room. RunError when there is none.

    The room is reserved now: touching a page that cannot be had later would kill the process without a word.
    """
    for folder in ("/dev/shm", None):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                return os.dup(file.fileno())
        except OSError:
            continue
    raise RunError(f"There is no room for {size / 2**20:.0f} MiB shared between processes in /dev/shm or "
                   f"{tempfile.gettempdir()}; set c_device_cpu_cores to 1, or make room.")


class Hand:
    """What one process does in a step, on its lanes and its share of the flat buffers."""

    def __init__(self, model: Model, shared: Shared, rank: int, ranks: int, lanes: range,
                 cut: list[list[slice]] | None = None):
        self.model, self.shared, self.rank = model, shared, rank
        self.first = lanes.start
        self.lanes = cut or data.lanes(model.config, model.params.trained)
        self.mine = np.array_split(np.array(lanes), ranks)[rank]
        self.gradients = {int(lane): Gradients(model.params, shared.gradients[lane - self.first]) for lane in self.mine}
        config = model.config
        self.optimizer = AdamW(model.params, config.r_decay, (config.r_beta1, config.r_beta2), (shared.m, shared.v),
                               shared.scratch[rank], nesterov=config.c_momentum == "nesterov")
        adapters = _share(len(model.params.adapters), rank, ranks)
        self.adapters = slice(adapters.start, adapters.stop)
        self.blocks = _share(len(shared.sums), rank, ranks)
        self.slices = blocks(model.params.trained)

    def gradient(self, step: int, scale: float) -> None:
        """Fill the gradients and the loss of each own lane for the shared batch."""
        batch = len(self.shared.inputs)
        for lane, gradients in self.gradients.items():
            gradients.reset()
            loss = 0.0
            for number, rows in enumerate(self.lanes[lane]):
                share = (rows.stop - rows.start) / batch
                loss += share * self.model.loss_and_gradients(
                    xp.asarray(self.shared.inputs[rows]), xp.asarray(self.shared.targets[rows]), gradients, step=step,
                    shard=lane << 16 | number, scale=share * scale)
            gradients.finish()
            self.shared.losses[lane - self.first] = loss

    def fold(self) -> None:
        """Add up the lanes over the own blocks, first to last, into lane 0; keep the squared sum of each block."""
        for block in self.blocks:
            self.add(self.slices[block])
            self.close(block)

    def add(self, here: slice) -> None:
        """Add all lanes but the first to it, in a part of the gradient."""
        lanes = self.shared.gradients
        total = lanes[0, here]
        for lane in range(1, len(lanes)):
            total += lanes[lane, here]

    def close(self, block: int) -> None:
        """A block has been added up: mask it and keep its squared sum."""
        mask, here = self.model.params.mask, self.slices[block]
        total = self.shared.gradients[0, here]
        if mask is not None:
            total *= mask[here]
        self.shared.sums[block] = squared_sums(total)

    def update(self, rate: float, scale: float, updates: int) -> None:
        """AdamW over what is left of the own blocks."""
        shared, gradient = self.shared, self.shared.gradients[0]
        self.optimizer.begin(rate, scale, updates)
        for left in range(int(shared.left[self.rank]), 0, -1):
            here = self.slices[self.blocks[(left - 1) // 2]]  # from the last to the first
            if left % 2 == 0:
                self.optimizer.prepare(shared.master, gradient, here)
            else:
                self.optimizer.commit(shared.master, here)
                if shared.master is not shared.weights:
                    shared.weights[here] = shared.master[here].astype(self.model.storage)
            shared.left[self.rank] = left - 1

    def correct(self) -> None:
        """Bring the own adapted matrices up to date with their factors."""
        params = self.model.params
        params.correct(self.shared.master, self.adapters)
        if self.shared.master is not self.shared.weights:
            views = params.views(self.shared.master)
            for adapter in params.adapters[self.adapters]:
                new = views[adapter.tensor][adapter.index].astype(self.model.storage)
                params.joined[adapter.tensor][adapter.index][...] = new


def _share(count: int, rank: int, ranks: int) -> range:
    """Which of `count` things a process takes."""
    return range(rank * count // ranks, (rank + 1) * count // ranks)


Outcome = Callable[[], tuple[float, float]]


def clipped(norm: float, most: float) -> float:
    """What a gradient of this norm is multiplied with so that it is no longer than `most`, 0 = any."""
    return most / norm if most and norm > most else 1.0


class Team:
    """The processes of a run on this machine. `cores` is the most that are used; more than there are lanes are never
    started. lanes: those that are worked on here, None = all. cut: all lanes, None = as a run without a group has."""

    ahead = 0  # steps that may be asked for before the result of the first of them is

    def __init__(self, model: Model, cores: int = 1, lanes: range | None = None,
                 cut: list[list[slice]] | None = None):
        self.model = model
        cut = cut or data.lanes(model.config, model.params.trained)
        self.lanes = range(len(cut)) if lanes is None else lanes
        self.processes = 1 if model.config.c_device == "gpu" else max(1, min(cores, len(self.lanes)))
        self.shared = Shared(model, len(self.lanes), self.processes)
        self.updates = 0
        self.losses: list[float] = []  # of every lane in the last step
        self.hand = Hand(model, self.shared, 0, self.processes, self.lanes, cut)
        self.named = Gradients(model.params, self.shared.gradients[0]).joined  # the folded gradient by tensor name
        self._workers: list[Worker] = []

    @property
    def whole(self) -> bool:
        """Whether all weights are those of the same step: no update was broken off."""
        return not any(host_list(self.shared.left))

    def _start(self) -> None:
        """Start the workers; done with the first step, so that a run that never begins leaves none."""
        try:
            for rank in range(1, self.processes):
                self._workers.append(Worker(self.model, self.shared, rank, self.processes, self.lanes))
            self._wait()
        except BaseException:
            self.close()
            raise

    def gradient(self, step: int, inputs: Array, targets: Array, scale: float) -> tuple[float, float]:
        """(mean loss, norm of scale · gradient) of a batch (B, T); the gradient is left in lane 0.

        RunError when a worker died, in this step or in the update before it.
        """
        if len(self._workers) < self.processes - 1:
            self._start()
        self.shared.inputs[...], self.shared.targets[...] = xp.asarray(inputs), xp.asarray(targets)
        self._all(b"g", step, scale)
        self.losses = host_list(self.shared.losses)
        self._fold()
        # adding up in order gives the same bits whoever computed the parts
        norm = sqrt(total) if isfinite(total := fsum(host_list(self.shared.sums))) else total
        return fsum(self.losses), norm

    def _fold(self) -> None:
        """Add up the lanes' gradients into lane 0."""
        self._all(b"f")

    @property
    def place(self) -> tuple[int, str]:
        """How many ranks of a group train, and on which hosts."""
        return 1, ""

    def changed(self) -> None:
        """Weights or moments were set from outside."""

    def train(self, step: int, inputs: Array, targets: Array, rate: float, clip: float,
              scaler: LossScaler) -> Outcome:
        """One whole step, which changes nothing when loss or gradient are not finite; the scaler is left as it is.

        clip: the largest gradient norm, 0 = any. Returns a function that gives (mean loss, norm of the gradient), and
        waits for them if need be. RunError as `gradient`.
        """
        loss, norm = self.gradient(step, inputs, targets, scaler.scale)
        norm /= scaler.scale
        if isfinite(loss) and isfinite(norm):
            self.update(rate, clipped(norm, clip) / scaler.scale)
        return lambda: (loss, norm)

    def recall(self, rate: float, scale: float) -> None:
        """Let the optimizer know what the last update was made with, if it does not: `AdamW.change` depends on it."""

    def update(self, rate: float, scale: float) -> None:
        """One AdamW step with the gradient times `scale`; whole even if a worker dies on the way."""
        self.updates += 1
        for rank in range(self.processes):
            self.shared.left[rank] = 2 * len(_share(len(self.shared.sums), rank, self.processes))
        self._all(b"u", self.updates, rate, scale)
        if self.model.params.adapters:  # their factors may have been updated by different processes
            self._all(b"c")

    def _all(self, what: bytes, step: int = 0, a: float = 0.0, b: float = 0.0) -> None:
        """Have everybody do one thing. RunError when a worker died; if weights change in it, its share is done here."""
        message, changes = COMMAND.pack(what, step, a, b), what in b"uc"
        for worker in self._workers:
            worker.send(message)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dealt with by its norm
            perform(self.hand, what, step, a, b)
            for worker in self._wait(raises=not changes):
                perform(Hand(self.model, self.shared, worker.rank, self.processes, self.lanes), what, step, a, b)

    def _wait(self, raises: bool = True) -> list[Worker]:
        """Until every worker has done what it was asked. Those that died instead; RunError at the first if `raises`."""
        waiting, dead = {worker.answers: worker for worker in self._workers}, []
        poll = select.poll()
        for descriptor in waiting:
            poll.register(descriptor, select.POLLIN)
        while waiting:
            for descriptor, _ in ready(poll):
                poll.unregister(descriptor)
                worker = waiting.pop(descriptor)
                if os.read(descriptor, 1) != _DONE:
                    dead.append(worker)
                    if raises:
                        raise worker.error()
        return dead

    def close(self) -> None:
        """End the workers. The weights stay where they are."""
        for worker in self._workers:
            worker.close()
        self._workers = []


def host_list(values: Array) -> list[float]:
    """A small array as Python floats."""
    return backend.host(values).tolist()


def perform(hand: Hand, what: bytes, step: int, a: float, b: float) -> None:
    """One command of the protocol."""
    if what == b"g":
        hand.gradient(step, a)
    elif what == b"f":
        hand.fold()
    elif what == b"c":
        hand.correct()
    else:
        hand.update(a, b, step)


def ready(poll: select.poll) -> list[tuple[int, int]]:
    """What has come, as soon as something has. Others get the processor if they need it."""
    end = time.monotonic() + _SPIN
    while time.monotonic() < end:
        if found := poll.poll(0):
            return found
        _yield()
    return poll.poll()


class Worker:
    """A child process, seen from its parent. It answers once when it has begun. RunError when it cannot be started."""

    def __init__(self, model: Model, shared: Shared, rank: int, ranks: int, lanes: range):
        self.rank = rank
        take, self._to = os.pipe()
        self.answers, give = os.pipe()
        assert shared.fd is not None
        root = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, **dict.fromkeys(_ENVIRONMENT, "1"),
                       "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
        plan = json.dumps({"config": dict(model.config.values), "vocab_size": model.vocab_size,
                           "adaptation": model.adaptation.to_dict(), "rank": rank, "ranks": ranks,
                           "lanes": [lanes.start, lanes.stop], "fds": [take, give, shared.fd]})
        try:  # -P: a folder called engine where the user stands must not be taken for ours
            self._process = subprocess.Popen([sys.executable, "-P", "-c", _PROGRAM, plan], env=environment,
                                             pass_fds=(take, give, shared.fd), stdin=subprocess.DEVNULL)
        except OSError as error:
            os.close(self._to)
            os.close(self.answers)
            raise RunError(f"A worker process cannot be started ({error.strerror or error}); set c_device_cpu_cores "
                           "to 1.") from None
        finally:
            os.close(take)
            os.close(give)

    def send(self, message: bytes) -> None:
        """Ask for something. Whether it was done, or the process is dead, is for who reads its answers."""
        with suppress(BrokenPipeError):
            os.write(self._to, message)

    def error(self) -> RunError:
        """How it died."""
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        why = ", perhaps because memory ran out" if code == -signal.SIGKILL else ""
        return RunError(f"A worker process of this run died ({how}{why}); the weights are those of the last whole "
                        "step, from which the run can be resumed.")

    def close(self) -> None:
        """Close the pipes, at which the worker ends, and wait for it."""
        os.close(self._to)
        os.close(self.answers)
        self._process.wait()


def work(arguments: Sequence[str] | None = None) -> None:
    """The child process: take commands from the pipe until it closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the parent answers them, and then the pipe closes
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # when memory runs out, rather this process than its parent, which can save what there is
        Path("/proc/self/oom_score_adj").write_text("500")
    plan = json.loads((arguments or sys.argv[1:])[0])
    take, give, fd = plan["fds"]
    model = Model(Config.read(plan["config"]), plan["vocab_size"], Adaptation.read(plan["adaptation"]))
    lanes = range(*plan["lanes"])
    hand = Hand(model, Shared(model, len(lanes), plan["ranks"], fd), plan["rank"], plan["ranks"], lanes)
    poll = select.poll()
    poll.register(take, select.POLLIN)
    try:
        os.write(give, _DONE)
        while ready(poll) and (message := os.read(take, COMMAND.size)):
            what, step, a, b = COMMAND.unpack(message)
            with np.errstate(over="ignore", invalid="ignore"):
                perform(hand, what, step, a, b)
            os.write(give, _DONE)
    except BrokenPipeError:
        pass  # the parent is gone
