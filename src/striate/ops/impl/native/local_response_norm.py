"""Local response normalisation by `local_response_norm.h`: one pass over each pixel's channels."""

from typing import Any

import torch
from torch import Tensor

from striate.ops._local_response_norm import LocalResponseNormForm
from striate.ops.impl.aten import local_response_norm as aten
from striate.ops.impl.native.library import (
    as_channels_last,
    channels_last,
    differentiable,
    differentiable_again,
    kernel,
    past_dispatcher,
    unusable,
)

_forward = kernel("lrn_forward", "ttiiiff")
_backward = kernel("lrn_backward", "tttiiiff")


def supports(form: LocalResponseNormForm, x: Tensor) -> str | None:
    """Return None, or why the kernel does not compute this."""
    if reason := unusable(x, dtypes=(torch.float32, torch.bfloat16)):
        return reason
    if x.ndim != 4 or not channels_last(x):
        return "a memory layout other than channels last (images N x C x H x W)"
    if form.beta != 0.75:
        return f"beta={form.beta:g}, only 0.75"
    return "k=0, where a pixel of zeros divides by zero" if form.k == 0 else None


def forward(form: LocalResponseNormForm, x: Tensor) -> Tensor:
    """Return a tensor of the shape, layout and type of x; bfloat16 is computed in float32."""
    result: Tensor = _differentiable(x.float(), form.size, form.alpha, form.k)
    return result.to(x.dtype)


def _compute(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    x = as_channels_last(x)
    y = torch.empty_like(x)
    _forward(x, y, x.numel() // max(x.shape[1], 1), x.shape[1], size, alpha, k)
    return y


def _compute_backward(x: Tensor, grad: Tensor, size: int, alpha: float, k: float) -> Tensor:
    x, grad = as_channels_last(x), as_channels_last(grad)
    result = torch.empty_like(x)
    _backward(x, grad, result, x.numel() // max(x.shape[1], 1), x.shape[1], size, alpha, k)
    return result


_lrn = torch.library.custom_op("striate::local_response_norm", mutates_args=(), device_types="cpu")(_compute)
_lrn_backward = torch.library.custom_op("striate::local_response_norm_backward", mutates_args=(), device_types="cpu")(
    _compute_backward
)
_backward_of = past_dispatcher(_lrn_backward, _compute_backward)


@_lrn.register_fake
def _(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


@_lrn_backward.register_fake
def _(x: Tensor, grad: Tensor, size: int, alpha: float, k: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _setup(ctx: Any, inputs: tuple[Tensor, int, float, float], output: Tensor) -> None:
    x, *ctx.settings = inputs
    ctx.save_for_backward(x)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
    (x,) = ctx.saved_tensors
    size, alpha, k = ctx.settings
    if torch.is_grad_enabled():
        form = LocalResponseNormForm(size, alpha, 0.75, k)
        return *differentiable_again(lambda x: aten.forward(form, x), (x,), grad), None, None, None
    return _backward_of(x, grad, size, alpha, k), None, None, None


_lrn.register_autograd(_differentiate, setup_context=_setup)
_differentiable = differentiable(_lrn, _compute, _setup, _differentiate)
