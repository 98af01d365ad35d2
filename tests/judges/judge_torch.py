"""PyTorch's own functions as judges: each operator of ours written with what a PyTorch user would call."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from judge_draws import Call
from torch import Tensor

CONV = (F.conv1d, F.conv2d, F.conv3d)
CONV_TRANSPOSE = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
MAX_POOL = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
AVG_POOL = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
MAX_UNPOOL = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)

Operands = dict[str, Tensor]


def conv(call: Call, given: Operands) -> Tensor:
    x, words = given["x"], call.words
    for axis, u in enumerate(words["upsample"], start=2):  # zeros between neighbours
        x = torch.stack([x, *[torch.zeros_like(x)] * (u - 1)], axis + 1).flatten(axis, axis + 1)
        x = x.narrow(axis, 0, x.shape[axis] - (u - 1))
    x = F.pad(x, _flat(words["padding"]))
    w = _turned(given["w"], words["flip"])
    how = {"stride": words["stride"], "dilation": words["dilation"], "groups": words["groups"]}
    return CONV[call.rank - 1](x, w, given.get("b"), **how)


def conv_transpose(call: Call, given: Operands) -> Tensor:
    """PyTorch's crops alike at both ends; other ends are cropped or added to by hand, before the bias."""
    words = call.words
    convolve, w = CONV_TRANSPOSE[call.rank - 1], _turned(given["w"], words["flip"])
    how = {"stride": words["stride"], "dilation": words["dilation"], "groups": words["groups"]}
    ends, extra = words["padding"], words["output_padding"]
    if all(low == high >= 0 for low, high in ends):
        crop = tuple(low for low, _ in ends)
        return convolve(given["x"], w, given.get("b"), padding=crop, output_padding=extra, **how)
    ends = tuple((-low, more - high) for (low, high), more in zip(ends, extra, strict=True))
    y = F.pad(convolve(given["x"], w, **how), _flat(ends))
    return y + given["b"].view(-1, *(1,) * call.rank) if "b" in given else y


def deform_conv(call: Call, given: Operands) -> Tensor:
    """One grid_sample for every kernel position and offset group; its own zeros lie outside the image."""
    x, offset, w, words = given["x"], given["offset"], given["w"], call.words
    kernel, (batch, channels) = w.shape[2:], x.shape[:2]
    groups, taps, outputs = words["offset_groups"], prod(kernel), offset.shape[2:]
    offset = offset.view(batch, groups, taps, 2, *outputs)
    columns = []
    for g, part in enumerate(x.chunk(groups, 1)):
        for tap in range(taps):
            at = divmod(tap, kernel[1])
            places = []
            for axis in (0, 1):
                start = at[axis] * words["dilation"][axis] - words["padding"][axis][0]
                grid = torch.arange(outputs[axis], dtype=x.dtype) * words["stride"][axis] + start
                grid = grid.view(-1, 1) if axis == 0 else grid
                n = x.shape[2 + axis]
                place = grid + offset[:, g, tap, axis]
                places.append(2 * (place + 0.5) / n - 1)  # grid_sample's -1 to 1, edge to edge
            grid = torch.stack(places[::-1], -1)
            sampled = F.grid_sample(part, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            if "mask" in given:
                sampled = sampled * given["mask"].view(batch, groups, taps, *outputs)[:, g, tap, None]
            columns.append(sampled)
    stacked = torch.stack(columns, 2).view(batch, channels // groups, groups, taps, *outputs).transpose(1, 2)
    return _contract(stacked.reshape(batch, channels, taps, *outputs), w, given.get("b"), words["groups"])


def _contract(columns: Tensor, w: Tensor, b: Tensor | None, groups: int) -> Tensor:
    """Multiply N x C x taps x outputs with the kernels P x C/groups x taps."""
    batch, outputs = columns.shape[0], columns.shape[3:]
    columns = columns.reshape(batch, groups, -1, *outputs)
    kernels = w.reshape(groups, w.shape[0] // groups, -1)
    y = torch.einsum("ngkhw,gpk->ngphw", columns, kernels).reshape(batch, -1, *outputs)
    return y if b is None else y + b.view(-1, 1, 1)


def max_pool(call: Call, given: Operands) -> Tensor | None:
    return _pool(MAX_POOL, call, given["x"], dilation=call.words["dilation"])


def avg_pool(call: Call, given: Operands) -> Tensor | None:
    return _pool(AVG_POOL, call, given["x"], count_include_pad=call.words["count_padding"])


def _pool(pools: tuple[Callable[..., Tensor], ...], call: Call, x: Tensor, **how: Any) -> Tensor | None:
    words = call.words
    if any(low != high or low < 0 for low, high in words["padding"]):
        return None
    padding = tuple(low for low, _ in words["padding"])
    return pools[call.rank - 1](x, words["kernel"], words["stride"], padding, ceil_mode=words["ceil"], **how)


def max_unpool(call: Call, given: Operands) -> Tensor:
    words, switches = call.words, torch.from_numpy(call.fixed["switches"])
    return MAX_UNPOOL[call.rank - 1](given["x"], switches, words["kernel"], output_size=words["output_size"])


def subsample(call: Call, given: Operands) -> Tensor:
    words = call.words
    pooled = AVG_POOL[call.rank - 1](given["x"], words["kernel"], words["stride"])
    scale = prod(words["kernel"]) if words["reduce"] == "sum" else 1
    shape = (-1, *(1,) * call.rank)
    return given["weight"].view(shape) * pooled * scale + given["bias"].view(shape)


def local_response_norm(call: Call, given: Operands) -> Tensor:
    words = call.words
    return F.local_response_norm(given["x"], words["size"], words["alpha"] * words["size"], words["beta"], words["k"])


def rbf(_call: Call, given: Operands) -> Tensor:
    return torch.cdist(given["x"], given["centres"], compute_mode="donot_use_mm_for_euclid_dist").square()


def highway(_call: Call, given: Operands) -> Tensor:
    return torch.lerp(given["x"], given["h"], given["t"])


def scaled_tanh(call: Call, given: Operands) -> Tensor:
    return call.words["amplitude"] * F.tanh(call.words["slope"] * given["x"])


def _flat(pairs: Any) -> list[int]:
    """(low, high) per axis in the order of F.pad, which also crops."""
    return [end for pair in reversed(pairs) for end in pair]


def _turned(w: Tensor, flip: bool) -> Tensor:
    return w.flip(tuple(range(2, w.ndim))) if flip else w


TORCH: dict[str, Callable[[Call, Operands], Tensor | None]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "deform_conv": deform_conv,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "max_unpool": max_unpool,
    "subsample": subsample,
    "local_response_norm": local_response_norm,
    "rbf": rbf,
    "highway": highway,
    "scaled_tanh": scaled_tanh,
}
