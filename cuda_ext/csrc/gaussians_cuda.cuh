// Gaussians on CUDA: the design, and declarations that its kernels share.
//
// Forward, for all frames at once (gaussian_lists.cu up to the sort, gaussians_cuda.cu after):
//   project_gaussians  one thread per Gaussian: its Splat (gaussians.h), the count of every 16x16
//                      tile it may reach, and a range of slots, one per 16x8 strip it may reach
//   scan_tiles         one block per frame: start of each tile's list; stores the required capacity
//   fill_tiles         one thread per Gaussian: (depth, index) keys into the lists, in any order
//   sort_small, _large one block per tile: sorts its keys. The order is total, so the order of
//                      insertion does not matter. Rare long lists get larger blocks.
//   draw_tiles         one warp per cell of 8x4 pixels, eight cells per tile
// Backward:
//   undraw_strips      one warp per strip (half a tile), from the back of the tile's list; a lane
//                      handles one pixel of each of the strip's four cells. The nine sums of a
//                      Gaussian over the strip's pixels (PixelSums) go to that pair's slot.
//   finish_gaussians   one thread per Gaussian: adds its slots in order and differentiates the rest
//   add_cameras        one block per frame
//
// Most Gaussians cover only a part of a tile. So each warp takes 32 Gaussians of the list at a
// time, each lane decides for one of them which cells it may reach (`reaches`, exact except for a
// margin), and the warp then visits only pairs that count. The two most expensive kernels have no
// barriers.
//
// There are no atomic float additions, and every sum has a fixed order: results are bitwise
// reproducible. The position of a Gaussian's range of slots differs between runs, but not its
// content.
//
// Nothing synchronizes with the host. The lists have a fixed capacity. A frame that needs more is
// left empty, the required capacity is stored in `Counters::need`, and the caller checks it later.
// empty, the need is noted in `Counters::need`, and the caller looks at it when it likes.

#pragma once

#include <cuda_runtime.h>

#include "gaussian_tasks.h"

namespace headsplat {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kStrip = kTile / 2;
constexpr int kCellX = 8, kCellY = 4;  // pixels; two cells per row
static_assert(sizeof(Splat) == 48);

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

inline __device__ Splat load(const Splat* from) {
  Splat s;
  const float4* source = reinterpret_cast<const float4*>(from);
  float4 words[3] = {__ldg(source), __ldg(source + 1), __ldg(source + 2)};
  memcpy(&s, words, sizeof s);
  return s;
}

inline __device__ void store(Splat* to, const Splat& s) {
  float4 words[3];
  memcpy(words, &s, sizeof s);
  for (int i = 0; i < 3; ++i) reinterpret_cast<float4*>(to)[i] = words[i];
}

inline __device__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// o times the Gaussian, not yet clamped to 0.99; forward and backward must agree on it to the bit.
inline __device__ float raw_alpha(const Splat& s, float dx, float dy, float* r) {
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

inline const char* last_error() {
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace headsplat
