// The operators' CUDA side: buffers from PyTorch's allocator, work on PyTorch's current stream.

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <limits>

#include "checks.h"
#include "gaussian_tasks.h"
#include "lpips.h"
#include "image_loss.h"
#include "triangles.h"

namespace headsplat {
namespace {

void* stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

void check(const char* error, const char* where) {
  TORCH_CHECK(error == nullptr, where, ": CUDA says: ", error);
}

std::tuple<at::Tensor, at::Tensor> triangles(const at::Tensor& points, const at::Tensor& faces,
                                             int64_t width, int64_t height, bool cull) {
  c10::cuda::CUDAGuard guard(points.device());
  TriangleOutputs out = check_triangles(points, faces, width, height, cull);
  at::Tensor keys = at::empty(out.face.sizes(), out.face.options().dtype(at::kLong));
  check(rasterize_triangles_cuda(
            out.task, reinterpret_cast<unsigned long long*>(keys.data_ptr<int64_t>()), stream()),
        "rasterize_triangles");
  return {out.face, out.weights};
}

Lists lists_in(const GaussianTask& task, const at::Tensor& state, const at::Tensor& list) {
  int64_t gaussians = static_cast<int64_t>(task.batch) * task.count;
  Lists lists;
  lists.splats = reinterpret_cast<Splat*>(state.data_ptr<uint8_t>());
  lists.first_slot = reinterpret_cast<int32_t*>(lists.splats + gaussians);
  lists.tile_start = lists.first_slot + gaussians;
  lists.list = list.defined() ? list.data_ptr<int32_t>() : nullptr;
  lists.capacity = list.defined() ? static_cast<int>(list.size(1)) : 0;
  return lists;
}

GaussianImages gaussians(const at::Tensor& means, const at::Tensor& quaternions,
                           const at::Tensor& scales, const at::Tensor& opacities,
                           const at::Tensor& colors, const at::Tensor& rotation,
                           const at::Tensor& translation, const at::Tensor& intrinsics,
                           const at::Tensor& background, int64_t width, int64_t height,
                           int64_t capacity) {
  c10::cuda::CUDAGuard guard(means.device());
  GaussianTask task =
      check_gaussians({means, quaternions, scales, opacities, colors, rotation, translation,
                       intrinsics, background},
                      width, height);
  int64_t tiles = static_cast<int64_t>(task.tiles_x()) * task.tiles_y();
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  TORCH_CHECK_VALUE(capacity >= 0 && capacity <= most, "capacity: out of range: ", capacity);
  TORCH_CHECK_VALUE(task.count * tiles <= most && task.batch <= 65535,
                    "rasterize_gaussians: too many Gaussians for this image size or frames");
  ImageTensors out = new_images(task, means.options());
  at::TensorOptions ints = out.reached.options();
  at::Tensor state = at::empty({Lists::state_bytes(task)}, ints.dtype(at::kByte));
  at::Tensor counted = at::empty({2 + task.batch * (1 + tiles)}, ints);
  int32_t* counts = counted.data_ptr<int32_t>();
  Counters counters = {counts, counts + 2, counts + 2 + task.batch};
  Lists lists = lists_in(task, state, {});
  check(count_pairs_cuda(task, lists, counters, stream()), "rasterize_gaussians");
  at::Tensor need = counted.narrow(0, 0, 2);
  if (capacity == 0) {  // no budget: wait for the numbers and take exactly what is needed
    at::Tensor seen = counted.narrow(0, 0, 2 + task.batch).cpu();
    const int32_t* numbers = seen.const_data_ptr<int32_t>();
    TORCH_CHECK_VALUE(numbers[1] == 0, numbers[1],
                      " Gaussians have parameters that are not finite");
    for (int b = 0; b < task.batch; ++b)
      capacity = std::max<int64_t>(capacity, numbers[2 + b]);
  }
  at::Tensor list = at::empty({task.batch, capacity}, ints);
  at::Tensor keys = at::empty({task.batch, capacity}, ints.dtype(at::kLong));
  lists = lists_in(task, state, list);
  check(fill_lists_cuda(task, lists, counters,
                        reinterpret_cast<unsigned long long*>(keys.data_ptr<int64_t>()), stream()),
        "rasterize_gaussians");
  check(draw_gaussians_cuda(task, lists, out.pointers(), stream()), "rasterize_gaussians");
  return {out.color, out.alpha, out.transmittance, out.reached, state, list, need};
}

GaussianGradients gaussians_backward(
    const at::Tensor& d_color, const std::optional<at::Tensor>& d_alpha, const at::Tensor& means,
    const at::Tensor& quaternions, const at::Tensor& scales, const at::Tensor& opacities,
    const at::Tensor& colors, const at::Tensor& rotation, const at::Tensor& translation,
    const at::Tensor& intrinsics, const at::Tensor& background, const at::Tensor& transmittance,
    const at::Tensor& reached, const at::Tensor& state, const at::Tensor& list, int64_t width,
    int64_t height, bool camera) {
  c10::cuda::CUDAGuard guard(means.device());
  GaussianTask task =
      check_gaussians({means, quaternions, scales, opacities, colors, rotation, translation,
                       intrinsics, background},
                      width, height);
  ImageGradients in = check_image_gradients(task, d_color, d_alpha, transmittance, reached);
  check_packed(state, "state", at::kByte, {Lists::state_bytes(task)}, means.device());
  TORCH_CHECK_VALUE(list.dim() == 2 && list.size(0) == task.batch && list.is_contiguous(),
                    "list: not what rasterize_gaussians returned");
  GradientTensors out = new_gradients(task, means.options(), camera);
  Lists lists = lists_in(task, state, list);
  int64_t blocks = (task.count + kFinishThreads - 1) / kFinishThreads;
  at::Tensor slots = at::empty({task.batch, list.size(1), kSums}, means.options());
  at::Tensor cameras = at::empty({camera ? task.batch * blocks * 12 : 0}, means.options());
  CameraGradient* parts =
      camera ? reinterpret_cast<CameraGradient*>(cameras.data_ptr<float>()) : nullptr;
  check(rasterize_gaussians_backward_cuda(task, lists, in,
                                          reinterpret_cast<PixelSums*>(slots.data_ptr<float>()),
                                          parts, out.pointers(camera), stream()),
        "rasterize_gaussians_backward");
  return out.tuple();
}

ImageLossTask image_task(const at::Tensor& rendered, const at::Tensor& images,
                             const at::Tensor& rows, const at::Tensor& background, double mouth,
                             int64_t reduction) {
  ImageLossTask task = check_image_loss(rendered, images, rows, background, mouth, reduction);
  TORCH_CHECK_VALUE(task.batch <= 65535, "rows: expected at most 65535, got ", task.batch);
  return task;
}

at::Tensor image_loss(const at::Tensor& rendered, const at::Tensor& images,
                        const at::Tensor& rows, const at::Tensor& background, double mouth,
                        int64_t reduction) {
  ImageLossTask task = image_task(rendered, images, rows, background, mouth, reduction);
  c10::cuda::CUDAGuard guard(rendered.device());
  at::Tensor parts = at::empty({task.batch, image_loss_parts(task)}, rendered.options());
  at::Tensor loss = at::empty({task.batch}, rendered.options());
  check(image_loss_cuda(task, parts.data_ptr<float>(), loss.data_ptr<float>(), stream()),
        "image_loss");
  return loss;
}

at::Tensor image_loss_backward(const at::Tensor& d_loss, const at::Tensor& rendered,
                                 const at::Tensor& images, const at::Tensor& rows,
                                 const at::Tensor& background, double mouth, int64_t reduction) {
  ImageLossTask task = image_task(rendered, images, rows, background, mouth, reduction);
  check_packed(d_loss, "gradient of loss", at::kFloat, {task.batch}, rendered.device());
  c10::cuda::CUDAGuard guard(rendered.device());
  at::Tensor d_image = at::empty(rendered.sizes(), rendered.options());
  check(image_loss_backward_cuda(task, d_loss.const_data_ptr<float>(),
                                   d_image.data_ptr<float>(), stream()),
        "image_loss_backward");
  return d_image;
}

uint16_t* bits(const at::Tensor& tensor) { return static_cast<uint16_t*>(tensor.data_ptr()); }

at::Tensor empty_maxima(const at::Tensor& features) {
  return at::empty(
      {features.size(0), features.size(1), features.size(2) / 2, features.size(3) / 2},
      features.options().memory_format(at::MemoryFormat::ChannelsLast));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> lpips_block(const at::Tensor& have,
                                                           const at::Tensor& want,
                                                           const at::Tensor& weight) {
  LpipsTask task = check_lpips(have, want, weight);
  c10::cuda::CUDAGuard guard(have.device());
  at::Tensor parts = at::empty({task.batch, lpips_parts(task)}, weight.options());
  at::Tensor distance = at::empty({task.batch}, weight.options());
  at::Tensor max_have = empty_maxima(have), max_want = empty_maxima(want);
  check(lpips_block_cuda(task, parts.data_ptr<float>(), distance.data_ptr<float>(),
                         bits(max_have), bits(max_want), stream()),
        "lpips_block");
  return {distance, max_have, max_want};
}

at::Tensor lpips_block_backward(const at::Tensor& d_distance,
                                const std::optional<at::Tensor>& d_max, const at::Tensor& have,
                                const at::Tensor& want, const at::Tensor& weight) {
  LpipsTask task = check_lpips(have, want, weight);
  check_packed(d_distance, "gradient of distance", at::kFloat, {task.batch}, have.device());
  if (d_max)
    check_features(*d_max, "gradient of maxima",
                   {task.batch, task.channels, task.height / 2, task.width / 2}, have.device());
  c10::cuda::CUDAGuard guard(have.device());
  at::Tensor d_have =
      at::empty(have.sizes(), have.options().memory_format(at::MemoryFormat::ChannelsLast));
  check(lpips_block_backward_cuda(task, d_distance.const_data_ptr<float>(),
                                  d_max ? bits(*d_max) : nullptr, bits(d_have), stream()),
        "lpips_block_backward");
  return d_have;
}

}  // namespace

TORCH_LIBRARY_IMPL(headsplat, CUDA, library) {
  library.impl("rasterize_triangles", &triangles);
  library.impl("rasterize_gaussians", &gaussians);
  library.impl("rasterize_gaussians_backward", &gaussians_backward);
  library.impl("image_loss", &image_loss);
  library.impl("image_loss_backward", &image_loss_backward);
  library.impl("lpips_block", &lpips_block);
  library.impl("lpips_block_backward", &lpips_block_backward);
}

}  // namespace headsplat
