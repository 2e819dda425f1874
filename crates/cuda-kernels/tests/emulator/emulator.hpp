// Runs CUDA kernels on a CPU: a block's threads are fibers that change at barriers, warps exchange values as the hardware does, and a
// barrier that not all threads reach is an error. Warps run ahead of each other as far as barriers let them, so that a missing one shows.
// Slow, exact, and enough to hold every kernel against its definition without a card.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <vector>

#define TALKIE_EMULATOR
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(n)

using std::min;

struct dim3 { unsigned x, y, z; };
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

constexpr size_t STACK = 256 << 10;

struct Barrier { unsigned size = 0, arrived = 0, round = 0; };

struct Fiber {
  ucontext_t context;
  dim3 index;
  unsigned number = 0;
  bool done = false;
  std::vector<char> stack;
};

inline ucontext_t scheduler;
inline std::vector<Fiber> fibers;
inline Fiber *running = nullptr;
inline Barrier block;
inline std::vector<Barrier> warps;
inline std::vector<unsigned char> exchange;  // 64 bytes a thread
inline bool moved = false;
inline void (*body)(void **) = nullptr;
inline void **arguments = nullptr;

inline void wait(Barrier &barrier) {
  const unsigned round = barrier.round;
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    barrier.round++;
    moved = true;
    return;
  }
  while (barrier.round == round) swapcontext(&running->context, &scheduler);
}

inline Barrier &warp() { return warps[running->number / 32]; }

inline void run_fiber() {
  body(arguments);
  running->done = moved = true;
  swapcontext(&running->context, &scheduler);
}

// 0, or 1 where threads wait for others that have ended or wait elsewhere.
inline int run_block() {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  fibers.resize(threads);
  exchange.resize(64 * threads);
  block = {threads, 0, 0};
  warps.assign((threads + 31) / 32, Barrier{});
  for (unsigned t = 0; t < threads; t++) {
    Fiber &fiber = fibers[t];
    fiber.number = t;
    fiber.index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
    fiber.done = false;
    fiber.stack.resize(STACK);
    warps[t / 32].size++;
    getcontext(&fiber.context);
    fiber.context.uc_stack = {fiber.stack.data(), 0, STACK};
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, run_fiber, 0);
  }
  for (;;) {
    bool progress = false;
    for (unsigned w = 0; w < warps.size(); w++) {
      // the first warp runs ahead of all others as far as it can, in every second block the last one
      const unsigned first = 32 * ((blockIdx.x + blockIdx.y + blockIdx.z) % 2 ? warps.size() - 1 - w : w);
      do {
        moved = false;
        for (unsigned t = first; t < min(first + 32, threads); t++) {
          if (fibers[t].done) continue;
          running = &fibers[t];
          threadIdx = running->index;
          swapcontext(&scheduler, &running->context);
        }
        progress |= moved;
      } while (moved);
    }
    if (std::all_of(fibers.begin(), fibers.end(), [](const Fiber &fiber) { return fiber.done; })) return 0;
    if (!progress) return 1;
  }
}

template <typename V> V read_lane(unsigned lane) {
  V v;
  memcpy(&v, &exchange[64 * (running->number / 32 * 32 + lane)], sizeof v);
  return v;
}

// What every lane of the warp put up stays readable until all have read.
template <typename V> void put_up(V v) {
  static_assert(sizeof v <= 64);
  memcpy(&exchange[64 * running->number], &v, sizeof v);
  wait(warp());
}

inline void have_read() {
  wait(warp());
}

template <typename P> void call(void (*kernel)(P), void **args) { kernel(*(P *)args[0]); }

}  // namespace emulator

inline void __syncthreads() {
  emulator::wait(emulator::block);
}

template <typename V> V __shfl_xor_sync(unsigned, V v, int far) {
  emulator::put_up(v);
  const V other = emulator::read_lane<V>((emulator::running->number % 32) ^ far);
  emulator::have_read();
  return other;
}

template <typename V> V __shfl_down_sync(unsigned, V v, int far) {
  emulator::put_up(v);
  const unsigned lane = emulator::running->number % 32 + far;
  const V other = lane < 32 ? emulator::read_lane<V>(lane) : v;
  emulator::have_read();
  return other;
}

// The upper half of an f32, rounded to the nearest, ties to even.
struct __nv_bfloat16 { uint16_t bits; };
inline float __bfloat162float(__nv_bfloat16 v) {
  const uint32_t bits = (uint32_t)v.bits << 16;
  float wide;
  memcpy(&wide, &bits, 4);
  return wide;
}
inline __nv_bfloat16 __float2bfloat16(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if (v != v) return {0x7fff};
  return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

struct __half { _Float16 value; };
inline float __half2float(__half v) { return (float)v.value; }
inline __half __float2half(float v) { return {(_Float16)v}; }

inline float widen(float v);
inline float widen(__nv_bfloat16 v);
inline float widen(__half v);

// ldmatrix.x4 of 16-bit values, and of the transposed tiles.
inline void emulated_ldmatrix(unsigned *out, const void *row) {
  emulator::put_up(row);
  const unsigned lane = emulator::running->number % 32;
  for (unsigned tile = 0; tile < 4; tile++) {
    const char *from = (const char *)emulator::read_lane<const void *>(tile * 8 + lane / 4);
    memcpy(&out[tile], from + lane % 4 * 4, 4);
  }
  emulator::have_read();
}

inline void emulated_ldmatrix_trans(unsigned *out, const void *row) {
  emulator::put_up(row);
  const unsigned lane = emulator::running->number % 32;
  for (unsigned tile = 0; tile < 4; tile++)
    for (unsigned half = 0; half < 2; half++) {
      const char *from = (const char *)emulator::read_lane<const void *>(tile * 8 + lane % 4 * 2 + half);
      memcpy((char *)&out[tile] + half * 2, from + lane / 4 * 2, 2);
    }
  emulator::have_read();
}

// mma.m16n8k16 as the PTX ISA lays its operands out over the lanes.
template <typename T> void emulated_mma(float *sums, const unsigned *left, const unsigned *right) {
  struct Operands { unsigned left[4], right[2]; } own;
  memcpy(own.left, left, sizeof own.left);
  memcpy(own.right, right, sizeof own.right);
  emulator::put_up(own);
  float a[16][16], b[16][8];
  for (unsigned lane = 0; lane < 32; lane++) {
    const Operands of = emulator::read_lane<Operands>(lane);
    const unsigned row = lane / 4, pair = lane % 4 * 2;
    for (unsigned half = 0; half < 2; half++) {
      T value;
      for (unsigned r = 0; r < 4; r++) {
        memcpy(&value, (const char *)&of.left[r] + half * sizeof(T), sizeof(T));
        a[row + r % 2 * 8][pair + r / 2 * 8 + half] = widen(value);
      }
      for (unsigned r = 0; r < 2; r++) {
        memcpy(&value, (const char *)&of.right[r] + half * sizeof(T), sizeof(T));
        b[pair + r * 8 + half][row] = widen(value);
      }
    }
  }
  const unsigned lane = emulator::running->number % 32, row = lane / 4, pair = lane % 4 * 2;
  for (unsigned r = 0; r < 4; r++)
    for (unsigned k = 0; k < 16; k++) sums[r] += a[row + r / 2 * 8][k] * b[k][pair + r % 2];
  emulator::have_read();
}
