// What every kernel needs of numbers: f32, bf16 and f16 in memory, f32 in registers, and the activations.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stddef.h>

#define EVERY_DTYPE(M) M(f32, float) M(bf16, __nv_bfloat16) M(f16, __half)
#define HALF_DTYPES(M) M(bf16, __nv_bfloat16) M(f16, __half)

__device__ inline float widen(float v) { return v; }
__device__ inline float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ inline float widen(__half v) { return __half2float(v); }

template <typename T> __device__ inline T narrow(float v);
template <> __device__ inline float narrow<float>(float v) { return v; }
template <> __device__ inline __nv_bfloat16 narrow<__nv_bfloat16>(float v) { return __float2bfloat16(v); }
template <> __device__ inline __half narrow<__half>(float v) { return __float2half(v); }

// Numbered as `Act` in lib.rs.
__device__ inline float activate(float v, unsigned act) {
  switch (act) {
    case 1: return v / (1.0f + expf(-v));
    case 2: return 0.5f * v * (1.0f + erff(v * 0.70710678f));
    case 3: return 0.5f * v * (1.0f + tanhf(0.79788456f * v * (1.0f + 0.044715f * v * v)));
    case 4: return v / (1.0f + expf(-1.702f * v));
    case 5: return v > 0.0f ? v : 0.0f;
    default: return v;
  }
}

// As many values as one thread moves at a time.
template <typename T, int N> struct alignas(N * sizeof(T)) Pack { T v[N]; };
