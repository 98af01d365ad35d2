"""Checks that several operators share."""

from collections.abc import Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor

from striate.errors import InputError
from striate.geometry import Window, make_window, output_size, window_sizes

Shape = Sequence[int]


def require_tensors(operator: str, x: Tensor, **others: Tensor | None) -> None:
    """Raise InputError unless x is a floating-point tensor and each other, if there, has its dtype and device.

    Under autocast the dtypes may differ: it is autocast that brings them together.
    """
    _require_tensor(operator, "input", x)
    if not x.is_floating_point():
        raise InputError(f"{operator}: the input must be floating point, got {x.dtype}: convert it with .float()")
    for name, other in others.items():
        if other is None:
            continue
        _require_tensor(operator, name, other)
        if other.device != x.device:
            raise InputError(f"{operator}: the input is on {x.device}, {name} on {other.device}: use .to() on one")
        if other.dtype != x.dtype and not (other.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
            raise InputError(f"{operator}: the input is {x.dtype}, {name} is {other.dtype}: use .to() on one")


def require_spatial(operator: str, x: Shape) -> None:
    """Raise InputError unless the shape x is N x C x spatial with at least one spatial axis."""
    if len(x) < 3:
        raise InputError(f"{operator}: the input must be N x C x spatial, for example (8, 3, 32, 32), got {tuple(x)}")


def require_window(operator: str, x: Shape, kernel: Any, *, ceil: bool, **words: Any) -> Window:
    """Return the window for the user's words that slides over an input of shape x; raises InputError if none fits."""
    try:
        window = make_window(len(x) - 2, kernel, size=x[2:], **words)
        output_size(x[2:], window, ceil=ceil)
    except InputError as error:
        raise InputError(f"{operator}: {error}") from None
    return window


def require_per_axis(operator: str, name: str, value: Any, rank: int, *, least: int) -> tuple[int, ...]:
    """Return one integer per axis from an integer or a sequence of them; raises InputError if one is below `least`."""
    try:
        entries = (
            tuple(map(index, value))
            if hasattr(value, "__len__") and not isinstance(value, Tensor)
            else (index(value),) * rank
        )
    except TypeError:
        entries = ()
    if len(entries) != rank or min(entries) < least or isinstance(value, bool):
        raise InputError(
            f"{operator}: {name} must be an integer of {least} or more, or one per axis"
            f" ({rank} {'axis' if rank == 1 else 'axes'}), got {value!r}"
        )
    return entries


def require_groups(operator: str, name: str, groups: Any, **channels: int) -> None:
    """Raise InputError unless the number of groups is a positive integer that divides each of the channel numbers."""
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise InputError(f"{operator}: {name} must be an integer of 1 or more, got {groups!r}")
    for kind, count in channels.items():
        if count % groups:
            raise InputError(f"{operator}: {name}={groups} must divide the {count} {kind} channels")


def require_bool(operator: str, **flags: Any) -> None:
    """Raise InputError unless every flag is True or False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InputError(f"{operator}: {name} must be True or False, got {value!r}")


def require_overlap(operator: str, x: Shape, window: Window, *, ceil: bool) -> None:
    """Raise InputError if some window lies wholly in the padding, where there is nothing to pool."""
    for axis, counts in enumerate(window_sizes(x[2:], window, ceil=ceil)):
        if min(counts) < 1:
            raise InputError(
                f"{operator}: with padding {window.padding[axis]} on axis {axis} of the image, window"
                f" {counts.index(0)} of size {window.kernel[axis]} holds no input: take less padding"
            )


def _require_tensor(operator: str, name: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise InputError(f"{operator}: {name} must be a torch.Tensor, got {type(tensor).__name__}")
