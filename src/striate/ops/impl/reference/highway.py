"""The highway gate by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._highway import HighwayForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: HighwayForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(_form: HighwayForm, x: Tensor, h: Tensor, t: Tensor) -> Tensor:
    """Return a tensor of the shape of x."""
    (y,) = apply(
        lambda x, h, t: (reference.highway(x, h, t),),
        (
            lambda grad, _x, _h, t: reference.highway_grad_input(grad, t),
            lambda grad, _x, _h, t: reference.highway_grad_transform(grad, t),
            lambda grad, x, h, _t: reference.highway_grad_gate(grad, x, h),
        ),
        x,
        h,
        t,
    )
    return y
