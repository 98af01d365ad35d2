// Convolution of one block of images for small networks: the lanes of a vector are images, so no channel count, link
// table or window leaves a lane empty.
//
// The same loops compute outputs from inputs and, with the kernel turned around and channels exchanged, the gradients
// by the inputs from those by the outputs (which stand `stride` places apart among zeros).
#pragma once
#include "kernels.h"
#include "simd.h"

namespace striate {
namespace {

// Sums that are kept in registers: so many of 16 (or 32 with AVX-512) leave room for what is multiplied.
constexpr int kTile = kLanes == 16 ? 24 : 12;
constexpr int kTileColumns = kLanes == 16 ? 4 : 3;  // of these so many side by side, if there are rows enough

template <class Pointer>
STRIATE_INLINE Pointer place(Pointer memory, const SmallFrame& f, int64_t channel, int64_t y, int64_t x) {
  const int64_t row = channel * f.rows + f.low_y + y * f.step_y;
  return memory + (f.at + row * f.columns + f.low_x + x * f.step_x) * kLanes;
}

// Which inputs and weights a sum runs over; distances in floats.
struct SmallSum {
  const float* x;  // the first output's first input, in channel 0
  int64_t x_channel, x_row, x_column;  // to the next channel, and to the next row and column of the kernel
  const SmallLink *links, *end;
  const float* w;
  int64_t w_channel, w_row, w_column, kernel_y, kernel_x;
};

// R channels of T neighbouring outputs, whose inputs are neighbours, too.
template <int R, int T>
void sum_tile(const SmallSum& s, const float* bias, float* y, int64_t y_channel, int64_t y_next) {
  Floats sums[R][T];
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 24
    for (int t = 0; t < T; ++t) sums[r][t] = all(bias == nullptr ? 0.0f : bias[r]);
  for (const SmallLink* link = s.links; link < s.end; ++link)
    for (int64_t ky = 0; ky < s.kernel_y; ++ky) {
      const float* x = s.x + link->channel * s.x_channel + ky * s.x_row;
      const float* w = s.w + link->kernel + ky * s.w_row;
      for (int64_t kx = 0; kx < s.kernel_x; ++kx, x += s.x_column, w += s.w_column) {
        if constexpr (R == 1) {
          const Floats weight = all(*w);
#pragma GCC unroll 24
          for (int t = 0; t < T; ++t) sums[0][t] += weight * load(x + t * kLanes);
        } else {
          Floats inputs[T];
#pragma GCC unroll 24
          for (int t = 0; t < T; ++t) inputs[t] = load(x + t * kLanes);
#pragma GCC unroll 24
          for (int r = 0; r < R; ++r) {
            const Floats weight = all(w[r * s.w_channel]);
#pragma GCC unroll 24
            for (int t = 0; t < T; ++t) sums[r][t] += weight * inputs[t];
          }
        }
      }
    }
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 24
    for (int t = 0; t < T; ++t) store(y + r * y_channel + t * y_next, sums[r][t]);
}

// The gradients of T neighbours in a row of the kernel (which read neighbours), in R kernels that read the same input
// channel: sums over the outputs and, at the end, over the images.
template <int R, int T>
void grad_tile(const float* x, int64_t x_row, int64_t x_next, const float* const* grads, const SmallFrame& f,
               float* const* results) {
  Floats sums[R][T] = {};
  const int64_t g_row = f.step_y * f.columns * kLanes, g_next = f.step_x * kLanes;
  for (int64_t y = 0; y < f.height; ++y) {
    const float* inputs = x + y * x_row;
    int64_t at = y * g_row;
    for (int64_t column = 0; column < f.width; ++column, inputs += x_next, at += g_next) {
      if constexpr (T > R) {
        Floats g[R];
#pragma GCC unroll 24
        for (int r = 0; r < R; ++r) g[r] = load(grads[r] + at);
#pragma GCC unroll 24
        for (int t = 0; t < T; ++t) {
          const Floats input = load_once(inputs + t * kLanes);
#pragma GCC unroll 24
          for (int r = 0; r < R; ++r) sums[r][t] += g[r] * input;
        }
      } else {
        Floats input[T];
#pragma GCC unroll 24
        for (int t = 0; t < T; ++t) input[t] = load(inputs + t * kLanes);
#pragma GCC unroll 24
        for (int r = 0; r < R; ++r) {
          const Floats g = load_once(grads[r] + at);
#pragma GCC unroll 24
          for (int t = 0; t < T; ++t) sums[r][t] += g * input[t];
        }
      }
    }
  }
  for_each<(R * T + kLanes - 1) / kLanes>([&](auto number) STRIATE_INLINE_LAMBDA {
    constexpr int first = decltype(number)::value * kLanes;
    Floats some[kLanes] = {};
    float totals[kLanes];
    for_each<kLanes>([&](auto lane) STRIATE_INLINE_LAMBDA {
      constexpr int at = first + decltype(lane)::value;
      if constexpr (at < R * T) some[decltype(lane)::value] = sums[at / T][at % T];
    });
    store(totals, sums_of(some));
    for (int at = first; at < R * T && at < first + kLanes; ++at) results[at / T][at % T] = totals[at - first];
  });
}

// The functions above for every R and T whose sums fit into the registers.
struct SmallTiles {
  decltype(&sum_tile<1, 1>) sum[kTile + 1][kTile + 1] = {};
  decltype(&grad_tile<1, 1>) grad[kTile + 1][kTile + 1] = {};
  SmallTiles() {
    for_each<kTile>([&](auto row) {
      constexpr int R = decltype(row)::value + 1;
      for_each<kTile / R>([&](auto column) {
        constexpr int T = decltype(column)::value + 1;
        sum[R][T] = sum_tile<R, T>;
        grad[R][T] = grad_tile<R, T>;
      });
    });
  }
};

inline const SmallTiles& tiles() {
  static const SmallTiles all_tiles;
  return all_tiles;
}

// Call body(begin, end) for pieces of 0 ... count that are as equal as can be and none longer than `most`.
template <class Body>
STRIATE_INLINE void in_pieces(int64_t count, int64_t most, const Body& body) {
  const int64_t pieces = (count + most - 1) / most;
  for (int64_t i = 0; i < pieces; ++i) body(count * i / pieces, count * (i + 1) / pieces);
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The taps of a kernel with which outputs from `first` to `last` (the places of their windows) read a map, which has
// its ends at `low` and `high`: begin <= tap < end. The others would only meet zeros.
struct Taps {
  int64_t begin, end;
  Taps(int64_t first, int64_t last, int64_t low, int64_t high, int64_t dilation, int64_t kernel)
      : begin(last < low ? (low - last + dilation - 1) / dilation : 0),
        end(high < first ? 0 : smaller((high - first) / dilation + 1, kernel)) {}
};

// All outputs y from the maps x, whose frame begins with the first output's window.
struct Contraction {
  const SmallFrame &x_frame, &y_frame;
  const float* x;
  float* y;
  int64_t stride_y, stride_x, dilation_y, dilation_x, kernel_y, kernel_x;
  const SmallBlock* blocks;
  int64_t block_count;
  const SmallLink* links;
  const float *w, *bias;
  int64_t w_channel, w_row, w_column;

  void compute() const {
    SmallSum sum;
    sum.x_channel = x_frame.rows * x_frame.columns * kLanes;
    sum.x_row = dilation_y * x_frame.columns * kLanes;
    sum.x_column = dilation_x * kLanes;
    sum.w_channel = w_channel;
    sum.w_row = w_row;
    sum.w_column = w_column;
    const int64_t y_channel = y_frame.rows * y_frame.columns * kLanes, y_next = y_frame.step_x * kLanes;
    const int64_t bottom = x_frame.low_y + (x_frame.height - 1) * x_frame.step_y;
    const int64_t right = x_frame.low_x + (x_frame.width - 1) * x_frame.step_x;
    for (int64_t row = 0; row < y_frame.height; ++row) {
      const int64_t top = row * stride_y;
      const Taps down(top, top, x_frame.low_y, bottom, dilation_y, kernel_y);
      sum.kernel_y = down.end - down.begin;
      for (const SmallBlock* block = blocks; block < blocks + block_count; ++block) {
        sum.links = links + block->first_link;
        sum.end = links + block->end_link;
        const int64_t side = stride_x == 1 ? smaller(y_frame.width, kTileColumns) : 1;
        in_pieces(block->channels, smaller(block->channels, kTile / side), [&](int64_t first, int64_t end) {
          const int64_t channel = block->first_channel + first, rows = end - first;
          in_pieces(y_frame.width, stride_x == 1 ? kTile / rows : 1, [&](int64_t column, int64_t end_column) {
            const int64_t left = column * stride_x;
            const Taps across(left, (end_column - 1) * stride_x, x_frame.low_x, right, dilation_x, kernel_x);
            sum.kernel_x = across.end - across.begin;
            sum.x = x + ((x_frame.at + top * x_frame.columns + left) * kLanes + down.begin * sum.x_row +
                         across.begin * sum.x_column);
            sum.w = w + first * w_channel + down.begin * w_row + across.begin * w_column;
            tiles().sum[rows][end_column - column](sum, bias == nullptr ? nullptr : bias + channel,
                                                   place(y, y_frame, channel, row, column), y_channel, y_next);
          });
        });
      }
    }
  }
};

inline void small_conv(const SmallLayer& l, const SmallFrame& in, const float* x, float* y) {
  Contraction{in, l.values, x, y, l.stride_y, l.stride_x, l.dilation_y, l.dilation_x, l.kernel_y, l.kernel_x, l.blocks,
              l.block_count, l.links, l.weight, l.bias, l.weight_step, l.kernel_x, 1}
      .compute();
}

// `grads` has both the gradients by the layer's output and, as frame `to`, those by its input.
inline void small_conv_grad_input(const SmallLayer& l, float* grads, const SmallFrame& to) {
  const float* const last = l.weight + l.kernel_y * l.kernel_x - 1;  // of a kernel, from which it is read backwards
  Contraction{l.grads, to, grads, grads, 1, 1, l.dilation_y, l.dilation_x, l.kernel_y, l.kernel_x, l.turned_blocks,
              l.turned_block_count, l.turned_links, last, nullptr, l.turned_weight_step, -l.kernel_x, -1}
      .compute();
}

inline void small_conv_grad_weight(const SmallLayer& l, const SmallFrame& in, const float* values, const float* grads,
                                   float* result) {
  const int64_t plane = in.rows * in.columns * kLanes, row = in.columns * kLanes;
  for (const SmallBlock* block = l.turned_blocks; block < l.turned_blocks + l.turned_block_count; ++block)
    for (int64_t channel = 0; channel < block->channels; ++channel) {
      const float* const x = values + in.at * kLanes + (block->first_channel + channel) * plane;
      const SmallLink* const links = l.turned_links + block->first_link;
      in_pieces(l.kernel_x, l.dilation_x == 1 ? kTile / 2 : 1, [&](int64_t kx, int64_t end_kx) {
        in_pieces(block->end_link - block->first_link, kTile / (end_kx - kx), [&](int64_t first, int64_t end) {
          const float* outputs[kTile];
          float* kernels[kTile];
          for (int64_t i = first; i < end; ++i) {
            outputs[i - first] = place(grads, l.grads, links[i].channel, 0, 0);
            kernels[i - first] = result + links[i].kernel + channel * l.turned_weight_step + kx;
          }
          for (int64_t ky = 0; ky < l.kernel_y; ++ky) {
            tiles().grad[end - first][end_kx - kx](
                x + ky * l.dilation_y * row + kx * l.dilation_x * kLanes, l.stride_y * row, l.stride_x * kLanes, outputs,
                l.grads, kernels);
            for (int64_t i = 0; i < end - first; ++i) kernels[i] += l.kernel_x;
          }
        });
      });
    }
}

}  // namespace
}  // namespace striate
