// Harmonic colors on CUDA. A block takes 32 Gaussians: their coefficients go through shared
// memory, so that neighboring threads read neighboring numbers, and its warps share the frames.

#include <cuda_runtime.h>

#include "frame_sums.cuh"
#include "harmonics.h"

namespace headsplat {
namespace {

constexpr int kMostThreads = 32 * kMostWarps;

// Neighboring threads take neighboring numbers of the block's rows of (count, `width`).
template <typename Visit>
__device__ void each_number(int count, int width, Visit visit) {
  int first = 32 * blockIdx.x, rows = min(32, count - first);
  for (int i = thread_of_block(); i < rows * width; i += 32 * blockDim.y)
    visit(i / width, i % width, static_cast<int64_t>(first) * width + i);
}

template <int kDegree>
using Coefficients = GaussianRows<3 * Harmonics<kDegree>::kUsed>;

template <int kDegree>
__device__ void fetch(const HarmonicsTask& task, Coefficients<kDegree>& rows) {
  constexpr int kRest = 3 * (Harmonics<kDegree>::kUsed - 1);
  each_number(task.count, 3,
              [&](int row, int i, int64_t at) { rows[row][i] = task.constant[at]; });
  if constexpr (kRest > 0) {
    int first = 32 * blockIdx.x, count = min(32, task.count - first);
    const float* rest = task.rest + 3 * task.stored * static_cast<int64_t>(first);
    for (int i = thread_of_block(); i < count * kRest; i += 32 * blockDim.y)
      rows[i / kRest][3 + i % kRest] = rest[3 * task.stored * (i / kRest) + i % kRest];
  }
  __syncthreads();
}

__device__ View<float> view_of(const HarmonicsTask& task, int frame, int64_t at) {
  const float *mean = task.means + at, *center = task.centers + 3 * frame;
  float x = mean[0] - center[0], y = mean[1] - center[1], z = mean[2] - center[2];
  return View<float>(x, y, z, sqrtf(x * x + y * y + z * z));
}

template <int kDegree>
__global__ void __launch_bounds__(kMostThreads)
    harmonic_colors(HarmonicsTask task, float* colors) {
  __shared__ Coefficients<kDegree> rows;
  fetch<kDegree>(task, rows);
  int index = 32 * blockIdx.x + threadIdx.x;
  if (index >= task.count) return;
  for (int frame = threadIdx.y; frame < task.batch; frame += blockDim.y) {
    int64_t at = 3 * (static_cast<int64_t>(frame) * task.count + index);
    float value[Harmonics<kDegree>::kUsed], out[3];
    Harmonics<kDegree>::evaluate(view_of(task, frame, at), value);
    Harmonics<kDegree>::color(rows[threadIdx.x], value, out);
    for (int c = 0; c < 3; ++c) colors[at + c] = out[c] < 0.0f ? 0.0f : out[c];
  }
}

template <int kDegree>
__global__ void __launch_bounds__(kMostThreads, 2)
    harmonic_gradients(HarmonicsTask task, const float* d_colors, HarmonicsGradients out) {
  constexpr int kUsed = Harmonics<kDegree>::kUsed;
  __shared__ Coefficients<kDegree> rows;
  fetch<kDegree>(task, rows);
  int index = 32 * blockIdx.x + threadIdx.x;
  float d_coefficients[3 * kUsed] = {};
  if (index < task.count) {
    for (int frame = threadIdx.y; frame < task.batch; frame += blockDim.y) {
      int64_t at = 3 * (static_cast<int64_t>(frame) * task.count + index);
      float d_color[3] = {d_colors[at], d_colors[at + 1], d_colors[at + 2]}, d_mean[3];
      Harmonics<kDegree>::backward(rows[threadIdx.x], view_of(task, frame, at), d_color,
                                   d_coefficients, d_mean);
      for (int c = 0; c < 3; ++c) out.means[at + c] = d_mean[c];
    }
  }
  add_warps<3 * kUsed>(d_coefficients, rows);
  each_number(task.count, 3,
              [&](int row, int i, int64_t at) { out.constant[at] = rows[row][i]; });
  each_number(task.count, 3 * task.stored, [&](int row, int i, int64_t at) {
    out.rest[at] = i < 3 * (kUsed - 1) ? rows[row][3 + i] : 0.0f;
  });
}

const char* last_error() {
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* harmonic_colors_cuda(const HarmonicsTask& task, float* colors, void* stream) {
  if (task.batch == 0 || task.count == 0) return nullptr;
  constexpr decltype(&harmonic_colors<0>) of_degree[] = {harmonic_colors<0>, harmonic_colors<1>,
                                                          harmonic_colors<2>, harmonic_colors<3>};
  of_degree[task.degree]<<<frame_blocks(task.count), frame_block(task.batch), 0,
                           static_cast<cudaStream_t>(stream)>>>(task, colors);
  return last_error();
}

const char* harmonic_colors_backward_cuda(const HarmonicsTask& task, const float* d_colors,
                                           const HarmonicsGradients& out, void* stream) {
  if (task.count == 0) return nullptr;
  constexpr decltype(&harmonic_gradients<0>) of_degree[] = {
      harmonic_gradients<0>, harmonic_gradients<1>, harmonic_gradients<2>, harmonic_gradients<3>};
  of_degree[task.degree]<<<frame_blocks(task.count), frame_block(task.batch), 0,
                           static_cast<cudaStream_t>(stream)>>>(task, d_colors, out);
  return last_error();
}

}  // namespace headsplat
