// Photometric loss on the CPU: each task computes one band of pixels of one frame. A run of pixels
// is first expanded into targets and weights per channel, which stay in the cache. At full size,
// byte shuffles do that for four pixels at once. Bands do not depend on the number of threads.

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include <vector>

#include "image_loss.h"
#include "vec.h"

namespace headsplat {
namespace {

constexpr int kSize = 256;  // pixels per run
constexpr int kBand = 32;   // runs per task

struct Values {  // of a run, per channel
  float target[3 * kSize], weight[3 * kSize];
};

// Four pixels are twelve values, three vectors of four, from 20 bytes.
typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(16)));
constexpr int kColor = 0, kMatte = 3, kMouth = 4;  // first bytes of a pixel's planes

// Each value's byte of a plane, in vector `kPart` of the three. They lie within 16 bytes; the
// other bytes of an integer are zero.
template <int kPart, int kPlane>
inline __attribute__((always_inline)) Four pick(const uint8_t* bytes) {
  constexpr int start = kPart == 2 ? 4 : 0;
  constexpr auto order = [] {
    std::array<uint8_t, 16> out;
    out.fill(16);
    for (int i = 0; i < 4; ++i) {
      int value = 4 * kPart + i, channel = kPlane == kColor ? value % 3 : 0;
      out[4 * i] = kPlanes * (value / 3) + kPlane + channel - start;
    }
    return out;
  }();
  Bytes raw;
  std::memcpy(&raw, bytes + start, sizeof raw);
#ifdef __clang__
  Bytes chosen = [&]<std::size_t... kByte>(std::index_sequence<kByte...>) {
    return __builtin_shufflevector(raw, Bytes{}, order[kByte]...);
  }(std::make_index_sequence<16>());
#else  // GCC 11 knows only this form
  Bytes mask;
  std::memcpy(&mask, order.data(), sizeof mask);
  Bytes chosen = __builtin_shuffle(raw, Bytes{}, mask);
#endif
  return __builtin_convertvector(reinterpret_cast<FourInts>(chosen), Four);
}

template <int kPart>
inline __attribute__((always_inline)) void spread_part(const uint8_t* bytes, const Mixer& mixer,
                                                       float* target, float* weight) {
  Four background;
  for (int i = 0; i < 4; ++i) background[i] = mixer.background[(4 * kPart + i) % 3];
  Four matte = pick<kPart, kMatte>(bytes);
  Four mixed = matte * pick<kPart, kColor>(bytes) * mixer.per_color +
               background * ((mixer.full - matte) * mixer.per_matte);
  Four weights = (1.0f + mixer.mouth * pick<kPart, kMouth>(bytes)) * mixer.scale;
  std::memcpy(target + 4 * kPart, &mixed, sizeof mixed);
  std::memcpy(weight + 4 * kPart, &weights, sizeof weights);
}

template <int kReduction>
void spread(const uint8_t* bytes, int64_t row_bytes, int count, const Mixer& mixer, Values& out) {
  int i = 0;
  if constexpr (kReduction == 1) {
    for (; i + 4 <= count; i += 4) {
      const uint8_t* p = bytes + kPlanes * i;
      spread_part<0>(p, mixer, out.target + 3 * i, out.weight + 3 * i);
      spread_part<1>(p, mixer, out.target + 3 * i, out.weight + 3 * i);
      spread_part<2>(p, mixer, out.target + 3 * i, out.weight + 3 * i);
    }
  }
  for (; i < count; ++i) {
    Area area;
    for (int row = 0; row < kReduction; ++row) {
      for (int column = 0; column < kReduction; ++column) {
        const uint8_t* p = bytes + row * row_bytes + kPlanes * (kReduction * i + column);
        area.add(p[0], p[1], p[2], p[3], p[4]);
      }
    }
    float weight = mixer.weight(area);
    for (int k = 0; k < 3; ++k) {
      out.target[3 * i + k] = mixer.target(area, k);
      out.weight[3 * i + k] = weight;
    }
  }
}

inline __attribute__((always_inline)) Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline __attribute__((always_inline)) Floats slope_of(Floats difference) {  // huber_slope
  Floats held = difference < -kHuberDelta ? splat(-kHuberDelta) : difference;
  return held > kHuberDelta ? splat(kHuberDelta) : held;
}

float charge(const float* rendered, const Values& values, int count) {
  Floats sums{};
  int i = 0;
  for (; i + kLanes <= 3 * count; i += kLanes) {
    Floats difference = load(rendered + i) - load(values.target + i), held = slope_of(difference);
    sums += load(values.weight + i) * (held * (difference - 0.5f * held));
  }
  float rest = 0;
  for (; i < 3 * count; ++i) rest += values.weight[i] * huber(rendered[i] - values.target[i]);
  return sum(sums) + rest;
}

void slope(const float* rendered, const Values& values, int count, float* d_image) {
  int i = 0;
  for (; i + kLanes <= 3 * count; i += kLanes) {
    Floats out = slope_of(load(rendered + i) - load(values.target + i)) * load(values.weight + i);
    std::memcpy(d_image + i, &out, sizeof out);
  }
  for (; i < 3 * count; ++i)
    d_image[i] = huber_slope(rendered[i] - values.target[i]) * values.weight[i];
}

// Expands every run of a band; `visit` gets the index of its first value, values, and pixels.
template <typename Visit>
void each_run(const ImageLossTask& task, int frame, int band, float scale, Visit visit) {
  Mixer mixer(task, frame, scale);
  Values values;
  int64_t row_bytes = static_cast<int64_t>(kPlanes) * task.width;
  int end = std::min((band + 1) * kBand, Run<kSize>::per_frame(task));
  for (int index = band * kBand; index < end; ++index) {
    Run<kSize> run(task, task.rows[frame], index);
    if (task.reduction == 1)
      spread<1>(run.bytes, row_bytes, run.count, mixer, values);
    else
      spread<2>(run.bytes, row_bytes, run.count, mixer, values);
    visit(3 * (frame * task.pixels() + run.pixel), values, run.count);
  }
}

int bands_of(const ImageLossTask& task) {
  return (Run<kSize>::per_frame(task) + kBand - 1) / kBand;
}

}  // namespace

void image_loss_cpu(const ImageLossTask& task, float* loss, int threads) {
  int bands = bands_of(task);
  std::vector<double> parts(static_cast<size_t>(task.batch) * bands);
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
  for (int frame = 0; frame < task.batch; ++frame) {
    for (int band = 0; band < bands; ++band) {
      double sum = 0;
      each_run(task, frame, band, 1, [&](int64_t at, const Values& values, int count) {
        sum += charge(task.rendered + at, values, count);
      });
      parts[static_cast<size_t>(frame) * bands + band] = sum;
    }
  }
  for (int frame = 0; frame < task.batch; ++frame) {
    const double* first = parts.data() + static_cast<size_t>(frame) * bands;
    loss[frame] = static_cast<float>(std::accumulate(first, first + bands, 0.0)) / task.values();
  }
}

void image_loss_backward_cpu(const ImageLossTask& task, const float* d_loss, float* d_image,
                               int threads) {
  int bands = bands_of(task);
#pragma omp parallel for num_threads(threads) schedule(dynamic) collapse(2)
  for (int frame = 0; frame < task.batch; ++frame)
    for (int band = 0; band < bands; ++band)
      each_run(task, frame, band, d_loss[frame] / task.values(),
               [&](int64_t at, const Values& values, int count) {
                 slope(task.rendered + at, values, count, d_image + at);
               });
}

}  // namespace headsplat
