// Gaussians on the CPU.
//
// 1. Every Gaussian of every frame becomes a Splat (gaussians.h).
// 2. A frame's visible splats are sorted by depth and dealt, in that order, to the 16x16 tiles they
//    may reach. An entry of a tile's list is one `Instance`.
// 3. Tiles are independent tasks. A row of a tile is one vector of 16 pixels; for each splat only
//    the rows it may reach are visited, and a tile ends when all its pixels have stopped.
// 4. Backward visits the lists from the back, undoing the transmittance by division. What a tile
//    knows of a Gaussian is nine sums over pixels (PixelSums). It writes them to the slot of that
//    instance; slots of one Gaussian lie side by side, and a last pass adds them in their fixed
//    order. No two threads ever add to one place, so results are the same bits for any number of
//    threads.
//
// Forward and backward evaluate alpha by the same function, without contraction: they agree on
// which pairs of pixel and Gaussian count.

#include <algorithm>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <vector>

#include "gaussians.h"
#include "vec.h"

namespace headsplat {
namespace {

constexpr int kChunk = 256;     // Gaussians a task
constexpr int kCheckEvery = 8;  // splats between two looks at which rows still live
static_assert(kLanes == kTile);

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
// Positive floats sort as their bits do.
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

// Gives every pair of splat and tile a slot, those of one splat side by side.
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

// One splat over one tile: what does not depend on the row.
struct Brush {
  Floats dx, pp, k2dx;
  float k3, y, opacity;

  inline __attribute__((always_inline)) Brush(const Splat& s, Floats columns)
      : dx(columns - s.x), k2dx(s.k2 * dx), k3(s.k3), y(s.y), opacity(s.opacity) {
    Floats p = s.k1 * dx;
    pp = p * p;
  }
  // o times the Gaussian along a row, not yet held at 0.99; `r` is the second root of the form.
  inline __attribute__((always_inline)) Floats alpha(int row, Floats& r) const {
    r = k2dx + k3 * (static_cast<float>(row) - y);
    return opacity * exp2(-fma(r, r, pp));
  }
};

inline __attribute__((always_inline)) Floats hold(Floats alpha) {
  return alpha < kAlphaMax ? alpha : splat(kAlphaMax);
}

struct Tile {
  int index, x0, y0, rows, columns;
  Floats centres;  // x of the pixels of a row

  Tile(const GaussianTask& task, int tile) : index(tile) {
    x0 = tile % task.tiles_x() * kTile;
    y0 = tile / task.tiles_x() * kTile;
    rows = std::min(kTile, task.height - y0);
    columns = std::min(kTile, task.width - x0);
    for (int i = 0; i < kLanes; ++i) centres[i] = static_cast<float>(x0 + i);
  }
  int64_t pixel(const GaussianTask& task, int frame, int row) const {
    return (static_cast<int64_t>(frame) * task.height + y0 + row) * task.width + x0;
  }
};

void draw_tile(const GaussianTask& task, const Frame& frame, int b, const Tile& tile,
               const Pictures& out) {
  Floats transmittance[kTile], color[3][kTile];
  Ints live[kTile], reached[kTile];
  for (int row = 0; row < kTile; ++row) {
    transmittance[row] = splat(1.0f);
    for (int k = 0; k < 3; ++k) color[k][row] = splat(0.0f);
    for (int i = 0; i < kLanes; ++i) live[row][i] = row < tile.rows && i < tile.columns ? -1 : 0;
    reached[row] = Ints{};
  }
  uint32_t rows_live = (1u << tile.rows) - 1;
  int start = frame.tile_start[tile.index], end = frame.tile_start[tile.index + 1];
  for (int at = start; at < end && rows_live; ++at) {
    const Splat& s = frame.splats[frame.list[at].gaussian];
    Brush brush(s, tile.centres);
    int top = std::max<int>(s.y0 - tile.y0, 0), bottom = std::min<int>(s.y1 - tile.y0, tile.rows);
    for (int row = top; row < bottom; ++row) {
      if (!(rows_live >> row & 1)) continue;
      Floats r, alpha = hold(brush.alpha(tile.y0 + row, r));
      Ints takes = (alpha >= kAlphaMin) & live[row];
      Floats before = transmittance[row], after = before * (1.0f - alpha);
      Ints stops = takes & (after < kStop);
      live[row] &= ~stops;
      takes &= ~stops;
      Floats weight = takes ? alpha * before : splat(0.0f);
      for (int k = 0; k < 3; ++k) color[k][row] = fma(weight, splat(s.color[k]), color[k][row]);
      transmittance[row] = takes ? after : before;
      reached[row] = takes ? Ints{} + (at - start + 1) : reached[row];
    }
    if ((at - start) % kCheckEvery == kCheckEvery - 1)
      for (int row = 0; row < tile.rows; ++row)
        if (!any(live[row])) rows_live &= ~(1u << row);
  }
  const float* background = task.backgrounds + 3 * b;
  for (int row = 0; row < tile.rows; ++row) {
    int64_t pixel = tile.pixel(task, b, row);
    for (int i = 0; i < tile.columns; ++i) {
      for (int k = 0; k < 3; ++k)
        out.color[3 * (pixel + i) + k] = color[k][row][i] + transmittance[row][i] * background[k];
      out.alpha[pixel + i] = 1.0f - transmittance[row][i];
      out.transmittance[pixel + i] = transmittance[row][i];
      out.reached[pixel + i] = reached[row][i];
    }
  }
}

void undraw_tile(const GaussianTask& task, const Frame& frame, int b, const Tile& tile,
                 const PictureGradients& in, PixelSums* slots) {
  // `behind`: what is behind the current splat, as seen in the loss.
  Floats transmittance[kTile], behind[kTile], d_color[3][kTile];
  Ints reached[kTile];
  int farthest = 0;
  const float* background = task.backgrounds + 3 * b;
  for (int row = 0; row < kTile; ++row) {
    transmittance[row] = splat(1.0f);
    behind[row] = splat(0.0f);
    reached[row] = Ints{};
    for (int k = 0; k < 3; ++k) d_color[k][row] = splat(0.0f);
    if (row >= tile.rows) continue;
    int64_t pixel = tile.pixel(task, b, row);
    for (int i = 0; i < tile.columns; ++i) {
      float left = in.transmittance[pixel + i], seen = -in.alpha[pixel + i];
      for (int k = 0; k < 3; ++k) {
        d_color[k][row][i] = in.color[3 * (pixel + i) + k];
        seen += background[k] * in.color[3 * (pixel + i) + k];
      }
      transmittance[row][i] = left;
      behind[row][i] = left * seen;
      reached[row][i] = in.reached[pixel + i];
      farthest = std::max(farthest, in.reached[pixel + i]);
    }
  }
  int start = frame.tile_start[tile.index], end = frame.tile_start[tile.index + 1];
  for (int at = start + farthest; at < end; ++at) slots[frame.list[at].slot] = PixelSums{};
  for (int at = start + farthest - 1; at >= start; --at) {
    const Splat& s = frame.splats[frame.list[at].gaussian];
    Brush brush(s, tile.centres);
    Floats h{}, hr{}, hry{}, sum_color[3] = {};
    int top = std::max<int>(s.y0 - tile.y0, 0), bottom = std::min<int>(s.y1 - tile.y0, tile.rows);
    for (int row = top; row < bottom; ++row) {
      Floats r, raw = brush.alpha(tile.y0 + row, r), alpha = hold(raw);
      Ints takes = (alpha >= kAlphaMin) & (reached[row] > at - start);
      Floats inverse = 1.0f / (1.0f - alpha);
      Floats before = takes ? transmittance[row] * inverse : transmittance[row];
      Floats weight = takes ? alpha * before : splat(0.0f);
      Floats shown = splat(0.0f);
      for (int k = 0; k < 3; ++k) {
        shown = fma(splat(s.color[k]), d_color[k][row], shown);
        sum_color[k] = fma(weight, d_color[k][row], sum_color[k]);
      }
      Floats d_alpha = before * shown - behind[row] * inverse;
      Floats term = takes & (raw < kAlphaMax) ? d_alpha * raw : splat(0.0f);
      behind[row] = fma(weight, shown, behind[row]);
      transmittance[row] = before;
      h += term;
      Floats term_r = term * r;
      hr += term_r;
      hry = fma(term_r, splat(static_cast<float>(tile.y0 + row) - s.y), hry);
    }
    PixelSums& sums = slots[frame.list[at].slot];
    Floats hx = h * brush.dx;
    sums.h = sum(h);
    sums.hx = sum(hx);
    sums.hxx = sum(hx * brush.dx);
    sums.hr = sum(hr);
    sums.hrx = sum(hr * brush.dx);
    sums.hry = sum(hry);
    for (int k = 0; k < 3; ++k) sums.color[k] = sum(sum_color[k]);
  }
}

// Step 4's last pass for one chunk of Gaussians; `camera` receives its share of the camera's.
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

int64_t rasterize_gaussians_cpu(const GaussianTask& task, const Pictures& out, int threads) {
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

void rasterize_gaussians_backward_cpu(const GaussianTask& task, const PictureGradients& in,
                                      const Gradients& out, int threads) {
  std::atomic<int64_t> bad{0};  // forward has looked
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
