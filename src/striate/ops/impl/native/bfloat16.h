// Numbers of bfloat16 in memory, floats in registers: a bfloat16 is the upper half of a float.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace striate {
namespace {

typedef uint16_t Halves __attribute__((vector_size(kLanes * 2)));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4)));

STRIATE_INLINE Floats load(const Bfloat16* p) {
  Halves halves;
  __builtin_memcpy(&halves, p, sizeof(halves));
#if !defined(STRIATE_LANES)
  const Words words = __builtin_convertvector(halves, Words);
#elif STRIATE_LANES == 16  // (GCC 12 would widen each half by itself)
  const Words words = reinterpret_cast<Words>(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(halves)));
#else
  const Words words = reinterpret_cast<Words>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(halves)));
#endif
  return reinterpret_cast<Floats>(words << 16);
}

// The nearest bfloat16, of two equally near ones the even one; a NaN stays one.
STRIATE_INLINE Halves rounded(Floats v) {
#if defined(STRIATE_BFLOAT16_PRODUCTS)
  return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v)));
#else
  const Words bits = reinterpret_cast<Words>(v), upper = bits >> 16;
  const Words nearest = (bits + 0x7fff + (upper & 1)) >> 16;
  return __builtin_convertvector(v == v ? nearest : upper | 0x40, Halves);
#endif
}

STRIATE_INLINE void store(Bfloat16* p, Floats v) {
  const Halves halves = rounded(v);
  __builtin_memcpy(p, &halves, sizeof(halves));
}

// (A copy of so many bytes as are known only later is a call of memcpy.)
STRIATE_INLINE Floats load_first(const Bfloat16* p, int64_t count) {
  if (count >= kLanes) return load(p);
  Bfloat16 lanes[kLanes] = {};
  __builtin_memcpy(lanes, p, count * sizeof(Bfloat16));
  return load(lanes);
}

STRIATE_INLINE void store_first(Bfloat16* p, Floats v, int64_t count) {
  if (count >= kLanes) return store(p, v);
  const Halves halves = rounded(v);
#if STRIATE_LANES == 16
  _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m256i>(halves));
#else
  for (int64_t i = 0; i < count; ++i) p[i].bits = halves[i];
#endif
}

}  // namespace
}  // namespace striate
