// How the kernels sum over frames: a block takes 32 Gaussians, each of its warps every so many of
// the frames. A warp sums its frames in registers; then the warps' sums are added one after the
// other. The order depends on the number of frames alone, so runs agree bit by bit.

#pragma once

namespace headsplat {

constexpr int kMostWarps = 8;

inline dim3 frame_block(int batch) {
  return dim3(32, static_cast<unsigned>(batch < 1 ? 1 : batch < kMostWarps ? batch : kMostWarps));
}

inline unsigned frame_blocks(int count) { return static_cast<unsigned>((count + 31) / 32); }

// One row of shared memory a Gaussian; an odd length puts the rows' starts into different banks.
template <int kValues>
using GaussianRows = float[32][kValues | 1];

// Leaves the sums of all warps in `sums`; begins and ends with the block in step.
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
