// Products of bfloat16 (matrix.h): each lane multiplies two neighbours and adds both to a float. Denormals count as zero.
#pragma once
#include "bfloat16.h"
#include "matrix.h"

namespace striate {
namespace {

template <>
struct Products<Bfloat16> {
  static constexpr int64_t kDepth = 2;
  typedef __m512bh Vector;
  static STRIATE_INLINE Vector get(const Bfloat16* p) {
    Vector v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static STRIATE_INLINE Vector in_all_lanes(const Bfloat16* p) {
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof(pair));
    return reinterpret_cast<Vector>(_mm512_set1_epi32(pair));
  }
  // A number whose neighbour is not there.
  static STRIATE_INLINE Vector last_in_all_lanes(const Bfloat16* p) {
    return reinterpret_cast<Vector>(_mm512_set1_epi32(p->bits));
  }
  static STRIATE_INLINE Floats add(Floats sum, Vector a, Vector b) {
    return reinterpret_cast<Floats>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), a, b));
  }
};

}  // namespace
}  // namespace striate
