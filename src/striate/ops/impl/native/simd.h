// Vectors of floats as wide as the instruction set being compiled has them, in the vector extensions of GCC and Clang.
#pragma once
#include <cstdint>
#if defined(STRIATE_LANES)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarms from the intrinsics themselves
#endif
#include <immintrin.h>
#endif

namespace striate {
namespace {

#if defined(STRIATE_LANES)
constexpr int64_t kLanes = STRIATE_LANES;
#else
constexpr int64_t kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

#define STRIATE_INLINE inline __attribute__((always_inline))

STRIATE_INLINE Floats load(const float* p) {
  Floats v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

STRIATE_INLINE void store(float* p, Floats v) { __builtin_memcpy(p, &v, sizeof(v)); }

// The first `count` lanes from memory, zeros in the others; count may be kLanes or more.
STRIATE_INLINE Floats load_first(const float* p, int64_t count) {
  if (count >= kLanes) return load(p);
  Floats v = {};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
}

STRIATE_INLINE void store_first(float* p, Floats v, int64_t count) {
  if (count >= kLanes) return store(p, v);
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
}

// Bytes as integers. (GCC 12 widens a vector of bytes lane by lane; the intrinsics are one instruction.)
STRIATE_INLINE Ints widen(Bytes bytes) {
#if !defined(STRIATE_LANES)
  return __builtin_convertvector(bytes, Ints);
#elif STRIATE_LANES == 16
  return reinterpret_cast<Ints>(_mm512_cvtepu8_epi32(reinterpret_cast<__m128i>(bytes)));
#else
  return reinterpret_cast<Ints>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&bytes))));
#endif
}

STRIATE_INLINE Floats all(float value) { return Floats{} + value; }

}  // namespace
}  // namespace striate
