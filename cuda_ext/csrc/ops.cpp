// The operators' names, their checks at the door, and their CPU side.

#include <ATen/Parallel.h>
#include <torch/library.h>

#include "checks.h"
#include "gaussian_tasks.h"
#include "image_loss.h"
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

GaussianImages gaussians(const at::Tensor& means, const at::Tensor& quaternions,
                           const at::Tensor& scales, const at::Tensor& opacities,
                           const at::Tensor& colors, const at::Tensor& rotation,
                           const at::Tensor& translation, const at::Tensor& intrinsics,
                           const at::Tensor& background, int64_t width, int64_t height,
                           int64_t /* capacity: the CPU takes what it needs */) {
  GaussianTask task =
      check_gaussians({means, quaternions, scales, opacities, colors, rotation, translation,
                       intrinsics, background},
                      width, height);
  ImageTensors out = new_images(task, means.options());
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
  ImageGradients in = check_image_gradients(task, d_color, d_alpha, transmittance, reached);
  GradientTensors out = new_gradients(task, means.options(), camera);
  rasterize_gaussians_backward_cpu(task, in, out.pointers(camera), at::get_num_threads());
  return out.tuple();
}

void check_rows(const ImageLossTask& task) {
  for (int b = 0; b < task.batch; ++b)
    TORCH_CHECK_INDEX(task.rows[b] >= 0 && task.rows[b] < task.frames, "rows: entry ", b,
                      " names image ", task.rows[b], " of ", task.frames);
}

at::Tensor image_loss(const at::Tensor& rendered, const at::Tensor& images,
                        const at::Tensor& rows, const at::Tensor& background, double mouth,
                        int64_t reduction) {
  ImageLossTask task = check_image_loss(rendered, images, rows, background, mouth, reduction);
  check_rows(task);
  at::Tensor loss = at::empty({task.batch}, rendered.options());
  image_loss_cpu(task, loss.data_ptr<float>(), at::get_num_threads());
  return loss;
}

at::Tensor image_loss_backward(const at::Tensor& d_loss, const at::Tensor& rendered,
                                 const at::Tensor& images, const at::Tensor& rows,
                                 const at::Tensor& background, double mouth, int64_t reduction) {
  ImageLossTask task = check_image_loss(rendered, images, rows, background, mouth, reduction);
  check_rows(task);
  check_packed(d_loss, "gradient of loss", at::kFloat, {task.batch}, rendered.device());
  at::Tensor d_image = at::empty(rendered.sizes(), rendered.options());
  image_loss_backward_cpu(task, d_loss.const_data_ptr<float>(), d_image.data_ptr<float>(),
                            at::get_num_threads());
  return d_image;
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
  library.def(
      "image_loss(Tensor rendered, Tensor images, Tensor rows, Tensor background, float mouth, "
      "int reduction) -> Tensor");
  library.def(
      "image_loss_backward(Tensor d_loss, Tensor rendered, Tensor images, Tensor rows, "
      "Tensor background, float mouth, int reduction) -> Tensor");
  // On CUDA only: elsewhere PyTorch's own operators serve LPIPS.
  library.def(
      "lpips_block(Tensor have, Tensor want, Tensor weight) "
      "-> (Tensor distance, Tensor max_have, Tensor max_want)");
  library.def(
      "lpips_block_backward(Tensor d_distance, Tensor? d_max, Tensor have, Tensor want, "
      "Tensor weight) -> Tensor");
}

TORCH_LIBRARY_IMPL(headsplat, CPU, library) {
  library.impl("rasterize_triangles", &triangles);
  library.impl("rasterize_gaussians", &gaussians);
  library.impl("rasterize_gaussians_backward", &gaussians_backward);
  library.impl("image_loss", &image_loss);
  library.impl("image_loss_backward", &image_loss_backward);
}

}  // namespace headsplat
