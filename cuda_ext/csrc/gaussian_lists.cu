// Gaussians on CUDA: from parameters to depth-sorted tile lists. See gaussians_cuda.cuh for the
// design.

#include "gaussians_cuda.cuh"

namespace headsplat {
namespace {

constexpr int kThreads = 128;
constexpr int kSmallList = 1024, kLargeList = 8192;  // keys that fit each sort's shared memory
constexpr int kSmallThreads = 128, kLargeThreads = 1024;

__global__ void project_gaussians(GaussianTask task, Lists lists, Counters counters) {
  int index = blockIdx.x * kThreads + threadIdx.x, frame = blockIdx.y;
  bool mine = index < task.count;
  int64_t at = static_cast<int64_t>(frame) * task.count + index;
  int tiles = task.tiles_x() * task.tiles_y(), pairs = 0;
  Splat s = {};
  if (mine) {
    Gaussian g = task.gaussian(frame, index);
    Camera camera = task.camera(frame);
    Projection projection;
    if (!finite(g))
      atomicAdd(counters.need + 1, 1);
    else if (project(g, camera, projection))
      s = make_splat(g, camera, projection);
    store(lists.splats + at, s);
    Reach reach(s);
    pairs = reach.pairs();
    int32_t* counts = counters.tile_pairs + static_cast<int64_t>(frame) * tiles;
    reach.each_tile(task.tiles_x(), [&](int tile) { atomicAdd(counts + tile, 1); });
  }
  // One atomic per warp reserves the slots of its 32 Gaussians.
  int lane = threadIdx.x % 32, upto = pairs;
  for (int step = 1; step < 32; step *= 2) {
    int other = __shfl_up_sync(kAll, upto, step);
    if (lane >= step) upto += other;
  }
  int total = __shfl_sync(kAll, upto, 31), base = 0;
  if (lane == 31 && total) base = atomicAdd(counters.frame_pairs + frame, total);
  base = __shfl_sync(kAll, base, 31);
  if (mine) lists.first_slot[at] = base + upto - pairs;
}

__global__ void scan_tiles(int tiles, Lists lists, Counters counters) {
  __shared__ int sums[32];
  int frame = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int32_t* counts = counters.tile_pairs + static_cast<int64_t>(frame) * tiles;
  int32_t* starts = lists.tile_start + static_cast<int64_t>(frame) * (tiles + 1);
  int needed = counters.frame_pairs[frame];
  bool fits = needed <= lists.capacity;
  if (threadIdx.x == 0) atomicMax(counters.need, needed);
  int carry = 0;
  for (int first = 0; first <= tiles; first += blockDim.x) {
    int tile = first + threadIdx.x;
    int value = fits && tile < tiles ? counts[tile] : 0, upto = value;
    for (int step = 1; step < 32; step *= 2) {
      int other = __shfl_up_sync(kAll, upto, step);
      if (lane >= step) upto += other;
    }
    if (lane == 31) sums[warp] = upto;
    __syncthreads();
    int before = carry, all = carry;
    for (int i = 0; i < static_cast<int>(blockDim.x) / 32; ++i) {
      if (i < warp) before += sums[i];
      all += sums[i];
    }
    if (tile <= tiles) starts[tile] = before + upto - value;
    carry = all;
    __syncthreads();
  }
}

__global__ void fill_tiles(GaussianTask task, Lists lists, Counters counters,
                           unsigned long long* keys) {
  int index = blockIdx.x * kThreads + threadIdx.x, frame = blockIdx.y;
  if (index >= task.count || counters.frame_pairs[frame] > lists.capacity) return;
  Splat s = load(lists.splats + static_cast<int64_t>(frame) * task.count + index);
  int tiles = task.tiles_x() * task.tiles_y();
  const int32_t* starts = lists.tile_start + static_cast<int64_t>(frame) * (tiles + 1);
  int32_t* left = counters.tile_pairs + static_cast<int64_t>(frame) * tiles;
  keys += static_cast<int64_t>(frame) * lists.capacity;
  // Positive floats have the order of their bits.
  unsigned long long key =
      static_cast<unsigned long long>(__float_as_uint(s.depth)) << 32 | static_cast<unsigned>(index);
  Reach(s).each_tile(task.tiles_x(), [&](int tile) {
    keys[starts[tile] + atomicSub(left + tile, 1) - 1] = key;
  });
}

__device__ void order(unsigned long long* keys, int low, int high, int count) {
  if (high >= count || keys[low] <= keys[high]) return;
  unsigned long long held = keys[low];
  keys[low] = keys[high];
  keys[high] = held;
}

// Bitonic sort in the form that always puts the smaller key first. Missing keys at the end then act
// as infinity and need not exist, so any count works.
__device__ void sort_keys(unsigned long long* keys, int count) {
  int padded = 1;
  while (padded < count) padded *= 2;
  for (int half = 1; half < padded; half *= 2) {
    for (int i = threadIdx.x; i < padded / 2; i += blockDim.x) {
      int offset = i & (half - 1), base = 2 * (i - offset);
      order(keys, base + offset, base + 2 * half - 1 - offset, count);
    }
    __syncthreads();
    for (int stride = half / 2; stride > 0; stride /= 2) {
      for (int i = threadIdx.x; i < padded / 2; i += blockDim.x) {
        int offset = i & (stride - 1), base = 2 * (i - offset);
        order(keys, base + offset, base + offset + stride, count);
      }
      __syncthreads();
    }
  }
}

// Sorts one tile's keys in `held`, or in place if it is null, and writes the list.
__device__ void sort_list(const Lists& lists, unsigned long long* keys, int64_t frame, int start,
                          int count, unsigned long long* held) {
  keys += frame * lists.capacity + start;
  if (held) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) held[i] = keys[i];
    keys = held;
  }
  __syncthreads();
  sort_keys(keys, count);
  int32_t* list = lists.list + frame * lists.capacity + start;
  for (int i = threadIdx.x; i < count; i += blockDim.x) list[i] = static_cast<int32_t>(keys[i]);
  __syncthreads();
}

__global__ void __launch_bounds__(kSmallThreads)
    sort_small(int tiles, Lists lists, unsigned long long* keys) {
  __shared__ unsigned long long held[kSmallList];
  int64_t frame = blockIdx.y;
  const int32_t* starts = lists.tile_start + frame * (tiles + 1);
  int start = starts[blockIdx.x], count = starts[blockIdx.x + 1] - start;
  if (count <= kSmallList) sort_list(lists, keys, frame, start, count, held);
}

// A few blocks per frame search for the long lists, which are rare, and share them.
__global__ void __launch_bounds__(kLargeThreads)
    sort_large(int tiles, Lists lists, unsigned long long* keys) {
  extern __shared__ unsigned long long held[];
  __shared__ int found[kLargeThreads], number;
  int64_t frame = blockIdx.y;
  const int32_t* starts = lists.tile_start + frame * (tiles + 1);
  for (int first = blockIdx.x; first < tiles; first += gridDim.x * kLargeThreads) {
    if (threadIdx.x == 0) number = 0;
    __syncthreads();
    int tile = first + threadIdx.x * gridDim.x;
    if (tile < tiles && starts[tile + 1] - starts[tile] > kSmallList)
      found[atomicAdd(&number, 1)] = tile;
    __syncthreads();
    for (int i = 0; i < number; ++i) {
      int start = starts[found[i]], count = starts[found[i] + 1] - start;
      sort_list(lists, keys, frame, start, count, count <= kLargeList ? held : nullptr);
    }
    __syncthreads();
  }
}

dim3 per_gaussian(const GaussianTask& task) {
  return dim3((task.count + kThreads - 1) / kThreads, task.batch);
}

}  // namespace

const char* count_pairs_cuda(const GaussianTask& task, const Lists& lists, const Counters& counters,
                             void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  int64_t tiles = static_cast<int64_t>(task.tiles_x()) * task.tiles_y();
  // The counters are contiguous, `need` first.
  cudaMemsetAsync(counters.need, 0, 4 * (2 + task.batch * (1 + tiles)), queue);
  if (task.batch && task.count)
    project_gaussians<<<per_gaussian(task), kThreads, 0, queue>>>(task, lists, counters);
  return last_error();
}

const char* fill_lists_cuda(const GaussianTask& task, const Lists& lists, const Counters& counters,
                            unsigned long long* keys, void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  int tiles = task.tiles_x() * task.tiles_y();
  if (task.batch == 0) return nullptr;
  scan_tiles<<<task.batch, 1024, 0, queue>>>(tiles, lists, counters);
  if (task.count) {
    fill_tiles<<<per_gaussian(task), kThreads, 0, queue>>>(task, lists, counters, keys);
    sort_small<<<dim3(tiles, task.batch), kSmallThreads, 0, queue>>>(tiles, lists, keys);
    if (lists.capacity > kSmallList) {
      constexpr int bytes = kLargeList * sizeof *keys;
      cudaFuncSetAttribute(sort_large, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
      dim3 few(tiles < 32 ? tiles : 32, task.batch);
      sort_large<<<few, kLargeThreads, bytes, queue>>>(tiles, lists, keys);
    }
  }
  return last_error();
}

}  // namespace headsplat
