// The operators' names, their checks at the door, and their CPU side.

#include <ATen/Parallel.h>
#include <torch/library.h>

#include "checks.h"
#include "gaussian_tasks.h"
#include "triangles.h"

namespace headsplat {
namespace {

std::tuple<at::Tensor, at::Tensor> triangles(const at::Tensor& points, const at::Tensor& faces,
                                             int64_t width, int64_t height, bool cull) {
  TriangleOutputs out = check_triangles(points, faces, width, height, cull);
  const int32_t* corners = out.task.corners;
  for (int64_t i = 0; i < 3 * static_cast<int64_t>(out.task.faces); ++i)
    TORCH_CHECK_INDEX(corners[i] >= 0 && corners[i] < out.task.vertices, "faces: row ", i / 3,
                      " names vertex ", corners[i], " of ", out.task.vertices);
  rasterize_triangles_cpu(out.task, at::get_num_threads());
  return {out.face, out.weights};
}

GaussianPictures gaussians(const at::Tensor& means, const at::Tensor& quaternions,
                           const at::Tensor& scales, const at::Tensor& opacities,
                           const at::Tensor& colors, const at::Tensor& rotation,
                           const at::Tensor& translation, const at::Tensor& intrinsics,
                           const at::Tensor& background, int64_t width, int64_t height,
                           int64_t /* capacity: the CPU takes what it needs */) {
  GaussianTask task =
      check_gaussians({means, quaternions, scales, opacities, colors, rotation, translation,
                       intrinsics, background},
                      width, height);
  PictureTensors out = new_pictures(task, means.options());
  int64_t bad = rasterize_gaussians_cpu(task, out.pointers(), at::get_num_threads());
  TORCH_CHECK_VALUE(bad < 0, "Gaussian ", bad % task.count, " of frame ", bad / task.count,
                    " has a parameter that is not finite");
  at::Tensor need = at::empty({2}, out.reached.options());
  need.zero_();
  return {out.color, out.alpha, out.transmittance, out.reached,
          at::empty({0}, means.options().dtype(at::kByte)), at::empty({0}, need.options()), need};
}

GaussianGradients gaussians_backward(
    const at::Tensor& d_color, const std::optional<at::Tensor>& d_alpha, const at::Tensor& means,
    const at::Tensor& quaternions, const at::Tensor& scales, const at::Tensor& opacities,
    const at::Tensor& colors, const at::Tensor& rotation, const at::Tensor& translation,
    const at::Tensor& intrinsics, const at::Tensor& background, const at::Tensor& transmittance,
    const at::Tensor& reached, const at::Tensor& /* state */, const at::Tensor& /* list */,
    int64_t width, int64_t height, bool camera) {
  GaussianTask task =
      check_gaussians({means, quaternions, scales, opacities, colors, rotation, translation,
                       intrinsics, background},
                      width, height);
  PictureGradients in = check_picture_gradients(task, d_color, d_alpha, transmittance, reached);
  GradientTensors out = new_gradients(task, means.options(), camera);
  rasterize_gaussians_backward_cpu(task, in, out.pointers(camera), at::get_num_threads());
  return out.tuple();
}

}  // namespace

TORCH_LIBRARY(headsplat, library) {
  library.def(
      "rasterize_triangles(Tensor points, Tensor faces, int width, int height, bool cull) "
      "-> (Tensor face, Tensor weights)");
  library.def(
      "rasterize_gaussians(Tensor means, Tensor quaternions, Tensor scales, Tensor opacities, "
      "Tensor colors, Tensor rotation, Tensor translation, Tensor intrinsics, Tensor background, "
      "int width, int height, int capacity) -> (Tensor color, Tensor alpha, Tensor transmittance, "
      "Tensor reached, Tensor state, Tensor list, Tensor need)");
  library.def(
      "rasterize_gaussians_backward(Tensor d_color, Tensor? d_alpha, Tensor means, "
      "Tensor quaternions, Tensor scales, Tensor opacities, Tensor colors, Tensor rotation, "
      "Tensor translation, Tensor intrinsics, Tensor background, Tensor transmittance, "
      "Tensor reached, Tensor state, Tensor list, int width, int height, bool camera) -> "
      "(Tensor means, Tensor quaternions, Tensor scales, Tensor opacities, Tensor colors, "
      "Tensor rotation, Tensor translation)");
}

TORCH_LIBRARY_IMPL(headsplat, CPU, library) {
  library.impl("rasterize_triangles", &triangles);
  library.impl("rasterize_gaussians", &gaussians);
  library.impl("rasterize_gaussians_backward", &gaussians_backward);
}

}  // namespace headsplat
