"""Maximum pooling by PyTorch's, on an input padded by hand where PyTorch does not."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.ops._max_pool import MaxPoolForm
from striate.ops.impl.aten.padding import crop_ends, exact_padding, pad

_MAX_POOL: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def supports(form: MaxPoolForm, *_: Any) -> str | None:
    """Return None, or why PyTorch's pooling cannot compute this."""
    return None if form.window.rank in _MAX_POOL else f"{form.window.rank} spatial axes, only 1 to 3"


def forward(form: MaxPoolForm, x: Tensor) -> Any:
    """Return N x C x outputs, and the switches if the form asks for them."""
    window, padding = form.window, form.window.symmetric_padding
    pool = _MAX_POOL[window.rank]
    if padding is not None and all(2 * p <= m for p, m in zip(padding, window.kernel, strict=True)):
        return pool(x, window.kernel, window.stride, padding, window.dilation, form.ceil, form.switches)
    size, x = x.shape[2:], crop_ends(x, window)
    padding_exact = exact_padding(size, x.shape[2:], window, ceil=form.ceil)
    padded = pad(x, padding_exact, value=float("-inf"))
    result = pool(padded, window.kernel, window.stride, 0, window.dilation, False, form.switches)
    if not form.switches:
        return result
    values, switches = result
    switches = _unpad(switches, padded.shape[2:], size, [low for low, _ in padding_exact])
    return values, torch.where(values == float("-inf"), _first(form, values, size), switches)


def _first(form: MaxPoolForm, values: Tensor, size: torch.Size) -> Tensor:
    """Return the first position of each window that is in the input: the switch if all of them are -inf."""
    window = form.window
    first = torch.zeros((), dtype=torch.long, device=values.device)
    for axis, outputs in enumerate(values.shape[2:]):
        start = torch.arange(outputs, device=values.device) * window.stride[axis] - window.padding[axis][0]
        outside = torch.div(-start + window.dilation[axis] - 1, window.dilation[axis], rounding_mode="floor")
        start = start + outside.clamp(min=0) * window.dilation[axis]
        first = first[..., None] * size[axis] + start
    return first


def _unpad(switches: Tensor, padded: torch.Size, size: torch.Size, lows: list[int]) -> Tensor:
    """Turn row-major positions in the padded map into those in the input map."""
    result, factor = torch.zeros_like(switches), 1
    for n_padded, n, low in zip(reversed(padded), reversed(size), reversed(lows), strict=True):
        result = result + (switches % n_padded - low) * factor
        switches, factor = switches // n_padded, factor * n
    return result
