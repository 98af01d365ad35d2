"""What networks for segmentation share: the plain convolution, a width, bilinear enlargement."""

from typing import Any

import torch
from torch import Tensor, nn

from striate import ops
from striate.errors import InputError
from striate.nn import Conv, Dropout


def convolution(
    inputs: int,
    maps: int,
    kernel: int = 3,
    *,
    padding: int = 0,
    dilation: int = 1,
    norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return a convolution (`conv`), batch normalisation if asked for (`norm`), ReLU and dropout if there is any."""
    part = nn.Sequential()
    part.add_module("conv", Conv(inputs, maps, kernel, padding=padding, dilation=dilation))
    if norm:
        part.add_module("norm", nn.BatchNorm2d(maps))
    part.add_module("relu", nn.ReLU(inplace=True))
    if dropout:
        part.add_module("dropout", Dropout(dropout))
    return part


def draw_he(model: nn.Module) -> None:
    """Draw every convolution of a network from He's normal distribution, its biases 0.

    The papers start from a VGG-16 or ResNet trained on ImageNet; for a start from nothing they name no distribution.
    """
    for module in model.modules():
        if isinstance(module, Conv):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def draw_normal(layer: Conv, std: float) -> None:
    """Draw the weights of one layer from a normal distribution around 0, its biases 0."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def scaled(maps: int, width: float) -> int:
    """Return a number of maps times the width, 1 or more."""
    return max(1, round(maps * width))


def require_width(name: str, value: Any) -> float:
    """Return the factor on all hidden maps; raises InputError unless it is a number above 0 and at most 4."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= 4.0:
        raise InputError(f"{name}: width must be above 0 and at most 4 (1 is the paper's), got {value!r}")
    return float(value)


def bilinear_kernel(factor: int) -> Tensor:
    """Return the 2 f x 2 f kernel whose transposed convolution with stride f interpolates bilinearly."""
    taps = (torch.arange(2 * factor) + 0.5) / factor  # distances of the 2 f places from the tent's left foot
    tent = 1 - (taps - 1).abs()
    return tent[:, None] * tent


class BilinearUpsample(nn.Module):
    """Enlarge every map by a whole factor f, fixed: N x C x h x w -> N x C x f(h + 1) x f(w + 1), less 2 x padding.

    The transposed convolution of stride f with the bilinear kernel, which is no parameter. Input (y, x) is centred at
    output (f y + f - 1/2, f x + f - 1/2) - padding; beyond the border the input counts as 0.
    """

    kernel: Tensor

    def __init__(self, factor: int, padding: int = 0) -> None:
        super().__init__()
        self.factor, self.padding = factor, padding
        self.register_buffer("kernel", bilinear_kernel(factor)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged maps."""
        maps = x.shape[1]
        weight = self.kernel.to(x.dtype).expand(maps, -1, -1, -1)
        return ops.conv_transpose(x, weight, stride=self.factor, padding=self.padding, groups=maps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"factor={self.factor}, padding={self.padding}"
