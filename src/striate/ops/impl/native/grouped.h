// 3 x 3 convolution of stride 1 or 2 over channels-last images in groups of few channels, depthwise among them.
//
// The lanes of a vector are neighbouring output channels. For each of the G channels of their groups, one vector of the
// input is spread over the lanes and meets the weights of three columns. Weights are kept as 3 x 3 x G x channels, the
// channels padded to `w_row`. A vector at the end of the channels begins earlier instead of being cut.
#pragma once
#include "kernels.h"
#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

constexpr int kGroupedColumns = 7;  // outputs of a row that are computed together: they share weights and inputs

// For the channel c and those after it, as many as there are lanes: member I of the group that each belongs to.
template <int G, int I>
STRIATE_INLINE Floats member(const float* pixel, int64_t c, int64_t count) {
  if constexpr (G >= kLanes)
    return all(pixel[c / G * G + I]);
  else
    return spread_member<G, I>(load_first(pixel + c, count));
}

// Where the pixels of a row from column `left` on lie; outside the image (or above or below it) there are zeros.
template <int Count>
STRIATE_INLINE void find_pixels(const float* image, int64_t y, int64_t left, int64_t height, int64_t width,
                                int64_t channels, const float* zeros, const float* (&pixels)[Count]) {
  for (int j = 0; j < Count; ++j) {
    const int64_t x = left + j;
    const bool there = y >= 0 && y < height && x >= 0 && x < width;
    pixels[j] = there ? image + (y * width + x) * channels : zeros;
  }
}

template <int G, int S>
void grouped_forward(const float* x, const float* w, const float* bias, float* y, const GroupedShape& s, int threads) {
  constexpr int T = kGroupedColumns, kInputs = (T - 1) * S + 3;
  const Zeros zeros(s.channels + kLanes);
  parallel_for(s.batch * s.out_height, 1, threads, [=, &s, &zeros](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t top = row % s.out_height * S - s.low_y;
      const float* const image = x + row / s.out_height * s.height * s.width * s.channels;
      for (int64_t ox = 0; ox < s.out_width; ox += T) {
        const float* pixels[3][kInputs];
        for (int ky = 0; ky < 3; ++ky)
          find_pixels(image, top + ky, ox * S - s.low_x, s.height, s.width, s.channels, zeros.row, pixels[ky]);
        const int64_t columns = s.out_width - ox < T ? s.out_width - ox : T;
        for_channels(s.channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
#pragma GCC unroll 16
          for (int j = 0; j < kInputs; ++j) __builtin_prefetch(pixels[2][j] + c + s.width * s.channels, 0, 2);
          Floats sums[T];
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t) sums[t] = bias == nullptr ? Floats{} : load_first(bias + c, count);
          for (int ky = 0; ky < 3; ++ky) {
            for_each<G>([&](auto number) STRIATE_INLINE_LAMBDA {
              constexpr int I = decltype(number)::value;
              const float* const weights = w + (ky * 3 * G + I) * s.w_row + c;
              const Floats columns_of_w[3] = {load(weights), load(weights + G * s.w_row), load(weights + 2 * G * s.w_row)};
#pragma GCC unroll 16
              for (int j = 0; j < kInputs; ++j) {
                const Floats value = member<G, I>(pixels[ky][j], c, count);
#pragma GCC unroll 3
                for (int kx = 0; kx < 3; ++kx)
                  if (j >= kx && (j - kx) % S == 0 && (j - kx) / S < T) sums[(j - kx) / S] += value * columns_of_w[kx];
              }
            });
          }
          float* const out = y + (row * s.out_width + ox) * s.channels + c;
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t)
            if (t < columns) {
              store_first(out + t * s.channels, sums[t], count);
              __builtin_prefetch(out + (s.out_width + t) * s.channels, 1, 2);
            }
        });
      }
    }
  });
}

// Depthwise at stride 1, where vectors and registers are many: outputs of kRows rows below each other are computed
// together, for each input serves three of them.
void depthwise_forward(const float* x, const float* w, const float* bias, float* y, const GroupedShape& s, int threads) {
  constexpr int T = kGroupedColumns, kRows = 2, kInputs = T + 2;
  const Zeros zeros(s.channels + kLanes);
  const int64_t blocks = (s.out_height + kRows - 1) / kRows;
  parallel_for(s.batch * blocks, 1, threads, [=, &s, &zeros](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t n = block / blocks, oy = block % blocks * kRows, channels = s.channels, w_row = s.w_row;
      const int64_t next_rows = s.width * channels * kRows;
      const float* const image = x + n * s.height * s.width * channels;
      for (int64_t ox = 0; ox < s.out_width; ox += T) {
        const float* pixels[kRows + 2][kInputs];
        for (int iy = 0; iy < kRows + 2; ++iy)
          find_pixels(image, oy - s.low_y + iy, ox - s.low_x, s.height, s.width, channels, zeros.row, pixels[iy]);
        const int64_t columns = s.out_width - ox < T ? s.out_width - ox : T;
        for_channels(channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
          Floats sums[kRows][T];
#pragma GCC unroll 32
          for (int t = 0; t < kRows * T; ++t) sums[t / T][t % T] = bias == nullptr ? Floats{} : load_first(bias + c, count);
          for_each<kRows + 2>([&](auto number) STRIATE_INLINE_LAMBDA {
            constexpr int iy = decltype(number)::value;
#pragma GCC unroll 16
            for (int j = 0; j < kInputs; ++j) {
              const Floats value = load_first(pixels[iy][j] + c, count);
              if (iy >= 2) __builtin_prefetch(pixels[iy][j] + c + next_rows, 0, 2);
#pragma GCC unroll 9
              for (int i = 0; i < kRows * 3; ++i) {
                const int r = i / 3, ky = iy - r, kx = i % 3;
                if (ky >= 0 && ky < 3 && j >= kx && j - kx < T) sums[r][j - kx] += value * load(w + (ky * 3 + kx) * w_row + c);
              }
            }
          });
#pragma GCC unroll 3
          for (int r = 0; r < kRows; ++r) {
            if (oy + r >= s.out_height) break;
            float* const out = y + ((n * s.out_height + oy + r) * s.out_width + ox) * channels + c;
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t)
              if (t < columns) {
                store_first(out + t * channels, sums[r][t], count);
                __builtin_prefetch(out + (kRows * s.out_width + t) * channels, 1, 2);
              }
          }
        });
      }
    }
  });
}

// The gradient of the input at stride 2 (at stride 1 it is the forward pass of turned kernels). Columns 2 q - low of the
// input are read by columns 0 and 2 of the kernel, those beside them by column 1.
template <int G>
void grouped_grad_input_strided(const float* grad_y, const float* w, float* grad_x, const GroupedShape& s, int threads) {
  constexpr int T = kLanes == 16 ? 7 : 4;
  const int64_t last = (s.width - 1 + s.low_x) / 2, first = s.low_x >= 0 ? s.low_x / 2 : (s.low_x - 1) / 2;
  const Zeros zeros(s.channels + kLanes);
  parallel_for(s.batch * s.height, 1, threads, [=, &s, &zeros](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t iy = row % s.height + s.low_y;
      const float* const image = grad_y + row / s.height * s.out_height * s.out_width * s.channels;
      for (int64_t q = first; q <= last; q += T) {
        const float* pixels[3][T + 1];
        for (int ky = 0; ky < 3; ++ky) {
          const int64_t oy = (iy - ky) % 2 == 0 ? (iy - ky) / 2 : -1;
          find_pixels(image, oy, q - 1, s.out_height, s.out_width, s.channels, zeros.row, pixels[ky]);
        }
        for_channels(s.channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
          Floats even[T] = {}, odd[T] = {};
          for (int ky = 0; ky < 3; ++ky) {
            if ((iy - ky) % 2 != 0) continue;
            for_each<G>([&](auto number) STRIATE_INLINE_LAMBDA {
              constexpr int I = decltype(number)::value;
              const float* const weights = w + (ky * 3 * G + I) * s.w_row + c;
              const Floats w0 = load(weights), w1 = load(weights + G * s.w_row), w2 = load(weights + 2 * G * s.w_row);
#pragma GCC unroll 8
              for (int j = 0; j <= T; ++j) {
                const Floats value = member<G, I>(pixels[ky][j], c, count);
                if (j < T) even[j] += value * w2;
                if (j > 0) even[j - 1] += value * w0, odd[j - 1] += value * w1;
              }
            });
          }
          for (int t = 0; t < T; ++t) {
            const int64_t ix = 2 * (q + t) - s.low_x;
            float* const out = grad_x + (row * s.width + ix) * s.channels + c;
            if (ix >= 0 && ix < s.width) store_first(out, even[t], count);
            if (ix + 1 >= 0 && ix + 1 < s.width) store_first(out + s.channels, odd[t], count);
          }
        });
      }
    }
  });
}

// Adds to `sums` (3 x 3 x G x channels) what outputs [ox, end) of one row give. At most four channels of a group are
// taken at once, so that their sums stay in registers.
template <int G, int S>
STRIATE_INLINE void grouped_grad_weight_row(const float* image, const float* grad_row, float* sums,
                                            const GroupedShape& s, const float* zeros, int64_t top, int64_t ox,
                                            int64_t end) {
  constexpr int kAtOnce = G < 4 ? G : 4;
  for_channels(s.channels, [&](int64_t c, int64_t done, int64_t count) STRIATE_INLINE_LAMBDA {
    const Ints fresh = lane_numbers() >= static_cast<int32_t>(done);
    for (int ky = 0; ky < 3; ++ky) {
      const int64_t iy = top + ky;
      if (iy < 0 || iy >= s.height) continue;
      const float* const row = image + iy * s.width * s.channels;
      for_each<G / kAtOnce>([&](auto block) STRIATE_INLINE_LAMBDA {
        Floats part[3][kAtOnce] = {};
        for (int64_t o = ox; o < end; ++o) {
          const Floats there = load_first(grad_row + o * s.channels + c, count);
          const Floats grad = fresh ? there : Floats{};
          const int64_t left = o * S - s.low_x;
#pragma GCC unroll 3
          for (int kx = 0; kx < 3; ++kx) {
            const bool inside = left + kx >= 0 && left + kx < s.width;
            const float* const pixel = inside ? row + (left + kx) * s.channels : zeros;
            for_each<kAtOnce>([&](auto number) STRIATE_INLINE_LAMBDA {
              constexpr int I = decltype(number)::value;
              part[kx][I] += grad * member<G, decltype(block)::value * kAtOnce + I>(pixel, c, count);
            });
          }
        }
        for (int kx = 0; kx < 3; ++kx)
          for (int i = 0; i < kAtOnce; ++i) {
            float* const place = sums + ((ky * 3 + kx) * G + decltype(block)::value * kAtOnce + i) * s.w_row + c;
            store(place, load(place) + part[kx][i]);
          }
      });
    }
  });
}

// The rows 0 .. `rows` are taken in `pieces`, whose number does not depend on the threads, by body(own sums, first, end),
// and the pieces' sums of `size` are added in their order.
template <class Body>
inline void sum_rows(int64_t rows, int64_t size, float* sums, int64_t pieces, int threads, const Body& body) {
  parallel_for(pieces, 1, threads, [=](int64_t piece, int64_t) {
    float* const own = sums + piece * size;
    for (int64_t i = 0; i < size; ++i) own[i] = 0.0f;
    body(own, rows * piece / pieces, rows * (piece + 1) / pieces);
  });
  parallel_for(size, even_grain(size, threads, 1024), threads, [=](int64_t begin, int64_t end) {
    for (int64_t piece = 1; piece < pieces; ++piece)
      for (int64_t i = begin; i < end; ++i) sums[i] += sums[piece * size + i];
  });
}

template <int G, int S>
void grouped_grad_weight(const float* x, const float* grad_y, float* sums, const GroupedShape& s, int64_t pieces,
                         int threads) {
  constexpr int64_t kTile = 28;
  const Zeros zeros(s.channels + kLanes);
  sum_rows(s.batch * s.out_height, 9 * G * s.w_row, sums, pieces, threads, [&](float* own, int64_t row, int64_t end_row) {
    for (; row < end_row; ++row) {
      const float* const image = x + row / s.out_height * s.height * s.width * s.channels;
      const int64_t top = row % s.out_height * S - s.low_y;
      for (int64_t ox = 0; ox < s.out_width; ox += kTile)
        grouped_grad_weight_row<G, S>(image, grad_y + row * s.out_width * s.channels, own, s, zeros.row, top, ox,
                                      ox + kTile < s.out_width ? ox + kTile : s.out_width);
    }
  });
}

// Of depthwise convolution at stride 1, for columns [ix, end) of one row of the input: its gradient, and what the row adds
// to `sums`, the gradient of the weights. Both take the same nine gradients of outputs, of which six are those of the
// column before. `rows` are the outputs' rows that the kernel's rows link to it, `steps` their pixels' distances.
STRIATE_INLINE void depthwise_gradients_row(const float* x, const float* w, const float* (&rows)[3],
                                            const int64_t (&steps)[3], float* grad_x, float* sums, const GroupedShape& s,
                                            const float* zeros, int64_t ix, int64_t end) {
  const int64_t channels = s.channels, w_row = s.w_row, width = s.out_width, low = s.low_x;
  for_channels(channels, [&](int64_t c, int64_t done, int64_t count) STRIATE_INLINE_LAMBDA {
    const Ints fresh = lane_numbers() >= static_cast<int32_t>(done);
    Floats weights[9], parts[9] = {}, grads[3][3];
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) weights[i] = load(w + i * w_row + c);
    const auto look = [&](int64_t ox, int kx) STRIATE_INLINE_LAMBDA {
      const bool inside = ox >= 0 && ox < width;
#pragma GCC unroll 3
      for (int ky = 0; ky < 3; ++ky) grads[ky][kx] = load_first((inside ? rows[ky] + ox * steps[ky] : zeros) + c, count);
    };
    look(ix + low - 1, 1);
    look(ix + low - 2, 2);
    for (int64_t i = ix; i < end; ++i) {
      look(i + low, 0);
      __builtin_prefetch(x + (i + s.width) * channels + c, 0, 2);
      __builtin_prefetch(rows[0] + (i + low + width) * channels + c, 0, 2);
      const Floats there = load_first(x + i * channels + c, count), value = done == 0 ? there : fresh ? there : Floats{};
      Floats sum = {};
#pragma GCC unroll 3
      for (int ky = 0; ky < 3; ++ky) {
#pragma GCC unroll 3
        for (int kx = 0; kx < 3; ++kx) {
          sum += grads[ky][kx] * weights[ky * 3 + kx];
          parts[ky * 3 + kx] += grads[ky][kx] * value;
        }
        grads[ky][2] = grads[ky][1];
        grads[ky][1] = grads[ky][0];
      }
      store_first(grad_x + i * channels + c, sum, count);
      __builtin_prefetch(grad_x + (i + s.width) * channels + c, 1, 2);
    }
#pragma GCC unroll 9
    for (int i = 0; i < 9; ++i) store(sums + i * w_row + c, load(sums + i * w_row + c) + parts[i]);
  });
}

void depthwise_conv_gradients(const float* x, const float* w, const float* grad_y, float* grad_x, float* sums,
                              const GroupedShape* shape, int64_t pieces, int threads) {
  constexpr int64_t kTile = 28;
  const GroupedShape s = *shape;
  const Zeros zeros(s.channels + kLanes);
  sum_rows(s.batch * s.height, 9 * s.w_row, sums, pieces, threads, [&](float* own, int64_t row, int64_t end_row) {
    for (; row < end_row; ++row) {
      const float* const image = grad_y + row / s.height * s.out_height * s.out_width * s.channels;
      const float* rows[3];
      int64_t steps[3];
      for (int ky = 0; ky < 3; ++ky) {
        const int64_t oy = row % s.height + s.low_y - ky;
        const bool inside = oy >= 0 && oy < s.out_height;
        rows[ky] = inside ? image + oy * s.out_width * s.channels : zeros.row;
        steps[ky] = inside ? s.channels : 0;
      }
      const int64_t first = row * s.width * s.channels;
      for (int64_t ix = 0; ix < s.width; ix += kTile)
        depthwise_gradients_row(x + first, w, rows, steps, grad_x + first, own, s, zeros.row, ix,
                                ix + kTile < s.width ? ix + kTile : s.width);
    }
  });
}

// Call body(G, S) as compile-time numbers for the shape's group and stride.
template <class Body>
inline void with_group(const GroupedShape& s, const Body& body) {
  const auto with_stride = [&](auto group) {
    s.stride == 1 ? body(group, Number<1>{}) : body(group, Number<2>{});
  };
  switch (s.group) {
    case 1: return with_stride(Number<1>{});
    case 2: return with_stride(Number<2>{});
    case 4: return with_stride(Number<4>{});
    case 8: return with_stride(Number<8>{});
  }
}

void grouped_conv(const float* x, const float* w, const float* bias, float* y, const GroupedShape* shape, int threads) {
  with_group(*shape, [&](auto group, auto stride) {
    constexpr int G = decltype(group)::value, S = decltype(stride)::value;
    if constexpr (G == 1 && S == 1 && kLanes == 16)
      depthwise_forward(x, w, bias, y, *shape, threads);
    else
      grouped_forward<G, S>(x, w, bias, y, *shape, threads);
  });
}

void grouped_conv_grad_input_strided(const float* grad_y, const float* w, float* grad_x, const GroupedShape* shape,
                                     int threads) {
  with_group(*shape, [&](auto group, auto) {
    grouped_grad_input_strided<decltype(group)::value>(grad_y, w, grad_x, *shape, threads);
  });
}

void grouped_conv_grad_weight(const float* x, const float* grad_y, float* sums, const GroupedShape* shape,
                              int64_t pieces, int threads) {
  with_group(*shape, [&](auto group, auto stride) {
    grouped_grad_weight<decltype(group)::value, decltype(stride)::value>(x, grad_y, sums, *shape, pieces, threads);
  });
}

}  // namespace
}  // namespace striate
