"""Padding with different ends, cropping included."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from striate.geometry import Window, output_size


def pad(x: Tensor, padding: tuple[tuple[int, int], ...], value: float = 0.0) -> Tensor:
    """Put (low, high) values at the ends of each spatial axis of x; negative numbers crop.

    Pads first and crops then, so a crop may reach into the padding of the other end.
    """
    if any(end > 0 for pair in padding for end in pair):
        x = F.pad(x, [max(end, 0) for pair in reversed(padding) for end in pair], value=value)
    if any(end < 0 for pair in padding for end in pair):
        for axis, (low, high) in enumerate(padding, start=2):
            start = max(-low, 0)
            x = x.narrow(axis, start, x.shape[axis] - start - max(-high, 0))
    return x


def crop_ends(x: Tensor, window: Window) -> Tensor:
    """Take off what a negative padding crops at the high end of each axis, so that no last window can read it."""
    for axis, (_, high) in enumerate(window.padding, start=2):
        if high < 0:
            x = x.narrow(axis, 0, max(x.shape[axis] + high, 0))
    return x


def exact_padding(
    size: Sequence[int], cropped: Sequence[int], window: Window, *, ceil: bool
) -> tuple[tuple[int, int], ...]:
    """Return the padding with which the windows fill an input to the last position, none left over.

    The outputs stay those of `output_size` for `size`, and are to be taken from the input after `crop_ends`, of the
    size `cropped`; it makes floor and ceil the same thing.
    """
    return tuple(
        (low, (outputs - 1) * s + m - low - n)
        for n, outputs, s, m, (low, _) in zip(
            cropped,
            output_size(size, window, ceil=ceil),
            window.stride,
            window.effective_kernel,
            window.padding,
            strict=True,
        )
    )
