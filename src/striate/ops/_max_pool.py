"""Maximum pooling."""

from dataclasses import dataclass
from typing import Any, Literal, overload

from torch import Tensor

from striate.geometry import Padding, PerAxis, Window
from striate.ops._check import Shape, require_bool, require_overlap, require_spatial, require_tensors, require_window
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class MaxPoolForm:
    """The normal form of a maximum pooling; the operand is x (N x C x spatial), the results values and switches."""

    window: Window
    ceil: bool
    switches: bool


@overload
def max_pool(
    x: Tensor,
    kernel: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil: bool = False,
    return_switches: Literal[False] = False,
    impl: str = "auto",
) -> Tensor: ...


@overload
def max_pool(
    x: Tensor,
    kernel: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil: bool = False,
    return_switches: Literal[True],
    impl: str = "auto",
) -> tuple[Tensor, Tensor]: ...


def max_pool(
    x: Tensor,
    kernel: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil: bool = False,
    return_switches: bool = False,
    impl: str = "auto",
) -> Any:
    """Return the maximum of every window of x (5.22): N x C x spatial to N x C x outputs.

    kernel, stride, dilation: one integer or one per axis; the stride is the kernel unless given.
    padding: see `geometry.make_window`; a padded position is never the maximum.
    ceil: let a last window hang over the high end as long as it starts inside the input or the low padding.
    return_switches: also return where each maximum is, the row-major position in its input map (int64); of equal
    values the first in row-major order.
    impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> max_pool(torch.tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2)
    tensor([[[3., 2.]]])
    """
    form, operands = normal_form(x, kernel, stride, padding, dilation, ceil, return_switches)
    return compute("max_pool", impl, form, operands)


def normal_form(
    x: Tensor,
    kernel: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil: bool = False,
    return_switches: bool = False,
) -> tuple[MaxPoolForm, tuple[Tensor]]:
    """Return what `max_pool` of these arguments is to compute, checked, and on which tensor."""
    require_tensors("max_pool", x)
    return _form(x.shape, kernel, stride, padding, dilation, ceil, return_switches), (x,)


@remembered
def _form(
    x: Shape,
    kernel: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil: bool,
    return_switches: bool,
) -> MaxPoolForm:
    require_bool("max_pool", ceil=ceil, return_switches=return_switches)
    require_spatial("max_pool", x)
    stride = kernel if stride is None else stride
    window = require_window("max_pool", x, kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil)
    require_overlap("max_pool", x, window, ceil=ceil)
    return MaxPoolForm(window, ceil, return_switches)
