// Local response normalisation with beta = 3/4: y = x / (k + alpha * s)^(3/4), s the sum of x^2 over `size` channels.
#pragma once
#include <cstdlib>

#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

// 1 / d and d^(-3/4), to a few units in the last place.
struct Powers {
  Floats minus_one, minus_three_quarters;
};

STRIATE_INLINE Powers powers_of(Floats d) {
  const Floats root = inverse_root(smaller(all(3.4e38f), d)), square = root * root;  // infinity has no step of Newton's
  return {square, square * inverse_root(root)};
}

// A row of channels in whole vectors, with zeros before and after: sums over neighbours need no conditions.
class PaddedRow {
 public:
  PaddedRow(int64_t channels, int64_t size) {
    const int64_t vector = kLanes * 4, ends = (size + kLanes) / kLanes * kLanes;
    const int64_t count = 2 * ends + (channels + kLanes - 1) / kLanes * kLanes;
    memory_ = static_cast<float*>(std::aligned_alloc(vector, count * sizeof(float)));
    for (int64_t i = 0; i < count; ++i) memory_[i] = 0.0f;
    row = memory_ + ends;
  }
  ~PaddedRow() { std::free(memory_); }
  PaddedRow(const PaddedRow&) = delete;
  PaddedRow& operator=(const PaddedRow&) = delete;

  void take_squares(const float* values, int64_t channels) const {
    for (int64_t c = 0; c < channels; c += kLanes) {
      const Floats value = load_first(values + c, channels - c);
      store(row + c, value * value);
    }
  }

  float* row;

 private:
  float* memory_;
};

// The sum of channels c - below ... c + above, for each lane's c. Five channels (the paper's) are taken from three whole
// vectors, for what has just been written in vectors is read in others only when it has reached the cache.
template <bool Five>
STRIATE_INLINE Floats sum_around(const float* row, int64_t below, int64_t above) {
  if constexpr (Five) {
    const Floats before = load(row - kLanes), here = load(row), after = load(row + kLanes);
    return ((neighbours<kLanes - 2>(before, here) + neighbours<kLanes - 1>(before, here)) +
            (here + neighbours<1>(here, after))) + neighbours<2>(here, after);
  } else {
    Floats sum = load(row - below);
    for (int64_t shift = 1 - below; shift <= above; ++shift) sum += load(row + shift);
    return sum;
  }
}

template <bool Five>
void lrn_values(const float* x, float* y, int64_t pixels, int64_t channels, int64_t size, float alpha, float k,
                int threads) {
  const int64_t below = size / 2, above = (size - 1) / 2;
  parallel_for(pixels, even_grain(pixels, threads, 16), threads, [=](int64_t begin, int64_t end) {
    const PaddedRow squares(channels, size);
    for (int64_t p = begin; p < end; ++p) {
      const float* const in = x + p * channels;
      float* const out = y + p * channels;
      squares.take_squares(in, channels);
      for (int64_t c = 0; c < channels; c += kLanes) {
        const Powers powers = powers_of(k + alpha * sum_around<Five>(squares.row + c, below, above));
        store_first(out + c, load_first(in + c, channels - c) * powers.minus_three_quarters, channels - c);
      }
    }
  });
}

// grad_x = h - 2 * alpha * beta * x * (sum of h * x / (k + alpha * s) over the channels that see x),
// with h = grad_y * (k + alpha * s)^(-3/4). Those channels are the window turned around.
template <bool Five>
void lrn_gradients(const float* x, const float* grad_y, float* grad_x, int64_t pixels, int64_t channels, int64_t size,
                   float alpha, float k, int threads) {
  const int64_t below = size / 2, above = (size - 1) / 2;
  parallel_for(pixels, even_grain(pixels, threads, 16), threads, [=](int64_t begin, int64_t end) {
    const PaddedRow squares(channels, size), terms(channels, size), direct(channels, 0);
    for (int64_t p = begin; p < end; ++p) {
      const float* const in = x + p * channels;
      const float* const grad = grad_y + p * channels;
      float* const out = grad_x + p * channels;
      squares.take_squares(in, channels);
      for (int64_t c = 0; c < channels; c += kLanes) {
        const Powers powers = powers_of(k + alpha * sum_around<Five>(squares.row + c, below, above));
        const Floats h = load_first(grad + c, channels - c) * powers.minus_three_quarters;
        store(direct.row + c, h);
        store(terms.row + c, h * load_first(in + c, channels - c) * powers.minus_one);
      }
      for (int64_t c = 0; c < channels; c += kLanes) {
        const Floats sum = sum_around<Five>(terms.row + c, above, below);
        store_first(out + c, load(direct.row + c) - 1.5f * alpha * load_first(in + c, channels - c) * sum, channels - c);
      }
    }
  });
}

void lrn_forward(const float* x, float* y, int64_t pixels, int64_t channels, int64_t size, float alpha, float k,
                 int threads) {
  (size == 5 ? lrn_values<true> : lrn_values<false>)(x, y, pixels, channels, size, alpha, k, threads);
}

void lrn_backward(const float* x, const float* grad_y, float* grad_x, int64_t pixels, int64_t channels, int64_t size,
                  float alpha, float k, int threads) {
  const auto gradients = size == 5 ? lrn_gradients<true> : lrn_gradients<false>;
  gradients(x, grad_y, grad_x, pixels, channels, size, alpha, k, threads);
}

}  // namespace
}  // namespace striate
