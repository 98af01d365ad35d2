"""Local response normalisation by its definition."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._local_response_norm import LocalResponseNormForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: LocalResponseNormForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: LocalResponseNormForm, x: Tensor) -> Tensor:
    """Return a tensor of the shape of x."""
    how = asdict(form)
    (y,) = apply(
        lambda x: (reference.local_response_norm(x, **how),),
        (lambda grad, x: reference.local_response_norm_grad_input(grad, x, **how),),
        x,
    )
    return y
