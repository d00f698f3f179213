"""Dropout whose random numbers are made where they are needed, from a counter: Philox4x32-10 (Salmon et al., Parallel
random numbers: as easy as 1, 2, 3, SC 2011, doi:10.1145/2063384.2063405).

Whether a number is kept depends on (seed, step, shard), on which call of a pass it is, and on its place, and on nothing
else: the backward pass makes the same mask again, and none is ever stored. A number is kept when 16 random bits are no
less than round(rate·65536), as on the CPU, but a CPU draws its bits from another stream (engine/tape.py), where a
counter would be slower: so the masks of the two devices differ, their rate and scale do not.
"""

from __future__ import annotations

import zlib

import numpy as np

from engine.backend import Array, xp
from engine.kernels.launch import Source

# What sources with dropout in them begin with.
PHILOX = r"""
struct Bits {
    uint word[4];
};

// Ten rounds on the counter (group, call, step, shard). state: two words of key, step, shard.
__device__ __forceinline__ Bits philox(wide group, uint call, const uint *state)
{
    uint a = (uint)group, b = call + ((uint)(group >> 32) << 16), c = state[2], d = state[3];
    uint key0 = state[0], key1 = state[1];
    for (int round = 0; round < 10; round++) {
        uint low0 = 0xD2511F53u * a, high0 = __umulhi(0xD2511F53u, a);
        uint low1 = 0xCD9E8D57u * c, high1 = __umulhi(0xCD9E8D57u, c);
        a = high1 ^ b ^ key0;
        b = low1;
        c = high0 ^ d ^ key1;
        d = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
}

// Which of the eight numbers of a group are kept, a bit each.
__device__ __forceinline__ uint kept(wide group, uint drop, uint call, const uint *state)
{
    Bits bits = philox(group, call, state);
    uint found = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) found |= (uint)((bits.word[i / 2] >> 16 * (i & 1) & 0xffffu) >= drop) << i;
    return found;
}
"""

_SOURCE = Source(PHILOX + r"""
// A thread keeps or drops eight numbers: out = x·factor or 0.
extern "C" __global__ void dropout(const real *x, real *out, large n, int drop, real factor, int call,
                                   const uint *state)
{
    large group = (large)blockIdx.x * blockDim.x + threadIdx.x;
    if (group * 8 >= n) return;
    uint mask = kept(group, drop, call, state);
    for (int i = 0; i < 8 && group * 8 + i < n; i++) {
        large at = group * 8 + i;
        out[at] = mask >> i & 1 ? x[at] * factor : (real)0;
    }
}
""")

_MULTIPLY = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)


def random_state(seed: int, step: int, shard: int) -> np.ndarray:
    """What a pass's masks depend on, (4,) uint32 on the host: two words of key, step, shard. Lives on the device; the
    step alone changes between passes."""
    key = np.random.SeedSequence([seed, zlib.crc32(b"dropout")]).generate_state(2)
    return np.array([*key, step & 0xFFFFFFFF, shard], np.uint32)


def threshold(rate: float) -> tuple[int, float]:
    """(drop, factor): 16 bits below `drop` drop a number, and what is kept is multiplied by `factor`."""
    drop = round(rate * 65536)
    return drop, 65536 / (65536 - drop)


def dropout(x: Array, rate: float, state: Array, call: int, out: Array | None = None) -> Array:
    """x with a share `rate` of its numbers set to 0 and the rest scaled by 1/(1 - rate). x: contiguous, any shape.

    state: (4,) uint32 as `random_state` gives it. call: the pass's how manieth dropout this is, < 65536. out: where to;
    may be x. The gradient is the same function of dy, with the same state and call.
    """
    out = xp.empty(x.shape, x.dtype) if out is None else out
    drop, factor = threshold(rate)
    if x.size:
        _SOURCE.launch("dropout", (-(-x.size // 2048),), 256, x, out, np.int64(x.size), drop, factor, call, state,
                       dtype=x.dtype)
    return out


def dropout_twin(x: np.ndarray, rate: float, state: np.ndarray, call: int, out: np.ndarray | None = None) -> np.ndarray:
    """`dropout` in NumPy."""
    out = np.empty_like(x) if out is None else out
    _, factor = threshold(rate)
    out[...] = np.where(keep_mask(x.size, rate, state, call).reshape(x.shape), x * x.dtype.type(factor), 0)
    return out


def keep_mask(size: int, rate: float, state: np.ndarray, call: int) -> np.ndarray:
    """Which of `size` numbers are kept, (size,) bool, in NumPy."""
    drop, _ = threshold(rate)
    bits = philox(np.arange(-(-size // 8)), state, call)  # (groups, 4)
    halves = np.stack([bits & 0xFFFF, bits >> 16], -1).reshape(-1)  # the low half of a word comes first
    return halves[:size] >= drop


def philox(groups: np.ndarray, state: np.ndarray, call: int) -> np.ndarray:
    """Philox4x32-10 of the counters (group, call, step, shard), (…, 4) uint32, in NumPy."""
    groups = np.asarray(groups, np.uint64)
    counter = [groups & np.uint64(0xFFFFFFFF), np.uint64(call) + ((groups >> np.uint64(32)) << np.uint64(16)),
               np.full_like(groups, state[2]), np.full_like(groups, state[3])]
    a, b, c, d = (word.astype(np.uint32) for word in counter)
    key = np.array(state[:2], np.uint32)
    for _ in range(10):
        first, second = a.astype(np.uint64) * _MULTIPLY[0], c.astype(np.uint64) * _MULTIPLY[1]
        a, b = (second >> np.uint64(32)).astype(np.uint32) ^ b ^ key[0], second.astype(np.uint32)
        c, d = (first >> np.uint64(32)).astype(np.uint32) ^ d ^ key[1], first.astype(np.uint32)
        key = key + _WEYL  # wraps around
    return np.stack([a, b, c, d], -1)


def attention_mask(shape: tuple[int, ...], rate: float, state: np.ndarray, call: int) -> np.ndarray:
    """What weights (…, T, t) are multiplied with: 0 or 1/(1 - rate). A row takes a whole number of groups of eight."""
    *_, t = shape
    wide = -(-t // 8) * 8
    keep = keep_mask(int(np.prod(shape[:-1])) * wide, rate, state, call).reshape(*shape[:-1], wide)
    return keep[..., :t] * threshold(rate)[1]
