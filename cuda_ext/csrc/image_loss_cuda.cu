// The photometric loss on CUDA: a warp takes a run of 128 pixels, a lane four of them.
//
// A lane's share, 48 bytes of image and 20 of planes, is no multiple of what a warp loads well at
// once. So neighboring lanes copy neighboring words into shared memory and each lane then reads
// its own share from there; steps of 48 and of 20 bytes meet every bank once. The gradient goes the
// same way back. Where the sizes put every run on a word's border, words are 16 bytes of image and
// 4 of planes; elsewhere (widths that are no multiple of 4) they are one float and one byte. Only a
// warp's own lanes share its copy: nothing but the sum needs the block.

#include <cuda_runtime.h>

#include "image_loss.h"

namespace headsplat {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kEach = 4;           // pixels a lane
constexpr int kSize = 32 * kEach;  // pixels a run
constexpr unsigned kAll = 0xffffffffu;

template <bool kAligned>
struct Words {
  using Image = float4;
  using Planes = uint32_t;
};
template <>
struct Words<false> {
  using Image = float;
  using Planes = uint8_t;
};

// At most `kMost` bytes on their way between global and shared memory, through registers: all loads
// are under way before the first is waited for.
template <typename Word, int kMost>
struct Transfer {
  static constexpr int kSteps = kMost / static_cast<int>(32 * sizeof(Word));
  static_assert(kSteps * 32 * sizeof(Word) == kMost);
  Word held[kSteps];

  __device__ void load(const void* from, int bytes, int lane) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      if ((lane + 32 * i) * static_cast<int>(sizeof(Word)) < bytes)
        held[i] = static_cast<const Word*>(from)[lane + 32 * i];
  }
  __device__ void store(void* to, int bytes, int lane) const {
#pragma unroll
    for (int i = 0; i < kSteps; ++i)
      if ((lane + 32 * i) * static_cast<int>(sizeof(Word)) < bytes)
        static_cast<Word*>(to)[lane + 32 * i] = held[i];
  }
};

template <int kReduction>
struct Shared {
  static constexpr int kRowBytes = kPlanes * kReduction * kSize;
  alignas(16) float rendered[3 * kSize];
  alignas(16) uint8_t planes[kReduction][kRowBytes];
};

template <bool kAligned>
using ImageTransfer = Transfer<typename Words<kAligned>::Image, 12 * kSize>;

// Brings a run into the warp's shared memory.
template <int kReduction, bool kAligned>
__device__ void fetch(const ImageLossTask& task, int frame, const Run<kSize>& run, int lane,
                      Shared<kReduction>& shared) {
  constexpr int kRowBytes = Shared<kReduction>::kRowBytes;
  ImageTransfer<kAligned> rendered;
  Transfer<typename Words<kAligned>::Planes, kRowBytes> planes[kReduction];
  int row_bytes = kPlanes * kReduction * run.count;
  rendered.load(task.rendered + 3 * (frame * task.pixels() + run.pixel), 12 * run.count, lane);
#pragma unroll
  for (int row = 0; row < kReduction; ++row)
    planes[row].load(run.bytes + row * kPlanes * task.width, row_bytes, lane);
  rendered.store(shared.rendered, 12 * run.count, lane);
#pragma unroll
  for (int row = 0; row < kReduction; ++row)
    planes[row].store(shared.planes[row], row_bytes, lane);
  __syncwarp();
}

__device__ int64_t clamped_row(const ImageLossTask& task, int frame) {
  int64_t row = task.rows[frame];
  return row < 0 ? 0 : (row < task.frames ? row : task.frames - 1);
}

// A lane's areas, from shared memory.
template <int kReduction>
__device__ void areas_of(const Shared<kReduction>& shared, int lane, Area areas[kEach]) {
  constexpr int kWords = kPlanes * kReduction * kEach / 4;
#pragma unroll
  for (int row = 0; row < kReduction; ++row) {
    uint32_t words[kWords];
    const uint32_t* own = reinterpret_cast<const uint32_t*>(shared.planes[row]) + kWords * lane;
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = own[i];
    auto byte = [&](int i) { return static_cast<int>(words[i / 4] >> (8 * (i % 4)) & 255); };
#pragma unroll
    for (int i = 0; i < kEach * kReduction; ++i)
      areas[i / kReduction].add(byte(kPlanes * i), byte(kPlanes * i + 1), byte(kPlanes * i + 2),
                                byte(kPlanes * i + 3), byte(kPlanes * i + 4));
  }
}

__device__ float block_sum(float value, float sums[kWarps]) {  // in the first thread
  for (int step = 16; step; step /= 2) value += __shfl_xor_sync(kAll, value, step);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += sums[warp];
  return sum;
}

template <int kReduction, bool kAligned>
__global__ void __launch_bounds__(kThreads) charge_runs(ImageLossTask task, float* parts) {
  task.reduction = kReduction;  // a constant: half of the arithmetic on sizes folds
  __shared__ Shared<kReduction> shared[kWarps];
  __shared__ float sums[kWarps];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, frame = blockIdx.y;
  int index = blockIdx.x * kWarps + warp;
  float sum = 0;
  if (index < Run<kSize>::per_frame(task)) {
    Run<kSize> run(task, clamped_row(task, frame), index);
    fetch<kReduction, kAligned>(task, frame, run, lane, shared[warp]);
    Mixer mixer(task, frame, 1);
    Area areas[kEach];
    areas_of(shared[warp], lane, areas);
    const float* rendered = shared[warp].rendered + 3 * kEach * lane;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      float charge = 0;
#pragma unroll
      for (int k = 0; k < 3; ++k) charge += huber(rendered[3 * i + k] - mixer.target(areas[i], k));
      if (kEach * lane + i < run.count) sum += mixer.weight(areas[i]) * charge;
    }
  }
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) parts[static_cast<int64_t>(frame) * gridDim.x + blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_parts(ImageLossTask task, const float* parts, int count, float* loss) {
  __shared__ float sums[kWarps];
  parts += static_cast<int64_t>(blockIdx.x) * count;
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += parts[i];
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) loss[blockIdx.x] = sum / task.values();
}

template <int kReduction, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    slope_runs(ImageLossTask task, const float* d_loss, float* d_image) {
  task.reduction = kReduction;  // a constant: half of the arithmetic on sizes folds
  __shared__ Shared<kReduction> shared[kWarps];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, frame = blockIdx.y;
  int index = blockIdx.x * kWarps + warp;
  if (index >= Run<kSize>::per_frame(task)) return;
  Run<kSize> run(task, clamped_row(task, frame), index);
  fetch<kReduction, kAligned>(task, frame, run, lane, shared[warp]);
  Mixer mixer(task, frame, d_loss[frame] / task.values());
  Area areas[kEach];
  areas_of(shared[warp], lane, areas);
  float* rendered = shared[warp].rendered + 3 * kEach * lane;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    float weight = mixer.weight(areas[i]);
#pragma unroll
    for (int k = 0; k < 3; ++k)
      rendered[3 * i + k] = huber_slope(rendered[3 * i + k] - mixer.target(areas[i], k)) * weight;
  }
  __syncwarp();
  ImageTransfer<kAligned> out;
  out.load(shared[warp].rendered, 12 * run.count, lane);
  out.store(d_image + 3 * (frame * task.pixels() + run.pixel), 12 * run.count, lane);
}

// Whether every run of every frame begins and ends on a word's border.
bool aligned(const ImageLossTask& task, const float* d_image) {
  auto on = [](const void* pointer, uintptr_t bytes) {
    return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
  };
  return task.length() % 4 == 0 && (task.reduction == 1 || task.width % 4 == 0) &&
         on(task.rendered, 16) && on(d_image, 16) && on(task.images, 4);
}

dim3 grid(const ImageLossTask& task) {
  return dim3(static_cast<unsigned>(image_loss_parts(task)), static_cast<unsigned>(task.batch));
}

const char* last_error() {
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

int64_t image_loss_parts(const ImageLossTask& task) {
  return (Run<kSize>::per_frame(task) + kWarps - 1) / kWarps;
}

const char* image_loss_cuda(const ImageLossTask& task, float* parts, float* loss,
                              void* stream) {
  if (task.batch == 0) return nullptr;
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  bool words = aligned(task, nullptr);
  auto kernel = task.reduction == 1 ? (words ? charge_runs<1, true> : charge_runs<1, false>)
                                    : (words ? charge_runs<2, true> : charge_runs<2, false>);
  kernel<<<grid(task), kThreads, 0, queue>>>(task, parts);
  add_parts<<<static_cast<unsigned>(task.batch), kThreads, 0, queue>>>(
      task, parts, static_cast<int>(image_loss_parts(task)), loss);
  return last_error();
}

const char* image_loss_backward_cuda(const ImageLossTask& task, const float* d_loss,
                                       float* d_image, void* stream) {
  if (task.batch == 0) return nullptr;
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  bool words = aligned(task, d_image);
  auto kernel = task.reduction == 1 ? (words ? slope_runs<1, true> : slope_runs<1, false>)
                                    : (words ? slope_runs<2, true> : slope_runs<2, false>);
  kernel<<<grid(task), kThreads, 0, queue>>>(task, d_loss, d_image);
  return last_error();
}

}  // namespace headsplat
