"""Pooling layers."""

from functools import partial
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from striate import ops
from striate.errors import InputError
from striate.geometry import Padding, PerAxis
from striate.nn._settings import different, kernel_axes


class MaxPool(nn.Module):
    """Maximum pooling (5.22): `ops.max_pool` with its settings, for any number of spatial axes.

    With return_switches it returns the pair that `MaxUnpool` takes: the maxima and where they were.
    """

    def __init__(
        self,
        kernel: PerAxis,
        *,
        stride: PerAxis | None = None,
        padding: Padding = "valid",
        dilation: PerAxis = 1,
        ceil: bool = False,
        return_switches: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.dilation, self.ceil = kernel, stride, padding, dilation, ceil
        self.return_switches = return_switches

    def forward(self, x: Tensor) -> Any:
        """Return the maximum of every window, and the switches if they are wanted."""
        pool = partial(ops.max_pool, stride=self.stride, padding=self.padding, dilation=self.dilation, ceil=self.ceil)
        return pool(x, self.kernel, return_switches=True) if self.return_switches else pool(x, self.kernel)

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        return ", ".join(
            [
                f"kernel={self.kernel!r}",
                *different(self, stride=None, padding="valid", dilation=1, ceil=False, return_switches=False),
            ]
        )


class MaxUnpool(nn.Module):
    """Unpooling by switches: `ops.max_unpool` with the settings of the `MaxPool` that it turns around."""

    def __init__(self, kernel: PerAxis, *, stride: PerAxis | None = None, padding: Padding = "valid") -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor, switches: Tensor, output_size: PerAxis | None = None) -> Tensor:
        """Return a map of output_size (or the size that the windows cover) with every value of x at its switch."""
        words: dict[str, Any] = {"stride": self.stride, "padding": self.padding}
        return ops.max_unpool(x, switches, self.kernel, **words, output_size=output_size)

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        return ", ".join([f"kernel={self.kernel!r}", *different(self, stride=None, padding="valid")])


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
        return ", ".join(
            [f"kernel={self.kernel!r}", *different(self, stride=None, padding="valid", ceil=False, count_padding=False)]
        )


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
        self.kernel = kernel_axes(kernel)
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
        return ", ".join([f"{self.channels}, kernel={self.kernel}", *different(self, stride=None, reduce="mean")])
