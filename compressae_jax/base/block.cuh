// What all kernels share. tests/cuda_on_cpu.h has the same names for a CPU.
#ifdef __CUDACC_RTC__
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned long long uint64_t;
typedef unsigned int uint32_t;

constexpr int WARP = 32;

static __device__ __forceinline__ int warp_sum(int x) { return __reduce_add_sync(~0u, x); }
static __device__ __forceinline__ uint32_t warp_max(uint32_t x) { return __reduce_max_sync(~0u, x); }

// An IEEE half, which is given by its bits.
static __device__ __forceinline__ float half_bits(uint16_t bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}

// The shared memory whose bytes the launch gives.
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif

// Registers are dealt so that 1,536 threads fit a multiprocessor: they hide each other's waits.
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, (THREADS > 768 ? 1 : 1536 / THREADS))
constexpr int WARPS = (THREADS + WARP - 1) / WARP;

// The sum over all threads of a block, for all of them. Calls in turn use slots in turn: of three, the one that a call
// writes is read by nobody, since all threads have passed the barrier of the call before.
static __device__ __forceinline__ int block_sum(int x, int (*slots)[WARPS], int& turn) {
  int* slot = slots[turn];
  turn = turn == 2 ? 0 : turn + 1;
  x = warp_sum(x);
  if (threadIdx.x % WARP == 0) slot[threadIdx.x / WARP] = x;
  __syncthreads();
  int sum = 0;
  for (int i = threadIdx.x % WARP; i < WARPS; i += WARP) sum += slot[i];
  return warp_sum(sum);
}
