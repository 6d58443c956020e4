// The deformation operators' names and their CPU side. A backward operator takes the gradients of
// all outputs, then the inputs; it gives those of the first inputs.

#include <ATen/Parallel.h>

#include "deformation_ops.h"

namespace headsplat {
namespace {

struct OnCpu {
  struct Guard {
    explicit Guard(at::Device) {}
  };
  static void place_anchors(const AnchorTask& task, float* positions, float* rotations) {
    for (int i = 0; i < 3 * task.count; ++i)
      TORCH_CHECK_INDEX(task.corners[i] >= 0 && task.corners[i] < task.vertices, "corners: row ",
                        i / 3, " names vertex ", task.corners[i], " of ", task.vertices);
    place_anchors_cpu(task, positions, rotations, at::get_num_threads());
  }
  static void harmonic_colors(const HarmonicsTask& task, float* colors) {
    harmonic_colors_cpu(task, colors, at::get_num_threads());
  }
  static void harmonic_colors_backward(const HarmonicsTask& task, const float* d_colors,
                                        const HarmonicsGradients& out) {
    harmonic_colors_backward_cpu(task, d_colors, out, at::get_num_threads());
  }
  static void blendshape_gaussians(const BlendshapeTask& task,
                                   const BlendshapeGaussians<float>& out) {
    blendshape_gaussians_cpu(task, out, at::get_num_threads());
  }
  static void blendshape_gaussians_backward(const BlendshapeTask& task,
                                            const BlendshapeGaussians<const float>& d,
                                            float* d_mixed) {
    blendshape_gaussians_backward_cpu(task, d, d_mixed, at::get_num_threads());
  }
  static void flashavatar_gaussians(const FlashAvatarTask& task,
                                    const FlashAvatarGaussians<float>& out) {
    flashavatar_gaussians_cpu(task, out, at::get_num_threads());
  }
  static void flashavatar_gaussians_backward(const FlashAvatarTask& task,
                                             const FlashAvatarGaussians<const float>& d,
                                             const FlashAvatarGradients& out) {
    flashavatar_gaussians_backward_cpu(task, d, out, at::get_num_threads());
  }
};

}  // namespace

TORCH_LIBRARY_FRAGMENT(headsplat, library) {
  library.def(
      "place_anchors(Tensor vertices, Tensor corners, Tensor weights, Tensor heights) -> "
      "(Tensor positions, Tensor rotations)");
  library.def(
      "harmonic_colors(Tensor constant, Tensor rest, Tensor means, Tensor centers, int degree) "
      "-> Tensor");
  library.def(
      "harmonic_colors_backward(Tensor d_colors, Tensor constant, Tensor rest, Tensor means, "
      "Tensor centers, int degree) -> (Tensor constant, Tensor rest, Tensor means)");
  library.def(
      "blendshape_gaussians(Tensor mixed, Tensor positions, Tensor rotations, float[] units, "
      "float largest) -> (Tensor means, Tensor quats, Tensor scales, Tensor opacities, "
      "Tensor colors)");
  library.def(
      "blendshape_gaussians_backward(Tensor d_means, Tensor d_quats, Tensor d_scales, "
      "Tensor d_opacities, Tensor d_colors, Tensor mixed, Tensor positions, Tensor rotations, "
      "float[] units, float largest) -> Tensor");
  library.def(
      "flashavatar_gaussians(Tensor outputs, Tensor rotation_base, Tensor scaling_base, "
      "Tensor positions) -> (Tensor means, Tensor quats, Tensor scales)");
  library.def(
      "flashavatar_gaussians_backward(Tensor d_means, Tensor d_quats, Tensor d_scales, "
      "Tensor outputs, Tensor rotation_base, Tensor scaling_base, Tensor positions) -> "
      "(Tensor outputs, Tensor rotation_base, Tensor scaling_base)");
  // On CUDA only: elsewhere PyTorch's own operators serve.
  library.def("relu_gradient(Tensor(a!) gradient, Tensor values) -> Tensor");
}

TORCH_LIBRARY_IMPL(headsplat, CPU, library) { DeformationOps<OnCpu>::implement(library); }

}  // namespace headsplat
