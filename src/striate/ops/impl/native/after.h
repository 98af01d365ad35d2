// What is done to a convolution's outputs before they are stored.
#pragma once
#include "bfloat16.h"
#include "simd.h"

namespace striate {
namespace {

template <class Image>
struct After {
  const float* bias;   // per output channel, or null
  const Image* other;  // an image of the result's shape to add, or null
  bool relu;
};

// Store the first `count` lanes of a sum that has its bias; `place`: where its first lane stands in the images.
template <class Image>
STRIATE_INLINE void store_after(Image* y, Floats value, const After<Image>& after, int64_t place, int64_t count) {
  if (after.other != nullptr) value += load_first(after.other + place, count);
  if (after.relu) value = value > 0.0f ? value : Floats{};
  store_first(y, value, count);
}

}  // namespace
}  // namespace striate
