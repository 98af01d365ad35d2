"""From NumPy functions to a differentiable function of tensors."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Array = npt.NDArray[Any]


def apply(
    forward: Callable[..., tuple[Array, ...]], gradients: Sequence[Callable[..., Array]], *operands: Tensor | None
) -> tuple[Tensor, ...]:
    """Return forward(*operands) as tensors whose first is differentiable.

    forward: float64 arrays -> arrays. gradients: one function for each operand, of the gradient with respect to the
    first result and the operands. Results of real numbers are rounded once, to the first operand's dtype.
    """
    return cast("tuple[Tensor, ...]", _Numpy.apply(forward, gradients, *operands))  # type: ignore[no-untyped-call]


class _Numpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forward: Any, gradients: Any, *operands: Tensor | None) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*operands)
        ctx.gradients = gradients
        like = cast("Tensor", operands[0])
        results = tuple(_tensor(array, like) for array in forward(*map(_array, operands)))
        ctx.mark_non_differentiable(*(result for result in results if not result.is_floating_point()))
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        arrays = [_array(operand) for operand in ctx.saved_tensors]
        needed = ctx.needs_input_grad[2:]
        return (
            None,
            None,
            *(
                _tensor(gradient(_array(grad), *arrays), operand) if need else None
                for gradient, operand, need in zip(ctx.gradients, ctx.saved_tensors, needed, strict=True)
            ),
        )


def _array(tensor: Tensor | None) -> Array | None:
    return None if tensor is None else tensor.detach().to("cpu", torch.float64).numpy()


def _tensor(array: Array, like: Tensor) -> Tensor:
    dtype = like.dtype if np.issubdtype(array.dtype, np.floating) else None
    return torch.from_numpy(array.copy()).to(like.device, dtype)
