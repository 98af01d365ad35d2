"""Transposed convolution of images by `conv_transpose.h`: a matrix product for each phase of the rows."""

import ctypes
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.geometry import Window
from striate.ops._conv_transpose import ConvTransposeForm
from striate.ops.impl.aten import conv_transpose as aten
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

_forward = kernel("conv_transpose", "ttttts")
_sum_input = kernel("conv_transpose_grad_input", "tttts")
_sum_weight = kernel("conv_transpose_grad_weight", "tttts")
_depthwise = kernel("conv_transpose_depthwise", "tttts")
_sum_input_depthwise = kernel("conv_transpose_depthwise_grad_input", "ttts")
_sum_weight_depthwise = kernel("conv_transpose_depthwise_grad_weight", "ttts")

_FASTER_STRIDE = 8  # measured with gradients: 1.7 times as fast at 8, 2.4 times at 32, 0.7 times at 2


class TransposeShape(ctypes.Structure):
    """`TransposeShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("batch", "height", "width", "in_channels", "out_height", "out_width", "out_channels"),
            *("stride_y", "stride_x", "parts_y", "parts_x", "low_y", "low_x"),
        )
    ]


def supports(form: ConvTransposeForm, x: Tensor, w: Tensor, b: Tensor | None) -> str | None:
    """Return None, or why the kernels do not compute this."""
    if reason := unusable(x, w, b):
        return reason
    if form.window.rank != 2 or not channels_last(x):
        return "a memory layout other than channels last (images N x C x H x W)"
    if max(form.window.dilation) > 1 or form.window.upsamples:
        return "dilation"
    if form.groups > 1 and w.shape[:2] != (form.groups, 1):
        return "groups of more than one channel in and out"
    return None


def pays(form: ConvTransposeForm, *_: Any) -> str | None:
    """Return None where a training step is known to be faster than PyTorch's, else why not."""
    if min(form.window.stride) < _FASTER_STRIDE:
        return f"strides under {_FASTER_STRIDE}, where it is not faster"
    return None


def forward(form: ConvTransposeForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x P x outputs, channels last."""
    if form.flip:
        w = w.flip(2, 3)
    padding = [end for pair in form.window.padding for end in pair]
    result: Tensor = _conv_transpose(x, w, b, list(form.window.stride), padding, list(form.size), form.groups)
    return result


class _Case(NamedTuple):
    """The settings of one call, beside its tensors."""

    kernel: tuple[int, int]
    stride: list[int]
    padding: list[int]  # low and high of y, then of x
    size: list[int]
    groups: int

    @property
    def parts(self) -> tuple[int, int]:
        y, x = (-(-k // s) for k, s in zip(self.kernel, self.stride, strict=True))
        return y, x

    def patches(self, batch: int) -> int:
        """Return for how many positions an input's patch is taken: see Quotients in conv_transpose.h."""
        lows, counts = self.padding[::2], []
        for size, low, s in zip(self.size, lows, self.stride, strict=True):
            counts.append((low + size - 1) // s - low // s + 1)
        return batch * prod(counts)

    def shape(self, x: torch.Size, outputs: int) -> TransposeShape:
        """Return the structure for an input of the shape N x D x H x W."""
        n, inputs, height, width = x
        low_y, _, low_x, _ = self.padding
        return TransposeShape(n, height, width, inputs, *self.size, outputs, *self.stride, *self.parts, low_y, low_x)

    def in_parts(self, w: Tensor) -> Tensor:
        """Return weights D x P x kernel, zeros added, as D, P, part y, phase y, part x, phase x."""
        (parts_y, parts_x), (stride_y, stride_x) = self.parts, self.stride
        missing = (0, parts_x * stride_x - w.shape[3], 0, parts_y * stride_y - w.shape[2])
        padded = F.pad(w, missing) if any(missing) else w
        return padded.reshape(*w.shape[:2], parts_y, stride_y, parts_x, stride_x)

    def from_parts(self, parts: Tensor) -> Tensor:
        """Return from D, part y, phase y, part x, phase x, P the weights D x P x kernel, channels last."""
        whole = parts.flatten(3, 4).flatten(1, 2)[:, : self.kernel[0], : self.kernel[1]]
        return whole.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("striate::conv_transpose", mutates_args=(), device_types="cpu")
def _conv_transpose(
    x: Tensor, w: Tensor, b: Tensor | None, stride: list[int], padding: list[int], size: list[int], groups: int
) -> Tensor:
    x, case = as_channels_last(x), _Case((w.shape[2], w.shape[3]), stride, padding, size, groups)
    outputs = w.shape[1] * groups
    y = empty_images(x.shape[0], outputs, *size)
    shape = case.shape(x.shape, outputs)
    if groups > 1:
        _depthwise(x, _kernels_last(case.in_parts(w)), None if b is None else b.contiguous(), y, shape)
        return y
    packed = _in_panels(case.in_parts(w).permute(3, 2, 4, 0, 5, 1).flatten(4, 5))
    patches = empty(case.patches(x.shape[0]) * prod(case.parts) * x.shape[1])
    _forward(x, packed, None if b is None else b.repeat(stride[1]), y, patches, shape)
    return y


@torch.library.custom_op("striate::conv_transpose_grad_input", mutates_args=(), device_types="cpu")
def _grad_input(
    grad: Tensor, w: Tensor, stride: list[int], padding: list[int], height: int, width: int, groups: int
) -> Tensor:
    grad = as_channels_last(grad)
    case = _Case((w.shape[2], w.shape[3]), stride, padding, list(grad.shape[2:]), groups)
    result = empty_images(grad.shape[0], w.shape[0], height, width)
    shape = case.shape(result.shape, grad.shape[1])
    if groups > 1:
        _sum_input_depthwise(grad, _kernels_last(case.in_parts(w)), result, shape)
        return result
    parts = case.in_parts(_turned(w).permute(3, 2, 0, 1)).permute(2, 4, 3, 5, 1, 0)  # parts, phases, P, D
    packed = _in_panels(*(parts[y, x] for y in range(case.parts[0]) for x in range(case.parts[1])))
    depth = packed.shape[1] * packed.shape[-1]
    _sum_input(grad, packed, result, empty(case.patches(grad.shape[0]) * depth), shape)
    return result


@torch.library.custom_op("striate::conv_transpose_grad_weight", mutates_args=(), device_types="cpu")
def _grad_weight(
    x: Tensor, grad: Tensor, kernel_: list[int], stride: list[int], padding: list[int], groups: int
) -> Tensor:
    x, grad = as_channels_last(x), as_channels_last(grad)
    case = _Case((kernel_[0], kernel_[1]), stride, padding, list(grad.shape[2:]), groups)
    shape, (parts_y, parts_x), (stride_y, stride_x) = case.shape(x.shape, grad.shape[1]), case.parts, stride
    if groups > 1:
        sums = empty(parts_y, stride_y, parts_x, stride_x, groups)
        _sum_weight_depthwise(x, grad, sums, shape)
        return case.from_parts(sums.movedim(-1, 0)[..., None])
    depth, columns = parts_y * parts_x * x.shape[1], stride_x * grad.shape[1]
    sums = empty(stride_y, -(-columns // panel()), depth, panel())
    if x.shape[0] == 0:
        sums.zero_()
    _sum_weight(x, grad, sums, empty(case.patches(x.shape[0]) * depth), shape)
    rows = sums.view(stride_y, -1, parts_y, parts_x, x.shape[1], panel()).permute(4, 2, 0, 3, 1, 5)
    joined = empty(x.shape[1], parts_y, stride_y, parts_x, columns)
    for number, part in enumerate(torch.split(joined, panel(), -1)):
        part.copy_(rows[..., number, : part.shape[-1]])
    return case.from_parts(joined.view(*joined.shape[:-1], stride_x, grad.shape[1]))


def _kernels_last(parts: Tensor) -> Tensor:
    """Return D x 1 kernels, in parts, with their channels innermost."""
    return parts[:, 0].movedim(0, -1).contiguous()


def _turned(w: Tensor) -> Tensor:
    """Return weights D x P x kernel as kernel x P x D: one transposed matrix, which PyTorch copies in blocks."""
    rows = w.permute(0, 2, 3, 1).reshape(w.shape[0], -1)
    return rows.t().contiguous().view(*w.shape[2:], w.shape[1], w.shape[0])


def _in_panels(*blocks: Tensor) -> Tensor:
    """Return matrices phase x rows x columns as phase x panel x rows x column of the panel, with zeros at the end.

    Rows may have several axes; the columns come in blocks, side by side. All are copied once, as they lie.
    """
    phases, *rows = blocks[0].shape[:-1]
    columns, wide = sum(block.shape[-1] for block in blocks), panel()
    packed = empty(phases, -(-columns // wide), *rows, wide)
    packed[:, -1, ..., columns - (packed.shape[1] - 1) * wide :] = 0.0
    done = 0
    for block in blocks:
        while block.shape[-1]:
            number, first = divmod(done, wide)
            part, block = block[..., : wide - first], block[..., wide - first :]  # noqa: PLW2901  # what is left of it
            packed[:, number, ..., first : first + part.shape[-1]] = part
            done += part.shape[-1]
    return packed


@_conv_transpose.register_fake
def _(
    x: Tensor, w: Tensor, b: Tensor | None, stride: list[int], padding: list[int], size: list[int], groups: int
) -> Tensor:
    return x.new_empty((x.shape[0], w.shape[1] * groups, *size)).contiguous(memory_format=torch.channels_last)


@_grad_input.register_fake
def _(grad: Tensor, w: Tensor, stride: list[int], padding: list[int], height: int, width: int, groups: int) -> Tensor:
    return grad.new_empty((grad.shape[0], w.shape[0], height, width)).contiguous(memory_format=torch.channels_last)


@_grad_weight.register_fake
def _(x: Tensor, grad: Tensor, kernel_: list[int], stride: list[int], padding: list[int], groups: int) -> Tensor:
    size = (x.shape[1], grad.shape[1] // groups, *kernel_)
    return x.new_empty(size).contiguous(memory_format=torch.channels_last)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, b, *ctx.settings = inputs
    ctx.save_for_backward(x, w, *([b] if b is not None else []))


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, w, *b = ctx.saved_tensors
    stride, padding, size, groups = ctx.settings
    if torch.is_grad_enabled():
        low_y, high_y, low_x, high_x = padding
        window = Window(tuple(w.shape[2:]), tuple(stride), ((low_y, high_y), (low_x, high_x)), (1, 1), (1, 1))
        form = ConvTransposeForm(window, tuple(size), groups, False)
        grads = differentiable_again(lambda x, w, *b: aten.forward(form, x, w, b[0] if b else None), (x, w, *b), grad)
        return *grads, *([] if b else [None]), None, None, None, None
    by_x, by_w, by_b, *_ = ctx.needs_input_grad
    grad_x = _grad_input(grad, w, stride, padding, x.shape[2], x.shape[3], groups) if by_x else None
    grad_w = _grad_weight(x, grad, list(w.shape[2:]), stride, padding, groups) if by_w else None
    return grad_x, grad_w, grad.sum((0, 2, 3)) if by_b else None, None, None, None, None


_conv_transpose.register_autograd(_differentiate, setup_context=_setup)
