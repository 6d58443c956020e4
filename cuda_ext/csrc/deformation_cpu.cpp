// Deformation on the CPU: each task computes a band of Gaussians of one frame, or of
// all frames where a gradient is summed over them.

#include "deformation.h"

#include <algorithm>

#include "vec.h"

namespace headsplat {
namespace {

constexpr int kBand = 128;  // Gaussians per task

int bands_of(int count) { return (count + kBand - 1) / kBand; }

template <typename Visit>
void each_gaussian(int batch, int count, int threads, Visit visit) {
#pragma omp parallel for num_threads(threads) schedule(static) collapse(2)
  for (int frame = 0; frame < batch; ++frame)
    for (int band = 0; band < bands_of(count); ++band)
      for (int i = band * kBand; i < std::min((band + 1) * kBand, count); ++i) visit(frame, i);
}

// A polynomial near 0, where 1 - exp would cancel; relative error below 2e-7.
inline __attribute__((always_inline)) Floats tanh_of(Floats x) {
  constexpr float kTwoLog2E = 2.88539008177793f;
  Floats size = x < 0.0f ? -x : x, square = x * x;
  Floats rest = exp2(-kTwoLog2E * size), far = (1.0f - rest) / (1.0f + rest);
  Floats p = splat(-5.70498872745e-3f);
  p = fma(p, square, splat(2.06390887954e-2f));
  p = fma(p, square, splat(-5.37397155531e-2f));
  p = fma(p, square, splat(1.33314422036e-1f));
  p = fma(p, square, splat(-3.33332819422e-1f));
  Floats near = fma(p * square, x, x);
  Floats out = size < 0.625f ? near : (x < 0.0f ? -far : far);
  return x == x ? out : x;  // propagate NaN
}

// The network's outputs of a band of Gaussians of one frame, after tanh.
struct Band {
  int first, count;
  float t[kBand * kNetworkNumbers + kLanes];

  Band(const FlashAvatarTask& task, int frame, int band)
      : first(band * kBand), count(std::min(kBand, task.count - first)) {
    const float* from =
        task.outputs + task.stored * (static_cast<int64_t>(frame) * task.count + first);
    for (int i = 0; i < count; ++i)
      for (int k = 0; k < kNetworkNumbers; ++k)
        t[kNetworkNumbers * i + k] = from[task.stored * i + k];
    for (int i = 0; i < kNetworkNumbers * count; i += kLanes) {
      Floats value;
      std::memcpy(&value, t + i, sizeof value);
      value = tanh_of(value);
      std::memcpy(t + i, &value, sizeof value);
    }
  }
};

}  // namespace

void place_anchors_cpu(const AnchorTask& task, float* positions, float* rotations, int threads) {
  each_gaussian(task.batch, task.count, threads, [&](int frame, int anchor) {
    place_anchor(task, frame, anchor, positions, rotations);
  });
}

void blendshape_gaussians_cpu(const BlendshapeTask& task, const BlendshapeGaussians<float>& out,
                              int threads) {
  each_gaussian(task.batch, task.count, threads,
                [&](int frame, int index) { place_blendshape(task, frame, index, out); });
}

void blendshape_gaussians_backward_cpu(const BlendshapeTask& task,
                                       const BlendshapeGaussians<const float>& d, float* d_mixed,
                                       int threads) {
  each_gaussian(task.batch, task.count, threads,
                [&](int frame, int index) { unplace_blendshape(task, frame, index, d, d_mixed); });
}

void flashavatar_gaussians_cpu(const FlashAvatarTask& task, const FlashAvatarGaussians<float>& out,
                               int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) collapse(2)
  for (int frame = 0; frame < task.batch; ++frame) {
    for (int b = 0; b < bands_of(task.count); ++b) {
      Band band(task, frame, b);
      for (int i = 0; i < band.count; ++i)
        place_flashavatar(task, frame, band.first + i, band.t + kNetworkNumbers * i, out);
    }
  }
}

void flashavatar_gaussians_backward_cpu(const FlashAvatarTask& task,
                                        const FlashAvatarGaussians<const float>& d,
                                        const FlashAvatarGradients& out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int b = 0; b < bands_of(task.count); ++b) {
    float sums[kBand][kBaseNumbers] = {};
    for (int frame = 0; frame < task.batch; ++frame) {
      Band band(task, frame, b);
      for (int i = 0; i < band.count; ++i) {
        int64_t at = static_cast<int64_t>(frame) * task.count + band.first + i;
        float* to = out.outputs + task.stored * at;
        unplace_flashavatar(task, frame, band.first + i, band.t + kNetworkNumbers * i, d, to,
                            sums[i]);
        std::fill(to + kNetworkNumbers, to + task.stored, 0.0f);
      }
    }
    for (int i = 0; i < std::min(kBand, task.count - b * kBand); ++i) {
      int index = b * kBand + i;
      std::copy(sums[i], sums[i] + 4, out.rotation_base + 4 * index);
      std::copy(sums[i] + 4, sums[i] + kBaseNumbers, out.scaling_base + 3 * index);
    }
  }
}

}  // namespace headsplat
