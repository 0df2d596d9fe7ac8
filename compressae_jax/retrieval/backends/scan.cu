// Scores of rows for Q queries a block: a thread has a row, or two have one, and blocks go over all rows with u (H, Q) in shared memory,
// where a nonzero costs one gather for all Q queries. Rows left out get minus infinity, and -0 becomes 0.
// `range` has the first row, that of the first not yet seen, the end of real rows, how many scores there are of each
// query, and how many groups of Q queries. Blocks of all groups go over the same rows at the same time, so that these
// come from the device's memory once.
struct Range { int first, fresh, end, rows, groups; };

// Of eight queries and more two threads have a row, and each of them half of the queries: what they read of u lies together,
// so fewer of a warp's reads want the same banks.
constexpr int LANES = Q >= 8 ? 2 : 1, MINE = Q / LANES, ROWS = THREADS / LANES;

struct Share {  // of a block
  int group, slot, slots;
};

static __device__ __forceinline__ Share own_share(const Range& range) {
  return {(int)blockIdx.x % range.groups, (int)blockIdx.x / range.groups, (int)gridDim.x / range.groups};
}

// Where a block reads u from: shared memory, which this fills, or the device's own, where u is too large for that.
static __device__ __forceinline__ const float* placed(const float* u, int group, float* shared) {
  u += (uint64_t)group * H * Q;
  if (!U_SHARED) return u;
  if (H * Q % 4 == 0) {
    for (int i = threadIdx.x; i < H * Q / 4; i += THREADS) ((float4*)shared)[i] = ((const float4*)u)[i];
  } else {
    for (int i = threadIdx.x; i < H * Q; i += THREADS) shared[i] = u[i];
  }
  return shared;
}

static __device__ __forceinline__ void add(float (&sums)[MINE], float value, uint32_t column, const float* u) {
  const float* here = u + (column < H ? column : H - 1) * Q;
  if constexpr (MINE % 4 == 0) {
#pragma unroll
    for (int j = 0; j < MINE; j += 4) {
      const float4 four = *(const float4*)(here + j);
      sums[j] += value * four.x;
      sums[j + 1] += value * four.y;
      sums[j + 2] += value * four.z;
      sums[j + 3] += value * four.w;
    }
  } else if constexpr (MINE == 2) {
    const float2 two = *(const float2*)here;
    sums[0] += value * two.x;
    sums[1] += value * two.y;
  } else {
    sums[0] += value * *here;
  }
}

static __device__ __forceinline__ void put(const float (&sums)[MINE], float scale, bool real, float* into, int rows) {
#pragma unroll
  for (int j = 0; j < MINE; ++j) into[(uint64_t)j * rows] = real ? sums[j] * scale + 0.0f : __uint_as_float(0xff800000);
}

#ifndef WIDTH
// Rows of values and columns: BOTH nonzeros at a time, as many as are aligned in every row.
constexpr int BOTH = K % 8 == 0 ? 8 : K % 4 == 0 ? 4 : K % 2 == 0 ? 2 : 1;

template <int BYTES> static __device__ __forceinline__ void fetch(const uint8_t* from, uint32_t* into) {
  if constexpr (BYTES >= 16) {
#pragma unroll
    for (int i = 0; i < BYTES / 16; ++i) {
      const uint4 four = ((const uint4*)from)[i];
      into[4 * i] = four.x, into[4 * i + 1] = four.y, into[4 * i + 2] = four.z, into[4 * i + 3] = four.w;
    }
  } else if constexpr (BYTES == 8) {
    const uint2 two = *(const uint2*)from;
    into[0] = two.x, into[1] = two.y;
  } else if constexpr (BYTES == 4) {
    into[0] = *(const uint32_t*)from;
  } else {
    into[0] = *(const uint16_t*)from;
  }
}

template <int BYTES> static __device__ __forceinline__ uint32_t number(const uint32_t* words, int i) {
  return BYTES == 4 ? words[i] : words[i / 2] >> 16 * (i % 2) & 0xffff;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
scores(const uint8_t* __restrict__ values, const uint8_t* __restrict__ columns, const float* __restrict__ scales,
       const float* __restrict__ all_u, const Range* __restrict__ given, const uint8_t* __restrict__ allowed,
       float* __restrict__ into) {
  DYNAMIC_SHARED(float, shared);
  const Range range = *given;
  const Share share = own_share(range);
  const float* u = placed(all_u, share.group, shared);
  __syncthreads();
  const int first_query = threadIdx.x % LANES * MINE;
  u += first_query;
  into += ((uint64_t)share.group * Q + first_query) * range.rows;
  for (int at = share.slot * ROWS + threadIdx.x / LANES; at < range.rows; at += share.slots * ROWS) {
    const int row = range.first + at;
    float sums[MINE] = {};
    const bool real = row >= range.fresh && row < range.end && (!ALLOWED || allowed[row]);
    if (real) {
      const uint8_t* own_values = values + (uint64_t)row * (K * VALUE_BYTES);
      const uint8_t* own_columns = columns + (uint64_t)row * (K * COLUMN_BYTES);
#pragma unroll (K <= 64 ? K / BOTH : 4)
      for (int i = 0; i < K; i += BOTH) {
        uint32_t some_values[(BOTH * VALUE_BYTES + 3) / 4], some_columns[(BOTH * COLUMN_BYTES + 3) / 4];
        fetch<BOTH * VALUE_BYTES>(own_values + i * VALUE_BYTES, some_values);
        fetch<BOTH * COLUMN_BYTES>(own_columns + i * COLUMN_BYTES, some_columns);
#pragma unroll
        for (int j = 0; j < BOTH; ++j) {
          const uint32_t bits = number<VALUE_BYTES>(some_values, j);
          const float value = VALUE_BYTES == 4 ? __uint_as_float(bits) : half_bits(bits);
          add(sums, value, number<COLUMN_BYTES>(some_columns, j), u);
        }
      }
    }
    put(sums, real ? scales[row] : 0, real, into + at, range.rows);
  }
}
#else
// Records of `fast` rows, whose places and shifts are those of fast_kernels: a block's rows are brought to shared memory
// together, and a thread takes its own apart there. Rows of whole words lie an odd number of words apart, for then no
// two threads of a warp want the same bank.
constexpr bool WHOLE = WIDTH % 4 == 0;
constexpr int APART = WIDTH / 4 | 1;                                           // words, of whole ones
constexpr int TILE = WHOLE ? ROWS * APART : (ROWS * WIDTH + 3) / 4 + 2;  // the last row is read a word further
constexpr int BITS = K + ((H - 1) >> LOW), BITMAP = (LOW + 4) * K;             // of the bitmap, and before it

struct Record {
  const uint32_t* words;
  int shift;  // bits of the first word that are of the row before

  __device__ __forceinline__ uint32_t word(uint32_t i) const {
    if (WHOLE) return words[i];
    return __funnelshift_r(words[i], words[i + 1], shift);
  }
  // 32 bits from one on; those behind the record are anything.
  __device__ __forceinline__ uint32_t bits(uint32_t at) const {
    const uint32_t low = word(at / 32);
    if (at % 32 == 0) return low;
    return __funnelshift_r(low, 4 * (at / 32 + 1) < WIDTH ? word(at / 32 + 1) : 0, at % 32);
  }
  // The first bit of each word of the bitmap is its highest.
  __device__ __forceinline__ uint32_t bitmap(uint32_t i) const {
    const uint32_t some = bits(BITMAP + 32 * i);
    return __brev(32 * (i + 1) > BITS ? some & ((1u << BITS % 32) - 1) : some);
  }
};

// The bytes of rows `low` to `high` where threads find theirs from `tile` on.
static __device__ __forceinline__ void bring(const uint8_t* records, int tile, int low, int high, uint32_t* into) {
  const uint64_t zero = (uint64_t)tile * WIDTH & ~3ull;
  const int begin = (int)(((uint64_t)low * WIDTH & ~3ull) - zero) / 4;
  const int bytes = (int)((uint64_t)high * WIDTH - zero), end = bytes / 4;
  const uint32_t* from = (const uint32_t*)(records + zero);
#pragma unroll 8
  for (int i = begin + threadIdx.x; i < end; i += THREADS)
    into[WHOLE ? i / (WIDTH / 4) * APART + i % (WIDTH / 4) : i] = from[i];
  if (!WHOLE && bytes % 4 && threadIdx.x == 0) {  // the last word may end behind all records
    uint32_t last = 0;
    for (int i = 0; i < bytes % 4; ++i) last |= (uint32_t)(records + zero)[4 * end + i] << 8 * i;
    into[end] = last;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
scores(const uint8_t* __restrict__ records, const float* __restrict__ signed_levels,
       const float* __restrict__ scales, const float* __restrict__ all_u, const Range* __restrict__ given,
       const uint8_t* __restrict__ allowed, float* __restrict__ into) {
  DYNAMIC_SHARED(float, shared);
  uint32_t* tiles = (uint32_t*)(shared + (U_SHARED ? (H * Q + 3) / 4 * 4 : 0));
  float* levels = (float*)(tiles + TILE);
  const Range range = *given;
  const Share share = own_share(range);
  const float* u = placed(all_u, share.group, shared);
  if (threadIdx.x < 16) levels[threadIdx.x] = signed_levels[threadIdx.x];
  const int first_query = threadIdx.x % LANES * MINE, local = threadIdx.x / LANES;
  u += first_query;
  into += ((uint64_t)share.group * Q + first_query) * range.rows;
  for (int done = share.slot * ROWS; done < range.rows; done += share.slots * ROWS) {
    const int tile = range.first + done, row = tile + local;
    const int low = tile > range.fresh ? tile : range.fresh;
    const int high = range.end - tile > ROWS ? tile + ROWS : range.end;
    __syncthreads();  // all have read the rows before
    if (low < high) bring(records, tile, low, high, tiles);
    __syncthreads();
    float sums[MINE] = {};
    bool real = row >= low && row < high && done + local < range.rows;
    real = real && (!ALLOWED || allowed[row]);
    if (real) {
      const int lead = (int)((uint64_t)tile * WIDTH & 3) + local * WIDTH;
      const Record record = {tiles + (WHOLE ? local * APART : lead / 4), WHOLE ? 0 : lead % 4 * 8};
      uint32_t bits = 0;  // what is left of the word of the bitmap that begins at `base`
      uint32_t base = 0u - 32;
      bool used = false;
#pragma unroll (K <= 64 ? 2 : 1)
      for (int from = 0; from < K; from += 32) {
#pragma unroll
        for (int j = 0; j < 32; ++j) {
          const int i = from + j;
          if (i >= K) break;
          while (bits == 0 && base + 32 < BITS) base += 32, bits = record.bitmap(base / 32);
          if (i == 0) used = bits != 0;
          const uint32_t zeros = __clz(bits), place = bits != 0 ? base + zeros : 0;
          bits &= __funnelshift_r(0x7fffffff, 0, zeros);
          const uint32_t field = record.bits(LOW * i) & ((1u << LOW) - 1), number = record.bits(LOW * K + 4 * i) & 15;
          add(sums, levels[number], ((place - i) & 255) << LOW | field, u);
        }
      }
      if (!used) {
#pragma unroll
        for (int j = 0; j < MINE; ++j) sums[j] = 0;
      }
    }
    if (done + local < range.rows) put(sums, real ? scales[row] : 0, real, into + done + local, range.rows);
  }
}
#endif
