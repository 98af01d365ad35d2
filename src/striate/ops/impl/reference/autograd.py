"""From NumPy functions to a differentiable function of tensors."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from striate.errors import InputError

Array = npt.NDArray[Any]


def apply(
    forward: Callable[..., tuple[Array, ...]],
    gradients: Sequence[Callable[..., Array] | None],
    *operands: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return forward(*operands) as tensors whose first is differentiable.

    forward: float64 arrays -> arrays. gradients: one function for each operand, of the gradient with respect to the
    first result and the operands; None for integers. Results of
    real numbers are rounded once, to the first operand's dtype.
    """
    return cast("tuple[Tensor, ...]", _Numpy.apply(forward, gradients, *operands))  # type: ignore[no-untyped-call]


class _Numpy(torch.autograd.Function):
    @staticmethod
    def forward(forward: Any, _gradients: Any, *operands: Tensor | None) -> tuple[Tensor, ...]:
        like = cast("Tensor", operands[0])
        return tuple(_tensor(array, like) for array in forward(*map(_array, operands)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, ctx.gradients, *operands = inputs
        ctx.save_for_backward(*operands)
        ctx.mark_non_differentiable(*(result for result in output if not result.is_floating_point()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        needed = enumerate(zip(ctx.gradients, ctx.needs_input_grad[2:], strict=True))
        return (
            None,
            None,
            *(
                _NumpyGradient.apply(gradient, at, grad, *ctx.saved_tensors) if need else None  # type: ignore[no-untyped-call]
                for at, (gradient, need) in needed
            ),
        )

    @staticmethod
    def vmap(*_: Any) -> Any:
        raise InputError("the reference computes with NumPy, which torch.func.vmap cannot map: use impl='aten'")


class _NumpyGradient(torch.autograd.Function):
    """One gradient: a function of its own, so that torch.func.grad can look inside; it has no gradient itself."""

    @staticmethod
    def forward(gradient: Any, at: int, grad: Tensor, *operands: Tensor | None) -> Tensor:
        return _tensor(gradient(_array(grad), *map(_array, operands)), cast("Tensor", operands[at]))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(*_: Any) -> Any:
        raise InputError("the reference has first derivatives only: use impl='aten' for those of higher order")

    vmap = _Numpy.vmap


def _array(tensor: Tensor | None) -> Array | None:
    return None if tensor is None else tensor.detach().to("cpu", torch.float64).numpy()


def _tensor(array: Array, like: Tensor) -> Tensor:
    dtype = like.dtype if np.issubdtype(array.dtype, np.floating) else None
    return torch.from_numpy(array.copy()).to(like.device, dtype)
