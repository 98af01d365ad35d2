// Max pooling over channels-last images, remembering for each output which tap of its window was the largest.
#pragma once
#include "bfloat16.h"
#include "kernels.h"
#include "simd.h"
#include "threads.h"
#include "window_links.h"

namespace striate {
namespace {

// `count` channels of one output. The first of equal values wins, and a NaN wins over everything, as in PyTorch.
template <class Number>
STRIATE_INLINE void largest_of(const Neighbours& window, const Number* in, Number* y, uint8_t* taps, int64_t count) {
  Floats largest = all(-__builtin_inff());
  Ints where = Ints{} + static_cast<int32_t>(window.rows[0].tap * window.taps_per_row + window.columns[0].tap);
  for (int64_t r = 0; r < window.row_count; ++r) {
    const Number* const row = in + window.rows[r].position * window.row_step;
    const int32_t first_tap = static_cast<int32_t>(window.rows[r].tap * window.taps_per_row);
    for (int64_t c = 0; c < window.column_count; ++c) {
      const Floats value = load_first(row + window.columns[c].position * window.column_step, count);
      const Ints taken = (value > largest) | (value != value);
      largest = taken ? value : largest;
      where = taken ? Ints{} + (first_tap + static_cast<int32_t>(window.columns[c].tap)) : where;
    }
  }
  store_first(y, largest, count);
  const Bytes narrow = __builtin_convertvector(where, Bytes);
  __builtin_memcpy(taps, &narrow, count < kLanes ? count : kLanes);
}

template <class Number>
void max_pool_taps(const Number* x, Number* y, uint8_t* taps, const PoolShape& s, int threads) {
  const WindowLinks links(s, true);
  parallel_for(s.batch * s.out_height, 1, threads, [=, &links](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t oy = row % s.out_height;
      const Number* const in = x + row / s.out_height * s.height * s.width * s.channels;
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        const Neighbours window = links.of(oy, ox, s.width * s.channels, s.channels, s.kernel_x);
        const int64_t out = (row * s.out_width + ox) * s.channels;
        int64_t c = 0;
        for (; c + kLanes <= s.channels; c += kLanes) largest_of(window, in + c, y + out + c, taps + out + c, kLanes);
        if (c < s.channels) largest_of(window, in + c, y + out + c, taps + out + c, s.channels - c);
      }
    }
  });
}

// Numbers of bfloat16 as integers in the same order, minus infinity being 0: whole registers of them are compared at
// once. A NaN is larger than all numbers, whatever its sign; the two zeros are neighbours.
typedef uint16_t Keys __attribute__((vector_size(kLanes * 4)));
typedef int16_t SignedKeys __attribute__((vector_size(kLanes * 4)));
constexpr int64_t kKeys = 2 * kLanes;

// Turn numbers into signed integers of their order, or back: the lower bits of negative ones are turned over.
STRIATE_INLINE Keys turned(Keys bits) {
  const Keys negative = reinterpret_cast<Keys>(reinterpret_cast<SignedKeys>(bits) >> 15);
  return bits ^ (negative & 0x7fff);
}

constexpr uint16_t kMinusInfinity = 0x807f;  // turned

STRIATE_INLINE Keys load_keys(const Bfloat16* p, int64_t count) {
  Keys bits = {};
  __builtin_memcpy(&bits, p, count < kKeys ? count * sizeof(Bfloat16) : sizeof(bits));
  return turned(bits) - kMinusInfinity;
}

STRIATE_INLINE void largest_of(const Neighbours& window, const Bfloat16* in, Bfloat16* y, int64_t count) {
  Keys largest = {};
  for (int64_t r = 0; r < window.row_count; ++r) {
    const Bfloat16* const row = in + window.rows[r].position * window.row_step;
    for (int64_t c = 0; c < window.column_count; ++c) {
      const Keys keys = load_keys(row + window.columns[c].position * window.column_step, count);
      largest = keys > largest ? keys : largest;
    }
  }
  const Keys bits = turned(largest + kMinusInfinity);
  __builtin_memcpy(y, &bits, count < kKeys ? count * sizeof(Bfloat16) : sizeof(bits));
}

void max_pool_forward_bf16(const Bfloat16* x, Bfloat16* y, const PoolShape* shape, int threads) {
  const PoolShape s = *shape;
  const WindowLinks links(s, true);
  parallel_for(s.batch * s.out_height, 1, threads, [=, &links](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Bfloat16* const in = x + row / s.out_height * s.height * s.width * s.channels;
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        const Neighbours window = links.of(row % s.out_height, ox, s.width * s.channels, s.channels, s.kernel_x);
        Bfloat16* const out = y + (row * s.out_width + ox) * s.channels;
        if (s.channels < kKeys) largest_of(window, in, out, s.channels);
        for (int64_t left = s.channels; left > 0 && s.channels >= kKeys; left -= kKeys) {
          const int64_t c = left < kKeys ? s.channels - kKeys : s.channels - left;  // the last ones begin earlier
          largest_of(window, in + c, out + c, kKeys);
        }
      }
    }
  });
}

// `count` channels of one input: the gradients of the windows in which its tap was the largest, summed in float32.
template <class Number>
STRIATE_INLINE void gather(const Neighbours& readers, const Number* grad_y, const uint8_t* taps, Number* out,
                           int64_t count) {
  Floats sum = {};
  for (int64_t r = 0; r < readers.row_count; ++r) {
    const int64_t row = readers.rows[r].position * readers.row_step;
    const int32_t first_tap = static_cast<int32_t>(readers.rows[r].tap * readers.taps_per_row);
    for (int64_t c = 0; c < readers.column_count; ++c) {
      const int64_t place = row + readers.columns[c].position * readers.column_step;
      Bytes bytes = {};
      __builtin_memcpy(&bytes, taps + place, count < kLanes ? count : kLanes);
      const Ints hit = widen(bytes) == first_tap + static_cast<int32_t>(readers.columns[c].tap);
      sum += hit ? load_first(grad_y + place, count) : Floats{};
    }
  }
  store_first(out, sum, count);
}

// No two threads write one place: each input looks for the windows that took it.
template <class Number>
void max_pool_gradient(const Number* grad_y, const uint8_t* taps, Number* grad_x, const PoolShape& s, int threads) {
  const WindowLinks links(s, false);
  parallel_for(s.batch * s.height, 1, threads, [=, &links](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t iy = row % s.height, image = row / s.height * s.out_height * s.out_width * s.channels;
      for (int64_t ix = 0; ix < s.width; ++ix) {
        const Neighbours readers = links.of(iy, ix, s.out_width * s.channels, s.channels, s.kernel_x);
        Number* const out = grad_x + (row * s.width + ix) * s.channels;
        int64_t c = 0;
        for (; c + kLanes <= s.channels; c += kLanes) gather(readers, grad_y + image + c, taps + image + c, out + c, kLanes);
        if (c < s.channels) gather(readers, grad_y + image + c, taps + image + c, out + c, s.channels - c);
      }
    }
  });
}

void max_pool_forward(const float* x, float* y, uint8_t* taps, const PoolShape* shape, int threads) {
  max_pool_taps(x, y, taps, *shape, threads);
}

void max_pool_forward_bf16_taps(const Bfloat16* x, Bfloat16* y, uint8_t* taps, const PoolShape* shape, int threads) {
  max_pool_taps(x, y, taps, *shape, threads);
}

void max_pool_backward(const float* grad_y, const uint8_t* taps, float* grad_x, const PoolShape* shape, int threads) {
  max_pool_gradient(grad_y, taps, grad_x, *shape, threads);
}

void max_pool_backward_bf16(const Bfloat16* grad_y, const uint8_t* taps, Bfloat16* grad_x, const PoolShape* shape,
                            int threads) {
  max_pool_gradient(grad_y, taps, grad_x, *shape, threads);
}

}  // namespace
}  // namespace striate
