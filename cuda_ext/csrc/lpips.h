// The end of one LPIPS block on CUDA: description of its kernels, and entry points.
//
// LPIPS compares the features of two images after the last ReLU of each of VGG16's five blocks:
//
//   distance = mean over pixels of sum over channels of weight (have / |have| - want / |want|)^2,
//
// and the next block starts from the features' 2x2 max pooling. Features are large (134 MB per
// block for 16 images of 256 x 256) and the arithmetic is little, so the operation is memory-bound,
// and tensor operations pass over them about twenty times. Here everything at a block's end is
// fused: forward reads both images' features once and writes the maxima and a few sums; backward
// reads them once more and writes the gradient, which combines
//
//   the distance:  2 weight (difference) / pixels on have's direction, without the component that
//                  would only change its length, divided by the length;
//   the maxima:    the next block's gradient goes to the first maximum in row order;
//   the ReLU:      the gradient is 0 where have is 0.
//
// Nothing else is stored between forward and backward. Lengths, differences and sums are in single
// precision; features and their gradient are bfloat16 in channels-last order, rounded once.
//
// A quad, the 2x2 pixels under one maximum, belongs to C / 8 neighboring lanes, at most a warp.
// Each lane holds the same 8 (at 512 channels, 16) channels of all four pixels in its registers.
// Loads are 16 bytes, coalesced over neighboring lanes, with eight in flight at once. Sums over
// channels are shuffles; the maximum is local to the lane. Odd last rows and columns form
// incomplete quads: they count in the distance and in no maximum, as in PyTorch. Each thread block
// writes one sum to `parts`; one block per image adds them. Every order is fixed and there are no
// atomics: results are bitwise reproducible.

#pragma once

#include <cstdint>

#include "portable.h"

namespace headsplat {

struct LpipsTask {
  int batch, channels, height, width;  // 64, 128, 256 or 512 channels
  const uint16_t *have, *want;         // (batch, height, width, channels) bfloat16, 16-byte aligned
  const float* weight;                 // (channels,), aligned to 16 bytes

  HEADSPLAT_HD float pixels() const {
    return static_cast<float>(static_cast<int64_t>(height) * width);
  }
};

// Number of partial sums per image: `parts` is (batch, this).
int64_t lpips_parts(const LpipsTask& task);

// Enqueue work on `stream` without synchronizing, and return null or the CUDA runtime's error.
// `distance`, `d_distance`: (batch,). `max_have`, `max_want`, `d_max`: (batch, height / 2,
// width / 2, channels), aligned to 16 bytes; `d_max` may be null.
const char* lpips_block_cuda(const LpipsTask& task, float* parts, float* distance,
                             uint16_t* max_have, uint16_t* max_want, void* stream);
const char* lpips_block_backward_cuda(const LpipsTask& task, const float* d_distance,
                                      const uint16_t* d_max, uint16_t* d_have, void* stream);

}  // namespace headsplat
