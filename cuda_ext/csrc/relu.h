// The gradient through a ReLU and into the bias before it, in one pass over memory. For a network
// with a row for each Gaussian of each frame, masking the gradient and adding up its columns are
// two of the three passes of a layer that compute next to nothing; here the sums ride along.
//
// Blocks take rows in turn and sum in single precision; their sums are added in a second, small
// kernel. Which block takes which row depends on the sizes alone, so runs agree bit by bit.

#pragma once

#include <cstdint>

namespace headsplat {

constexpr int kReluThreads = 256, kMostReluBlocks = 1024;
constexpr int kReluGroup = 8;  // columns a thread: 16 bytes

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

// `parts`: (blocks, columns); `sums`: (columns,). Enqueues work on `stream`, synchronizes nothing,
// and returns null or what the CUDA runtime said.
const char* relu_gradient_cuda(const ReluTask& task, float* parts, float* sums, void* stream);

}  // namespace headsplat
