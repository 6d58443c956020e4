// Rasterizing triangles: the arithmetic both back ends share, and their entry points.
//
// A pixel belongs to a triangle when its center lies inside or on an edge. Edge functions are
// evaluated in double from one end of the edge that both neighbors agree on, so two triangles
// that share an edge see exactly opposite values: no pixel on the edge is lost. Of all triangles
// over a pixel the nearest wins, of equally near ones the one with the lowest index; depth is
// compared as the float of 1/z. CPU and CUDA run this same code without contraction and therefore
// agree bit for bit.

#pragma once

#include <cmath>
#include <cstdint>

#include "portable.h"

namespace headsplat {

struct Triangle {
  double x[3], y[3];
  double inverse_z[3];
  double sign;  // of the signed area
  double area;  // twice the unsigned area, pixels^2
  int x0, x1, y0, y1;  // pixels whose centers the bounding box holds, half open

  // Twice the signed area of (edge i, point), positive inside. Edge i is opposite vertex i.
  HEADSPLAT_HD double edge(int i, double px, double py) const {
    int a = i == 2 ? 0 : i + 1, b = i == 0 ? 2 : i - 1;
    double flip = sign;
    if (x[b] < x[a] || (x[b] == x[a] && y[b] < y[a])) {
      int c = a;
      a = b;
      b = c;
      flip = -sign;
    }
    return flip * ((x[b] - x[a]) * (py - y[a]) - (y[b] - y[a]) * (px - x[a]));
  }

  // Perspective-correct barycentrics of a point with edge values e; returns 1/z there.
  HEADSPLAT_HD double weigh(const double e[3], double weight[3]) const {
    for (int i = 0; i < 3; ++i) weight[i] = e[i] * inverse_z[i];
    double sum = weight[0] + weight[1] + weight[2];
    for (int i = 0; i < 3; ++i) weight[i] = weight[i] / sum;
    return sum / area;
  }
};

HEADSPLAT_HD int first_center(double low, int size) {  // of a center at or after `low`
  double first = ceil(low - 0.5);
  return first > 0 ? (first < size ? static_cast<int>(first) : size) : 0;
}

HEADSPLAT_HD int after_center(double high, int size) {  // past the last center up to `high`
  double last = floor(high - 0.5) + 1;
  return last > 0 ? (last < size ? static_cast<int>(last) : size) : 0;
}

// False for a triangle that shows nowhere: behind the camera or touching its plane, not finite,
// without area, facing away when culled, off screen, or with a vertex that does not exist.
HEADSPLAT_HD bool prepare(const float* points, const int32_t* face, int vertices, int width,
                          int height, bool cull, Triangle& out) {
  for (int i = 0; i < 3; ++i) {
    if (face[i] < 0 || face[i] >= vertices) return false;
    const float* point = points + 3 * static_cast<int64_t>(face[i]);
    if (!(point[2] > 0 && point[2] < 1e30f && fabsf(point[0]) < 1e9f && fabsf(point[1]) < 1e9f))
      return false;
    out.x[i] = point[0];
    out.y[i] = point[1];
    out.inverse_z[i] = 1.0 / static_cast<double>(point[2]);
  }
  double area = (out.x[1] - out.x[0]) * (out.y[2] - out.y[0]) -
                (out.y[1] - out.y[0]) * (out.x[2] - out.x[0]);
  // y points down, so a face that is counter-clockwise to the eye has a negative area.
  if (area == 0 || (cull && area > 0)) return false;
  out.sign = area > 0 ? 1 : -1;
  out.area = area * out.sign;
  double low = fmin(out.x[0], fmin(out.x[1], out.x[2]));
  double high = fmax(out.x[0], fmax(out.x[1], out.x[2]));
  out.x0 = first_center(low, width);
  out.x1 = after_center(high, width);
  low = fmin(out.y[0], fmin(out.y[1], out.y[2]));
  high = fmax(out.y[0], fmax(out.y[1], out.y[2]));
  out.y0 = first_center(low, height);
  out.y1 = after_center(high, height);
  return out.x0 < out.x1 && out.y0 < out.y1;
}

struct TriangleTask {
  int batch, vertices, faces, width, height;
  bool cull;
  const float* points;   // (batch, vertices, 3): x, y in pixels, z > 0
  const int32_t* corners;  // (faces, 3)
  int32_t* face;         // (batch, height, width), -1 where nothing shows
  float* weights;        // (batch, height, width, 3), 0 where nothing shows
};

void rasterize_triangles_cpu(const TriangleTask& task, int threads);

// `keys`: (batch, height, width), the depth buffer. Nothing is synchronized. Returns null, or what
// the CUDA runtime said.
const char* rasterize_triangles_cuda(const TriangleTask& task, unsigned long long* keys,
                                     void* stream);

}  // namespace headsplat
