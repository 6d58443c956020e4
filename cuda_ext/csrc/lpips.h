// One block's share of LPIPS on CUDA: what its kernels do, their entry points.
//
// LPIPS compares the features of two images after the last ReLU of each of VGG16's five blocks:
//
//   distance = mean over pixels of sum over channels of weight (have / |have| - want / |want|)^2,
//
// and the next block starts from the features' maxima over 2x2 pixels. Features are large (134 MB a
// block for 16 images of 256 x 256), the arithmetic on them is little, so the time is that of the
// bytes, and tensor operators pass over them some twenty times. Here all that a block's end does is
// done at once: forward reads either image's features once and writes the maxima and a few sums;
// backward reads them once more and writes the gradient, into which it takes
//
//   the distance:  have's direction is pushed by 2 weight (difference) / pixels, less what would
//                  only lengthen it, over its length;
//   the maxima:    the next block's gradient goes to the first of the largest in rows' order;
//   the ReLU:      nothing passes where have is 0.
//
// Nothing else is kept from forward to backward. Lengths, differences and sums are in single
// precision, features and their gradient in bfloat16 with channels last, rounded once.
//
// A quad, the 2x2 pixels under one maximum, belongs to C / 8 neighboring lanes, at most a warp.
// Each lane has the same 8 (at 512 channels, 16) channels of all four pixels in its registers:
// loads of 16 bytes, of which neighboring lanes' make whole lines, and eight of them under way at
// once; sums over channels are shuffles; the maximum is the lane's own. Odd last rows and columns
// belong to quads that are not whole: they count in the distance and in no maximum, as in PyTorch.
// Each block of threads leaves one sum in `parts`; one block an image adds them up. Every order is
// fixed, no atomics are used: the same bits in every run.

#pragma once

#include <cstdint>

#include "portable.h"

namespace headsplat {

struct LpipsTask {
  int batch, channels, height, width;  // 64, 128, 256 or 512 channels
  const uint16_t *have, *want;         // (batch, height, width, channels) bfloat16, on 16 bytes
  const float* weight;                 // (channels,), on 16 bytes

  HEADSPLAT_HD float pixels() const {
    return static_cast<float>(static_cast<int64_t>(height) * width);
  }
};

// Sums an image in `parts`, (batch, this).
int64_t lpips_parts(const LpipsTask& task);

// Enqueue work on `stream`, synchronize nothing, and return null or what the CUDA runtime said.
// `distance`, `d_distance`: (batch,). `max_have`, `max_want`, `d_max`: (batch, height / 2,
// width / 2, channels), on 16 bytes; `d_max` may be null.
const char* lpips_block_cuda(const LpipsTask& task, float* parts, float* distance,
                             uint16_t* max_have, uint16_t* max_want, void* stream);
const char* lpips_block_backward_cuda(const LpipsTask& task, const float* d_distance,
                                      const uint16_t* d_max, uint16_t* d_have, void* stream);

}  // namespace headsplat
