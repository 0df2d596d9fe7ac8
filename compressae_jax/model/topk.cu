// The K entries of largest magnitude of each row, falling, ties to the lower column: `lax.top_k` of |a|, for any K.
// A block has a row, each thread PER of its entries in registers. The K-th largest magnitude is bracketed by bisection
// on the bits, which rise as magnitudes do; the winners are then ranked among themselves.
constexpr int PER = (H + THREADS - 1) / THREADS;

static __device__ __forceinline__ int count(const uint32_t (&keys)[PER], uint32_t least, int (*slots)[WARPS], int& turn) {
  int here = 0;
#pragma unroll
  for (int i = 0; i < PER; ++i) here += keys[i] >= least;
  return block_sum(here, slots, turn);
}

KERNEL largest(const uint32_t* a, uint32_t* values, int* columns) {
  __shared__ int slots[3][WARPS];
  __shared__ uint64_t winners[K];
  __shared__ int ranks[K];
  __shared__ int placed;
  __shared__ uint32_t greatest[WARPS];
  const uint32_t* row = a + (uint64_t)blockIdx.x * H;
  int turn = 0;
  uint32_t keys[PER];  // magnitudes' bits; 0 behind the row's end, which nothing counts
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    const int column = i * THREADS + threadIdx.x;
    keys[i] = column < H ? row[column] & 0x7fffffffu : 0;
    most = keys[i] > most ? keys[i] : most;
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
    const int found = count(keys, tried, slots, turn);
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
    const int room = K - count(keys, low + 1, slots, turn);
    for (int before = -1; last - before > 1;) {
      const int tried = before + (last - before) / 2;
      int here = 0;
#pragma unroll
      for (int i = 0; i < PER; ++i) here += keys[i] == low && i * THREADS + (int)threadIdx.x <= tried;
      if (block_sum(here, slots, turn) >= room) last = tried; else before = tried;
    }
  }
#pragma unroll
  for (int i = 0; i < PER; ++i) {
    const int column = i * THREADS + threadIdx.x;
    if (column < H && (keys[i] > low || (keys[i] == low && column <= last)))
      winners[atomicAdd(&placed, 1)] = (uint64_t)keys[i] << 32 | (uint32_t)(H - 1 - column);
  }
  __syncthreads();
  // How many winners are before each: threads share the comparisons of one.
  constexpr int SHARES = THREADS / K > 0 ? THREADS / K : 1;
  for (int i = threadIdx.x; i < K * SHARES; i += THREADS) {
    const int one = i % K;
    const uint64_t own = winners[one];
    int before = 0;
    for (int other = i / K; other < K; other += SHARES) before += winners[other] > own;
    if (SHARES == 1) ranks[one] = before; else atomicAdd(&ranks[one], before);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < K; i += THREADS) {
    const int column = H - 1 - (int)(uint32_t)winners[i];
    const uint64_t at = (uint64_t)blockIdx.x * K + ranks[i];
    values[at] = row[column];
    columns[at] = column;
  }
}
