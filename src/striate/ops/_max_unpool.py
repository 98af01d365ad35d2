"""Unpooling by the switches of a maximum pooling."""

from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from striate.errors import InputError
from striate.geometry import Padding, PerAxis, Window, make_window, output_size
from striate.ops._check import Shape, require_per_axis, require_spatial, require_tensors
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class MaxUnpoolForm:
    """The normal form of an unpooling; the operands are x (N x C x spatial) and the switches, of its shape.

    `size` is the spatial size of the result. `unique`: windows do not overlap, so no two can have the same switch.
    """

    size: tuple[int, ...]
    unique: bool


def max_unpool(
    x: Tensor,
    switches: Tensor,
    kernel: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    output_size: PerAxis | None = None,
    impl: str = "auto",
) -> Tensor:
    """Put every value of x where `max_pool` found its maximum, and 0 elsewhere (Zeiler and Fergus 2014, 2.1).

    x: N x C x spatial. switches: of x's shape, int64, as `max_pool` returns them: row-major positions in the result.
    kernel, stride, padding: those of the pooling; the stride is the kernel unless given. Where windows overlap, several
    values may have one switch: the last of them in row-major order stands.
    output_size: the spatial size that was pooled, N x C x output_size is returned. Unless given it is
    (n - 1) s + m - low - high, or n * stride for "same": the pooled size if the windows covered it.
    impl: how to compute it; see `use_impl`. Raises InputError; a switch out of range is found on the CPU only.

    >>> import torch
    >>> max_unpool(torch.tensor([[[3.0, 2.0]]]), torch.tensor([[[1, 2]]]), 2)
    tensor([[[0., 3., 2., 0.]]])
    """
    form, operands = normal_form(x, switches, kernel, stride, padding, output_size)
    return cast("Tensor", compute("max_unpool", impl, form, operands))


def normal_form(
    x: Tensor,
    switches: Tensor,
    kernel: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    output_size: PerAxis | None = None,
) -> tuple[MaxUnpoolForm, tuple[Tensor, Tensor]]:
    """Return what `max_unpool` of these arguments is to compute, checked, and on which tensors."""
    require_tensors("max_unpool", x)
    if not isinstance(switches, Tensor) or switches.dtype != torch.int64:
        got = switches.dtype if isinstance(switches, Tensor) else type(switches).__name__
        raise InputError(
            f"max_unpool: switches must be an int64 tensor, as max_pool(..., return_switches=True) returns them,"
            f" got {got}"
        )
    if switches.device != x.device:
        raise InputError(f"max_unpool: the input is on {x.device}, switches on {switches.device}: use .to() on one")
    return _form(x.shape, switches.shape, kernel, stride, padding, output_size), (x, switches)


def require_in_range(switches: Any, size: tuple[int, ...]) -> None:
    """Raise InputError if a switch, in a tensor or an array, is no position of a map of `size`."""
    positions = prod(size)
    if prod(switches.shape) and not 0 <= int(switches.min()) <= int(switches.max()) < positions:
        raise InputError(
            f"max_unpool: switches must be positions in the result of size {size}, 0 to {positions - 1}, got"
            f" {int(switches.min())} to {int(switches.max())}: give the pooled size as output_size"
        )


@remembered
def _form(
    x: Shape,
    switches: Shape,
    kernel: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    wanted: PerAxis | None,
) -> MaxUnpoolForm:
    require_spatial("max_unpool", x)
    if tuple(switches) != tuple(x):
        raise InputError(f"max_unpool: switches {tuple(switches)} must have the shape of the input {tuple(x)}")
    rank, inputs = len(x) - 2, tuple(x[2:])
    if min(inputs) < 1:
        raise InputError(f"max_unpool: the input size must be 1 or more on every axis, got {inputs}")
    size = None if wanted is None else require_per_axis("max_unpool", "output_size", wanted, rank, least=1)
    words: dict[str, Any] = {"stride": kernel if stride is None else stride}
    try:
        steps = make_window(rank, kernel, **words).stride
        same_size = tuple(n * s for n, s in zip(inputs, steps, strict=True))
        window = make_window(rank, kernel, padding=padding, size=size or same_size, **words)
        if size is not None:
            _require_pools_to(inputs, size, window)
    except InputError as error:
        raise InputError(f"max_unpool: {error}") from None
    size = size or (same_size if padding in ("same", "equal") else _pooled_size(inputs, window))
    return MaxUnpoolForm(size, all(s >= m for s, m in zip(window.stride, window.kernel, strict=True)))


def _pooled_size(inputs: tuple[int, ...], window: Window) -> tuple[int, ...]:
    size = tuple(
        (n - 1) * s + m - low - high
        for n, s, m, (low, high) in zip(inputs, window.stride, window.kernel, window.padding, strict=True)
    )
    if min(size) < 1:
        raise InputError(
            f"max_unpool: with kernel {window.kernel} and padding {window.padding} the input size {inputs} comes from"
            f" the size {size}, which is empty: take less padding"
        )
    return size


def _require_pools_to(inputs: tuple[int, ...], size: tuple[int, ...], window: Window) -> None:
    """Raise InputError unless pooling a map of `size`, with floor or ceil on each axis, gives `inputs`."""
    floor, ceil = (output_size(size, window, ceil=ceil) for ceil in (False, True))
    if not all(n in pair for n, *pair in zip(inputs, floor, ceil, strict=True)):
        raise InputError(
            f"max_pool of output_size {size} with kernel {window.kernel}, stride {window.stride} and padding"
            f" {window.padding} gives {floor}, the input has {inputs}: give the size that was pooled"
        )
