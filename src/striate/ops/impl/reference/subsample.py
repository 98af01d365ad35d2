"""Subsampling by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._subsample import SubsampleForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: SubsampleForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: SubsampleForm, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return N x C x outputs."""
    window, mean, size = form.window, form.mean, x.shape[2:]
    (y,) = apply(
        lambda x, w, b: (reference.subsample(x, w, b, window, mean=mean),),
        (
            lambda grad, _x, w, _b: reference.subsample_grad_input(grad, w, window, size, mean=mean),
            lambda grad, x, _w, _b: reference.subsample_grad_weight(grad, x, window, mean=mean),
            lambda grad, _x, _w, _b: reference.conv_grad_bias(grad),
        ),
        x,
        weight,
        bias,
    )
    return y
