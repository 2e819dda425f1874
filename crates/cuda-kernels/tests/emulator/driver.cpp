// The launch of the CUDA driver, for the kernels of this room on a CPU: the same names, geometry and arguments.
#include "emulator.hpp"

#include "kernels.cu"

#include <mutex>
#include <string>

// Wrong on purpose: half of the threads wait for the others, which have ended.
struct NoParams { int unused; };
void lopsided(NoParams) {
  if (threadIdx.x < 16) __syncthreads();
}

namespace {

struct Entry {
  const char *name;
  void (*call)(void **);
};

#define ENTRY(kernel) {#kernel, [](void **args) { emulator::call(kernel, args); }},
#define TYPED(name, T)                                                                                       \
  ENTRY(group_pieces_##name) ENTRY(group_values_##name) ENTRY(group_values4_##name) ENTRY(row_norm_##name)   \
  ENTRY(finish_##name) ENTRY(finish4_##name) ENTRY(gated_##name) ENTRY(gated4_##name) ENTRY(geglu_##name) ENTRY(rope_##name) ENTRY(columns_##name)
#define ATTENTION(name, T)                                                                                   \
  ENTRY(attention48_##name) ENTRY(attention64_##name) ENTRY(attention80_##name) ENTRY(attention128_##name)   \
  ENTRY(attention160_##name)
const Entry TABLE[] = {EVERY_DTYPE(TYPED) HALF_DTYPES(ATTENTION) ENTRY(group_stats) ENTRY(lopsided)};

}  // namespace

// 0; 1 for a barrier that not all threads reach; 2 for a name that no kernel has.
extern "C" int launch(const char *name, const unsigned *grid, const unsigned *block, void **args) {
  static std::mutex one_at_a_time;  // there is one set of fibers and of shared memory
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  for (const Entry &entry : TABLE) {
    if (std::string(entry.name) != name) continue;
    emulator::body = entry.call;
    emulator::arguments = args;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
      for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
          if (int wrong = emulator::run_block()) return wrong;
    return 0;
  }
  return 2;
}
