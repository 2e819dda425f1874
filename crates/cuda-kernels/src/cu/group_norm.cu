// Group norm and activation over channels-last pictures (b, pixels, channels), in three launches:
// moments of a piece of a picture, the moments of a group from those of its pieces, the values.
// Every thread sums around the first value it sees and the sums are merged as Chan et al. (1983) do, so that
// nearly constant pictures keep their small variance.
#include "number.cuh"

#define THREADS 256
#define MOST_CHANNELS 4096

struct GroupNormParams {
  const void *x, *gain, *shift;
  void *y;
  float *pieces;  // (b, groups, chunks, 2): mean, sum of squared distances to it
  float *stats;   // (b, groups, 2): mean, 1 / deviation
  unsigned pixels, channels, groups, chunk, chunks, act;
  float eps;
};

template <typename R> struct Moments {
  R n, mean, squares;

  __device__ void merge(const Moments &o) {
    if (o.n == R(0)) return;
    R total = n + o.n, delta = o.mean - mean;
    mean += delta * (o.n / total);
    squares += o.squares + delta * delta * (n * (o.n / total));
    n = total;
  }
};

// grid (chunks, b)
template <typename T> __device__ void pieces_of(const GroupNormParams &p) {
  __shared__ float means[MOST_CHANNELS], squares[MOST_CHANNELS];
  const unsigned c = p.channels, lanes = c < THREADS ? THREADS / c : 1;
  const unsigned from = blockIdx.x * p.chunk, to = min(p.pixels, from + p.chunk);
  const T *x = (const T *)p.x + (size_t)blockIdx.y * p.pixels * c;
  for (unsigned e = threadIdx.x; e < lanes * c; e += THREADS) {
    const unsigned first = from + e / c;
    float centre = 0, sum = 0, square = 0;
    unsigned n = 0;
    for (unsigned pixel = first; pixel < to; pixel += lanes, n++) {
      float v = widen(x[(size_t)pixel * c + e % c]);
      if (n == 0) centre = v;
      sum += v - centre;
      square += (v - centre) * (v - centre);
    }
    means[e] = n ? centre + sum / n : 0;
    squares[e] = n ? fmaxf(square - sum * (sum / n), 0.0f) : 0;
  }
  __syncthreads();
  const unsigned width = c / p.groups;
  for (unsigned g = threadIdx.x; g < p.groups; g += THREADS) {
    Moments<float> all = {0, 0, 0};
    for (unsigned lane = 0; lane < lanes; lane++) {
      const unsigned first = from + lane;
      const float n = first < to ? (to - first + lanes - 1) / lanes : 0;
      for (unsigned e = lane * c + g * width; e < lane * c + (g + 1) * width; e++)
        all.merge({n, means[e], squares[e]});
    }
    float *piece = p.pieces + 2 * (((size_t)blockIdx.y * p.groups + g) * p.chunks + blockIdx.x);
    piece[0] = all.mean;
    piece[1] = all.squares;
  }
}

// grid (groups, b), one warp
__device__ void stats_of(const GroupNormParams &p) {
  const size_t group = (size_t)blockIdx.y * p.groups + blockIdx.x;
  const float *pieces = p.pieces + 2 * group * p.chunks;
  const unsigned width = p.channels / p.groups;
  Moments<double> all = {0, 0, 0};
  for (unsigned i = threadIdx.x; i < p.chunks; i += 32) {
    const unsigned from = i * p.chunk;
    const double n = (double)width * (min(p.pixels, from + p.chunk) - from);
    all.merge({n, pieces[2 * i], pieces[2 * i + 1]});
  }
  for (int far = 16; far > 0; far /= 2) {
    Moments<double> other;
    other.n = __shfl_down_sync(0xffffffffu, all.n, far);
    other.mean = __shfl_down_sync(0xffffffffu, all.mean, far);
    other.squares = __shfl_down_sync(0xffffffffu, all.squares, far);
    all.merge(other);
  }
  if (threadIdx.x == 0) {
    p.stats[2 * group] = (float)all.mean;
    p.stats[2 * group + 1] = (float)(1.0 / sqrt(all.squares / all.n + (double)p.eps));
  }
}

// grid (as many as there is work, b); N values of neighbouring channels a thread
template <typename T, int N> __device__ void values_of(const GroupNormParams &p) {
  const unsigned c = p.channels, width = c / p.groups;
  const size_t picture = (size_t)p.pixels * c;
  const T *x = (const T *)p.x + blockIdx.y * picture;
  T *y = (T *)p.y + blockIdx.y * picture;
  const float *stats = p.stats + 2 * (size_t)blockIdx.y * p.groups;
  const T *gain = (const T *)p.gain, *shift = (const T *)p.shift;
  const size_t step = (size_t)gridDim.x * THREADS * N;
  for (size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N; i < picture; i += step) {
    Pack<T, N> pack = *(const Pack<T, N> *)(x + i);
    const unsigned first = i % c;
#pragma unroll
    for (int k = 0; k < N; k++) {
      const unsigned ch = first + k, g = ch / width;
      const float v = (widen(pack.v[k]) - stats[2 * g]) * stats[2 * g + 1];
      pack.v[k] = narrow<T>(activate(v * widen(gain[ch]) + widen(shift[ch]), p.act));
    }
    *(Pack<T, N> *)(y + i) = pack;
  }
}

#define KERNELS(name, T)                                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS) group_pieces_##name(GroupNormParams p) { pieces_of<T>(p); }  \
  extern "C" __global__ void __launch_bounds__(THREADS) group_values_##name(GroupNormParams p) { values_of<T, 1>(p); } \
  extern "C" __global__ void __launch_bounds__(THREADS) group_values4_##name(GroupNormParams p) { values_of<T, 4>(p); }
EVERY_DTYPE(KERNELS)
#undef KERNELS
extern "C" __global__ void __launch_bounds__(32) group_stats(GroupNormParams p) { stats_of(p); }
#undef THREADS
