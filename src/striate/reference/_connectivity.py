"""Which input a kernel position reads: the definition that everything else is read off."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.geometry import Window, output_size

Array = npt.NDArray[Any]


def connectivity(size: Sequence[int], window: Window, *, ceil: bool = False) -> tuple[npt.NDArray[np.bool_], ...]:
    """Return, per axis, the pattern P of shape (kernel, output, input) for an input of `size`.

    P[k, o, i] is true if and only if o * stride + k * dilation - low = i * upsample. Positions in the padding and the
    zeros between upsampled inputs match no i, so they contribute nothing; nor does what a negative padding crops. For
    one axis, sum_k w[k] P[k] is the matrix C of (5.42). Raises InputError when no output is left.
    """
    return tuple(
        _axis(n, outputs, window, axis)
        for axis, (n, outputs) in enumerate(zip(size, output_size(size, window, ceil=ceil), strict=True))
    )


def _axis(size: int, outputs: int, window: Window, axis: int) -> npt.NDArray[np.bool_]:
    k, o, i = np.ogrid[: window.kernel[axis], :outputs, :size]
    low, high = window.padding[axis]
    read = o * window.stride[axis] + k * window.dilation[axis] - low
    end = (size - 1) * window.upsample[axis] + 1 + min(high, 0)  # with ceil, the last window may hang over it
    pattern: npt.NDArray[np.bool_] = (read == i * window.upsample[axis]) & (read < end)
    return pattern
