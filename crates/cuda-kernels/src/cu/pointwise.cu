// What touches every value once: bias, activation and addend behind a product, gated sums, GEGLU, rotary embedding.
#include "number.cuh"

struct FinishParams {
  const void *x, *bias, *addend;  // bias and addend may be null
  void *y;
  unsigned long long count;
  unsigned channels, act;
};

// y = act(x + bias) + addend; N neighbouring channels a thread
template <typename T, int N> __device__ void finish(const FinishParams &p) {
  const T *bias = (const T *)p.bias;
  const size_t step = (size_t)gridDim.x * blockDim.x * N;
  for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < p.count; i += step) {
    Pack<T, N> pack = *(const Pack<T, N> *)((const T *)p.x + i), addend = {};
    if (p.addend) addend = *(const Pack<T, N> *)((const T *)p.addend + i);
    const unsigned first = i % p.channels;
#pragma unroll
    for (int k = 0; k < N; k++) {
      float v = widen(pack.v[k]);
      if (bias) v += widen(bias[first + k]);
      v = activate(v, p.act);
      if (p.addend) v += widen(addend.v[k]);
      pack.v[k] = narrow<T>(v);
    }
    *(Pack<T, N> *)((T *)p.y + i) = pack;
  }
}

struct GatedParams {
  const void *x, *a;
  const float *gate;  // (channels)
  void *y;
  unsigned long long count;
  unsigned channels;
};

// y = x + a * gate, in f32 until the end; N neighbouring channels a thread
template <typename T, int N> __device__ void gated(const GatedParams &p) {
  const size_t step = (size_t)gridDim.x * blockDim.x * N;
  for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N; i < p.count; i += step) {
    Pack<T, N> pack = *(const Pack<T, N> *)((const T *)p.x + i);
    const Pack<T, N> a = *(const Pack<T, N> *)((const T *)p.a + i);
    const unsigned first = i % p.channels;
#pragma unroll
    for (int k = 0; k < N; k++) pack.v[k] = narrow<T>(widen(pack.v[k]) + widen(a.v[k]) * p.gate[first + k]);
    *(Pack<T, N> *)((T *)p.y + i) = pack;
  }
}

struct GegluParams {
  const void *x;  // (rows, 2 channels)
  void *y;        // (rows, channels)
  unsigned long long count;
  unsigned channels;
};

template <typename T> __device__ void geglu(const GegluParams &p) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.count; i += step) {
    const T *row = (const T *)p.x + 2 * (i / p.channels) * p.channels + i % p.channels;
    // the gate is rounded as the reference's own tensor would be
    const float gate = widen(narrow<T>(activate(widen(row[p.channels]), 2)));
    ((T *)p.y)[i] = narrow<T>(widen(row[0]) * gate);
  }
}

struct RopeParams {
  const void *x;          // (b, l, n, d)
  const float *cos, *sin; // (l, d / 2)
  void *y;
  unsigned long long pairs;  // b l n d / 2
  unsigned positions, heads, half, halves;  // half: d / 2; halves: whether pairs lie d / 2 apart
};

template <typename T> __device__ void rope(const RopeParams &p) {
  const size_t step = (size_t)gridDim.x * blockDim.x;
  for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < p.pairs; i += step) {
    const unsigned pair = i % p.half;
    const size_t head = i / p.half, position = head / p.heads % p.positions;
    const size_t even = head * 2 * p.half + (p.halves ? pair : 2 * pair), odd = even + (p.halves ? p.half : 1);
    const float cos = p.cos[position * p.half + pair], sin = p.sin[position * p.half + pair];
    const float a = widen(((const T *)p.x)[even]), b = widen(((const T *)p.x)[odd]);
    ((T *)p.y)[even] = narrow<T>(a * cos - b * sin);
    ((T *)p.y)[odd] = narrow<T>(a * sin + b * cos);
  }
}

#define KERNELS(name, T)                                                                                \
  extern "C" __global__ void __launch_bounds__(256) finish_##name(FinishParams p) { finish<T, 1>(p); }  \
  extern "C" __global__ void __launch_bounds__(256) finish4_##name(FinishParams p) { finish<T, 4>(p); } \
  extern "C" __global__ void __launch_bounds__(256) gated_##name(GatedParams p) { gated<T, 1>(p); }    \
  extern "C" __global__ void __launch_bounds__(256) gated4_##name(GatedParams p) { gated<T, 4>(p); }   \
  extern "C" __global__ void __launch_bounds__(256) geglu_##name(GegluParams p) { geglu<T>(p); }        \
  extern "C" __global__ void __launch_bounds__(256) rope_##name(RopeParams p) { rope<T>(p); }
EVERY_DTYPE(KERNELS)
#undef KERNELS
