"""Convolution with 3 x 3 kernels of stride 1 by Winograd's minimal filtering, with its gradients.

In bfloat16 - of images that are, or under autocast - all three products are of bfloat16, and weights are rounded after
they were transformed. Small groups are handed over to `grouped.py`, link tables to `linked.py`.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from striate.geometry import Window
from striate.ops._conv import ConvForm
from striate.ops.impl.aten import conv as aten
from striate.ops.impl.native import grouped, linked, winograd
from striate.ops.impl.native.library import (
    channels_last,
    differentiable_again,
    has_matrix_tiles,
    instruction_set,
    multiplies_bf16,
    older_than_sources,
    unusable,
)

_FEWEST_CHANNELS = 16  # of a group, in and out: below, the direct way is as fast
_FASTER_CHANNELS = 48  # measured with gradients on one core: 32 channels lose up to a third, 64 win
_FASTER_PIXELS = 1024  # outputs of one channel in the batch: fewer do not pay for transforming the weights
TILE = 4
TILE_BF16 = (4, 2)

# how Winograd computes: products of float32 in tiles of 4 x 4, or of bfloat16 in tiles of so many outputs down x across
Way = Literal["f32", "2x2", "4x2", "4x4"]


def supports(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> str | None:
    """Return None, or why the kernels do not compute this."""
    if form.links is not None:
        return linked.supports(form, x, w, b)
    if grouped.concerns(form, w):
        return grouped.supports(form, x, w, b)
    if not _in_bf16(x):
        return unusable(x, w, b) or _other_shape(form, x, w)
    if reason := unusable(x, w, b, dtypes=(torch.float32, torch.bfloat16)) or _without_products_of_bf16():
        return reason
    return _other_shape(form, x, w)


def packs(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None, way: Way) -> str | None:
    """Return None, or why Winograd's kernels do not compute this with weights packed once; x may be of bfloat16."""
    if form.links is not None:
        return "link tables"
    if reason := unusable(x, dtypes=(torch.float32, torch.bfloat16)) or unusable(w, b):
        return reason
    if x.dtype == torch.bfloat16 and (reason := older_than_sources("winograd_conv_stored_bf16", "winograd_conv_bf16")):
        return reason
    if way != "f32" and x.dtype != torch.bfloat16:
        return f"products of bfloat16 for images of {x.dtype}"
    return (None if way == "f32" else _without_products_of_bf16()) or _other_shape(form, x, w)


def fastest_in_bf16() -> Way | None:
    """Return what is known to beat oneDNN's bfloat16 here with weights packed once, at little more than its error."""
    if has_matrix_tiles():
        return None
    if multiplies_bf16():
        return "4x2"
    return "f32" if instruction_set() in {"avx512", "avx2"} else None


def _in_bf16(x: Tensor) -> bool:
    """Whether products are to be of bfloat16: the images are, or autocast wants it."""
    wanted = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return x.dtype == torch.bfloat16 or wanted


def _without_products_of_bf16() -> str | None:
    if multiplies_bf16():
        return older_than_sources("winograd_conv_bf16_grad_weight")
    return f"products of bfloat16 with the instruction set {instruction_set()}: they need AVX512_BF16 beside avx512"


def _other_shape(form: ConvForm, x: Tensor, w: Tensor) -> str | None:
    """Return None if Winograd's kernels compute a convolution of such a form and such shapes, else why not."""
    window = form.window
    if window.kernel != (3, 3) or window.stride != (1, 1) or window.dilation != (1, 1) or window.upsamples:
        return "windows other than 3 x 3 of stride 1 without dilation"
    if form.flip:
        return "turned kernels"
    if not channels_last(x):
        return "a memory layout other than channels last (images N x C x H x W)"
    if min(w.shape[0] // form.groups, w.shape[1]) < _FEWEST_CHANNELS:
        return f"fewer than {_FEWEST_CHANNELS} channels in or out of a group"
    return None


def pays(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> str | None:
    """Return None where a training step is known to be faster than PyTorch's, else why not."""
    in_bf16 = _in_bf16(x)
    if in_bf16 and (form.links is not None or grouped.concerns(form, w)):
        return "bfloat16, which these kernels do not multiply"
    if in_bf16 and has_matrix_tiles():
        return "the processor multiplies tiles of bfloat16 (AMX), where it is not faster"
    if form.links is not None:
        return linked.pays(form, x, w, b)
    if grouped.concerns(form, w):
        return grouped.pays(form, x, w, b)
    if min(w.shape[0] // form.groups, w.shape[1]) < _FASTER_CHANNELS:
        return f"fewer than {_FASTER_CHANNELS} channels in or out of a group, where it is not faster"
    height, width = (n + sum(padding) - 2 for n, padding in zip(x.shape[2:], form.window.padding, strict=True))
    if x.shape[0] * height * width < _FASTER_PIXELS:
        return f"fewer than {_FASTER_PIXELS} positions in the batch, where it is not faster"
    return None


def forward(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x P x outputs, channels last."""
    if form.links is not None:
        return linked.forward(form, x, w, b)
    if grouped.concerns(form, w):
        return grouped.forward(form, x, w, b)
    (top, bottom), (left, right) = form.window.padding
    compute: Any = _conv_bf16 if _in_bf16(x) else _conv
    x = x.bfloat16() if _in_bf16(x) else x
    result: Tensor = compute(x, w, b, [top, bottom, left, right], form.groups)
    return result


@torch.library.custom_op("striate::conv3x3", mutates_args=(), device_types="cpu")
def _conv(x: Tensor, w: Tensor, b: Tensor | None, padding: list[int], groups: int) -> Tensor:
    return winograd.conv(x, winograd.pack(w, groups, TILE), b, _four(padding))


@torch.library.custom_op("striate::conv3x3_grad_input", mutates_args=(), device_types="cpu")
def _grad_input(grad: Tensor, w: Tensor, padding: list[int], groups: int) -> Tensor:
    turned = _four([2 - p for p in padding])
    return winograd.conv(grad, winograd.pack_transposed(w, groups, TILE), None, turned)


@torch.library.custom_op("striate::conv3x3_grad_weight", mutates_args=(), device_types="cpu")
def _grad_weight(x: Tensor, grad: Tensor, padding: list[int], groups: int) -> Tensor:
    return winograd.grad_weight(x, grad, groups, _four(padding), TILE)


@torch.library.custom_op("striate::conv3x3_bf16", mutates_args=(), device_types="cpu")
def _conv_bf16(x: Tensor, w: Tensor, b: Tensor | None, padding: list[int], groups: int) -> Tensor:
    bias = None if b is None else b.float()
    return winograd.conv(x, winograd.pack_bf16(w.float(), groups, TILE_BF16), bias, _four(padding))


@torch.library.custom_op("striate::conv3x3_bf16_grad_input", mutates_args=(), device_types="cpu")
def _grad_input_bf16(grad: Tensor, w: Tensor, padding: list[int], groups: int) -> Tensor:
    turned = _four([2 - p for p in padding])
    return winograd.conv(grad, winograd.pack_transposed_bf16(w.float(), groups, TILE_BF16), None, turned)


@torch.library.custom_op("striate::conv3x3_bf16_grad_weight", mutates_args=(), device_types="cpu")
def _grad_weight_bf16(x: Tensor, grad: Tensor, padding: list[int], groups: int) -> Tensor:
    return winograd.grad_weight(x, grad, groups, _four(padding))


@_conv_bf16.register_fake
@_conv.register_fake
def _(x: Tensor, w: Tensor, b: Tensor | None, padding: list[int], groups: int) -> Tensor:
    top, bottom, left, right = padding
    size = (x.shape[0], w.shape[0], x.shape[2] + top + bottom - 2, x.shape[3] + left + right - 2)
    return x.new_empty(size).contiguous(memory_format=torch.channels_last)


@_grad_input_bf16.register_fake
@_grad_input.register_fake
def _(grad: Tensor, w: Tensor, padding: list[int], groups: int) -> Tensor:
    top, bottom, left, right = padding
    size = (grad.shape[0], w.shape[1] * groups, grad.shape[2] + 2 - top - bottom, grad.shape[3] + 2 - left - right)
    return grad.new_empty(size).contiguous(memory_format=torch.channels_last)


@_grad_weight_bf16.register_fake
@_grad_weight.register_fake
def _(x: Tensor, grad: Tensor, padding: list[int], groups: int) -> Tensor:
    size = (grad.shape[1], x.shape[1] // groups, 3, 3)
    return x.new_empty(size, dtype=torch.float32).contiguous(memory_format=torch.channels_last)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, list[int], int], output: Tensor) -> None:
    x, w, b, ctx.padding, ctx.groups = inputs
    ctx.save_for_backward(x, w, *([b] if b is not None else []))


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, w = ctx.saved_tensors[:2]
    if torch.is_grad_enabled():
        return *_differentiable(ctx, grad), None, None
    grad_x = _grad_input(grad, w, ctx.padding, ctx.groups) if ctx.needs_input_grad[0] else None
    grad_w = _grad_weight(x, grad, ctx.padding, ctx.groups) if ctx.needs_input_grad[1] else None
    return grad_x, grad_w, _grad_bias(ctx, grad), None, None


def _differentiate_bf16(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, w, *b = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *_differentiable(ctx, grad), None, None
    grad_x = _grad_input_bf16(grad, w, ctx.padding, ctx.groups) if ctx.needs_input_grad[0] else None
    grad_w = _grad_weight_bf16(x, grad, ctx.padding, ctx.groups) if ctx.needs_input_grad[1] else None
    grad_b = _grad_bias(ctx, grad)
    grad_w = None if grad_w is None else grad_w.to(w.dtype)
    return grad_x, grad_w, None if grad_b is None else grad_b.to(b[0].dtype), None, None


def _differentiable(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """Return the gradients of images, weights and bias so that they can be differentiated once more."""
    x, w, *b = ctx.saved_tensors
    top, bottom, left, right = ctx.padding
    form = ConvForm(Window((3, 3), (1, 1), ((top, bottom), (left, right)), (1, 1), (1, 1)), ctx.groups, None, False)

    def forward(x: Tensor, w: Tensor, *b: Tensor) -> Tensor:
        return aten.forward(form, x, w.to(x.dtype), b[0].to(x.dtype) if b else None)

    return *differentiable_again(forward, (x, w, *b), grad), *([] if b else [None])


def _grad_bias(ctx: Any, grad: Tensor) -> Tensor | None:
    return grad.sum((0, 2, 3), dtype=torch.float32) if ctx.needs_input_grad[2] else None


def _four(padding: list[int]) -> tuple[int, int, int, int]:
    top, bottom, left, right = padding
    return top, bottom, left, right


_conv.register_autograd(_differentiate, setup_context=_setup)
_conv_bf16.register_autograd(_differentiate_bf16, setup_context=_setup)
