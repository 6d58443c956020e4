// Sums over frames in the kernels: a block handles 32 Gaussians, and its warps share the frames.
// A warp sums its frames in registers; then the warps' sums are added one after the other. The
// order depends only on the number of frames, so results are bitwise reproducible.

#pragma once

namespace headsplat {

constexpr int kMostWarps = 8;

inline dim3 frame_block(int batch) {
  return dim3(32, static_cast<unsigned>(batch < 1 ? 1 : batch < kMostWarps ? batch : kMostWarps));
}

inline unsigned frame_blocks(int count) { return static_cast<unsigned>((count + 31) / 32); }

// One row of shared memory per Gaussian; an odd row length avoids bank conflicts.
template <int kValues>
using GaussianRows = float[32][kValues | 1];

// Writes the sums over all warps to `sums`; synchronizes the block at its start and end.
template <int kValues>
__device__ void add_warps(const float* values, GaussianRows<kValues>& sums) {
  __syncthreads();
  for (int warp = 0; warp < blockDim.y; ++warp) {
    if (threadIdx.y == warp) {
#pragma unroll
      for (int i = 0; i < kValues; ++i)
        sums[threadIdx.x][i] = warp ? sums[threadIdx.x][i] + values[i] : values[i];
    }
    __syncthreads();
  }
}

// Thread of the block, as one number.
__device__ inline int thread_of_block() { return threadIdx.y * 32 + threadIdx.x; }

}  // namespace headsplat
