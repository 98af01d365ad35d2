"""Maximum pooling over images by `max_pool.h`: channels innermost, a byte for the place of each maximum if need be."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from striate.geometry import Window, output_size
from striate.ops._constant import constant
from striate.ops._max_pool import MaxPoolForm
from striate.ops.impl.aten import max_pool as aten
from striate.ops.impl.native.library import (
    as_channels_last,
    channels_last,
    differentiable,
    differentiable_again,
    direct,
    empty_images,
    instruction_set,
    kernel,
    older_than_sources,
    past_dispatcher,
    unusable,
)

_forward = kernel("max_pool_forward", "ttts")
_forward_values = kernel("max_pool_forward_values", "tts")
_forward_bf16 = kernel("max_pool_forward_bf16", "tts")
_forward_bf16_taps = kernel("max_pool_forward_bf16_taps", "ttts")
_backward = kernel("max_pool_backward", "ttts")
_backward_bf16 = kernel("max_pool_backward_bf16", "ttts")
_MOST_TAPS = 255
_FASTER_TAPS = 9  # measured with gradients: of more 0.6 to 1.0 times as fast
_FASTER_CHANNELS = {torch.float32: 16, torch.bfloat16: 32}  # a whole register; of fewer down to 0.4 times
# values of the input without gradients and with: below, a call costs more than what is computed; above, with gradients
# 1.1 to 1.9 times as fast with AVX-512, 1.0 to 1.4 times with AVX2, without gradients 1.2 to 3.8 times
_FASTER_SIZES = {"avx512": (2**16, 2**19), "avx2": (2**16, 2**20)}


class PoolShape(ctypes.Structure):
    """`PoolShape` of kernels.h."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("batch", "height", "width", "channels", "out_height", "out_width"),
            *("kernel_y", "kernel_x", "stride_y", "stride_x", "low_y", "low_x", "dilation_y", "dilation_x"),
        )
    ]


def pool_shape(size: torch.Size, outputs: tuple[int, int], window: list[int]) -> PoolShape:
    """Return the structure for an input N x C x H x W; window: kernel, stride, low padding, dilation, two of each."""
    n, c, h, w = size
    return PoolShape(n, h, w, c, *outputs, *window)


def supports(form: MaxPoolForm, x: Tensor) -> str | None:
    """Return None, or why the kernel does not compute this."""
    if reason := unusable(x, dtypes=(torch.float32, torch.bfloat16)):
        return reason
    if reason := older_than_sources("max_pool_forward_values", "max_pool_forward_bf16", "max_pool_backward_bf16"):
        return reason
    if x.ndim != 4 or not channels_last(x):
        return "a memory layout other than channels last (images N x C x H x W)"
    if form.switches:
        return "switches"
    taps = form.window.kernel[0] * form.window.kernel[1]
    if taps > _MOST_TAPS:
        return f"windows of {taps} positions, only up to {_MOST_TAPS}"
    return "windows with zeros put between inputs" if form.window.upsamples else None


def pays(form: MaxPoolForm, x: Tensor) -> str | None:
    """Return None where a training step is known to be faster than PyTorch's, else why not."""
    fewest = _fewest_values(torch.is_grad_enabled() and x.requires_grad)
    if fewest is None:
        return "processors without AVX2, with which it was not measured"
    if form.window.kernel[0] * form.window.kernel[1] > _FASTER_TAPS:
        return f"windows of more than {_FASTER_TAPS} positions, where it is not faster"
    if x.shape[1] < (channels := _FASTER_CHANNELS[x.dtype]):
        return f"fewer than {channels} channels, where it is not faster"
    return f"fewer than {fewest} values of the input, where it is not faster" if x.numel() < fewest else None


@constant  # torch.compile does not look into the extension
def _fewest_values(gradients: bool) -> int | None:
    sizes = _FASTER_SIZES.get(instruction_set() or "")
    return None if sizes is None else sizes[gradients]


def forward(form: MaxPoolForm, x: Tensor) -> Tensor:
    """Return N x C x outputs, channels last."""
    window = form.window
    low = [padding[0] for padding in window.padding]
    outputs = output_size(x.shape[2:], window, ceil=form.ceil)
    words = [*window.kernel, *window.stride, *low, *window.dilation]
    if direct(x) and not (torch.is_grad_enabled() and x.requires_grad):  # the places are not asked for
        values = empty_images(*x.shape[:2], *outputs, dtype=x.dtype)
        compute = _forward_bf16 if x.dtype == torch.bfloat16 else _forward_values
        compute(x, values, pool_shape(x.shape, (outputs[0], outputs[1]), words))
    else:
        values = _differentiable(x, words, list(outputs), _high(window), form.ceil)[0]
    return values


def _high(window: Window) -> list[int]:
    return [high for _, high in window.padding]


def _compute(x: Tensor, window: list[int], outputs: list[int], high: list[int], ceil: bool) -> tuple[Tensor, Tensor]:
    x = as_channels_last(x)
    values = empty_images(*x.shape[:2], *outputs, dtype=x.dtype)
    taps = torch.empty_like(values, dtype=torch.uint8)
    compute = _forward_bf16_taps if x.dtype == torch.bfloat16 else _forward
    compute(x, values, taps, pool_shape(x.shape, (outputs[0], outputs[1]), window))
    return values, taps


def _compute_backward(grad: Tensor, taps: Tensor, height: int, width: int, window: list[int]) -> Tensor:
    grad = as_channels_last(grad)
    n, c, *outputs = grad.shape
    result = empty_images(n, c, height, width, dtype=grad.dtype)
    compute = _backward_bf16 if grad.dtype == torch.bfloat16 else _backward
    compute(grad, taps, result, pool_shape(result.shape, (outputs[0], outputs[1]), window))
    return result


_max_pool = torch.library.custom_op("striate::max_pool", mutates_args=(), device_types="cpu")(_compute)
_max_pool_backward = torch.library.custom_op("striate::max_pool_backward", mutates_args=(), device_types="cpu")(
    _compute_backward
)
_backward_of = past_dispatcher(_max_pool_backward, _compute_backward)


@_max_pool.register_fake
def _(x: Tensor, window: list[int], outputs: list[int], high: list[int], ceil: bool) -> tuple[Tensor, Tensor]:
    values = x.new_empty((*x.shape[:2], *outputs)).contiguous(memory_format=torch.channels_last)
    return values, torch.empty_like(values, dtype=torch.uint8)


@_max_pool_backward.register_fake
def _(grad: Tensor, taps: Tensor, height: int, width: int, window: list[int]) -> Tensor:
    return grad.new_empty((*grad.shape[:2], height, width)).contiguous(memory_format=torch.channels_last)


def _setup(
    ctx: Any, inputs: tuple[Tensor, list[int], list[int], list[int], bool], output: tuple[Tensor, Tensor]
) -> None:
    x, ctx.window, _, ctx.high, ctx.ceil = inputs
    ctx.save_for_backward(x, output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, None, None, None, None]:
    x, taps = ctx.saved_tensors
    if torch.is_grad_enabled():
        return *differentiable_again(lambda x: aten.forward(_form(ctx), x), (x,), grad), None, None, None, None
    return _backward_of(grad, taps, x.shape[2], x.shape[3], ctx.window), None, None, None, None


def _form(ctx: Any) -> MaxPoolForm:
    kernel_, stride, low, dilation = (tuple(ctx.window[i : i + 2]) for i in range(0, 8, 2))
    padding = tuple(zip(low, ctx.high, strict=True))
    return MaxPoolForm(Window(kernel_, stride, padding, dilation, (1, 1)), ctx.ceil, False)


_max_pool.register_autograd(_differentiate, setup_context=_setup)
_differentiable = differentiable(_max_pool, _compute, _setup, _differentiate)
