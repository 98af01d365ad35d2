"""Winograd convolution of images (`winograd.h`): packing weights, computing, the two gradients; no autograd here.

`tile` is m of F(m x m, 3 x 3): 4 multiplies four times less than the direct way, 2 two and a quarter times less at
about half the rounding error (measured in docs/performance.md). `padding` is (low, high) of y, then of x.

Images may be of bfloat16. Then the products are of float32, tiles of 4 x 4, or of bfloat16, tiles of 2 x 2, 4 x 2 or
4 x 4; bfloat16 rounds the transformed images and weights, so its error grows with the tile.
"""

import ctypes
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from striate.ops.impl.native import plan
from striate.ops.impl.native.library import as_channels_last, empty, empty_images, kernel, panel

_pack = kernel("winograd_conv_pack", "ttsi")
_conv = kernel("winograd_conv", "tttttsiiii")
_conv_stored_bf16 = kernel("winograd_conv_stored_bf16", "tttttsiii")
_pack_bf16 = kernel("winograd_conv_bf16_pack", "ttsii")
_conv_bf16 = kernel("winograd_conv_bf16", "tttttsiiiii")
_grad_weight = kernel("winograd_conv_grad_weight", "tttsiii")
_grad_weight_bf16 = kernel("winograd_conv_bf16_grad_weight", "tttsii")

_CACHE = 768 * 1024  # bytes of transformed tiles that one thread works on: most of a second-level cache
_SHARED_CACHE = 8 * 1024 * 1024  # bytes of transformed tiles that all threads share
_MOST_PARTS = 8  # in which the gradient of the weights is summed
_PART = 6144  # positions of a part at least: adding up the parts' sums takes its time too
_MOST_SUMS = 24 * 1024 * 1024  # bytes of their sums
_NEAR_SUMS = 4 * 1024 * 1024  # bytes of a part's sums that are read and written again and again at little cost
_CHUNKS = 32 * 1024 * 1024  # bytes of the transformed tiles that are else summed at a time, of all parts together
_LARGEST_IN_BLOCKS = 4 * 256 * 256  # bytes of channels x channels: larger ones are not read again for each block


class ConvShape(ctypes.Structure):
    """`ConvShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("batch", "height", "width", "in_channels", "x_pixel"),
            *("out_height", "out_width", "out_channels", "y_pixel", "low_y", "low_x"),
        )
    ]


class WeightShape(ctypes.Structure):
    """`WeightShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("out_channels", "in_channels", "out_stride", "in_stride", "y_stride", "x_stride")
    ]


class Packed(NamedTuple):
    """Transformed weights, one tensor per group: for the instruction set and the tile they were made for."""

    groups: tuple[Tensor, ...]
    tile: tuple[int, int]  # outputs down and across
    in_channels: int  # of one group
    out_channels: int


def pack(w: Tensor, groups: int, tile: int) -> Packed:
    """Transform the kernels of a convolution, P x D/groups x 3 x 3 in any layout."""
    outputs, inputs = w.shape[0] // groups, w.shape[1]
    parts = (_packed(part, outputs, inputs, w.stride(), tile) for part in torch.tensor_split(w, groups))
    return Packed(tuple(parts), (tile, tile), inputs, outputs)


def pack_bf16(w: Tensor, groups: int, tile: tuple[int, int]) -> Packed:
    """Transform the same kernels (of float32) for products of bfloat16: rounded once, after they were transformed."""
    outputs, inputs = w.shape[0] // groups, w.shape[1]
    parts = (_packed_bf16(part, outputs, inputs, w.stride(), tile) for part in torch.tensor_split(w, groups))
    return Packed(tuple(parts), tile, inputs, outputs)


def pack_transposed(w: Tensor, groups: int, tile: int) -> Packed:
    """Transform the same kernels for the gradient of the input: turned around, outputs and inputs exchanged."""
    outputs, inputs = w.shape[0] // groups, w.shape[1]
    parts = (_packed(part, inputs, outputs, strides, tile) for part, strides in _backwards(w, groups))
    return Packed(tuple(parts), (tile, tile), outputs, inputs)


def pack_transposed_bf16(w: Tensor, groups: int, tile: tuple[int, int]) -> Packed:
    """Transform them for the gradient of the input with products of bfloat16."""
    outputs, inputs = w.shape[0] // groups, w.shape[1]
    parts = (_packed_bf16(part, inputs, outputs, strides, tile) for part, strides in _backwards(w, groups))
    return Packed(tuple(parts), tile, outputs, inputs)


def _backwards(w: Tensor, groups: int) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Return each group's kernels from their last place on, and the strides that lead back."""
    k, c, y, x = w.stride()
    return ((part[:, :, 2:, 2:], (c, k, -y, -x)) for part in torch.tensor_split(w, groups))


def _packed_bf16(w: Tensor, outputs: int, inputs: int, strides: tuple[int, ...], tile: tuple[int, int]) -> Tensor:
    places, padded, even = (tile[0] + 2) * (tile[1] + 2), -(-outputs // panel()) * panel(), -(-inputs // 2) * 2
    result = torch.empty(places * padded * even, dtype=torch.bfloat16, device="cpu")
    _pack_bf16(w, result, WeightShape(outputs, inputs, *strides), *tile)
    return result


def _packed(w: Tensor, outputs: int, inputs: int, strides: tuple[int, ...], tile: int) -> Tensor:
    padded = -(-outputs // panel()) * panel()
    result = empty((tile + 2) ** 2 * padded * inputs)
    _pack(w, result, WeightShape(outputs, inputs, *strides), tile)
    return result


class Plan(plan.Plan):
    """How images of one shape are convolved by Winograd's filtering."""

    def __init__(
        self, packed: Packed, images: Sequence[int], dtype: torch.dtype, padding: tuple[int, int, int, int]
    ) -> None:
        """images: N x C x H x W."""
        n, channels, h, w = images
        inputs, outputs = packed.in_channels, packed.out_channels
        size = (n, outputs * len(packed.groups), h + sum(padding[:2]) - 2, w + sum(padding[2:]) - 2)
        shape = ConvShape(n, h, w, inputs, channels, *size[2:], outputs, size[1], padding[0], padding[2])
        products = packed.groups[0].dtype
        pieces = _pieces(inputs, outputs, packed.tile, products.itemsize)
        words: tuple[int, ...]
        if products == torch.bfloat16:
            compute, words = _conv_bf16, (*packed.tile, *pieces)
        elif dtype == torch.bfloat16:
            compute, words = _conv_stored_bf16, pieces
        else:
            compute, words = _conv, (packed.tile[0], *pieces)
        super().__init__(compute, packed.groups, (inputs, outputs), size, shape, words, dtype)


def conv(
    x: Tensor,
    packed: Packed,
    bias: Tensor | None,
    padding: tuple[int, int, int, int],
    *,
    other: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Return the convolution of x (N x C x H x W), plus bias, plus `other`, through a ReLU, channels last."""
    return Plan(packed, x.shape, x.dtype, padding)(x, bias, other, relu=relu)


def grad_weight(x: Tensor, grad: Tensor, groups: int, padding: tuple[int, int, int, int], tile: int = 4) -> Tensor:
    """Return the gradient of the weights of a convolution of x for `grad` at its outputs, P x D/groups x 3 x 3.

    It is of float32 and channels last, as images and weights are in training: what adds it up copies nothing. x and
    grad are of float32, or of bfloat16: then the products are too, and tiles are of 4 x 2 outputs whatever `tile` says.
    """
    x, grad = as_channels_last(x), as_channels_last(grad)
    inputs, outputs = x.shape[1] // groups, grad.shape[1] // groups
    result = empty_images(groups * outputs, inputs, 3, 3)
    in_bf16 = x.dtype == torch.bfloat16
    outline = (4, 2) if in_bf16 else (tile, tile)
    tiles = grad.shape[0] * math.prod(-(-n // m) for n, m in zip(grad.shape[2:], outline, strict=True))
    parts, chunk = _shares(inputs, outputs, outline, tiles, x.dtype.itemsize)
    for group in range(groups):
        shape = _shape(x, grad, inputs, outputs, padding)
        operands = (x[:, group * inputs :], grad[:, group * outputs :], result[group * outputs :], shape)
        if in_bf16:
            _grad_weight_bf16(*operands, chunk, parts)
        else:
            _grad_weight(*operands, tile, chunk, parts)
    return result


def _shape(x: Tensor, y: Tensor, inputs: int, outputs: int, padding: tuple[int, int, int, int]) -> ConvShape:
    n, channels, h, w = x.shape
    return ConvShape(n, h, w, inputs, channels, y.shape[2], y.shape[3], outputs, y.shape[1], padding[0], padding[2])


def _pieces(inputs: int, outputs: int, tile: tuple[int, int], itemsize: int) -> tuple[int, int]:
    """Return (tiles of a thread's block, 0 to share each step among the threads; tiles of a shared chunk)."""
    tile_bytes = (tile[0] + 2) * (tile[1] + 2) * (itemsize * inputs + 4 * outputs)
    if inputs * outputs * itemsize <= _LARGEST_IN_BLOCKS:
        return _even(_CACHE // tile_bytes, 12, 96), 0
    return 0, _even(_SHARED_CACHE * 2 // tile_bytes, 96, 1536)


def _shares(inputs: int, outputs: int, tile: tuple[int, int], tiles: int, itemsize: int) -> tuple[int, int]:
    """Return (in how many parts the gradient of the weights is summed, tiles of a chunk), whatever the threads.

    Each chunk reads and writes its part's sums: where these do not stay in a cache, chunks are few and large.
    """
    places = (tile[0] + 2) * (tile[1] + 2)
    tile_bytes, sums = itemsize * places * (inputs + outputs), 4 * places * inputs * outputs
    most = min(_MOST_PARTS, _MOST_SUMS // sums, tiles * tile[0] * tile[1] // _PART)
    parts = 1 << max(0, most.bit_length() - 1)  # of three parts two threads would each wait for the other
    chunk_bytes = 2 * _CACHE if sums <= _NEAR_SUMS else _CHUNKS // parts
    most = max(48, min(1536, chunk_bytes // tile_bytes))
    in_part = -(-tiles // parts)
    chunk = -(-in_part // max(1, -(-in_part // most)))
    return parts, chunk + chunk % 2  # tiles of bfloat16 are taken in pairs


def _even(tiles: int, least: int, most: int) -> int:
    """Return a number of tiles between two bounds that the micro-kernel's six rows divide."""
    return max(least, min(most, tiles // 6 * 6))
