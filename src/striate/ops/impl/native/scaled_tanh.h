// amplitude * tanh(slope * x): the hyperbolic tangent (amplitude = slope = 1) and LeNet's scaled one.
#pragma once
#include <cstdint>

#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

// e^x for |x| <= 60, within two units in the last place: 2^n * e^r with |r| <= ln 2 / 2 (Cephes' polynomial).
STRIATE_INLINE Floats exponential(Floats x) {
  const Floats magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, which stands in the low bits
  const Floats shifted = x * 1.44269504f + magic;
  const Floats n = shifted - magic;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints power = (reinterpret_cast<Ints>(shifted) << 23) + 0x3f800000;
  return p * reinterpret_cast<Floats>(power);
}

// Near 0 a polynomial (Cephes), so that small values keep all their digits; elsewhere 1 - 2 / (e^2x + 1). In vectors,
// for compilers keep the branches of a scalar one and compute it lane by lane.
STRIATE_INLINE Floats hyperbolic_tangent(Floats x) {
  const Floats most = all(15.0f);
  Floats bounded = x > most ? most : x;
  bounded = bounded < -most ? -most : bounded;
  const Floats far = 1.0f - 2.0f / (exponential(bounded + bounded) + 1.0f);
  const Floats z = x * x;
  Floats p = all(-5.70498872745e-3f);
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const Floats near = p * z * x + x;
  return ((x < 0.625f) & (x > -0.625f)) ? near : far;
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
