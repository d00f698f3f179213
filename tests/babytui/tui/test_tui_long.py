"""Hours of chat and of training in the app: what it holds does not grow, and it answers as quickly as before."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import time
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from babytui import runs
from babytui.tui.panes.sampling import Sampling
from engine import events
from store.journal import Journal
from store.lock import Lock
from store.workspace import Workspace

pytestmark = pytest.mark.slow
GUID = "00000000-0000-4000-8000-000000000001"
ANSWER = 0.05  # seconds from a key to its paint, 95 times in a hundred
ATTACH = 1.0  # seconds of work, to a run with a million events; a machine with nothing else to do takes as long
MIB = 1 << 20


def resident() -> int:
    """Bytes of this process in memory, without what the C library keeps for itself of what was freed."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def blocks() -> int:
    """Small objects that are alive, as near as can be."""
    gc.collect()
    return sys.getallocatedblocks()


class Pulse:
    """How long the event loop works before it comes back to what wants to be woken: seconds of its own processor time,
    which other processes on the machine do not add to, one after the other."""

    def __init__(self) -> None:
        self.busy = array("d")  # no objects, which are counted

    @asynccontextmanager
    async def felt(self) -> AsyncIterator[None]:
        """Takes the pulse inside."""
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()

    async def _beat(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.002)
            self.busy.append(time.thread_time() - before)

    def calm(self) -> bool:
        """Whether it answers in time, in the end as in the beginning."""
        third = len(self.busy) // 3
        assert third > 30
        early, late = (sorted(part)[int(0.95 * third)] for part in (self.busy[:third], self.busy[-third:]))
        return max(early, late) < ANSWER and late < 2 * early + 0.005


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    """Threads take turns as often as in the app."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    yield
    sys.setswitchinterval(before)


async def test_a_hundred_thousand_tokens_of_chat(playground: Any, until: Any, model: str) -> None:
    """Twenty replies of 5000 tokens. The transcript is full after a few, and then nothing grows any more."""
    async with playground(120, 40) as (app, pilot):
        chat = app.playground.chat
        await until(pilot, lambda: chat.baby is not None)
        app.playground.action_show("chat")
        await until(pilot, lambda: chat.prompt.has_focus)
        chat.transcript.keep_lines = 500  # a tenth, so that it is full after a tenth of the tokens
        chat.talk.most = 40_000  # a tenth, too
        fields = chat.query_one(Sampling).fields
        fields["tokens"].value = "5000"
        held, small, pulse = [], [], Pulse()
        for reply in range(20):
            fields["seed"].value = str(reply)
            async with pulse.felt():
                await pilot.press(*"The", "enter")
                await until(pilot, lambda reply=reply: chat._serial > reply and not chat.writing, 60)
            assert len(chat.last_reply()) == 5003
            held.append(resident())
            small.append(blocks())
        assert max(small[10:]) < max(small[:10]) + 0.1 * 50_000, small  # not a tenth of an object for each token
        assert max(held[10:]) < max(held[:10]) + 4 * MIB, [size // MIB for size in held]
        assert 400 < len(chat.transcript._rows) <= 625
        assert pulse.calm()


async def test_one_endless_reply(playground: Any, until: Any, model: str) -> None:
    """A single reply of 100 000 tokens: only its text grows."""
    async with playground(120, 40) as (app, pilot):
        chat = app.playground.chat
        await until(pilot, lambda: chat.baby is not None)
        app.playground.action_show("chat")
        await until(pilot, lambda: chat.prompt.has_focus)
        chat.query_one(Sampling).fields["tokens"].value = "100000"
        before, pulse = resident(), Pulse()
        await pilot.press(*"The", "enter")
        async with pulse.felt():
            await until(pilot, lambda: chat._serial and not chat.writing, 120)
        assert len(chat.last_reply()) == 100_003
        assert resident() - before < 40 * MIB
        assert pulse.calm()


class Trainee:
    """A run as the app sees one that is alive: its lock is held here, and its journal is written here."""

    def __init__(self, workspace: Workspace, steps: int):
        self.run = runs.Run(workspace, GUID)
        self.run.dir.mkdir(mode=0o700, parents=True)
        config = {"n_steps": steps}
        (self.run.dir / "plan.json").write_bytes(orjson.dumps(
            {"guid": GUID, "created": time.time(), "name": "long", "config": config, "texts": [], "dataset": "cats"}))
        self.lock = Lock(self.run.dir / "lock")
        assert self.lock.acquire()
        self.journal = Journal(self.run.journal)
        self.step = 0
        self._append(events.Start(step=0, config=config, parameters=100, vocab_size=20, steps=steps, dataset="cats",
                                  tokens_per_step=32, train_tokens=1900, validation_tokens=200))

    def _append(self, event: events.Event) -> None:
        self.journal.append(event.to_dict())

    def train(self, steps: int) -> None:
        """So many steps' events, and after each ten thousand what else a run tells."""
        for _ in range(steps):
            self.step += 1
            self._append(events.Step(step=self.step, loss=2 + 1 / self.step, learning_rate=0.004, gradient_norm=1.5,
                                     epoch=self.step / 15, tokens=self.step * 32, seconds=self.step / 1000,
                                     tokens_per_second=31234.5))
            if self.step % 10_000 == 0:
                self._append(events.Evaluation(step=self.step, train_loss=2.5, validation_loss=2.4, tokens=0,
                                               seconds=self.step / 1000))
                self._append(events.Sample(step=self.step, prompt="The", text="The cat sat on the mat and ran. " * 8))
                self._append(events.Checkpoint(step=self.step, path="checkpoints/none.safetensors", reason="policy"))
        self.journal.flush()

    def end(self) -> None:
        self._append(events.End(step=self.step, reason="finished", train_loss=2.0, validation_loss=2.1, tokens=0,
                                seconds=self.step / 1000))
        self.journal.close()
        self.lock.release()


async def test_watching_a_run_that_has_a_million_steps_and_goes_on(playground: Any, until: Any,
                                                                  workspace: Workspace) -> None:
    """The app attaches within a second, stays awake meanwhile, and holds no more after 200 000 further events."""
    trainee = Trainee(workspace, 10_000_000)
    trainee.train(1_000_000)
    async with playground(120, 40) as (app, pilot):
        training = app.playground.training
        await until(pilot, lambda: training.view.done == 1_000_000)
        worked = []
        for _ in range(3):
            begun = time.process_time()
            training.attach(trainee.run, "long")
            while training.view.done != 1_000_000:
                await asyncio.sleep(0.02)
            worked.append(time.process_time() - begun)
        assert min(worked) < ATTACH, worked
        assert training.view.status == "running" and "1,000,000" in training.query_one("#numbers").plain
        held, small, watching = [], [], Pulse()
        for _ in range(20):
            trainee.train(10_000)
            async with watching.felt():
                await until(pilot, lambda: training.view.done == trainee.step)
                await pilot.pause()
            held.append(resident())
            small.append(blocks())
        # the log and the samples still fill up to their bounds; whoever kept an event in ten would be seen
        assert max(small[5:]) < max(small[:5]) + 0.1 * 150_000, small
        assert max(held[5:]) < max(held[:5]) + 6 * MIB, [size // MIB for size in held]
        assert watching.calm()
        trainee.end()
        await until(pilot, lambda: training.view.status == "finished")
