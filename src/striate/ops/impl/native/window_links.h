// Which inputs a pooling window reads, and which windows read an input.
#pragma once
#include "kernels.h"

namespace striate {
namespace {

// For every position of one axis, the positions it is linked to by the window, and the tap that links them: from
// outputs to the inputs they read, or from inputs to the outputs that read them.
struct AxisLinks {
  struct Link {
    int64_t position, tap;
  };
  int64_t taps;
  int64_t* counts;
  Link* links;

  AxisLinks(int64_t positions, int64_t taps) : taps(taps) {
    counts = static_cast<int64_t*>(__builtin_malloc((positions + 1) * sizeof(int64_t)));
    links = static_cast<Link*>(__builtin_malloc((positions * taps + 1) * sizeof(Link)));
    for (int64_t i = 0; i < positions; ++i) counts[i] = 0;
  }
  ~AxisLinks() {
    __builtin_free(counts);
    __builtin_free(links);
  }
  AxisLinks(const AxisLinks&) = delete;
  AxisLinks& operator=(const AxisLinks&) = delete;

  void add(int64_t from, int64_t to, int64_t tap) { links[from * taps + counts[from]++] = {to, tap}; }
  const Link* of(int64_t position) const { return links + position * taps; }
};

// Links with their taps rising, and so in row-major order of the window.
inline void link_axis(AxisLinks& links, bool from_outputs, int64_t inputs, int64_t outputs, int64_t kernel,
                      int64_t stride, int64_t low, int64_t dilation) {
  for (int64_t tap = 0; tap < kernel; ++tap) {
    for (int64_t o = 0; o < outputs; ++o) {
      const int64_t i = o * stride + tap * dilation - low;
      if (i >= 0 && i < inputs) from_outputs ? links.add(o, i, tap) : links.add(i, o, tap);
    }
  }
}

// What one position is linked to: the product of the links of its row and of its column.
struct Neighbours {
  const AxisLinks::Link* rows;
  const AxisLinks::Link* columns;
  int64_t row_count, column_count, row_step, column_step, taps_per_row;

  int64_t place(int64_t row, int64_t column) const {
    return rows[row].position * row_step + columns[column].position * column_step;
  }
  int64_t tap(int64_t row, int64_t column) const { return rows[row].tap * taps_per_row + columns[column].tap; }
};

struct WindowLinks {
  AxisLinks vertical, horizontal;
  WindowLinks(const PoolShape& s, bool from_outputs)
      : vertical(from_outputs ? s.out_height : s.height, s.kernel_y),
        horizontal(from_outputs ? s.out_width : s.width, s.kernel_x) {
    link_axis(vertical, from_outputs, s.height, s.out_height, s.kernel_y, s.stride_y, s.low_y, s.dilation_y);
    link_axis(horizontal, from_outputs, s.width, s.out_width, s.kernel_x, s.stride_x, s.low_x, s.dilation_x);
  }

  Neighbours of(int64_t y, int64_t x, int64_t row_step, int64_t column_step, int64_t taps_per_row) const {
    return {vertical.of(y), horizontal.of(x), vertical.counts[y], horizontal.counts[x], row_step, column_step, taps_per_row};
  }
};

}  // namespace
}  // namespace striate
