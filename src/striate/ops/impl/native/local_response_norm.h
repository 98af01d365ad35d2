// Local response normalisation with beta = 3/4: y = x / (k + alpha * s)^(3/4), s the sum of x^2 over `size` channels.
#pragma once
#include "threads.h"

namespace striate {
namespace {

// s^(-3/4) by two square roots and two divisions: exact to a few units in the last place.
inline float to_minus_three_quarters(float s) {
  const float r = 1.0f / __builtin_sqrtf(s);
  return r * __builtin_sqrtf(r);
}

// A row of channels with `below` and `above` zeros at its ends, so that sums over neighbours need no conditions.
struct PaddedRow {
  float* memory;
  float* row;
  PaddedRow(int64_t channels, int64_t below, int64_t above) {
    const int64_t count = below + channels + above;
    memory = static_cast<float*>(__builtin_malloc(count * sizeof(float)));
    for (int64_t i = 0; i < count; ++i) memory[i] = 0.0f;
    row = memory + below;
  }
  ~PaddedRow() { __builtin_free(memory); }
};

inline void sum_neighbours(const float* row, float* sum, int64_t channels, int64_t below, int64_t above) {
  if (below == 2 && above == 2) {  // the paper's five channels in one pass
    for (int64_t c = 0; c < channels; ++c)
      sum[c] = ((row[c - 2] + row[c - 1]) + (row[c] + row[c + 1])) + row[c + 2];
    return;
  }
  for (int64_t c = 0; c < channels; ++c) sum[c] = row[c - below];
  for (int64_t shift = 1 - below; shift <= above; ++shift)
    for (int64_t c = 0; c < channels; ++c) sum[c] += row[c + shift];
}

void lrn_forward(const float* x, float* y, int64_t pixels, int64_t channels, int64_t size, float alpha, float k,
                 int threads) {
  const int64_t below = size / 2, above = (size - 1) / 2;
  parallel_for(pixels, even_grain(pixels, threads, 16), threads, [=](int64_t begin, int64_t end) {
    PaddedRow squares(channels, below, above), sums(channels, 0, 0);
    float* const q = squares.row;
    float* const s = sums.row;
    for (int64_t p = begin; p < end; ++p) {
      const float* const xp = x + p * channels;
      float* const yp = y + p * channels;
      for (int64_t c = 0; c < channels; ++c) q[c] = xp[c] * xp[c];
      sum_neighbours(q, s, channels, below, above);
      for (int64_t c = 0; c < channels; ++c) yp[c] = xp[c] * to_minus_three_quarters(k + alpha * s[c]);
    }
  });
}

// grad_x = h - 2 * alpha * beta * x * (sum of h * x / (k + alpha * s) over the channels that see x),
// with h = grad_y * (k + alpha * s)^(-3/4). Those channels are the window turned around.
void lrn_backward(const float* x, const float* grad_y, float* grad_x, int64_t pixels, int64_t channels, int64_t size,
                  float alpha, float k, int threads) {
  const int64_t below = size / 2, above = (size - 1) / 2;
  parallel_for(pixels, even_grain(pixels, threads, 16), threads, [=](int64_t begin, int64_t end) {
    PaddedRow squares(channels, below, above), terms(channels, above, below), sums(channels, 0, 0), direct(channels, 0, 0);
    float* const q = squares.row;
    float* const t = terms.row;
    float* const s = sums.row;
    float* const h = direct.row;
    for (int64_t p = begin; p < end; ++p) {
      const float* const xp = x + p * channels;
      const float* const gp = grad_y + p * channels;
      float* const out = grad_x + p * channels;
      for (int64_t c = 0; c < channels; ++c) q[c] = xp[c] * xp[c];
      sum_neighbours(q, s, channels, below, above);
      for (int64_t c = 0; c < channels; ++c) {
        const float d = k + alpha * s[c];
        h[c] = gp[c] * to_minus_three_quarters(d);
        t[c] = h[c] * xp[c] / d;
      }
      sum_neighbours(t, s, channels, above, below);
      for (int64_t c = 0; c < channels; ++c) out[c] = h[c] - 1.5f * alpha * xp[c] * s[c];
    }
  });
}

}  // namespace
}  // namespace striate
