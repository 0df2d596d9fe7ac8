// Which K entries of each row are of largest magnitude, ties to the lower column, as `lax.top_k` of |a| has them, for any
// K. `largest` lists them, falling; `kept` writes rows with all others zeroed, for each of up to four budgets.
// A block has a row, each thread PER of its entries in registers. The K-th largest magnitude is bracketed by bisection
// on the bits, which rise as magnitudes do; the winners are then ranked among themselves. With GREATEST, which `largest`
// alone has, the greatest numbers win, not magnitudes; it is 2 where winners are listed by rising column.
#ifndef GREATEST
#define GREATEST 0
#endif
constexpr int PER = (H + THREADS - 1) / THREADS;

struct Row {
  uint32_t keys[PER];  // what rises as magnitudes or numbers do; 0 behind the row's end, which nothing counts
  int (*slots)[WARPS];
  int turn;
};

static __device__ __forceinline__ int column_of(int i) { return i * THREADS + (int)threadIdx.x; }

static __device__ __forceinline__ uint32_t key_of(uint32_t bits) {
  if (!GREATEST) return bits & 0x7fffffffu;
  const uint32_t key = bits >> 31 ? ~bits : bits | 0x80000000u;
  return key < ~0u ? key : ~0u - 1;  // a NaN that leaves no room above
}

static __device__ __forceinline__ int reaching(Row& row, uint32_t least) {
  int here = 0;
#pragma unroll
  for (int i = 0; i < PER; ++i) here += row.keys[i] >= least;
  return block_sum(here, row.slots, row.turn);
}

// The K winners of a block's row, each as its key above its place from the row's end, and their ranks, in shared memory.
static __device__ __forceinline__ void choose(const uint32_t* a, Row& row, uint64_t* winners, int* ranks) {
  __shared__ int slots[3][WARPS];
  __shared__ uint32_t greatest[WARPS];
  __shared__ int placed;
  row.slots = slots;
  row.turn = 0;
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    row.keys[i] = column_of(i) < H ? key_of(a[column_of(i)]) : 0;
    most = row.keys[i] > most ? row.keys[i] : most;
  }
  most = warp_max(most);
  if (threadIdx.x % WARP == 0) greatest[threadIdx.x / WARP] = most;
  for (int i = threadIdx.x; i < K; i += THREADS) ranks[i] = 0;
  if (threadIdx.x == 0) placed = 0;
  __syncthreads();
  for (int i = threadIdx.x % WARP; i < WARPS; i += WARP) most = greatest[i] > most ? greatest[i] : most;
  most = warp_max(most);

  // At least K keys reach `low`, fewer than K reach `high`.
  uint32_t low = 0, high = most + 1;
  const uint32_t near = most > (8u << 23) ? most - (8u << 23) : 0;  // 1/256 of the greatest: mostly below the K-th
  int reached = H;
  for (bool first = near > 0; reached != K && high - low > 1; first = false) {
    const uint32_t tried = first ? near : low + (high - low) / 2;
    const int found = reaching(row, tried);
    if (found >= K) {
      low = tried;
      reached = found;
    } else {
      high = tried;
    }
  }
  // Of keys equal to `low` those up to column `last` win: all, or as many as those above it leave room for.
  int last = H - 1;
  if (reached != K) {
    const int room = K - reaching(row, low + 1);
    for (int before = -1; last - before > 1;) {
      const int tried = before + (last - before) / 2;
      int here = 0;
#pragma unroll
      for (int i = 0; i < PER; ++i) here += row.keys[i] == low && column_of(i) <= tried;
      if (block_sum(here, slots, row.turn) >= room) last = tried; else before = tried;
    }
  }
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    if (column_of(i) < H && (row.keys[i] > low || (row.keys[i] == low && column_of(i) <= last)))
      winners[atomicAdd(&placed, 1)] = (uint64_t)row.keys[i] << 32 | (uint32_t)(H - 1 - column_of(i));
  }
  __syncthreads();
  // How many winners are before each: threads share the comparisons of one.
  constexpr int SHARES = THREADS / K > 0 ? THREADS / K : 1;
  for (int i = threadIdx.x; i < K * SHARES; i += THREADS) {
    const uint64_t counts = GREATEST == 2 ? ~0u : ~0ull, own = winners[i % K] & counts;
    int before = 0;
    for (int other = i / K; other < K; other += SHARES) before += (winners[other] & counts) > own;
    if (SHARES == 1) ranks[i % K] = before; else atomicAdd(&ranks[i % K], before);
  }
  __syncthreads();
}

#ifndef BUDGETS
KERNEL largest(const uint32_t* a, uint32_t* values, int* columns) {
  __shared__ uint64_t winners[K];
  __shared__ int ranks[K];
  Row row;
  a += (uint64_t)blockIdx.x * H;
  choose(a, row, winners, ranks);
  for (int i = threadIdx.x; i < K; i += THREADS) {
    const int column = H - 1 - (int)(uint32_t)winners[i];
    const uint64_t at = (uint64_t)blockIdx.x * K + ranks[i];
    values[at] = a[column];
    columns[at] = column;
  }
}
#else
#if BFLOAT16
typedef uint16_t Out;
static __device__ __forceinline__ Out as_out(uint32_t bits) {  // rounded to nearest, ties to even; NaN stays NaN
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;
  return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
#else
typedef uint32_t Out;
static __device__ __forceinline__ Out as_out(uint32_t bits) { return bits; }
#endif

// OUTS and BUDGETS are one list each: parameters, and how many entries each of them keeps; K is the most.
constexpr int KEPT[] = {BUDGETS};
constexpr int MANY = sizeof(KEPT) / sizeof(KEPT[0]);

KERNEL kept(const uint32_t* a, PARAMETERS) {
  __shared__ uint64_t winners[K];
  __shared__ int ranks[K];
  __shared__ uint64_t limits[MANY];  // the last winner of each budget
  Out* const outs[] = {ARGUMENTS};
  Row row;
  const uint64_t start = (uint64_t)blockIdx.x * H;
  choose(a + start, row, winners, ranks);
  for (int i = threadIdx.x; i < K; i += THREADS) {
#pragma unroll
    for (int j = 0; j < MANY; ++j)
      if (ranks[i] == KEPT[j] - 1) limits[j] = winners[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    if (column_of(i) >= H) break;
    const uint64_t own = (uint64_t)row.keys[i] << 32 | (uint32_t)(H - 1 - column_of(i));
    const Out value = as_out(a[start + column_of(i)]);
#pragma unroll
    for (int j = 0; j < MANY; ++j) outs[j][start + column_of(i)] = own >= limits[j] ? value : (Out)0;
  }
}
#endif
