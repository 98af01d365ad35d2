// Transposed convolution over channels-last images, for kernels that the stride divides into few parts (FCN's 64 at 32).
//
// On each axis an output (counted in the full result, before cropping) is q * stride + phase; it is reached from the
// inputs q, q - 1, ... through as many parts of the kernel. So there is one matrix product for each phase of the rows:
// the patches of the inputs (part y, part x, channel) times the kernels (phase of the columns, output channel), whose
// rows lie in the output as they are computed. Where every channel has kernels of its own, lanes are channels.
#pragma once
#include "kernels.h"
#include "matrix.h"
#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

STRIATE_INLINE int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The positions q that have outputs, of one axis: first, and how many.
struct Quotients {
  int64_t first, count;
  Quotients(int64_t outputs, int64_t low, int64_t stride)
      : first(floor_divide(low, stride)), count(floor_divide(low + outputs - 1, stride) - first + 1) {}
};

struct Transpose {
  const TransposeShape s;
  const Quotients down, across;
  const int64_t depth;    // of a patch
  const int64_t columns;  // of the product: phases of x, output channels
  const int64_t patches;

  explicit Transpose(const TransposeShape& s)
      : s(s), down(s.out_height, s.low_y, s.stride_y), across(s.out_width, s.low_x, s.stride_x),
        depth(s.parts_y * s.parts_x * s.in_channels), columns(s.stride_x * s.out_channels),
        patches(s.batch * down.count * across.count) {}

  int64_t image(int64_t patch) const { return patch / (down.count * across.count); }
  int64_t q_y(int64_t patch) const { return down.first + patch / across.count % down.count; }
  int64_t q_x(int64_t patch) const { return across.first + patch % across.count; }

  // Where the columns of a patch lie in an image batch of the output's shape, for one phase of the rows: the place of
  // column 0, and which columns are not cropped.
  struct Span {
    int64_t place, begin, end;
  };
  Span span(int64_t patch, int64_t phase) const {
    const int64_t y = q_y(patch) * s.stride_y + phase - s.low_y, x = q_x(patch) * s.stride_x - s.low_x;
    if (y < 0 || y >= s.out_height) return {0, 0, 0};
    const int64_t begin = x < 0 ? -x * s.out_channels : 0, room = (s.out_width - x) * s.out_channels;
    return {((image(patch) * s.out_height + y) * s.out_width + x) * s.out_channels, begin,
            room < columns ? room : columns};
  }
};

STRIATE_INLINE void copy_floats(const float* from, float* to, int64_t count) {
  __builtin_memcpy(to, from, count * sizeof(float));
}

// The inputs that each q is reached from, zeros outside the image.
inline void take_patches(const Transpose& t, const float* x, float* patches, int threads) {
  const TransposeShape& s = t.s;
  parallel_for(t.patches, even_grain(t.patches, threads, 8), threads, [=, &t, &s](int64_t begin, int64_t end) {
    for (int64_t patch = begin; patch < end; ++patch) {
      float* out = patches + patch * t.depth;
      for (int64_t part = 0; part < s.parts_y * s.parts_x; ++part, out += s.in_channels) {
        const int64_t iy = t.q_y(patch) - part / s.parts_x, ix = t.q_x(patch) - part % s.parts_x;
        if (iy >= 0 && iy < s.height && ix >= 0 && ix < s.width)
          copy_floats(x + ((t.image(patch) * s.height + iy) * s.width + ix) * s.in_channels, out, s.in_channels);
        else
          for (int64_t c = 0; c < s.in_channels; ++c) out[c] = 0.0f;
      }
    }
  });
}

// w: phase of y, panel of columns, depth, column of the panel. bias: for each column, or null.
void conv_transpose(const float* x, const float* w, const float* bias, float* y, float* patches,
                    const TransposeShape* shape, int threads) {
  const Transpose t(*shape);
  const int64_t panels = (t.columns + kPanel - 1) / kPanel, block = 16 * kRows;
  take_patches(t, x, patches, threads);
  const int64_t blocks = (t.patches + block - 1) / block;
  parallel_for(blocks * t.s.stride_y, 1, threads, [=, &t](int64_t job, int64_t) {
    thread_local Scratch scratch;
    float* const result = scratch.floats(block * kPanel);
    const int64_t phase = job / blocks, first = job % blocks * block;
    const int64_t count = t.patches - first < block ? t.patches - first : block;
    for (int64_t panel = 0; panel < panels; ++panel) {
      multiply(patches + first * t.depth, t.depth, w + (phase * panels + panel) * t.depth * kPanel, result, kPanel, count,
               t.depth);
      for (int64_t p = 0; p < count; ++p) {
        const Transpose::Span span = t.span(first + p, phase);
        const int64_t from = panel * kPanel > span.begin ? panel * kPanel : span.begin;
        const int64_t to = (panel + 1) * kPanel < span.end ? (panel + 1) * kPanel : span.end;
        const float* const row = result + p * kPanel - panel * kPanel;
        if (bias == nullptr && to > from) copy_floats(row + from, y + span.place + from, to - from);
        if (bias != nullptr)
          for (int64_t column = from; column < to; ++column) y[span.place + column] = row[column] + bias[column];
      }
    }
  });
}

// One row of columns of grad_y for each patch, zeros where the output was cropped.
inline void take_columns(const Transpose& t, const float* grad_y, int64_t patch, int64_t phase, int64_t first,
                         int64_t count, float* out) {
  const Transpose::Span span = t.span(patch, phase);
  const int64_t begin = span.begin < first ? 0 : (span.begin > first + count ? count : span.begin - first);
  const int64_t end = span.end < first ? 0 : (span.end > first + count ? count : span.end - first);
  for (int64_t i = 0; i < begin; ++i) out[i] = 0.0f;
  if (end > begin) copy_floats(grad_y + span.place + first + begin, out + begin, end - begin);
  for (int64_t i = end > begin ? end : begin; i < count; ++i) out[i] = 0.0f;
}

// w: phase of y, panel of the depth, columns, place in the panel. grad_patches has room for whole panels.
void conv_transpose_grad_input(const float* grad_y, const float* w, float* grad_x, float* grad_patches,
                               const TransposeShape* shape, int threads) {
  const Transpose t(*shape);
  const TransposeShape& s = t.s;
  const int64_t panels = (t.depth + kPanel - 1) / kPanel, row = panels * kPanel, block = 2 * kRows;
  parallel_for(t.patches, block, threads, [=, &t](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    float* const columns = scratch.floats(block * t.columns);
    for (int64_t phase = 0; phase < t.s.stride_y; ++phase) {
      for (int64_t patch = begin; patch < end; ++patch)
        take_columns(t, grad_y, patch, phase, 0, t.columns, columns + (patch - begin) * t.columns);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const bool half = t.depth - panel * kPanel <= kPanel / 2;  // the other one would only be zeros
        (half ? multiply<kColumnVectors / 2, float> : multiply<kColumnVectors, float>)(
            columns, t.columns, w + (phase * panels + panel) * t.columns * kPanel,
            grad_patches + begin * row + panel * kPanel, row, end - begin, t.columns, phase > 0);
      }
    }
  });
  parallel_for(s.batch * s.height, 1, threads, [=, &t, &s](int64_t input_row, int64_t) {
    const int64_t image = input_row / s.height, iy = input_row % s.height;
    for (int64_t ix = 0; ix < s.width; ++ix) {
      float* const out = grad_x + (input_row * s.width + ix) * s.in_channels;
      for (int64_t c = 0; c < s.in_channels; ++c) out[c] = 0.0f;
      for (int64_t part = 0; part < s.parts_y * s.parts_x; ++part) {
        const int64_t y = iy + part / s.parts_x - t.down.first, x = ix + part % s.parts_x - t.across.first;
        if (y < 0 || y >= t.down.count || x < 0 || x >= t.across.count) continue;
        const float* const from =
            grad_patches + ((image * t.down.count + y) * t.across.count + x) * row + part * s.in_channels;
        for (int64_t c = 0; c < s.in_channels; ++c) out[c] += from[c];
      }
    }
  });
}

// grad_w: phase of y, panel of columns, depth, column of the panel; each is one thread's, image after image.
void conv_transpose_grad_weight(const float* x, const float* grad_y, float* grad_w, float* patches,
                                const TransposeShape* shape, int threads) {
  const Transpose t(*shape);
  const int64_t panels = (t.columns + kPanel - 1) / kPanel, block = 64 * kRows;
  take_patches(t, x, patches, threads);
  parallel_for(panels * t.s.stride_y, 1, threads, [=, &t](int64_t job, int64_t) {
    thread_local Scratch scratch;
    float* const columns = scratch.floats(block * kPanel);
    const int64_t phase = job / panels, first_column = job % panels * kPanel;
    for (int64_t first = 0; first < t.patches; first += block) {
      const int64_t count = t.patches - first < block ? t.patches - first : block;
      for (int64_t p = 0; p < count; ++p)
        take_columns(t, grad_y, first + p, phase, first_column, kPanel, columns + p * kPanel);
      multiply_transposed(patches + first * t.depth, t.depth, columns, grad_w + job * t.depth * kPanel, kPanel, t.depth,
                          count, first > 0);
    }
  });
}

constexpr int kReached = 4;  // inputs of an output that are kept in registers: all of a kernel of two parts an axis

// y = [y +] sums over N inputs times their kernels: one vector of channels of outputs that are all reached from them.
template <int N>
STRIATE_INLINE void add_reached(const Floats* inputs, const float* const* kernels, const Floats* bias, float* y,
                                int64_t outputs, int64_t channels, int64_t count) {
  Floats x[N];
  for_each<N>([&](auto number) STRIATE_INLINE_LAMBDA { x[decltype(number)::value] = inputs[decltype(number)::value]; });
  for (int64_t i = 0; i < outputs * channels; i += channels) {
    Floats sum = bias == nullptr ? load_first(y + i, count) : *bias;
    for_each<N>([&](auto number) STRIATE_INLINE_LAMBDA {
      constexpr int n = decltype(number)::value;
      sum += x[n] * load_first(kernels[n] + i, count);
    });
    store_first(y + i, sum, count);
  }
}

// A kernel for every channel: w is kernel_y x kernel_x x channels, parts * stride on each axis.
void conv_transpose_depthwise(const float* x, const float* w, const float* bias, float* y, const TransposeShape* shape,
                              int threads) {
  const TransposeShape s = *shape;
  const int64_t channels = s.in_channels, kernel_x = s.parts_x * s.stride_x;
  parallel_for(s.batch * s.out_height, 1, threads, [=, &s](int64_t row, int64_t) {
    const int64_t full_y = row % s.out_height + s.low_y, q_y = floor_divide(full_y, s.stride_y);
    const float* const image = x + row / s.out_height * s.height * s.width * channels;
    float* const out = y + row * s.out_width * channels;
    for (int64_t begin = 0; begin < s.out_width;) {
      const int64_t q_x = floor_divide(begin + s.low_x, s.stride_x), phase = begin + s.low_x - q_x * s.stride_x;
      const int64_t room = begin + s.stride_x - phase, end = room < s.out_width ? room : s.out_width;
      for_channels(channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
        const Floats first = bias == nullptr ? Floats{} : load_first(bias + c, count);
        const Floats* start = &first;  // what the sums begin with; null: with those that are there
        Floats inputs[kReached];
        const float* kernels[kReached];
        int found = 0;
        const auto add = [&]() STRIATE_INLINE_LAMBDA {
          float* const to = out + begin * channels + c;
          switch (found) {
            case 0: add_reached<0>(inputs, kernels, start, to, end - begin, channels, count); break;
            case 1: add_reached<1>(inputs, kernels, start, to, end - begin, channels, count); break;
            case 2: add_reached<2>(inputs, kernels, start, to, end - begin, channels, count); break;
            case 3: add_reached<3>(inputs, kernels, start, to, end - begin, channels, count); break;
            default: add_reached<kReached>(inputs, kernels, start, to, end - begin, channels, count);
          }
          start = nullptr;
          found = 0;
        };
        for (int64_t part_y = 0; part_y < s.parts_y; ++part_y) {
          const int64_t iy = q_y - part_y, ky = full_y - iy * s.stride_y;
          if (iy < 0 || iy >= s.height) continue;
          for (int64_t part_x = 0; part_x < s.parts_x; ++part_x) {
            const int64_t ix = q_x - part_x;
            if (ix < 0 || ix >= s.width) continue;
            inputs[found] = load_first(image + (iy * s.width + ix) * channels + c, count);
            kernels[found] = w + (ky * kernel_x + part_x * s.stride_x + phase) * channels + c;
            if (++found == kReached) add();
          }
        }
        if (found > 0 || start != nullptr) add();
      });
      begin = end;
    }
  });
}

void conv_transpose_depthwise_grad_input(const float* grad_y, const float* w, float* grad_x, const TransposeShape* shape,
                                         int threads) {
  const TransposeShape s = *shape;
  const int64_t channels = s.in_channels, kernel_y = s.parts_y * s.stride_y, kernel_x = s.parts_x * s.stride_x;
  parallel_for(s.batch * s.height * s.width, 1, threads, [=, &s](int64_t pixel, int64_t) {
    const int64_t top = pixel / s.width % s.height * s.stride_y - s.low_y, left = pixel % s.width * s.stride_x - s.low_x;
    const float* const image = grad_y + pixel / (s.height * s.width) * s.out_height * s.out_width * channels;
    const int64_t first = left < 0 ? -left : 0, last = s.out_width - left < kernel_x ? s.out_width - left : kernel_x;
    for_channels(channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
      Floats sum = {};
      for (int64_t ky = 0; ky < kernel_y; ++ky) {
        if (top + ky < 0 || top + ky >= s.out_height) continue;
        const float* const row = image + ((top + ky) * s.out_width + left) * channels + c;
        const float* const weights = w + ky * kernel_x * channels + c;
        Floats of_row[4] = {};  // that need not wait for each other
        int64_t kx = first;
        for (; kx + 4 <= last; kx += 4)
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i)
            of_row[i] += load_first(row + (kx + i) * channels, count) * load_first(weights + (kx + i) * channels, count);
        for (; kx < last; ++kx)
          of_row[0] += load_first(row + kx * channels, count) * load_first(weights + kx * channels, count);
        sum += (of_row[0] + of_row[1]) + (of_row[2] + of_row[3]);
      }
      store_first(grad_x + pixel * channels + c, sum, count);
    });
  });
}

// A row of the kernel is one thread's, image after image.
void conv_transpose_depthwise_grad_weight(const float* x, const float* grad_y, float* grad_w, const TransposeShape* shape,
                                          int threads) {
  const TransposeShape s = *shape;
  const int64_t channels = s.in_channels, kernel_y = s.parts_y * s.stride_y, kernel_x = s.parts_x * s.stride_x;
  parallel_for(kernel_y, 1, threads, [=, &s](int64_t ky, int64_t) {
    float* const own = grad_w + ky * kernel_x * channels;
    for (int64_t i = 0; i < kernel_x * channels; ++i) own[i] = 0.0f;
    for (int64_t input_row = 0; input_row < s.batch * s.height; ++input_row) {
      const int64_t oy = input_row % s.height * s.stride_y + ky - s.low_y;
      if (oy < 0 || oy >= s.out_height) continue;
      const float* const row = grad_y + (input_row / s.height * s.out_height + oy) * s.out_width * channels;
      for (int64_t kx = 0; kx < kernel_x; ++kx) {
        const int64_t left = kx - s.low_x;  // where the first input adds to
        const int64_t first = left < 0 ? (s.stride_x - 1 - left) / s.stride_x : 0;
        const int64_t room = floor_divide(s.out_width - 1 - left, s.stride_x) + 1, last = room < s.width ? room : s.width;
        for_channels(channels, [&](int64_t c, int64_t done, int64_t count) STRIATE_INLINE_LAMBDA {
          const float* in = x + (input_row * s.width + first) * channels + c;
          const float* out = row + (left + first * s.stride_x) * channels + c;
          Floats sum = {};
          for (int64_t ix = first; ix < last; ++ix, in += channels, out += s.stride_x * channels)
            sum += load_first(in, count) * load_first(out, count);
          const Floats fresh = lane_numbers() >= static_cast<int32_t>(done) ? sum : Floats{};
          float* const place = own + kx * channels + c;
          store_first(place, load_first(place, count) + fresh, count);
        });
      }
    }
  });
}

}  // namespace
}  // namespace striate
