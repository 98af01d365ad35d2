"""The kernels of the first convolution: the only ones that look at the picture itself."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from striate.nn import Conv


class Filters(NamedTuple):
    """The first convolution's name and its kernels, P x D x m x n (D channels of the picture)."""

    layer: str
    kernels: npt.NDArray[np.float64]


def first_filters(model: nn.Module) -> Filters | None:
    """Return the kernels of the first two-dimensional convolution of a model; None if there is none."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, Conv | nn.Conv2d) and isinstance(weight, nn.Parameter) and weight.ndim == 4:
            return Filters(name, weight.detach().double().cpu().numpy())
    return None
