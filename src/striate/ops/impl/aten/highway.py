"""The highway gate by PyTorch's linear interpolation, one pass over memory."""

from typing import Any

import torch
from torch import Tensor

from striate.ops._highway import HighwayForm


def supports(_form: HighwayForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(_form: HighwayForm, x: Tensor, h: Tensor, t: Tensor) -> Tensor:
    """Return a tensor of the shape of x."""
    return torch.lerp(x, h.to(x.dtype), t.to(x.dtype))  # under autocast they may differ
