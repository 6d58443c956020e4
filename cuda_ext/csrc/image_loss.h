// The photometric loss of a training step: the arithmetic both back ends share, their entry points.
//
// A rendered image is charged against a target that is stored as bytes only: red, green, blue,
// matte and mouth, five interleaved planes of every frame. Target = the image over the frame's
// plain background by the matte; weight = 1 + `mouth` in the mouth; in the coarse phase of training
// both are the mean over 2x2 pixels. The loss is Huber's with delta 0.1 times the weight, its mean
// over pixels and channels:
//
//   loss = sum over pixels, channels of weight c (d - c / 2) / count,
//   d = image - target, c = d held within -delta..delta, d loss / d image = weight c / count.
//
// As tensor operators this is a dozen passes over float images. Here, forward reads the image and
// the bytes once and leaves one number a frame; backward reads them once more and writes the
// gradient once. Nothing is kept in between, since computing target and weight again costs less
// than reading them would: 17 bytes a pixel forward, 29 backward, and memory is the only limit.
// Frames are picked by row here, so that no batch of bytes is gathered first either.
//
// Products of bytes and their sums over up to four pixels stay whole numbers (below 2^18), so the
// only rounding is in the last steps, and the area mean is exact before them. Without contraction
// CPU and CUDA do the same operations on a pixel: the gradients are the same bits. The sums over
// pixels differ in their order between the two, but each order is fixed: pixels make runs, runs
// make parts, and the parts of a frame are added up by one thread or one block. No result depends
// on the number of threads, and no atomics are used.
//
// Pixels are numbered along lines. At full size a frame is one line, so that no width wastes lanes
// at the end of rows; at half size a line is one row of the image, made of two rows of bytes.

#pragma once

#include <cstdint>

#include "portable.h"

namespace headsplat {

constexpr float kHuberDelta = 0.1f;
constexpr int kPlanes = 5;  // bytes a pixel

struct ImageLossTask {
  int batch, frames, height, width;  // of the stored images
  int reduction;                     // 1 or 2
  float mouth;
  const float* rendered;        // (batch, out_height, out_width, 3)
  const uint8_t* images;   // (frames, height, width, 5)
  const int64_t* rows;       // (batch,) into the frames
  const float* backgrounds;  // (batch, 3)

  HEADSPLAT_HD int lines() const { return reduction == 1 ? 1 : height / 2; }
  HEADSPLAT_HD int length() const { return reduction == 1 ? height * width : width / 2; }
  HEADSPLAT_HD int64_t pixels() const { return static_cast<int64_t>(lines()) * length(); }
  HEADSPLAT_HD float values() const { return static_cast<float>(3 * pixels()); }
};

// A piece of at most `kSize` pixels of one line.
template <int kSize>
struct Run {
  int64_t pixel;         // the first one's place in the frame's image
  int count;             // pixels
  const uint8_t* bytes;  // under the first pixel; a line's second row is `width` pixels further

  HEADSPLAT_HD static int per_line(const ImageLossTask& task) {
    return (task.length() + kSize - 1) / kSize;
  }
  HEADSPLAT_HD static int per_frame(const ImageLossTask& task) {
    return task.lines() * per_line(task);
  }
  HEADSPLAT_HD Run(const ImageLossTask& task, int64_t row, int index) {
    int line = task.lines() == 1 ? 0 : index / per_line(task);
    int first = (index - line * per_line(task)) * kSize;
    pixel = static_cast<int64_t>(line) * task.length() + first;
    count = task.length() - first < kSize ? task.length() - first : kSize;
    int64_t skipped = task.reduction * (static_cast<int64_t>(line) * task.width + first);
    bytes = task.images + kPlanes * (row * task.height * task.width + skipped);
  }
};

// What an area of stored pixels adds up to.
struct Area {
  int color[3] = {0, 0, 0};  // times matte
  int matte = 0, mouth = 0;

  HEADSPLAT_HD void add(int red, int green, int blue, int opacity, int in_mouth) {
    color[0] += opacity * red;
    color[1] += opacity * green;
    color[2] += opacity * blue;
    matte += opacity;
    mouth += in_mouth;
  }
};

// Turns areas of one frame into targets and weights; `scale` multiplies the weights.
struct Mixer {
  float background[3];
  float full;  // matte of an area that is all head
  float per_color, per_matte, mouth, scale;

  HEADSPLAT_HD Mixer(const ImageLossTask& task, int frame, float times) {
    int area = task.reduction * task.reduction;
    for (int k = 0; k < 3; ++k) background[k] = task.backgrounds[3 * frame + k];
    full = static_cast<float>(255 * area);
    per_matte = 1.0f / full;
    per_color = 1.0f / (255 * full);
    mouth = task.mouth * per_matte;
    scale = times;
  }
  HEADSPLAT_HD float target(const Area& area, int channel) const {
    return static_cast<float>(area.color[channel]) * per_color +
           background[channel] * ((full - static_cast<float>(area.matte)) * per_matte);
  }
  HEADSPLAT_HD float weight(const Area& area) const {
    return (1.0f + mouth * static_cast<float>(area.mouth)) * scale;
  }
};

// Held within the delta; what is not a number stays so, or no one would notice.
HEADSPLAT_HD float huber_slope(float difference) {
  float held = difference < -kHuberDelta ? -kHuberDelta : difference;
  return held > kHuberDelta ? kHuberDelta : held;
}

HEADSPLAT_HD float huber(float difference) {
  float held = huber_slope(difference);
  return held * (difference - 0.5f * held);
}

// `loss`: (batch,). `d_loss`: (batch,); `d_image`: as the image. Rows must lie within the frames.
void image_loss_cpu(const ImageLossTask& task, float* loss, int threads);
void image_loss_backward_cpu(const ImageLossTask& task, const float* d_loss, float* d_image,
                               int threads);

// Parts of a frame's sum, one a block, that the CUDA side keeps: `parts` is (batch, this).
int64_t image_loss_parts(const ImageLossTask& task);

// Enqueue work on `stream`, synchronize nothing, and return null or what the CUDA runtime said. A
// row outside of the frames counts as the nearest one inside.
const char* image_loss_cuda(const ImageLossTask& task, float* parts, float* loss,
                              void* stream);
const char* image_loss_backward_cuda(const ImageLossTask& task, const float* d_loss,
                                       float* d_image, void* stream);

}  // namespace headsplat
