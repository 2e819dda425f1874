// One product of a warp on the tensor cores: 16x16 by 16x8, sums in f32 (PTX ISA, mma.m16n8k16). Lane l holds, with row = l / 4 and
// pair = l % 4 * 2: of the left (row, pair), (row + 8, pair), (row, pair + 8), (row + 8, pair + 8), each with its right neighbour;
// of the right operand (pair, row) and (pair + 8, row), each with the one below; of the sums (row, pair), (row, pair + 1) and those of row + 8.
#pragma once
#include "number.cuh"

template <typename T> __device__ inline unsigned two(T low, T high) {
  Pack<T, 2> pack = {{low, high}};
  unsigned bits;
  memcpy(&bits, &pack, sizeof bits);
  return bits;
}

#ifdef TALKIE_EMULATOR
template <typename T> void multiply(float *sums, const unsigned *left, const unsigned *right) {
  emulated_mma<T>(sums, left, right);
}
#else
template <typename T> __device__ inline void multiply(float *sums, const unsigned *left, const unsigned *right);

#define MULTIPLY(T, kind)                                                                               \
  template <> __device__ inline void multiply<T>(float *d, const unsigned *a, const unsigned *b) {      \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." kind "." kind ".f32 {%0,%1,%2,%3}, "          \
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"                                             \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                       \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                   \
  }
MULTIPLY(__nv_bfloat16, "bf16")
MULTIPLY(__half, "f16")
#undef MULTIPLY
#endif
