// Rasterizing Gaussians: the image formation, one Gaussian at a time, and its exact derivative.
// CPU and CUDA run this same code; only the loops over pixels differ.
//
// The image is that of 3D Gaussian splatting (Kerbl et al. 2023), its 16x16 tiles included:
//
//   p = R m + t, not drawn unless p.z > 0.2;  V = R Q diag(s), Q from the normalized quaternion;
//   u = p.xy / p.z, clamped to the field of view widened by 30 % on each side;
//   M = the two rows f/p.z (V_row - u V_z);  cov = M M^T + 0.3 I;
//   r = ceil(3 sqrt(largest eigenvalue)): drawn only in tiles that meet the square of that radius;
//   alpha = min(0.99, o exp(-d^T cov^-1 d / 2)), dropped below 1/255, d from the pixel's center;
//   front to back by depth, then index; a pixel stops before its transmittance falls under 1e-4;
//   color = sum of T alpha c, plus the transmittance left over times the background.
//
// It differs from the published kernels where those are not exact: quaternions are normalized here,
// no epsilon enters the divisions, and gradients are the true derivatives of the above on either
// side of its steps. So there is no gradient through an alpha held at 0.99 (theirs passes), and a
// clamped u still depends on nothing while M keeps its dependence on p.z (theirs loses part).
//
// Numbers. cov is near singular for needles, and the textbook quadratic form cancels. Two
// identities keep float exact enough: det cov = |m0 x m1|^2 + 0.3 (|m0|^2 + |m1|^2) + 0.09, a sum
// of positive terms (m0, m1 the rows of M), and a triangular square root of the form itself,
//
//   d^T cov^-1 d / 2 / ln 2 = p^2 + r^2,  p = k1 dx,  r = k2 dx + k3 dy,
//
// which is never negative and whose rounding error is relative to its square root. The loops over
// pixels work with k1, k2, k3 and base-2 exponentials.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "portable.h"

namespace headsplat {

constexpr int kTile = 16;
constexpr float kNear = 0.2f;
constexpr float kBlur = 0.3f;
constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kAlphaMax = 0.99f;
constexpr float kStop = 1e-4f;
constexpr float kLn2 = 0.693147180559945f;
constexpr float kRootHalfLog2E = 0.849321800288019f;  // sqrt(log2(e) / 2)
constexpr int kSums = 9;

struct Camera {
  float r[9], t[3];
  float fx, fy, cx, cy;
  float low_x, high_x, low_y, high_y;  // of u
  int width, height;

  HEADSPLAT_HD static Camera load(const float* rotation, const float* translation,
                                  const float* intrinsics, int width, int height) {
    Camera c;
    for (int i = 0; i < 9; ++i) c.r[i] = rotation[i];
    for (int i = 0; i < 3; ++i) c.t[i] = translation[i];
    c.fx = intrinsics[0];
    c.fy = intrinsics[1];
    c.cx = intrinsics[2];
    c.cy = intrinsics[3];
    float extra_x = 0.15f * width / c.fx, extra_y = 0.15f * height / c.fy;
    c.low_x = -c.cx / c.fx - extra_x;
    c.high_x = (width - c.cx) / c.fx + extra_x;
    c.low_y = -c.cy / c.fy - extra_y;
    c.high_y = (height - c.cy) / c.fy + extra_y;
    c.width = width;
    c.height = height;
    return c;
  }
};

// A Gaussian on the screen. Pixel (column, row) has its center at (column, row) here, so x and y
// are continuous pixels less one half.
struct Splat {
  float x, y;
  float k1, k2, k3;
  float opacity;
  float color[3];
  float depth;
  int16_t x0, x1, y0, y1;  // pixels it may reach, half open; empty when it is not drawn

  HEADSPLAT_HD bool visible() const { return x0 < x1 && y0 < y1; }
};

// Parameters of one Gaussian, as given.
struct Gaussian {
  float mean[3], quaternion[4], scale[3], opacity, color[3];
};

struct GaussianGradient {
  float mean[3], quaternion[4], scale[3], opacity, color[3];
};

struct CameraGradient {
  float r[9], t[3];
};

// Sums over pixels, from which all gradients of one Gaussian follow. With h = alpha dL/dalpha:
struct PixelSums {
  float h, hx, hxx;    // of h, h dx, h dx^2
  float hr, hrx, hry;  // of h r, h r dx, h r dy
  float color[3];      // of T alpha dL/dC
};
static_assert(sizeof(PixelSums) == kSums * sizeof(float));

// Everything between the parameters and the splat that the derivative needs again.
struct Projection {
  float q[4], norm;    // unit quaternion (w, x, y, z) and the length it was given with
  float rot[9];        // Q
  float axes[9];       // A = R Q
  float v[9];          // A diag(s)
  float p[3], inv_z;
  float ux, uy;        // clamped
  bool free_x, free_y;  // not clamped
  float m0[3], m1[3];
  float a, b, c, det;
};

// The largest base-2 exponent, negated, at which alpha still reaches 1/255.
HEADSPLAT_HD float exponent_limit(float opacity) { return log2f(opacity / kAlphaMin); }

// Whether the splat's alpha may reach 1/255 at a pixel center of the rectangle [x0, x1] x [y0, y1].
// The form is convex: outside the rectangle's center case, its least value lies on the nearer
// vertical or horizontal edge. Errs on the side of true.
HEADSPLAT_HD bool reaches(const Splat& s, float limit, float x0, float x1, float y0, float y1) {
  float left = x0 - s.x, right = x1 - s.x, top = y0 - s.y, bottom = y1 - s.y;
  bool across = left <= 0 && right >= 0, along = top <= 0 && bottom >= 0;
  if (across && along) return true;
  float least = 3e38f;
  if (!across) {
    float dx = left > 0 ? left : right;
    float dy = fminf(fmaxf(-s.k2 * dx / s.k3, top), bottom);
    float p = s.k1 * dx, r = fmaf(s.k2, dx, s.k3 * dy);
    least = fmaf(p, p, r * r);
  }
  if (!along) {
    float dy = top > 0 ? top : bottom;
    float dx = -s.k2 * s.k3 * dy / fmaf(s.k1, s.k1, s.k2 * s.k2);
    dx = fminf(fmaxf(dx, left), right);
    float p = s.k1 * dx, r = fmaf(s.k2, dx, s.k3 * dy);
    least = fminf(least, fmaf(p, p, r * r));
  }
  return least <= fmaf(limit, 1.01f, 0.05f);
}

HEADSPLAT_HD float dot3(const float* a, const float* b) {
  return fmaf(a[0], b[0], fmaf(a[1], b[1], a[2] * b[2]));
}

HEADSPLAT_HD void cross3(const float* a, const float* b, float* out) {
  out[0] = fmaf(a[1], b[2], -(a[2] * b[1]));
  out[1] = fmaf(a[2], b[0], -(a[0] * b[2]));
  out[2] = fmaf(a[0], b[1], -(a[1] * b[0]));
}

HEADSPLAT_HD bool finite(const Gaussian& g) {
  float sum = g.opacity;  // a sum of magnitudes is finite exactly when every term is
  for (int i = 0; i < 3; ++i) sum += fabsf(g.mean[i]) + fabsf(g.scale[i]) + fabsf(g.color[i]);
  for (int i = 0; i < 4; ++i) sum += fabsf(g.quaternion[i]);
  return fabsf(sum) < 3e38f;
}

// Fills `out`; false when the Gaussian is behind the near plane or degenerate.
HEADSPLAT_HD bool project(const Gaussian& g, const Camera& c, Projection& out) {
  for (int i = 0; i < 3; ++i) out.p[i] = dot3(c.r + 3 * i, g.mean) + c.t[i];
  if (!(out.p[2] > kNear)) return false;
  float square = 0;
  for (int i = 0; i < 4; ++i) square = fmaf(g.quaternion[i], g.quaternion[i], square);
  out.norm = sqrtf(square);
  float scale = 1.0f / fmaxf(out.norm, 1e-12f);
  for (int i = 0; i < 4; ++i) out.q[i] = g.quaternion[i] * scale;
  float w = out.q[0], x = out.q[1], y = out.q[2], z = out.q[3];
  const float rot[9] = {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
                        2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                        2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
  for (int i = 0; i < 9; ++i) out.rot[i] = rot[i];
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      const float column[3] = {rot[j], rot[3 + j], rot[6 + j]};
      out.axes[3 * i + j] = dot3(c.r + 3 * i, column);
      out.v[3 * i + j] = out.axes[3 * i + j] * g.scale[j];
    }
  }
  out.inv_z = 1.0f / out.p[2];
  float ux = out.p[0] * out.inv_z, uy = out.p[1] * out.inv_z;
  out.ux = fminf(fmaxf(ux, c.low_x), c.high_x);
  out.uy = fminf(fmaxf(uy, c.low_y), c.high_y);
  out.free_x = out.ux == ux;
  out.free_y = out.uy == uy;
  for (int j = 0; j < 3; ++j) {
    out.m0[j] = c.fx * out.inv_z * fmaf(-out.ux, out.v[6 + j], out.v[j]);
    out.m1[j] = c.fy * out.inv_z * fmaf(-out.uy, out.v[6 + j], out.v[3 + j]);
  }
  float n[3];
  cross3(out.m0, out.m1, n);
  float aa = dot3(out.m0, out.m0), cc = dot3(out.m1, out.m1);
  out.a = aa + kBlur;
  out.b = dot3(out.m0, out.m1);
  out.c = cc + kBlur;
  out.det = dot3(n, n) + kBlur * (aa + cc) + kBlur * kBlur;
  return out.det < 3e38f;
}

// Bounds [low, high) of the pixels within `reach` of `center` that lie in tiles meeting `radius`.
HEADSPLAT_HD void pixel_range(float center, float reach, float radius, int size, int16_t* low,
                              int16_t* high) {
  float tiles = static_cast<float>((size + kTile - 1) / kTile);
  // Truncation towards zero, as published; the clamp makes it equal to floor.
  float first = truncf(fminf(fmaxf((center - radius) / kTile, 0.0f), tiles));
  float after = truncf(fminf(fmaxf((center + radius + (kTile - 1)) / kTile, 0.0f), tiles));
  float from = fmaxf(ceilf(center - reach), first * kTile);
  float to = fminf(floorf(center + reach) + 1, after * kTile);
  *low = static_cast<int16_t>(fminf(fmaxf(from, 0.0f), static_cast<float>(size)));
  *high = static_cast<int16_t>(fminf(fmaxf(to, 0.0f), static_cast<float>(size)));
}

HEADSPLAT_HD Splat make_splat(const Gaussian& g, const Camera& c, const Projection& at) {
  Splat s;
  s.x = fmaf(c.fx, at.p[0] * at.inv_z, c.cx) - 0.5f;
  s.y = fmaf(c.fy, at.p[1] * at.inv_z, c.cy) - 0.5f;
  s.k1 = kRootHalfLog2E / sqrtf(at.a);
  s.k3 = kRootHalfLog2E * sqrtf(at.a / at.det);
  s.k2 = -(at.b / at.a) * s.k3;
  s.opacity = g.opacity;
  for (int i = 0; i < 3; ++i) s.color[i] = g.color[i];
  s.depth = at.p[2];
  s.x0 = s.x1 = s.y0 = s.y1 = 0;
  if (!(g.opacity >= kAlphaMin)) return s;
  float mid = 0.5f * (at.a + at.c), half = 0.5f * (at.a - at.c);
  float largest = mid + sqrtf(fmaxf(0.1f, fmaf(half, half, at.b * at.b)));
  float radius = ceilf(3.0f * sqrtf(largest));
  // Alpha is under 1/255 beyond this Mahalanobis distance: leaving those pixels out is lossless.
  // The margin covers the rounding of the pixel loop's own alpha.
  float distance = sqrtf(2.0f * logf(g.opacity / kAlphaMin)) * 1.001f;
  pixel_range(s.x, distance * sqrtf(at.a) + 0.05f, radius, c.width, &s.x0, &s.x1);
  pixel_range(s.y, distance * sqrtf(at.c) + 0.05f, radius, c.height, &s.y0, &s.y1);
  return s;
}

// The derivative of project + make_splat + the pixels' exponent, from the sums over pixels.
// Adds to `camera`.
HEADSPLAT_HD void backward(const Gaussian& g, const Camera& c, const Projection& at,
                           const Splat& s, const PixelSums& sums, GaussianGradient& out,
                           CameraGradient& camera) {
  // exponent = -(p^2 + r^2) in base 2, so dL = -ln 2 * sum of h d(p^2 + r^2).
  constexpr float two = 2 * kLn2;
  float dx = two * fmaf(s.k1 * s.k1, sums.hx, s.k2 * sums.hr);
  float dy = two * s.k3 * sums.hr;
  float d1 = -two * s.k1 * sums.hxx, d2 = -two * sums.hrx, d3 = -two * sums.hry;
  out.opacity = sums.h / s.opacity;
  for (int i = 0; i < 3; ++i) out.color[i] = sums.color[i];

  // k1 = C / sqrt(a), k3 = C sqrt(a / det), k2 = -(b / a) k3.
  float slope = at.b / at.a;
  float dk3 = fmaf(-slope, d2, d3);
  float da = 0.5f / at.a * (dk3 * s.k3 - d1 * s.k1) + d2 * slope / at.a * s.k3;
  float db = -d2 * s.k3 / at.a;
  float ddet = -0.5f * dk3 * s.k3 / at.det;

  // a = |m0|^2 + blur, b = m0.m1, det = |n|^2 + blur (|m0|^2 + |m1|^2) + const, n = m0 x m1.
  float n[3], m1n[3], nm0[3], dm0[3], dm1[3];
  cross3(at.m0, at.m1, n);
  cross3(at.m1, n, m1n);
  cross3(n, at.m0, nm0);
  for (int j = 0; j < 3; ++j) {
    float blur = 2 * kBlur * ddet;
    dm0[j] = 2 * da * at.m0[j] + db * at.m1[j] + 2 * ddet * m1n[j] + blur * at.m0[j];
    dm1[j] = db * at.m0[j] + 2 * ddet * nm0[j] + blur * at.m1[j];
  }

  // m0 = fx / z (V_x - ux V_z), m1 = fy / z (V_y - uy V_z).
  float fx = c.fx * at.inv_z, fy = c.fy * at.inv_z;
  float dv[9];
  for (int j = 0; j < 3; ++j) {
    dv[j] = fx * dm0[j];
    dv[3 + j] = fy * dm1[j];
    dv[6 + j] = -(at.ux * dv[j] + at.uy * dv[3 + j]);
  }
  float dux = at.free_x ? -fx * dot3(dm0, at.v + 6) : 0.0f;
  float duy = at.free_y ? -fy * dot3(dm1, at.v + 6) : 0.0f;
  dux += dx * c.fx;  // the splat's center follows the same ratio, never clamped
  duy += dy * c.fy;
  float dp[3] = {dux * at.inv_z, duy * at.inv_z, 0};
  dp[2] = -at.inv_z * (dot3(dm0, at.m0) + dot3(dm1, at.m1) + dp[0] * at.p[0] + dp[1] * at.p[1]);

  // V = A diag(s), A = R Q.
  float da_[9], drot[9];
  for (int j = 0; j < 3; ++j) {
    out.scale[j] = 0;
    for (int i = 0; i < 3; ++i) {
      out.scale[j] += dv[3 * i + j] * at.axes[3 * i + j];
      da_[3 * i + j] = dv[3 * i + j] * g.scale[j];
    }
  }
  for (int k = 0; k < 3; ++k) {
    out.mean[k] = c.r[k] * dp[0] + c.r[3 + k] * dp[1] + c.r[6 + k] * dp[2];
    camera.t[k] += dp[k];
    for (int j = 0; j < 3; ++j) {
      drot[3 * k + j] = c.r[k] * da_[j] + c.r[3 + k] * da_[3 + j] + c.r[6 + k] * da_[6 + j];
      camera.r[3 * k + j] += dp[k] * g.mean[j] + dot3(da_ + 3 * k, at.rot + 3 * j);
    }
  }

  // Q from the unit quaternion, then through the normalization.
  float w = at.q[0], x = at.q[1], y = at.q[2], z = at.q[3];
  const float* d = drot;
  float dq[4] = {2 * (x * (d[7] - d[5]) + y * (d[2] - d[6]) + z * (d[3] - d[1])),
                 2 * (y * (d[1] + d[3]) + z * (d[2] + d[6]) + w * (d[7] - d[5]) -
                      2 * x * (d[4] + d[8])),
                 2 * (x * (d[1] + d[3]) + z * (d[5] + d[7]) + w * (d[2] - d[6]) -
                      2 * y * (d[0] + d[8])),
                 2 * (x * (d[2] + d[6]) + y * (d[5] + d[7]) + w * (d[3] - d[1]) -
                      2 * z * (d[0] + d[4]))};
  float along = w * dq[0] + x * dq[1] + y * dq[2] + z * dq[3];
  float scale = at.norm > 1e-12f ? 1.0f / at.norm : 0.0f;
  for (int i = 0; i < 4; ++i) out.quaternion[i] = (dq[i] - along * at.q[i]) * scale;
}

}  // namespace headsplat
