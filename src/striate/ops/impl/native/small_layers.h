// The other layers of small networks, on one block of images: dense, pooling, subsampling, radial basis functions, and
// activations. `values` and `grads` are the block's memory, in which every layer has its frame.
#pragma once
#include "kernels.h"
#include "matrix.h"
#include "scaled_tanh.h"
#include "simd.h"
#include "small_conv.h"

namespace striate {
namespace {

// Call body(channel, y) for all rows of a frame.
template <class Body>
STRIATE_INLINE void for_rows(const SmallFrame& f, const Body& body) {
  for (int64_t channel = 0; channel < f.channels; ++channel)
    for (int64_t y = 0; y < f.height; ++y) body(channel, y);
}

inline int64_t units(const SmallFrame& f) { return f.channels * f.height * f.width; }

// Whether the frame is the map and nothing else.
inline bool plain(const SmallFrame& f) { return f.rows == f.height && f.columns == f.width; }

inline void clear(const SmallFrame& f, float* memory) {
  const int64_t count = f.channels * f.rows * f.columns * kLanes;
  for (int64_t i = 0; i < count; ++i) memory[f.at * kLanes + i] = 0.0f;
}

// ---- activations

// y = body(y) for all values of a frame.
template <class Body>
STRIATE_INLINE void change(const SmallFrame& f, float* values, const Body& body) {
  for_rows(f, [&](int64_t channel, int64_t row) {
    float* y = place(values, f, channel, row, 0);
    for (float* const end = y + f.width * kLanes; y < end; y += kLanes) store(y, body(load(y)));
  });
}

inline void activate(const SmallLayer& l, float* values) {
  const Floats amplitude = all(l.amplitude), slope = all(l.slope), zero = {}, half = all(0.5f);
  switch (l.activation) {
    case kSmallRelu: return change(l.values, values, [=](Floats y) { return y < zero ? zero : y; });  // a NaN stays one
    case kSmallTanh: return change(l.values, values, [=](Floats y) { return amplitude * hyperbolic_tangent(slope * y); });
    case kSmallSigmoid: return change(l.values, values, [=](Floats y) { return half + half * hyperbolic_tangent(half * y); });
    default:
      if (l.amplitude != 1.0f) change(l.values, values, [=](Floats y) { return amplitude * y; });
  }
}

// The gradients by what went into the activation, in the place of those by what came out of it.
inline void activate_backward(const SmallLayer& l, const float* values, float* grads) {
  const Floats amplitude = all(l.amplitude), inverse = all(1.0f / l.amplitude), slope = all(l.slope), zero = {};
  const auto change_grads = [&](const auto& body) STRIATE_INLINE_LAMBDA {
    for_rows(l.grads, [&](int64_t channel, int64_t row) {
      const float* y = place(values, l.values, channel, row, 0);
      float* g = place(grads, l.grads, channel, row, 0);
      const float* const end = y + l.grads.width * kLanes;
      for (const int64_t next = l.grads.step_x * kLanes; y < end; y += kLanes, g += next)
        store(g, body(load(g), load(y)));
    });
  };
  switch (l.activation) {
    case kSmallRelu: return change_grads([=](Floats g, Floats y) { return y <= zero ? zero : g; });
    case kSmallTanh:
      return change_grads([=](Floats g, Floats y) { return g * (slope * (amplitude - y * y * inverse)); });
    case kSmallSigmoid: return change_grads([=](Floats g, Floats y) { return g * (y - y * y); });
    default:
      if (l.amplitude != 1.0f) change_grads([=](Floats g, Floats) { return g * amplitude; });
  }
}

// ---- dense layers

// R results, each a row of weights times the inputs.
template <int R>
void dense_rows(const float* x, int64_t inputs, const float* w, int64_t w_row, int64_t w_next, const float* bias,
                float* y) {
  Floats sums[R];
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) sums[r] = all(bias == nullptr ? 0.0f : bias[r]);
  for (int64_t i = 0; i < inputs; ++i, w += w_next) {
    const Floats input = load(x + i * kLanes);
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r) sums[r] += all(w[r * w_row]) * input;
  }
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r) store(y + r * kLanes, sums[r]);
}

inline void dense(const float* x, int64_t inputs, const float* w, int64_t w_row, int64_t w_next, const float* bias,
                  float* y, int64_t outputs) {
  in_pieces(outputs, kTile, [&](int64_t first, int64_t end) {
    for_each<kTile>([&](auto number) STRIATE_INLINE_LAMBDA {
      constexpr int R = decltype(number)::value + 1;
      if (end - first == R)
        dense_rows<R>(x, inputs, w + first * w_row, w_row, w_next, bias == nullptr ? nullptr : bias + first,
                      y + first * kLanes);
    });
  });
}

inline void small_dense(const SmallLayer& l, const SmallFrame& in, const float* x, float* y) {
  const int64_t inputs = units(in);
  dense(x + in.at * kLanes, inputs, l.weight, inputs, 1, l.bias, y + l.values.at * kLanes, units(l.values));
}

// `row` has room for all inputs of the layer.
inline void small_dense_grad_input(const SmallLayer& l, float* grads, const SmallFrame& to, float* row) {
  const int64_t inputs = units(to);
  float* const result = plain(to) ? grads + to.at * kLanes : row;
  dense(grads + l.grads.at * kLanes, units(l.grads), l.weight, 1, inputs, nullptr, result, inputs);
  if (plain(to)) return;
  for_rows(to, [&](int64_t channel, int64_t y) {
    for (int64_t x = 0; x < to.width; ++x, row += kLanes) store(place(grads, to, channel, y, x), load(row));
  });
}

// A dense layer's inputs and gradients of the whole batch, images outside: inputs in panels for `multiply_transposed`.
struct DenseCopies {
  int64_t inputs, outputs, images, panels;
  float *x, *grads;
  DenseCopies(const SmallLayer& l, const SmallFrame& in, int64_t batch, float* copies)
      : inputs(units(in)), outputs(units(l.values)), images((batch + kLanes - 1) / kLanes * kLanes),
        panels((inputs + kPanel - 1) / kPanel), x(copies + l.copies_at), grads(x + panels * kPanel * images) {}

  void take(const SmallLayer& l, const SmallFrame& in, int64_t first, const float* values, const float* g) const {
    const float* const from = values + in.at * kLanes;
    const auto panel = [&](int64_t i) { return x + (i / kPanel * images + first) * kPanel + i % kPanel; };
    int64_t done = 0;
    for (; done + kLanes <= inputs; done += kLanes) transpose_square(from + done * kLanes, kLanes, panel(done), kPanel);
    for (int64_t i = done; i < panels * kPanel; ++i)
      for (int64_t n = 0; n < kLanes; ++n) panel(i)[n * kPanel] = i < inputs ? from[i * kLanes + n] : 0.0f;
    const float* const own = g + l.grads.at * kLanes;
    float* const to = grads + first * outputs;
    for (done = 0; done + kLanes <= outputs; done += kLanes)
      transpose_square(own + done * kLanes, kLanes, to + done, outputs);
    for (int64_t n = 0; n < kLanes; ++n)
      for (int64_t o = done; o < outputs; ++o) to[n * outputs + o] = own[o * kLanes + n];
  }

  // The columns of the weights' gradients that belong to one panel of inputs.
  void grad_weight(int64_t panel, float* result) const {
    const float* const from = x + panel * kPanel * images;
    const int64_t columns = smaller(kPanel, inputs - panel * kPanel);
    if (columns == kPanel)
      return multiply_transposed(grads, outputs, from, result + panel * kPanel, inputs, outputs, images, false);
    float rows[kRows * kPanel];
    for (int64_t o = 0; o < outputs; o += kRows) {
      const int64_t count = smaller(kRows, outputs - o);
      multiply_transposed(grads + o, outputs, from, rows, kPanel, count, images, false);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 0; i < columns; ++i) result[(o + r) * inputs + panel * kPanel + i] = rows[r * kPanel + i];
    }
  }
};

// ---- pooling

// The inputs under one window of one channel: how many rows and columns of them, and the column of the first one.
template <class Rows, class Columns>
struct Under {
  Rows rows;
  Columns columns;
  int64_t x;

  // Call body(place) for each of them in row-major order; `next_row` and `next` are the distances of neighbours.
  template <class Pointer, class Body>
  STRIATE_INLINE void each(Pointer first, int64_t next_row, int64_t next, const Body& body) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) body(first + r * next_row + c * next);
  }
};

struct Two {
  constexpr operator int64_t() const { return 2; }
};

// Call in_row(channel, row, top) for every row of a pooling layer's outputs, whose windows begin in the input's row
// `top`, and what it returns for every output of the row, with (column, under). The usual window is known when compiled.
template <class InRow>
STRIATE_INLINE void for_windows(const SmallLayer& l, const SmallFrame& in, const InRow& in_row) {
  const int64_t width = l.values.width, stride = l.stride_x, low = l.low_x, kernel = l.kernel_x, in_width = in.width;
  for_rows(l.values, [&](int64_t channel, int64_t row) {
    const int64_t y = row * l.stride_y - l.low_y, top = y < 0 ? 0 : y, rows = smaller(y + l.kernel_y, in.height) - top;
    const auto body = in_row(channel, row, top);
    for (int64_t column = 0; column < width; ++column) {
      const int64_t x = column * stride - low, left = x < 0 ? 0 : x, columns = smaller(x + kernel, in_width) - left;
      if (rows == 2 && columns == 2)
        body(column, Under<Two, Two>{{}, {}, left});
      else
        body(column, Under<int64_t, int64_t>{rows, columns, left});
    }
  });
}

// What the mean of a window is multiplied by to become what is pooled.
template <class Window>
STRIATE_INLINE float pool_scale(const SmallLayer& l, const Window& u) {
  return l.mean ? 1.0f / static_cast<float>(u.rows * u.columns) : 1.0f;
}

template <class Window>
STRIATE_INLINE Floats largest_under(const Window& u, const float* first, int64_t next_row) {
  Floats largest = load(first);
  u.each(first, next_row, kLanes, [&](const float* x) {
    largest = ((load(x) > largest) | (load(x) != load(x))) ? load(x) : largest;  // a NaN wins, as in PyTorch
  });
  return largest;
}

template <class Window>
STRIATE_INLINE Floats sum_under(const Window& u, const float* first, int64_t next_row) {
  Floats sum = {};
  u.each(first, next_row, kLanes, [&](const float* x) { sum += load(x); });
  return sum;
}

inline void small_pool(const SmallLayer& l, const SmallFrame& in, const float* x, float* y) {
  const int64_t next_row = in.columns * kLanes;
  for_windows(l, in, [&](int64_t channel, int64_t row, int64_t top) STRIATE_INLINE_LAMBDA {
    const float* const inputs = place(x, in, channel, top, 0);
    float* const outputs = place(y, l.values, channel, row, 0);
    return [=, &l](int64_t column, const auto& under) STRIATE_INLINE_LAMBDA {
      const float* const first = inputs + under.x * kLanes;
      float* const to = outputs + column * kLanes;
      if (l.kind == kSmallMaxPool) return store(to, largest_under(under, first, next_row));
      const Floats pooled = sum_under(under, first, next_row) * pool_scale(l, under);
      store(to, l.kind == kSmallSubsample ? pooled * l.weight[channel] + l.bias[channel] : pooled);
    };
  });
}

// Gives the gradient of every window of a pooling layer to the inputs under it. The first of the largest inputs takes
// it all if Largest, else each its share. Tiled: each input is under just one window, so that there is nothing to add to.
template <bool Tiled, bool Largest>
void give_windows(const SmallLayer& l, const SmallFrame& in, const float* values, float* grads, const SmallFrame& to) {
  const int64_t in_row = in.columns * kLanes, row_step = to.step_y * to.columns * kLanes, step = to.step_x * kLanes;
  const int64_t next = l.grads.step_x * kLanes;
  const auto give = [](float* sum, Floats g) STRIATE_INLINE_LAMBDA { store(sum, Tiled ? g : load(sum) + g); };
  for_windows(l, in, [&](int64_t channel, int64_t row, int64_t top) STRIATE_INLINE_LAMBDA {
    const float* const inputs = place(values, in, channel, top, 0);
    const float* const given = place(grads, l.grads, channel, row, 0);
    float* const sums = place(grads, to, channel, top, 0);
    const float weight = l.kind == kSmallSubsample ? l.weight[channel] : 1.0f;
    return [=, &l](int64_t column, const auto& under) STRIATE_INLINE_LAMBDA {
      float* const first = sums + under.x * step;
      Floats g = load(given + column * next);
      if constexpr (Largest) {
        const float* x = inputs + under.x * kLanes;
        const Ints largest = reinterpret_cast<Ints>(largest_under(under, x, in_row));  // its bits: a NaN equals itself
        for (int64_t r = 0; r < under.rows; ++r)
          for (int64_t c = 0; c < under.columns; ++c) {
            const Ints value = reinterpret_cast<Ints>(load(x + r * in_row + c * kLanes));
            give(first + r * row_step + c * step, value == largest ? g : Floats{});
            g = value == largest ? Floats{} : g;  // the first one takes it all
          }
      } else {
        g *= pool_scale(l, under) * weight;
        under.each(first, row_step, step, [&](float* sum) STRIATE_INLINE_LAMBDA { give(sum, g); });
      }
    };
  });
}

inline void small_pool_grad_input(const SmallLayer& l, const SmallFrame& in, const float* values, float* grads,
                                  const SmallFrame& to) {
  const bool largest = l.kind == kSmallMaxPool;
  if (l.kernel_y == l.stride_y && l.kernel_x == l.stride_x && l.values.height * l.stride_y == to.height &&
      l.values.width * l.stride_x == to.width)
    return (largest ? give_windows<true, true> : give_windows<true, false>)(l, in, values, grads, to);
  for_rows(to, [&](int64_t channel, int64_t y) {
    for (int64_t x = 0; x < to.width; ++x) store(place(grads, to, channel, y, x), Floats{});
  });
  (largest ? give_windows<false, true> : give_windows<false, false>)(l, in, values, grads, to);
}

inline void small_subsample_grads(const SmallLayer& l, const SmallFrame& in, const float* values, const float* grads,
                                  float* result) {
  Floats sum = {};
  for_windows(l, in, [&](int64_t channel, int64_t row, int64_t top) STRIATE_INLINE_LAMBDA {
    const float* const inputs = place(values, in, channel, top, 0);
    const float* const given = place(grads, l.grads, channel, row, 0);
    if (row == 0) sum = Floats{};
    return [=, &l, &in, &sum](int64_t column, const auto& under) STRIATE_INLINE_LAMBDA {
      const Floats pooled = sum_under(under, inputs + under.x * kLanes, in.columns * kLanes) * pool_scale(l, under);
      sum += pooled * load(given + column * l.grads.step_x * kLanes);
      if (row == l.values.height - 1 && column == l.values.width - 1) result[channel] = sum_of(sum);
    };
  });
}

inline void small_grad_bias(const SmallFrame& f, const float* grads, float* result) {
  for (int64_t channel = 0; channel < f.channels; ++channel) {
    Floats sums[4] = {};  // that need not wait for each other
    for (int64_t y = 0; y < f.height; ++y) {
      const float* g = place(grads, f, channel, y, 0);
      const int64_t next = f.step_x * kLanes;
      int64_t x = 0;
      for (; x + 4 <= f.width; x += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sums[i] += load(g + (x + i) * next);
      for (; x < f.width; ++x) sums[0] += load(g + x * next);
    }
    result[channel] = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
}

// ---- radial basis functions: squared distances to the centres, which are the rows of the weight

inline void small_rbf(const SmallLayer& l, const SmallFrame& in, const float* x, float* y) {
  const int64_t inputs = units(in);
  for (int64_t centre = 0; centre < units(l.values); ++centre) {
    Floats sum = {};
    for (int64_t i = 0; i < inputs; ++i) {
      const Floats far = load(x + (in.at + i) * kLanes) - all(l.weight[centre * inputs + i]);
      sum += far * far;
    }
    store(y + (l.values.at + centre) * kLanes, sum);
  }
}

inline void small_rbf_grad_input(const SmallLayer& l, const SmallFrame& in, const float* values, float* grads,
                                 const SmallFrame& to) {
  const int64_t inputs = units(in);
  int64_t i = 0;
  for_rows(to, [&](int64_t channel, int64_t y) {
    for (int64_t column = 0; column < to.width; ++column, ++i) {
      const Floats x = load(values + (in.at + i) * kLanes);
      Floats sum = {};
      for (int64_t centre = 0; centre < units(l.grads); ++centre)
        sum += load(grads + (l.grads.at + centre) * kLanes) * (x - all(l.weight[centre * inputs + i]));
      store(place(grads, to, channel, y, column), sum + sum);
    }
  });
}

}  // namespace
}  // namespace striate
