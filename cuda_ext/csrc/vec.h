// SIMD vectors of 4 to 16 floats, one per pixel, in the vector extensions of GCC and Clang.
// (Vectors wider than the machine's would compile too, but into code many times slower.)

#pragma once

// Vectors are passed by value only to always-inlined functions, so no ABI is involved.
#pragma GCC diagnostic ignored "-Wpsabi"

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace headsplat {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));  // also masks: 0 or -1 per lane

inline __attribute__((always_inline)) Floats splat(float value) { return Floats{} + value; }

// a b + c, fused where the machine has the instruction.
inline __attribute__((always_inline)) Floats fma(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_fmadd_ps(
      reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__AVX2__) && defined(__FMA__)
  return reinterpret_cast<Floats>(_mm256_fmadd_ps(
      reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#elif defined(__ARM_NEON)
  return reinterpret_cast<Floats>(vfmaq_f32(reinterpret_cast<float32x4_t>(c),
                                            reinterpret_cast<float32x4_t>(a),
                                            reinterpret_cast<float32x4_t>(b)));
#else
  return a * b + c;
#endif
}

inline __attribute__((always_inline)) Floats root(Floats x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_sqrt_ps(reinterpret_cast<__m512>(x)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#elif defined(__ARM_NEON)
  return reinterpret_cast<Floats>(vsqrtq_f32(reinterpret_cast<float32x4_t>(x)));
#else
  for (int i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
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
