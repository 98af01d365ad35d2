"""What a window does to sizes."""

from collections.abc import Sequence

from striate.errors import InputError
from striate.geometry._window import Window


def output_size(size: Sequence[int], window: Window, *, ceil: bool = False) -> tuple[int, ...]:
    """Return the number of window positions on each axis of an input of `size`: floor((n - m + p) / s) + 1.

    n is the upsampled input size, m the effective kernel, p = low + high padding, s the stride (chapter 5.1.2; see
    `leftover` for what floor leaves out). With `ceil`, for pooling, a last window may hang over the high end as long
    as it starts inside the input or the low padding (PyTorch's rule). Raises InputError when no output is left.
    """
    outputs = tuple(_positions(n, window, axis, ceil) for axis, n in enumerate(upsampled_size(size, window)))
    if min(outputs) < 1:
        raise InputError(_no_output(tuple(size), window))
    return outputs


def leftover(size: Sequence[int], window: Window) -> tuple[int, ...]:
    """Return how many input positions at the high end of each axis lie beyond the last window.

    0 where (n - m + p) / s is an integer and nothing is cropped. The gaps inside a dilated kernel count as covered.
    """
    return tuple(
        min(max(n - 1 - ((o - 1) * s + m - 1 - low) // u, 0), n)
        for n, o, m, s, (low, _), u in zip(
            size,
            output_size(size, window),
            window.effective_kernel,
            window.stride,
            window.padding,
            window.upsample,
            strict=True,
        )
    )


def upsampled_size(size: Sequence[int], window: Window) -> tuple[int, ...]:
    """Return the input size on each axis once upsample - 1 zeros stand between neighbours: (n - 1) u + 1."""
    if len(size) != window.rank:
        raise InputError(
            f"a kernel of {window.rank} axes {window.kernel} cannot slide over the input size {tuple(size)}"
        )
    if min(size) < 1:
        raise InputError(f"the input size must be 1 or more on every axis, got {tuple(size)}")
    return tuple((n - 1) * u + 1 for n, u in zip(size, window.upsample, strict=True))


def window_sizes(
    size: Sequence[int], window: Window, *, ceil: bool = False, count_padding: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Return, per axis, how many kernel positions of each window lie inside the input (or inside it and its padding).

    The number of values in a window, |R| of (5.23), is the product over the axes. Entry o of axis a is between 0 (the
    window lies wholly outside) and kernel[a]. For windows that do not upsample.
    """
    counts = []
    for axis, outputs in enumerate(output_size(size, window, ceil=ceil)):
        low, high = window.padding[axis]
        first, last = (-low, size[axis] + high) if count_padding else (-min(low, 0), size[axis] + min(high, 0))
        taps = [k * window.dilation[axis] - low for k in range(window.kernel[axis])]
        starts = [o * window.stride[axis] for o in range(outputs)]
        counts.append(tuple(sum(first <= start + tap < last for tap in taps) for start in starts))
    return tuple(counts)


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up."""
    return -(-a // b)


def _positions(n: int, window: Window, axis: int, ceil: bool) -> int:
    (low, high), s = window.padding[axis], window.stride[axis]
    room = n + low + high - window.effective_kernel[axis]
    if not ceil:
        return room // s + 1
    outputs = ceil_div(room, s) + 1
    return outputs - 1 if (outputs - 1) * s >= n + low + min(high, 0) else outputs


def _no_output(size: tuple[int, ...], window: Window) -> str:
    dilated = f" (kernel {window.kernel}, dilation {window.dilation})" if max(window.dilation) > 1 else ""
    upsampled = f" (after upsampling {upsampled_size(size, window)})" if window.upsamples else ""
    return (
        f"a window of {window.effective_kernel}{dilated} does not fit into the input size {size}{upsampled} with"
        f" padding {window.padding}: take a larger input, a smaller kernel or more padding"
    )
