"""The CUDA sources through NVIDIA's own compiler, where it is installed: no GPU is needed for that."""

from __future__ import annotations

from typing import Any

import numpy as np
import nvrtc
import pytest

from engine import kernels
from engine.kernels import flash, launch

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not nvrtc.library(), reason="NVRTC is not installed (nvidia-cuda-nvrtc-cu12)")]


def variants(name: str, dtype: Any) -> list[tuple[dict[str, int], int]]:
    """The constants that a source is compiled with, and how many bytes of dynamic shared memory it is launched with."""
    if not name.startswith("flash"):
        return [({}, 0)]
    return [flash._constants(d, dtype, rate, name == "flash_backward") for d in (16, 64, 80, 128) for rate in (0.0, 0.1)
            if flash.fits(d, dtype)]


@pytest.mark.parametrize("architecture", ["70", "80", "90"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(kernels.SOURCES))
def test_a_source_compiles_and_fits_on_a_chip(name: str, dtype: Any, architecture: str) -> None:
    """Without a warning, and, where ptxas is installed too, without spilling more than a few bytes."""
    for constants, dynamic in variants(name, dtype):
        ptx, said = nvrtc.compiled(kernels.SOURCES[name].code, launch.options(dtype, constants),
                                   f"compute_{architecture}")
        assert "kernels.cu" not in said, said
        if not nvrtc.assembler():
            continue
        for kernel, use in nvrtc.assembled(ptx, f"sm_{architecture}").items():
            assert use.spilled <= 16, (kernel, constants, use)
            assert use.shared + dynamic <= launch.SHARED, (kernel, constants, use)
            assert use.registers * 256 <= 65536, (kernel, constants, use)


def test_what_is_wrong_does_not_compile() -> None:
    with pytest.raises(SyntaxError, match="undefined"):
        nvrtc.compiled("__global__ void f(float *x) { *x = nothing; }", [], "compute_80")
