// Checks at the operators' door; they look at shapes, types and devices, never at values.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include "gaussian_tasks.h"
#include "lpips.h"
#include "image_loss.h"
#include "triangles.h"

namespace headsplat {

inline void check_tensor(const at::Tensor& tensor, const char* name, at::ScalarType type,
                         at::IntArrayRef shape, at::Device device) {
  TORCH_CHECK_VALUE(tensor.sizes() == shape, name, ": expected shape ", shape, ", got ",
                    tensor.sizes());
  TORCH_CHECK_TYPE(tensor.scalar_type() == type, name, ": expected ", type, ", got ",
                   tensor.scalar_type());
  TORCH_CHECK_VALUE(tensor.device() == device, name, ": expected device ", device, ", got ",
                    tensor.device());
}

inline void check_size(int64_t width, int64_t height) {
  TORCH_CHECK_VALUE(width >= 1 && height >= 1 && width <= 16384 && height <= 16384,
                    "image size: expected 1..16384 pixels a side, got ", width, " x ", height);
}

struct TriangleOutputs {
  at::Tensor face, weights;
  TriangleTask task;
};

inline TriangleOutputs check_triangles(const at::Tensor& points, const at::Tensor& faces,
                                       int64_t width, int64_t height, bool cull) {
  TORCH_CHECK_VALUE(points.dim() == 3, "points: expected shape [B, V, 3], got ", points.sizes());
  TORCH_CHECK_VALUE(faces.dim() == 2, "faces: expected shape [F, 3], got ", faces.sizes());
  int64_t batch = points.size(0), vertices = points.size(1), count = faces.size(0);
  check_size(width, height);
  check_tensor(points, "points", at::kFloat, {batch, vertices, 3}, points.device());
  check_tensor(faces, "faces", at::kInt, {count, 3}, points.device());
  TORCH_CHECK_VALUE(points.is_contiguous() && faces.is_contiguous(),
                    "points and faces: expected contiguous tensors");
  TriangleOutputs out;
  out.face = at::empty({batch, height, width}, faces.options());
  out.weights = at::empty({batch, height, width, 3}, points.options());
  out.task = {static_cast<int>(batch), static_cast<int>(vertices), static_cast<int>(count),
              static_cast<int>(width), static_cast<int>(height), cull,
              points.const_data_ptr<float>(), faces.const_data_ptr<int32_t>(),
              out.face.data_ptr<int32_t>(), out.weights.data_ptr<float>()};
  return out;
}

struct GaussianInputs {
  const at::Tensor &means, &quaternions, &scales, &opacities, &colors;
  const at::Tensor &rotation, &translation, &intrinsics, &background;
};

// Shape [B, N, ...]; packed within a frame. Returns the stride between frames (0: shared).
inline int64_t check_parameter(const at::Tensor& tensor, const char* name, at::IntArrayRef shape,
                               at::Device device) {
  check_tensor(tensor, name, at::kFloat, shape, device);
  int64_t packed = 1;
  for (int64_t axis = tensor.dim() - 1; axis > 0; --axis) {
    TORCH_CHECK_VALUE(tensor.stride(axis) == packed || tensor.numel() == 0 || tensor.size(axis) == 1,
                      name, ": expected frames that are contiguous, got strides ",
                      tensor.strides());
    packed *= tensor.size(axis);
  }
  return tensor.stride(0);
}

inline void check_packed(const at::Tensor& tensor, const char* name, at::ScalarType type,
                         at::IntArrayRef shape, at::Device device) {
  check_tensor(tensor, name, type, shape, device);
  TORCH_CHECK_VALUE(tensor.is_contiguous(), name, ": expected a contiguous tensor");
}

inline GaussianTask check_gaussians(const GaussianInputs& in, int64_t width, int64_t height) {
  check_size(width, height);
  TORCH_CHECK_VALUE(in.means.dim() == 3, "means: expected shape [B, N, 3], got ", in.means.sizes());
  int64_t batch = in.means.size(0), count = in.means.size(1);
  at::Device device = in.means.device();
  GaussianTask task;
  task.batch = static_cast<int>(batch);
  task.count = static_cast<int>(count);
  task.width = static_cast<int>(width);
  task.height = static_cast<int>(height);
  task.mean_stride = check_parameter(in.means, "means", {batch, count, 3}, device);
  task.quaternion_stride = check_parameter(in.quaternions, "quats", {batch, count, 4}, device);
  task.scale_stride = check_parameter(in.scales, "scales", {batch, count, 3}, device);
  task.opacity_stride = check_parameter(in.opacities, "opacities", {batch, count}, device);
  task.color_stride = check_parameter(in.colors, "colors", {batch, count, 3}, device);
  check_packed(in.rotation, "R", at::kFloat, {batch, 3, 3}, device);
  check_packed(in.translation, "t", at::kFloat, {batch, 3}, device);
  check_packed(in.intrinsics, "K4", at::kFloat, {batch, 4}, device);
  check_packed(in.background, "background", at::kFloat, {batch, 3}, device);
  task.means = in.means.const_data_ptr<float>();
  task.quaternions = in.quaternions.const_data_ptr<float>();
  task.scales = in.scales.const_data_ptr<float>();
  task.opacities = in.opacities.const_data_ptr<float>();
  task.colors = in.colors.const_data_ptr<float>();
  task.rotations = in.rotation.const_data_ptr<float>();
  task.translations = in.translation.const_data_ptr<float>();
  task.intrinsics = in.intrinsics.const_data_ptr<float>();
  task.backgrounds = in.background.const_data_ptr<float>();
  return task;
}

// color, alpha, transmittance, reached, state, list, need
using GaussianImages = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor,
                                    at::Tensor, at::Tensor>;

struct ImageTensors {
  at::Tensor color, alpha, transmittance, reached;

  Images pointers() const {
    return {color.data_ptr<float>(), alpha.data_ptr<float>(), transmittance.data_ptr<float>(),
            reached.data_ptr<int32_t>()};
  }
};

inline ImageTensors new_images(const GaussianTask& task, const at::TensorOptions& options) {
  at::DimVector plane = {task.batch, task.height, task.width};
  return {at::empty({task.batch, task.height, task.width, 3}, options), at::empty(plane, options),
          at::empty(plane, options), at::empty(plane, options.dtype(at::kInt))};
}

inline ImageGradients check_image_gradients(const GaussianTask& task, const at::Tensor& d_color,
                                                const std::optional<at::Tensor>& d_alpha,
                                                const at::Tensor& transmittance,
                                                const at::Tensor& reached) {
  at::DimVector plane = {task.batch, task.height, task.width};
  at::Device device = transmittance.device();
  check_packed(d_color, "gradient of color", at::kFloat,
               {task.batch, task.height, task.width, 3}, device);
  if (d_alpha) check_packed(*d_alpha, "gradient of alpha", at::kFloat, plane, device);
  check_packed(transmittance, "transmittance", at::kFloat, plane, device);
  check_packed(reached, "reached", at::kInt, plane, device);
  return {d_color.const_data_ptr<float>(),
          d_alpha ? d_alpha->const_data_ptr<float>() : nullptr,
          transmittance.const_data_ptr<float>(), reached.const_data_ptr<int32_t>()};
}

// means, quaternions, scales, opacities, colors, rotation, translation
using GaussianGradients = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor,
                                     at::Tensor, at::Tensor>;

struct GradientTensors {
  at::Tensor means, quaternions, scales, opacities, colors, rotations, translations;

  Gradients pointers(bool camera) const {
    return {means.data_ptr<float>(), quaternions.data_ptr<float>(), scales.data_ptr<float>(),
            opacities.data_ptr<float>(), colors.data_ptr<float>(),
            camera ? rotations.data_ptr<float>() : nullptr,
            camera ? translations.data_ptr<float>() : nullptr};
  }
  GaussianGradients tuple() const {
    return {means, quaternions, scales, opacities, colors, rotations, translations};
  }
};

inline GradientTensors new_gradients(const GaussianTask& task, const at::TensorOptions& options,
                                     bool camera) {
  int64_t batch = task.batch, count = task.count, frames = camera ? batch : 0;
  return {at::empty({batch, count, 3}, options), at::empty({batch, count, 4}, options),
          at::empty({batch, count, 3}, options), at::empty({batch, count}, options),
          at::empty({batch, count, 3}, options), at::empty({frames, 3, 3}, options),
          at::empty({frames, 3}, options)};
}

// Rows are looked at where that costs nothing: on the CPU, by the caller.
inline ImageLossTask check_image_loss(const at::Tensor& rendered, const at::Tensor& images,
                                          const at::Tensor& rows, const at::Tensor& background,
                                          double mouth, int64_t reduction) {
  TORCH_CHECK_VALUE(reduction == 1 || reduction == 2, "reduction: expected 1 or 2, got ",
                    reduction);
  TORCH_CHECK_VALUE(images.dim() == 4, "images: expected shape [T, H, W, 5], got ",
                    images.sizes());
  TORCH_CHECK_VALUE(rows.dim() == 1, "rows: expected shape [B], got ", rows.sizes());
  int64_t frames = images.size(0), height = images.size(1), width = images.size(2);
  int64_t batch = rows.size(0);
  check_size(width, height);
  check_size(width / reduction, height / reduction);
  at::Device device = rendered.device();
  check_packed(images, "images", at::kByte, {frames, height, width, kPlanes}, device);
  TORCH_CHECK_VALUE(frames >= 1, "images: expected at least one frame, got none");
  check_packed(rows, "rows", at::kLong, {batch}, device);
  check_packed(rendered, "image", at::kFloat, {batch, height / reduction, width / reduction, 3},
               device);
  check_packed(background, "background", at::kFloat, {batch, 3}, device);
  return {static_cast<int>(batch), static_cast<int>(frames), static_cast<int>(height),
          static_cast<int>(width), static_cast<int>(reduction), static_cast<float>(mouth),
          rendered.const_data_ptr<float>(), images.const_data_ptr<uint8_t>(),
          rows.const_data_ptr<int64_t>(), background.const_data_ptr<float>()};
}

// Shape [B, C, H, W] in bfloat16 with channels last in memory, for loads of 16 bytes.
inline void check_features(const at::Tensor& tensor, const char* name, at::IntArrayRef shape,
                           at::Device device) {
  check_tensor(tensor, name, at::kBFloat16, shape, device);
  TORCH_CHECK_VALUE(tensor.is_contiguous(at::MemoryFormat::ChannelsLast) &&
                        reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0,
                    name, ": expected channels last in memory from a multiple of 16 bytes on, got ",
                    "strides ", tensor.strides());
}

inline LpipsTask check_lpips(const at::Tensor& have, const at::Tensor& want,
                             const at::Tensor& weight) {
  TORCH_CHECK_VALUE(have.dim() == 4, "have: expected shape [B, C, H, W], got ", have.sizes());
  int64_t batch = have.size(0), channels = have.size(1);
  int64_t height = have.size(2), width = have.size(3);
  TORCH_CHECK_VALUE(channels == 64 || channels == 128 || channels == 256 || channels == 512,
                    "have: expected 64, 128, 256 or 512 channels, got ", channels);
  TORCH_CHECK_VALUE(batch <= 65535, "have: expected at most 65535 images, got ", batch);
  check_size(width, height);
  check_features(have, "have", have.sizes(), have.device());
  check_features(want, "want", have.sizes(), have.device());
  check_packed(weight, "weight", at::kFloat, {channels}, have.device());
  TORCH_CHECK_VALUE(reinterpret_cast<uintptr_t>(weight.const_data_ptr()) % 16 == 0,
                    "weight: expected to begin at a multiple of 16 bytes");
  return {static_cast<int>(batch), static_cast<int>(channels), static_cast<int>(height),
          static_cast<int>(width), static_cast<const uint16_t*>(have.const_data_ptr()),
          static_cast<const uint16_t*>(want.const_data_ptr()), weight.const_data_ptr<float>()};
}

}  // namespace headsplat
