// One block's share of LPIPS on CUDA; `lpips.h` says how the work is laid out.

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstring>
#include <type_traits>

#include "lpips.h"

namespace headsplat {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kPixels = 4;        // of a quad
constexpr float kSmall = 1e-20f;  // keeps the direction of a zero vector finite
constexpr unsigned kAll = 0xffffffffu;

// Two bfloat16 as CUDA's operations on both at once take them.
__device__ __nv_bfloat162 pair(uint32_t word) {
  __nv_bfloat162 out;
  memcpy(&out, &word, sizeof out);
  return out;
}

__device__ uint32_t word(__nv_bfloat162 pair) {
  uint32_t out;
  memcpy(&out, &pair, sizeof out);
  return out;
}

__device__ float low(uint32_t word) { return __uint_as_float(word << 16); }
__device__ float high(uint32_t word) { return __uint_as_float(word & 0xffff0000u); }

// Eight neighboring channels of a pixel, as they lie in memory.
struct Eight {
  uint32_t words[4];

  __device__ static Eight load(const uint16_t* from) {
    uint4 all = *reinterpret_cast<const uint4*>(from);
    return {all.x, all.y, all.z, all.w};
  }
  __device__ void store(uint16_t* to) const {
    __stcg(reinterpret_cast<uint4*>(to), make_uint4(words[0], words[1], words[2], words[3]));
  }
  __device__ float operator[](int i) const {
    return i % 2 ? high(words[i / 2]) : low(words[i / 2]);
  }
};

// Whose quad a lane works on, and where that lies.
template <int kChannels>
struct Place {
  static constexpr int kLanes = kChannels / 8 < 32 ? kChannels / 8 : 32;  // a quad
  static constexpr int kSteps = kChannels / (8 * kLanes);                 // eights a lane has
  static constexpr int kQuads = kThreads / kLanes;                        // a block
  using Features = Eight[kPixels][kSteps];

  int channel;             // the lane's first
  int64_t pixel, maximum;  // the quad's first pixel, its maximum: their places in all frames
  int width;
  bool inside[kPixels];

  __device__ explicit Place(const LpipsTask& task) : width(task.width) {
    channel = 8 * (threadIdx.x % kLanes);
    int quad = blockIdx.x * kQuads + threadIdx.x / kLanes;
    int across = (task.width + 1) / 2;
    int row = quad / across, column = quad % across;
    int64_t frame = blockIdx.y;
    pixel = (frame * task.height + 2 * row) * task.width + 2 * column;
    maximum = (frame * (task.height / 2) + row) * (task.width / 2) + column;
#pragma unroll
    for (int p = 0; p < kPixels; ++p)  // false for all of a quad beyond the last
      inside[p] = 2 * row + p / 2 < task.height && 2 * column + p % 2 < task.width;
  }
  __device__ bool whole() const { return inside[kPixels - 1]; }
  __device__ int64_t offset(int p, int step) const {
    return (pixel + p / 2 * width + p % 2) * kChannels + channel + 8 * kLanes * step;
  }
  __device__ int64_t offset_of_maximum(int step) const {
    return maximum * kChannels + channel + 8 * kLanes * step;
  }
  __device__ void load(const uint16_t* from, Features& out) const {  // zeros outside
#pragma unroll
    for (int p = 0; p < kPixels; ++p)
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        out[p][step] = inside[p] ? Eight::load(from + offset(p, step)) : Eight{};
  }
  __device__ void load_weight(const float* from, float (&out)[8 * kSteps]) const {
#pragma unroll
    for (int i = 0; i < 2 * kSteps; ++i) {
      float4 four = *reinterpret_cast<const float4*>(from + channel + 8 * kLanes * (i / 2) +
                                                     4 * (i % 2));
      out[4 * i] = four.x;
      out[4 * i + 1] = four.y;
      out[4 * i + 2] = four.z;
      out[4 * i + 3] = four.w;
    }
  }
  // Sum over the quad's lanes, the same bits in each of them.
  __device__ static float sum(float value) {
#pragma unroll
    for (int step = kLanes / 2; step; step /= 2) value += __shfl_xor_sync(kAll, value, step);
    return value;
  }
  // One over the length of each pixel's vector.
  __device__ static void inverse_lengths(const Features& features, float (&out)[kPixels]) {
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      float square = 0;
#pragma unroll
      for (int k = 0; k < 8 * kSteps; ++k) {
        float value = features[p][k / 8][k % 8];
        square = fmaf(value, value, square);
      }
      out[p] = rsqrtf(sum(square) + kSmall);
    }
  }
};

// The largest of the quad's pixels, per channel of a word; what is not a number counts as such.
template <int kSteps>
__device__ uint32_t largest(const Eight (&features)[kPixels][kSteps], int step, int i) {
  auto at = [&](int p) { return pair(features[p][step].words[i]); };
  return word(__hmax2_nan(__hmax2_nan(at(0), at(1)), __hmax2_nan(at(2), at(3))));
}

template <int kChannels>
__device__ void store_maxima(const Place<kChannels>& place,
                             const typename Place<kChannels>::Features& features, uint16_t* to) {
#pragma unroll
  for (int step = 0; step < Place<kChannels>::kSteps; ++step) {
    Eight out;
#pragma unroll
    for (int i = 0; i < 4; ++i) out.words[i] = largest(features, step, i);
    out.store(to + place.offset_of_maximum(step));
  }
}

__device__ float block_sum(float value, float sums[kWarps]) {
#pragma unroll
  for (int step = 16; step; step /= 2) value += __shfl_xor_sync(kAll, value, step);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += sums[warp];
  return sum;
}

template <int kChannels>
__global__ void __launch_bounds__(kThreads)
    charge_quads(LpipsTask task, float* parts, uint16_t* max_have, uint16_t* max_want) {
  using Here = Place<kChannels>;
  __shared__ float sums[kWarps];
  Here place(task);
  typename Here::Features have, want;
  place.load(task.have, have);
  place.load(task.want, want);
  float weight[8 * Here::kSteps];
  place.load_weight(task.weight, weight);
  if (place.whole()) {
    store_maxima(place, have, max_have);
    store_maxima(place, want, max_want);
  }
  float per_have[kPixels], per_want[kPixels];
  Here::inverse_lengths(have, per_have);
  Here::inverse_lengths(want, per_want);
  float charge = 0;
#pragma unroll
  for (int k = 0; k < 8 * Here::kSteps; ++k) {
    float square = 0;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      // Two products and no contraction: equal images are at distance 0.
      float difference =
          have[p][k / 8][k % 8] * per_have[p] - want[p][k / 8][k % 8] * per_want[p];
      square = fmaf(difference, difference, square);
    }
    charge = fmaf(weight[k], square, charge);
  }
  charge = block_sum(charge, sums);
  if (threadIdx.x == 0)
    parts[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = charge;
}

__global__ void __launch_bounds__(kThreads)
    add_charges(LpipsTask task, const float* parts, int count, float* distance) {
  __shared__ float sums[kWarps];
  parts += static_cast<int64_t>(blockIdx.x) * count;
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += parts[i];
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) distance[blockIdx.x] = sum / task.pixels();
}

template <int kChannels>
__global__ void __launch_bounds__(kThreads)
    slope_quads(LpipsTask task, const float* d_distance, const uint16_t* d_max, uint16_t* d_have) {
  using Here = Place<kChannels>;
  Here place(task);
  typename Here::Features have, want;
  place.load(task.have, have);
  place.load(task.want, want);
  float weight[8 * Here::kSteps];
  place.load_weight(task.weight, weight);
  Eight from_max[Here::kSteps] = {};
  if (d_max != nullptr && place.whole()) {
#pragma unroll
    for (int step = 0; step < Here::kSteps; ++step)
      from_max[step] = Eight::load(d_max + place.offset_of_maximum(step));
  }
  float scale = 2 * d_distance[blockIdx.y] / task.pixels();
#pragma unroll
  for (int k = 0; k < 8 * Here::kSteps; ++k) weight[k] *= scale;
  float per_have[kPixels], per_want[kPixels], along[kPixels];
  Here::inverse_lengths(have, per_have);
  Here::inverse_lengths(want, per_want);
  auto push = [&](int p, int k) {  // on the unit vector
    return weight[k] *
           (have[p][k / 8][k % 8] * per_have[p] - want[p][k / 8][k % 8] * per_want[p]);
  };
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {  // what of it would only lengthen the vector
    float product = 0;
#pragma unroll
    for (int k = 0; k < 8 * Here::kSteps; ++k)
      product = fmaf(push(p, k), have[p][k / 8][k % 8], product);
    along[p] = Here::sum(product) * (per_have[p] * per_have[p]);
  }
#pragma unroll
  for (int step = 0; step < Here::kSteps; ++step) {
    Eight out[kPixels];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      uint32_t most = largest(have, step, i), taken = 0;  // taken: where the maximum is found
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
        uint32_t value = have[p][step].words[i];
        uint32_t wins = __heq2_mask(pair(value), pair(most)) & ~taken;
        taken |= wins;
        uint32_t passed = from_max[step].words[i] & wins;
        auto slope = [&](float value, float push, float passed) {
          return fmaf(fmaf(-along[p], value, push), per_have[p], passed);
        };
        int k = 8 * step + 2 * i;
        float first = slope(low(value), push(p, k), low(passed));
        float second = slope(high(value), push(p, k + 1), high(passed));
        out[p].words[i] = word(__floats2bfloat162_rn(first, second)) &
                          __hgtu2_mask(pair(value), pair(0));  // the ReLU
      }
    }
#pragma unroll
    for (int p = 0; p < kPixels; ++p)
      if (place.inside[p]) out[p].store(d_have + place.offset(p, step));
  }
}

// Calls with the number of channels as a constant.
template <typename Call>
void with_channels(int channels, Call call) {
  switch (channels) {
    case 64: return call(std::integral_constant<int, 64>());
    case 128: return call(std::integral_constant<int, 128>());
    case 256: return call(std::integral_constant<int, 256>());
    case 512: return call(std::integral_constant<int, 512>());
  }
}

dim3 grid(const LpipsTask& task) {
  return dim3(static_cast<unsigned>(lpips_parts(task)), static_cast<unsigned>(task.batch));
}

const char* last_error() {
  cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

int64_t lpips_parts(const LpipsTask& task) {
  int64_t quads = static_cast<int64_t>((task.height + 1) / 2) * ((task.width + 1) / 2), each = 1;
  with_channels(task.channels, [&](auto channels) { each = Place<channels()>::kQuads; });
  return (quads + each - 1) / each;
}

const char* lpips_block_cuda(const LpipsTask& task, float* parts, float* distance,
                             uint16_t* max_have, uint16_t* max_want, void* stream) {
  if (task.batch == 0) return nullptr;
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  with_channels(task.channels, [&](auto channels) {
    charge_quads<channels()><<<grid(task), kThreads, 0, queue>>>(task, parts, max_have, max_want);
  });
  add_charges<<<static_cast<unsigned>(task.batch), kThreads, 0, queue>>>(
      task, parts, static_cast<int>(lpips_parts(task)), distance);
  return last_error();
}

const char* lpips_block_backward_cuda(const LpipsTask& task, const float* d_distance,
                                      const uint16_t* d_max, uint16_t* d_have, void* stream) {
  if (task.batch == 0) return nullptr;
  cudaStream_t queue = static_cast<cudaStream_t>(stream);
  with_channels(task.channels, [&](auto channels) {
    slope_quads<channels()><<<grid(task), kThreads, 0, queue>>>(task, d_distance, d_max, d_have);
  });
  return last_error();
}

}  // namespace headsplat
