"""The scaled hyperbolic tangent by `scaled_tanh.h`: one pass over memory, in any dense layout."""

from typing import Any

import torch
from torch import Tensor

from striate.ops._scaled_tanh import ScaledTanhForm
from striate.ops.impl.aten import scaled_tanh as aten
from striate.ops.impl.native.library import (
    channels_last,
    differentiable,
    differentiable_again,
    kernel,
    past_dispatcher,
    unusable,
)

_forward = kernel("scaled_tanh_forward", "ttiff")
_backward = kernel("scaled_tanh_backward", "tttiff")
_FEWEST = 2**13  # elements; measured with gradients: below, calling it takes longer than computing


def supports(form: ScaledTanhForm, x: Tensor) -> str | None:
    """Return None, or why the kernel does not compute this."""
    if reason := unusable(x):
        return reason
    if form.amplitude == 0:
        return "amplitude=0, for the gradient is had from the result"
    return f"fewer than {_FEWEST} elements, where it is not faster" if x.numel() < _FEWEST else None


def forward(form: ScaledTanhForm, x: Tensor) -> Tensor:
    """Return a tensor of the shape of x, and of its layout if that is dense."""
    result: Tensor = _differentiable(x, form.amplitude, form.slope)
    return result


def _compute(x: Tensor, amplitude: float, slope: float) -> Tensor:
    x = _dense(x)
    y = torch.empty_like(x)
    _forward(x, y, x.numel(), amplitude, slope)
    return y


def _compute_backward(y: Tensor, grad: Tensor, amplitude: float, slope: float) -> Tensor:
    result = torch.empty_like(y)
    if grad.stride() != y.stride():
        grad = torch.empty_like(y).copy_(grad)
    _backward(y, grad, result, y.numel(), amplitude, slope)
    return result


def _dense(x: Tensor) -> Tensor:
    """Return x itself if its elements fill a block of memory in an order that is known, else a copy."""
    return x if x.is_contiguous() or (x.ndim == 4 and channels_last(x)) else x.contiguous()


_scaled_tanh = torch.library.custom_op("striate::scaled_tanh", mutates_args=(), device_types="cpu")(_compute)
_scaled_tanh_backward = torch.library.custom_op("striate::scaled_tanh_backward", mutates_args=(), device_types="cpu")(
    _compute_backward
)
_backward_of = past_dispatcher(_scaled_tanh_backward, _compute_backward)


@_scaled_tanh.register_fake
def _(x: Tensor, amplitude: float, slope: float) -> Tensor:
    return torch.empty_like(_dense(x))


@_scaled_tanh_backward.register_fake
def _(y: Tensor, grad: Tensor, amplitude: float, slope: float) -> Tensor:
    return torch.empty_like(y)


def _setup(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
    x, *ctx.settings = inputs
    ctx.save_for_backward(x, output)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
    x, y = ctx.saved_tensors
    if torch.is_grad_enabled():
        form = ScaledTanhForm(*ctx.settings)
        return (*differentiable_again(lambda x: aten.forward(form, x), (x,), grad), None, None)
    return _backward_of(y, grad, *ctx.settings), None, None


_scaled_tanh.register_autograd(_differentiate, setup_context=_setup)
_differentiable = differentiable(_scaled_tanh, _compute, _setup, _differentiate)
