// The kernels that every instruction set compiles, as one list: name, parameters, arguments.
// All images are channels last (N x H x W x C, contiguous); `threads` is how many threads may be used.
#pragma once
#include <cstdint>

namespace striate {

// A number of bfloat16: the upper half of a float.
struct Bfloat16 {
  uint16_t bits;
};

// A pooling window over two axes; low padding only, for the outputs say where the high one ends.
struct PoolShape {
  int64_t batch, height, width, channels, out_height, out_width;
  int64_t kernel_y, kernel_x, stride_y, stride_x, low_y, low_x, dilation_y, dilation_x;
};

// A convolution of stride 1; `in_channels` and `out_channels` of one group, pixels x_pixel and y_pixel floats apart.
struct ConvShape {
  int64_t batch, height, width, in_channels, x_pixel;
  int64_t out_height, out_width, out_channels, y_pixel, low_y, low_x;
};

// A convolution with any window; `in_channels` and `out_channels` of one group, pixels x_pixel and y_pixel numbers apart.
struct DirectShape {
  int64_t batch, height, width, in_channels, x_pixel, out_height, out_width, out_channels, y_pixel;
  int64_t kernel_y, kernel_x, stride_y, stride_x, low_y, low_x, dilation_y, dilation_x;
};

// A 3 x 3 weight in any layout: how far apart (in floats) neighbours are. Negative strides turn the kernel around.
struct WeightShape {
  int64_t out_channels, in_channels, out_stride, in_stride, y_stride, x_stride;
};

// A 3 x 3 convolution in groups of `group` channels in and out; packed weights have rows of w_row channels.
struct GroupedShape {
  int64_t batch, height, width, channels, out_height, out_width, group, stride, low_y, low_x, w_row;
};

// A deformable convolution; a segment is a run of channels that share their group and their offset group.
struct DeformShape {
  int64_t batch, height, width, channels, out_height, out_width, out_channels;
  int64_t kernel_y, kernel_x, stride_y, stride_x, low_y, low_x, dilation_y, dilation_x;
  int64_t groups, offset_groups, segments;
};

// A transposed convolution; on each axis the kernel is parts * stride long. low: outputs cropped at the low end.
struct TransposeShape {
  int64_t batch, height, width, in_channels, out_height, out_width, out_channels;
  int64_t stride_y, stride_x, parts_y, parts_x, low_y, low_x;
};

// A convolution by a link table.
struct LinkedShape {
  int64_t batch, in_channels, height, width, out_channels, out_height, out_width, kernel_y, kernel_x, low_y, low_x;
};

// Where a layer's maps stand in a block of images: `rows` x `columns` places a map, of which those outside of the map
// are zeros, and neighbours of the map stand step_y and step_x places apart. A place is a vector, a lane an image.
struct SmallFrame {
  int64_t channels, height, width, rows, columns, low_y, low_x, step_y, step_x;
  int64_t at;  // the frame's first place within the block's memory
};

// Channels (of a layer's output, or of its input for the turned ones) that are linked to the same channels of the other
// side, by links first_link ... end_link - 1. The weights of neighbouring channels stand `weight_step` apart.
struct SmallBlock {
  int64_t first_channel, channels, first_link, end_link;
};

// A channel of the other side and where the kernel of the link stands in the weight, for the block's first channel.
struct SmallLink {
  int64_t channel, kernel;
};

enum SmallKind : int64_t { kSmallInput, kSmallConv, kSmallDense, kSmallMaxPool, kSmallAvgPool, kSmallSubsample, kSmallRbf, kSmallSame };
enum SmallActivation : int64_t { kSmallLinear, kSmallRelu, kSmallTanh, kSmallSigmoid };

// One layer of a small network and its activation; the first one is the input itself.
struct SmallLayer {
  int64_t kind, activation;
  float amplitude, slope;  // amplitude * activation(slope * x), for the rectifier and the line amplitude alone
  SmallFrame values, grads;  // of its output: grads as its own backward pass needs them
  int64_t kernel_y, kernel_x, stride_y, stride_x, low_y, low_x, dilation_y, dilation_x;
  int64_t mean;  // pooling: divide by the number of inputs under the window
  const SmallBlock *blocks, *turned_blocks;
  const SmallLink *links, *turned_links;
  int64_t block_count, turned_block_count, weight_step, turned_weight_step;
  const float *weight, *bias;
  float *grad_weight, *grad_bias;  // null: not wanted
  int64_t weights, parts_at, copies_at;  // how many weights; where in the backward pass's memory
};

// A batch, and the working memory: a block's values and gradients in places, a block's parts in floats.
struct SmallShape {
  int64_t layers, batch, values, grads, parts, lowest;  // lowest: the first layer whose gradients by its output are wanted
};

#define STRIATE_KERNELS(KERNEL)                                                                                       \
  KERNEL(lrn_forward,                                                                                                 \
         (const float* x, float* y, int64_t pixels, int64_t channels, int64_t size, float alpha, float k, int threads), \
         (x, y, pixels, channels, size, alpha, k, threads))                                                           \
  KERNEL(lrn_backward,                                                                                                \
         (const float* x, const float* grad_y, float* grad_x, int64_t pixels, int64_t channels, int64_t size,         \
          float alpha, float k, int threads),                                                                         \
         (x, grad_y, grad_x, pixels, channels, size, alpha, k, threads))                                              \
  KERNEL(max_pool_forward, (const float* x, float* y, uint8_t* taps, const PoolShape* shape, int threads),             \
         (x, y, taps, shape, threads))                                                                                \
  KERNEL(max_pool_forward_values, (const float* x, float* y, const PoolShape* shape, int threads),                     \
         (x, y, shape, threads))                                                                                      \
  KERNEL(max_pool_forward_bf16, (const Bfloat16* x, Bfloat16* y, const PoolShape* shape, int threads),                \
         (x, y, shape, threads))                                                                                      \
  KERNEL(max_pool_forward_bf16_taps,                                                                                  \
         (const Bfloat16* x, Bfloat16* y, uint8_t* taps, const PoolShape* shape, int threads),                        \
         (x, y, taps, shape, threads))                                                                                \
  KERNEL(max_pool_backward,                                                                                           \
         (const float* grad_y, const uint8_t* taps, float* grad_x, const PoolShape* shape, int threads),              \
         (grad_y, taps, grad_x, shape, threads))                                                                      \
  KERNEL(max_pool_backward_bf16,                                                                                      \
         (const Bfloat16* grad_y, const uint8_t* taps, Bfloat16* grad_x, const PoolShape* shape, int threads),        \
         (grad_y, taps, grad_x, shape, threads))                                                                      \
  KERNEL(winograd_conv_pack,                                                                                          \
         (const float* w, float* packed, const WeightShape* shape, int64_t tile, int threads),                        \
         (w, packed, shape, tile, threads))                                                                           \
  KERNEL(winograd_conv,                                                                                               \
         (const float* x, const float* packed, const float* bias, const float* other, float* y,                       \
          const ConvShape* shape, int64_t relu, int64_t tile, int64_t block, int64_t chunk, int threads),             \
         (x, packed, bias, other, y, shape, relu, tile, block, chunk, threads))                                       \
  KERNEL(winograd_conv_stored_bf16,                                                                                   \
         (const Bfloat16* x, const float* packed, const float* bias, const Bfloat16* other, Bfloat16* y,              \
          const ConvShape* shape, int64_t relu, int64_t block, int64_t chunk, int threads),                           \
         (x, packed, bias, other, y, shape, relu, block, chunk, threads))                                             \
  KERNEL(winograd_conv_grad_weight,                                                                                   \
         (const float* x, const float* grad_y, float* grad_w, const ConvShape* shape, int64_t tile, int64_t chunk,     \
          int64_t parts, int threads),                                                                                \
         (x, grad_y, grad_w, shape, tile, chunk, parts, threads))                                                     \
  KERNEL(direct_conv,                                                                                                 \
         (const float* x, const float* packed, const float* bias, const float* other, float* y,                       \
          const DirectShape* shape, int64_t relu, int64_t chunk, int64_t group, int threads),                         \
         (x, packed, bias, other, y, shape, relu, chunk, group, threads))                                             \
  KERNEL(grouped_conv,                                                                                                \
         (const float* x, const float* w, const float* bias, float* y, const GroupedShape* shape, int threads),       \
         (x, w, bias, y, shape, threads))                                                                             \
  KERNEL(grouped_conv_grad_input_strided,                                                                             \
         (const float* grad_y, const float* w, float* grad_x, const GroupedShape* shape, int threads),                \
         (grad_y, w, grad_x, shape, threads))                                                                         \
  KERNEL(grouped_conv_grad_weight,                                                                                    \
         (const float* x, const float* grad_y, float* sums, const GroupedShape* shape, int64_t pieces, int threads),  \
         (x, grad_y, sums, shape, pieces, threads))                                                                   \
  KERNEL(depthwise_conv_gradients,                                                                                    \
         (const float* x, const float* w, const float* grad_y, float* grad_x, float* sums, const GroupedShape* shape, \
          int64_t pieces, int threads),                                                                               \
         (x, w, grad_y, grad_x, sums, shape, pieces, threads))                                                        \
  KERNEL(deform_conv,                                                                                                 \
         (const float* x, const float* offset, const float* mask, const float* w, const float* bias, float* y,        \
          const DeformShape* shape, int threads),                                                                     \
         (x, offset, mask, w, bias, y, shape, threads))                                                               \
  KERNEL(deform_conv_backward,                                                                                        \
         (const float* x, const float* offset, const float* mask, const float* w, const float* grad_y, float* grad_x, \
          float* moves, float* grad_w, const DeformShape* shape, int64_t pieces, int threads),                        \
         (x, offset, mask, w, grad_y, grad_x, moves, grad_w, shape, pieces, threads))                                 \
  KERNEL(conv_transpose,                                                                                              \
         (const float* x, const float* w, const float* bias, float* y, float* patches, const TransposeShape*          \
          shape, int threads),                                                                                        \
         (x, w, bias, y, patches, shape, threads))                                                                    \
  KERNEL(conv_transpose_grad_input,                                                                                   \
         (const float* grad_y, const float* w, float* grad_x, float* grad_patches, const TransposeShape* shape,       \
          int threads),                                                                                               \
         (grad_y, w, grad_x, grad_patches, shape, threads))                                                           \
  KERNEL(conv_transpose_grad_weight,                                                                                  \
         (const float* x, const float* grad_y, float* grad_w, float* patches, const TransposeShape* shape, int        \
          threads),                                                                                                   \
         (x, grad_y, grad_w, patches, shape, threads))                                                                \
  KERNEL(conv_transpose_depthwise,                                                                                    \
         (const float* x, const float* w, const float* bias, float* y, const TransposeShape* shape, int threads),     \
         (x, w, bias, y, shape, threads))                                                                             \
  KERNEL(conv_transpose_depthwise_grad_input,                                                                         \
         (const float* grad_y, const float* w, float* grad_x, const TransposeShape* shape, int threads),              \
         (grad_y, w, grad_x, shape, threads))                                                                         \
  KERNEL(conv_transpose_depthwise_grad_weight,                                                                        \
         (const float* x, const float* grad_y, float* grad_w, const TransposeShape* shape, int threads),              \
         (x, grad_y, grad_w, shape, threads))                                                                         \
  KERNEL(scaled_tanh_forward,                                                                                         \
         (const float* x, float* y, int64_t count, float amplitude, float slope, int threads),                        \
         (x, y, count, amplitude, slope, threads))                                                                    \
  KERNEL(scaled_tanh_backward,                                                                                        \
         (const float* y, const float* grad_y, float* grad_x, int64_t count, float amplitude, float slope, int        \
          threads),                                                                                                   \
         (y, grad_y, grad_x, count, amplitude, slope, threads))                                                       \
  KERNEL(linked_conv,                                                                                                 \
         (const float* x, const int64_t* strides, const float* w, const int64_t* first_link, const int64_t* links,    \
          const float* bias, float* y, const int64_t* y_strides, const LinkedShape* shape, int threads),              \
         (x, strides, w, first_link, links, bias, y, y_strides, shape, threads))                                      \
  KERNEL(linked_conv_grad_weight,                                                                                     \
         (const float* x, const int64_t* strides, const float* grad_y, const int64_t* grad_strides, const int64_t*    \
          first_link, const int64_t* links, float* parts, const LinkedShape* shape, int threads),                     \
         (x, strides, grad_y, grad_strides, first_link, links, parts, shape, threads))                     \
  KERNEL(small_forward,                                                                                               \
         (const SmallLayer* layers, const SmallShape* shape, const float* x, const int64_t* strides, float* kept,     \
          float* y, int threads),                                                                                     \
         (layers, shape, x, strides, kept, y, threads))                                                               \
  KERNEL(small_backward,                                                                                              \
         (const SmallLayer* layers, const SmallShape* shape, const float* kept, const float* grad_y, float* parts,    \
          float* copies, float* grad_x, int threads),                                                                 \
         (layers, shape, kept, grad_y, parts, copies, grad_x, threads))

// Kernels whose products are of bfloat16, for instruction sets that have such a product.
#define STRIATE_BFLOAT16_KERNELS(KERNEL)                                                                              \
  KERNEL(direct_conv_bf16,                                                                                            \
         (const Bfloat16* x, const Bfloat16* packed, const float* bias, const Bfloat16* other, Bfloat16* y,           \
          const DirectShape* shape, int64_t relu, int64_t chunk, int64_t group, int threads),                         \
         (x, packed, bias, other, y, shape, relu, chunk, group, threads))                                             \
  KERNEL(winograd_conv_bf16_pack,                                                                                     \
         (const float* w, Bfloat16* packed, const WeightShape* shape, int64_t down, int64_t across, int threads),     \
         (w, packed, shape, down, across, threads))                                                                   \
  KERNEL(winograd_conv_bf16,                                                                                          \
         (const Bfloat16* x, const Bfloat16* packed, const float* bias, const Bfloat16* other, Bfloat16* y,           \
          const ConvShape* shape, int64_t relu, int64_t down, int64_t across, int64_t block, int64_t chunk,           \
          int threads),                                                                                               \
         (x, packed, bias, other, y, shape, relu, down, across, block, chunk, threads))                               \
  KERNEL(winograd_conv_bf16_grad_weight,                                                                              \
         (const Bfloat16* x, const Bfloat16* grad_y, float* grad_w, const ConvShape* shape, int64_t chunk,            \
          int64_t parts, int threads),                                                                                \
         (x, grad_y, grad_w, shape, chunk, parts, threads))

// One instruction set's kernels.
struct Kernels {
  const char* name;
  int64_t panel;  // packed weights are padded to a multiple of so many output channels
#define STRIATE_POINTER(name, parameters, arguments) void(*name) parameters;
  STRIATE_KERNELS(STRIATE_POINTER)
#undef STRIATE_POINTER
};

struct Bfloat16Kernels {
#define STRIATE_POINTER(name, parameters, arguments) void(*name) parameters;
  STRIATE_BFLOAT16_KERNELS(STRIATE_POINTER)
#undef STRIATE_POINTER
};

extern const Kernels plain_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif
#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 11)
#define STRIATE_AVX512_BF16
extern const Bfloat16Kernels avx512_bf16_kernels;  // beside avx512_kernels
#endif

}  // namespace striate
