"""Mean pooling by PyTorch's, on an input padded by hand where PyTorch does not."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.geometry import Window, window_sizes
from striate.ops._avg_pool import AvgPoolForm
from striate.ops._dispatch import remembered
from striate.ops._subsample import SubsampleForm
from striate.ops.impl.aten.padding import crop_ends, exact_padding, pad

_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_window_sizes = remembered(window_sizes)


def supports(form: AvgPoolForm | SubsampleForm, x: Tensor, *_: Any) -> str | None:
    """Return None, or why PyTorch's pooling cannot compute this."""
    if form.window.rank not in _AVG_POOL:
        return f"{form.window.rank} spatial axes, only 1 to 3"
    if form.window.rank == 3 and x.device.type == "cpu" and x.dtype in {torch.bfloat16, torch.float16}:
        return f"{x.dtype} over 3 spatial axes on a CPU: PyTorch has no mean pooling for it"
    return None


def forward(form: AvgPoolForm, x: Tensor) -> Tensor:
    """Return N x C x outputs."""
    window, padding = form.window, form.window.symmetric_padding
    if padding is not None and all(2 * p <= m for p, m in zip(padding, window.kernel, strict=True)):
        return mean(window, x, padding, ceil=form.ceil, count_padding=form.count_padding)
    cropped = crop_ends(x, window)
    padded = pad(cropped, exact_padding(x.shape[2:], cropped.shape[2:], window, ceil=form.ceil))
    sums = mean(window, padded, (0,) * window.rank) * prod(window.kernel)
    return sums / _counts(form, x)


def mean(
    window: Window, x: Tensor, padding: tuple[int, ...], *, ceil: bool = False, count_padding: bool = False
) -> Tensor:
    """Return the means of the windows of x with as many zeros at both ends of an axis."""
    return _AVG_POOL[window.rank](x, window.kernel, window.stride, padding, ceil, count_padding)


def _counts(form: AvgPoolForm, x: Tensor) -> Tensor:
    """Number of values in each window, as a tensor of the outputs' shape."""
    counts = torch.ones((), dtype=x.dtype, device=x.device)
    for axis in _window_sizes(x.shape[2:], form.window, ceil=form.ceil, count_padding=form.count_padding):
        counts = counts[..., None] * torch.tensor(axis, dtype=x.dtype, device=x.device)
    return counts
