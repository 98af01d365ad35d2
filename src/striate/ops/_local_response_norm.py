"""Local response normalisation across channels."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from striate.errors import InputError
from striate.ops._check import Shape, require_spatial, require_tensors
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class LocalResponseNormForm:
    """The normal form of a local response normalisation; the operand is x (N x C x spatial)."""

    size: int
    alpha: float
    beta: float
    k: float


def local_response_norm(
    x: Tensor, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, impl: str = "auto"
) -> Tensor:
    """Return x / (k + alpha * S)^beta, S the sum of x^2 over `size` neighbouring channels at the same position.

    Krizhevsky et al. 2012, section 3.3, whose constants are the defaults. x: N x C x spatial; the result has its shape.
    Channel c has the neighbours c - size // 2 to c + (size - 1) // 2, fewer at the ends.
    alpha is not divided by size: PyTorch's and ONNX's alpha is this one times size.
    impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> local_response_norm(torch.tensor([[[1.0], [2.0]]]), size=1, alpha=1.0, beta=1.0, k=0.0)
    tensor([[[1.0000],
             [0.5000]]])
    """
    form, operands = normal_form(x, size, alpha, beta, k)
    return cast("Tensor", compute("local_response_norm", impl, form, operands))


def normal_form(
    x: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> tuple[LocalResponseNormForm, tuple[Tensor]]:
    """Return what `local_response_norm` of these arguments is to compute, checked, and on which tensor."""
    require_tensors("local_response_norm", x)
    return _form(x.shape, size, alpha, beta, k), (x,)


@remembered
def _form(x: Shape, size: Any, alpha: Any, beta: Any, k: Any) -> LocalResponseNormForm:
    require_spatial("local_response_norm", x)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InputError(f"local_response_norm: size must be an integer of 1 or more channels, got {size!r}")
    for name, value in (("alpha", alpha), ("beta", beta), ("k", k)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise InputError(f"local_response_norm: {name} must be a number of 0 or more, got {value!r}")
    return LocalResponseNormForm(size, float(alpha), float(beta), float(k))
