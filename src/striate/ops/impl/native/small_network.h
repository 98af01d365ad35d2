// Small networks: all layers for one block of images after the other, forward or backward, while the block is in the cache.
//
// A block has kLanes images, a lane for each; absent ones are zeros. No block's results depend on another's or on the
// number of threads: the gradients of the parameters are summed over the blocks in their order.
#pragma once
#include "scratch.h"
#include "small_layers.h"
#include "threads.h"

namespace striate {
namespace {

// A block's images as a frame: N x C x H x W of any strides, from image `first` on.
inline void take_images(const float* x, const int64_t* strides, const SmallFrame& f, int64_t first, int64_t batch,
                        float* memory) {
  const int64_t count = smaller(batch - first, kLanes);
  const float* images[kLanes];
  for (int64_t n = 0; n < kLanes; ++n) images[n] = x + (first + (n < count ? n : 0)) * strides[0];
  for_rows(f, [&](int64_t channel, int64_t y) {
    const int64_t from = channel * strides[1] + y * strides[2];
    int64_t column = 0;
    if (strides[3] == 1 && count == kLanes)
      for (; column + kLanes <= f.width; column += kLanes)
        transpose_square(images[0] + from + column, strides[0], place(memory, f, channel, y, column), f.step_x * kLanes);
    for (; column < f.width; ++column) {
      float lanes[kLanes];
      for (int64_t n = 0; n < kLanes; ++n) lanes[n] = images[n][from + column * strides[3]];
      if (count < kLanes)
        for (int64_t n = count; n < kLanes; ++n) lanes[n] = 0.0f;
      __builtin_memcpy(place(memory, f, channel, y, column), lanes, sizeof(lanes));
    }
  });
}

// A frame as images, contiguous.
inline void give_images(const float* memory, const SmallFrame& f, int64_t first, int64_t batch, float* y) {
  for (int64_t n = 0; n < smaller(batch - first, kLanes); ++n) {
    float* to = y + (first + n) * units(f);
    for_rows(f, [&](int64_t channel, int64_t row) {
      for (int64_t column = 0; column < f.width; ++column) *to++ = place(memory, f, channel, row, column)[n];
    });
  }
}

inline void small_layer_forward(const SmallLayer& l, const SmallFrame& in, float* values) {
  switch (l.kind) {
    case kSmallConv: small_conv(l, in, values, values); break;
    case kSmallDense: small_dense(l, in, values, values); break;
    case kSmallRbf: small_rbf(l, in, values, values); break;
    case kSmallSame:
      for_rows(in, [&](int64_t channel, int64_t y) {
        for (int64_t x = 0; x < in.width; ++x)
          store(place(values, l.values, channel, y, x), load(place(values, in, channel, y, x)));
      });
      break;
    default: small_pool(l, in, values, values);
  }
  activate(l, values);
}

inline void small_layer_grad_input(const SmallLayer& l, const SmallFrame& in, const SmallFrame& to, const float* values,
                                   float* grads, float* row) {
  switch (l.kind) {
    case kSmallConv: return small_conv_grad_input(l, grads, to);
    case kSmallDense: return small_dense_grad_input(l, grads, to, row);
    case kSmallRbf: return small_rbf_grad_input(l, in, values, grads, to);
    case kSmallSame:
      return for_rows(to, [&](int64_t channel, int64_t y) {
        for (int64_t x = 0; x < to.width; ++x)
          store(place(grads, to, channel, y, x), load(place(grads, l.grads, channel, y, x)));
      });
    default: return small_pool_grad_input(l, in, values, grads, to);
  }
}

// One block's part of the gradients of the parameters; a dense layer's weights are left to the whole batch.
inline void small_layer_grads(const SmallLayer& l, const SmallFrame& in, const float* values, const float* grads,
                              float* parts) {
  float* result = parts + l.parts_at;
  if (l.grad_weight != nullptr && l.kind != kSmallDense) {
    if (l.kind == kSmallConv) small_conv_grad_weight(l, in, values, grads, result);
    if (l.kind == kSmallSubsample) small_subsample_grads(l, in, values, grads, result);
    result += l.weights;
  }
  if (l.grad_bias != nullptr) small_grad_bias(l.grads, grads, result);
}

// kept: the values of all blocks for the backward pass, zeros around the maps; or null.
void small_forward(const SmallLayer* layers, const SmallShape* shape, const float* x, const int64_t* strides,
                   float* kept, float* y, int threads) {
  const SmallShape s = *shape;
  const int64_t blocks = (s.batch + kLanes - 1) / kLanes;
  parallel_for(blocks, even_grain(blocks, threads, 1), threads, [=, &s](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    float* const own = kept == nullptr ? scratch.floats(s.values * kLanes) : nullptr;
    for (int64_t i = 0; i < s.layers && own != nullptr; ++i)
      if (!plain(layers[i].values)) clear(layers[i].values, own);
    for (int64_t block = begin; block < end; ++block) {
      float* const values = kept == nullptr ? own : kept + block * s.values * kLanes;
      take_images(x, strides, layers[0].values, block * kLanes, s.batch, values);
      for (int64_t i = 1; i < s.layers; ++i) small_layer_forward(layers[i], layers[i - 1].values, values);
      give_images(values, layers[s.layers - 1].values, block * kLanes, s.batch, y);
    }
  });
}

// parts: room for the gradients of all parameters but dense weights, by every block; copies: for the dense layers'
// inputs and gradients. grad_y and grad_x (or null) are contiguous.
void small_backward(const SmallLayer* layers, const SmallShape* shape, const float* kept, const float* grad_y,
                    float* parts, float* copies, float* grad_x, int threads) {
  const SmallShape s = *shape;
  const int64_t blocks = (s.batch + kLanes - 1) / kLanes;
  const SmallFrame& out = layers[s.layers - 1].values;
  const int64_t strides[4] = {units(out), out.height * out.width, out.width, 1};
  parallel_for(blocks, even_grain(blocks, threads, 1), threads, [=, &s, &strides](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    float* const grads = scratch.floats((s.grads + s.values) * kLanes);
    for (int64_t i = s.lowest; i < s.layers; ++i)
      if (!plain(layers[i].grads)) clear(layers[i].grads, grads);
    for (int64_t block = begin; block < end; ++block) {
      const float* const values = kept + block * s.values * kLanes;
      take_images(grad_y, strides, layers[s.layers - 1].grads, block * kLanes, s.batch, grads);
      for (int64_t i = s.layers - 1; i >= s.lowest && i > 0; --i) {
        const SmallLayer& l = layers[i];
        activate_backward(l, values, grads);
        small_layer_grads(l, layers[i - 1].values, values, grads, parts + block * s.parts);
        if (l.kind == kSmallDense && l.grad_weight != nullptr)
          DenseCopies(l, layers[i - 1].values, s.batch, copies).take(l, layers[i - 1].values, block * kLanes, values, grads);
        if (i > s.lowest)
          small_layer_grad_input(l, layers[i - 1].values, layers[i - 1].grads, values, grads, grads + s.grads * kLanes);
      }
      if (grad_x != nullptr) give_images(grads, layers[0].grads, block * kLanes, s.batch, grad_x);
    }
  });
  for (int64_t i = 1; i < s.layers; ++i) {
    const SmallLayer& l = layers[i];
    if (l.kind == kSmallDense && l.grad_weight != nullptr) {
      const DenseCopies whole(l, layers[i - 1].values, s.batch, copies);
      parallel_for(whole.panels, even_grain(whole.panels, threads, 4), threads, [=, &whole, &l](int64_t first, int64_t last) {
        for (int64_t panel = first; panel < last; ++panel) whole.grad_weight(panel, l.grad_weight);
      });
    }
    const bool own_weights = l.grad_weight != nullptr && l.kind != kSmallDense;
    const float* const from = parts + l.parts_at;
    const auto add_up = [&](const float* part, int64_t count, float* result) {
      for (int64_t j = 0; j < count; ++j) result[j] = 0.0f;
      for (int64_t block = 0; block < blocks; ++block)
        for (int64_t j = 0; j < count; ++j) result[j] += part[block * s.parts + j];
    };
    if (own_weights) add_up(from, l.weights, l.grad_weight);
    if (l.grad_bias != nullptr) add_up(from + (own_weights ? l.weights : 0), l.grads.channels, l.grad_bias);
  }
}

}  // namespace
}  // namespace striate
