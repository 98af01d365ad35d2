"""The convolutional layer."""

from math import prod

import torch
from torch import Tensor, nn

from striate import ops
from striate.errors import InputError
from striate.geometry import Padding, PerAxis
from striate.nn._settings import different, kernel_axes, require_groups, require_words
from striate.ops import Links, link_rows


class Conv(nn.Module):
    """A convolutional layer without its activation: `ops.conv` with parameters (5.20).

    kernel: its size on each spatial axis; one integer means a square kernel on two axes. stride, padding, dilation,
    upsample, groups, flip: as for `ops.conv`. With `links`, a P x D table of 0 and 1 (5.37), only the kernels of its K
    ones are stored: K x m x n numbers and P biases.

    weight: P x D/groups x kernel, or K x kernel with links; bias: P numbers, or None. Both are drawn uniformly from
    +-1 / sqrt(fan-in), the fan-in being that of each output map; without links that is what `torch.nn.Conv2d` does.
    Input N x D x spatial, output N x P x outputs. Raises InputError.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, ...],
        *,
        stride: PerAxis = 1,
        padding: Padding = "valid",
        dilation: PerAxis = 1,
        upsample: PerAxis = 1,
        groups: int = 1,
        links: Links | None = None,
        bias: bool = True,
        flip: bool = False,
    ) -> None:
        super().__init__()
        self.kernel = kernel_axes(kernel)
        self.in_channels, self.out_channels, self.groups, self.flip = in_channels, out_channels, groups, flip
        self.stride, self.padding, self.dilation, self.upsample = stride, padding, dilation, upsample
        self._rows = None if links is None else link_rows(links)
        # the table as a tensor, to look at; on the CPU wherever the parameters are
        self.links = None if self._rows is None else torch.tensor(self._rows, dtype=torch.bool, device="cpu")
        self._check()
        kernels = (out_channels, in_channels // groups) if self._rows is None else (sum(map(sum, self._rows)),)
        self.weight = nn.Parameter(torch.empty(*kernels, *self.kernel))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases anew."""
        inputs = self._inputs()
        bounds = [(max(count, 1) * prod(self.kernel)) ** -0.5 for count in inputs]
        repeats = [1] * self.out_channels if self._rows is None else inputs
        per_kernel = [bound for bound, repeat in zip(bounds, repeats, strict=True) for _ in range(repeat)]
        for parameter, bound in ((self.weight, per_kernel), (self.bias, bounds)):
            if parameter is not None:
                with torch.no_grad():
                    parameter.uniform_(-1, 1).mul_(parameter.new_tensor(bound).view(-1, *(1,) * (parameter.ndim - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the net input of the layer, N x P x outputs."""
        return ops.conv(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            upsample=self.upsample,
            groups=self.groups,
            links=self._rows,
            flip=self.flip,
        )

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        parts = [f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}"]
        parts += different(self, stride=1, padding="valid", dilation=1, upsample=1, groups=1)
        if self._rows is not None:
            parts.append(f"links={len(self.weight)} of {self.in_channels * self.out_channels}")
        parts += ["bias=False"] * (self.bias is None) + ["flip=True"] * self.flip
        return ", ".join(parts)

    def _inputs(self) -> list[int]:
        """Number of input maps that each output map reads."""
        if self._rows is None:
            return [self.in_channels // self.groups] * self.out_channels
        return [sum(row) for row in self._rows]

    def _check(self) -> None:
        require_words(self, stride=self.stride, padding=self.padding, dilation=self.dilation, upsample=self.upsample)
        require_groups(self)
        if self._rows is not None and self.groups != 1:
            raise InputError(f"Conv: links and groups={self.groups} exclude each other: put the groups into the table")
        if self._rows is not None and (len(self._rows), len(self._rows[0])) != (self.out_channels, self.in_channels):
            raise InputError(
                f"Conv: links need a row for each of the {self.out_channels} output channels and a column for each of"
                f" the {self.in_channels} input channels, got {len(self._rows)} x {len(self._rows[0])}"
            )
