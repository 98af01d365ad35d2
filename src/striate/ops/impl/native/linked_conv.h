// Convolution of stride 1 by a link table: only the kernels that are there are stored and multiplied.
//
// The lanes of a vector are images, for tables link few channels: the batch is cut into blocks of kLanes images, each
// turned so that its images lie innermost and its borders are zeros. Absent images are zeros.
#pragma once
#include "kernels.h"
#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

constexpr int kLinkedColumns = kLanes == 16 ? 14 : 8;  // outputs of a row that are computed together, at most
constexpr int kLinkedTaps = 5;     // columns of a kernel whose gradients are computed together

// One image of `channels` planes, height x width, in a frame of padded_height x padded_width at (low_y, low_x).
struct Plane {
  int64_t channels, height, width, padded_height, padded_width, low_y, low_x;
  int64_t size() const { return channels * padded_height * padded_width; }
};

// Images [first, first + kLanes) of an N x C x H x W batch of any strides, images innermost.
inline void turn_in(const float* x, const int64_t* strides, int64_t batch, int64_t first, const Plane& p, float* out) {
  const int64_t count = batch - first < kLanes ? batch - first : kLanes;
  for (int64_t i = 0; i < p.size() * kLanes; ++i) out[i] = 0.0f;
  for (int64_t n = 0; n < count; ++n)
    for (int64_t c = 0; c < p.channels; ++c)
      for (int64_t i = 0; i < p.height; ++i) {
        const int64_t y = i + p.low_y;
        if (y < 0 || y >= p.padded_height) continue;
        const float* const row = x + (first + n) * strides[0] + c * strides[1] + i * strides[2];
        float* const to = out + (c * p.padded_height + y) * p.padded_width * kLanes + n;
        for (int64_t j = 0; j < p.width; ++j) {
          const int64_t place = j + p.low_x;
          if (place >= 0 && place < p.padded_width) to[place * kLanes] = row[j * strides[3]];
        }
      }
}

// T neighbouring outputs of one channel, all images of a block.
template <int T>
void linked_outputs(const float* block, const float* w, const LinkedShape& s, const int64_t* first_link,
                                   const int64_t* links, int64_t channel, int64_t oy, int64_t ox, float bias, float* out) {
  const int64_t frame_x = s.out_width + s.kernel_x - 1, plane = (s.out_height + s.kernel_y - 1) * frame_x;
  Floats sums[T];
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) sums[t] = all(bias);
  for (int64_t link = first_link[channel]; link < first_link[channel + 1]; ++link) {
    const float* const image = block + (links[2 * link] * plane + oy * frame_x + ox) * kLanes;
    const float* const kernel = w + links[2 * link + 1] * s.kernel_y * s.kernel_x;
    for (int64_t ky = 0; ky < s.kernel_y; ++ky)
      for (int64_t kx = 0; kx < s.kernel_x; ++kx) {
        const Floats weight = all(kernel[ky * s.kernel_x + kx]);
        const float* const from = image + (ky * frame_x + kx) * kLanes;
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) sums[t] += weight * load(from + t * kLanes);
      }
  }
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) store(out + t * kLanes, sums[t]);
}

// Output channel p has the links first_link[p] ... first_link[p + 1] - 1, pairs (input channel, number of the kernel).
void linked_conv(const float* x, const int64_t* strides, const float* w, const int64_t* first_link, const int64_t* links,
                 const float* bias, float* y, const int64_t* y_strides, const LinkedShape* shape, int threads) {
  const LinkedShape s = *shape;
  const Plane in{s.in_channels, s.height, s.width, s.out_height + s.kernel_y - 1, s.out_width + s.kernel_x - 1, s.low_y,
                 s.low_x};
  const int64_t of_image = s.out_channels * s.out_height * s.out_width;
  parallel_for(s.batch, kLanes, threads, [=, &s, &in](int64_t first, int64_t end) {
    thread_local Scratch scratch;
    float* const block = scratch.floats((in.size() + of_image) * kLanes);
    float* const results = block + in.size() * kLanes;
    turn_in(x, strides, s.batch, first, in, block);
    for (int64_t row = 0; row < s.out_channels * s.out_height; ++row) {
      const int64_t channel = row / s.out_height, oy = row % s.out_height;
      const float b = bias == nullptr ? 0.0f : bias[channel];
      float* const out = results + row * s.out_width * kLanes;
      const int64_t pieces = (s.out_width + kLinkedColumns - 1) / kLinkedColumns;
      for (int64_t piece = 0; piece < pieces; ++piece) {
        const int64_t ox = s.out_width * piece / pieces, columns = s.out_width * (piece + 1) / pieces - ox;
        for_each<kLinkedColumns>([&](auto number) STRIATE_INLINE_LAMBDA {
          constexpr int T = decltype(number)::value + 1;
          if (columns == T) linked_outputs<T>(block, w, s, first_link, links, channel, oy, ox, b, out + ox * kLanes);
        });
      }
    }
    for (int64_t n = first; n < end; ++n)
      for (int64_t row = 0; row < s.out_channels * s.out_height; ++row) {
        float* const to = y + n * y_strides[0] + row / s.out_height * y_strides[1] + row % s.out_height * y_strides[2];
        const float* const from = results + row * s.out_width * kLanes + n - first;
        for (int64_t ox = 0; ox < s.out_width; ++ox) to[ox * y_strides[3]] = from[ox * kLanes];
      }
  });
}

// The sums for `Count` columns of one row of a kernel over a plane, all images of a block, then over the images.
template <int Count>
STRIATE_INLINE void linked_taps(const float* x, int64_t x_row, const float* grad, int64_t height, int64_t width,
                                float* out) {
  Floats sums[Count] = {};
  for (int64_t y = 0; y < height; ++y)
    for (int64_t column = 0; column < width; ++column) {
      const Floats g = load(grad + (y * width + column) * kLanes);
#pragma GCC unroll 5
      for (int k = 0; k < Count; ++k) sums[k] += g * load(x + (y * x_row + column + k) * kLanes);
    }
  for (int k = 0; k < Count; ++k) out[k] = sum_of(sums[k]);
}

// `parts`: the gradients of the kernels, kernel_y x kernel_x each, by every block of images; the first gets their sum.
void linked_conv_grad_weight(const float* x, const int64_t* strides, const float* grad_y, const int64_t* grad_strides,
                             const int64_t* first_link, const int64_t* links, float* parts, const LinkedShape* shape,
                             int threads) {
  const LinkedShape s = *shape;
  const Plane in{s.in_channels, s.height, s.width, s.out_height + s.kernel_y - 1, s.out_width + s.kernel_x - 1, s.low_y,
                 s.low_x};
  const Plane out{s.out_channels, s.out_height, s.out_width, s.out_height, s.out_width, 0, 0};
  const int64_t kernels = first_link[s.out_channels] * s.kernel_y * s.kernel_x;
  parallel_for(s.batch, kLanes, threads, [=, &s, &in, &out](int64_t first, int64_t) {
    thread_local Scratch scratch;
    float* const block = scratch.floats((in.size() + out.size()) * kLanes);
    float* const grads = block + in.size() * kLanes;
    turn_in(x, strides, s.batch, first, in, block);
    turn_in(grad_y, grad_strides, s.batch, first, out, grads);
    for (int64_t channel = 0; channel < s.out_channels; ++channel)
      for (int64_t link = first_link[channel]; link < first_link[channel + 1]; ++link)
        for (int64_t ky = 0; ky < s.kernel_y; ++ky) {
          const float* const from = block + (links[2 * link] * in.padded_height + ky) * in.padded_width * kLanes;
          const float* const grad = grads + channel * s.out_height * s.out_width * kLanes;
          float* const to = parts + first / kLanes * kernels + (links[2 * link + 1] * s.kernel_y + ky) * s.kernel_x;
          int64_t kx = 0;
          for (; kx + kLinkedTaps <= s.kernel_x; kx += kLinkedTaps)
            linked_taps<kLinkedTaps>(from + kx * kLanes, in.padded_width, grad, s.out_height, s.out_width, to + kx);
          for (; kx < s.kernel_x; ++kx)
            linked_taps<1>(from + kx * kLanes, in.padded_width, grad, s.out_height, s.out_width, to + kx);
        }
  });
  for (int64_t part = 1; part * kLanes < s.batch; ++part)
    for (int64_t i = 0; i < kernels; ++i) parts[i] += parts[part * kernels + i];
}

}  // namespace
}  // namespace striate
