// Gaussians on the CPU.
//
// 1. Every Gaussian of every frame is projected to a Splat (gaussians.h).
// 2. A frame's visible splats are sorted by depth and appended, in that order, to the lists of the
//    16x16 tiles they may reach. An entry of a tile's list is one `Instance`.
// 3. Tiles are independent tasks. A row of a tile is one to four SIMD vectors; for each splat only
//    the vectors it may reach are visited, and a tile ends when all its pixels have stopped.
// 4. Backward visits the lists from the back, undoing the transmittance by division. A tile
//    computes nine sums over pixels per Gaussian (PixelSums) and writes them to the slot of that
//    instance. Slots of one Gaussian are contiguous, and a last pass adds them in a fixed order.
//    No two threads add to one address, so results are bitwise equal for any number of threads.
//
// Forward and backward evaluate alpha by the same function, without contraction: they agree on
// which pairs of pixel and Gaussian count.

#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <vector>

#include "gaussian_tasks.h"
#include "vec.h"

namespace headsplat {
namespace {

constexpr int kChunk = 256;     // Gaussians per task
constexpr int kCheckEvery = 8;  // splats between checks for unfinished rows
constexpr int kParts = kTile / kLanes;  // vectors per row

struct Instance {
  int32_t gaussian, slot;
};

struct Frame {
  Camera camera;
  std::vector<Splat> splats;
  std::vector<int32_t> first_slot;  // of each Gaussian, and the total at the end
  std::vector<int32_t> tile_start;  // into `list`, and its length at the end
  std::vector<Instance> list;
};

int tiles_of(const Splat& s) {
  if (!s.visible()) return 0;
  return ((s.x1 - 1) / kTile - s.x0 / kTile + 1) * ((s.y1 - 1) / kTile - s.y0 / kTile + 1);
}

// Indices of the visible splats by (depth, index): a radix sort, which keeps equals in order.
// Positive floats have the order of their bits.
std::vector<int32_t> depth_order(const std::vector<Splat>& splats) {
  struct Entry {
    uint32_t key;
    int32_t index;
  };
  std::vector<Entry> entries, other;
  for (size_t i = 0; i < splats.size(); ++i) {
    if (!splats[i].visible()) continue;
    uint32_t key;
    std::memcpy(&key, &splats[i].depth, sizeof key);
    entries.push_back({key, static_cast<int32_t>(i)});
  }
  other.resize(entries.size());
  for (int shift = 0; shift < 32; shift += 11) {
    uint32_t start[2049] = {};
    for (const Entry& e : entries) ++start[((e.key >> shift) & 2047) + 1];
    for (int i = 0; i < 2048; ++i) start[i + 1] += start[i];
    for (const Entry& e : entries) other[start[(e.key >> shift) & 2047]++] = e;
    entries.swap(other);
  }
  std::vector<int32_t> order(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) order[i] = entries[i].index;
  return order;
}

// Assigns every pair of splat and tile a slot; those of one splat are contiguous.
void number_slots(const GaussianTask& task, Frame& frame) {
  int64_t total = 0;
  frame.first_slot.resize(task.count + 1);
  for (int i = 0; i < task.count; ++i) {
    frame.first_slot[i] = static_cast<int32_t>(total);
    total += tiles_of(frame.splats[i]);
    if (total > std::numeric_limits<int32_t>::max())
      throw std::length_error("rasterize_gaussians: too many large Gaussians for this image size");
  }
  frame.first_slot[task.count] = static_cast<int32_t>(total);
  frame.list.resize(total);
}

// Fills the tiles' lists, each in depth order.
void deal(const GaussianTask& task, Frame& frame) {
  int columns = task.tiles_x(), tiles = columns * task.tiles_y();
  std::vector<int32_t> order = depth_order(frame.splats);
  auto each_tile = [&](auto visit) {
    for (int32_t index : order) {
      const Splat& s = frame.splats[index];
      int32_t slot = frame.first_slot[index];
      for (int y = s.y0 / kTile; y <= (s.y1 - 1) / kTile; ++y)
        for (int x = s.x0 / kTile; x <= (s.x1 - 1) / kTile; ++x)
          visit(y * columns + x, Instance{index, slot++});
    }
  };
  frame.tile_start.assign(tiles + 1, 0);
  each_tile([&](int tile, Instance) { ++frame.tile_start[tile + 1]; });
  for (int i = 0; i < tiles; ++i) frame.tile_start[i + 1] += frame.tile_start[i];
  std::vector<int32_t> next(frame.tile_start.begin(), frame.tile_start.end() - 1);
  each_tile([&](int tile, Instance instance) { frame.list[next[tile]++] = instance; });
}

// Steps 1 and 2. `bad` becomes the first Gaussian that is not finite, if any.
std::vector<Frame> prepare_frames(const GaussianTask& task, int threads, std::atomic<int64_t>& bad) {
  std::vector<Frame> frames(task.batch);
  for (int b = 0; b < task.batch; ++b) {
    frames[b].camera = task.camera(b);
    frames[b].splats.resize(task.count);
  }
  int chunks = (task.count + kChunk - 1) / kChunk;
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
  for (int b = 0; b < task.batch; ++b) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      int end = std::min((chunk + 1) * kChunk, task.count);
      for (int i = chunk * kChunk; i < end; ++i) {
        Gaussian g = task.gaussian(b, i);
        if (!finite(g)) {
          int64_t at = static_cast<int64_t>(b) * task.count + i, seen = bad.load();
          while (at < seen && !bad.compare_exchange_weak(seen, at)) {
          }
        }
        Splat& s = frames[b].splats[i];
        Projection at;
        if (project(g, frames[b].camera, at))
          s = make_splat(g, frames[b].camera, at);
        else
          s.x0 = s.x1 = s.y0 = s.y1 = 0;
      }
    }
  }
  for (Frame& frame : frames) number_slots(task, frame);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int b = 0; b < task.batch; ++b) deal(task, frames[b]);
  return frames;
}

inline __attribute__((always_inline)) Floats hold(Floats alpha) {
  return alpha < kAlphaMax ? alpha : splat(kAlphaMax);
}

struct Tile {
  int index, x0, y0, rows, columns;

  Tile(const GaussianTask& task, int tile) : index(tile) {
    x0 = tile % task.tiles_x() * kTile;
    y0 = tile / task.tiles_x() * kTile;
    rows = std::min(kTile, task.height - y0);
    columns = std::min(kTile, task.width - x0);
  }
  int64_t pixel(const GaussianTask& task, int frame, int row) const {
    return (static_cast<int64_t>(frame) * task.height + y0 + row) * task.width + x0;
  }
};

// One splat over one tile: values independent of the row, and the rows and vectors it may reach.
struct Brush {
  Floats dx[kParts], pp[kParts], k2dx[kParts];
  float k3, y, opacity;
  int top, bottom, first, after;

  inline __attribute__((always_inline)) Brush(const Splat& s, const Tile& tile)
      : k3(s.k3), y(s.y - static_cast<float>(tile.y0)), opacity(s.opacity) {
    for (int part = 0; part < kParts; ++part) {
      for (int i = 0; i < kLanes; ++i)
        dx[part][i] = static_cast<float>(tile.x0 + part * kLanes + i) - s.x;
      k2dx[part] = s.k2 * dx[part];
      Floats p = s.k1 * dx[part];
      pp[part] = p * p;
    }
    top = std::max<int>(s.y0 - tile.y0, 0);
    bottom = std::min<int>(s.y1 - tile.y0, tile.rows);
    first = std::max<int>(s.x0 - tile.x0, 0) / kLanes;
    after = (std::min<int>(s.x1 - tile.x0, kTile) + kLanes - 1) / kLanes;
  }
  float dy(int row) const { return static_cast<float>(row) - y; }
  // o times the Gaussian along a vector, not yet clamped to 0.99; `r` is the form's second root.
  inline __attribute__((always_inline)) Floats alpha(int row, int part, Floats& r) const {
    r = k2dx[part] + k3 * dy(row);
    return opacity * exp2(-fma(r, r, pp[part]));
  }
};

void draw_tile(const GaussianTask& task, const Frame& frame, int b, const Tile& tile,
               const Images& out) {
  Floats transmittance[kTile][kParts], color[3][kTile][kParts];
  Ints live[kTile][kParts], reached[kTile][kParts];
  for (int row = 0; row < kTile; ++row) {
    for (int part = 0; part < kParts; ++part) {
      transmittance[row][part] = splat(1.0f);
      for (int k = 0; k < 3; ++k) color[k][row][part] = splat(0.0f);
      for (int i = 0; i < kLanes; ++i)
        live[row][part][i] = row < tile.rows && part * kLanes + i < tile.columns ? -1 : 0;
      reached[row][part] = Ints{};
    }
  }
  uint32_t rows_live = (1u << tile.rows) - 1;
  int start = frame.tile_start[tile.index], end = frame.tile_start[tile.index + 1];
  for (int at = start; at < end && rows_live; ++at) {
    const Splat& s = frame.splats[frame.list[at].gaussian];
    Brush brush(s, tile);
    for (int row = brush.top; row < brush.bottom; ++row) {
      if (!(rows_live >> row & 1)) continue;
      for (int part = brush.first; part < brush.after; ++part) {
        Floats r, alpha = hold(brush.alpha(row, part, r));
        Ints takes = (alpha >= kAlphaMin) & live[row][part];
        Floats before = transmittance[row][part], after = before * (1.0f - alpha);
        Ints stops = takes & (after < kStop);
        live[row][part] &= ~stops;
        takes &= ~stops;
        Floats weight = takes ? alpha * before : splat(0.0f);
        for (int k = 0; k < 3; ++k)
          color[k][row][part] = fma(weight, splat(s.color[k]), color[k][row][part]);
        transmittance[row][part] = takes ? after : before;
        reached[row][part] = takes ? Ints{} + (at - start + 1) : reached[row][part];
      }
    }
    if ((at - start) % kCheckEvery != kCheckEvery - 1) continue;
    for (int row = 0; row < tile.rows; ++row) {
      Ints rest = live[row][0];
      for (int part = 1; part < kParts; ++part) rest |= live[row][part];
      if (!any(rest)) rows_live &= ~(1u << row);
    }
  }
  const float* background = task.backgrounds + 3 * b;
  for (int row = 0; row < tile.rows; ++row) {
    int64_t pixel = tile.pixel(task, b, row);
    for (int i = 0; i < tile.columns; ++i) {
      int part = i / kLanes, lane = i % kLanes;
      float left = transmittance[row][part][lane];
      for (int k = 0; k < 3; ++k)
        out.color[3 * (pixel + i) + k] = color[k][row][part][lane] + left * background[k];
      out.alpha[pixel + i] = 1.0f - left;
      out.transmittance[pixel + i] = left;
      out.reached[pixel + i] = reached[row][part][lane];
    }
  }
}

// State of a tile's pixels in backward; pixels outside the image have reached nothing.
struct TileGradient {
  Floats transmittance[kTile][kParts], d_color[3][kTile][kParts];
  Floats behind[kTile][kParts];  // contribution to the loss of everything behind the current splat
  Ints reached[kTile][kParts];
  int farthest = 0;

  TileGradient(const GaussianTask& task, int b, const Tile& tile, const ImageGradients& in) {
    const float* background = task.backgrounds + 3 * b;
    for (int row = 0; row < kTile; ++row) {
      int64_t pixel = tile.pixel(task, b, row);
      for (int i = 0; i < kTile; ++i) {
        int part = i / kLanes, lane = i % kLanes;
        bool inside = row < tile.rows && i < tile.columns;
        float left = inside ? in.transmittance[pixel + i] : 1.0f;
        float seen = inside && in.alpha ? -in.alpha[pixel + i] : 0.0f;
        for (int k = 0; k < 3; ++k) {
          float d = inside ? in.color[3 * (pixel + i) + k] : 0.0f;
          d_color[k][row][part][lane] = d;
          seen += background[k] * d;
        }
        int last = inside ? in.reached[pixel + i] : 0;
        transmittance[row][part][lane] = left;
        behind[row][part][lane] = left * seen;
        reached[row][part][lane] = last;
        farthest = std::max(farthest, last);
      }
    }
  }
};

void undraw_tile(const GaussianTask& task, const Frame& frame, int b, const Tile& tile,
                 const ImageGradients& in, PixelSums* slots) {
  TileGradient pixels(task, b, tile, in);
  int start = frame.tile_start[tile.index], end = frame.tile_start[tile.index + 1];
  for (int at = start + pixels.farthest; at < end; ++at) slots[frame.list[at].slot] = PixelSums{};
  for (int at = start + pixels.farthest - 1; at >= start; --at) {
    const Splat& s = frame.splats[frame.list[at].gaussian];
    Brush brush(s, tile);
    Floats h[kParts] = {}, hr[kParts] = {}, hry{}, sum_color[3] = {};
    for (int row = brush.top; row < brush.bottom; ++row) {
      Floats dy = splat(brush.dy(row));
      for (int part = brush.first; part < brush.after; ++part) {
        Floats r, raw = brush.alpha(row, part, r), alpha = hold(raw);
        Ints takes = (alpha >= kAlphaMin) & (pixels.reached[row][part] > at - start);
        Floats inverse = 1.0f / (1.0f - alpha), after = pixels.transmittance[row][part];
        Floats before = takes ? after * inverse : after;
        Floats weight = takes ? alpha * before : splat(0.0f);
        Floats shown = splat(0.0f);
        for (int k = 0; k < 3; ++k) {
          shown = fma(splat(s.color[k]), pixels.d_color[k][row][part], shown);
          sum_color[k] = fma(weight, pixels.d_color[k][row][part], sum_color[k]);
        }
        Floats d_alpha = before * shown - pixels.behind[row][part] * inverse;
        Floats term = (takes & (raw < kAlphaMax)) ? d_alpha * raw : splat(0.0f);
        pixels.behind[row][part] = fma(weight, shown, pixels.behind[row][part]);
        pixels.transmittance[row][part] = before;
        Floats term_r = term * r;
        h[part] += term;
        hr[part] += term_r;
        hry = fma(term_r, dy, hry);
      }
    }
    Floats all_h{}, all_hr{}, hx{}, hxx{}, hrx{};
    for (int part = 0; part < kParts; ++part) {
      Floats dx = brush.dx[part], h_dx = h[part] * dx;
      all_h += h[part];
      all_hr += hr[part];
      hx += h_dx;
      hxx = fma(h_dx, dx, hxx);
      hrx = fma(hr[part], dx, hrx);
    }
    PixelSums& sums = slots[frame.list[at].slot];
    sums = {sum(all_h), sum(hx), sum(hxx), sum(all_hr), sum(hrx), sum(hry), {}};
    for (int k = 0; k < 3; ++k) sums.color[k] = sum(sum_color[k]);
  }
}

// The last pass of step 4 for one chunk of Gaussians; adds its part of the gradient to `camera`.
void finish_chunk(const GaussianTask& task, const Frame& frame, int b, int begin, int end,
                  const PixelSums* slots, const Gradients& out, CameraGradient& camera) {
  for (int i = begin; i < end; ++i) {
    float total[kSums] = {};
    for (int slot = frame.first_slot[i]; slot < frame.first_slot[i + 1]; ++slot) {
      float part[kSums];
      std::memcpy(part, &slots[slot], sizeof part);
      for (int k = 0; k < kSums; ++k) total[k] += part[k];
    }
    GaussianGradient gradient{};
    const Splat& s = frame.splats[i];
    Projection at;
    Gaussian g = task.gaussian(b, i);
    if (s.visible() && project(g, frame.camera, at)) {
      PixelSums sums;
      std::memcpy(&sums, total, sizeof sums);
      backward(g, frame.camera, at, s, sums, gradient, camera);
    }
    out.store(static_cast<int64_t>(b) * task.count + i, gradient);
  }
}

void add_cameras(const std::vector<CameraGradient>& parts, int chunks, int batch,
                 const Gradients& out) {
  for (int b = 0; b < batch; ++b) {
    double total[12] = {};
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const CameraGradient& part = parts[static_cast<size_t>(b) * chunks + chunk];
      for (int k = 0; k < 9; ++k) total[k] += part.r[k];
      for (int k = 0; k < 3; ++k) total[9 + k] += part.t[k];
    }
    for (int k = 0; k < 9; ++k) out.rotations[9 * b + k] = static_cast<float>(total[k]);
    for (int k = 0; k < 3; ++k) out.translations[3 * b + k] = static_cast<float>(total[9 + k]);
  }
}

}  // namespace

int64_t rasterize_gaussians_cpu(const GaussianTask& task, const Images& out, int threads) {
  constexpr int64_t none = std::numeric_limits<int64_t>::max();
  std::atomic<int64_t> bad{none};
  std::vector<Frame> frames = prepare_frames(task, threads, bad);
  if (bad.load() != none) return bad.load();
  int tiles = task.tiles_x() * task.tiles_y();
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
  for (int b = 0; b < task.batch; ++b)
    for (int tile = 0; tile < tiles; ++tile)
      draw_tile(task, frames[b], b, Tile(task, tile), out);
  return -1;
}

void rasterize_gaussians_backward_cpu(const GaussianTask& task, const ImageGradients& in,
                                      const Gradients& out, int threads) {
  std::atomic<int64_t> bad{0};  // checked by forward
  std::vector<Frame> frames = prepare_frames(task, threads, bad);
  std::vector<std::vector<PixelSums>> slots(task.batch);
  for (int b = 0; b < task.batch; ++b) slots[b].resize(frames[b].list.size());
  int tiles = task.tiles_x() * task.tiles_y();
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
  for (int b = 0; b < task.batch; ++b)
    for (int tile = 0; tile < tiles; ++tile)
      undraw_tile(task, frames[b], b, Tile(task, tile), in, slots[b].data());
  int chunks = (task.count + kChunk - 1) / kChunk;
  std::vector<CameraGradient> cameras(static_cast<size_t>(task.batch) * chunks);
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
  for (int b = 0; b < task.batch; ++b)
    for (int chunk = 0; chunk < chunks; ++chunk)
      finish_chunk(task, frames[b], b, chunk * kChunk, std::min((chunk + 1) * kChunk, task.count),
                   slots[b].data(), out, cameras[static_cast<size_t>(b) * chunks + chunk]);
  if (out.rotations) add_cameras(cameras, chunks, task.batch, out);
}

}  // namespace headsplat
