// Colors that change with the view, as 3D Gaussian splatting has them (Kerbl et al. 2023): real
// spherical harmonics up to degree 3 in its order and signs, their exact derivative, and the entry
// points. CPU and CUDA run this same code without contraction: colors are the same bits.
//
//   u = (mean - center) / |mean - center|;  color = max(0, 1/2 + sum over k of c_k Y_k(u)).
//
// The gradient passes where the color is not held at 0. Each Y is a polynomial in u; its gradient
// is that of the polynomial, projected to directions across u, along which alone a mean turns its
// view. A mean at the camera's center sees the direction 0 and gets no gradient.
//
// Coefficients belong to a Gaussian, views to a Gaussian and a frame. So work is split by Gaussians
// and loops over frames: coefficients are read once, and their gradient, a sum over the frames, is
// written once, in a fixed order and without atomics.

#pragma once

#include <cmath>
#include <cstdint>

#include "portable.h"

namespace headsplat {

constexpr int kMostDegree = 3;
constexpr float kY0 = 0.28209479177387814f, kY1 = 0.4886025119029199f;
constexpr float kXy = 1.0925484305920792f, kZz = 0.31539156525252005f, kXxYy = 0.5462742152960396f;
constexpr float kYxx = -0.5900435899266435f, kXyz = 2.890611442640554f,
                kYzz = -0.4570457994644658f, kZzz = 0.3731763325901154f,
                kZxx = 1.445305721320277f;

struct HarmonicsTask {
  int batch, count, degree;
  int stored;             // coefficients of a Gaussian beyond the constant, at least those in use
  const float* constant;  // (count, 3)
  const float* rest;      // (count, stored, 3)
  const float* means;     // (batch, count, 3)
  const float* centers;   // (batch, 3)
};

// `T` is a float, or a vector of floats of Gaussians side by side.
template <typename T>
struct View {
  T x, y, z;      // of unit length
  T per_length;   // one over the distance

  HEADSPLAT_HD View(T dx, T dy, T dz, T length) {
    per_length = length > 0.0f ? 1.0f / length : T{};
    x = dx * per_length;
    y = dy * per_length;
    z = dz * per_length;
  }
  // In place: a gradient to the direction becomes one to the mean.
  HEADSPLAT_HD void to_mean(T gradient[3]) const {
    T along = x * gradient[0] + y * gradient[1] + z * gradient[2];
    gradient[0] = (gradient[0] - along * x) * per_length;
    gradient[1] = (gradient[1] - along * y) * per_length;
    gradient[2] = (gradient[2] - along * z) * per_length;
  }
};

template <int kDegree>
struct Harmonics {
  static constexpr int kUsed = (kDegree + 1) * (kDegree + 1);

  template <typename T>
  HEADSPLAT_HD static void evaluate(const View<T>& u, T value[kUsed]) {
    value[0] = T{} + kY0;
    if constexpr (kDegree > 0) {
      value[1] = -kY1 * u.y;
      value[2] = kY1 * u.z;
      value[3] = -kY1 * u.x;
    }
    if constexpr (kDegree > 1) {
      T xx = u.x * u.x, yy = u.y * u.y, zz = u.z * u.z, xy = u.x * u.y;
      value[4] = kXy * xy;
      value[5] = -kXy * u.y * u.z;
      value[6] = kZz * (2.0f * zz - xx - yy);
      value[7] = -kXy * u.x * u.z;
      value[8] = kXxYy * (xx - yy);
      if constexpr (kDegree > 2) {
        T steep = kYzz * (4.0f * zz - xx - yy);
        value[9] = kYxx * u.y * (3.0f * xx - yy);
        value[10] = kXyz * xy * u.z;
        value[11] = steep * u.y;
        value[12] = kZzz * u.z * (2.0f * zz - 3.0f * xx - 3.0f * yy);
        value[13] = steep * u.x;
        value[14] = kZxx * u.z * (xx - yy);
        value[15] = kYxx * u.x * (xx - 3.0f * yy);
      }
    }
  }

  // Gradient to u of the sum of w_k Y_k(u).
  template <typename T>
  HEADSPLAT_HD static void gradient(const View<T>& u, const T w[kUsed], T out[3]) {
    out[0] = out[1] = out[2] = T{};
    if constexpr (kDegree > 0) {
      out[0] = -kY1 * w[3];
      out[1] = -kY1 * w[1];
      out[2] = kY1 * w[2];
    }
    if constexpr (kDegree > 1) {
      T x = u.x, y = u.y, z = u.z;
      out[0] += kXy * (y * w[4] - z * w[7]) + 2.0f * x * (kXxYy * w[8] - kZz * w[6]);
      out[1] += kXy * (x * w[4] - z * w[5]) - 2.0f * y * (kXxYy * w[8] + kZz * w[6]);
      out[2] += 4.0f * kZz * z * w[6] - kXy * (y * w[5] + x * w[7]);
      if constexpr (kDegree > 2) {
        T xx = x * x, yy = y * y, zz = z * z, xy = x * y, xz = x * z, yz = y * z;
        out[0] += kYxx * (6.0f * xy * w[9] + 3.0f * (xx - yy) * w[15]) + kXyz * yz * w[10] +
                  kYzz * ((4.0f * zz - 3.0f * xx - yy) * w[13] - 2.0f * xy * w[11]) -
                  6.0f * kZzz * xz * w[12] + 2.0f * kZxx * xz * w[14];
        out[1] += kYxx * (3.0f * (xx - yy) * w[9] - 6.0f * xy * w[15]) + kXyz * xz * w[10] +
                  kYzz * ((4.0f * zz - xx - 3.0f * yy) * w[11] - 2.0f * xy * w[13]) -
                  6.0f * kZzz * yz * w[12] - 2.0f * kZxx * yz * w[14];
        out[2] += kXyz * xy * w[10] + 8.0f * kYzz * (yz * w[11] + xz * w[13]) +
                  3.0f * kZzz * (2.0f * zz - xx - yy) * w[12] + kZxx * (xx - yy) * w[14];
      }
    }
  }

  // Before it is held at 0; coefficients are (kUsed, 3).
  template <typename T>
  HEADSPLAT_HD static void color(const T* coefficients, const T value[kUsed], T out[3]) {
    for (int c = 0; c < 3; ++c) {
      out[c] = coefficients[c] * value[0];
      for (int k = 1; k < kUsed; ++k) out[c] = out[c] + coefficients[3 * k + c] * value[k];
      out[c] = out[c] + 0.5f;
    }
  }

  // Adds one view's share to the coefficients' gradient and gives the mean's; `d_color` is
  // changed.
  template <typename T>
  HEADSPLAT_HD static void backward(const T* coefficients, const View<T>& u, T d_color[3],
                                    T* d_coefficients, T d_mean[3]) {
    T value[kUsed], out[3], slope[kUsed];
    evaluate(u, value);
    color(coefficients, value, out);
    for (int c = 0; c < 3; ++c) d_color[c] = out[c] < 0.0f ? T{} : d_color[c];
    for (int k = 0; k < kUsed; ++k) {
      const T* of = coefficients + 3 * k;
      slope[k] = of[0] * d_color[0] + of[1] * d_color[1] + of[2] * d_color[2];
      for (int c = 0; c < 3; ++c)
        d_coefficients[3 * k + c] = d_coefficients[3 * k + c] + value[k] * d_color[c];
    }
    gradient(u, slope, d_mean);
    u.to_mean(d_mean);
  }
};

// Shapes of the gradients, all of which are written in full: as the inputs.
struct HarmonicsGradients {
  float *constant, *rest, *means;
};

// `colors` and `d_colors`: (batch, count, 3).
void harmonic_colors_cpu(const HarmonicsTask& task, float* colors, int threads);
void harmonic_colors_backward_cpu(const HarmonicsTask& task, const float* d_colors,
                                   const HarmonicsGradients& out, int threads);

// Enqueue work on `stream`, synchronize nothing, and return null or what the CUDA runtime said.
const char* harmonic_colors_cuda(const HarmonicsTask& task, float* colors, void* stream);
const char* harmonic_colors_backward_cuda(const HarmonicsTask& task, const float* d_colors,
                                           const HarmonicsGradients& out, void* stream);

}  // namespace headsplat
