// The gradient through a ReLU and of the bias before it, in one pass over memory. For a network
// with one row per Gaussian and frame, masking the gradient and summing its columns are two of a
// layer's three memory-bound passes. Here both are one pass.
//
// Blocks take rows in turn and sum in single precision; a second, small kernel adds their sums. The
// assignment of rows depends on the sizes only, so results are bitwise reproducible.

#pragma once

#include <cstdint>

namespace headsplat {

constexpr int kReluThreads = 256, kMostReluBlocks = 1024;
constexpr int kReluGroup = 8;  // columns per thread: 16 bytes

struct ReluTask {
  int64_t rows;
  int columns;             // a multiple of kReluGroup, at most kReluGroup * kReluThreads
  uint16_t* gradient;      // (rows, columns) bfloat16, set to zero where the value is not positive
  const uint16_t* values;  // (rows, columns) bfloat16, after the ReLU

  int groups() const { return columns / kReluGroup; }
  int rows_at_once() const { return kReluThreads / groups(); }
  int blocks() const {
    int64_t wanted = (rows + 4 * rows_at_once() - 1) / (4 * rows_at_once());
    return static_cast<int>(wanted < 1 ? 1 : wanted < kMostReluBlocks ? wanted : kMostReluBlocks);
  }
};

// `parts`: (blocks, columns); `sums`: (columns,). Enqueues work on `stream` without synchronizing,
// and returns null or the CUDA runtime's error.
const char* relu_gradient_cuda(const ReluTask& task, float* parts, float* sums, void* stream);

}  // namespace headsplat
