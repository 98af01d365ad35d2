"""The transposed convolutional layer."""

from math import prod

import torch
from torch import Tensor, nn

from striate import ops
from striate.geometry import Padding, PerAxis
from striate.nn._settings import different, draw_uniform, kernel_axes, require_groups, require_words


class ConvTranspose(nn.Module):
    """A transposed convolution: `ops.conv_transpose` with parameters (5.44), (5.45).

    kernel: its size on each spatial axis; one integer means a square kernel on two axes. stride, padding,
    output_padding, dilation, groups, flip: as for `ops.conv_transpose`.

    weight: D x P/groups x kernel; bias: P numbers, or None. Both are drawn uniformly from +-1 / sqrt(P/groups x kernel
    positions), as `torch.nn.ConvTranspose2d` does. Input N x D x spatial, output N x P x outputs. Raises InputError.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, ...],
        *,
        stride: PerAxis = 1,
        padding: Padding = "valid",
        output_padding: PerAxis = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        flip: bool = False,
    ) -> None:
        super().__init__()
        self.kernel = kernel_axes(kernel)
        self.in_channels, self.out_channels, self.groups, self.flip = in_channels, out_channels, groups, flip
        self.stride, self.padding, self.output_padding, self.dilation = stride, padding, output_padding, dilation
        require_words(self, stride=stride, padding=padding, dilation=dilation)
        require_groups(self)
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels // groups, *self.kernel))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases anew."""
        draw_uniform((self.out_channels // self.groups * prod(self.kernel)) ** -0.5, self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the net input of the layer, N x P x outputs."""
        return ops.conv_transpose(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
            flip=self.flip,
        )

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        words = different(self, stride=1, padding="valid", output_padding=0, dilation=1, groups=1)
        words += ["bias=False"] * (self.bias is None) + ["flip=True"] * self.flip
        return ", ".join([f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}", *words])
