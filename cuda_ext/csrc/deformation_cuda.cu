// Deformation on CUDA: a thread takes a Gaussian of a frame. Its numbers lie a few words apart from
// its neighbors', and a warp uses each line of the cache in full.

#include <cuda_runtime.h>

#include "deformation.h"
#include "frame_sums.cuh"

namespace headsplat {
namespace {

constexpr int kThreads = 128;

__device__ int index_of_thread() { return blockIdx.x * kThreads + threadIdx.x; }

dim3 grid(int batch, int count) {
  return dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads),
              static_cast<unsigned>(batch));
}

__global__ void __launch_bounds__(kThreads)
    place_anchors(AnchorTask task, float* positions, float* rotations) {
  int anchor = index_of_thread();
  if (anchor < task.count) place_anchor(task, blockIdx.y, anchor, positions, rotations);
}

__global__ void __launch_bounds__(kThreads)
    blendshape_gaussians(BlendshapeTask task, BlendshapeGaussians<float> out) {
  int index = index_of_thread();
  if (index < task.count) place_blendshape(task, blockIdx.y, index, out);
}

__global__ void __launch_bounds__(kThreads)
    blendshape_gradients(BlendshapeTask task, BlendshapeGaussians<const float> d, float* d_mixed) {
  int index = index_of_thread();
  if (index < task.count) unplace_blendshape(task, blockIdx.y, index, d, d_mixed);
}

__device__ const float* outputs_of(const FlashAvatarTask& task, int frame, int index, float* t) {
  const float* from =
      task.outputs + task.stored * (static_cast<int64_t>(frame) * task.count + index);
#pragma unroll
  for (int i = 0; i < kNetworkNumbers; ++i) t[i] = tanhf(from[i]);
  return t;
}

__global__ void __launch_bounds__(kThreads)
    flashavatar_gaussians(FlashAvatarTask task, FlashAvatarGaussians<float> out) {
  int index = index_of_thread(), frame = blockIdx.y;
  if (index >= task.count) return;
  float t[kNetworkNumbers];
  place_flashavatar(task, frame, index, outputs_of(task, frame, index, t), out);
}

__global__ void __launch_bounds__(32 * kMostWarps)
    flashavatar_gradients(FlashAvatarTask task, FlashAvatarGaussians<const float> d,
                          FlashAvatarGradients out) {
  __shared__ GaussianRows<kBaseNumbers> rows;
  int index = 32 * blockIdx.x + threadIdx.x;
  float sums[kBaseNumbers] = {};
  if (index < task.count) {
    for (int frame = threadIdx.y; frame < task.batch; frame += blockDim.y) {
      float t[kNetworkNumbers];
      float* to = out.outputs + task.stored * (static_cast<int64_t>(frame) * task.count + index);
      unplace_flashavatar(task, frame, index, outputs_of(task, frame, index, t), d, to, sums);
      for (int i = kNetworkNumbers; i < task.stored; ++i) to[i] = 0;
    }
  }
  add_warps<kBaseNumbers>(sums, rows);
  if (threadIdx.y > 0 || index >= task.count) return;
  for (int i = 0; i < 4; ++i) out.rotation_base[4 * index + i] = rows[threadIdx.x][i];
  for (int i = 0; i < 3; ++i) out.scaling_base[3 * index + i] = rows[threadIdx.x][4 + i];
}

const char* last_error() {
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

cudaStream_t queue(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

const char* place_anchors_cuda(const AnchorTask& task, float* positions, float* rotations,
                               void* stream) {
  if (task.batch == 0 || task.count == 0) return nullptr;
  place_anchors<<<grid(task.batch, task.count), kThreads, 0, queue(stream)>>>(task, positions,
                                                                              rotations);
  return last_error();
}

const char* blendshape_gaussians_cuda(const BlendshapeTask& task,
                                      const BlendshapeGaussians<float>& out, void* stream) {
  if (task.batch == 0 || task.count == 0) return nullptr;
  blendshape_gaussians<<<grid(task.batch, task.count), kThreads, 0, queue(stream)>>>(task, out);
  return last_error();
}

const char* blendshape_gaussians_backward_cuda(const BlendshapeTask& task,
                                               const BlendshapeGaussians<const float>& d,
                                               float* d_mixed, void* stream) {
  if (task.batch == 0 || task.count == 0) return nullptr;
  blendshape_gradients<<<grid(task.batch, task.count), kThreads, 0, queue(stream)>>>(task, d,
                                                                                     d_mixed);
  return last_error();
}

const char* flashavatar_gaussians_cuda(const FlashAvatarTask& task,
                                       const FlashAvatarGaussians<float>& out, void* stream) {
  if (task.batch == 0 || task.count == 0) return nullptr;
  flashavatar_gaussians<<<grid(task.batch, task.count), kThreads, 0, queue(stream)>>>(task, out);
  return last_error();
}

const char* flashavatar_gaussians_backward_cuda(const FlashAvatarTask& task,
                                                const FlashAvatarGaussians<const float>& d,
                                                const FlashAvatarGradients& out, void* stream) {
  if (task.count == 0) return nullptr;
  flashavatar_gradients<<<frame_blocks(task.count), frame_block(task.batch), 0, queue(stream)>>>(
      task, d, out);
  return last_error();
}

}  // namespace headsplat
