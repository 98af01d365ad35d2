"""The gate of highway networks."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from striate.errors import InputError
from striate.ops._check import Shape, require_tensors
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class HighwayForm:
    """The normal form of a highway gate: nothing beyond the operands x, h and t, of one shape."""


def highway(x: Tensor, h: Tensor, t: Tensor, *, impl: str = "auto") -> Tensor:
    """Return h * t + x * (1 - t): how much of the layer's result h passes and of its input x is carried on.

    Srivastava et al. 2015, equation 3. x: the layer's input, h: its result, t: the gate, between 0 and 1; all of one
    shape, which the result has too. impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> highway(torch.tensor([1.0, 1.0]), torch.tensor([3.0, 3.0]), torch.tensor([0.0, 0.75]))
    tensor([1.0000, 2.5000])
    """
    form, operands = normal_form(x, h, t)
    return cast("Tensor", compute("highway", impl, form, operands))


def normal_form(x: Tensor, h: Tensor, t: Tensor) -> tuple[HighwayForm, tuple[Tensor, Tensor, Tensor]]:
    """Return what `highway` of these arguments is to compute, checked, and on which tensors."""
    require_tensors("highway", x, h=h, t=t)
    return _form(x.shape, h.shape, t.shape), (x, h, t)


@remembered
def _form(x: Shape, h: Shape, t: Shape) -> HighwayForm:
    if not tuple(x) == tuple(h) == tuple(t):
        raise InputError(
            f"highway: the input {tuple(x)}, h {tuple(h)} and t {tuple(t)} must have one shape: the layer keeps the"
            " shape of its input, and the gate has a value for each of its elements"
        )
    return HighwayForm()
