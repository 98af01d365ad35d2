"""The deformable convolutional layer."""

from math import prod

import torch
from torch import Tensor, nn

from striate import ops
from striate.errors import InputError
from striate.geometry import Padding, PerAxis
from striate.nn._conv import Conv
from striate.nn._settings import different, draw_uniform, kernel_axes, require_counts, require_groups, require_words


class DeformConv(nn.Module):
    """A deformable convolution that predicts its own offsets: `ops.deform_conv` with parameters.

    A convolution `predictor` with the same kernel and words computes the offsets from the same input (Dai et al. 2017,
    section 2.1), and with `modulated` the mask too, through a sigmoid (Zhu et al. 2019, section 3.2). It starts at
    zero: offsets of 0 and a mask of 1/2. (The papers train it at a tenth of the learning rate or at the same.)

    kernel: one integer means a square one. stride, padding, dilation, groups, offset_groups: as for `ops.deform_conv`.
    weight: P x C/groups x kh x kw; bias: P numbers, or None; both start as those of `Conv`. Input N x C x H x W, output
    N x P x outputs. Raises InputError.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: PerAxis = 1,
        padding: Padding = "valid",
        dilation: PerAxis = 1,
        groups: int = 1,
        offset_groups: int = 1,
        modulated: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernel = kernel_axes(kernel)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.offset_groups, self.modulated = offset_groups, modulated
        self._check()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        places = offset_groups * prod(self.kernel)
        self.predictor = Conv(
            in_channels,
            places * (3 if modulated else 2),
            self.kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases anew; offsets are zero again."""
        draw_uniform((self.in_channels // self.groups * prod(self.kernel)) ** -0.5, self.weight, self.bias)
        for parameter in self.predictor.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return the net input of the layer, N x P x outputs."""
        offset, mask = self.predictor(x), None
        if self.modulated:
            offset, logits = offset.split([offset.shape[1] // 3 * 2, offset.shape[1] // 3], dim=1)
            mask = logits.sigmoid()
        return ops.deform_conv(
            x,
            offset,
            self.weight,
            self.bias,
            mask=mask,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            offset_groups=self.offset_groups,
        )

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults."""
        words = different(self, stride=1, padding="valid", dilation=1, groups=1, offset_groups=1, modulated=True)
        words += ["bias=False"] * (self.bias is None)
        return ", ".join([f"{self.in_channels}, {self.out_channels}, kernel={self.kernel}", *words])

    def _check(self) -> None:
        if len(self.kernel) != 2:
            raise InputError(f"DeformConv: kernel must be an integer or two of them, got {self.kernel}")
        require_words(self, stride=self.stride, padding=self.padding, dilation=self.dilation)
        require_groups(self)
        require_counts(self, "offset_groups")
        if self.in_channels % self.offset_groups:
            raise InputError(
                f"DeformConv: offset_groups={self.offset_groups} must divide the input channels ({self.in_channels})"
            )
