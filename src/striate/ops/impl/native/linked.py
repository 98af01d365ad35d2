"""Convolution by a link table (5.37), by `linked_conv.h`: no dense weight is made. `conv.py` hands it over."""

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from striate.geometry import Window
from striate.ops._conv import ConvForm, LinkRows
from striate.ops.impl.aten import conv as aten
from striate.ops.impl.native.library import channels_last, differentiable_again, empty, kernel, unusable

_forward = kernel("linked_conv", "tstttttss")
_sum_weight = kernel("linked_conv_grad_weight", "tststtts")
_FEWEST_LANES = 4  # images that a block has at least: so many parts the gradient of the weights may have
_FASTER_BATCH = 16  # images: a block is computed whole, however many of them are there


_Strides = ctypes.c_int64 * 4


class LinkedShape(ctypes.Structure):
    """`LinkedShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("batch", "in_channels", "height", "width", "out_channels", "out_height", "out_width"),
            *("kernel_y", "kernel_x", "low_y", "low_x"),
        )
    ]


def supports(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> str | None:
    """Return None, or why the kernel does not compute this convolution by a link table."""
    if reason := unusable(x, w, b):
        return reason
    window = form.window
    if window.rank != 2 or {*window.stride, *window.dilation, *window.upsample} != {1}:
        return "link tables but on images, with stride 1 and without dilation or upsampling"
    return "link tables in torch.compile" if torch.compiler.is_compiling() else None


def pays(_form: ConvForm, x: Tensor, _w: Tensor, _b: Tensor | None) -> str | None:
    """Return None where a training step is known to be faster than PyTorch's, else why not."""
    if x.shape[0] < _FASTER_BATCH:
        return f"link tables for fewer than {_FASTER_BATCH} images, where it is not faster"
    return None


def forward(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x P x outputs, in the layout of x."""
    assert form.links is not None
    if form.flip:
        w = w.flip(1, 2)
    padding = [end for pair in form.window.padding for end in pair]
    result: Tensor = _linked_conv(x, w, b, *map(torch.from_numpy, _links(form.links)), padding)
    return result


@lru_cache(maxsize=256)
def _links(rows: LinkRows) -> tuple[npt.NDArray[np.int64], ...]:
    """Return a table as the kernels read it: first and pairs by output channel, and the same by input channel.

    first[p] ... first[p + 1] are the links of channel p, pairs of (channel of the other side, number of the kernel).
    """
    outputs, inputs = np.nonzero(np.array(rows))
    numbers = np.arange(len(outputs))
    order = np.argsort(inputs, kind="stable")
    turned = np.stack([outputs, numbers], 1)[order]
    return (
        np.searchsorted(outputs, np.arange(len(rows) + 1)),
        np.stack([inputs, numbers], 1),
        np.searchsorted(inputs[order], np.arange(len(rows[0]) + 1)),
        turned,
    )


@torch.library.custom_op("striate::linked_conv", mutates_args=(), device_types="cpu")
def _linked_conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    first: Tensor,
    pairs: Tensor,
    turned_first: Tensor,
    turned_pairs: Tensor,
    padding: list[int],
) -> Tensor:
    y = _empty_outputs(x, w, first, padding)
    b = None if b is None else b.contiguous()
    shape = _shape(x.shape, y.shape, w, padding)
    _forward(x, _Strides(*x.stride()), w.contiguous(), first, pairs, b, y, _Strides(*y.stride()), shape)
    return y


@torch.library.custom_op("striate::linked_conv_grad_weight", mutates_args=(), device_types="cpu")
def _grad_weight(
    x: Tensor, grad: Tensor, first: Tensor, pairs: Tensor, kernel_: list[int], padding: list[int]
) -> Tensor:
    parts = empty(-(-x.shape[0] // _FEWEST_LANES), len(pairs), *kernel_)
    if not len(parts):
        return empty(*parts.shape[1:]).zero_()
    shape = _shape(x.shape, grad.shape, parts, padding)
    _sum_weight(x, _Strides(*x.stride()), grad, _Strides(*grad.stride()), first, pairs, parts, shape)
    return parts[0].clone()


def _empty_outputs(x: Tensor, w: Tensor, first: Tensor, padding: list[int]) -> Tensor:
    n, _, height, width = x.shape
    low_y, high_y, low_x, high_x = padding
    size = (n, len(first) - 1, height + low_y + high_y - w.shape[1] + 1, width + low_x + high_x - w.shape[2] + 1)
    innermost = channels_last(x) and not x.is_contiguous()
    return x.new_empty(size).contiguous(memory_format=torch.channels_last if innermost else torch.contiguous_format)


def _shape(x: torch.Size, y: torch.Size, w: Tensor, padding: list[int]) -> LinkedShape:
    return LinkedShape(*x, *y[1:], *w.shape[-2:], padding[0], padding[2])


@_linked_conv.register_fake
def _(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    first: Tensor,
    pairs: Tensor,
    turned_first: Tensor,
    turned_pairs: Tensor,
    padding: list[int],
) -> Tensor:
    return _empty_outputs(x, w, first, padding)


@_grad_weight.register_fake
def _(x: Tensor, grad: Tensor, first: Tensor, pairs: Tensor, kernel_: list[int], padding: list[int]) -> Tensor:
    return x.new_empty((len(pairs), *kernel_))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, b, *links, ctx.padding = inputs
    ctx.save_for_backward(x, w, *links, *([b] if b is not None else []))


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, w, *links, b = (*ctx.saved_tensors, None)[:7]
    low_y, high_y, low_x, high_x = padding = ctx.padding
    none = (None,) * 5
    if torch.is_grad_enabled():
        window = Window(tuple(w.shape[1:]), (1, 1), ((low_y, high_y), (low_x, high_x)), (1, 1), (1, 1))
        form = ConvForm(window, 1, _rows(links[0], links[1], x.shape[1]), False)
        given = (x, w) if b is None else (x, w, b)
        grads = differentiable_again(lambda x, w, b=None: aten.forward(form, x, w, b), given, grad)
        return *grads, *([None] if b is None else []), *none
    by_x, by_w, by_b, *_ = ctx.needs_input_grad
    height, width = w.shape[1:]
    turned = [height - 1 - low_y, height - 1 - high_y, width - 1 - low_x, width - 1 - high_x]
    around = (*links[2:], *links[:2])
    grad_x = _linked_conv(grad, w.flip(1, 2), None, *around, turned) if by_x else None
    grad_w = _grad_weight(x, grad, links[0], links[1], [height, width], padding) if by_w else None
    return grad_x, grad_w, grad.sum((0, 2, 3)) if by_b else None, *none


def _rows(first: Tensor, pairs: Tensor, inputs: int) -> LinkRows:
    table = [[0] * inputs for _ in range(len(first) - 1)]
    for row, begin, end in zip(table, first.tolist(), first.tolist()[1:], strict=False):
        for channel, _ in pairs[begin:end].tolist():
            row[channel] = 1
    return LinkRows(tuple(row) for row in table)


_linked_conv.register_autograd(_differentiate, setup_context=_setup)
