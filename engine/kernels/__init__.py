"""Hand-written CUDA kernels, each beside its twin in NumPy: what it computes, plainly, with the same signature.

A file has sources in CUDA C and, for each kernel, a function that launches it on the current stream and allocates what
it returns. None of them waits for the device. Arrays are float32 or float64, all of a call of one dtype.

`TWINS` names the twin of each. The tests run every kernel against it, on a GPU where there is one, and on a CPU
everywhere: the sources are C++ enough for that (tests/support/cuda_on_cpu).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.kernels import flash, masks, pointwise, rows, sums, update
from engine.kernels.flash import attention, attention_backward, fits
from engine.kernels.launch import Source
from engine.kernels.masks import dropout, random_state
from engine.kernels.pointwise import add_bias, gated, gated_backward, gelu, gelu_backward
from engine.kernels.rows import (
    column_sums,
    cross_entropy,
    layer_norm,
    layer_norm_backward,
    softmax,
    softmax_backward,
)
from engine.kernels.sums import average, average_backward, convolve, convolve_backward, scatter_rows
from engine.kernels.update import State, adamw, begin, initial_state

__all__ = ["SOURCES", "TWINS", "State", "adamw", "add_bias", "attention", "attention_backward", "average",
           "average_backward", "begin", "column_sums", "convolve", "convolve_backward", "cross_entropy", "dropout",
           "fits", "gated", "gated_backward", "gelu", "gelu_backward", "initial_state", "layer_norm",
           "layer_norm_backward", "random_state", "scatter_rows", "softmax", "softmax_backward"]

_FILES: tuple[Any, ...] = (flash, masks, pointwise, rows, sums, update)

TWINS: dict[str, Callable[..., Any]] = {name.removesuffix("_twin"): function for file in _FILES
                                        for name, function in vars(file).items() if name.endswith("_twin")}

SOURCES: dict[str, Source] = {f"{file.__name__.rpartition('.')[2]}{name.removesuffix('_SOURCE')}".lower(): source
                              for file in _FILES for name, source in vars(file).items() if isinstance(source, Source)}
