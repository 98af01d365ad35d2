// Small matrix products kept in registers: the inner loops of the convolutions.
#pragma once
#include "simd.h"

namespace striate {
namespace {

// A block of kRows x kColumnVectors accumulators, with what is multiplied, fills the registers: 32 with AVX-512, else 16.
constexpr int kRows = 6;
constexpr int kColumnVectors = kLanes == 16 ? 4 : 2;
constexpr int64_t kPanel = kColumnVectors * kLanes;  // columns that one micro-kernel computes

STRIATE_INLINE int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// What a product of one type of number is made of: `kDepth` neighbours are multiplied and added up in each lane.
template <class Number>
struct Products;

template <>
struct Products<float> {
  static constexpr int64_t kDepth = 1;
  typedef Floats Vector;
  static STRIATE_INLINE Vector get(const float* p) { return load(p); }
  static STRIATE_INLINE Vector in_all_lanes(const float* p) { return all(*p); }
  static STRIATE_INLINE Vector last_in_all_lanes(const float* p) { return all(*p); }
  static STRIATE_INLINE Floats add(Floats sum, Vector a, Vector b) { return sum + a * b; }
};

// result (R rows) = [result +] a (R x depth) times panel (depth x kPanel, contiguous; kDepth rows interleaved), of which
// only the first V vectors of columns are computed.
template <int R, int V, class Number>
STRIATE_INLINE void multiply_rows(const Number* a, int64_t a_row, const Number* panel, float* result,
                                  int64_t result_row, int64_t depth, bool add) {
  typedef Products<Number> P;
  constexpr int64_t kWide = kLanes * P::kDepth;
  Floats sums[R][V] = {};
  for (int64_t d = 0; d < depth; d += P::kDepth) {
    typename P::Vector b[V];
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) b[j] = P::get(panel + d * kPanel + j * kWide);
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) __builtin_prefetch(panel + (d + 16 * P::kDepth) * kPanel + j * kWide);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const typename P::Vector value = P::in_all_lanes(a + r * a_row + d);
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) sums[r][j] = P::add(sums[r][j], value, b[j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) {
      float* const place = result + r * result_row + j * kLanes;
      store(place, add ? sums[r][j] + load(place) : sums[r][j]);
    }
}

// result (rows x panel) = [result +] a (rows x depth) times panel; of the columns only V vectors.
template <int V = kColumnVectors, class Number>
inline void multiply(const Number* a, int64_t a_row, const Number* panel, float* result, int64_t result_row,
                     int64_t rows, int64_t depth, bool add = false) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    multiply_rows<kRows, V>(a + r * a_row, a_row, panel, result + r * result_row, result_row, depth, add);
  const Number* const rest = a + r * a_row;
  float* const out = result + r * result_row;
  switch (rows - r) {
    case 5: return multiply_rows<5, V>(rest, a_row, panel, out, result_row, depth, add);
    case 4: return multiply_rows<4, V>(rest, a_row, panel, out, result_row, depth, add);
    case 3: return multiply_rows<3, V>(rest, a_row, panel, out, result_row, depth, add);
    case 2: return multiply_rows<2, V>(rest, a_row, panel, out, result_row, depth, add);
    case 1: return multiply_rows<1, V>(rest, a_row, panel, out, result_row, depth, add);
  }
}

// result (R rows) = [result +] a^T times b: a is depth x R (rows a_row apart), b a panel of `depth` rows; of both, kDepth
// rows are interleaved. What was there is added last, not first: sums over pieces lose fewer digits than one long sum.
template <int R, class Number>
STRIATE_INLINE void multiply_transposed_rows(const Number* a, int64_t a_row, const Number* b, float* result,
                                             int64_t result_row, int64_t depth, bool add) {
  typedef Products<Number> P;
  constexpr int64_t kWide = kLanes * P::kDepth;
  Floats sums[R][kColumnVectors] = {};
  for (int64_t d = 0; d < depth; d += P::kDepth) {
    typename P::Vector row[kColumnVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kColumnVectors; ++j) row[j] = P::get(b + d * kPanel + j * kWide);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const typename P::Vector value = P::in_all_lanes(a + d * a_row + r * P::kDepth);
#pragma GCC unroll 4
      for (int j = 0; j < kColumnVectors; ++j) sums[r][j] = P::add(sums[r][j], value, row[j]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kColumnVectors; ++j) {
      float* const place = result + r * result_row + j * kLanes;
      store(place, add ? sums[r][j] + load(place) : sums[r][j]);
    }
}

// result (rows x panel) = [result +] a^T (rows x depth) times b (depth x panel).
template <class Number>
inline void multiply_transposed(const Number* a, int64_t a_row, const Number* b, float* result, int64_t result_row,
                                int64_t rows, int64_t depth, bool add) {
  constexpr int64_t kDepth = Products<Number>::kDepth;
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    multiply_transposed_rows<kRows>(a + r * kDepth, a_row, b, result + r * result_row, result_row, depth, add);
  const Number* const rest = a + r * kDepth;
  float* const out = result + r * result_row;
  switch (rows - r) {
    case 5: return multiply_transposed_rows<5>(rest, a_row, b, out, result_row, depth, add);
    case 4: return multiply_transposed_rows<4>(rest, a_row, b, out, result_row, depth, add);
    case 3: return multiply_transposed_rows<3>(rest, a_row, b, out, result_row, depth, add);
    case 2: return multiply_transposed_rows<2>(rest, a_row, b, out, result_row, depth, add);
    case 1: return multiply_transposed_rows<1>(rest, a_row, b, out, result_row, depth, add);
  }
}

}  // namespace
}  // namespace striate
