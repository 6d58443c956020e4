// Triangles on CUDA: one warp per triangle writes to a buffer of 64-bit keys, 1/z in the high bits
// and the complement of the face's index in the low ones. One atomic maximum then keeps the nearest
// face, and the lowest index among equals, in any order. A second pass converts keys to faces and
// weights.

#include <cuda_runtime.h>

#include "triangles.h"

namespace headsplat {
namespace {

constexpr int kThreads = 128;

__global__ void draw_faces(TriangleTask task, unsigned long long* keys) {
  int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  if (warp >= static_cast<int64_t>(task.batch) * task.faces) return;
  int frame = static_cast<int>(warp / task.faces), index = static_cast<int>(warp % task.faces);
  const float* points = task.points + static_cast<int64_t>(frame) * task.vertices * 3;
  Triangle tri;
  if (!prepare(points, task.corners + 3 * static_cast<int64_t>(index), task.vertices, task.width,
               task.height, task.cull, tri))
    return;
  int columns = tri.x1 - tri.x0;
  int64_t pixels = static_cast<int64_t>(columns) * (tri.y1 - tri.y0);
  keys += static_cast<int64_t>(frame) * task.height * task.width;
  for (int64_t i = threadIdx.x % 32; i < pixels; i += 32) {
    int column = tri.x0 + static_cast<int>(i % columns), row = tri.y0 + static_cast<int>(i / columns);
    double e[3], weight[3];
    bool inside = true;
    for (int k = 0; k < 3; ++k) {
      e[k] = tri.edge(k, column + 0.5, row + 0.5);
      inside &= e[k] >= 0;
    }
    if (!inside) continue;
    float nearness = static_cast<float>(tri.weigh(e, weight));
    unsigned long long key = static_cast<unsigned long long>(__float_as_uint(nearness)) << 32 |
                             (0xffffffffu - static_cast<unsigned>(index));
    atomicMax(keys + static_cast<int64_t>(row) * task.width + column, key);
  }
}

__global__ void resolve_pixels(TriangleTask task, const unsigned long long* keys) {
  int64_t plane = static_cast<int64_t>(task.width) * task.height;
  int64_t pixel = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pixel >= plane * task.batch) return;
  unsigned long long key = keys[pixel];
  int index = key ? static_cast<int>(0xffffffffu - static_cast<unsigned>(key)) : -1;
  double weight[3] = {0, 0, 0};
  if (index >= 0) {
    int64_t frame = pixel / plane, within = pixel % plane;
    Triangle tri;
    prepare(task.points + frame * task.vertices * 3, task.corners + 3 * static_cast<int64_t>(index),
            task.vertices, task.width, task.height, task.cull, tri);
    double e[3];
    for (int k = 0; k < 3; ++k)
      e[k] = tri.edge(k, static_cast<int>(within % task.width) + 0.5,
                      static_cast<int>(within / task.width) + 0.5);
    tri.weigh(e, weight);
  }
  task.face[pixel] = index;
  for (int k = 0; k < 3; ++k) task.weights[3 * pixel + k] = static_cast<float>(weight[k]);
}

unsigned blocks(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

}  // namespace

const char* rasterize_triangles_cuda(const TriangleTask& task, unsigned long long* keys,
                                     void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  int64_t faces = static_cast<int64_t>(task.batch) * task.faces;
  int64_t pixels = static_cast<int64_t>(task.batch) * task.width * task.height;
  if (pixels == 0) return nullptr;
  cudaMemsetAsync(keys, 0, pixels * sizeof *keys, queue);
  if (faces) draw_faces<<<blocks(32 * faces), kThreads, 0, queue>>>(task, keys);
  resolve_pixels<<<blocks(pixels), kThreads, 0, queue>>>(task, keys);
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace headsplat
