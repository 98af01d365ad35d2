"""Deformable convolution by `deform.h`: the moved places of some pixels are read, then multiplied with the kernels."""

import ctypes
from functools import reduce
from math import gcd, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.geometry import Window
from striate.ops._deform_conv import DeformConvForm
from striate.ops.impl.aten import deform_conv as aten
from striate.ops.impl.native.library import (
    as_channels_last,
    channels_last,
    differentiable_again,
    empty,
    empty_images,
    kernel,
    panel,
    unusable,
)

_forward = kernel("deform_conv", "tttttts")
_backward = kernel("deform_conv_backward", "ttttttttsi")
_SLICE = 64  # kDeformSlice of deform.h
_FASTER_WEIGHTS = 128 * 128  # measured with gradients: 64 x 64 1.6 to 2 times as fast, 256 x 256 0.6 to 1.1 times
_JOBS = 16  # at least as many parts are made of the backward pass, if there are enough images


class DeformShape(ctypes.Structure):
    """`DeformShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("batch", "height", "width", "channels", "out_height", "out_width", "out_channels"),
            *("kernel_y", "kernel_x", "stride_y", "stride_x", "low_y", "low_x", "dilation_y", "dilation_x"),
            *("groups", "offset_groups", "segments"),
        )
    ]


def supports(
    form: DeformConvForm, x: Tensor, offset: Tensor, w: Tensor, b: Tensor | None, mask: Tensor | None
) -> str | None:
    """Return None, or why the kernel does not compute this."""
    if reason := unusable(x, offset, w, b, mask):
        return reason
    return None if channels_last(x) else "a memory layout other than channels last (images N x C x H x W)"


def pays(
    form: DeformConvForm, _x: Tensor, _offset: Tensor, w: Tensor, _b: Tensor | None, _mask: Tensor | None
) -> str | None:
    """Return None where a training step is known to be faster than PyTorch's, else why not."""
    if w.shape[1] * w.shape[0] // form.groups > _FASTER_WEIGHTS:
        return f"more than {_FASTER_WEIGHTS} pairs of channels in a group, where it is not faster"
    return None


def forward(
    form: DeformConvForm, x: Tensor, offset: Tensor, w: Tensor, b: Tensor | None, mask: Tensor | None
) -> Tensor:
    """Return N x P x Ho x Wo, channels last."""
    window = form.window
    numbers = [*window.kernel, *window.stride, *(low for low, _ in window.padding), *window.dilation]
    high = [high for _, high in window.padding]
    result: Tensor = _deform_conv(x, offset, w, b, mask, numbers, high, form.groups, form.offset_groups)
    return result


@torch.library.custom_op("striate::deform_conv", mutates_args=(), device_types="cpu")
def _deform_conv(
    x: Tensor,
    offset: Tensor,
    w: Tensor,
    b: Tensor | None,
    mask: Tensor | None,
    window: list[int],
    high: list[int],
    groups: int,
    offset_groups: int,
) -> Tensor:
    shape = _shape(x, offset, w, window, groups, offset_groups)
    y = empty_images(x.shape[0], w.shape[0], *offset.shape[2:])
    packed = _packed(w, groups, shape.segments)
    b = None if b is None else b.contiguous()
    _forward(as_channels_last(x), as_channels_last(offset), _last(mask), packed, b, y, shape)
    return y


@torch.library.custom_op("striate::deform_conv_backward", mutates_args=(), device_types="cpu")
def _deform_conv_backward(
    x: Tensor,
    offset: Tensor,
    w: Tensor,
    mask: Tensor | None,
    grad: Tensor,
    window: list[int],
    groups: int,
    offset_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, offset, w and the mask (the last empty without one)."""
    shape = _shape(x, offset, w, window, groups, offset_groups)
    n, channels, taps = x.shape[0], x.shape[1], prod(window[:2])
    width = channels // shape.segments
    slices = shape.segments * -(-width // _SLICE)
    pieces = max(1, min(n, -(-_JOBS // slices)))
    outputs = w.shape[0] // groups
    grad_x = empty_images(*x.shape).zero_()
    moves = empty(offset_groups, slices // offset_groups, n, *offset.shape[2:], taps, 3)
    parts = empty(pieces, shape.segments, taps, width, -(-outputs // panel()) * panel())
    if n == 0:
        parts.zero_()
    _backward(
        as_channels_last(x),
        as_channels_last(offset),
        _last(mask),
        _packed_backward(w, groups, shape.segments),
        as_channels_last(grad),
        grad_x,
        moves,
        parts,
        shape,
        pieces,
    )
    rows = _summed(parts)[..., :outputs].view(groups, -1, taps, width, outputs)
    if _channels_innermost(w) and groups == shape.segments:
        grad_w = empty_images(*w.shape)
        _turn(rows.reshape(groups, -1, outputs), grad_w.flatten(2).transpose(1, 2).view(groups, outputs, -1))
    else:
        grad_w = empty(*w.shape)
        _turn(rows.transpose(2, 3).reshape(groups, -1, outputs), grad_w.view(groups, outputs, -1))
    moved = _summed(moves.transpose(0, 1)).permute(1, 0, 4, 5, 2, 3)  # N, offset group, tap, 3, Ho, Wo
    grad_offset = moved[:, :, :, :2].reshape(offset.shape).clone(memory_format=torch.contiguous_format)
    grad_mask = (
        x.new_empty(0)
        if mask is None
        else moved[:, :, :, 2].reshape(mask.shape).clone(memory_format=torch.contiguous_format)
    )
    return grad_x, grad_offset, grad_w, grad_mask


def _summed(parts: Tensor) -> Tensor:
    """Return the sum over the first axis, in its order whatever the number of threads, in the place of the first."""
    return reduce(Tensor.add_, parts[1:].unbind(), parts[0])


def _shape(x: Tensor, offset: Tensor, w: Tensor, window: list[int], groups: int, offset_groups: int) -> DeformShape:
    n, channels, height, width = x.shape
    segments = _segments(channels, groups, offset_groups)
    outputs = offset.shape[2:]
    return DeformShape(n, height, width, channels, *outputs, w.shape[0], *window, groups, offset_groups, segments)


def _segments(channels: int, groups: int, offset_groups: int) -> int:
    return channels // gcd(channels // groups, channels // offset_groups)


def _packed(w: Tensor, groups: int, segments: int) -> Tensor:
    """Return for each group a matrix (segment, tap, channel) x output, in panels of outputs."""
    outputs, taps = len(w) // groups, w[0, 0].numel()
    turned = empty(groups, w[0].numel(), outputs)
    if _channels_innermost(w) and groups == segments:
        _turn(w.flatten(2).transpose(1, 2).view(groups, outputs, -1), turned)
        rows = turned.view(groups, 1, taps, -1, outputs)
    else:
        _turn(w.reshape(groups, outputs, -1), turned)
        rows = turned.view(groups, segments // groups, -1, taps, outputs).transpose(2, 3)
    return _in_panels(rows).movedim(-2, 1).contiguous()


def _channels_innermost(w: Tensor) -> bool:
    return channels_last(w) and not w.is_contiguous()


def _turn(matrices: Tensor, turned: Tensor) -> None:
    """Write the transposes of some matrices; one by one, for PyTorch turns a single matrix in blocks."""
    for matrix, to in zip(matrices, turned, strict=True):
        to.copy_(matrix.t())


def _packed_backward(w: Tensor, groups: int, segments: int) -> Tensor:
    """Return for each segment and tap a matrix output x channel of the segment, in panels of channels."""
    per_group = segments // groups
    matrices = w.reshape(groups, len(w) // groups, per_group, w.shape[1] // per_group, -1).permute(0, 2, 4, 1, 3)
    return _in_panels(matrices).transpose(-3, -2).contiguous()


def _in_panels(matrices: Tensor) -> Tensor:
    """Return ... x columns as ... x panel x column of the panel, with zeros at the end."""
    missing = -matrices.shape[-1] % panel()
    padded = F.pad(matrices, (0, missing)) if missing else matrices
    return padded.reshape(*padded.shape[:-1], -1, panel())


def _last(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else as_channels_last(mask)


@_deform_conv.register_fake
def _(
    x: Tensor,
    offset: Tensor,
    w: Tensor,
    b: Tensor | None,
    mask: Tensor | None,
    window: list[int],
    high: list[int],
    groups: int,
    offset_groups: int,
) -> Tensor:
    size = (x.shape[0], w.shape[0], *offset.shape[2:])
    return x.new_empty(size).contiguous(memory_format=torch.channels_last)


@_deform_conv_backward.register_fake
def _(
    x: Tensor,
    offset: Tensor,
    w: Tensor,
    mask: Tensor | None,
    grad: Tensor,
    window: list[int],
    groups: int,
    offset_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grad_x = x.new_empty(x.shape).contiguous(memory_format=torch.channels_last)
    grad_mask = x.new_empty(0) if mask is None else mask.new_empty(mask.shape)
    grad_w = w.new_empty(w.shape)
    if _channels_innermost(w) and groups == _segments(x.shape[1], groups, offset_groups):
        grad_w = grad_w.contiguous(memory_format=torch.channels_last)
    return grad_x, offset.new_empty(offset.shape), grad_w, grad_mask


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, offset, w, b, mask, *ctx.settings = inputs
    ctx.optional = (b is not None, mask is not None)
    ctx.save_for_backward(x, offset, w, *(tensor for tensor in (b, mask) if tensor is not None))


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, offset, w, *rest = ctx.saved_tensors
    b, mask = (rest.pop(0) if there else None for there in ctx.optional)
    window, _, groups, offset_groups = ctx.settings
    if torch.is_grad_enabled():
        return *_differentiable_gradients(ctx, (x, offset, w, b, mask), grad), None, None, None, None
    grad_x, grad_offset, grad_w, grad_mask = _deform_conv_backward(
        x, offset, w, mask, grad, window, groups, offset_groups
    )
    grad_b = grad.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
    found = (grad_x, grad_offset, grad_w, grad_b, None if mask is None else grad_mask)
    return *found, None, None, None, None


def _differentiable_gradients(ctx: Any, operands: tuple[Tensor | None, ...], grad: Tensor) -> list[Tensor | None]:
    window, high, groups, offset_groups = ctx.settings
    kernel_, stride, low, dilation = (tuple(window[i : i + 2]) for i in range(0, 8, 2))
    padding = tuple(zip(low, high, strict=True))
    form = DeformConvForm(Window(kernel_, stride, padding, dilation, (1, 1)), groups, offset_groups)
    given = [tensor is not None for tensor in operands]

    def forward(*tensors: Tensor) -> Tensor:
        left = iter(tensors)
        x, offset, w = next(left), next(left), next(left)
        b, mask = (next(left) if there else None for there in given[3:])
        return aten.forward(form, x, offset, w, b, mask)

    found = iter(differentiable_again(forward, tuple(tensor for tensor in operands if tensor is not None), grad))
    return [next(found) if there else None for there in given]


_deform_conv.register_autograd(_differentiate, setup_context=_setup)
