"""Mean pooling."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from striate.geometry import Padding, PerAxis, Window
from striate.ops._check import Shape, require_bool, require_overlap, require_spatial, require_tensors, require_window
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class AvgPoolForm:
    """The normal form of a mean pooling; the operand is x (N x C x spatial)."""

    window: Window
    ceil: bool
    count_padding: bool


def avg_pool(
    x: Tensor,
    kernel: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    ceil: bool = False,
    count_padding: bool = False,
    impl: str = "auto",
) -> Tensor:
    """Return the mean of every window of x (5.23): N x C x spatial to N x C x outputs.

    kernel, stride: one integer or one per axis; the stride is the kernel unless given.
    padding: see `geometry.make_window`. ceil: let a last window hang over the high end as long as it starts inside the
    input or the low padding.
    count_padding: divide by the window's positions in the input and its padding instead of those in the input alone.
    impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> avg_pool(torch.tensor([[[1.0, 3.0, 2.0, 0.0]]]), 2)
    tensor([[[2., 1.]]])
    """
    form, operands = normal_form(x, kernel, stride, padding, ceil, count_padding)
    return cast("Tensor", compute("avg_pool", impl, form, operands))


def normal_form(
    x: Tensor,
    kernel: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    ceil: bool = False,
    count_padding: bool = False,
) -> tuple[AvgPoolForm, tuple[Tensor]]:
    """Return what `avg_pool` of these arguments is to compute, checked, and on which tensor."""
    require_tensors("avg_pool", x)
    return _form(x.shape, kernel, stride, padding, ceil, count_padding), (x,)


@remembered
def _form(
    x: Shape, kernel: PerAxis, stride: PerAxis | None, padding: Padding, ceil: bool, count_padding: bool
) -> AvgPoolForm:
    require_bool("avg_pool", ceil=ceil, count_padding=count_padding)
    require_spatial("avg_pool", x)
    stride = kernel if stride is None else stride
    window = require_window("avg_pool", x, kernel, stride=stride, padding=padding, ceil=ceil)
    require_overlap("avg_pool", x, window, ceil=ceil)
    return AvgPoolForm(window, ceil, count_padding)
