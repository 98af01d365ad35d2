"""Deformable convolution by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._deform_conv import DeformConvForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: DeformConvForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(
    form: DeformConvForm, x: Tensor, offset: Tensor, w: Tensor, b: Tensor | None, mask: Tensor | None
) -> Tensor:
    """Return N x P x Ho x Wo."""
    window, how = form.window, {"groups": form.groups, "offset_groups": form.offset_groups}
    (y,) = apply(
        lambda x, offset, w, b, mask: (reference.deform_conv(x, offset, w, b, mask, window, **how),),
        (
            lambda grad, x, offset, w, _b, mask: reference.deform_conv_grad_input(
                grad, x, offset, w, mask, window, **how
            ),
            lambda grad, x, offset, w, _b, mask: reference.deform_conv_grad_offset(
                grad, x, offset, w, mask, window, **how
            ),
            lambda grad, x, offset, _w, _b, mask: reference.deform_conv_grad_weight(
                grad, x, offset, mask, window, **how
            ),
            lambda grad, _x, _offset, _w, _b, _mask: reference.conv_grad_bias(grad),
            lambda grad, x, offset, w, _b, mask: reference.deform_conv_grad_mask(
                grad, x, offset, w, mask, window, **how
            ),
        ),
        x,
        offset,
        w,
        b,
        mask,
    )
    return y
