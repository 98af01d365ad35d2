"""Subsampling by PyTorch's mean pooling."""

from math import prod
from typing import Any

import torch
from torch import Tensor

from striate.ops._subsample import SubsampleForm
from striate.ops.impl.aten import avg_pool


def supports(form: SubsampleForm, x: Tensor, *_: Any) -> str | None:
    """Return None, or why PyTorch's pooling cannot compute this."""
    return avg_pool.supports(form, x)


def forward(form: SubsampleForm, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return N x C x outputs."""
    window = form.window
    pooled = avg_pool.mean(window, x, (0,) * window.rank)
    scale = weight if form.mean else weight * prod(window.kernel)
    shape = (-1, *(1,) * window.rank)
    return torch.addcmul(bias.view(shape), pooled, scale.view(shape))
