"""How fast the engine is in this process: a training step, its matrix products alone, a reply, a prefill.

Each function measures once; `babytui.bench` calls them in fresh processes and takes medians. Random tokens serve as
well as text. Times leave out the first rounds, in which buffers are allocated and processes started.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from engine import backend, events, registry
from engine.config import Config
from engine.errors import RunError
from engine.estimate import cores
from engine.generate import Decoder, Sampler, stream
from engine.model import Model
from engine.products import StepProducts
from engine.trainer import Trainer

VOCABULARY = 65  # Tiny Shakespeare's
SECONDS = 1.0  # that are measured, unless LEAST or MOST rounds decide
LEAST, MOST, WARM = 7, 60, 5  # rounds
REPLY = 620  # tokens; more than a short context holds, since filling it again is part of the price
_WARM_TOKENS = 20


def training(config: Config) -> dict[str, Any]:
    """Whole steps on all the cores that `config` allows: batch, forward, backward, clipping, AdamW.

    value: tokens per second. steps: how many were made. cores: processes. memory: their peak resident bytes, together.
    """
    trainer = _trainer(config, cores(config))
    times: list[float] = []
    with closing(iter(trainer)) as run:  # type: ignore[type-var]  # an iterator that is a generator
        before = 0.0
        for event in _steps(run):
            times.append(event.seconds - before)
            before = event.seconds
            if _enough(times):
                break
        memory = _resident()
    if len(times) <= WARM:
        raise RunError("The gradient was not finite, so no step could be measured; lower r_learn.")
    return {"value": config.batch_size * config.n_ctx / median(times[WARM:]), "steps": len(times),
            "cores": cores(config), "memory": memory}


def roofline(config: Config) -> dict[str, Any]:
    """A step in one process, and its matrix products alone, by turns; on a CPU.

    step, products: seconds of processor time. ratio: how many times the one is the other. flops: of the products.
    """
    products = StepProducts(config, VOCABULARY)
    trainer = _trainer(config, 1)
    step: list[float] = []
    alone: list[float] = []
    with closing(iter(trainer)) as run:  # type: ignore[type-var]
        begun = time.process_time()
        for _ in _steps(run):
            step.append(time.process_time() - begun)
            begun = time.process_time()
            products.run()
            alone.append(time.process_time() - begun)
            if _enough(step):
                break
            begun = time.process_time()
    if len(step) <= WARM:
        raise RunError("The gradient was not finite, so no step could be measured; lower r_learn.")
    return {"step": median(step[WARM:]), "products": median(alone[WARM:]), "flops": products.flops, "cores": 1,
            "ratio": median(a / b for a, b in zip(step[WARM:], alone[WARM:], strict=True))}


def decode(config: Config) -> dict[str, Any]:
    """One reply with the cache, sampling and refills of a full context included. value: tokens per second."""
    model = Model.create(config, VOCABULARY)
    times = []
    begun = time.perf_counter()
    for _ in stream(model, [0], REPLY, Sampler(seed=1)):
        times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    return {"value": 1 / fmean(times[_WARM_TOKENS:]), "cores": 1}  # not the median: refills are rare, but they cost


def prefill(config: Config) -> dict[str, Any]:
    """A whole context at once. value: tokens per second."""
    decoder = Decoder(Model.create(config, VOCABULARY))
    ids = backend.random(1, "benchmark").integers(0, VOCABULARY, (1, config.n_ctx))
    return {"value": config.n_ctx / timed(lambda: decoder.start(ids)), "cores": 1}


def timed(call: Callable[[], Any], warm: int = WARM, least: int = LEAST) -> float:
    """The median time of `call()` in seconds over at least so many calls after the first `warm` ones."""
    times: list[float] = []
    while not _enough(times, warm, least):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return median(times[warm:])


def _trainer(config: Config, processes: int) -> Trainer:
    """A run that looks at nothing but its steps, over random text."""
    config = config.replace(n_steps=10**9, r_split=1, c_shuffle=False)
    vocabulary = [chr(ord("0") + i) for i in range(VOCABULARY)]
    length = max(1 << 17, 4 * config.batch_size * (config.n_ctx + 1))
    ids = backend.random(1, "benchmark").integers(0, VOCABULARY, length, np.uint8)
    return Trainer(Model.create(config, VOCABULARY), registry.tokenizer.get("char")(vocabulary), ids, sample_tokens=0,
                   cores=processes)


def _steps(run: Iterator[events.Event]) -> Iterator[events.Step]:
    return (event for event in run if isinstance(event, events.Step))


def _enough(times: list[float], warm: int = WARM, least: int = LEAST) -> bool:
    measured = times[warm:]
    return len(measured) >= least and (len(measured) >= MOST or sum(measured) >= SECONDS)


def _resident() -> int:
    """Peak resident bytes of this process and its children, memory that they share counted once.

    Where the system does not tell about children (no /proc), this process alone.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # it has ended meanwhile
            continue
        found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        if found.get("PPid") == [str(os.getpid())] and "VmHWM" in found:
            total += (int(found["VmHWM"][0]) - int(found.get("RssShmem", ["0"])[0])) * 1024
    return total
