// The transforms of Winograd's minimal filtering F(m x m, 3 x 3): m outputs per axis from a = m + 2 inputs.
//
// Y = A^T [(G g G^T) . (B^T d B)] A  (Lavin and Gray 2016, equation 8), here one axis at a time.
#pragma once
#include "simd.h"

namespace striate {
namespace {

template <int M>
struct Winograd;

// F(2, 3): points 0, 1, -1 and infinity; 2.25 times fewer products in two dimensions.
template <>
struct Winograd<2> {
  static constexpr int kTile = 4;
  static constexpr float kG[4][3] = {{1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}};

  static STRIATE_INLINE void input(const Floats* d, Floats* v) {  // B^T d
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
  static STRIATE_INLINE void output(const Floats* m, Floats* y) {  // A^T m
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  static STRIATE_INLINE void gradient(const Floats* g, Floats* v) {  // A g
    v[0] = g[0];
    v[1] = g[0] + g[1];
    v[2] = g[0] - g[1];
    v[3] = -g[1];
  }
};

// F(4, 3): 4 times fewer products in two dimensions. The points 0, a, -a, b, -b and infinity with a = 1/sqrt(2) and
// b = sqrt(2) have half the rounding error of the usual 0, 1, -1, 2, -2.
template <>
struct Winograd<4> {
  static constexpr int kTile = 6;
  static constexpr float kA = 0.70710678118654752f, kB = 1.41421356237309505f;
  static constexpr float kG[6][3] = {{1, 0, 0},
                                     {-2 / 3.f, -2 / 3.f * kA, -1 / 3.f},
                                     {-2 / 3.f, 2 / 3.f * kA, -1 / 3.f},
                                     {1 / 6.f, 1 / 6.f * kB, 1 / 3.f},
                                     {1 / 6.f, -1 / 6.f * kB, 1 / 3.f},
                                     {0, 0, 1}};

  static STRIATE_INLINE void input(const Floats* d, Floats* v) {  // B^T d
    const Floats even_a = d[4] - 2.0f * d[2], odd_a = kA * (d[3] - 2.0f * d[1]);
    const Floats even_b = d[4] - 0.5f * d[2], odd_b = kB * (d[3] - 0.5f * d[1]);
    v[0] = d[0] - 2.5f * d[2] + d[4];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = d[1] - 2.5f * d[3] + d[5];
  }
  static STRIATE_INLINE void output(const Floats* m, Floats* y) {  // A^T m
    const Floats sum_a = m[1] + m[2], difference_a = kA * (m[1] - m[2]);
    const Floats sum_b = m[3] + m[4], difference_b = kB * (m[3] - m[4]);
    y[0] = m[0] + sum_a + sum_b;
    y[1] = difference_a + difference_b;
    y[2] = 0.5f * sum_a + 2.0f * sum_b;
    y[3] = 0.5f * difference_a + 2.0f * difference_b + m[5];
  }
  static STRIATE_INLINE void gradient(const Floats* g, Floats* v) {  // A g
    const Floats even_a = g[0] + 0.5f * g[2], odd_a = kA * (g[1] + 0.5f * g[3]);
    const Floats even_b = g[0] + 2.0f * g[2], odd_b = kB * (g[1] + 2.0f * g[3]);
    v[0] = g[0];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = g[3];
  }
};

// Apply a transform of each axis to a block of In x InAcross: `across` to its rows, then `down` to the columns.
template <int In, int InAcross, int Out, int OutAcross, class Down, class Across>
STRIATE_INLINE void both_axes(const Floats (&block)[In][InAcross], Floats (&result)[Out][OutAcross], const Down& down,
                              const Across& across) {
  Floats half[In][OutAcross];
#pragma GCC unroll 8
  for (int i = 0; i < In; ++i) across(block[i], half[i]);
#pragma GCC unroll 8
  for (int j = 0; j < OutAcross; ++j) {
    Floats column[In], transformed[Out];
#pragma GCC unroll 8
    for (int i = 0; i < In; ++i) column[i] = half[i][j];
    down(column, transformed);
#pragma GCC unroll 8
    for (int i = 0; i < Out; ++i) result[i][j] = transformed[i];
  }
}

}  // namespace
}  // namespace striate
