// Harmonic colors on the CPU: a vector of Gaussians at a time, one thread each, over all frames.

#include <algorithm>
#include <cstring>

#include "harmonics.h"
#include "vec.h"

namespace headsplat {
namespace {

// Gaussians side by side; lanes beyond the last one repeat it and are not stored.
struct Group {
  int64_t first;
  int lanes;

  Group(const HarmonicsTask& task, int index)
      : first(static_cast<int64_t>(index) * kLanes),
        lanes(static_cast<int>(std::min<int64_t>(kLanes, task.count - first))) {}
  static int count(const HarmonicsTask& task) { return (task.count + kLanes - 1) / kLanes; }

  inline __attribute__((always_inline)) Floats load(const float* from, int stride) const {
    float value[kLanes];
    for (int i = 0; i < kLanes; ++i) value[i] = from[std::min(i, lanes - 1) * stride];
    Floats out;
    std::memcpy(&out, value, sizeof out);
    return out;
  }
  inline __attribute__((always_inline)) void store(Floats value, float* to, int stride) const {
    float part[kLanes];
    std::memcpy(part, &value, sizeof part);
    for (int i = 0; i < lanes; ++i) to[i * stride] = part[i];
  }
};

template <int kDegree>
void load_coefficients(const HarmonicsTask& task, const Group& group, Floats* out) {
  for (int c = 0; c < 3; ++c) out[c] = group.load(task.constant + 3 * group.first + c, 3);
  const float* rest = task.rest + 3 * task.stored * group.first;
  for (int i = 0; i < 3 * (Harmonics<kDegree>::kUsed - 1); ++i)
    out[3 + i] = group.load(rest + i, 3 * task.stored);
}

inline __attribute__((always_inline)) View<Floats> view_of(const HarmonicsTask& task, int frame,
                                                           const Group& group) {
  const float* means = task.means + 3 * (static_cast<int64_t>(frame) * task.count + group.first);
  const float* center = task.centers + 3 * frame;
  Floats x = group.load(means, 3) - center[0], y = group.load(means + 1, 3) - center[1],
         z = group.load(means + 2, 3) - center[2];
  return View<Floats>(x, y, z, root(x * x + y * y + z * z));
}

template <int kDegree>
void colors_of(const HarmonicsTask& task, const Group& group, float* colors) {
  constexpr int kUsed = Harmonics<kDegree>::kUsed;
  Floats coefficients[3 * kUsed], value[kUsed], out[3];
  load_coefficients<kDegree>(task, group, coefficients);
  for (int frame = 0; frame < task.batch; ++frame) {
    Harmonics<kDegree>::evaluate(view_of(task, frame, group), value);
    Harmonics<kDegree>::color(coefficients, value, out);
    float* to = colors + 3 * (static_cast<int64_t>(frame) * task.count + group.first);
    for (int c = 0; c < 3; ++c) group.store(out[c] < 0.0f ? Floats{} : out[c], to + c, 3);
  }
}

template <int kDegree>
void gradients_of(const HarmonicsTask& task, const Group& group, const float* d_colors,
                  const HarmonicsGradients& out) {
  constexpr int kUsed = Harmonics<kDegree>::kUsed;
  Floats coefficients[3 * kUsed], d_coefficients[3 * kUsed] = {}, d_color[3], d_mean[3];
  load_coefficients<kDegree>(task, group, coefficients);
  for (int frame = 0; frame < task.batch; ++frame) {
    int64_t at = 3 * (static_cast<int64_t>(frame) * task.count + group.first);
    for (int c = 0; c < 3; ++c) d_color[c] = group.load(d_colors + at + c, 3);
    Harmonics<kDegree>::backward(coefficients, view_of(task, frame, group), d_color,
                                 d_coefficients, d_mean);
    for (int c = 0; c < 3; ++c) group.store(d_mean[c], out.means + at + c, 3);
  }
  for (int c = 0; c < 3; ++c) group.store(d_coefficients[c], out.constant + 3 * group.first + c, 3);
  float* rest = out.rest + 3 * task.stored * group.first;
  for (int i = 0; i < 3 * task.stored; ++i)
    group.store(i < 3 * (kUsed - 1) ? d_coefficients[3 + i] : Floats{}, rest + i, 3 * task.stored);
}

}  // namespace

void harmonic_colors_cpu(const HarmonicsTask& task, float* colors, int threads) {
  constexpr decltype(&colors_of<0>) of_degree[] = {colors_of<0>, colors_of<1>, colors_of<2>,
                                                    colors_of<3>};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int i = 0; i < Group::count(task); ++i)
    of_degree[task.degree](task, Group(task, i), colors);
}

void harmonic_colors_backward_cpu(const HarmonicsTask& task, const float* d_colors,
                                   const HarmonicsGradients& out, int threads) {
  constexpr decltype(&gradients_of<0>) of_degree[] = {gradients_of<0>, gradients_of<1>,
                                                      gradients_of<2>, gradients_of<3>};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int i = 0; i < Group::count(task); ++i)
    of_degree[task.degree](task, Group(task, i), d_colors, out);
}

}  // namespace headsplat
