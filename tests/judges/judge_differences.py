"""Finite differences as judges of gradients, and of gradients of gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Function = Callable[..., Tensor]


def gradient_error(function: Function, operands: Sequence[Tensor], seed: int, step: float = 1e-5) -> float:
    """Return how far a directional derivative by autograd is from central differences, relative to its terms.

    function: float64 operands -> one tensor. Direction and weights of the outputs are random. The error is that of the
    sum over the outputs, over the sum of their absolute values: what cancels does not make it look larger.
    """
    generator = torch.Generator().manual_seed(seed)
    leaves = [operand.detach().clone().requires_grad_() for operand in operands]
    directions = [_randn(leaf, generator) for leaf in leaves]
    y = function(*leaves)
    weights = _randn(y, generator)
    # an output that depends on no operand has no derivative: the differences below say whether that is so
    gradients = torch.autograd.grad(y, leaves, weights, materialize_grads=True) if y.requires_grad else ()
    with torch.no_grad():
        analytic = y.new_zeros(()) + sum((g * v).sum() for g, v in zip(gradients, directions, strict=False))
    moved = [
        function(*(leaf.detach() + sign * step * v for leaf, v in zip(leaves, directions, strict=True))).detach()
        for sign in (1, -1)
    ]
    terms = weights * (moved[0] - moved[1]) / (2 * step)
    scale = terms.abs().sum().item()
    return abs(terms.sum() - analytic).item() / (scale if scale > 0 else 1.0)


def gradient_of(function: Function, seed: int) -> Function:
    """Return the function from operands to all its gradients in one row, for random weights; differentiable."""

    def gradients(*operands: Tensor) -> Tensor:
        leaves = [each if each.requires_grad else each.detach().clone().requires_grad_() for each in operands]
        y = function(*leaves)
        weights = _randn(y, torch.Generator().manual_seed(seed + 1))
        found = torch.autograd.grad(y, leaves, weights, create_graph=True, materialize_grads=True)
        return torch.cat([each.flatten() for each in found])

    return gradients


def _randn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)
