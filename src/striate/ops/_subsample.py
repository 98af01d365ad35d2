"""The subsampling layer of LeNet-5."""

from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor

from striate.errors import InputError, did_you_mean
from striate.geometry import PerAxis, Window
from striate.ops._check import Shape, require_spatial, require_tensors, require_window
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class SubsampleForm:
    """The normal form of a subsampling; the operands are x (N x C x spatial), weight and bias (C numbers each)."""

    window: Window
    mean: bool


def subsample(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    kernel: PerAxis,
    *,
    stride: PerAxis | None = None,
    reduce: Literal["mean", "sum"] = "mean",
    impl: str = "auto",
) -> Tensor:
    """Return weight * Y + bias for every map, Y the mean or the sum of each window: (5.24) without its activation.

    x: N x C x spatial. weight, bias: C numbers. kernel, stride: one integer or one per axis; the stride is the kernel
    unless given. The chapter pools the mean; LeCun et al. 1998 (section II.B, S2) add the inputs up: reduce="sum".
    impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> subsample(torch.tensor([[[1.0, 3.0]]]), torch.tensor([2.0]), torch.tensor([0.5]), 2)
    tensor([[[4.5000]]])
    """
    form, operands = normal_form(x, weight, bias, kernel, stride, reduce)
    return cast("Tensor", compute("subsample", impl, form, operands))


def normal_form(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    kernel: PerAxis,
    stride: PerAxis | None = None,
    reduce: Literal["mean", "sum"] = "mean",
) -> tuple[SubsampleForm, tuple[Tensor, Tensor, Tensor]]:
    """Return what `subsample` of these arguments is to compute, checked, and on which tensors."""
    require_tensors("subsample", x, weight=weight, bias=bias)
    return _form(x.shape, weight.shape, bias.shape, kernel, stride, reduce), (x, weight, bias)


@remembered
def _form(x: Shape, weight: Shape, bias: Shape, kernel: PerAxis, stride: PerAxis | None, reduce: str) -> SubsampleForm:
    if reduce not in {"mean", "sum"}:
        raise InputError(f"subsample: unknown reduce {reduce!r}{did_you_mean(str(reduce), ('mean', 'sum'))}")
    require_spatial("subsample", x)
    for name, shape in (("weight", weight), ("bias", bias)):
        if tuple(shape) != (x[1],):
            raise InputError(
                f"subsample: {name} {tuple(shape)} must be ({x[1]},), a number for each channel of the input {tuple(x)}"
            )
    stride = kernel if stride is None else stride
    return SubsampleForm(require_window("subsample", x, kernel, stride=stride, ceil=False), reduce == "mean")
