// The gradient through a ReLU on CUDA: 16 bytes of a row per thread, 512 per warp.

#include <cuda_runtime.h>

#include "relu.h"

namespace headsplat {
namespace {

constexpr int kAtOnce = 4;  // rows in flight per thread

// Masks two packed bfloat16: keeps those whose `value` is positive (or NaN).
__device__ uint32_t masked(uint32_t gradient, uint32_t value) {
  uint32_t low = static_cast<int16_t>(value & 0xffffu) > 0 ? 0x0000ffffu : 0u;
  uint32_t high = static_cast<int32_t>(value) >= 0x10000 ? 0xffff0000u : 0u;
  return gradient & (low | high);
}

__device__ void add(uint32_t word, float* sums) {
  sums[0] += __uint_as_float(word << 16);
  sums[1] += __uint_as_float(word & 0xffff0000u);
}

__global__ void __launch_bounds__(kReluThreads) mask_gradient(ReluTask task, float* parts) {
  __shared__ float shared[kReluThreads * kReluGroup];
  uint4* gradient = reinterpret_cast<uint4*>(task.gradient) + threadIdx.x;
  const uint4* values = reinterpret_cast<const uint4*>(task.values) + threadIdx.x;
  float sums[kReluGroup] = {};
  int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  for (int64_t row = first; row < task.rows; row += kAtOnce * step) {
    uint4 g[kAtOnce], v[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (row + i * step >= task.rows) break;
      g[i] = gradient[(row + i * step) * blockDim.x];
      v[i] = values[(row + i * step) * blockDim.x];
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (row + i * step >= task.rows) break;
      g[i] = {masked(g[i].x, v[i].x), masked(g[i].y, v[i].y), masked(g[i].z, v[i].z),
              masked(g[i].w, v[i].w)};
      gradient[(row + i * step) * blockDim.x] = g[i];
      add(g[i].x, sums);
      add(g[i].y, sums + 2);
      add(g[i].z, sums + 4);
      add(g[i].w, sums + 6);
    }
  }
  int place = kReluGroup * threadIdx.x;
#pragma unroll
  for (int k = 0; k < kReluGroup; ++k) shared[threadIdx.y * task.columns + place + k] = sums[k];
  __syncthreads();
  for (int column = threadIdx.y * blockDim.x + threadIdx.x; column < task.columns;
       column += blockDim.x * blockDim.y) {
    float sum = 0;
    for (int y = 0; y < blockDim.y; ++y) sum += shared[y * task.columns + column];
    parts[static_cast<int64_t>(blockIdx.x) * task.columns + column] = sum;
  }
}

__global__ void __launch_bounds__(kReluThreads)
    add_masked_parts(int columns, int blocks, const float* parts, float* sums) {
  __shared__ float shared[kReluThreads];
  int column = 32 * blockIdx.x + threadIdx.x;
  float sum = 0;
  if (column < columns)
    for (int block = threadIdx.y; block < blocks; block += blockDim.y)
      sum += parts[static_cast<int64_t>(block) * columns + column];
  shared[32 * threadIdx.y + threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || column >= columns) return;
  for (int y = 1; y < blockDim.y; ++y) sum += shared[32 * y + threadIdx.x];
  sums[column] = sum;
}

}  // namespace

const char* relu_gradient_cuda(const ReluTask& task, float* parts, float* sums, void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  dim3 block(static_cast<unsigned>(task.groups()), static_cast<unsigned>(task.rows_at_once()));
  mask_gradient<<<task.blocks(), block, 0, queue>>>(task, parts);
  add_masked_parts<<<static_cast<unsigned>((task.columns + 31) / 32), dim3(32, kReluThreads / 32),
                     0, queue>>>(task.columns, task.blocks(), parts, sums);
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace headsplat
