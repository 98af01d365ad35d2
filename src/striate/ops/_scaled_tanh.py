"""The activation of LeNet-5."""

from dataclasses import dataclass
from math import isfinite
from typing import cast

from torch import Tensor

from striate.errors import InputError
from striate.ops._check import require_tensors
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class ScaledTanhForm:
    """The normal form of a scaled hyperbolic tangent; the operand is x, of any shape."""

    amplitude: float
    slope: float


def scaled_tanh(x: Tensor, *, amplitude: float = 1.7159, slope: float = 2 / 3, impl: str = "auto") -> Tensor:
    """Return amplitude * tanh(slope * x): with the defaults f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A).

    x: any shape, which the result has too. impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> scaled_tanh(torch.tensor([-1.0, 0.0, 1.0, 100.0]))
    tensor([-1.0000,  0.0000,  1.0000,  1.7159])
    """
    form, operands = normal_form(x, amplitude, slope)
    return cast("Tensor", compute("scaled_tanh", impl, form, operands))


def normal_form(x: Tensor, amplitude: float = 1.7159, slope: float = 2 / 3) -> tuple[ScaledTanhForm, tuple[Tensor]]:
    """Return what `scaled_tanh` of these arguments is to compute, checked, and on which tensor."""
    require_tensors("scaled_tanh", x)
    return _form(amplitude, slope), (x,)


@remembered
def _form(amplitude: float, slope: float) -> ScaledTanhForm:
    for name, value in (("amplitude", amplitude), ("slope", slope)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise InputError(f"scaled_tanh: {name} must be a finite number, got {value!r}")
    return ScaledTanhForm(float(amplitude), float(slope))
