// CUDA C++ on a CPU: what the engine's kernels use of it, one block after another, each thread of a block as a fiber.
//
// A fiber runs until it meets a barrier or a shuffle; then comes the next. What hangs or is undefined on a GPU is an
// error here: a barrier that some threads never reach, a shuffle whose mask names lanes that are elsewhere. Shared memory
// holds NaN when a block begins.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>
#if !defined(__x86_64__) || !defined(__ELF__)
#include <ucontext.h>
#define CUDA_UCONTEXT
#endif

#define __global__ static
#define __device__ static
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("cuda_shared")))

extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
static dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace cuda {

enum Wait { ready, block, warp, done };

struct Fiber {
#ifdef CUDA_UCONTEXT
    ucontext_t context;
#else
    void *top;
#endif
    Wait wait;
    unsigned mask;           // of the warp's lanes that meet
    unsigned shuffles;       // so far; two slots take turns, so that one meeting a shuffle is enough
    unsigned char slot[2][8];
};

static const size_t stack_bytes = 128 << 10;
static std::vector<Fiber> fibers;
static std::vector<char> stacks;
static std::vector<unsigned char> dynamic;  // shared memory whose size the launch says
static int current;
static std::function<void()> body;
static char failure[200];

#ifdef CUDA_UCONTEXT
static ucontext_t scheduler;
static void leave() { swapcontext(&fibers[current].context, &scheduler); }
static void enter(Fiber &fiber) { swapcontext(&scheduler, &fiber.context); }
#else
static void *scheduler;
extern "C" void cuda_switch(void **from, void *to);
asm(R"(
.text
.type cuda_switch,@function
cuda_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static void leave() { cuda_switch(&fibers[current].top, scheduler); }
static void enter(Fiber &fiber) { cuda_switch(&scheduler, fiber.top); }
#endif

static void fiber_main() {
    body();
    fibers[current].wait = done;
    leave();
    abort();
}

static void prepare(int number) {
    Fiber &fiber = fibers[number];
    char *stack = stacks.data() + number * stack_bytes;
    fiber.wait = ready;
    fiber.shuffles = 0;
#ifdef CUDA_UCONTEXT
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = stack_bytes;
    makecontext(&fiber.context, fiber_main, 0);
#else
    void **top = (void **)(((uintptr_t)stack + stack_bytes) & ~(uintptr_t)15);
    *--top = nullptr;  // a function begins 8 bytes off a multiple of 16
    *--top = (void *)fiber_main;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber.top = top;
#endif
}

static void wait(Wait what, unsigned mask = 0) {
    fibers[current].wait = what;
    fibers[current].mask = mask;
    leave();
}

// Let those go on that have all met; false when nobody can.
static bool release(int threads) {
    bool any = false;
    int at_block = 0, gone = 0;
    for (int i = 0; i < threads; i++) at_block += fibers[i].wait == block, gone += fibers[i].wait == done;
    if (at_block == threads) {
        for (int i = 0; i < threads; i++) fibers[i].wait = ready;
        return true;
    }
    for (int first = 0; first < threads; first += 32) {
        for (int i = first; i < std::min(first + 32, threads); i++) {
            if (fibers[i].wait != warp) continue;
            unsigned mask = fibers[i].mask;
            bool met = mask >> (i - first) & 1;
            for (int lane = 0; lane < 32 && met; lane++)
                if (mask >> lane & 1)
                    met = first + lane < threads && fibers[first + lane].wait == warp && fibers[first + lane].mask == mask;
            if (!met) continue;
            for (int lane = 0; lane < 32; lane++)
                if (mask >> lane & 1) fibers[first + lane].wait = ready;
            any = true;
        }
    }
    if (!any)
        snprintf(failure, sizeof failure, "block (%u, %u, %u): of %d threads %d wait at __syncthreads, %d have left and the "
                 "others wait for lanes that do not come", blockIdx.x, blockIdx.y, blockIdx.z, threads, at_block, gone);
    return any;
}

// order: 1 from the first thread to the last, -1 the other way round. A result must not depend on it.
static const char *run(dim3 grid, dim3 size, size_t shared, int order, std::function<void()> kernel) {
    int threads = size.x * size.y * size.z;
    gridDim = grid;
    blockDim = size;
    body = kernel;
    failure[0] = 0;
    fibers.resize(threads);
    stacks.resize(threads * stack_bytes + 16);
    dynamic.resize(shared + 64);
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                memset(dynamic.data(), 0xff, dynamic.size());
                if (__start_cuda_shared) memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
                for (int i = 0; i < threads; i++) prepare(i);
                for (int left = threads; left;) {
                    int ran = 0;
                    for (int n = 0; n < threads; n++) {
                        current = order > 0 ? n : threads - 1 - n;
                        if (fibers[current].wait != ready) continue;
                        threadIdx = {current % size.x, current / size.x % size.y, current / size.x / size.y};
                        enter(fibers[current]);
                        ran++;
                        left -= fibers[current].wait == done;
                    }
                    if (left && !release(threads)) return failure;
                }
                for (size_t i = shared; i < dynamic.size(); i++)
                    if (dynamic[i] != 0xff) return "shared memory was written beyond its end";
            }
    return nullptr;
}

template <class T> static T shuffle(unsigned mask, T value, int source) {
    static_assert(sizeof(T) <= 8);
    int own = current, first = own & ~31;
    unsigned turn = fibers[own].shuffles++ & 1;
    memcpy(fibers[own].slot[turn], &value, sizeof(T));
    wait(warp, mask);
    T result;
    memcpy(&result, fibers[first + source].slot[turn], sizeof(T));
    return result;
}

template <class... A, size_t... I> static void call(void (*f)(A...), void **args, std::index_sequence<I...>) {
    f(*(A *)args[I]...);
}
template <class... A> static void call(void (*f)(A...), void **args) { call(f, args, std::index_sequence_for<A...>()); }

// The size of each argument, a pointer's as a negative number; 0 ends them.
template <class... A> static const int *sizes(void (*)(A...)) {
    static const int found[] = {(std::is_pointer_v<A> ? -(int)sizeof(A) : (int)sizeof(A))..., 0};
    return found;
}

}  // namespace cuda

static inline void __syncthreads() { cuda::wait(cuda::block); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { cuda::wait(cuda::warp, mask); }
static inline int cuda_lane() { return cuda::current & 31; }
template <class T> static T __shfl_sync(unsigned mask, T x, int source) { return cuda::shuffle(mask, x, source & 31); }
template <class T> static T __shfl_xor_sync(unsigned mask, T x, int bits) { return cuda::shuffle(mask, x, cuda_lane() ^ bits); }
template <class T> static T __shfl_down_sync(unsigned mask, T x, unsigned by) {
    int source = cuda_lane() + by;
    return cuda::shuffle(mask, x, source < 32 ? source : cuda_lane());
}
template <class T> static T __shfl_up_sync(unsigned mask, T x, unsigned by) {
    int source = cuda_lane() - (int)by;
    return cuda::shuffle(mask, x, source >= 0 ? source : cuda_lane());
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    int first = cuda::current & ~31, value = predicate != 0;
    unsigned turn = cuda::fibers[cuda::current].shuffles & 1, found = 0;
    cuda::shuffle(mask, value, cuda_lane());
    for (int lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) {
            int one;
            memcpy(&one, cuda::fibers[first + lane].slot[turn], sizeof one);
            found |= (unsigned)one << lane;
        }
    return found;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }
template <class T> static T __ldg(const T *at) { return *at; }
static inline float rsqrt(float x) { return 1 / std::sqrt(x); }
static inline double rsqrt(double x) { return 1 / std::sqrt(x); }
static inline float rsqrtf(float x) { return rsqrt(x); }
static inline unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }
static inline float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
using std::exp;
using std::log;
using std::max;
using std::min;
using std::sqrt;
using std::tanh;
using std::pow;
using std::isfinite;
