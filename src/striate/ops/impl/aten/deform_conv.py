"""Deformable convolution: read the moved places as rows of channels, then one matrix product with the kernels."""

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.geometry import Window
from striate.ops._deform_conv import DeformConvForm
from striate.ops.impl.aten.bilinear import gather

_LOW, _HIGH = 1, 2  # zeros around the image: a place clamped to [-1, H] has corners in [-1, H + 1]


def supports(_form: DeformConvForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(
    form: DeformConvForm, x: Tensor, offset: Tensor, w: Tensor, b: Tensor | None, mask: Tensor | None
) -> Tensor:
    """Return N x P x Ho x Wo."""
    n, channels, height, width = x.shape
    taps, groups, places = prod(form.window.kernel), form.groups, form.offset_groups
    base, weights = _places(form, (height, width), offset, mask)
    padded = F.pad(x, (_LOW, _HIGH, _LOW, _HIGH))
    table = padded.permute(0, 2, 3, 1).reshape(-1, channels // places)  # rows: image, y, x, offset group
    below = padded.shape[3] * places
    samples = gather(table, base.flatten(), weights.flatten(0, -2).to(x.dtype), (0, places, below, below + places))
    outputs = offset.shape[2:]
    if groups == 1:
        y = F.linear(samples.reshape(n, *outputs, taps * channels), w.permute(0, 2, 3, 1).flatten(1), b)
    else:
        split = samples.reshape(n, *outputs, taps, groups, channels // groups)
        kernels = w.reshape(groups, -1, *w.shape[1:]).flatten(3)
        y = torch.einsum("nyxkgc,gpck->nyxgp", split, kernels).flatten(3)
        y = y if b is None else y + b.to(y.dtype)
    y = y.permute(0, 3, 1, 2)
    return y if channels > 1 and x.stride(1) == 1 else y.contiguous()


def _places(form: DeformConvForm, size: tuple[int, int], offset: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return each place's upper left corner as a row of the table, and the weights of its four corners.

    Both for every image, output row, output column, kernel position and offset group, in this order.
    """
    n, _, *outputs = offset.shape
    groups, taps = form.offset_groups, prod(form.window.kernel)
    moves = offset.view(n, groups, taps, 2, *outputs).permute(3, 0, 4, 5, 2, 1)
    moves = moves.to(torch.promote_types(offset.dtype, torch.float32))  # half precision cannot tell pixels apart
    corners, shares = [], []
    for axis, (move, extent) in enumerate(zip(moves, size, strict=True)):
        place = (move + _grid(form.window, axis, outputs, move)).clamp(-1, extent)  # a place beyond reads nothing
        corner = place.detach().floor()
        share = place - corner
        corners.append(corner.nan_to_num().long() + _LOW)
        shares.append(torch.stack([1 - share, share], -1))
    image = torch.arange(n, device=offset.device).view(n, 1, 1, 1, 1) * (size[0] + _LOW + _HIGH)
    base = ((image + corners[0]) * (size[1] + _LOW + _HIGH) + corners[1]) * groups
    weights = (shares[0].unsqueeze(-1) * shares[1].unsqueeze(-2)).flatten(-2)
    if mask is not None:
        weights = weights * mask.view(n, groups, taps, *outputs).permute(0, 3, 4, 2, 1).unsqueeze(-1)
    return base + torch.arange(groups, device=offset.device), weights


def _grid(window: Window, axis: int, outputs: list[int], like: Tensor) -> Tensor:
    """Return where the window's positions are before they move: Ho x 1 or 1 x Wo, then kernel positions x 1."""
    k = torch.arange(window.kernel[axis], device=like.device) * window.dilation[axis] - window.padding[axis][0]
    o = torch.arange(outputs[axis], device=like.device) * window.stride[axis]
    k = k.repeat_interleave(window.kernel[1]) if axis == 0 else k.repeat(window.kernel[0])
    grid = (o[:, None] + k).to(like.dtype)
    return (grid[:, None] if axis == 0 else grid[None])[..., None]
