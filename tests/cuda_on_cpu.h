// Runs a kernel's source on a CPU: each thread of a block is a fiber, and a barrier gives the next one its turn, the first
// to the last or the last to the first: what differs between the two lacks a barrier. Blocks run one after the other, so
// shared memory is static: a block finds in it what the last one left.
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

struct Index { unsigned x, y, z; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(8) float2 { float x, y; };
static Index threadIdx, blockIdx, gridDim;
#define __global__
#define __device__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
constexpr int WARP = 32;
static_assert(THREADS % WARP == 0, "whole warps");
static float half_bits(uint16_t bits) {  // older compilers have no type for it
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float x = exponent ? ldexpf(1024 + fraction, exponent - 25) : ldexpf(fraction, -24);
  if (exponent == 31) x = fraction ? NAN : INFINITY;
  return bits >> 15 ? -x : x;
}
static int __clz(uint32_t x) { return x ? __builtin_clz(x) : 32; }
static uint32_t __brev(uint32_t x) {
  uint32_t y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1) << (31 - i);
  return y;
}
static uint32_t __funnelshift_r(uint32_t low, uint32_t high, int by) {
  return (uint32_t)(((uint64_t)high << 32 | low) >> (by & 31));
}
template <typename T> static T atomicAdd(T* at, T more) { T old = *at; *at += more; return old; }
static float __uint_as_float(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }

// As many bytes as a launch gives, and a few that nobody may write.
static uint8_t* dynamic_shared;
constexpr int BEHIND = 64, UNTOUCHED = 0xa5;
#define DYNAMIC_SHARED(type, name) type* const name = (type*)dynamic_shared

static ucontext_t fibers[THREADS], outside;
static bool done[THREADS];
static void (*body)();

static void enter() {
  body();
  done[threadIdx.x] = true;
}

// The next thread's turn; all of them wait once before any goes on.
static void __syncthreads() {
  const unsigned own = threadIdx.x;
  swapcontext(&fibers[own], &outside);
  threadIdx.x = own;
}

// What all threads of a warp give, put together; all warps of a block have to come here.
template <typename T, typename Two> static T of_warp(T x, Two two) {
  static T given[THREADS];
  const unsigned own = threadIdx.x, first = own / WARP * WARP;
  given[own] = x;
  __syncthreads();
  T all = given[first];
  for (unsigned i = first + 1; i < first + WARP; ++i) all = two(all, given[i]);
  __syncthreads();
  return all;
}
static int warp_sum(int x) { return of_warp(x, [](int a, int b) { return a + b; }); }
static uint32_t warp_max(uint32_t x) { return of_warp(x, [](uint32_t a, uint32_t b) { return a > b ? a : b; }); }

static bool backwards;

static void run_block(void (*what)()) {
  static std::vector<std::vector<char>> stacks(THREADS, std::vector<char>(1 << 16));
  body = what;
  for (unsigned i = 0; i < THREADS; ++i) {
    getcontext(&fibers[i]);
    fibers[i].uc_stack.ss_sp = stacks[i].data();
    fibers[i].uc_stack.ss_size = stacks[i].size();
    fibers[i].uc_link = &outside;
    makecontext(&fibers[i], enter, 0);
    done[i] = false;
  }
  for (bool left = true; left;) {
    left = false;
    for (unsigned turn = 0; turn < THREADS; ++turn) {
      const unsigned i = backwards ? THREADS - 1 - turn : turn;
      if (done[i]) continue;
      threadIdx.x = i;
      swapcontext(&outside, &fibers[i]);
      left = left || !done[i];
    }
  }
}

template <typename... Pointers, size_t... i>
static void call(void (*kernel)(Pointers...), void** pointers, std::index_sequence<i...>) {
  kernel((Pointers)pointers[i]...);
}

// Every block of a kernel, which gets pointers alone; whether it kept to its dynamic shared memory.
template <typename... Pointers>
static int run(void (*kernel)(Pointers...), unsigned blocks, unsigned shared, void** pointers, int last_first) {
  static void (*which)(Pointers...);
  static void** given;
  which = kernel;
  given = pointers;
  gridDim.x = blocks;
  backwards = last_first;
  const unsigned bytes = (shared + BEHIND + 15) / 16 * 16;
  dynamic_shared = (uint8_t*)aligned_alloc(16, bytes);
  memset(dynamic_shared, UNTOUCHED, bytes);
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
    run_block([] { call(which, given, std::index_sequence_for<Pointers...>()); });
  bool kept = true;
  for (unsigned i = shared; i < bytes; ++i) kept = kept && dynamic_shared[i] == UNTOUCHED;
  free(dynamic_shared);
  return kept;
}
