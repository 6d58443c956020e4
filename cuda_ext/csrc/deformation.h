// From codes to Gaussians: what comes after the matrix products of the deformation models, one
// Gaussian of one frame at a time, and its exact derivative. CPU and CUDA run this same code.
//
//   anchor:      p = a + b1 (b - a) + b2 (c - a) + h n on a posed triangle a, b, c with the unit
//                normal n; r turns the axes to (first edge, n x first edge, n)
//   blendshapes: mean = p + r offset, quaternion = r quat, scale = exp(min(log_scale, largest)),
//                opacity = sigmoid(opacity), color as it is; each stored number times the unit of
//                its attribute
//   flashavatar: t = tanh(output of the network), ten numbers; mean = p + t[0..2],
//                quaternion = base (exp t[3], t[4..6]), scale = exp(base exp t[7..9])
//
// As tensor operators each of these is some dozens of passes over all Gaussians, and their
// gradients again; here it is one pass each way that keeps nothing in between. What is stored once
// for all frames gets a gradient that is a sum over frames, made in a fixed order.

#pragma once

#include <cmath>
#include <cstdint>

#include "portable.h"

namespace headsplat {

struct Quaternion {
  float w, x, y, z;

  HEADSPLAT_HD static Quaternion load(const float* from) {
    return {from[0], from[1], from[2], from[3]};
  }
  HEADSPLAT_HD void store(float* to) const {
    to[0] = w;
    to[1] = x;
    to[2] = y;
    to[3] = z;
  }
  HEADSPLAT_HD Quaternion conjugate() const { return {w, -x, -y, -z}; }
  HEADSPLAT_HD Quaternion times(float factor) const {
    return {w * factor, x * factor, y * factor, z * factor};
  }
};

HEADSPLAT_HD Quaternion operator*(const Quaternion& a, const Quaternion& b) {
  return {a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z,
          a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
          a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x,
          a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
}

struct Vector {
  float x, y, z;

  HEADSPLAT_HD static Vector load(const float* from) { return {from[0], from[1], from[2]}; }
  HEADSPLAT_HD void store(float* to) const {
    to[0] = x;
    to[1] = y;
    to[2] = z;
  }
  HEADSPLAT_HD Vector times(float factor) const { return {x * factor, y * factor, z * factor}; }
  HEADSPLAT_HD float length() const { return sqrtf(x * x + y * y + z * z); }
};

HEADSPLAT_HD Vector operator+(const Vector& a, const Vector& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z};
}

HEADSPLAT_HD Vector operator-(const Vector& a, const Vector& b) {
  return {a.x - b.x, a.y - b.y, a.z - b.z};
}

HEADSPLAT_HD Vector cross(const Vector& a, const Vector& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

// By a unit quaternion; linear in `v`, and the conjugate gives the transpose, whatever its length.
HEADSPLAT_HD Vector turn(const Quaternion& q, const Vector& v) {
  Vector axis = {q.x, q.y, q.z}, moved = cross(axis, v);
  return v + (moved.times(q.w) + cross(axis, moved)).times(2);
}

// ---- anchors

struct AnchorTask {
  int batch, vertices, count;
  const float* points;     // (batch, vertices, 3)
  const int32_t* corners;  // (count, 3); outside of the vertices counts as the nearest inside
  const float* weights;    // (count, 2), of the second and the third corner
  const float* heights;    // (count,), along the normal

  HEADSPLAT_HD Vector corner(int frame, int anchor, int which) const {
    int row = corners[3 * anchor + which];
    row = row < 0 ? 0 : (row < vertices ? row : vertices - 1);
    return Vector::load(points + 3 * (static_cast<int64_t>(frame) * vertices + row));
  }
};

// Of the rotation matrix with these columns. q q^T is linear in the matrix, and each of its rows is
// q times one of q's entries: the row of the largest entry divides best.
HEADSPLAT_HD Quaternion quaternion_of(const Vector& a, const Vector& b, const Vector& c) {
  float square[4] = {1 + a.x + b.y + c.z, 1 + a.x - b.y - c.z, 1 - a.x + b.y - c.z,
                     1 - a.x - b.y + c.z};
  float x_w = b.z - c.y, y_w = c.x - a.z, z_w = a.y - b.x;
  float x_y = a.y + b.x, x_z = a.z + c.x, y_z = b.z + c.y;
  Quaternion row = {square[0], x_w, y_w, z_w};
  float largest = square[0];
  if (square[1] > largest) {
    row = {x_w, square[1], x_y, x_z};
    largest = square[1];
  }
  if (square[2] > largest) {
    row = {y_w, x_y, square[2], y_z};
    largest = square[2];
  }
  if (square[3] > largest) {
    row = {z_w, x_z, y_z, square[3]};
    largest = square[3];
  }
  return row.times(0.5f / sqrtf(largest));
}

HEADSPLAT_HD void place_anchor(const AnchorTask& task, int frame, int anchor, float* positions,
                               float* rotations) {
  constexpr float kShortest = 1e-12f, kNoArea = 1e-11f;
  Vector origin = task.corner(frame, anchor, 0);
  Vector first = task.corner(frame, anchor, 1) - origin;
  Vector second = task.corner(frame, anchor, 2) - origin;
  Vector normal = cross(first, second);
  float length = first.length(), area = normal.length();
  Vector tangent = first.times(1 / (length < kShortest ? kShortest : length));
  normal = normal.times(1 / (area < kShortest ? kShortest : area));
  const float* weight = task.weights + 2 * anchor;
  int64_t at = static_cast<int64_t>(frame) * task.count + anchor;
  Vector flat = origin + first.times(weight[0]) + second.times(weight[1]);
  (flat + normal.times(task.heights[anchor])).store(positions + 3 * at);
  // A collapsed triangle (a shut lid) has no frame of its own.
  Quaternion rotation = {1, 0, 0, 0};
  if (!(area <= kNoArea)) rotation = quaternion_of(tangent, cross(normal, tangent), normal);
  rotation.store(rotations + 4 * at);
}

// ---- blendshapes

struct BlendshapeTask {
  int batch, count;
  float unit[5];           // of offset, quat, log_scale, opacity, color
  float largest;           // log_scale
  const float* mixed;      // (batch, 14 count): the attributes, each contiguous over the Gaussians
  const float* positions;  // (batch, count, 3)
  const float* rotations;  // (batch, count, 4)
};

constexpr int kBlendshapeNumbers = 14;

// Where one Gaussian's attributes lie within `mixed`.
template <typename Value>
struct Attributes {
  Value *offset, *quaternion, *log_scale, *opacity, *color;

  HEADSPLAT_HD Attributes(Value* mixed, const BlendshapeTask& task, int frame, int index) {
    int64_t count = task.count;
    mixed += kBlendshapeNumbers * count * frame;
    offset = mixed + 3 * index;
    quaternion = mixed + 3 * count + 4 * index;
    log_scale = mixed + 7 * count + 3 * index;
    opacity = mixed + 10 * count + index;
    color = mixed + 11 * count + 3 * index;
  }
};

template <typename Value>
struct BlendshapeGaussians {  // or the gradients to them
  Value *means, *quaternions, *scales, *opacities, *colors;
};

HEADSPLAT_HD float sigmoid(float x) { return 1 / (1 + expf(-x)); }

HEADSPLAT_HD float bounded_exp(float log_scale, float largest) {
  return expf(log_scale > largest ? largest : log_scale);
}

HEADSPLAT_HD void place_blendshape(const BlendshapeTask& task, int frame, int index,
                                   const BlendshapeGaussians<float>& out) {
  int64_t at = static_cast<int64_t>(frame) * task.count + index;
  Attributes<const float> in(task.mixed, task, frame, index);
  Quaternion rotation = Quaternion::load(task.rotations + 4 * at);
  Vector offset = Vector::load(in.offset).times(task.unit[0]);
  (Vector::load(task.positions + 3 * at) + turn(rotation, offset)).store(out.means + 3 * at);
  (rotation * Quaternion::load(in.quaternion).times(task.unit[1])).store(out.quaternions + 4 * at);
  for (int i = 0; i < 3; ++i) {
    out.scales[3 * at + i] = bounded_exp(in.log_scale[i] * task.unit[2], task.largest);
    out.colors[3 * at + i] = in.color[i] * task.unit[4];
  }
  out.opacities[at] = sigmoid(in.opacity[0] * task.unit[3]);
}

HEADSPLAT_HD void unplace_blendshape(const BlendshapeTask& task, int frame, int index,
                                     const BlendshapeGaussians<const float>& d, float* d_mixed) {
  int64_t at = static_cast<int64_t>(frame) * task.count + index;
  Attributes<const float> in(task.mixed, task, frame, index);
  Attributes<float> out(d_mixed, task, frame, index);
  Quaternion back = Quaternion::load(task.rotations + 4 * at).conjugate();
  turn(back, Vector::load(d.means + 3 * at)).times(task.unit[0]).store(out.offset);
  (back * Quaternion::load(d.quaternions + 4 * at)).times(task.unit[1]).store(out.quaternion);
  for (int i = 0; i < 3; ++i) {
    float log_scale = in.log_scale[i] * task.unit[2];
    float slope = log_scale > task.largest ? 0 : expf(log_scale);
    out.log_scale[i] = d.scales[3 * at + i] * slope * task.unit[2];
    out.color[i] = d.colors[3 * at + i] * task.unit[4];
  }
  float opacity = sigmoid(in.opacity[0] * task.unit[3]);
  out.opacity[0] = d.opacities[at] * ((1 - opacity) * opacity) * task.unit[3];
}

// ---- flashavatar

constexpr int kNetworkNumbers = 10;  // per Gaussian and frame that count; more may be stored
constexpr int kBaseNumbers = 7;      // quaternion, then scale

struct FlashAvatarTask {
  int batch, count, stored;
  const float* outputs;        // (batch, count, stored)
  const float* rotation_base;  // (count, 4)
  const float* scaling_base;   // (count, 3)
  const float* positions;      // (batch, count, 3)
};

template <typename Value>
struct FlashAvatarGaussians {  // or the gradients to them
  Value *means, *quaternions, *scales;
};

struct FlashAvatarGradients {  // shapes as of the inputs
  float *outputs, *rotation_base, *scaling_base;
};

// `t` are the ten outputs after tanh.
HEADSPLAT_HD void place_flashavatar(const FlashAvatarTask& task, int frame, int index,
                                    const float t[kNetworkNumbers],
                                    const FlashAvatarGaussians<float>& out) {
  int64_t at = static_cast<int64_t>(frame) * task.count + index;
  (Vector::load(task.positions + 3 * at) + Vector::load(t)).store(out.means + 3 * at);
  Quaternion delta = {expf(t[3]), t[4], t[5], t[6]};
  (Quaternion::load(task.rotation_base + 4 * index) * delta).store(out.quaternions + 4 * at);
  const float* base = task.scaling_base + 3 * index;
  for (int i = 0; i < 3; ++i) out.scales[3 * at + i] = expf(base[i] * expf(t[7 + i]));
}

// Writes the gradient to the outputs before tanh, and adds the one to the bases to `sums`.
HEADSPLAT_HD void unplace_flashavatar(const FlashAvatarTask& task, int frame, int index,
                                      const float t[kNetworkNumbers],
                                      const FlashAvatarGaussians<const float>& d,
                                      float d_output[kNetworkNumbers], float sums[kBaseNumbers]) {
  int64_t at = static_cast<int64_t>(frame) * task.count + index;
  float d_t[kNetworkNumbers];
  Vector::load(d.means + 3 * at).store(d_t);
  Quaternion base = Quaternion::load(task.rotation_base + 4 * index);
  Quaternion d_quaternion = Quaternion::load(d.quaternions + 4 * at);
  Quaternion delta = {expf(t[3]), t[4], t[5], t[6]};
  (base.conjugate() * d_quaternion).store(d_t + 3);
  d_t[3] *= delta.w;
  Quaternion d_base = d_quaternion * delta.conjugate();
  sums[0] += d_base.w;
  sums[1] += d_base.x;
  sums[2] += d_base.y;
  sums[3] += d_base.z;
  for (int i = 0; i < 3; ++i) {
    float log_scale = task.scaling_base[3 * index + i], factor = expf(t[7 + i]);
    float d_product = d.scales[3 * at + i] * expf(log_scale * factor) * factor;
    sums[4 + i] += d_product;
    d_t[7 + i] = d_product * log_scale;
  }
  for (int i = 0; i < kNetworkNumbers; ++i) d_output[i] = d_t[i] * (1 - t[i] * t[i]);
}

// ---- entry points; everything is contiguous, and all outputs are written in full

void place_anchors_cpu(const AnchorTask& task, float* positions, float* rotations, int threads);
void blendshape_gaussians_cpu(const BlendshapeTask& task, const BlendshapeGaussians<float>& out,
                              int threads);
void blendshape_gaussians_backward_cpu(const BlendshapeTask& task,
                                       const BlendshapeGaussians<const float>& d, float* d_mixed,
                                       int threads);
void flashavatar_gaussians_cpu(const FlashAvatarTask& task, const FlashAvatarGaussians<float>& out,
                               int threads);
void flashavatar_gaussians_backward_cpu(const FlashAvatarTask& task,
                                        const FlashAvatarGaussians<const float>& d,
                                        const FlashAvatarGradients& out, int threads);

// Enqueue work on `stream`, synchronize nothing, and return null or what the CUDA runtime said.
const char* place_anchors_cuda(const AnchorTask& task, float* positions, float* rotations,
                               void* stream);
const char* blendshape_gaussians_cuda(const BlendshapeTask& task,
                                      const BlendshapeGaussians<float>& out, void* stream);
const char* blendshape_gaussians_backward_cuda(const BlendshapeTask& task,
                                               const BlendshapeGaussians<const float>& d,
                                               float* d_mixed, void* stream);
const char* flashavatar_gaussians_cuda(const FlashAvatarTask& task,
                                       const FlashAvatarGaussians<float>& out, void* stream);
const char* flashavatar_gaussians_backward_cuda(const FlashAvatarTask& task,
                                                const FlashAvatarGaussians<const float>& d,
                                                const FlashAvatarGradients& out, void* stream);

}  // namespace headsplat
