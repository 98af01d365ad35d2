"""What is known of a convolution with packed weights before its images come, kept for all images of one shape."""

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from striate.ops.impl.native.library import address, as_channels_last, empty_images


class Plan:
    """How images of one shape are convolved: a kernel, called for each group on a part of the channels."""

    def __init__(
        self,
        compute: Callable[..., None],
        groups: Sequence[Tensor],
        channels: tuple[int, int],
        size: tuple[int, ...],
        shape: ctypes.Structure,
        words: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        """groups: packed weights; channels: in and out of a group; size: of the result, N x P x outputs.

        shape and words (after the ReLU's) are the kernel's; dtype is that of images and result.
        """
        self.size = size
        self._compute, self._groups, self._channels = compute, groups, channels
        self._shape, self._words, self._dtype = shape, words, dtype

    def __call__(
        self, x: Tensor, bias: Tensor | None = None, other: Tensor | None = None, *, relu: bool = False
    ) -> Tensor:
        """Return the convolution of x, plus bias, plus `other`, through a ReLU, channels last.

        bias is of float32; `other` has the result's type, shape and layout.
        """
        x = as_channels_last(x)
        y = empty_images(*self.size, dtype=self._dtype)
        inputs, outputs = self._channels
        for group, weights in enumerate(self._groups):
            first_in, first_out = group * inputs, group * outputs
            self._compute(
                address(x, first_in),
                weights,
                address(bias, first_out),
                address(other, first_out),
                address(y, first_out),
                self._shape,
                int(relu),
                *self._words,
            )
        return y
