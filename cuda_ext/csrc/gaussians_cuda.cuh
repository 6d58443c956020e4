// Gaussians on CUDA: the design, and what its kernels share.
//
// Forward, for all frames at once (gaussian_lists.cu up to the sort, gaussians_cuda.cu after):
//   project_gaussians  a thread a Gaussian: its Splat (gaussians.h), the count of every 16x16 tile
//                      it may reach, and a run of slots, one for each 16x8 strip it may reach
//   scan_tiles         a block a frame: where each tile's list begins; notes what was needed
//   fill_tiles         a thread a Gaussian: (depth, index) keys into the lists, in any order
//   sort_small, _large a block a tile: sorts its keys; the order is total, so it does not matter
//                      in which order they came. Rare long lists get larger blocks.
//   draw_tiles         a warp a cell of 8x4 pixels, eight cells a tile
// Backward:
//   undraw_strips      a warp a strip, half a tile, from the back of the tile's list; a lane holds
//                      one pixel of each of the strip's four cells. The nine sums of a
//                      Gaussian over the strip's pixels (PixelSums) go to that pair's slot.
//   finish_gaussians   a thread a Gaussian: adds its slots in order and differentiates the rest
//   add_cameras        a block a frame
//
// Most Gaussians touch only a part of a tile. So each warp takes 32 Gaussians of the list at a
// time, each lane decides for one of them which cells it may reach (`reaches`, exact but for a
// margin), and the warp then visits only pairs that count. Warps never wait for each other: there
// is no barrier in the two kernels that cost the most.
//
// Nothing adds floats atomically, and every sum has a fixed order: results are the same bits in
// every run. Where a Gaussian's run of slots lies differs between runs, but not what is in it.
//
// Nothing waits for the host. The lists have a fixed capacity; a frame that needs more is left
// empty, the need is noted in `Counters::need`, and the caller looks at it when it likes.

#pragma once

#include <cuda_runtime.h>

#include "gaussian_tasks.h"

namespace headsplat {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kStrip = kTile / 2;
constexpr int kCellX = 8, kCellY = 4;  // pixels; cells lie two a row
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

// o times the Gaussian, not yet held at 0.99; forward and backward must agree on it to the bit.
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
