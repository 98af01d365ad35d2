// Convolution with any window over channels-last images, the direct way, for weights that are packed once.
//
// A matrix product, (positions x channels) times (channels x outputs), for each place of the kernel, summed in registers.
// No image is copied: the rows of the first matrix are the pixels themselves, found by pointers, a row of zeros where the
// window leaves the image.
//
// `Number` is what images and weights are stored in; products are of it, sums and what is done to them in float.
#pragma once
#include "after.h"
#include "bfloat16.h"
#include "kernels.h"
#include "matrix.h"
#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

// What to bring near while a block is computed: so many numbers further on for each product.
template <class Number>
struct Ahead {
  const Number* at;
  int64_t step;
};

// What all blocks of one convolution have in common.
template <class Number>
struct Direct {
  const DirectShape& shape;
  const After<Number>& after;
  const Number* zeros;  // that rows outside of the image point to
  Number* y;
};

// R neighbouring outputs of V vectors of channels from k on; rows: for each place of the kernel kRows pointers, of which
// R count.
template <int R, int V, class Number>
void direct_rows(const Direct<Number>& all, const Number* const* rows, const Number* panel, Ahead<Number> ahead,
                 int64_t position, int64_t k) {
  const DirectShape& s = all.shape;
  const After<Number>& after = all.after;
  typedef Products<Number> P;
  constexpr int64_t kWide = kLanes * P::kDepth;
  const int64_t places = s.kernel_y * s.kernel_x, depth = s.in_channels, size = round_up(depth, P::kDepth) * kPanel;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < V; j += 64 / (kLanes * sizeof(Number))) {
      const int64_t at = (position + r) * s.y_pixel + k + j * kLanes;
      __builtin_prefetch(all.y + at, 1);
      if (after.other != nullptr) __builtin_prefetch(after.other + at);
    }
  Floats sums[R][V] = {};
  const auto add = [&](const Number* weights, const auto& value_of) STRIATE_INLINE_LAMBDA {
    typename P::Vector b[V];
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) b[j] = P::get(weights + j * kWide);
#pragma GCC unroll 4
    for (int j = 0; j < V; ++j) __builtin_prefetch(weights + 16 * kPanel * P::kDepth + j * kWide);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const typename P::Vector value = value_of(r);
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) sums[r][j] = P::add(sums[r][j], value, b[j]);
    }
  };
  for (int64_t place = 0; place < places; ++place, rows += kRows, panel += size) {
    const Number* pixels[R];
    bool there = false;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) there |= (pixels[r] = rows[r]) != all.zeros;
    if (!there) continue;
    int64_t d = 0;
    for (; d + P::kDepth <= depth; d += P::kDepth, ahead.at += ahead.step) {
      __builtin_prefetch(ahead.at, 0, 2);
      add(panel + d * kPanel, [&](int r) STRIATE_INLINE_LAMBDA { return P::in_all_lanes(pixels[r] + d); });
    }
    if (d < depth)
      add(panel + d * kPanel, [&](int r) STRIATE_INLINE_LAMBDA { return P::last_in_all_lanes(pixels[r] + d); });
  }
#pragma GCC unroll 4
  for (int j = 0; j < V; ++j) {
    const int64_t channel = k + j * kLanes, count = s.out_channels - channel;
    const Floats bias = after.bias == nullptr ? Floats{} : load_first(after.bias + channel, count);
    const auto store_all = [&](int64_t count) STRIATE_INLINE_LAMBDA {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const int64_t at = (position + r) * s.y_pixel + channel;
        store_after(all.y + at, sums[r][j] + bias, after, at, count);
      }
    };
    count >= kLanes ? store_all(kLanes) : store_all(count);
  }
}

// So many rows of outputs, at most kRows, of the channels of a panel, of which up to V vectors are there.
template <int V, class Number>
STRIATE_INLINE void direct_block(const Direct<Number>& all, int64_t count, const Number* const* rows, const Number* panel,
                                 Ahead<Number> ahead, int64_t position, int64_t k) {
  if constexpr (V > 1) {
    if (all.shape.out_channels - k <= (V - 1) * kLanes)
      return direct_block<V - 1>(all, count, rows, panel, ahead, position, k);
  }
  switch (count) {
    case 6: return direct_rows<6, V>(all, rows, panel, ahead, position, k);
    case 5: return direct_rows<5, V>(all, rows, panel, ahead, position, k);
    case 4: return direct_rows<4, V>(all, rows, panel, ahead, position, k);
    case 3: return direct_rows<3, V>(all, rows, panel, ahead, position, k);
    case 2: return direct_rows<2, V>(all, rows, panel, ahead, position, k);
    case 1: return direct_rows<1, V>(all, rows, panel, ahead, position, k);
  }
}

// An output's place in its batch; counted on, for a division takes long.
struct Output {
  int64_t image, line, column;
  Output(const DirectShape& s, int64_t position)
      : image(position / s.out_width / s.out_height),
        line(position / s.out_width % s.out_height),
        column(position % s.out_width) {}
  STRIATE_INLINE void next(const DirectShape& s) {
    if (++column < s.out_width) return;
    column = 0;
    if (++line < s.out_height) return;
    line = 0;
    ++image;
  }
};

// Where the pixels under the windows of outputs `begin` to `end` are: block of rows, place of the kernel, row.
template <class Number>
inline void find_rows(const Number* x, const Number* zeros, const DirectShape& s, int64_t begin, int64_t end,
                      const Number** rows) {
  const int64_t places = s.kernel_y * s.kernel_x, count = end - begin, blocks = (count + kRows - 1) / kRows;
  Output output(s, begin);
  for (int64_t block = 0; block < blocks; ++block, rows += places * kRows) {
    const int64_t there = (block + 1) * count / blocks - block * count / blocks;
    for (int64_t r = 0; r < there; ++r, output.next(s)) {
      const Number** to = rows + r;
      for (int64_t i = 0, y = output.line * s.stride_y - s.low_y; i < s.kernel_y; ++i, y += s.dilation_y) {
        const Number* const from = x + (output.image * s.height + y) * s.width * s.x_pixel;
        const bool inside = y >= 0 && y < s.height;
        for (int64_t j = 0, x = output.column * s.stride_x - s.low_x; j < s.kernel_x; ++j, x += s.dilation_x, to += kRows)
          *to = inside && x >= 0 && x < s.width ? from + x * s.x_pixel : zeros;
      }
    }
  }
}

// A thread takes `chunk` outputs of the channels of `group` panels at a time: a few rows of all these channels, and the
// next rows, all blocks of about the same number of rows, for one row alone would take nearly as long as four. Meanwhile
// the weights that it will probably take next are brought near, and after them the pixels that follow.
template <class Number>
void direct(const Number* x, const Number* packed, const After<Number>& after, Number* y, const DirectShape& s,
            int64_t chunk, int64_t group, int threads) {
  const int64_t positions = s.batch * s.out_height * s.out_width, chunks = (positions + chunk - 1) / chunk;
  const int64_t panels = (s.out_channels + kPanel - 1) / kPanel, groups = (panels + group - 1) / group;
  const int64_t places = s.kernel_y * s.kernel_x, depth = round_up(s.in_channels, Products<Number>::kDepth);
  const int64_t size = places * depth * kPanel, products = places * depth / Products<Number>::kDepth;
  const Zeros zeros(s.in_channels);
  const Direct<Number> all{s, after, reinterpret_cast<const Number*>(zeros.row), y};
  parallel_for(chunks * groups, 1, threads, [=, &s, &all](int64_t job, int64_t) {
    const int64_t begin = job / groups * positions / chunks, end = (job / groups + 1) * positions / chunks;
    const int64_t count = end - begin, blocks = (count + kRows - 1) / kRows;
    const int64_t first = job % groups * panels / groups, last = (job % groups + 1) * panels / groups;
    const int64_t next = (job + threads) % groups;
    thread_local Scratch scratch;
    auto* rows = reinterpret_cast<const Number**>(scratch.floats(blocks * kRows * places * 2));
    find_rows(x, all.zeros, s, begin, end, rows);
    const Number* const next_end = packed + (next + 1) * panels / groups * size;
    Ahead<Number> ahead{packed + next * panels / groups * size, 64 / sizeof(Number)};
    bool weights = true;
    for (int64_t block = 0; block < blocks; ++block, rows += places * kRows) {
      const int64_t from = block * count / blocks, to = (block + 1) * count / blocks;
      if (!weights) ahead.at = rows[block + 1 < blocks ? places * kRows : 0];
      for (int64_t panel = first; panel < last; ++panel) {
        direct_block<kColumnVectors>(all, to - from, rows, packed + panel * size, ahead, begin + from, panel * kPanel);
        ahead.at += products * ahead.step;
        if (weights && ahead.at >= next_end) {
          weights = false;
          ahead = {rows[0], kRows * Products<Number>::kDepth};
        }
      }
    }
  });
}

#if defined(STRIATE_BFLOAT16_PRODUCTS)

void direct_conv_bf16(const Bfloat16* x, const Bfloat16* packed, const float* bias, const Bfloat16* other, Bfloat16* y,
                      const DirectShape* shape, int64_t relu, int64_t chunk, int64_t group, int threads) {
  direct(x, packed, After<Bfloat16>{bias, other, relu != 0}, y, *shape, chunk, group, threads);
}

#else

void direct_conv(const float* x, const float* packed, const float* bias, const float* other, float* y,
                 const DirectShape* shape, int64_t relu, int64_t chunk, int64_t group, int threads) {
  direct(x, packed, After<float>{bias, other, relu != 0}, y, *shape, chunk, group, threads);
}

#endif

}  // namespace
}  // namespace striate
