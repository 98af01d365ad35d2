"""The dense layer by oneDNN, where MKL is slow: the same products, up to one and a half times as fast in training."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.ops._constant import constant

# measured on an AMD processor, forward and backward: below, the call itself costs more than MKL loses
_FEWEST_ROWS = 8
_FEWEST_WEIGHTS = 2_000_000

_asked: ContextVar[bool] = ContextVar("onednn_linear", default=False)


@contextmanager
def onednn_linear() -> Iterator[None]:
    """Within the block, compute large dense layers in float32 by oneDNN; what torch.compile compiled stays as it is."""
    token = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(token)


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """Return x w^T + b: x of N x inputs (or any leading axes), w of outputs x inputs, b of outputs."""
    if _was_asked() and _pays(x, w, b):
        result: Tensor = _linear(x, w, b)
        return result
    return F.linear(x, w, b)


def _pays(x: Tensor, w: Tensor, b: Tensor | None) -> bool:
    """Whether oneDNN computes this, and is known to be faster."""
    if x.ndim != 2 or w.ndim != 2 or x.shape[0] < _FEWEST_ROWS or w.numel() < _FEWEST_WEIGHTS:
        return False
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_exporting():
        return False
    if not torch.compiler.is_compiling() and (
        torch._C._functorch.maybe_current_level() is not None or torch.autograd.forward_ad._current_level >= 0
    ):
        return False
    return all(t is None or (t.device.type == "cpu" and t.dtype == torch.float32) for t in (x, w, b)) and _built()


@constant  # torch.compile reads no context variable
def _was_asked() -> bool:
    return _asked.get()


@constant
def _built() -> bool:
    there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return there and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _times(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a b^T (+ bias) by oneDNN, which takes transposed matrices as they lie."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return product


@torch.library.custom_op("striate::linear", mutates_args=(), device_types="cpu")
def _linear(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    return _times(x.contiguous(), w.contiguous(), b)


@torch.library.custom_op("striate::linear_backward", mutates_args=(), device_types="cpu")
def _linear_backward(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    grad, x, w = grad.contiguous(), x.contiguous(), w.contiguous()
    return _times(grad, w.t()), _times(grad.t(), x.t())


@_linear.register_fake
def _(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], w.shape[0]))


@_linear_backward.register_fake
def _(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), w.new_empty(w.shape)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    x, w, _ = inputs
    ctx.save_for_backward(x, w)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, w = ctx.saved_tensors
    needs_x, needs_w, needs_b = ctx.needs_input_grad
    grad_b = grad.sum(0) if needs_b else None
    if torch.is_grad_enabled() or not (needs_x and needs_w):  # to be differentiated again, or half of the work
        return grad @ w if needs_x else None, grad.t() @ x if needs_w else None, grad_b
    return *_linear_backward(grad, x, w), grad_b


_linear.register_autograd(_differentiate, setup_context=_setup)
