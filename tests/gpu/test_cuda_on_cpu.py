"""The stand-in for a GPU that runs kernels on the CPU: it computes what CUDA says, and tells of what CUDA forbids."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from cuda_on_cpu import Function, LaunchError, RawModule, empty, guarded

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++ to compile kernels with")


def kernel(parameters: str, body: str) -> Function:
    return RawModule(code=f'extern "C" __global__ void f({parameters})\n{{\n{body}\n}}\n').get_function("f")


@pytest.mark.slow
def test_blocks_and_threads_in_three_dimensions() -> None:
    out = guarded(np.zeros((2, 3, 2, 2, 4), np.int32))
    kernel("int *out", """
        int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
    """)((2, 3), (4, 2, 2), (out.reshape(-1),))
    expected = np.arange(6)[:, None] * 1000 + np.arange(16)
    np.testing.assert_array_equal(out.reshape(6, 16), expected)


def test_shuffles_and_ballots() -> None:
    lane = np.arange(32)
    out = guarded(np.zeros((5, 32), np.int32))
    kernel("int *out", """
        int lane = threadIdx.x;
        out[lane] = __shfl_xor_sync(0xffffffffu, lane, 5);
        out[32 + lane] = __shfl_down_sync(0xffffffffu, lane, 3);
        out[64 + lane] = __shfl_up_sync(0xffffffffu, lane, 3);
        out[96 + lane] = __shfl_sync(0xffffffffu, lane * 2, 7);
        unsigned third = __ballot_sync(0xffffffffu, lane % 3 == 0), late = __ballot_sync(0xffffffffu, lane > 4);
        out[128 + lane] = __popc(third) * 100 + __ffs(late);
    """)((1,), (32,), (out,))
    np.testing.assert_array_equal(out, [lane ^ 5, np.where(lane < 29, lane + 3, lane),
                                        np.where(lane > 2, lane - 3, lane), np.full(32, 14), np.full(32, 11 * 100 + 6)])


def test_shared_memory_and_barriers() -> None:
    x = guarded(np.arange(64, dtype=np.float32))
    kernel("float *x", """
        extern __shared__ float given[];
        __shared__ float own[64];
        given[threadIdx.x] = own[63 - threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        x[threadIdx.x] = own[threadIdx.x] * 100 + given[(threadIdx.x + 1) % 64];
    """)((1,), (64,), (x,), shared_mem=256)
    np.testing.assert_array_equal(x, np.arange(64)[::-1] * 100 + (np.arange(64) + 1) % 64)


@pytest.mark.parametrize(("body", "sentence"), [
    ("if (threadIdx.x < 5) __syncthreads();", "wait at __syncthreads"),
    ("if (threadIdx.x < 32) __syncthreads(); else __syncwarp(); __syncthreads();", "wait at __syncthreads"),
    ("if (threadIdx.x != 3) __shfl_xor_sync(0xffffffffu, 1, 1);", "lanes that do not come"),
    ("x[threadIdx.x + 1] = 0;", "wrote beside an array"),
    ("x[(int)threadIdx.x - 1] = 0;", "wrote beside an array"),
    ("extern __shared__ float given[]; given[threadIdx.x + 1] = 0;", "shared memory was written beyond its end"),
])
def test_what_cuda_forbids_is_told(body: str, sentence: str) -> None:
    x = guarded(np.zeros(64, np.float32))
    run = kernel("float *x", body)
    with pytest.raises(LaunchError, match=sentence):
        run((1,), (64,), (x,), shared_mem=256)
    x.base[...] = 255  # the margins as they were


def test_what_nobody_has_written_is_nan() -> None:
    out = empty(3)
    assert np.isnan(out).all()
    kernel("float *out", """
        __shared__ float own[1];
        extern __shared__ float given[];
        out[0] = own[0];
        out[1] = given[0];
    """)((1,), (1,), (out,), shared_mem=4)
    assert np.isnan(out).all()


@pytest.mark.parametrize("argument", [1, 2.0, np.int64(1), np.float64(1), None])
def test_an_argument_that_a_driver_would_misread_is_refused(argument: Any) -> None:
    with pytest.raises(LaunchError, match="argument 1"):
        kernel("float *x, int n", "x[0] = n;")((1,), (1,), (guarded(np.zeros(1, np.float32)), argument))


@pytest.mark.parametrize(("grid", "block"), [((0,), (1,)), ((1, 65536), (1,)), ((1,), (1025,))])
def test_a_launch_that_no_gpu_takes_is_refused(grid: tuple[int, ...], block: tuple[int, ...]) -> None:
    with pytest.raises(LaunchError, match="no GPU takes"):
        kernel("int n", "")(grid, block, (np.int32(1),))
