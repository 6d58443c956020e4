// Triangles on the CPU: each task computes one band of rows of one frame, so threads never write to
// the same pixels and the result does not depend on their number.

#include <algorithm>
#include <vector>

#include "triangles.h"

namespace headsplat {
namespace {

constexpr int kBand = 32;  // rows per task

void draw(const Triangle& tri, int index, int width, int top, int bottom, float* depth,
          int32_t* face) {
  for (int row = std::max(tri.y0, top); row < std::min(tri.y1, bottom); ++row) {
    int64_t line = static_cast<int64_t>(row - top) * width;
    for (int column = tri.x0; column < tri.x1; ++column) {
      double e[3], weight[3];
      bool inside = true;
      for (int i = 0; i < 3; ++i) {
        e[i] = tri.edge(i, column + 0.5, row + 0.5);
        inside &= e[i] >= 0;
      }
      if (!inside) continue;
      float nearness = static_cast<float>(tri.weigh(e, weight));
      if (nearness > depth[line + column]) {  // faces come in order: the lowest index keeps a tie
        depth[line + column] = nearness;
        face[line + column] = index;
      }
    }
  }
}

void resolve(const TriangleTask& task, int frame, int top, int bottom) {
  const float* points = task.points + static_cast<int64_t>(frame) * task.vertices * 3;
  Triangle tri;
  int32_t held = -1;
  for (int row = top; row < bottom; ++row) {
    int64_t line = (static_cast<int64_t>(frame) * task.height + row) * task.width;
    for (int column = 0; column < task.width; ++column) {
      int32_t index = task.face[line + column];
      float* out = task.weights + 3 * (line + column);
      if (index < 0) {
        std::fill(out, out + 3, 0.0f);
        continue;
      }
      if (index != held) {
        prepare(points, task.corners + 3 * static_cast<int64_t>(index), task.vertices, task.width,
                task.height, task.cull, tri);
        held = index;
      }
      double e[3], weight[3];
      for (int i = 0; i < 3; ++i) e[i] = tri.edge(i, column + 0.5, row + 0.5);
      tri.weigh(e, weight);
      for (int i = 0; i < 3; ++i) out[i] = static_cast<float>(weight[i]);
    }
  }
}

}  // namespace

void rasterize_triangles_cpu(const TriangleTask& task, int threads) {
  int bands = (task.height + kBand - 1) / kBand;
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
  for (int frame = 0; frame < task.batch; ++frame) {
    for (int band = 0; band < bands; ++band) {
      int top = band * kBand, bottom = std::min(top + kBand, task.height);
      const float* points = task.points + static_cast<int64_t>(frame) * task.vertices * 3;
      int32_t* face = task.face + (static_cast<int64_t>(frame) * task.height + top) * task.width;
      std::vector<float> depth(static_cast<size_t>(bottom - top) * task.width, 0.0f);
      std::fill(face, face + depth.size(), -1);
      for (int index = 0; index < task.faces; ++index) {
        const int32_t* corners = task.corners + 3 * static_cast<int64_t>(index);
        Triangle tri;
        if (prepare(points, corners, task.vertices, task.width, task.height, task.cull, tri) &&
            tri.y0 < bottom && tri.y1 > top)
          draw(tri, index, task.width, top, bottom, depth.data(), face);
      }
      resolve(task, frame, top, bottom);
    }
  }
}

}  // namespace headsplat
