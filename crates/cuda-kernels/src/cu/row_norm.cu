// Layer norm and RMS norm of rows (rows, channels), with an activation. One block a row; mean, then variance, then the values:
// the row comes from the cache the second and third time.
#include "number.cuh"

struct RowNormParams {
  const void *x, *gain, *shift;  // gain and shift may be null
  void *y;
  unsigned channels, rms, act;
  float eps;
  unsigned modulated;  // whether gain and shift are f32, one is added to the gain, and the norm is rounded before it
};

__device__ inline float sum_of_block(float v) {
  __shared__ float warps[32];
  for (int far = 16; far > 0; far /= 2) v += __shfl_xor_sync(0xffffffffu, v, far);
  __syncthreads();  // the sum before has been read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0;
  for (unsigned w = 0; w < blockDim.x / 32; w++) sum += warps[w];
  return sum;
}

template <typename T> __device__ void row_norm(const RowNormParams &p) {
  const unsigned c = p.channels;
  const T *x = (const T *)p.x + (size_t)blockIdx.x * c;
  T *y = (T *)p.y + (size_t)blockIdx.x * c;
  const T *gain = (const T *)p.gain, *shift = (const T *)p.shift;
  float mean = 0;
  if (!p.rms) {
    float sum = 0;
    for (unsigned i = threadIdx.x; i < c; i += blockDim.x) sum += widen(x[i]);
    mean = sum_of_block(sum) / c;
  }
  float square = 0;
  for (unsigned i = threadIdx.x; i < c; i += blockDim.x) {
    const float v = widen(x[i]) - mean;
    square += v * v;
  }
  const float deviation = sqrtf(sum_of_block(square) / c + p.eps);
  for (unsigned i = threadIdx.x; i < c; i += blockDim.x) {
    float v = (widen(x[i]) - mean) / deviation;
    if (p.modulated) {
      v = widen(narrow<T>(v)) * (1.0f + ((const float *)p.gain)[i]) + ((const float *)p.shift)[i];
      y[i] = narrow<T>(v);
      continue;
    }
    if (p.rms) v = widen(narrow<T>(v));  // rounded before it is scaled, as in T5 and Wan
    if (gain) v *= widen(gain[i]);
    if (shift) v += widen(shift[i]);
    if (p.rms) v = widen(narrow<T>(v));
    y[i] = narrow<T>(activate(v, p.act));
  }
}

#define KERNELS(name, T) \
  extern "C" __global__ void __launch_bounds__(256) row_norm_##name(RowNormParams p) { row_norm<T>(p); }
EVERY_DTYPE(KERNELS)
#undef KERNELS
