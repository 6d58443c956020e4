// The deformation operators' CUDA side: work on PyTorch's current stream.

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "deformation_ops.h"
#include "relu.h"

namespace headsplat {
namespace {

struct OnCuda {
  using Guard = c10::cuda::CUDAGuard;

  static void* stream() { return c10::cuda::getCurrentCUDAStream().stream(); }
  static void check(const char* error, const char* where) {
    TORCH_CHECK(error == nullptr, where, ": CUDA says: ", error);
  }
  static void place_anchors(const AnchorTask& task, float* positions, float* rotations) {
    check(place_anchors_cuda(task, positions, rotations, stream()), "place_anchors");
  }
  static void harmonic_colors(const HarmonicsTask& task, float* colors) {
    check(harmonic_colors_cuda(task, colors, stream()), "harmonic_colors");
  }
  static void harmonic_colors_backward(const HarmonicsTask& task, const float* d_colors,
                                        const HarmonicsGradients& out) {
    check(harmonic_colors_backward_cuda(task, d_colors, out, stream()),
          "harmonic_colors_backward");
  }
  static void blendshape_gaussians(const BlendshapeTask& task,
                                   const BlendshapeGaussians<float>& out) {
    check(blendshape_gaussians_cuda(task, out, stream()), "blendshape_gaussians");
  }
  static void blendshape_gaussians_backward(const BlendshapeTask& task,
                                            const BlendshapeGaussians<const float>& d,
                                            float* d_mixed) {
    check(blendshape_gaussians_backward_cuda(task, d, d_mixed, stream()),
          "blendshape_gaussians_backward");
  }
  static void flashavatar_gaussians(const FlashAvatarTask& task,
                                    const FlashAvatarGaussians<float>& out) {
    check(flashavatar_gaussians_cuda(task, out, stream()), "flashavatar_gaussians");
  }
  static void flashavatar_gaussians_backward(const FlashAvatarTask& task,
                                             const FlashAvatarGaussians<const float>& d,
                                             const FlashAvatarGradients& out) {
    check(flashavatar_gaussians_backward_cuda(task, d, out, stream()),
          "flashavatar_gaussians_backward");
  }
};

at::Tensor relu_gradient(at::Tensor& gradient, const at::Tensor& values) {
  TORCH_CHECK_VALUE(gradient.dim() == 2, "gradient: expected shape [R, C], got ",
                    gradient.sizes());
  int64_t rows = gradient.size(0), columns = gradient.size(1);
  TORCH_CHECK_VALUE(columns % kReluGroup == 0 && columns > 0 &&
                        columns <= kReluGroup * kReluThreads,
                    "gradient: expected a multiple of ", kReluGroup, " columns up to ",
                    kReluGroup * kReluThreads, ", got ", columns);
  for (const auto& [tensor, name] : {std::pair<const at::Tensor&, const char*>{gradient, "gradient"},
                                     {values, "values"}}) {
    check_packed(tensor, name, at::kBFloat16, {rows, columns}, gradient.device());
    TORCH_CHECK_VALUE(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 16 == 0, name,
                      ": expected to begin at a multiple of 16 bytes");
  }
  ReluTask task = {rows, static_cast<int>(columns), static_cast<uint16_t*>(gradient.data_ptr()),
                   static_cast<const uint16_t*>(values.const_data_ptr())};
  c10::cuda::CUDAGuard guard(gradient.device());
  at::TensorOptions floats = gradient.options().dtype(at::kFloat);
  at::Tensor parts = at::empty({task.blocks(), columns}, floats), sums = at::empty({columns}, floats);
  OnCuda::check(relu_gradient_cuda(task, parts.data_ptr<float>(), sums.data_ptr<float>(),
                                   OnCuda::stream()),
                "relu_gradient");
  return sums;
}

}  // namespace

TORCH_LIBRARY_IMPL(headsplat, CUDA, library) {
  DeformationOps<OnCuda>::implement(library);
  library.impl("relu_gradient", &relu_gradient);
}

}  // namespace headsplat
