"""Transposed convolution by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._conv_transpose import ConvTransposeForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: ConvTransposeForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: ConvTransposeForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x P x outputs."""
    window = form.window
    how: dict[str, Any] = {"groups": form.groups, "flip": form.flip}
    (y,) = apply(
        lambda x, w, b: (reference.conv_transpose(x, w, b, window, form.size, **how),),
        (
            lambda grad, _x, w, _b: reference.conv_transpose_grad_input(grad, w, window, **how),
            lambda grad, x, _w, _b: reference.conv_transpose_grad_weight(grad, x, window, **how),
            lambda grad, _x, _w, _b: reference.conv_transpose_grad_bias(grad),
        ),
        x,
        w,
        b,
    )
    return y
