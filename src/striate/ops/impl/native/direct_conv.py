"""Convolution with any window the direct way (`direct_conv.h`), with weights that were packed once; no autograd here.

A dense layer is one of images of one pixel. Beside oneDNN less is done for each call, and the weights of what comes
next are fetched meanwhile: one picture gains most.
"""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from striate.geometry import Window, output_size
from striate.ops._conv import ConvForm
from striate.ops.impl.native import plan
from striate.ops.impl.native.library import (
    has_matrix_tiles,
    instruction_set,
    kernel,
    multiplies_bf16,
    older_than_sources,
    panel,
    unusable,
)

_conv = kernel("direct_conv", "tttttsiii")
_conv_bf16 = kernel("direct_conv_bf16", "tttttsiii")

_CACHE = 256 * 1024  # bytes of images that one thread works on: a part of a second-level cache
_WEIGHTS = 128 * 1024  # bytes of weights beside them
_FEWEST = 48  # outputs that are computed at a time at least: they share the reading of the weights
_FEWEST_CHANNELS = 16  # of a group, in and out: below, oneDNN is faster
_JOBS = 8  # pieces of the work at least, so that no thread waits for long


class DirectShape(ctypes.Structure):
    """`DirectShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("batch", "height", "width", "in_channels", "x_pixel", "out_height", "out_width", "out_channels"),
            *("y_pixel", "kernel_y", "kernel_x", "stride_y", "stride_x", "low_y", "low_x", "dilation_y", "dilation_x"),
        )
    ]


class Packed(NamedTuple):
    """Weights in panels of output channels, one tensor per group: for the instruction set they were made for."""

    groups: tuple[Tensor, ...]
    in_channels: int  # of one group
    out_channels: int


def multiplies_fastest(dtype: torch.dtype) -> bool:
    """Whether the kernels multiply such numbers, and are known to be faster than oneDNN with weights packed once."""
    if dtype == torch.float32:
        return instruction_set() in {"avx512", "avx2"} and older_than_sources("direct_conv") is None
    fast = dtype == torch.bfloat16 and multiplies_bf16() and not has_matrix_tiles()
    return fast and older_than_sources("direct_conv_bf16") is None


def pays(form: ConvForm, x: Tensor, w: Tensor) -> bool:
    """Whether the kernels compute this, and are known to be faster than oneDNN."""
    if not multiplies_fastest(x.dtype) or unusable(x, w, dtypes=(x.dtype,)) is not None:
        return False
    plain = form.links is None and not form.flip and not form.window.upsamples and x.ndim == 4
    return plain and min(w.shape[0] // form.groups, w.shape[1]) >= _FEWEST_CHANNELS


def pack(w: Tensor, groups: int, dtype: torch.dtype) -> Packed:
    """Lay out kernels, P x D/groups x height x width: panel, place, inputs, outputs, neighbouring inputs."""
    outputs, inputs, *kernel_size = w.shape
    outputs, width, depth = outputs // groups, panel(), 2 if dtype == torch.bfloat16 else 1
    parts = []
    for part in torch.tensor_split(w, groups):
        missing = (0, 0) * len(kernel_size) + (0, -inputs % depth, 0, -outputs % width)
        padded = torch.nn.functional.pad(part.to(dtype), missing)
        panels = padded.reshape(-1, width, padded.shape[1] // depth, depth, *kernel_size)
        parts.append(panels.permute(0, 4, 5, 2, 1, 3).contiguous())
    return Packed(tuple(parts), inputs, outputs)


class Plan(plan.Plan):
    """How images of one shape are convolved the direct way."""

    def __init__(self, packed: Packed, images: Sequence[int], dtype: torch.dtype, window: Window) -> None:
        """images: N x C x H x W, of the type of the packed weights."""
        n, channels, h, w = images
        inputs, outputs = packed.in_channels, packed.out_channels
        size = (n, outputs * len(packed.groups), *output_size((h, w), window))
        (low_y, _), (low_x, _) = window.padding
        shape = DirectShape(
            *(n, h, w, inputs, channels, *size[2:], outputs, size[1]),
            *(*window.kernel, *window.stride, low_y, low_x, *window.dilation),
        )
        row = window.kernel[0] * window.kernel[1] * inputs * dtype.itemsize
        pieces = _pieces(row, n * size[2] * size[3], outputs)
        compute = _conv_bf16 if dtype == torch.bfloat16 else _conv
        super().__init__(compute, packed.groups, (inputs, outputs), size, shape, pieces, dtype)


def _pieces(row: int, positions: int, channels: int) -> tuple[int, int]:
    """Return (outputs, panels of weights) that a thread takes at a time; `row` bytes are read for each output."""
    panels = -(-channels // panel())
    group = min(panels, max(1, _WEIGHTS // (row * panel())))
    share = -(-positions * -(-panels // group) // _JOBS)
    return max(1, min(positions, max(_FEWEST, min(_CACHE // row, share)))), group
