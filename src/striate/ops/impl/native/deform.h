// Deformable convolution over channels-last images: each place that a kernel reads is moved by an offset of its own.
//
// Forward, the moved places of some pixels are read into rows and multiplied with the kernels. The channels that share
// a group of kernels and a group of offsets are a segment; rows are laid out as segment, tap, channel of the segment.
// Backward, the gradients of those rows are spread again: a thread owns images and a slice of channels, so no two
// threads add to one place, and the order of all sums is fixed.
#pragma once
#include "kernels.h"
#include "matrix.h"
#include "scratch.h"
#include "simd.h"
#include "threads.h"

namespace striate {
namespace {

constexpr int64_t kDeformSlice = 64;  // channels of a slice: a multiple of kPanel with every instruction set

// The four pixels around a moved place: upper left, upper right, lower left, lower right.
struct Corners {
  const float* pixels[4];  // zeros outside the image
  int64_t places[4];       // where that is in the image, in floats; -1 outside
  float weights[4];
  float y_share, x_share;  // how far the place is below and right of the upper left corner
  float factor;            // the mask
};

// Everything that stays the same for one call.
struct Deform {
  const DeformShape s;
  const float* x;
  const float* offset;  // N x Ho x Wo x offset group x tap x (y, x)
  const float* mask;    // N x Ho x Wo x offset group x tap, or null
  const Zeros zeros;
  const int64_t taps, pixels, width;  // width: channels of a segment

  Deform(const DeformShape& s, const float* x, const float* offset, const float* mask)
      : s(s), x(x), offset(offset), mask(mask), zeros(s.channels + kLanes), taps(s.kernel_y * s.kernel_x),
        pixels(s.batch * s.out_height * s.out_width), width(s.channels / s.segments) {}

  int64_t group(int64_t segment) const { return segment * width / (s.channels / s.groups); }
  int64_t offset_group(int64_t segment) const { return segment * width / (s.channels / s.offset_groups); }

  // Where an output stands, which is counted through all images.
  struct Pixel {
    int64_t number, y, x;  // y, x: of the input that its first tap would read if nothing were moved
    const float* image;
  };
  Pixel pixel(int64_t number) const {
    const int64_t row = number / s.out_width;
    return {number, row % s.out_height * s.stride_y - s.low_y, number % s.out_width * s.stride_x - s.low_x,
            x + row / s.out_height * s.height * s.width * s.channels};
  }

  // Call body(tap, corners) for every tap of an output and a segment.
  template <class Body>
  STRIATE_INLINE void for_taps(const Pixel& pixel, int64_t segment, const Body& body) const {
    const float* const image = pixel.image + segment * width;
    int64_t entry = (pixel.number * s.offset_groups + offset_group(segment)) * taps, tap = 0;
    for (int64_t ky = 0; ky < s.kernel_y; ++ky)
      for (int64_t kx = 0; kx < s.kernel_x; ++kx, ++tap, ++entry)
        body(tap, around(image, offset[2 * entry] + (pixel.y + ky * s.dilation_y),
                         offset[2 * entry + 1] + (pixel.x + kx * s.dilation_x), mask == nullptr ? 1.0f : mask[entry]));
  }

 private:
  STRIATE_INLINE Corners around(const float* image, float y, float x_place, float factor) const {
    // a place beyond the border reads nothing; one that is no number is kept, so that its results are none either
    const bool beyond = y < -1 || y > s.height || x_place < -1 || x_place > s.width;
    const bool number = y == y && x_place == x_place;
    const float top = beyond || !number ? 0.0f : __builtin_floorf(y);
    const float left = beyond || !number ? 0.0f : __builtin_floorf(x_place);
    Corners c;
    c.y_share = beyond ? 0.0f : y - top;
    c.x_share = beyond ? 0.0f : x_place - left;
    c.factor = factor;
    for (int i = 0; i < 4; ++i) {
      const int64_t row = static_cast<int64_t>(top) + i / 2, column = static_cast<int64_t>(left) + i % 2;
      const bool there = !beyond && row >= 0 && row < s.height && column >= 0 && column < s.width;
      c.places[i] = there ? (row * s.width + column) * s.channels : -1;
      c.pixels[i] = there ? image + c.places[i] : zeros.row;
      c.weights[i] = (i / 2 ? c.y_share : 1 - c.y_share) * (i % 2 ? c.x_share : 1 - c.x_share);
    }
    return c;
  }
};

// Channels [first, first + channels) of what a moved place reads.
inline void read_place(const Corners& corners, int64_t first, int64_t channels, float* out) {
  Floats weights[4];
  const float* from[4];
  for (int i = 0; i < 4; ++i) {
    weights[i] = all(corners.weights[i] * corners.factor);
    from[i] = corners.pixels[i] + first;
  }
  for_channels(channels, [&](int64_t c, int64_t, int64_t count) STRIATE_INLINE_LAMBDA {
    Floats sum = {};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum += weights[i] * load_first(from[i] + c, count);
    store_first(out + c, sum, count);
  });
}

constexpr int64_t kDepthAtOnce = 384;  // rows of a panel that stay in the second-level cache between multiplications

// How many pixels of `floats` each a thread takes at once: most of a second-level cache, in rows of the micro-kernel.
inline int64_t pixels_at_once(int64_t floats) {
  const int64_t fit = 128 * 1024 / floats / kRows * kRows;
  return fit < 2 * kRows ? 2 * kRows : (fit > 16 * kRows ? 16 * kRows : fit);
}

void deform_conv(const float* x, const float* offset, const float* mask, const float* w, const float* bias, float* y,
                 const DeformShape* shape, int threads) {
  const Deform d(*shape, x, offset, mask);
  const DeformShape& s = d.s;
  const int64_t depth = s.channels / s.groups * d.taps, row = s.channels * d.taps + kLanes;
  const int64_t outputs = s.out_channels / s.groups, panels = (outputs + kPanel - 1) / kPanel;
  // many pixels at once, for which the weights are read from memory once, but no fewer blocks than threads
  const int64_t even = (d.pixels / (threads > 1 ? 2 * threads : 1) + kRows) / kRows * kRows;
  const int64_t block = even < 16 * kRows ? even : 16 * kRows;
  parallel_for(d.pixels, block, threads, [=, &d, &s](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    float* const read = scratch.floats(block * (row + panels * kPanel));
    float* const result = read + block * row;
    for (int64_t number = begin; number < end; ++number) {
      const Deform::Pixel pixel = d.pixel(number);
      float* to = read + (number - begin) * row;
      for (int64_t segment = 0; segment < s.segments; ++segment, to += d.taps * d.width)
        d.for_taps(pixel, segment, [&](int64_t tap, const Corners& corners) STRIATE_INLINE_LAMBDA {
          read_place(corners, 0, d.width, to + tap * d.width);
        });
    }
    for (int64_t group = 0; group < s.groups; ++group) {
      for (int64_t at = 0; at < depth; at += kDepthAtOnce)
        for (int64_t panel = 0; panel < panels; ++panel)
          multiply(read + group * depth + at, row, w + ((group * panels + panel) * depth + at) * kPanel,
                   result + panel * kPanel, panels * kPanel, end - begin,
                   depth - at < kDepthAtOnce ? depth - at : kDepthAtOnce, at > 0);
      for (int64_t pixel = begin; pixel < end; ++pixel)
        for (int64_t k = 0; k < outputs; ++k) {
          const float value = result[(pixel - begin) * panels * kPanel + k];
          const int64_t channel = group * outputs + k;
          y[pixel * s.out_channels + channel] = bias == nullptr ? value : value + bias[channel];
        }
    }
  });
}

// One slice of a segment's channels.
struct DeformSlice {
  int64_t segment, first, channels, number;  // number: among all slices
  DeformSlice(const Deform& d, int64_t number) : number(number) {
    const int64_t of_each = (d.width + kDeformSlice - 1) / kDeformSlice;
    segment = number / of_each;
    first = number % of_each * kDeformSlice;
    channels = d.width - first < kDeformSlice ? d.width - first : kDeformSlice;
  }
};

// Adds the gradient `grad` of what a place read to its corners (image: the gradient of the input), and returns in
// `moves` the gradients of the offset's y and x and of the mask.
inline void spread_place(const Corners& corners, const float* grad, int64_t first, int64_t channels, float* image,
                         float* moves) {
  Floats products[4] = {}, weights[4];
  for (int i = 0; i < 4; ++i) weights[i] = all(corners.weights[i] * corners.factor);
  for_channels(channels, [&](int64_t c, int64_t done, int64_t count) STRIATE_INLINE_LAMBDA {
    const Ints fresh = lane_numbers() >= static_cast<int32_t>(done);
    const Floats there = load_first(grad + c, count);
    const Floats value = fresh ? there : Floats{};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      products[i] += value * load_first(corners.pixels[i] + first + c, count);
      if (corners.places[i] < 0) continue;
      float* const place = image + corners.places[i] + c;
      store_first(place, load_first(place, count) + value * weights[i], count);
    }
  });
  float f[kLanes], read = 0.0f;
  sums_of_four(products, f);
  for (int i = 0; i < 4; ++i) read += f[i] * corners.weights[i];
  moves[0] = corners.factor * ((1 - corners.x_share) * (f[2] - f[0]) + corners.x_share * (f[3] - f[1]));
  moves[1] = corners.factor * ((1 - corners.y_share) * (f[1] - f[0]) + corners.y_share * (f[3] - f[2]));
  moves[2] = read;
}

// The working memory of one job of the backward pass, for `block` pixels.
struct DeformWork {
  Corners* corners;  // pixel, tap
  float* read;       // pixel, tap, channel of the slice
  float* grads;      // the same, channels padded to a panel
  float* outputs;    // panel of output channels, pixel, channel of the panel: the gradients that come in
};

// The images from `first` to `last`, one slice of channels.
inline void deform_backward_slice(const Deform& d, const DeformSlice& slice, const float* w, const float* grad_y,
                                  float* grad_x, float* moves, float* grad_w, int64_t block, const DeformWork& work,
                                  int64_t first, int64_t last) {
  const DeformShape& s = d.s;
  const int64_t outputs = s.out_channels / s.groups, out_panels = (outputs + kPanel - 1) / kPanel;
  const int64_t row = (slice.channels + kPanel - 1) / kPanel * kPanel, of_image = s.out_height * s.out_width;
  const int64_t panels_of_segment = (d.width + kPanel - 1) / kPanel;
  const int64_t first_channel = slice.segment * d.width + slice.first;
  for (int64_t begin = first * of_image; begin < last * of_image;) {
    const int64_t image = begin / of_image, left = (image + 1) * of_image - begin, count = left < block ? left : block;
    const float* const grad = grad_y + begin * s.out_channels + d.group(slice.segment) * outputs;
    for (int64_t p = 0; p < count; ++p)
      d.for_taps(d.pixel(begin + p), slice.segment, [&](int64_t tap, const Corners& corners) STRIATE_INLINE_LAMBDA {
        work.corners[p * d.taps + tap] = corners;
        read_place(corners, slice.first, slice.channels, work.read + (p * d.taps + tap) * row);
      });
    for (int64_t tap = 0; tap < d.taps; ++tap)
      for (int64_t c = 0; c < row; c += kPanel)
        multiply(grad, s.out_channels,
                 w + ((slice.segment * d.taps + tap) * panels_of_segment + (slice.first + c) / kPanel) * outputs * kPanel,
                 work.grads + tap * row + c, d.taps * row, count, outputs);
    for (int64_t panel = 0; panel < out_panels; ++panel) {
      float* const packed = work.outputs + panel * count * kPanel;
      for (int64_t p = 0; p < count; ++p)
        for (int64_t k = 0; k < kPanel; ++k)
          packed[p * kPanel + k] = panel * kPanel + k < outputs ? grad[p * s.out_channels + panel * kPanel + k] : 0.0f;
      for (int64_t tap = 0; tap < d.taps; ++tap)
        multiply_transposed(work.read + tap * row, d.taps * row, packed,
                            grad_w + ((slice.segment * d.taps + tap) * d.width + slice.first) * out_panels * kPanel +
                                panel * kPanel,
                            out_panels * kPanel, slice.channels, count, begin > first * of_image);
    }
    float* const own = grad_x + image * s.height * s.width * s.channels + first_channel;
    for (int64_t i = 0; i < count * d.taps; ++i)
      spread_place(work.corners[i], work.grads + i * row, slice.first, slice.channels, own,
                   moves + ((slice.number * d.pixels + begin) * d.taps + i) * 3);
    begin += count;
  }
}

// All gradients in one pass. grad_x holds zeros; moves is slice x pixel x tap x 3 (offset y, offset x, mask); grad_w
// piece x segment x tap x channel of the segment x output channel (padded), the images being cut into `pieces`.
void deform_conv_backward(const float* x, const float* offset, const float* mask, const float* w, const float* grad_y,
                          float* grad_x, float* moves, float* grad_w, const DeformShape* shape, int64_t pieces,
                          int threads) {
  const Deform d(*shape, x, offset, mask);
  const DeformShape& s = d.s;
  const int64_t slices = s.segments * ((d.width + kDeformSlice - 1) / kDeformSlice);
  const int64_t out_row = (s.out_channels / s.groups + kPanel - 1) / kPanel * kPanel;
  const int64_t row = d.taps * (d.width < kDeformSlice ? (d.width + kPanel - 1) / kPanel * kPanel : kDeformSlice);
  const int64_t block = pixels_at_once(2 * row + out_row);
  parallel_for(slices * pieces, 1, threads, [=, &d, &s](int64_t job, int64_t) {
    thread_local Scratch scratch;
    const int64_t corner_floats = block * d.taps * static_cast<int64_t>(sizeof(Corners) / sizeof(float));
    float* const memory = scratch.floats(corner_floats + block * (2 * row + out_row) + kLanes);
    float* const read = memory + corner_floats;
    const DeformWork work{reinterpret_cast<Corners*>(memory), read, read + block * row, read + block * 2 * row};
    const int64_t piece = job / slices;
    deform_backward_slice(d, DeformSlice(d, job % slices), w, grad_y, grad_x, moves,
                          grad_w + piece * s.channels * d.taps * out_row, block, work, s.batch * piece / pieces,
                          s.batch * (piece + 1) / pieces);
  });
}

}  // namespace
}  // namespace striate
