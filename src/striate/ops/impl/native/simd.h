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

// Loads once what is used several times: compilers would rather load anew for each product, which keeps them waiting.
STRIATE_INLINE Floats load_once(const float* p) {
  Floats v = load(p);
#if defined(STRIATE_LANES)
  asm("" : "+v"(v));
#endif
  return v;
}

// The first `count` lanes from memory, zeros in the others; count may be kLanes or more.
STRIATE_INLINE Floats load_first(const float* p, int64_t count) {
  if (count >= kLanes) return load(p);
#if STRIATE_LANES == 16
  return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p));
#else
  Floats v = {};
  for (int64_t i = 0; i < count; ++i) v[i] = p[i];
  return v;
#endif
}

STRIATE_INLINE void store_first(float* p, Floats v, int64_t count) {
  if (count >= kLanes) return store(p, v);
#if STRIATE_LANES == 16
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512>(v));
#else
  for (int64_t i = 0; i < count; ++i) p[i] = v[i];
#endif
}

// (A copy of so many bytes as are known only later is a call of memcpy.)
STRIATE_INLINE Bytes load_first(const uint8_t* p, int64_t count) {
  Bytes v = {};
  if (count >= kLanes)
    __builtin_memcpy(&v, p, kLanes);
  else
#if STRIATE_LANES == 16
    v = reinterpret_cast<Bytes>(_mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << count) - 1), p));
#else
    for (int64_t i = 0; i < count; ++i) v[i] = p[i];
#endif
  return v;
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

STRIATE_INLINE void store_first(uint8_t* p, Bytes v, int64_t count) {
  if (count >= kLanes)
    __builtin_memcpy(p, &v, kLanes);
  else
#if STRIATE_LANES == 16
    _mm_mask_storeu_epi8(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m128i>(v));
#else
    for (int64_t i = 0; i < count; ++i) p[i] = v[i];
#endif
}

// The smaller and the larger lanes; where a lane of either is a NaN, that of b. (Compilers make two instructions of
// a comparison and a choice.)
STRIATE_INLINE Floats smaller(Floats a, Floats b) {
#if !defined(STRIATE_LANES)
  return a < b ? a : b;
#elif STRIATE_LANES == 16
  return reinterpret_cast<Floats>(_mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return reinterpret_cast<Floats>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#endif
}

STRIATE_INLINE Floats larger(Floats a, Floats b) {
#if !defined(STRIATE_LANES)
  return a > b ? a : b;
#elif STRIATE_LANES == 16
  return reinterpret_cast<Floats>(_mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#else
  return reinterpret_cast<Floats>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#endif
}

// 1 / sqrt(v) for positive numbers, to a few units in the last place: the processor's estimate and one step of Newton's
// method, for its square roots and divisions take several times as long.
STRIATE_INLINE Floats inverse_root(Floats v) {
#if !defined(STRIATE_LANES)
  Floats root;
  for (int64_t i = 0; i < kLanes; ++i) root[i] = 1.0f / __builtin_sqrtf(v[i]);
  return root;
#else
#if STRIATE_LANES == 16
  const Floats estimate = reinterpret_cast<Floats>(_mm512_rsqrt14_ps(reinterpret_cast<__m512>(v)));
#else
  const Floats estimate = reinterpret_cast<Floats>(_mm256_rsqrt_ps(reinterpret_cast<__m256>(v)));
#endif
  return estimate * (1.5f - 0.5f * v * estimate * estimate);
#endif
}

// (Minus zero, for plus zero would change the sign of a zero and cost an instruction.)
STRIATE_INLINE Floats all(float value) { return value - Floats{}; }

// The sum of all lanes, by halves.
STRIATE_INLINE float sum_of(Floats v) {
  float lanes[kLanes];
  store(lanes, v);
#pragma GCC unroll 4
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

STRIATE_INLINE Ints lane_numbers() {
  Ints v;
  for (int32_t i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}

// For which lanes something holds: bits of a mask register where there are some.
#if STRIATE_LANES == 16
typedef __mmask16 Mask;
typedef Bytes SmallInts;  // numbers up to 255, one a lane, as a Mask chooses among them at least cost
#else
typedef Ints Mask;
typedef Ints SmallInts;
#endif

STRIATE_INLINE Mask greater(Floats a, Floats b) {
#if STRIATE_LANES == 16
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_GT_OQ);
#else
  return a > b;
#endif
}

// Which lanes are no numbers.
STRIATE_INLINE Mask unordered(Floats v) {
#if STRIATE_LANES == 16
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), reinterpret_cast<__m512>(v), _CMP_UNORD_Q);
#else
  return v != v;
#endif
}

STRIATE_INLINE bool any(Mask lanes) {
#if !defined(STRIATE_LANES)
  for (int64_t i = 0; i < kLanes; ++i)
    if (lanes[i]) return true;
  return false;
#elif STRIATE_LANES == 16
  return lanes != 0;
#else
  return _mm256_movemask_ps(reinterpret_cast<__m256>(lanes)) != 0;
#endif
}

STRIATE_INLINE Floats choose(Mask lanes, Floats a, Floats b) {
#if STRIATE_LANES == 16
  return reinterpret_cast<Floats>(_mm512_mask_mov_ps(reinterpret_cast<__m512>(b), lanes, reinterpret_cast<__m512>(a)));
#else
  return lanes ? a : b;
#endif
}

STRIATE_INLINE SmallInts choose(Mask lanes, SmallInts a, SmallInts b) {
#if STRIATE_LANES == 16
  return reinterpret_cast<SmallInts>(_mm_mask_mov_epi8(reinterpret_cast<__m128i>(b), lanes, reinterpret_cast<__m128i>(a)));
#else
  return lanes ? a : b;
#endif
}

STRIATE_INLINE Bytes narrow(SmallInts v) { return __builtin_convertvector(v, Bytes); }

// sum + v in the lanes where `bytes` are `wanted`.
STRIATE_INLINE Floats add_where(Bytes bytes, Bytes wanted, Floats sum, Floats v) {
#if !defined(STRIATE_LANES)
  return widen(bytes) == widen(wanted) ? sum + v : sum;
#elif STRIATE_LANES == 16
  const Mask lanes = _mm_cmpeq_epi8_mask(reinterpret_cast<__m128i>(bytes), reinterpret_cast<__m128i>(wanted));
  const __m512 before = reinterpret_cast<__m512>(sum);
  return reinterpret_cast<Floats>(_mm512_mask_add_ps(before, lanes, before, reinterpret_cast<__m512>(v)));
#else
  const auto equal = bytes == wanted;  // bytes of ones and of zeros: as integers they keep their sign
  const Ints lanes = reinterpret_cast<Ints>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&equal))));
  return sum + reinterpret_cast<Floats>(lanes & reinterpret_cast<Ints>(v));
#endif
}

// A number as a type, and numbers 0 .. N - 1 handed one by one to a body that needs them when it is compiled.
template <int N>
struct Number {
  static constexpr int value = N;
};

#define STRIATE_INLINE_LAMBDA __attribute__((always_inline))

template <int N, int I = 0, class Body>
STRIATE_INLINE void for_each(const Body& body) {
  if constexpr (I < N) {
    body(Number<I>{});
    for_each<N, I + 1>(body);
  }
}

// Call body(c, done, count) for the vectors of a row of channels: `count` lanes from c on, of which `done` were had
// before: the last vector begins earlier instead of being cut. Only a row shorter than a vector is one of fewer lanes.
template <class Body>
STRIATE_INLINE void for_channels(int64_t channels, const Body& body) {
  if (channels < kLanes) return body(int64_t{0}, int64_t{0}, channels);
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t start = c < channels - kLanes ? c : channels - kLanes;
    body(start, c - start, kLanes);
  }
}

// Of two vectors as blocks of H lanes: the first blocks of each pair (Second = 0), or the second ones, a's before b's.
template <int H, int Second, int... Lanes>
STRIATE_INLINE Floats interleave_blocks(Floats a, Floats b) {
  if constexpr (sizeof...(Lanes) < kLanes) {
    constexpr int lane = sizeof...(Lanes), of_b = lane / H % 2;
    return interleave_blocks<H, Second, Lanes..., (of_b ? kLanes - H : 0) + lane + Second * H>(a, b);
  } else {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, Lanes...);
#else
    return __builtin_shuffle(a, b, Ints{Lanes...});
#endif
  }
}

// Rows become columns, in log2(kLanes) rounds that exchange blocks of 1, 2, 4 ... lanes.
template <int H = 1>
STRIATE_INLINE void transpose(Floats* rows) {
  if constexpr (H < kLanes) {
    for_each<kLanes>([&](auto number) STRIATE_INLINE_LAMBDA {
      constexpr int i = decltype(number)::value;
      if constexpr (i / H % 2 == 0) {
        const Floats a = rows[i], b = rows[i + H];
        rows[i] = interleave_blocks<H, 0>(a, b);
        rows[i + H] = interleave_blocks<H, 1>(a, b);
      }
    });
    transpose<2 * H>(rows);
  }
}

// The sums of all lanes of each of kLanes vectors: neighbouring lanes first. Replaces what is in `rows`.
template <int H = 1>
STRIATE_INLINE Floats sums_of(Floats* rows) {
  if constexpr (H == kLanes) {
    return rows[0];
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes / H / 2; ++i) {
      const Floats a = rows[2 * i], b = rows[2 * i + 1];
      rows[i] = interleave_blocks<H, 0>(a, b) + interleave_blocks<H, 1>(a, b);
    }
    return sums_of<2 * H>(rows);
  }
}

// The sums of all lanes of each of four vectors, in the first of kLanes floats. Replaces what is in `rows`.
STRIATE_INLINE void sums_of_four(Floats* rows, float* sums) {
  rows[0] = interleave_blocks<1, 0>(rows[0], rows[1]) + interleave_blocks<1, 1>(rows[0], rows[1]);
  rows[1] = interleave_blocks<1, 0>(rows[2], rows[3]) + interleave_blocks<1, 1>(rows[2], rows[3]);
  store(sums, interleave_blocks<2, 0>(rows[0], rows[1]) + interleave_blocks<2, 1>(rows[0], rows[1]));
#pragma GCC unroll 4
  for (int64_t i = 4; i < kLanes; ++i) sums[i % 4] += sums[i];
}

// kLanes rows of kLanes floats, x_row apart, stored as columns.
STRIATE_INLINE void transpose_square(const float* x, int64_t x_row, float* y, int64_t y_row) {
  Floats rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) rows[i] = load(x + i * x_row);
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store(y + i * y_row, rows[i]);
}

// The lanes are groups of G; each lane gets member I of its group.
template <int G, int I, int... Lanes>
STRIATE_INLINE Floats spread_member(Floats v) {
  if constexpr (G == 1) {
    return v;
  } else if constexpr (sizeof...(Lanes) < kLanes) {
    return spread_member<G, I, Lanes..., static_cast<int>(sizeof...(Lanes)) / G * G + I>(v);
  } else {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(v, v, Lanes...);
#else
    return __builtin_shuffle(v, Ints{Lanes...});
#endif
  }
}

// A vector that begins at lane First of a and goes on in b.
template <int First, int... Lanes>
STRIATE_INLINE Floats neighbours(Floats a, Floats b) {
  if constexpr (sizeof...(Lanes) < kLanes) {
    return neighbours<First, Lanes..., static_cast<int>(sizeof...(Lanes)) + First>(a, b);
  } else {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, Lanes...);
#else
    return __builtin_shuffle(a, b, Ints{Lanes...});
#endif
  }
}

}  // namespace
}  // namespace striate
