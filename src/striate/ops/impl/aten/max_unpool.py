"""Unpooling by PyTorch's, or by scattering where it leaves open which of several values stands."""

from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from striate.ops._max_unpool import MaxUnpoolForm, require_in_range


def supports(_form: MaxUnpoolForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: MaxUnpoolForm, x: Tensor, switches: Tensor) -> Tensor:
    """Return N x C x size."""
    try:
        return _apart(form, x, switches) if form.unique else _overlapping(form, x, switches)
    except RuntimeError:  # looked for after the fact: a check beforehand would read all switches once more
        require_in_range(switches, form.size)
        raise


def _apart(form: MaxUnpoolForm, x: Tensor, switches: Tensor) -> Tensor:
    """Unpool windows that do not overlap."""
    unpool = torch.ops.aten.max_unpool2d
    if len(form.size) == 2:
        return cast("Tensor", unpool(x, switches, form.size))
    # in other numbers of dimensions the map is taken for one long row, through which the switches count anyway
    flat = unpool(x.flatten(2).unsqueeze(3), switches.flatten(2).unsqueeze(3), (prod(form.size), 1))
    return cast("Tensor", flat.view(*x.shape[:2], *form.size))


def _overlapping(form: MaxUnpoolForm, x: Tensor, switches: Tensor) -> Tensor:
    """Unpool windows of which several may have one switch, in the memory order of x."""
    if x.shape[1] > 1 and x.stride(1) == 1:
        rows = (x.movedim(1, -1).flatten(1, -2), switches.movedim(1, -1).flatten(1, -2))
        return _last_stands(*rows, 1, prod(form.size)).view(len(x), *form.size, x.shape[1]).movedim(-1, 1)
    return _last_stands(x.flatten(2), switches.flatten(2), 2, prod(form.size)).view(*x.shape[:2], *form.size)


def _last_stands(values: Tensor, places: Tensor, axis: int, positions: int) -> Tensor:
    """Put values at places along an axis that gets so many positions; of several at one place the last."""
    order = torch.arange(places.shape[axis], dtype=torch.int32, device=places.device)
    order = order.view(-1, *(1,) * (2 - axis)).expand_as(places)
    shape = [*values.shape[:axis], positions, *values.shape[axis + 1 :]]
    last = order.new_zeros(shape).scatter_reduce(axis, places, order, "amax")
    stands = torch.where(last.gather(axis, places) == order, values, 0)
    return values.new_zeros(shape).scatter_add(axis, places, stands)
