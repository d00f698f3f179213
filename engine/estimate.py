"""What a configuration will cost, before anything is allocated. Imports no text and builds no model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine import backend, data, device, processor, registry, schedule
from engine.adaptation import Adaptation
from engine.config import Config
from engine.cublas import WORKSPACE
from engine.model import Model, lowest, tensors
from engine.optimizer import AdamW
from engine.parameters import Gradients, Tensor, adapters
from engine.prepared import copied

TOKENS_PER_PARAMETER = (20, 40)  # Hoffmann et al., arXiv 2203.15556, found about 20
_NEXT_PROCESS = 0.8  # of the first one's speed
_LOOKING = 1.1  # evaluations and samples
_QUICK = {"cpu": 5e10, "gpu": 2e12}  # FLOPs of a step that calibration may take; on a GPU few tell of launches only
_PASSES = 3.0  # a backward pass costs twice its forward pass, half of that for the gradients of the weights


@dataclass(frozen=True)
class Estimate:
    """Bytes are bytes, times are seconds, FLOPs count a multiply-add as two.

    tokens_needed: the range in which this many parameters are used well. seconds: training time on this machine, None
    when it was not calibrated. warnings: sentences.
    """

    parameters: int
    trained_parameters: int
    model_file_bytes: int
    training_bytes: int
    generation_bytes: int
    flops_per_step: float
    flops_per_token: float
    tokens_per_step: int
    tokens_needed: tuple[int, int]
    steps: int
    tokens: int
    seconds: float | None = None
    warnings: list[str] = field(default_factory=list)


def forward_flops(config: Config, vocab_size: int, tokens: int) -> float:
    """FLOPs of the forward pass over one sequence of `tokens`."""
    each = sum(kind.flops(config, tokens) for kind in _variants(config))
    return config.n_layers * each + 2 * tokens * config.n_emb * vocab_size


def estimate(config: Config, *, vocab_size: int = 65, text_tokens: int | None = None,
             speed: float | None = None, adaptation: Adaptation | None = None) -> Estimate:
    """The cost of training and using `config`; with `adaptation`, of going on with a model and training what that says.

    vocab_size and text_tokens come from the text; without text_tokens the steps are those of n_steps (or 0). speed:
    FLOP/s from `calibrate`. ConfigError when the configuration contradicts itself, TextError when the text is short.
    """
    config.validate()
    all_tensors = (adaptation or Adaptation()).tensors(tensors(config, vocab_size))
    parameters = sum(t.size for t in all_tensors if not t.corrects)
    trained = sum(t.trained for t in all_tensors)
    size = np.dtype(backend.COMPUTE[config.d_type]).itemsize
    each = config.batch_size * config.n_ctx
    buffered = sum(t.size for t in all_tensors if not t.frozen)
    passes = _PASSES - 1 + min(1.0, buffered / parameters)
    per_step = passes * config.batch_size * forward_flops(config, vocab_size, config.n_ctx)
    steps = data.steps(data.train_tokens(text_tokens, config), config) if text_tokens else config.n_steps
    found = Estimate(
        parameters=parameters, trained_parameters=trained, model_file_bytes=round(parameters * _json_bytes(config)),
        training_bytes=_training_bytes(config, vocab_size, all_tensors),
        generation_bytes=parameters * size + _reply_bytes(config, parameters * size),
        flops_per_step=per_step, flops_per_token=forward_flops(config, vocab_size, config.n_ctx) / config.n_ctx,
        tokens_per_step=each,
        tokens_needed=(parameters * TOKENS_PER_PARAMETER[0], parameters * TOKENS_PER_PARAMETER[1]), steps=steps,
        tokens=steps * each, seconds=_seconds(config, buffered, steps * per_step, speed) if speed and steps else None)
    found.warnings.extend(_warnings(config, found, text_tokens, vocab_size, adaptation))
    return found


def _reply_bytes(config: Config, weights: int) -> int:
    """Bytes that a reply takes beside the weights: its state, and the weights arranged for single tokens."""
    prepared = config.c_device == "cpu" and all(kind.causal(config) for kind in _variants(config))
    return state_bytes(config) + (copied(weights) if prepared else 0)


def state_bytes(config: Config) -> int:
    """Bytes of the decode state of one reply that fills the context: caches that grow with it, and fixed states."""
    numbers = config.n_layers * sum(kind.kept(config) for kind in _variants(config))
    return numbers * np.dtype(backend.COMPUTE[config.d_type]).itemsize


def cores(config: Config) -> int:
    """Processes that training will use on this machine: c_device_cpu_cores, at most those there are, one on a GPU."""
    if config.c_device == "gpu":
        return 1
    return min(config.c_device_cpu_cores or processor.cores(), processor.cores())


def _seconds(config: Config, buffered: int, flops: float, speed: float) -> float:
    """Training time with all the processes that will take part; the later ones add a little less than the first."""
    processes = min(cores(config), len(data.lanes(config, buffered)))
    return flops / (speed * (1 + _NEXT_PROCESS * (processes - 1))) * _LOOKING


def suggested_rate(rate: float, old_batch: int, new_batch: int) -> float:
    """The learning rate that goes with a changed batch size: LR_new = LR_old · B_new / B_old (arXiv 1706.02677)."""
    return rate * new_batch / old_batch


_speeds: dict[Any, float] = {}
_STEPS = 2  # at least: a machine may be busy during one


def calibrate(config: Config, seconds: float = 0.5) -> float:
    """FLOP/s of training steps of this width in one process, measured on one layer for about half a second.

    The figure is kept for the process, per architecture, width and format. What would take too much memory or time is
    measured on a smaller one of its kind.
    """
    small = _stand_in(config)
    key = tuple(small.values[name] for name in ("c_attention", "c_network", "n_emb", "head_size", "n_heads", "n_ctx",
                                                "batch_size", "d_type", "r_dropout", "c_device"))
    if key not in _speeds:
        model = Model.create(small, 65)
        gradients = Gradients(model.params)
        optimizer = AdamW(model.params, config.r_decay)
        ids = backend.random(1, "calibrate").integers(0, 65, (small.batch_size, small.n_ctx + 1))
        inputs, targets = backend.xp.asarray(ids[:, :-1]), backend.xp.asarray(ids[:, 1:])
        flops = _PASSES * small.batch_size * forward_flops(small, 65, small.n_ctx)

        def step() -> None:
            gradients.reset()
            model.loss_and_gradients(inputs, targets, gradients)
            optimizer.step(model.params.flat, gradients.finish(), 1e-6, 1.0, 1)

        step()  # the first one finds nothing in the cache, and compiles a GPU's kernels
        best, spent, counted = float("inf"), 0.0, 0
        while spent < seconds or counted < _STEPS:
            begun = time.perf_counter()
            step()
            took = time.perf_counter() - begun
            spent += took
            counted += 1
            best = min(best, took)
        _speeds[key] = flops / best
    return _speeds[key]


def _stand_in(config: Config) -> Config:
    """One layer of `config`, smaller in batch, then context, then width until a step is quick and takes < 1 GiB."""
    small = config.replace(n_layers=1, s_stride="auto")
    while True:
        step = _PASSES * small.batch_size * forward_flops(small, 65, small.n_ctx)
        if _training_bytes(small, 65, tensors(small, 65)) <= 1 << 30 and step <= _QUICK[small.c_device]:
            return small
        if small.batch_size > 1:
            small = small.replace(batch_size=small.batch_size // 2)
        elif small.n_ctx > 64:
            small = small.replace(n_ctx=small.n_ctx // 2)
        elif small.n_emb > 16 or small.head_size > 16:
            small = small.replace(n_emb=max(16, small.n_emb // 2), head_size=max(16, small.head_size // 2), n_heads=1,
                                  n_kv_heads=0, n_groups=1, n_rank=1)
        else:
            return small


def _variants(config: Config) -> tuple[Any, Any]:
    return registry.attention.get(config.c_attention), registry.network.get(config.c_network)


def _json_bytes(config: Config) -> float:
    """Bytes of one weight as shortest text, with its comma and the keys' share."""
    return {"fp16": 8.2, "fp32": 13.0, "fp64": 21.5}[config.d_type]


def _training_bytes(config: Config, vocab_size: int, all_tensors: Sequence[Tensor]) -> int:
    """Weights, gradients, two moments, what a pass over one shard keeps for its backward pass, and on a GPU what its
    matrix products need beside."""
    size = np.dtype(backend.COMPUTE[config.d_type]).itemsize
    weights = sum(t.size for t in all_tensors)
    buffered = sum(t.size for t in all_tensors if not t.frozen)
    base = sum(adapter.size for adapter in adapters(all_tensors))
    masters = weights if config.d_type == "fp16" else 0
    mask = buffered if any(t.held for t in all_tensors) else 0
    T = config.n_ctx
    lanes = data.lanes(config, buffered)
    sequences = max(piece.stop - piece.start for lane in lanes for piece in lane) * min(len(lanes), cores(config))
    saved = sum(kind.saved(config, T) for kind in _variants(config)) + 5 * T * config.n_emb  # norms, residuals
    # one layer at work: about as many numbers as its products have columns
    peak = max(kind.flops(config, T) / (2 * config.n_emb) for kind in _variants(config)) / 4
    layers = config.n_layers - max(0, lowest(all_tensors, config.n_layers))  # those that keep anything
    passing = sequences * (layers * saved + 3 * T * vocab_size + 6 * T * config.n_emb + peak)
    workspace = WORKSPACE if config.c_device == "gpu" else 0
    return workspace + round(size * (weights + masters + base + mask + (2 + len(lanes)) * buffered + passing))


def smaller(config: Config, room: int | None, vocab_size: int, adaptation: Adaptation | None = None) -> str:
    """What to change so that training takes no more than `room` bytes, or as far as it is known less than now, as the
    end of a sentence."""
    declared = (adaptation or Adaptation()).tensors(tensors(config, vocab_size))
    advice = []
    batch = config.batch_size // 2
    while room is not None and batch and _training_bytes(config.replace(batch_size=batch), vocab_size, declared) > room:
        batch //= 2
    if batch:
        advice.append(f"lower batch_size to {batch}")
    if config.d_type == "fp64":
        advice.append("set d_type to fp32")
    advice.append("lower n_ctx, n_emb or n_layers")
    return ", or ".join(advice)


def _warnings(config: Config, found: Estimate, text_tokens: int | None, vocab_size: int,
              adaptation: Adaptation | None) -> list[str]:
    warnings = []
    gpu = device.memory(config.c_device_gpu_core) if config.c_device == "gpu" else None
    if gpu and found.training_bytes > gpu[0]:
        warnings.append(f"Training needs about {found.training_bytes / 2**30:.1f} GiB but the GPU has "
                        f"{gpu[0] / 2**30:.1f} GiB free; {smaller(config, gpu[0], vocab_size, adaptation)}.")
    memory = _memory() if config.c_device == "cpu" else None
    if memory and found.training_bytes > memory:
        warnings.append(f"Training needs about {found.training_bytes / 2**30:.1f} GiB but only "
                        f"{memory / 2**30:.1f} GiB are free; lower batch_size, n_ctx or n_emb.")
    if adaptation is None and found.steps and found.tokens < found.parameters:
        warnings.append("The run reads less than one token per parameter; raise n_steps or n_epochs, or lower n_emb.")
    if text_tokens and found.tokens > 60 * text_tokens and config.r_dropout == 0:
        warnings.append("The run reads the text more than 60 times; raise r_dropout or use more text.")
    if found.steps and schedule.warmup_steps(config, found.steps) >= found.steps:
        warnings.append("The warm-up lasts the whole run; lower s_warmup.")
    return warnings


def _memory() -> int | None:
    """Free memory in bytes, None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    except OSError:
        return None
