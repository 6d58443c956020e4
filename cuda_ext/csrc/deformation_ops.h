// The deformation operators' checks and buffers, the same for both back ends; `On` runs the work.
// Checks look at shapes, types and devices, never at values.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "checks.h"
#include "deformation.h"
#include "harmonics.h"

namespace headsplat {

inline void check_counts(const at::Tensor& tensor, const char* name, int64_t last) {
  TORCH_CHECK_VALUE(tensor.dim() == 3 && (last == 0 || tensor.size(2) == last), name,
                    ": expected shape [B, N, ", last == 0 ? "K" : std::to_string(last), "], got ",
                    tensor.sizes());
  TORCH_CHECK_VALUE(tensor.size(0) <= 65535, name, ": expected at most 65535 frames, got ",
                    tensor.size(0));
  TORCH_CHECK_VALUE(tensor.size(1) <= (1 << 24), name, ": expected at most 2^24 Gaussians, got ",
                    tensor.size(1));
}

inline const float* packed(const at::Tensor& tensor, const char* name, at::IntArrayRef shape,
                           at::Device device) {
  check_packed(tensor, name, at::kFloat, shape, device);
  return tensor.const_data_ptr<float>();
}

inline AnchorTask check_anchors(const at::Tensor& vertices, const at::Tensor& corners,
                                const at::Tensor& weights, const at::Tensor& heights) {
  check_counts(vertices, "vertices", 3);
  TORCH_CHECK_VALUE(heights.dim() == 1, "heights: expected shape [N], got ", heights.sizes());
  int64_t batch = vertices.size(0), rows = vertices.size(1), count = heights.size(0);
  TORCH_CHECK_VALUE(rows > 0 || count == 0, "vertices: expected at least one, got none");
  at::Device device = vertices.device();
  check_packed(corners, "corners", at::kInt, {count, 3}, device);
  return {static_cast<int>(batch),
          static_cast<int>(rows),
          static_cast<int>(count),
          packed(vertices, "vertices", {batch, rows, 3}, device),
          corners.const_data_ptr<int32_t>(),
          packed(weights, "weights", {count, 2}, device),
          packed(heights, "heights", {count}, device)};
}

inline HarmonicsTask check_harmonics(const at::Tensor& constant, const at::Tensor& rest,
                                     const at::Tensor& means, const at::Tensor& centers,
                                     int64_t degree) {
  check_counts(means, "means", 3);
  int64_t batch = means.size(0), count = means.size(1);
  at::Device device = means.device();
  TORCH_CHECK_VALUE(degree >= 0 && degree <= kMostDegree, "degree: expected 0 to ", kMostDegree,
                    ", got ", degree);
  TORCH_CHECK_VALUE(rest.dim() == 3, "rest: expected shape [N, M, 3], got ", rest.sizes());
  int64_t stored = rest.size(1), used = (degree + 1) * (degree + 1) - 1;
  TORCH_CHECK_VALUE(stored >= used && stored <= 1024, "rest: expected ", used,
                    " to 1024 coefficients a Gaussian, got ", stored);
  return {static_cast<int>(batch),
          static_cast<int>(count),
          static_cast<int>(degree),
          static_cast<int>(stored),
          packed(constant, "constant", {count, 1, 3}, device),
          packed(rest, "rest", {count, stored, 3}, device),
          packed(means, "means", {batch, count, 3}, device),
          packed(centers, "centers", {batch, 3}, device)};
}

inline BlendshapeTask check_blendshapes(const at::Tensor& mixed, const at::Tensor& positions,
                                        const at::Tensor& rotations, at::ArrayRef<double> units,
                                        double largest) {
  check_counts(positions, "positions", 3);
  int64_t batch = positions.size(0), count = positions.size(1);
  at::Device device = positions.device();
  BlendshapeTask task;
  constexpr size_t attributes = sizeof task.unit / sizeof *task.unit;
  TORCH_CHECK_VALUE(units.size() == attributes, "units: expected ", attributes, " numbers, got ",
                    units.size());
  task.batch = static_cast<int>(batch);
  task.count = static_cast<int>(count);
  for (size_t i = 0; i < attributes; ++i) task.unit[i] = static_cast<float>(units[i]);
  task.largest = static_cast<float>(largest);
  task.mixed = packed(mixed, "mixed", {batch, kBlendshapeNumbers * count}, device);
  task.positions = packed(positions, "positions", {batch, count, 3}, device);
  task.rotations = packed(rotations, "rotations", {batch, count, 4}, device);
  return task;
}

inline FlashAvatarTask check_flashavatar(const at::Tensor& outputs, const at::Tensor& rotation_base,
                                         const at::Tensor& scaling_base,
                                         const at::Tensor& positions) {
  check_counts(outputs, "outputs", 0);
  int64_t batch = outputs.size(0), count = outputs.size(1), stored = outputs.size(2);
  at::Device device = outputs.device();
  TORCH_CHECK_VALUE(stored >= kNetworkNumbers && stored <= 1024, "outputs: expected ",
                    kNetworkNumbers, " to 1024 numbers a Gaussian, got ", stored);
  return {static_cast<int>(batch),
          static_cast<int>(count),
          static_cast<int>(stored),
          packed(outputs, "outputs", {batch, count, stored}, device),
          packed(rotation_base, "rotation_base", {count, 4}, device),
          packed(scaling_base, "scaling_base", {count, 3}, device),
          packed(positions, "positions", {batch, count, 3}, device)};
}

template <class On>
struct DeformationOps {
  static at::Tensor like(const at::Tensor& tensor, at::IntArrayRef shape) {
    return at::empty(shape, tensor.options());
  }

  static std::tuple<at::Tensor, at::Tensor> anchors(const at::Tensor& vertices,
                                                    const at::Tensor& corners,
                                                    const at::Tensor& weights,
                                                    const at::Tensor& heights) {
    AnchorTask task = check_anchors(vertices, corners, weights, heights);
    typename On::Guard guard(vertices.device());
    at::Tensor positions = like(vertices, {task.batch, task.count, 3});
    at::Tensor rotations = like(vertices, {task.batch, task.count, 4});
    On::place_anchors(task, positions.data_ptr<float>(), rotations.data_ptr<float>());
    return {positions, rotations};
  }

  static at::Tensor harmonics(const at::Tensor& constant, const at::Tensor& rest,
                              const at::Tensor& means, const at::Tensor& centers, int64_t degree) {
    HarmonicsTask task = check_harmonics(constant, rest, means, centers, degree);
    typename On::Guard guard(means.device());
    at::Tensor colors = like(means, means.sizes());
    On::harmonic_colors(task, colors.data_ptr<float>());
    return colors;
  }

  static std::tuple<at::Tensor, at::Tensor, at::Tensor> harmonics_backward(
      const at::Tensor& d_colors, const at::Tensor& constant, const at::Tensor& rest,
      const at::Tensor& means, const at::Tensor& centers, int64_t degree) {
    HarmonicsTask task = check_harmonics(constant, rest, means, centers, degree);
    const float* d = packed(d_colors, "gradient of colors", means.sizes(), means.device());
    typename On::Guard guard(means.device());
    at::Tensor d_constant = like(constant, constant.sizes()), d_rest = like(rest, rest.sizes());
    at::Tensor d_means = like(means, means.sizes());
    On::harmonic_colors_backward(
        task, d,
        HarmonicsGradients{d_constant.data_ptr<float>(), d_rest.data_ptr<float>(),
                           d_means.data_ptr<float>()});
    return {d_constant, d_rest, d_means};
  }

  static std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> blendshapes(
      const at::Tensor& mixed, const at::Tensor& positions, const at::Tensor& rotations,
      at::ArrayRef<double> units, double largest) {
    BlendshapeTask task = check_blendshapes(mixed, positions, rotations, units, largest);
    typename On::Guard guard(mixed.device());
    at::Tensor means = like(mixed, positions.sizes()), quaternions = like(mixed, rotations.sizes());
    at::Tensor scales = like(mixed, positions.sizes()), colors = like(mixed, positions.sizes());
    at::Tensor opacities = like(mixed, {task.batch, task.count});
    On::blendshape_gaussians(
        task, BlendshapeGaussians<float>{means.data_ptr<float>(), quaternions.data_ptr<float>(),
                                         scales.data_ptr<float>(), opacities.data_ptr<float>(),
                                         colors.data_ptr<float>()});
    return {means, quaternions, scales, opacities, colors};
  }

  static at::Tensor blendshapes_backward(const at::Tensor& d_means, const at::Tensor& d_quats,
                                         const at::Tensor& d_scales, const at::Tensor& d_opacities,
                                         const at::Tensor& d_colors, const at::Tensor& mixed,
                                         const at::Tensor& positions, const at::Tensor& rotations,
                                         at::ArrayRef<double> units, double largest) {
    BlendshapeTask task = check_blendshapes(mixed, positions, rotations, units, largest);
    at::Device device = mixed.device();
    at::IntArrayRef threes = positions.sizes(), fours = rotations.sizes();
    BlendshapeGaussians<const float> d = {
        packed(d_means, "gradient of means", threes, device),
        packed(d_quats, "gradient of quats", fours, device),
        packed(d_scales, "gradient of scales", threes, device),
        packed(d_opacities, "gradient of opacities", {task.batch, task.count}, device),
        packed(d_colors, "gradient of colors", threes, device)};
    typename On::Guard guard(device);
    at::Tensor d_mixed = like(mixed, mixed.sizes());
    On::blendshape_gaussians_backward(task, d, d_mixed.data_ptr<float>());
    return d_mixed;
  }

  static std::tuple<at::Tensor, at::Tensor, at::Tensor> flashavatar(
      const at::Tensor& outputs, const at::Tensor& rotation_base, const at::Tensor& scaling_base,
      const at::Tensor& positions) {
    FlashAvatarTask task = check_flashavatar(outputs, rotation_base, scaling_base, positions);
    typename On::Guard guard(outputs.device());
    at::Tensor means = like(outputs, positions.sizes()), scales = like(outputs, positions.sizes());
    at::Tensor quaternions = like(outputs, {task.batch, task.count, 4});
    On::flashavatar_gaussians(
        task, FlashAvatarGaussians<float>{means.data_ptr<float>(), quaternions.data_ptr<float>(),
                                          scales.data_ptr<float>()});
    return {means, quaternions, scales};
  }

  static std::tuple<at::Tensor, at::Tensor, at::Tensor> flashavatar_backward(
      const at::Tensor& d_means, const at::Tensor& d_quats, const at::Tensor& d_scales,
      const at::Tensor& outputs, const at::Tensor& rotation_base, const at::Tensor& scaling_base,
      const at::Tensor& positions) {
    FlashAvatarTask task = check_flashavatar(outputs, rotation_base, scaling_base, positions);
    at::Device device = outputs.device();
    FlashAvatarGaussians<const float> d = {
        packed(d_means, "gradient of means", positions.sizes(), device),
        packed(d_quats, "gradient of quats", {task.batch, task.count, 4}, device),
        packed(d_scales, "gradient of scales", positions.sizes(), device)};
    typename On::Guard guard(device);
    at::Tensor d_outputs = like(outputs, outputs.sizes());
    at::Tensor d_rotation = like(rotation_base, rotation_base.sizes());
    at::Tensor d_scaling = like(scaling_base, scaling_base.sizes());
    On::flashavatar_gaussians_backward(
        task, d,
        FlashAvatarGradients{d_outputs.data_ptr<float>(), d_rotation.data_ptr<float>(),
                             d_scaling.data_ptr<float>()});
    return {d_outputs, d_rotation, d_scaling};
  }

  static void implement(torch::Library& library) {
    library.impl("place_anchors", &anchors);
    library.impl("harmonic_colors", &harmonics);
    library.impl("harmonic_colors_backward", &harmonics_backward);
    library.impl("blendshape_gaussians", &blendshapes);
    library.impl("blendshape_gaussians_backward", &blendshapes_backward);
    library.impl("flashavatar_gaussians", &flashavatar);
    library.impl("flashavatar_gaussians_backward", &flashavatar_backward);
  }
};

}  // namespace headsplat
