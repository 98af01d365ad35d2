"""Convolution by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._conv import ConvForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: ConvForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x P x outputs."""
    window, size = form.window, x.shape[2:]
    how: dict[str, Any] = {"groups": form.groups, "links": form.links, "flip": form.flip}
    (y,) = apply(
        lambda x, w, b: (reference.conv(x, w, b, window, **how),),
        (
            lambda grad, _x, w, _b: reference.conv_grad_input(grad, w, window, size, **how),
            lambda grad, x, _w, _b: reference.conv_grad_weight(grad, x, window, **how),
            lambda grad, _x, _w, _b: reference.conv_grad_bias(grad),
        ),
        x,
        w,
        b,
    )
    return y
