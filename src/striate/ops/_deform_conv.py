"""Deformable convolution on images."""

from dataclasses import dataclass
from math import prod
from typing import cast

from torch import Tensor

from striate.errors import InputError
from striate.geometry import Padding, PerAxis, Window, output_size
from striate.ops._check import Shape, require_groups, require_tensors, require_window
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class DeformConvForm:
    """The normal form of a deformable convolution; the operands are x, offset, w, b and mask, the last two or None."""

    window: Window
    groups: int
    offset_groups: int


def deform_conv(
    x: Tensor,
    offset: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
    offset_groups: int = 1,
    impl: str = "auto",
) -> Tensor:
    """Slide the kernels w over x, each of their positions moved by an offset of its own (Dai et al. 2017, eq. 2-4).

    x: N x C x H x W. w: P x C/groups x kh x kw. b: P numbers. Returns N x P x Ho x Wo, the size that `conv` gives.
    offset: N x (2 G kh kw) x Ho x Wo in pixels, G = offset_groups, each for C / G successive channels; the pairs (y, x)
    innermost, as in the papers' code and in ONNX. Places between pixels are interpolated bilinearly, with zeros beyond
    the border; at whole pixels, where that has a kink, the gradient by the offset is the derivative from the right.
    mask: N x (G kh kw) x Ho x Wo, a factor for each place (Zhu et al. 2019, eq. 1), or None for ones.

    stride, dilation: one integer or one per axis. padding: as for `conv`; it only moves the places, so with a negative
    one the offsets still reach all of x. impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> half_a_pixel_right = torch.tensor([0.0, 0.5]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    >>> deform_conv(torch.tensor([[[[2.0, 4.0, 8.0]]]]), half_a_pixel_right, torch.ones(1, 1, 1, 1))
    tensor([[[[3., 6., 4.]]]])
    """
    form, operands = normal_form(x, offset, w, b, mask, stride, padding, dilation, groups, offset_groups)
    return cast("Tensor", compute("deform_conv", impl, form, operands))


def normal_form(
    x: Tensor,
    offset: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    mask: Tensor | None = None,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
    offset_groups: int = 1,
) -> tuple[DeformConvForm, tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]]:
    """Return what `deform_conv` of these arguments is to compute, checked, and on which tensors."""
    require_tensors("deform_conv", x, offset=offset, weight=w, bias=b, mask=mask)
    bias, factors = (None if tensor is None else tensor.shape for tensor in (b, mask))
    form = _form(x.shape, offset.shape, w.shape, bias, factors, stride, padding, dilation, groups, offset_groups)
    return form, (x, offset, w, b, mask)


@remembered
def _form(
    x: Shape,
    offset: Shape,
    w: Shape,
    b: Shape | None,
    mask: Shape | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    offset_groups: int,
) -> DeformConvForm:
    if len(x) != 4:
        raise InputError(f"deform_conv: the input must be N x C x H x W, for example (8, 3, 32, 32), got {tuple(x)}")
    _require_channels(x, w, b, groups)
    require_groups("deform_conv", "offset_groups", offset_groups, input=x[1])
    window = require_window(
        "deform_conv", x, tuple(w[2:]), stride=stride, padding=padding, dilation=dilation, ceil=False
    )
    outputs, places = output_size(x[2:], window), offset_groups * prod(window.kernel)
    for name, shape, numbers, what in (
        ("offset", offset, 2 * places, "2 * offset_groups * kh * kw"),
        ("mask", mask, places, "offset_groups * kh * kw"),
    ):
        if shape is not None and tuple(shape) != (x[0], numbers, *outputs):
            raise InputError(
                f"deform_conv: {name} {tuple(shape)} must be {(x[0], numbers, *outputs)}, {what} numbers for each"
                f" output, with the input {tuple(x)}, the weight {tuple(w)} and offset_groups={offset_groups}"
            )
    return DeformConvForm(window, groups, offset_groups)


def _require_channels(x: Shape, w: Shape, b: Shape | None, groups: int) -> None:
    if len(w) != 4 or min(w[:2]) < 1:
        raise InputError(f"deform_conv: the weight must be P x C/groups x kh x kw, none of them 0, got {tuple(w)}")
    require_groups("deform_conv", "groups", groups, output=w[0])
    if w[1] * groups != x[1]:
        raise InputError(
            f"deform_conv: weight {tuple(w)} with groups={groups} needs {w[1] * groups} input channels, the input"
            f" {tuple(x)} has {x[1]}"
        )
    if b is not None and tuple(b) != (w[0],):
        raise InputError(f"deform_conv: bias {tuple(b)} must be ({w[0]},), a number for each output channel")
