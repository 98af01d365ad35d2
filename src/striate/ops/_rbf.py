"""Euclidean radial basis functions, the output layer of LeNet-5."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from striate.errors import InputError
from striate.ops._check import Shape, require_tensors
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class RbfForm:
    """The normal form of radial basis functions: nothing beyond the operands x (N x D) and centres (K x D)."""


def rbf(x: Tensor, centres: Tensor, *, impl: str = "auto") -> Tensor:
    """Return the squared Euclidean distance of every row of x to every centre (LeCun et al. 1998, equation 7).

    x: N x D. centres: K x D. Returns N x K, never negative, also near a centre.
    impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> rbf(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([[0., 5.]])
    """
    form, operands = normal_form(x, centres)
    return cast("Tensor", compute("rbf", impl, form, operands))


def normal_form(x: Tensor, centres: Tensor) -> tuple[RbfForm, tuple[Tensor, Tensor]]:
    """Return what `rbf` of these arguments is to compute, checked, and on which tensors."""
    require_tensors("rbf", x, centres=centres)
    return _form(x.shape, centres.shape), (x, centres)


@remembered
def _form(x: Shape, centres: Shape) -> RbfForm:
    if len(x) != 2 or len(centres) != 2 or x[1] != centres[1]:
        raise InputError(
            f"rbf: the input {tuple(x)} and the centres {tuple(centres)} must be N x D and K x D with the same D"
        )
    return RbfForm()
