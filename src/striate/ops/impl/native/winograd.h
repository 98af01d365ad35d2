// 3 x 3 convolution of stride 1 over channels-last images by Winograd's minimal filtering.
//
// The outputs are cut into tiles of m x n. For each of the a * b = (m + 2) * (n + 2) places of a transformed tile there
// is one matrix product, (tiles x C) times (C x K): that is where the time goes, with 2.25 (2 x 2), 3 (4 x 2) or 4 (4 x 4)
// times fewer multiplications than the direct way. Tiles are taken in chunks that bound the working memory.
//
// `Image` is the number images are stored in, `Number` that of the matrix products; both may be float or Bfloat16.
// Transforms, sums and what is done to the outputs are in float.
#pragma once
#include "after.h"
#include "bfloat16.h"
#include "kernels.h"
#include "matrix.h"
#include "scratch.h"
#include "simd.h"
#include "threads.h"
#include "winograd_transforms.h"

namespace striate {
namespace {

// Where a tile lies: its image, and the first row and column of its outputs.
struct Tiles {
  int64_t down, across, count;
  Tiles(const ConvShape& s, int64_t m, int64_t n)
      : down((s.out_height + m - 1) / m), across((s.out_width + n - 1) / n), count(s.batch * down * across) {}
};

struct Tile {
  int64_t image, y, x;
  Tile(const Tiles& tiles, int64_t number, int64_t m, int64_t n)
      : image(number / (tiles.down * tiles.across)),
        y(number / tiles.across % tiles.down * m),
        x(number % tiles.across * n) {}
};

// A block of Rows x Columns pixels of one vector of channels; what is outside the image is zero.
template <int Rows, int Columns, class Image>
STRIATE_INLINE void load_block(const Image* image, int64_t top, int64_t left, int64_t height, int64_t width,
                               int64_t pixel, int64_t count, Floats (&block)[Rows][Columns]) {
  if (count >= kLanes && top >= 0 && left >= 0 && top + Rows <= height && left + Columns <= width) {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < Columns; ++j) block[i][j] = load(image + ((top + i) * width + left + j) * pixel);
    return;
  }
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Columns; ++j) {
      const int64_t y = top + i, x = left + j;
      const bool there = y >= 0 && y < height && x >= 0 && x < width;
      block[i][j] = there ? load_first(image + (y * width + x) * pixel, count) : Floats{};
    }
  }
}

// B^T d B of one tile and a vector of channels from c on.
template <int M, int N, class Image, int A, int B>
STRIATE_INLINE void input_of(const Image* x, const ConvShape& s, const Tile& tile, int64_t c, Floats (&transformed)[A][B]) {
  const Image* const image = x + tile.image * s.height * s.width * s.x_pixel;
  Floats d[A][B];
  load_block(image + c, tile.y - s.low_y, tile.x - s.low_x, s.height, s.width, s.x_pixel, s.in_channels - c, d);
  both_axes(d, transformed, Winograd<M>::input, Winograd<N>::input);
}

// B^T d B of one tile, all channels: place p of the tile goes to v + p * plane.
template <int M, int N, class Image, class Number>
inline void transform_input(const Image* x, const ConvShape& s, const Tile& tile, Number* v, int64_t plane) {
  constexpr int A = Winograd<M>::kTile, B = Winograd<N>::kTile;
  for (int64_t c = 0; c < s.in_channels; c += kLanes) {
    Floats t[A][B];
    input_of<M, N>(x, s, tile, c, t);
#pragma GCC unroll 8
    for (int i = 0; i < A; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < B; ++j) store(v + (i * B + j) * plane + c, t[i][j]);
  }
}

// A^T m A of one tile, all channels, into the image.
template <int M, int N, class Image>
inline void transform_output(const float* m, int64_t plane, const ConvShape& s, const Tile& tile,
                             const After<Image>& after, Image* y) {
  constexpr int A = Winograd<M>::kTile, B = Winograd<N>::kTile;
  const int64_t rows = s.out_height - tile.y < M ? s.out_height - tile.y : M;
  const int64_t columns = s.out_width - tile.x < N ? s.out_width - tile.x : N;
  for (int64_t k = 0; k < s.out_channels; k += kLanes) {
    const int64_t count = s.out_channels - k;
    Floats half[M][B];
#pragma GCC unroll 8
    for (int j = 0; j < B; ++j) {
      Floats column[A], transformed[M];
#pragma GCC unroll 8
      for (int i = 0; i < A; ++i) column[i] = load(m + (i * B + j) * plane + k);
      Winograd<M>::output(column, transformed);
#pragma GCC unroll 8
      for (int i = 0; i < M; ++i) half[i][j] = transformed[i];
    }
    const Floats bias = after.bias == nullptr ? Floats{} : load_first(after.bias + k, count);
    for (int i = 0; i < rows; ++i) {
      Floats row[N];
      Winograd<N>::output(half[i], row);
      for (int j = 0; j < columns; ++j) {
        const int64_t place = ((tile.image * s.out_height + tile.y + i) * s.out_width + tile.x + j) * s.y_pixel + k;
        store_after(y + place, row[j] + bias, after, place, count);
      }
    }
  }
}

// Room for the transformed tiles and their products.
template <class Number>
STRIATE_INLINE void working_memory(Scratch& scratch, int64_t tiles, int64_t products, Number** v, float** m) {
  *m = scratch.floats(products + tiles * static_cast<int64_t>(sizeof(Number)) / 4);
  *v = reinterpret_cast<Number*>(*m + products);
}

// Few channels: a thread takes a block of tiles through all three steps while they are in its cache.
template <int M, int N, class Image, class Number>
void winograd_blocks(const Image* x, const Number* packed, Image* y, const ConvShape& s, const After<Image>& after,
                     int64_t block, int threads) {
  constexpr int A = Winograd<M>::kTile, B = Winograd<N>::kTile;
  const Tiles tiles(s, M, N);
  const int64_t c_row = round_up(s.in_channels, kLanes) + kLanes, k_row = round_up(s.out_channels, kPanel) + kLanes;
  const int64_t depth = round_up(s.in_channels, Products<Number>::kDepth);
  parallel_for(tiles.count, block, threads, [=, &s](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    Number* v;
    float* m;
    working_memory(scratch, A * B * block * c_row, A * B * block * k_row, &v, &m);
    for (int64_t t = begin; t < end; ++t)
      transform_input<M, N>(x, s, Tile(tiles, t, M, N), v + (t - begin) * c_row, block * c_row);
    for (int64_t p = 0; p < A * B; ++p)
      for (int64_t k = 0; k < s.out_channels; k += kPanel)
        multiply(v + p * block * c_row, c_row, packed + (p * round_up(s.out_channels, kPanel) + k) * depth,
                 m + p * block * k_row + k, k_row, end - begin, depth);
    for (int64_t t = begin; t < end; ++t)
      transform_output<M, N>(m + (t - begin) * k_row, block * k_row, s, Tile(tiles, t, M, N), after, y);
  });
}

// Many channels: each step is shared by all threads, so that the transformed weights are read once a chunk.
template <int M, int N, class Image, class Number>
void winograd_phases(const Image* x, const Number* packed, Image* y, const ConvShape& s, const After<Image>& after,
                     int64_t chunk, int threads) {
  constexpr int A = Winograd<M>::kTile, B = Winograd<N>::kTile;
  const Tiles tiles(s, M, N);
  const int64_t c_row = round_up(s.in_channels, kLanes) + kLanes, k_row = round_up(s.out_channels, kPanel) + kLanes;
  const int64_t panels = (s.out_channels + kPanel - 1) / kPanel;
  const int64_t depth = round_up(s.in_channels, Products<Number>::kDepth);
  thread_local Scratch scratch;
  Number* v;
  float* m;
  working_memory(scratch, A * B * chunk * c_row, A * B * chunk * k_row, &v, &m);
  for (int64_t first = 0; first < tiles.count; first += chunk) {
    const int64_t count = tiles.count - first < chunk ? tiles.count - first : chunk;
    parallel_for(count, even_grain(count, threads, 1), threads, [=, &s](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        transform_input<M, N>(x, s, Tile(tiles, first + t, M, N), v + t * c_row, chunk * c_row);
    });
    parallel_for(A * B * panels, 1, threads, [=, &s](int64_t begin, int64_t end) {
      for (int64_t job = begin; job < end; ++job) {
        const int64_t p = job / panels, k = job % panels * kPanel;
        multiply(v + p * chunk * c_row, c_row, packed + (p * panels * kPanel + k) * depth, m + p * chunk * k_row + k,
                 k_row, count, depth);
      }
    });
    parallel_for(count, even_grain(count, threads, 1), threads, [=, &s](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        transform_output<M, N>(m + t * k_row, chunk * k_row, s, Tile(tiles, first + t, M, N), after, y);
    });
  }
}

// One place of the kernels of a vector of output channels and as many input channels: a vector for each of the latter.
STRIATE_INLINE void load_kernels(const float* w, const WeightShape& ws, int64_t outputs, int64_t inputs,
                                 Floats (&kernels)[kLanes]) {
  if (ws.in_stride == 1 && outputs >= kLanes && inputs >= kLanes) {
#pragma GCC unroll 16
    for (int64_t k = 0; k < kLanes; ++k) kernels[k] = load(w + k * ws.out_stride);
    transpose(kernels);
  } else if (ws.out_stride == 1 && outputs >= kLanes) {
    for (int64_t c = 0; c < kLanes; ++c) kernels[c] = c < inputs ? load(w + c * ws.in_stride) : Floats{};
  } else {
    float lanes[kLanes][kLanes] = {};
    for (int64_t k = 0; k < kLanes && k < outputs; ++k)
      for (int64_t c = 0; c < kLanes && c < inputs; ++c) lanes[c][k] = w[k * ws.out_stride + c * ws.in_stride];
    for (int64_t c = 0; c < kLanes; ++c) kernels[c] = load(lanes[c]);
  }
}

// Put kDepth rows where Products finds them: a row of floats, or two of bfloat16 interleaved.
STRIATE_INLINE void store_rows(float* to, const Floats* values) { store(to, values[0]); }

STRIATE_INLINE void store_rows(Bfloat16* to, const Floats* values) {
  const Words pairs = __builtin_convertvector(rounded(values[0]), Words) |
                      __builtin_convertvector(rounded(values[1]), Words) << 16;
  __builtin_memcpy(to, &pairs, sizeof(pairs));
}

// G g G^T of all kernels, in panels of kPanel output channels: place p, panel, input channel, channel of the panel.
template <int M, int N, class Number>
void winograd_pack(const float* w, Number* packed, const WeightShape& ws, int threads) {
  constexpr int A = Winograd<M>::kTile, B = Winograd<N>::kTile;
  constexpr int64_t kDepth = Products<Number>::kDepth;
  const auto& G = Winograd<M>::kG;
  const auto& H = Winograd<N>::kG;
  const int64_t panels = (ws.out_channels + kPanel - 1) / kPanel;
  const int64_t depth = round_up(ws.in_channels, kDepth);
  parallel_for(panels * kColumnVectors, 1, threads, [=, &ws, &G, &H](int64_t vector, int64_t) {
    const int64_t panel = vector / kColumnVectors, k = vector % kColumnVectors * kLanes;
    const int64_t outputs = ws.out_channels - vector * kLanes;
    Floats half[A][3][kLanes];  // transformed on one axis: a vector of output channels for each input channel
    for (int64_t first = 0; first < depth; first += kLanes) {
      const float* const from = w + vector * kLanes * ws.out_stride + first * ws.in_stride;
      for (int j = 0; j < 3; ++j) {
        Floats g[3][kLanes];
        for (int i = 0; i < 3; ++i)
          load_kernels(from + i * ws.y_stride + j * ws.x_stride, ws, outputs, ws.in_channels - first, g[i]);
        for (int a = 0; a < A; ++a)
          for (int64_t c = 0; c < kLanes; ++c) half[a][j][c] = G[a][0] * g[0][c] + G[a][1] * g[1][c] + G[a][2] * g[2][c];
      }
      const int64_t count = depth - first < kLanes ? depth - first : kLanes;
      for (int a = 0; a < A; ++a)
        for (int b = 0; b < B; ++b) {
          Number* const out = packed + (((a * B + b) * panels + panel) * depth + first) * kPanel + k * kDepth;
          for (int64_t c = 0; c < count; c += kDepth) {
            Floats values[kDepth];
            for (int64_t d = 0; d < kDepth; ++d)
              values[d] = H[b][0] * half[a][0][c + d] + H[b][1] * half[a][1][c + d] + H[b][2] * half[a][2][c + d];
            store_rows(out + c * kPanel, values);
          }
        }
    }
  });
}

// A g A^T of one tile of the outputs' gradient and a vector of channels from k on; zeros where there are none.
template <int M, int N, class Image, int A, int B>
STRIATE_INLINE void gradient_of(const Image* grad_y, const ConvShape& s, const Tile& tile, int64_t k,
                                Floats (&transformed)[A][B]) {
  const Image* const image = grad_y + tile.image * s.out_height * s.out_width * s.y_pixel;
  Floats d[M][N] = {};
  if (k < s.out_channels)
    load_block(image + k, tile.y, tile.x, s.out_height, s.out_width, s.y_pixel, s.out_channels - k, d);
  both_axes(d, transformed, Winograd<M>::gradient, Winograd<N>::gradient);
}

// Transform kDepth neighbouring tiles, of which `count` are there, by body(tile, result), and store them by places.
template <int A, int B, class Number, class Body>
STRIATE_INLINE void store_tiles(int64_t count, Number* to, int64_t plane, const Body& body) {
  constexpr int64_t kDepth = Products<Number>::kDepth;
  Floats transformed[kDepth][A][B] = {};
  for (int64_t t = 0; t < kDepth && t < count; ++t) body(t, transformed[t]);
  for (int i = 0; i < A; ++i)
    for (int j = 0; j < B; ++j) {
      Floats values[kDepth];
      for (int64_t t = 0; t < kDepth; ++t) values[t] = transformed[t][i][j];
      store_rows(to + (i * B + j) * plane, values);
    }
}

// The gradient of the weights, G^T [sum over tiles of (B^T d B)^T (A g A^T)] G, as K x 3 x 3 x C.
// The tiles are summed in parts, and these sums are added in the end, so that a thread can sum a part by itself: then no
// tile goes from one core's cache to another's. Where threads outnumber parts they share each step of each part. A
// chunk is a multiple of kDepth.
template <int M, int N, class Number, class Image>
void winograd_grad_weight(const Image* x, const Image* grad_y, float* grad_w, const ConvShape& s, int64_t chunk,
                          int64_t parts, int threads) {
  constexpr int A = Winograd<M>::kTile, B = Winograd<N>::kTile;
  constexpr int64_t kDepth = Products<Number>::kDepth;
  const Tiles tiles(s, M, N);
  const int64_t panels = (s.out_channels + kPanel - 1) / kPanel, k_padded = panels * kPanel;
  const int64_t c_row = round_up(s.in_channels, kLanes) + kLanes, plane = s.in_channels * k_padded;
  const int64_t memory = A * B * chunk * (c_row + k_padded) * static_cast<int64_t>(sizeof(Number)) / 4;
  // Sum tiles `begin` to `end`, by places; v: place, tile, input channel; g: place, panel, tile, channel of the panel.
  const auto sum_tiles = [=, &s](int64_t begin, int64_t end, float* room, float* sums, int threads) {
    Number* const v = reinterpret_cast<Number*>(room);
    Number* const g = v + A * B * chunk * c_row;
    for (int64_t first = begin; first < end; first += chunk) {
      const int64_t count = end - first < chunk ? end - first : chunk, groups = (count + kDepth - 1) / kDepth;
      parallel_for(groups, even_grain(groups, threads, 1), threads, [=, &s](int64_t from, int64_t to) {
        for (int64_t t = from * kDepth; t < to * kDepth; t += kDepth) {
          for (int64_t c = 0; c < s.in_channels; c += kLanes)
            store_tiles<A, B>(count - t, v + t * c_row + c * kDepth, chunk * c_row, [&](int64_t d, Floats (&result)[A][B]) {
              input_of<M, N>(x, s, Tile(tiles, first + t + d, M, N), c, result);
            });
          for (int64_t k = 0; k < k_padded; k += kLanes)
            store_tiles<A, B>(count - t, g + (k / kPanel * chunk + t) * kPanel + k % kPanel * kDepth,
                              panels * chunk * kPanel, [&](int64_t d, Floats (&result)[A][B]) {
                                gradient_of<M, N>(grad_y, s, Tile(tiles, first + t + d, M, N), k, result);
                              });
        }
      });
      parallel_for(A * B * panels, 1, threads, [=, &s](int64_t from, int64_t to) {
        for (int64_t job = from; job < to; ++job) {
          const int64_t p = job / panels, panel = job % panels;
          multiply_transposed(v + p * chunk * c_row, c_row, g + (p * panels + panel) * chunk * kPanel,
                              sums + p * plane + panel * kPanel, k_padded, s.in_channels, groups * kDepth, first > begin);
        }
      });
    }
  };
  if (parts > tiles.count) parts = tiles.count;
  const auto first_of = [=](int64_t part) { return part * tiles.count / parts; };
  const bool alone = threads > 1 && threads <= parts;
  thread_local Scratch scratch;
  float* const sums = scratch.floats(parts * A * B * plane + (alone ? 0 : memory));
  parallel_for(parts, 1, alone ? threads : 1, [=](int64_t part, int64_t) {
    thread_local Scratch own;
    sum_tiles(first_of(part), first_of(part + 1), alone ? own.floats(memory) : sums + parts * A * B * plane,
              sums + part * A * B * plane, alone ? 1 : threads);
  });
  const int64_t vectors = (s.in_channels + kLanes - 1) / kLanes;  // of input channels, turned into rows in the end
  parallel_for(vectors, 1, threads, [=, &s](int64_t vector, int64_t) {
    const int64_t first = vector * kLanes, inputs = s.in_channels - first < kLanes ? s.in_channels - first : kLanes;
    for (int64_t panel = 0; panel < s.out_channels; panel += kPanel) {
      Floats values[kColumnVectors][9][kLanes] = {};  // vector of output channels, place, input channel
      for (int64_t c = 0; c < inputs; ++c)
        for (int v = 0; v < kColumnVectors; ++v) {
          const float* const from = sums + (first + c) * k_padded + panel + v * kLanes;
          Floats half[3][B] = {};
          for (int a = 0; a < A; ++a)
            for (int b = 0; b < B; ++b) {
              Floats sum = {};
              for (int64_t part = 0; part < parts; ++part) sum += load(from + (part * A * B + a * B + b) * plane);
              for (int i = 0; i < 3; ++i) half[i][b] += Winograd<M>::kG[a][i] * sum;
            }
          for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j)
              for (int b = 0; b < B; ++b) values[v][i * 3 + j][c] += Winograd<N>::kG[b][j] * half[i][b];
        }
      for (int64_t k = panel; k < s.out_channels && k < panel + kPanel; k += kLanes)
        for (int place = 0; place < 9; ++place) {
          Floats (&rows)[kLanes] = values[(k - panel) / kLanes][place];
          transpose(rows);
          for (int64_t o = 0; o < kLanes && k + o < s.out_channels; ++o)
            store_first(grad_w + ((k + o) * 9 + place) * s.in_channels + first, rows[o], inputs);
        }
    }
  });
}

// A block of tiles for each thread, or with none a chunk for all of them.
template <int M, int N, class Image, class Number>
void winograd_forward(const Image* x, const Number* packed, Image* y, const ConvShape& shape, const After<Image>& after,
                      int64_t block, int64_t chunk, int threads) {
  block > 0 ? winograd_blocks<M, N>(x, packed, y, shape, after, block, threads)
            : winograd_phases<M, N>(x, packed, y, shape, after, chunk, threads);
}

#if defined(STRIATE_BFLOAT16_PRODUCTS)

void winograd_conv_bf16_pack(const float* w, Bfloat16* packed, const WeightShape* shape, int64_t down, int64_t across,
                             int threads) {
  down == 2     ? winograd_pack<2, 2>(w, packed, *shape, threads)
  : across == 2 ? winograd_pack<4, 2>(w, packed, *shape, threads)
                : winograd_pack<4, 4>(w, packed, *shape, threads);
}

void winograd_conv_bf16(const Bfloat16* x, const Bfloat16* packed, const float* bias, const Bfloat16* other,
                        Bfloat16* y, const ConvShape* shape, int64_t relu, int64_t down, int64_t across, int64_t block,
                        int64_t chunk, int threads) {
  const After<Bfloat16> after{bias, other, relu != 0};
  down == 2     ? winograd_forward<2, 2>(x, packed, y, *shape, after, block, chunk, threads)
  : across == 2 ? winograd_forward<4, 2>(x, packed, y, *shape, after, block, chunk, threads)
                : winograd_forward<4, 4>(x, packed, y, *shape, after, block, chunk, threads);
}

void winograd_conv_bf16_grad_weight(const Bfloat16* x, const Bfloat16* grad_y, float* grad_w, const ConvShape* shape,
                                    int64_t chunk, int64_t parts, int threads) {
  winograd_grad_weight<4, 2, Bfloat16>(x, grad_y, grad_w, *shape, chunk, parts, threads);
}

#else

void winograd_conv_pack(const float* w, float* packed, const WeightShape* shape, int64_t tile, int threads) {
  tile == 4 ? winograd_pack<4, 4>(w, packed, *shape, threads) : winograd_pack<2, 2>(w, packed, *shape, threads);
}

void winograd_conv(const float* x, const float* packed, const float* bias, const float* other, float* y,
                   const ConvShape* shape, int64_t relu, int64_t tile, int64_t block, int64_t chunk, int threads) {
  const After<float> after{bias, other, relu != 0};
  tile == 4 ? winograd_forward<4, 4>(x, packed, y, *shape, after, block, chunk, threads)
            : winograd_forward<2, 2>(x, packed, y, *shape, after, block, chunk, threads);
}

void winograd_conv_stored_bf16(const Bfloat16* x, const float* packed, const float* bias, const Bfloat16* other,
                               Bfloat16* y, const ConvShape* shape, int64_t relu, int64_t block, int64_t chunk,
                               int threads) {
  const After<Bfloat16> after{bias, other, relu != 0};
  winograd_forward<4, 4>(x, packed, y, *shape, after, block, chunk, threads);
}

void winograd_conv_grad_weight(const float* x, const float* grad_y, float* grad_w, const ConvShape* shape,
                               int64_t tile, int64_t chunk, int64_t parts, int threads) {
  tile == 4 ? winograd_grad_weight<4, 4, float>(x, grad_y, grad_w, *shape, chunk, parts, threads)
            : winograd_grad_weight<2, 2, float>(x, grad_y, grad_w, *shape, chunk, parts, threads);
}

#endif

}  // namespace
}  // namespace striate
