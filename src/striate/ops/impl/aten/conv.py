"""Convolution by PyTorch's convolution, transposed convolution, padding and slicing."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from striate.ops._conv import ConvForm, LinkRows
from striate.ops.impl.aten.conv_transpose import transpose
from striate.ops.impl.aten.padding import pad

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def supports(form: ConvForm, *_: Any) -> str | None:
    """Return None, or why PyTorch's convolutions cannot compute this."""
    return None if form.window.rank in _CONV else f"{form.window.rank} spatial axes, only 1 to 3"


def forward(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Return N x P x outputs."""
    window = form.window
    if form.links is not None:
        w = _dense(w, form.links)
    if window.upsamples and max(window.stride) == 1:
        return _transposed(form, x, w, b)
    if form.flip:
        w = w.flip(tuple(range(2, w.ndim)))
    if window.upsamples:
        x = _put_zeros(x, window.upsample)
    padding = window.symmetric_padding
    if padding is None:
        x, padding = pad(x, window.padding), (0,) * window.rank
    return _CONV[window.rank](x, w, b, window.stride, padding, window.dilation, form.groups)


def _dense(w: Tensor, links: LinkRows) -> Tensor:
    """Put linked kernels into a dense P x D x kernel weight, zero where there is no link."""
    outputs, inputs = len(links), len(links[0])
    dense = w.new_zeros((outputs * inputs, *w.shape[1:])).index_put((_places(links, w.device),), w)
    return dense.view(outputs, inputs, *w.shape[1:])


def _places(links: LinkRows, device: torch.device) -> Tensor:
    """Return where the ones of the table are, counted row after row."""
    if torch.compiler.is_compiling():
        return torch.tensor(_found(links), dtype=torch.long, device=device)
    return torch.from_numpy(_remembered_found(links)).to(device)  # an array: a tensor may belong to a mode that ends


def _found(links: LinkRows) -> list[int]:
    return [place for place, link in enumerate(link for row in links for link in row) if link]


@lru_cache(maxsize=256)
def _remembered_found(links: LinkRows) -> npt.NDArray[np.int64]:
    return np.array(_found(links), dtype=np.int64)


def _transposed(form: ConvForm, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """Upsample and convolve at stride 1 as a transposed convolution, which multiplies no zeros (chapter 5.5.1).

    It gives the full convolution; less padding crops its ends, more padding adds to them.
    """
    window, groups = form.window, form.groups
    w = w.reshape(groups, -1, *w.shape[1:]).transpose(1, 2).flatten(0, 1)
    if not form.flip:  # the transposed convolution turns the kernel around by itself
        w = w.flip(tuple(range(2, w.ndim)))
    crop = tuple(
        (m - 1 - low, m - 1 - high) for (low, high), m in zip(window.padding, window.effective_kernel, strict=True)
    )
    return transpose(x, w, b, window.upsample, crop, window.dilation, groups)


def _put_zeros(x: Tensor, upsample: tuple[int, ...]) -> Tensor:
    """Put upsample - 1 zeros between neighbours on each spatial axis."""
    size = [(n - 1) * u + 1 for n, u in zip(x.shape[2:], upsample, strict=True)]
    y = x.new_zeros((*x.shape[:2], *size))
    every: tuple[Any, ...] = (..., *(slice(None, None, u) for u in upsample))
    y[every] = x
    return y
