"""One optimizer step over the ranks of a group, on CPUs bit for bit the same for any number of them, or without.

Rank 0 has the run: text, schedule, evaluations, checkpoints. The others know nothing but the model and do in every step
what rank 0 says, so they pause, stop and go back with it. Each rank takes consecutive lanes of `engine.data.lanes`, and
spreads them over the cores of its machine as a run without a group does (engine/parallel.py).

Gradients are folded along a chain: rank 0 adds up its lanes from the first to the last and passes the sum on, the next
rank goes on adding where it ended, and the last one's sum goes back to all. That is the very order of one process, so
the sum has the same bits, which neither an all-reduce nor a tree of ranks would give. A rank sends and receives each
number of the gradient once on the way there and once on the way back, as in a ring all-reduce; the sum goes in chunks,
so the ranks fold at the same time, and the chain costs (ranks - 1) chunks more.

Every rank holds weights and moments and makes the whole update: it is element-wise, so they stay the same.

GPUs take as much at once as they can: there each rank has one lane, and the last digits depend on how many there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine import backend, data
from engine.adaptation import Adaptation
from engine.backend import Array, xp
from engine.config import Config
from engine.errors import BabyError, ConfigError
from engine.group import Group, RankLost, between_devices
from engine.model import Model
from engine.optimizer import block_size
from engine.parallel import COMMAND, Hand, Shared, Team, host_list

_CHUNK = 1 << 19  # elements that pass from rank to rank at a time, about


class Member(Team):
    """The part of a run that one rank does. `cores`: the most processes of its own."""

    def __init__(self, model: Model, cores: int, group: Group):
        lanes = data.lanes(model.config, model.params.trained, group.size)
        self.counts = [len(share) for share in np.array_split(np.arange(len(lanes)), group.size)]
        first = sum(self.counts[: group.rank])
        super().__init__(model, cores, range(first, first + self.counts[group.rank]), lanes)
        self.group = between_devices(group)
        self.rows = [self._rows(lanes, rank) for rank in range(group.size)]

    def _rows(self, lanes: list[list[slice]], rank: int) -> slice:
        """Of the batch, what a rank works on."""
        first = sum(self.counts[:rank])
        own = lanes[first : first + self.counts[rank]]
        return slice(own[0][0].start, own[-1][-1].stop)

    def _fold(self) -> None:
        """Add up the lanes of all ranks, first to last; the sum is left in lane 0 of each, losses and squared sums are
        those of all in rank 0."""
        group, shared, last = self.group, self.shared, self.group.size - 1
        total = shared.gradients[0]
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dealt with by its norm
            for blocks in chunks(self.hand):
                self._fold_chunk(blocks, total)
        group.flush()
        group.broadcast(total, last)
        group.flush()
        if group.rank == 0:
            for rank in range(1, group.size):
                losses = np.empty(self.counts[rank])
                group.receive(losses, rank)
                self.losses += losses.tolist()
            sums = np.empty(len(shared.sums))
            group.receive(sums, last)
            shared.sums[...] = xp.asarray(sums)
        else:
            group.send(np.asarray(host_list(shared.losses)), 0)
            if group.rank == last:
                group.send(np.asarray(host_list(shared.sums)), 0)
            group.flush()

    def _fold_chunk(self, blocks: range, total: Array) -> None:
        """Take the sum of the ranks before over some blocks, add the own lanes, and pass it on."""
        group, hand = self.group, self.hand
        places = [hand.slices[block] for block in blocks]
        here = slice(places[0].start, places[-1].stop)
        if group.rank:
            arrived = xp.empty(here.stop - here.start, total.dtype)
            group.receive(arrived, group.rank - 1)
            total[here] += arrived
        for block, place in zip(blocks, places, strict=True):
            hand.add(place)
            if group.rank == group.size - 1:
                hand.close(block)
        if group.rank < group.size - 1:
            group.send(total[here], group.rank + 1)

    def _state(self) -> Iterator[Array]:
        """Everything that an update changes or starts from."""
        shared = self.shared
        if shared.master is not shared.weights:
            yield shared.master
        yield from (array for array in (shared.weights, shared.base, shared.m, shared.v) if array.size)

    def agree(self) -> None:
        """Take weights and moments from rank 0."""
        for array in self._state():
            self.group.broadcast(array, 0)
        self.group.flush()


class Leader(Member):
    """Rank 0: a Team whose every command the other ranks carry out too."""

    def __init__(self, model: Model, cores: int, group: Group):
        self.hosts = group
        self._agreed = False
        check_size(group.size, len(data.lanes(model.config, model.params.trained, group.size)))
        plan = json.dumps({"config": dict(model.config.values), "vocab_size": model.vocab_size,
                           "adaptation": model.adaptation.to_dict()}).encode()
        self._tell(b"b", len(plan))
        group.broadcast(np.frombuffer(plan, np.uint8).copy(), 0)
        super().__init__(model, cores, group)

    def _tell(self, what: bytes, step: int = 0, a: float = 0.0, b: float = 0.0) -> None:
        tell(self.hosts, what, step, a, b)

    @property
    def place(self) -> tuple[int, str]:
        return self.group.size, self.group.machines

    def changed(self) -> None:
        self._agreed = False

    def gradient(self, step: int, inputs: Array, targets: Array, scale: float) -> tuple[float, float]:
        if not self._agreed:
            self._tell(b"s")
            self.agree()
            self._agreed = True
        self._tell(b"g", step, scale)
        for rank in range(1, self.group.size):
            for array in (inputs, targets):
                self.hosts.send(np.ascontiguousarray(backend.host(array)[self.rows[rank]]), rank)
        return super().gradient(step, inputs, targets, scale)

    def update(self, rate: float, scale: float) -> None:
        self._tell(b"u", self.updates + 1, rate, scale)
        super().update(rate, scale)


def check_size(ranks: int, lanes: int) -> None:
    """ConfigError when there are more ranks than lanes."""
    if ranks > lanes:
        instead = f"start {lanes}" if lanes > 1 else "train without"
        raise ConfigError(f"{ranks} ranks were started, but a batch of this size is cut into {lanes} "
                          f"{'lanes' if lanes > 1 else 'lane'}, one for each rank at most: {instead}, or raise "
                          "batch_size or n_ctx.", "batch_size")


def chunks(hand: Hand) -> Iterator[range]:
    """All blocks of the flat gradient, those of a chunk together."""
    each, count = max(1, _CHUNK // block_size()), len(hand.slices)
    for first in range(0, count, each):
        yield range(first, min(first + each, count))


def tell(group: Group, what: bytes, step: int = 0, a: float = 0.0, b: float = 0.0) -> None:
    """Rank 0 gives a command to all others: the protocol of engine/parallel.py, and b(egin), s(tate), e(nd)."""
    message = np.frombuffer(COMMAND.pack(what, step, a, b), np.uint8).copy()
    for rank in range(1, group.size):
        group.send(message, rank)
    group.flush()


def follow(group: Group, cores: Callable[[Config], int], gpu: Callable[[Config], int]) -> None:
    """What every rank but 0 does: carry out commands until the end. cores: how many processes a rank may use here.
    gpu: which GPU it computes on. RunError when another rank died; whatever goes wrong here is told to rank 0 too."""
    member: Member | None = None
    message = np.empty(COMMAND.size, np.uint8)
    try:
        while True:
            group.receive(message, 0)
            what, step, a, b = COMMAND.unpack(message.tobytes())
            if what == b"e":
                return
            if what == b"b":
                if member is not None:
                    member.close()
                member = _joined(group, step, cores, gpu)
            elif member is not None:
                _carry_out(member, group, what, step, a, b)
    except Exception as error:
        told = str(error) if isinstance(error, BabyError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, RankLost):
            told = f"Rank {group.rank} of this run, on {group.hosts[group.rank]}, failed: {told}"
        group.fail(told)
        raise
    finally:
        if member is not None:
            member.close()


def _joined(group: Group, size: int, cores: Callable[[Config], int], gpu: Callable[[Config], int]) -> Member:
    """Take a plan of `size` bytes from rank 0, and make the model that it tells of, with weights of 0."""
    plan = np.empty(size, np.uint8)
    group.broadcast(plan, 0)
    told: dict[str, Any] = json.loads(plan.tobytes())
    config = Config.read(told["config"])
    if config.c_device == "gpu":
        config = config.replace(c_device_gpu_core=gpu(config))
    model = Model(config, told["vocab_size"], Adaptation.read(told["adaptation"]))
    return Member(model, cores(config), group)


def _carry_out(member: Member, hosts: Group, what: bytes, step: int, a: float, b: float) -> None:
    """One command of rank 0."""
    if what == b"s":
        member.agree()
    elif what == b"u":
        member.updates = step - 1
        member.update(a, b)
    else:
        shared: Shared = member.shared
        rows = member.rows[hosts.rank]
        for array in (shared.inputs, shared.targets):
            here = np.empty((rows.stop - rows.start, array.shape[1]), np.int64)
            hosts.receive(here, 0)
            array[rows] = xp.asarray(here)
        member.gradient(step, shared.inputs, shared.targets, a)
