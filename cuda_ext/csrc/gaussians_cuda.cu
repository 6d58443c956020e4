// Gaussians on CUDA: drawing the tiles' lists, and the derivative. The design stands in
// gaussians_cuda.cuh.

#include "gaussians_cuda.cuh"

namespace headsplat {
namespace {

constexpr int kDrawWarps = kTile * kTile / 32;
constexpr int kCells = kTile * kStrip / 32;  // of a strip
constexpr int kUndrawWarps = 2;

__global__ void __launch_bounds__(32 * kDrawWarps)
    draw_tiles(GaussianTask task, Lists lists, Images out) {
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
    undraw_strips(GaussianTask task, Lists lists, ImageGradients in, PixelSums* slots) {
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

}  // namespace

const char* draw_gaussians_cuda(const GaussianTask& task, const Lists& lists, const Images& out,
                                void* stream) {
  if (task.batch == 0) return nullptr;
  dim3 per_tile(task.tiles_x() * task.tiles_y(), task.batch);
  draw_tiles<<<per_tile, 32 * kDrawWarps, 0, static_cast<cudaStream_t>(stream)>>>(task, lists, out);
  return last_error();
}

const char* rasterize_gaussians_backward_cuda(const GaussianTask& task, const Lists& lists,
                                              const ImageGradients& in, PixelSums* slots,
                                              CameraGradient* cameras, const Gradients& out,
                                              void* stream) {
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (task.batch == 0) return nullptr;
  int blocks = (task.count + kFinishThreads - 1) / kFinishThreads;
  if (task.count) {
    int tiles = task.tiles_x() * task.tiles_y();
    dim3 per_strip((2 * tiles + kUndrawWarps - 1) / kUndrawWarps, task.batch);
    undraw_strips<<<per_strip, 32 * kUndrawWarps, 0, queue>>>(task, lists, in, slots);
    finish_gaussians<<<dim3(blocks, task.batch), kFinishThreads, 0, queue>>>(task, lists, slots,
                                                                             cameras, out);
  }
  if (out.rotations) add_cameras<<<task.batch, 32, 0, queue>>>(blocks, cameras, out);
  return last_error();
}

}  // namespace headsplat
