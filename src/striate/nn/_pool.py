"""Pooling layers."""

from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from striate import ops
from striate.errors import InputError
from striate.geometry import Padding, PerAxis


class MaxPool(nn.Module):
    """Maximum pooling (5.22): `ops.max_pool` with its settings, for any number of spatial axes."""

    def __init__(
        self,
        kernel: PerAxis,
        *,
        stride: PerAxis | None = None,
        padding: Padding = "valid",
        dilation: PerAxis = 1,
        ceil: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.dilation, self.ceil = kernel, stride, padding, dilation, ceil

    def forward(self, x: Tensor) -> Tensor:
        """Return the maximum of every window."""
        return ops.max_pool(
            x, self.kernel, stride=self.stride, padding=self.padding, dilation=self.dilation, ceil=self.ceil
        )

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        return _settings(self, stride=None, padding="valid", dilation=1, ceil=False)


class AvgPool(nn.Module):
    """Mean pooling (5.23): `ops.avg_pool` with its settings, for any number of spatial axes."""

    def __init__(
        self,
        kernel: PerAxis,
        *,
        stride: PerAxis | None = None,
        padding: Padding = "valid",
        ceil: bool = False,
        count_padding: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.ceil = kernel, stride, padding, ceil
        self.count_padding = count_padding

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of every window."""
        return ops.avg_pool(
            x,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            ceil=self.ceil,
            count_padding=self.count_padding,
        )

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        return _settings(self, stride=None, padding="valid", ceil=False, count_padding=False)


class Subsample(nn.Module):
    """LeNet's subsampling without its activation (5.24): `ops.subsample` with a weight and a bias per map.

    They start as mean pooling: the weights are 1 (1 / window for reduce="sum"), the biases 0.
    """

    def __init__(
        self,
        channels: int,
        kernel: int | tuple[int, ...],
        *,
        stride: PerAxis | None = None,
        reduce: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        if channels < 1:
            raise InputError(f"Subsample: channels must be 1 or more, got {channels}")
        if reduce not in {"mean", "sum"}:
            raise InputError(f"Subsample: reduce must be 'mean' or 'sum', got {reduce!r}")
        self.channels, self.stride, self.reduce = channels, stride, reduce
        self.kernel = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the layer mean pooling again."""
        nn.init.constant_(self.weight, 1.0 if self.reduce == "mean" else 1 / prod(self.kernel))
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return weight * pooled + bias for every map."""
        return ops.subsample(x, self.weight, self.bias, self.kernel, stride=self.stride, reduce=self.reduce)

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        return f"{self.channels}, " + _settings(self, stride=None, reduce="mean")


def _settings(module: nn.Module, **usual: object) -> str:
    """Return kernel=... and the settings of a module that are not as usual."""
    different = [name for name, value in usual.items() if getattr(module, name) != value]
    return ", ".join(f"{name}={getattr(module, name)!r}" for name in ("kernel", *different))
