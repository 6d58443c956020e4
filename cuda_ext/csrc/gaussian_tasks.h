// What the operators hand to the back ends: batches of Gaussians, images, gradients, buffers.

#pragma once

#include "gaussians.h"

namespace headsplat {

// A batch of frames. A stride of 0 shares a parameter between the frames.
struct GaussianTask {
  int batch, count, width, height;
  const float *means, *quaternions, *scales, *opacities, *colors;
  int64_t mean_stride, quaternion_stride, scale_stride, opacity_stride, color_stride;
  const float *rotations, *translations, *intrinsics, *backgrounds;  // per frame, packed

  HEADSPLAT_HD Gaussian gaussian(int frame, int index) const {
    Gaussian g;
    const float* mean = means + frame * mean_stride + 3 * static_cast<int64_t>(index);
    const float* quaternion =
        quaternions + frame * quaternion_stride + 4 * static_cast<int64_t>(index);
    const float* scale = scales + frame * scale_stride + 3 * static_cast<int64_t>(index);
    const float* color = colors + frame * color_stride + 3 * static_cast<int64_t>(index);
    for (int i = 0; i < 3; ++i) g.mean[i] = mean[i];
    for (int i = 0; i < 4; ++i) g.quaternion[i] = quaternion[i];
    for (int i = 0; i < 3; ++i) g.scale[i] = scale[i];
    for (int i = 0; i < 3; ++i) g.color[i] = color[i];
    g.opacity = opacities[frame * opacity_stride + index];
    return g;
  }
  HEADSPLAT_HD Camera camera(int frame) const {
    return Camera::load(rotations + 9 * frame, translations + 3 * frame, intrinsics + 4 * frame,
                        width, height);
  }
  HEADSPLAT_HD int tiles_x() const { return (width + kTile - 1) / kTile; }
  HEADSPLAT_HD int tiles_y() const { return (height + kTile - 1) / kTile; }
};

// Images, each (batch, height, width, ...). `reached` is one past the position, in its tile's
// depth-sorted list, of the last Gaussian that a pixel took; 0 when it took none.
struct Images {
  float *color, *alpha, *transmittance;
  int32_t* reached;
};

struct ImageGradients {
  const float *color, *alpha;            // of the loss; alpha may be null
  const float* transmittance;            // kept from forward
  const int32_t* reached;
};

// Gradients for every frame, packed; the caller adds up the frames of shared parameters.
struct Gradients {
  float *means, *quaternions, *scales, *opacities, *colors;  // (batch, count, ...)
  float *rotations, *translations;                           // (batch, ...), or null

  HEADSPLAT_HD void store(int64_t at, const GaussianGradient& g) const {
    for (int i = 0; i < 3; ++i) means[3 * at + i] = g.mean[i];
    for (int i = 0; i < 4; ++i) quaternions[4 * at + i] = g.quaternion[i];
    for (int i = 0; i < 3; ++i) scales[3 * at + i] = g.scale[i];
    for (int i = 0; i < 3; ++i) colors[3 * at + i] = g.color[i];
    opacities[at] = g.opacity;
  }
};

// Returns -1, or frame * count + index of the first Gaussian whose parameters are not finite; the
// images are undefined then.
int64_t rasterize_gaussians_cpu(const GaussianTask& task, const Images& out, int threads);
void rasterize_gaussians_backward_cpu(const GaussianTask& task, const ImageGradients& in,
                                      const Gradients& out, int threads);

// Buffers of the CUDA side; `capacity` pairs of Gaussian and strip, half a tile, a frame.
struct Lists {
  Splat* splats;        // (batch, count)
  int32_t* first_slot;  // (batch, count): where a Gaussian's pairs begin
  int32_t* tile_start;  // (batch, tiles + 1)
  int32_t* list;        // (batch, capacity): Gaussians of each tile by depth
  int capacity;

  HEADSPLAT_HD static int64_t state_bytes(const GaussianTask& task) {
    int64_t gaussians = static_cast<int64_t>(task.batch) * task.count;
    int64_t tiles = static_cast<int64_t>(task.tiles_x()) * task.tiles_y();
    return gaussians * (sizeof(Splat) + 4) + 4 * task.batch * (tiles + 1);
  }
};

// Counters of one call, zeroed by it. need: the most pairs any frame has; Gaussians not finite.
struct Counters {
  int32_t *need, *frame_pairs, *tile_pairs;  // (2), (batch), (batch, tiles)
};

// All of these enqueue work on `stream`, synchronize nothing, and return null or what the CUDA
// runtime said. `count_pairs_cuda` fills splats, first_slot and the counters; `fill_lists_cuda` the
// rest of the lists (`keys`: batch x capacity). A frame that does not fit its capacity stays empty.
const char* count_pairs_cuda(const GaussianTask& task, const Lists& lists, const Counters& counters,
                             void* stream);
const char* fill_lists_cuda(const GaussianTask& task, const Lists& lists, const Counters& counters,
                            unsigned long long* keys, void* stream);
const char* draw_gaussians_cuda(const GaussianTask& task, const Lists& lists, const Images& out,
                                void* stream);

constexpr int kFinishThreads = 128;

// `slots`: (batch, capacity). `cameras`: (batch, blocks of kFinishThreads Gaussians), or null.
const char* rasterize_gaussians_backward_cuda(const GaussianTask& task, const Lists& lists,
                                              const ImageGradients& in, PixelSums* slots,
                                              CameraGradient* cameras, const Gradients& out,
                                              void* stream);

}  // namespace headsplat
