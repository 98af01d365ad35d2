// Mean pooling over channels-last images. An axis' counts say how many values each of its windows has there: the mean is
// the sum over their product.
#pragma once
#include "kernels.h"
#include "simd.h"
#include "threads.h"
#include "window_links.h"

namespace striate {
namespace {

void avg_pool_forward(const float* x, float* y, const float* rows, const float* columns, const PoolShape* shape,
                      int threads) {
  const PoolShape s = *shape;
  const WindowLinks links(s, true);
  parallel_for(s.batch * s.out_height, 1, threads, [=, &links](int64_t row, int64_t) {
    const int64_t oy = row % s.out_height;
    const float* const in = x + row / s.out_height * s.height * s.width * s.channels;
    for (int64_t ox = 0; ox < s.out_width; ++ox) {
      const Neighbours window = links.of(oy, ox, s.width * s.channels, s.channels, s.kernel_x);
      const Floats values = all(rows[oy] * columns[ox]);
      for_channels(s.channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
        Floats sum = {};
        for (int64_t r = 0; r < window.row_count; ++r)
          for (int64_t q = 0; q < window.column_count; ++q)
            sum += load_first(in + window.place(r, q) + c, count);
        store_first(y + (row * s.out_width + ox) * s.channels + c, sum / values, count);
      });
    }
  });
}

// Each input gathers from the windows that read it, so no two threads write one place.
void avg_pool_backward(const float* grad_y, float* grad_x, const float* rows, const float* columns,
                       const PoolShape* shape, int threads) {
  const PoolShape s = *shape;
  const WindowLinks links(s, false);
  parallel_for(s.batch * s.height, 1, threads, [=, &links](int64_t row, int64_t) {
    const int64_t iy = row % s.height;
    const float* const in = grad_y + row / s.height * s.out_height * s.out_width * s.channels;
    for (int64_t ix = 0; ix < s.width; ++ix) {
      const Neighbours readers = links.of(iy, ix, s.out_width * s.channels, s.channels, s.kernel_x);
      for_channels(s.channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
        Floats sum = {};
        for (int64_t r = 0; r < readers.row_count; ++r) {
          Floats of_row = {};
          for (int64_t q = 0; q < readers.column_count; ++q)
            of_row += load_first(in + readers.place(r, q) + c, count) * (1.0f / columns[readers.columns[q].position]);
          sum += of_row * (1.0f / rows[readers.rows[r].position]);
        }
        store_first(grad_x + (row * s.width + ix) * s.channels + c, sum, count);
      });
    }
  });
}

}  // namespace
}  // namespace striate
