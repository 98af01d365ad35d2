"""3 x 3 convolution in groups of few channels, depthwise among them, by `grouped.h`; `conv.py` hands it over.

A group has as many channels out as in. `padding` is (low, high) of y, then of x.
"""

import ctypes
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.geometry import Window
from striate.ops._conv import ConvForm
from striate.ops.impl.aten import conv as aten
from striate.ops.impl.native.library import (
    as_channels_last,
    channels_last,
    differentiable,
    differentiable_again,
    empty,
    empty_images,
    kernel,
    older_than_sources,
    past_dispatcher,
    unusable,
)

_forward = kernel("grouped_conv", "tttts")
_grad_input_strided = kernel("grouped_conv_grad_input_strided", "ttts")
_sum_weight = kernel("grouped_conv_grad_weight", "tttsi")
_depthwise_gradients = kernel("depthwise_conv_gradients", "tttttsi")

_SIZES = (1, 2, 4, 8)  # channels of a group; 16 are faster as matrix products
_WIDEST = 16  # floats of the widest vector: rows of weights are padded to a multiple
_FASTER_SIZE = 2**17  # values of the input: below, a call costs more than what is computed
_FASTER_CHANNELS = 32
_MOST_PIECES = 16  # in which the gradient of the weights is summed


def concerns(form: ConvForm, w: Tensor) -> bool:
    """Whether the convolution is in groups of equally few channels in and out."""
    return form.groups > 1 and w.shape[1] in _SIZES and w.shape[0] == w.shape[1] * form.groups


class GroupedShape(ctypes.Structure):
    """`GroupedShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("batch", "height", "width", "channels", "out_height", "out_width"),
            *("group", "stride", "low_y", "low_x", "w_row"),
        )
    ]


def supports(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> str | None:
    """Return None, or why the kernel does not compute this, which `concerns` it."""
    if reason := unusable(x, w, b) or older_than_sources("depthwise_conv_gradients"):
        return reason
    window = form.window
    if window.kernel != (3, 3) or window.stride not in {(1, 1), (2, 2)} or window.dilation != (1, 1):
        return "windows other than 3 x 3 of stride 1 or 2 without dilation"
    if window.upsamples or form.flip:
        return "upsampling and turned kernels"
    return None if channels_last(x) else "a memory layout other than channels last (images N x C x H x W)"


def pays(form: ConvForm, x: Tensor, w: Tensor, _b: Tensor | None) -> str | None:
    """Return None where a training step is known to be faster than PyTorch's, else why not."""
    if w.shape[1] == 1 and (reason := _depthwise_loses(form, x, w)):
        return reason
    if x.numel() < _FASTER_SIZE:
        return f"fewer than {_FASTER_SIZE} values of the input, where it is not faster"
    return None


def _depthwise_loses(form: ConvForm, x: Tensor, w: Tensor) -> str | None:
    """Return None where depthwise convolution is faster, else why not: it wins by computing both gradients together."""
    if form.window.stride != (1, 1):
        return "depthwise convolution of stride 2, where it is not faster"  # 0.7 to 0.9 times
    if not (torch.is_grad_enabled() and x.requires_grad and w.requires_grad):
        return "depthwise convolution without gradients, where it is not faster"  # 0.7 to 1.2 times
    if len(w) < _FASTER_CHANNELS:  # 0.9 to 1.1 times, with more channels 1.1 to 1.7
        return f"depthwise convolution of fewer than {_FASTER_CHANNELS} channels, where it is not faster"
    return None


def forward(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x C x outputs, channels last."""
    (low_y, high_y), (low_x, high_x) = form.window.padding
    result: Tensor = _differentiable(x, w, b, form.window.stride[0], [low_y, high_y, low_x, high_x])
    return result


def _compute(x: Tensor, w: Tensor, b: Tensor | None, stride: int, padding: list[int]) -> Tensor:
    x, rows = as_channels_last(x), _rows(w)
    y = empty_images(*_outputs(x, stride, padding))
    b = None if b is None else b.contiguous()
    _forward(x, rows, b, y, _shape(x.shape, y.shape, w.shape[1], stride, padding, rows))
    return y


def _compute_grad_input(grad: Tensor, w: Tensor, height: int, width: int, stride: int, padding: list[int]) -> Tensor:
    grad = as_channels_last(grad)
    result = empty_images(*grad.shape[:2], height, width)
    group = w.shape[1]
    exchanged = w.reshape(-1, group, group, 3, 3).transpose(1, 2).reshape(w.shape)
    if stride == 1:  # the forward pass of turned kernels
        rows, turned = _rows(exchanged.flip(2, 3)), [2 - p for p in padding]
        _forward(grad, rows, None, result, _shape(grad.shape, result.shape, group, 1, turned, rows))
    else:
        rows = _rows(exchanged)
        _grad_input_strided(grad, rows, result, _shape(result.shape, grad.shape, group, stride, padding, rows))
    return result


def _compute_grad_weight(x: Tensor, grad: Tensor, group: int, stride: int, padding: list[int]) -> Tensor:
    x, grad = as_channels_last(x), as_channels_last(grad)
    sums = _sums(grad, group)
    _sum_weight(x, grad, sums, _shape(x.shape, grad.shape, group, stride, padding, sums), len(sums))
    return _of_rows(sums[0], x.shape[1])


def _compute_depthwise(x: Tensor, w: Tensor, grad: Tensor, padding: list[int]) -> tuple[Tensor, Tensor]:
    """Return both gradients at stride 1, computed together."""
    x, grad, rows = as_channels_last(x), as_channels_last(grad), _rows(w)
    result, sums = empty_images(*x.shape), _sums(x, 1)
    _depthwise_gradients(x, rows, grad, result, sums, _shape(x.shape, grad.shape, 1, 1, padding, rows), len(sums))
    return result, _of_rows(sums[0], x.shape[1])


def _sums(images: Tensor, group: int) -> Tensor:
    """Return memory for the gradient of the weights in pieces, each of some rows of these images."""
    pieces = max(1, min(_MOST_PIECES, images.shape[0] * images.shape[2]))
    return empty(pieces, 3, 3, group, _padded(images.shape[1]))


def _rows(w: Tensor) -> Tensor:
    """Return the weights as 3 x 3 x C/groups x C, C padded."""
    return F.pad(w.permute(2, 3, 1, 0), (0, _padded(len(w)) - len(w))).contiguous()


def _of_rows(rows: Tensor, channels: int) -> Tensor:
    """Return the weights of 3 x 3 x C/groups x C, padded."""
    return rows[..., :channels].permute(3, 2, 0, 1).contiguous()


def _padded(channels: int) -> int:
    return -(-channels // _WIDEST) * _WIDEST


def _outputs(x: Tensor, stride: int, padding: list[int]) -> tuple[int, int, int, int]:
    n, c, height, width = x.shape
    low_y, high_y, low_x, high_x = padding
    return n, c, (height + low_y + high_y - 3) // stride + 1, (width + low_x + high_x - 3) // stride + 1


def _shape(x: torch.Size, y: torch.Size, group: int, stride: int, padding: list[int], rows: Tensor) -> GroupedShape:
    n, channels, height, width = x
    low_y, _, low_x, _ = padding
    return GroupedShape(n, height, width, channels, y[2], y[3], group, stride, low_y, low_x, rows.shape[-1])


_operator = partial(torch.library.custom_op, mutates_args=(), device_types="cpu")
_conv = _operator("striate::grouped_conv3x3")(_compute)
_grad_input = _operator("striate::grouped_conv3x3_grad_input")(_compute_grad_input)
_grad_weight = _operator("striate::grouped_conv3x3_grad_weight")(_compute_grad_weight)
_depthwise = _operator("striate::depthwise_conv3x3_gradients")(_compute_depthwise)
_grad_input_of = past_dispatcher(_grad_input, _compute_grad_input)
_grad_weight_of = past_dispatcher(_grad_weight, _compute_grad_weight)
_depthwise_of = past_dispatcher(_depthwise, _compute_depthwise)


@_conv.register_fake
def _(x: Tensor, w: Tensor, b: Tensor | None, stride: int, padding: list[int]) -> Tensor:
    return x.new_empty(_outputs(x, stride, padding)).contiguous(memory_format=torch.channels_last)


@_grad_input.register_fake
def _(grad: Tensor, w: Tensor, height: int, width: int, stride: int, padding: list[int]) -> Tensor:
    return grad.new_empty((*grad.shape[:2], height, width)).contiguous(memory_format=torch.channels_last)


@_grad_weight.register_fake
def _(x: Tensor, grad: Tensor, group: int, stride: int, padding: list[int]) -> Tensor:
    return x.new_empty((x.shape[1], group, 3, 3))


@_depthwise.register_fake
def _(x: Tensor, w: Tensor, grad: Tensor, padding: list[int]) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape).contiguous(memory_format=torch.channels_last), x.new_empty((x.shape[1], 1, 3, 3))


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, int, list[int]], output: Tensor) -> None:
    x, w, b, ctx.stride, ctx.padding = inputs
    ctx.save_for_backward(x, w, *([b] if b is not None else []))


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, w, *b = ctx.saved_tensors
    low_y, high_y, low_x, high_x = padding = ctx.padding
    if torch.is_grad_enabled():
        window = Window((3, 3), (ctx.stride, ctx.stride), ((low_y, high_y), (low_x, high_x)), (1, 1), (1, 1))
        form = ConvForm(window, w.shape[0] // w.shape[1], None, False)
        grads = differentiable_again(lambda x, w, *b: aten.forward(form, x, w, b[0] if b else None), (x, w, *b), grad)
        return *grads, *([] if b else [None]), None, None
    by_x, by_w, by_b, *_ = ctx.needs_input_grad
    grad_b = grad.sum((0, 2, 3)) if by_b else None
    if by_x and by_w and w.shape[1] == 1 and ctx.stride == 1:
        return *_depthwise_of(x, w, grad, padding), grad_b, None, None
    grad_x = _grad_input_of(grad, w, x.shape[2], x.shape[3], ctx.stride, padding) if by_x else None
    grad_w = _grad_weight_of(x, grad, w.shape[1], ctx.stride, padding) if by_w else None
    return grad_x, grad_w, grad_b, None, None


_conv.register_autograd(_differentiate, setup_context=_setup)
_differentiable = differentiable(_conv, _compute, _setup, _differentiate)
