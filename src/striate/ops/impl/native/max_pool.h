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
template <bool Taps, class Value>
void largest_of(const Neighbours& window, const Value* in, Value* y, uint8_t* taps, int64_t count) {
  Floats largest = all(-__builtin_inff());
  SmallInts where = SmallInts{} + static_cast<uint8_t>(window.tap(0, 0));
  for (int64_t r = 0; r < window.row_count; ++r) {
    for (int64_t i = 0; i < window.column_count; ++i) {
      const Floats value = load_first(in + window.place(r, i), count);
      const Mask taken = greater(value, largest) | unordered(value);
      largest = choose(taken, value, largest);
      if (Taps) where = choose(taken, SmallInts{} + static_cast<uint8_t>(window.tap(r, i)), where);
    }
  }
  store_first(y, largest, count);
  if (Taps) store_first(taps, narrow(where), count);
}

// All channels of one output whose window is Rows x Columns and lies inside the image. Whether there is a NaN is asked
// once: their sum is none if they are none and not infinite.
template <int Rows, int Columns, bool Taps, class Value>
STRIATE_INLINE void largest_of_whole(const Neighbours& window, const Value* in, Value* y, uint8_t* taps, int64_t channels) {
  const Value* pixels[Rows * Columns];  // not to be had from `window` for each vector, which a store may have changed
  for_each<Rows * Columns>([&](auto tap) STRIATE_INLINE_LAMBDA {
    constexpr int I = decltype(tap)::value;
    pixels[I] = in + window.place(I / Columns, I % Columns);
  });
  for_channels(channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
    Floats largest = load_first(pixels[0] + c, count), sum = largest;
    SmallInts where = {};
    for_each<Rows * Columns - 1>([&](auto before) STRIATE_INLINE_LAMBDA {
      constexpr int I = decltype(before)::value + 1;
      const Floats value = load_first(pixels[I] + c, count);
      if (Taps) where = choose(greater(value, largest), SmallInts{} + static_cast<uint8_t>(I), where);
      largest = larger(value, largest);
      sum += value;
    });
    if (any(unordered(sum))) return largest_of<Taps>(window, in + c, y + c, Taps ? taps + c : nullptr, count);
    store_first(y + c, largest, count);
    if (Taps) store_first(taps + c, narrow(where), count);
  });
}

// Windows that lie inside the image and are 3 x 3 or 2 x 2 are unrolled.
template <bool Taps, class Value>
void max_pool_values(const Value* x, Value* y, uint8_t* taps, const PoolShape& s, int threads) {
  const WindowLinks links(s, true);
  parallel_for(s.batch * s.out_height, 1, threads, [=, &links](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Value* const in = x + row / s.out_height * s.height * s.width * s.channels;
      for (int64_t ox = 0; ox < s.out_width; ++ox) {
        const Neighbours window = links.of(row % s.out_height, ox, s.width * s.channels, s.channels, s.kernel_x);
        Value* const values = y + (row * s.out_width + ox) * s.channels;
        uint8_t* const places = Taps ? taps + (values - y) : nullptr;
        const bool whole = window.row_count == s.kernel_y && window.column_count == s.kernel_x;
        if (whole && s.kernel_y == 3 && s.kernel_x == 3)
          largest_of_whole<3, 3, Taps>(window, in, values, places, s.channels);
        else if (whole && s.kernel_y == 2 && s.kernel_x == 2)
          largest_of_whole<2, 2, Taps>(window, in, values, places, s.channels);
        else
          for_channels(s.channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
            largest_of<Taps>(window, in + c, values + c, Taps ? places + c : nullptr, count);
          });
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

// All channels of one input: the gradients of the windows in which its tap was the largest, summed in float32. The
// windows are Rows x Columns, or 0 x 0, and `readers` says how many.
template <int Rows, int Columns, class Value>
STRIATE_INLINE void gather(const Neighbours& readers, const Value* grad_y, const uint8_t* taps, Value* out,
                           int64_t channels) {
  const auto add = [&](int64_t place, Bytes tap, Floats sum, int64_t count) STRIATE_INLINE_LAMBDA {
    return add_where(load_first(taps + place, count), tap, sum, load_first(grad_y + place, count));
  };
  int64_t places[Rows * Columns + 1];  // not to be had from `readers` for each vector, which a store may have changed
  Bytes wanted[Rows * Columns + 1];
  for_each<Rows * Columns>([&](auto number) STRIATE_INLINE_LAMBDA {
    constexpr int I = decltype(number)::value, kRow = I / (Columns + !Columns), kColumn = I % (Columns + !Columns);
    places[I] = readers.place(kRow, kColumn);
    wanted[I] = Bytes{} + static_cast<uint8_t>(readers.tap(kRow, kColumn));
  });
  for_channels(channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
    Floats sum = {};
    if constexpr (Rows * Columns > 0) {
      for_each<Rows * Columns>([&](auto number) STRIATE_INLINE_LAMBDA {
        sum = add(places[decltype(number)::value] + c, wanted[decltype(number)::value], sum, count);
      });
    } else {
      for (int64_t r = 0; r < readers.row_count; ++r)
        for (int64_t i = 0; i < readers.column_count; ++i)
          sum = add(readers.place(r, i) + c, Bytes{} + static_cast<uint8_t>(readers.tap(r, i)), sum, count);
    }
    store_first(out + c, sum, count);
  });
}

// No two threads write one place: each input looks for the windows that took it.
template <class Value>
void max_pool_gradient(const Value* grad_y, const uint8_t* taps, Value* grad_x, const PoolShape& s, int threads) {
  const WindowLinks links(s, false);
  parallel_for(s.batch * s.height, 1, threads, [=, &links](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t image = row / s.height * s.out_height * s.out_width * s.channels;
      for (int64_t ix = 0; ix < s.width; ++ix) {
        const Neighbours readers = links.of(row % s.height, ix, s.out_width * s.channels, s.channels, s.kernel_x);
        const auto with = [&](auto rows, auto columns) STRIATE_INLINE_LAMBDA {
          gather<decltype(rows)::value, decltype(columns)::value>(
              readers, grad_y + image, taps + image, grad_x + (row * s.width + ix) * s.channels, s.channels);
        };
        if (readers.row_count == 1 && readers.column_count == 1)
          with(Number<1>{}, Number<1>{});
        else if (readers.row_count == 1 && readers.column_count == 2)
          with(Number<1>{}, Number<2>{});
        else if (readers.row_count == 2 && readers.column_count == 1)
          with(Number<2>{}, Number<1>{});
        else if (readers.row_count == 2 && readers.column_count == 2)
          with(Number<2>{}, Number<2>{});
        else
          with(Number<0>{}, Number<0>{});
      }
    }
  });
}

void max_pool_forward(const float* x, float* y, uint8_t* taps, const PoolShape* shape, int threads) {
  max_pool_values<true>(x, y, taps, *shape, threads);
}

void max_pool_forward_values(const float* x, float* y, const PoolShape* shape, int threads) {
  max_pool_values<false>(x, y, nullptr, *shape, threads);
}

void max_pool_forward_bf16_taps(const Bfloat16* x, Bfloat16* y, uint8_t* taps, const PoolShape* shape, int threads) {
  max_pool_values<true>(x, y, taps, *shape, threads);
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
