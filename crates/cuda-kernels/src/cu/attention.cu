// Attention in one pass over the keys (online softmax, Milakov and Gimelshein 2018; tiling as FlashAttention-2, Dao 2023), for bf16 and
// f16 with sums in f32: (b, lq, n, d) x (b, lk, n, d) -> (b, lq, n, d). A warp keeps 16 queries, their logits and their output in
// registers; memory does not grow with the number of keys. Logits may be given an addend, and keys behind a length are not seen.
// Sequences may lie one behind the other, each seeing its own keys.
#include "mma.cuh"
#include "number.cuh"

#define WARPS 4
#define KEYS 32          // a tile
#define QUERIES (16 * WARPS)

struct AttentionParams {
  const void *q, *k, *v;
  void *y;
  const float *bias;           // null, or added to the scaled logits at b bias_batch + n bias_head + q bias_query + k
  const unsigned *lengths;     // null, or the number of keys of each batch entry
  const unsigned *starts;      // null, or where the queries of each sequence begin and the last ones end, then the same of the keys
  unsigned long long bias_batch, bias_head, bias_query;
  unsigned long long q_batch, q_row, q_head, k_batch, k_row, k_head, v_batch, v_row, v_head;  // strides, in values
  unsigned queries, keys, heads, dim;
  unsigned packed;             // whether keys and values begin at 16 bytes and step by as many
  float scale;
};

// A tile of rows from `first` on into shared memory, filled up with zeros; whole packs of eight where `packed`.
template <typename T, int D, int ROOM>
__device__ void load_tile(T (*tile)[ROOM], const T *head, size_t stride, unsigned first, unsigned seen, const AttentionParams &p) {
  if (p.packed) {
    for (unsigned i = threadIdx.x; i < KEYS * (D / 8); i += 32 * WARPS) {
      const unsigned key = i / (D / 8), at = i % (D / 8) * 8;
      const bool in = first + key < seen && at < p.dim;
      copy16(&tile[key][at], in ? head + (first + key) * stride + at : head, in);
    }
  } else {
    for (unsigned i = threadIdx.x; i < KEYS * D; i += 32 * WARPS) {
      const unsigned key = i / D, at = i % D;
      const bool in = first + key < seen && at < p.dim;
      tile[key][at] = in ? head[(first + key) * stride + at] : narrow<T>(0.0f);
    }
  }
}

// grid (ceil(lq / QUERIES), n, b); D: d rounded up to what this instance has room for
template <typename T, int D> __device__ void attention(const AttentionParams &p) {
  constexpr int ROOM = D + 8;  // the eight keep the rows of a tile in different banks
  alignas(16) __shared__ T keys[2][KEYS][ROOM], values[2][KEYS][ROOM];  // one tile in use, one on its way
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = lane / 4, pair = lane % 4 * 2;
  const unsigned batch = blockIdx.z, head = blockIdx.y, from = blockIdx.x * QUERIES + warp * 16;
  const unsigned *k_starts = p.starts ? p.starts + gridDim.z + 1 : nullptr;
  const size_t q_first = p.starts ? p.starts[batch] : (size_t)batch * p.queries, k_first = p.starts ? k_starts[batch] : 0;
  const unsigned queries = p.starts ? p.starts[batch + 1] - p.starts[batch] : p.queries;
  const unsigned own = p.starts ? k_starts[batch + 1] - k_starts[batch] : p.keys;
  const unsigned seen = p.lengths ? min(p.lengths[batch], own) : own;
  if (blockIdx.x * QUERIES >= queries) return;  // the whole block: a shorter sequence than the longest
  const T zero = narrow<T>(0.0f);
  const T *k_head = (const T *)p.k + batch * p.k_batch + k_first * p.k_row + head * p.k_head;
  const T *v_head = (const T *)p.v + batch * p.v_batch + k_first * p.v_row + head * p.v_head;

  load_tile<T, D>(keys[0], k_head, p.k_row, 0, seen, p);
  load_tile<T, D>(values[0], v_head, p.v_row, 0, seen, p);
  end_of_copies();

  // queries from + row and from + row + 8, as the left operand of the product
  unsigned q[D / 16][4];
  const T *q_head = (const T *)p.q + batch * p.q_batch + (p.starts ? q_first : 0) * p.q_row + head * p.q_head;
#pragma unroll
  for (int i = 0; i < D / 16; i++)
#pragma unroll
    for (int r = 0; r < 4; r++) {
      const unsigned query = from + row + r % 2 * 8, at = i * 16 + pair + r / 2 * 8;
      const T *x = q_head + query * p.q_row + at;
      const bool in = query < queries;
      q[i][r] = two(in && at < p.dim ? x[0] : zero, in && at + 1 < p.dim ? x[1] : zero);
    }

  float out[D / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  for (unsigned first = 0, now = 0; first < seen; first += KEYS, now ^= 1) {
    if (first + KEYS < seen) {
      load_tile<T, D>(keys[now ^ 1], k_head, p.k_row, first + KEYS, seen, p);
      load_tile<T, D>(values[now ^ 1], v_head, p.v_row, first + KEYS, seen, p);
      end_of_copies();
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();

    float logits[KEYS / 8][4] = {};
#pragma unroll
    for (int n = 0; n < KEYS / 8; n += 2)
#pragma unroll
      for (int i = 0; i < D / 16; i++) {
        unsigned right[4];  // keys n * 8 + …, both halves of the 16 channels; then those of n + 1
        fetch(right, &keys[now][(n + lane / 16) * 8 + lane % 8][i * 16 + lane / 8 % 2 * 8]);
        multiply<T>(logits[n], q[i], right);
        multiply<T>(logits[n + 1], q[i], right + 2);
      }

    float high[2] = {most[0], most[1]};
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const unsigned key = first + n * 8 + pair + r % 2, query = from + row + r / 2 * 8;
        float v = logits[n][r] * p.scale;
        if (key >= seen) v = -INFINITY;
        else if (p.bias && query < queries)
          v += p.bias[batch * p.bias_batch + head * p.bias_head + query * p.bias_query + key];
        logits[n][r] = v;
        high[r / 2] = fmaxf(high[r / 2], v);
      }
    float scale[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {  // the four lanes of a row
      high[h] = fmaxf(high[h], __shfl_xor_sync(0xffffffffu, high[h], 1));
      high[h] = fmaxf(high[h], __shfl_xor_sync(0xffffffffu, high[h], 2));
      scale[h] = high[h] == -INFINITY ? 1.0f : expf(most[h] - high[h]);
      most[h] = high[h];
      sum[h] *= scale[h];
    }
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const float v = most[r / 2] == -INFINITY ? 0.0f : expf(logits[n][r] - most[r / 2]);
        sum[r / 2] += v;
        logits[n][r] = v;
      }
    // what came out as sums goes in as the left operand: the same lane holds the same values
    unsigned weights[KEYS / 16][4];
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const float *of = logits[2 * i + r / 2] + r % 2 * 2;
        weights[i][r] = two(narrow<T>(of[0]), narrow<T>(of[1]));
      }
#pragma unroll
    for (int j = 0; j < D / 8; j += 2) {
#pragma unroll
      for (int r = 0; r < 4; r++) {
        out[j][r] *= scale[r / 2];
        out[j + 1][r] *= scale[r / 2];
      }
#pragma unroll
      for (int i = 0; i < KEYS / 16; i++) {
        unsigned right[4];  // both halves of the 16 keys at channels j * 8 + …; then those at j + 1
        fetch_turned(right, &values[now][i * 16 + lane % 16][(j + lane / 16) * 8]);
        multiply<T>(out[j], weights[i], right);
        multiply<T>(out[j + 1], weights[i], right + 2);
      }
    }
    __syncthreads();  // the tile has been used
  }

#pragma unroll
  for (int h = 0; h < 2; h++) {
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
    sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
  }
#pragma unroll
  for (int j = 0; j < D / 8; j++)
#pragma unroll
    for (int r = 0; r < 4; r++) {
      const unsigned query = from + row + r / 2 * 8, at = j * 8 + pair + r % 2;
      if (query < queries && at < p.dim)
        ((T *)p.y)[((q_first + query) * p.heads + head) * p.dim + at] = narrow<T>(out[j][r] / sum[r / 2]);
    }
}

#define INSTANCE(D, name, T) \
  extern "C" __global__ void __launch_bounds__(32 * WARPS) attention##D##_##name(AttentionParams p) { attention<T, D>(p); }
#define KERNELS(name, T) \
  INSTANCE(48, name, T) INSTANCE(64, name, T) INSTANCE(80, name, T) INSTANCE(128, name, T) INSTANCE(160, name, T)
HALF_DTYPES(KERNELS)
#undef KERNELS
#undef INSTANCE
