// The tensor cores and the ways to feed them.
//
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
inline void fetch(unsigned *out, const void *row) { emulated_ldmatrix(out, row); }
inline void fetch_turned(unsigned *out, const void *row) { emulated_ldmatrix_trans(out, row); }
inline void copy16(void *to, const void *from, bool in) { in ? memcpy(to, from, 16) : memset(to, 0, 16); }
inline void end_of_copies() {}
template <int N> void wait_for_copies() {}
#else
// Four 8x8 tiles of 16-bit values from shared memory: lane l names row l % 8 of tile l / 8, and gets of every tile (row, pair) and its
// right neighbour (ldmatrix).
__device__ inline void fetch(unsigned *out, const void *row) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(at)
               : "memory");
}

// The same of the transposed tiles: (pair, row) and the one below.
__device__ inline void fetch_turned(unsigned *out, const void *row) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(row);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(at)
               : "memory");
}

// 16 bytes to shared memory while the thread goes on, or as many zeros (cp.async).
__device__ inline void copy16(void *to, const void *from, bool in) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n"
               :
               : "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(in ? 16 : 0)
               : "memory");
}

// Ends a group of copies.
__device__ inline void end_of_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Until all but the last N groups of this thread have arrived.
template <int N> __device__ inline void wait_for_copies() { asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory"); }

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
