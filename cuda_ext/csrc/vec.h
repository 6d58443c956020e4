// Sixteen floats side by side: one row of a tile. The compiler maps them to the machine's vectors.

#pragma once

#include <cstdint>
#include <cstring>

namespace headsplat {

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));  // also masks: 0 or -1 a lane

inline __attribute__((always_inline)) Floats splat(float value) { return Floats{} + value; }

// a b + c, fused where the machine has the instruction; elsewhere a call would be far slower.
inline __attribute__((always_inline)) Floats fma(Floats a, Floats b, Floats c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  Floats out;
  for (int i = 0; i < kLanes; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return out;
#else
  return a * b + c;
#endif
}

// 2^x for x <= 0, relative error under 3e-7; below -125 it stays at about 2^-125.
inline __attribute__((always_inline)) Floats exp2(Floats x) {
  x = x > -125.0f ? x : splat(-125.0f);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  Floats shifted = x + magic;
  Floats f = x - (shifted - magic);
  Floats p = splat(0.00132764713f);
  p = fma(p, f, splat(0.00967554096f));
  p = fma(p, f, splat(0.0555071309f));
  p = fma(p, f, splat(0.240221202f));
  p = fma(p, f, splat(0.693146944f));
  p = fma(p, f, splat(1.00000012f));
  Ints bits, exponent;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&exponent, &shifted, sizeof exponent);
  bits += exponent << 23;
  std::memcpy(&p, &bits, sizeof p);
  return p;
}

inline __attribute__((always_inline)) float sum(Floats x) {
  float part[kLanes];
  std::memcpy(part, &x, sizeof part);
  for (int width = kLanes / 2; width; width /= 2)
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  return part[0];
}

inline __attribute__((always_inline)) bool any(Ints mask) {
  int64_t part[kLanes / 2];
  std::memcpy(part, &mask, sizeof part);
  int64_t all = 0;
  for (int i = 0; i < kLanes / 2; ++i) all |= part[i];
  return all != 0;
}

}  // namespace headsplat
