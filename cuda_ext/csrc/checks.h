// Checks at the operators' door; they look at shapes, types and devices, never at values.

#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

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

}  // namespace headsplat
