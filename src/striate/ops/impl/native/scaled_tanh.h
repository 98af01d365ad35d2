// amplitude * tanh(slope * x): the hyperbolic tangent (amplitude = slope = 1) and LeNet's scaled one.
#pragma once
#include <cstdint>

#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

// x * P(x^2) / Q(x^2), of least relative error (2e-8) for |x| <= 9, from where on the tangent is 1 in float32. Beyond, the
// quotient is larger than 1 and cut. Small values keep all their digits: P(0) = Q(0) = 1.
STRIATE_INLINE Floats hyperbolic_tangent(Floats x) {
  const Floats bounded = larger(all(-9.4f), smaller(all(9.4f), x));
  const Floats z = bounded * bounded;
  Floats p = all(1.33544801883545e-8f);
  p = p * z + 2.060894803435076e-5f;
  p = p * z + 3.49557981826365e-3f;
  p = p * z + 1.3381019234657288e-1f;
  p = p * z + 1.0f;
  Floats q = all(7.776482675581065e-7f);
  q = q * z + 3.285621351096779e-4f;
  q = q * z + 2.5876950472593307e-2f;
  q = q * z + 4.6714335680007935e-1f;
  q = q * z + 1.0f;
  return larger(all(-1.0f), smaller(all(1.0f), bounded * p / q));
}

void scaled_tanh_forward(const float* x, float* y, int64_t count, float amplitude, float slope, int threads) {
  parallel_for(count, even_grain(count, threads, 4096), threads, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kLanes)
      store_first(y + i, amplitude * hyperbolic_tangent(slope * load_first(x + i, end - i)), end - i);
  });
}

// From the output alone: d/dx amplitude * tanh(slope * x) = slope * (amplitude - y^2 / amplitude).
void scaled_tanh_backward(const float* y, const float* grad_y, float* grad_x, int64_t count, float amplitude, float slope,
                   int threads) {
  const float inverse = 1.0f / amplitude;
  parallel_for(count, even_grain(count, threads, 4096), threads, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) grad_x[i] = grad_y[i] * slope * (amplitude - y[i] * y[i] * inverse);
  });
}

}  // namespace
}  // namespace striate
