// Gaussians on CUDA.
//
// Forward, for all frames at once:
//   project_gaussians  a thread a Gaussian: its Splat (gaussians.h), the count of every 16x16 tile
//                      it may reach, and a run of slots, one for each 16x8 strip it may reach
//   scan_tiles         a block a frame: where each tile's list begins; notes what was needed
//   fill_tiles         a thread a Gaussian: (depth, index) keys into the lists, in any order
//   sort_tiles         a block a tile: sorts its keys; the order is total, so it does not matter
//                      in which order they came
//   draw_tiles         a warp a cell of 8x4 pixels, eight cells a tile
// Backward:
//   undraw_strips      a warp a strip, half a tile, from the back of the tile's list; a lane holds
//                      one pixel of each of the strip's four cells. What the strip knows of a
//                      Gaussian, nine sums over its pixels (PixelSums), goes to that pair's slot.
//   finish_gaussians   a thread a Gaussian: adds its slots in order and differentiates the rest
//   add_cameras        a block a frame
//
// Most Gaussians touch only a part of a tile. So each warp takes 32 Gaussians
// of the list at a time, each lane decides for one of them which cells it may reach (`reaches`,
// exact but for a margin), and the warp then visits only pairs that count. Warps never wait for
// each other: there is no barrier in the two kernels that cost the most.
//
// Nothing adds floats atomically, and every sum has a fixed order: results are the same bits in
// every run. Where a Gaussian's run of slots lies differs between runs, but not what is in it.
//
// Nothing waits for the host. The lists have a fixed capacity; a frame that needs more is left
// empty, the need is noted in `Counters::need`, and the caller looks at it when it likes.

#include <cuda_runtime.h>

#include "gaussians.h"

namespace headsplat {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kThreads = 128;
constexpr int kStrip = kTile / 2;
constexpr int kCellX = 8, kCellY = 4;  // pixels; cells lie two a row
constexpr int kDrawWarps = kTile * kTile / 32;
constexpr int kCells = kTile * kStrip / 32;  // of a strip
constexpr int kUndrawWarps = 2;
constexpr int kSmallList = 1024, kLargeList = 8192;  // keys that fit each sort's shared memory
constexpr int kSmallThreads = 128, kLargeThreads = 1024;
static_assert(sizeof(Splat) == 48);
static_assert(kThreads == kFinishThreads);

// The strips a splat may reach: columns of tiles, rows of strips, half open.
struct Reach {
  int x0, x1, y0, y1;

  __device__ explicit Reach(const Splat& s)
      : x0(s.x0 / kTile), x1((s.x1 + kTile - 1) / kTile), y0(s.y0 / kStrip),
        y1((s.y1 + kStrip - 1) / kStrip) {
    if (!s.visible()) x1 = x0, y1 = y0;
  }
  __device__ int pairs() const { return (x1 - x0) * (y1 - y0); }
  __device__ bool holds(int x, int y) const { return x >= x0 && x < x1 && y >= y0 && y < y1; }
  __device__ int pair(int x, int y) const { return (y - y0) * (x1 - x0) + x - x0; }
  template <typename Visit>
  __device__ void each_tile(int columns, Visit visit) const {
    for (int y = y0 / 2; y < (y1 + 1) / 2; ++y)
      for (int x = x0; x < x1; ++x) visit(y * columns + x);
  }
};

__device__ Splat load(const Splat* from) {
  Splat s;
  const float4* source = reinterpret_cast<const float4*>(from);
  float4 words[3] = {__ldg(source), __ldg(source + 1), __ldg(source + 2)};
  memcpy(&s, words, sizeof s);
  return s;
}

__device__ void store(Splat* to, const Splat& s) {
  float4 words[3];
  memcpy(words, &s, sizeof s);
  for (int i = 0; i < 3; ++i) reinterpret_cast<float4*>(to)[i] = words[i];
}

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
  // One atomic a warp hands out the slots of its 32 Gaussians.
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
  // Positive floats sort as their bits do.
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

// Bitonic sort in the form that always puts the smaller key first: missing keys at the end then
// stand for infinity and need not exist, so any count will do.
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

// Sorts one tile's keys in `held`, or where they are when it is null, and writes the list.
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

// A few blocks a frame look for the long lists, which are rare, and share them.
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

__device__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// o times the Gaussian, not yet held at 0.99; forward and backward must agree on it to the bit.
__device__ float raw_alpha(const Splat& s, float dx, float dy, float* r) {
  float p = __fmul_rn(s.k1, dx);
  *r = __fmaf_rn(s.k3, dy, __fmul_rn(s.k2, dx));
  return __fmul_rn(s.opacity, exp2_fast(-__fmaf_rn(p, p, __fmul_rn(*r, *r))));
}

struct Cell {
  float x0, y0;  // its first pixel

  __device__ Cell(int x, int y, int cell)
      : x0(x + cell % 2 * kCellX), y0(y + cell / 2 * kCellY) {}
  __device__ bool touched(const Splat& s, float limit) const {
    return s.x0 < x0 + kCellX && s.x1 > x0 && s.y0 < y0 + kCellY && s.y1 > y0 &&
           reaches(s, limit, x0, x0 + (kCellX - 1), y0, y0 + (kCellY - 1));
  }
};

__global__ void __launch_bounds__(32 * kDrawWarps)
    draw_tiles(GaussianTask task, Lists lists, Pictures out) {
  __shared__ Splat brushes[kDrawWarps][32];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, frame = blockIdx.y;
  int columns = task.tiles_x(), tiles = columns * task.tiles_y(), tile = blockIdx.x;
  Cell cell(tile % columns * kTile, tile / columns * kTile, warp);
  int x = static_cast<int>(cell.x0) + lane % kCellX, y = static_cast<int>(cell.y0) + lane / kCellX;
  bool inside = x < task.width && y < task.height;
  const int32_t* starts = lists.tile_start + static_cast<int64_t>(frame) * (tiles + 1) + tile;
  int count = starts[1] - starts[0];
  const int32_t* list = lists.list + static_cast<int64_t>(frame) * lists.capacity + starts[0];
  const Splat* splats = lists.splats + static_cast<int64_t>(frame) * task.count;

  float light = 1, color[3] = {0, 0, 0};
  int reached = 0;
  bool live = inside;
  for (int first = 0; first < count && __any_sync(kAll, live); first += 32) {
    bool touched = false;
    Splat s;
    if (first + lane < count) {
      s = load(splats + list[first + lane]);
      touched = cell.touched(s, exponent_limit(s.opacity));
    }
    unsigned hits = __ballot_sync(kAll, touched);
    __syncwarp();
    if (touched) {
      s.depth = __int_as_float(first + lane + 1);  // what to note as reached
      brushes[warp][__popc(hits & ((1u << lane) - 1))] = s;
    }
    __syncwarp();
    for (int i = 0; i < __popc(hits); ++i) {
      const Splat& brush = brushes[warp][i];
      float r, alpha = fminf(raw_alpha(brush, x - brush.x, y - brush.y, &r), kAlphaMax);
      if (!live || alpha < kAlphaMin) continue;
      float after = light * (1 - alpha);
      if (after < kStop) {
        live = false;
        continue;
      }
      float weight = alpha * light;
      for (int k = 0; k < 3; ++k) color[k] = fmaf(weight, brush.color[k], color[k]);
      light = after;
      reached = __float_as_int(brush.depth);
    }
  }
  if (!inside) return;
  int64_t pixel = (static_cast<int64_t>(frame) * task.height + y) * task.width + x;
  for (int k = 0; k < 3; ++k)
    out.color[3 * pixel + k] = color[k] + light * task.backgrounds[3 * frame + k];
  out.alpha[pixel] = 1 - light;
  out.transmittance[pixel] = light;
  out.reached[pixel] = reached;
}

// The warp's sum of each of nine values. Lanes first share out the first eight, each exchange
// halving how many a lane still carries: 14 shuffles instead of 45. Every fourth lane ends with
// one of the eight, at index lane / 4; all lanes end with the ninth.
__device__ void add_up(float value[kSums], int lane, float* one, float* ninth) {
  for (int half = 4, step = 16; half; half /= 2, step /= 2) {
    bool upper = lane & step;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k >= half) break;
      float keep = upper ? value[k + half] : value[k], give = upper ? value[k] : value[k + half];
      value[k] = keep + __shfl_xor_sync(kAll, give, step);
    }
  }
  *one = value[0];
  for (int step = 2; step; step /= 2) *one += __shfl_xor_sync(kAll, *one, step);
  *ninth = value[8];
  for (int step = 16; step; step /= 2) *ninth += __shfl_xor_sync(kAll, *ninth, step);
}

__global__ void __launch_bounds__(32 * kUndrawWarps)
    undraw_strips(GaussianTask task, Lists lists, PictureGradients in, PixelSums* slots) {
  __shared__ Splat brushes[kUndrawWarps][32];
  __shared__ int brush_slots[kUndrawWarps][32];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, frame = blockIdx.y;
  int columns = task.tiles_x(), tiles = columns * task.tiles_y();
  int tile = (blockIdx.x * kUndrawWarps + warp) / 2, half = (blockIdx.x * kUndrawWarps + warp) % 2;
  if (tile >= tiles) return;
  int tile_x = tile % columns, strip_y = 2 * (tile / columns) + half;
  const int32_t* starts = lists.tile_start + static_cast<int64_t>(frame) * (tiles + 1) + tile;
  int count = starts[1] - starts[0];
  if (count == 0) return;
  const int32_t* list = lists.list + static_cast<int64_t>(frame) * lists.capacity + starts[0];
  const Splat* splats = lists.splats + static_cast<int64_t>(frame) * task.count;
  const int32_t* first_slot = lists.first_slot + static_cast<int64_t>(frame) * task.count;
  slots += static_cast<int64_t>(frame) * lists.capacity;

  // `behind`: what is behind the current splat, as seen in the loss.
  float light[kCells], behind[kCells], d_color[kCells][3];
  int reached[kCells], farthest[kCells];
  float px = tile_x * kTile + lane % kCellX, py = strip_y * kStrip + lane / kCellX;
#pragma unroll
  for (int c = 0; c < kCells; ++c) {
    int x = tile_x * kTile + c % 2 * kCellX + lane % kCellX;
    int y = strip_y * kStrip + c / 2 * kCellY + lane / kCellX;
    light[c] = 1;
    behind[c] = 0;
    reached[c] = 0;
    for (int k = 0; k < 3; ++k) d_color[c][k] = 0;
    if (x < task.width && y < task.height) {
      int64_t pixel = (static_cast<int64_t>(frame) * task.height + y) * task.width + x;
      float seen = in.alpha ? -in.alpha[pixel] : 0;
      for (int k = 0; k < 3; ++k) {
        d_color[c][k] = in.color[3 * pixel + k];
        seen = fmaf(task.backgrounds[3 * frame + k], d_color[c][k], seen);
      }
      light[c] = in.transmittance[pixel];
      behind[c] = light[c] * seen;
      reached[c] = in.reached[pixel];
    }
    farthest[c] = reached[c];
    for (int step = 16; step; step /= 2)
      farthest[c] = max(farthest[c], __shfl_xor_sync(kAll, farthest[c], step));
  }

  for (int last = (count + 31) / 32 * 32 - 32; last >= 0; last -= 32) {
    int position = last + lane;
    unsigned cells = 0;
    __syncwarp();
    if (position < count) {
      int index = list[position];
      Splat s = load(splats + index);
      Reach reach(s);
      if (reach.holds(tile_x, strip_y)) {
        int slot = first_slot[index] + reach.pair(tile_x, strip_y);
        float limit = exponent_limit(s.opacity);
#pragma unroll
        for (int c = 0; c < kCells; ++c) {
          Cell cell(tile_x * kTile, strip_y * kStrip, c);
          if (position < farthest[c] && cell.touched(s, limit)) cells |= 1u << c;
        }
        if (cells == 0) slots[slot] = PixelSums{};
        brush_slots[warp][lane] = slot;
      }
      brushes[warp][lane] = s;
    }
    __syncwarp();
    for (unsigned hits = __ballot_sync(kAll, cells != 0); hits;) {
      int i = 31 - __clz(hits);
      hits ^= 1u << i;
      unsigned visit = __shfl_sync(kAll, cells, i);
      const Splat& s = brushes[warp][i];
      float sum[kSums] = {};
#pragma unroll
      for (int c = 0; c < kCells; ++c) {
        if (!(visit >> c & 1)) continue;
        float dx = px + c % 2 * kCellX - s.x, dy = py + c / 2 * kCellY - s.y, r;
        float raw = raw_alpha(s, dx, dy, &r), alpha = fminf(raw, kAlphaMax);
        if (last + i >= reached[c] || alpha < kAlphaMin) continue;
        float inverse = __fdividef(1.0f, 1 - alpha);
        float before = light[c] * inverse, weight = alpha * before, shown = 0;
#pragma unroll
        for (int k = 0; k < 3; ++k) {
          shown = fmaf(s.color[k], d_color[c][k], shown);
          sum[6 + k] = fmaf(weight, d_color[c][k], sum[6 + k]);
        }
        float d_alpha = fmaf(before, shown, -behind[c] * inverse);
        behind[c] = fmaf(weight, shown, behind[c]);
        light[c] = before;
        float h = raw < kAlphaMax ? d_alpha * raw : 0, hx = h * dx, hr = h * r;
        sum[0] += h;
        sum[1] += hx;
        sum[2] = fmaf(hx, dx, sum[2]);
        sum[3] += hr;
        sum[4] = fmaf(hr, dx, sum[4]);
        sum[5] = fmaf(hr, dy, sum[5]);
      }
      float one, ninth;
      add_up(sum, lane, &one, &ninth);
      float* slot = reinterpret_cast<float*>(slots + brush_slots[warp][i]);
      if (lane % 4 == 0) slot[lane / 4] = one;
      if (lane == 1) slot[8] = ninth;
    }
  }
}

__global__ void __launch_bounds__(kFinishThreads)
    finish_gaussians(GaussianTask task, Lists lists, const PixelSums* slots, CameraGradient* cameras,
                     Gradients out) {
  int index = blockIdx.x * kFinishThreads + threadIdx.x, frame = blockIdx.y;
  int64_t at = static_cast<int64_t>(frame) * task.count + index;
  int tiles = task.tiles_x() * task.tiles_y();
  CameraGradient camera_gradient = {};
  if (index < task.count) {
    GaussianGradient gradient = {};
    Splat s = load(lists.splats + at);
    Gaussian g = task.gaussian(frame, index);
    Camera camera = task.camera(frame);
    Projection projection;
    // A frame that did not fit its capacity has no pairs, and so no sums.
    bool drawn = lists.tile_start[static_cast<int64_t>(frame + 1) * (tiles + 1) - 1] > 0;
    if (drawn && s.visible() && project(g, camera, projection)) {
      const float* from = reinterpret_cast<const float*>(
          slots + static_cast<int64_t>(frame) * lists.capacity + lists.first_slot[at]);
      float total[kSums] = {};
      for (int pairs = Reach(s).pairs(); pairs > 0; --pairs, from += kSums)
#pragma unroll
        for (int k = 0; k < kSums; ++k) total[k] += from[k];
      PixelSums sums;
      memcpy(&sums, total, sizeof sums);
      backward(g, camera, projection, s, sums, gradient, camera_gradient);
    }
    out.store(at, gradient);
  }
  if (cameras == nullptr) return;
  __shared__ float parts[kFinishThreads / 32][12];
  float* values = reinterpret_cast<float*>(&camera_gradient);
#pragma unroll
  for (int k = 0; k < 12; ++k) {
    float value = values[k];
    for (int step = 16; step; step /= 2) value += __shfl_xor_sync(kAll, value, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32][k] = value;
  }
  __syncthreads();
  if (threadIdx.x < 12) {
    float value = 0;
    for (int i = 0; i < kFinishThreads / 32; ++i) value += parts[i][threadIdx.x];
    int64_t block = static_cast<int64_t>(frame) * gridDim.x + blockIdx.x;
    reinterpret_cast<float*>(cameras + block)[threadIdx.x] = value;
  }
}

__global__ void add_cameras(int blocks, const CameraGradient* cameras, Gradients out) {
  int frame = blockIdx.x, k = threadIdx.x;
  if (k >= 12) return;
  double total = 0;
  for (int i = 0; i < blocks; ++i)
    total += reinterpret_cast<const float*>(cameras + static_cast<int64_t>(frame) * blocks + i)[k];
  float* to = k < 9 ? out.rotations + 9 * frame + k : out.translations + 3 * frame + k - 9;
  *to = static_cast<float>(total);
}

dim3 per_gaussian(const GaussianTask& task) {
  return dim3((task.count + kThreads - 1) / kThreads, task.batch);
}

const char* last_error() {
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

const char* count_pairs_cuda(const GaussianTask& task, const Lists& lists, const Counters& counters,
                             void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  int64_t tiles = static_cast<int64_t>(task.tiles_x()) * task.tiles_y();
  // The counters lie in one piece, `need` first.
  cudaMemsetAsync(counters.need, 0, 4 * (2 + task.batch * (1 + tiles)), queue);
  if (task.batch && task.count)
    project_gaussians<<<per_gaussian(task), kThreads, 0, queue>>>(task, lists, counters);
  return last_error();
}

const char* draw_gaussians_cuda(const GaussianTask& task, const Lists& lists,
                                const Counters& counters, unsigned long long* keys,
                                const Pictures& out, void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  int tiles = task.tiles_x() * task.tiles_y();
  if (task.batch == 0) return nullptr;
  scan_tiles<<<task.batch, 1024, 0, queue>>>(tiles, lists, counters);
  dim3 per_tile(tiles, task.batch);
  if (task.count) {
    fill_tiles<<<per_gaussian(task), kThreads, 0, queue>>>(task, lists, counters, keys);
    sort_small<<<per_tile, kSmallThreads, 0, queue>>>(tiles, lists, keys);
    if (lists.capacity > kSmallList) {
      constexpr int bytes = kLargeList * sizeof *keys;
      cudaFuncSetAttribute(sort_large, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
      dim3 few(tiles < 32 ? tiles : 32, task.batch);
      sort_large<<<few, kLargeThreads, bytes, queue>>>(tiles, lists, keys);
    }
  }
  draw_tiles<<<per_tile, 32 * kDrawWarps, 0, queue>>>(task, lists, out);
  return last_error();
}

const char* rasterize_gaussians_backward_cuda(const GaussianTask& task, const Lists& lists,
                                              const PictureGradients& in, PixelSums* slots,
                                              CameraGradient* cameras, const Gradients& out,
                                              void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (task.batch == 0) return nullptr;
  int blocks = (task.count + kFinishThreads - 1) / kFinishThreads;
  if (task.count) {
    int tiles = task.tiles_x() * task.tiles_y();
    dim3 per_strip((2 * tiles + kUndrawWarps - 1) / kUndrawWarps, task.batch);
    undraw_strips<<<per_strip, 32 * kUndrawWarps, 0, queue>>>(task, lists, in, slots);
    finish_gaussians<<<per_gaussian(task), kFinishThreads, 0, queue>>>(task, lists, slots, cameras,
                                                                       out);
  }
  if (out.rotations) add_cameras<<<task.batch, 32, 0, queue>>>(blocks, cameras, out);
  return last_error();
}

}  // namespace headsplat
