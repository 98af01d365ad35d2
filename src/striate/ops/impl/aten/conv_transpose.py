"""Transposed convolution by PyTorch's, whose result is cropped or extended where PyTorch's options do not reach."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from striate.ops._conv_transpose import ConvTransposeForm
from striate.ops.impl.aten.padding import pad

_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def supports(form: ConvTransposeForm, *_: Any) -> str | None:
    """Return None, or why PyTorch's transposed convolutions cannot compute this."""
    return None if form.window.rank in _CONV_TRANSPOSE else f"{form.window.rank} spatial axes, only 1 to 3"


def forward(form: ConvTransposeForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x P x outputs."""
    if form.flip:
        w = w.flip(tuple(range(2, w.ndim)))
    window = form.window
    return transpose(x, w, b, window.stride, window.padding, window.dilation, form.groups)


def transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    stride: tuple[int, ...],
    crop: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """Return the whole transposed convolution less `crop`, (low, high) outputs on each axis; negative ones add."""
    both, extra, rest = zip(*map(_split, crop, stride, dilation), strict=True)
    bias_last = b is not None and any(end > 0 for pair in rest for end in pair)
    convolve = _CONV_TRANSPOSE[x.ndim - 2]
    y = pad(convolve(x, w, None if bias_last else b, stride, both, extra, groups, dilation), rest)
    if b is not None and bias_last:
        return y + b.to(y.dtype).view(-1, *(1,) * (x.ndim - 2))
    return y.clone() if any(end < 0 for pair in rest for end in pair) else y  # a tensor of its own, in the same order


def _split(crop: tuple[int, int], stride: int, dilation: int) -> tuple[int, int, tuple[int, int]]:
    """Split an axis' crop into PyTorch's: padding at both ends, output padding at the high end; and what is left."""
    low, high = crop
    if low >= 0 and 0 <= low - high < max(stride, dilation):
        return low, low - high, (0, 0)
    both = max(min(low, high), 0)
    return both, 0, (both - low, both - high)
