"""Unpooling by PyTorch's scattering."""

from math import prod
from typing import Any

import torch
from torch import Tensor

from striate.ops._max_unpool import MaxUnpoolForm, require_in_range


def supports(_form: MaxUnpoolForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: MaxUnpoolForm, x: Tensor, switches: Tensor) -> Tensor:
    """Return N x C x size."""
    values, places = x.flatten(2), switches.flatten(2)
    empty = values.new_zeros((*x.shape[:2], prod(form.size)))
    try:
        if form.unique:
            y = empty.scatter(2, places, values)
        else:
            y = empty.scatter_add(2, places, _last_of_each(values, places, empty.shape[2]))
    except RuntimeError:  # looked for after the fact: a check beforehand would read all switches once more
        require_in_range(switches, form.size)
        raise
    return y.view(*x.shape[:2], *form.size)


def _last_of_each(values: Tensor, places: Tensor, positions: int) -> Tensor:
    """Put 0 for every value but the last of those with the same place."""
    order = torch.arange(places.shape[2], device=places.device).expand_as(places)
    last = order.new_zeros((*places.shape[:2], positions)).scatter_reduce(2, places, order, "amax")
    return torch.where(last.gather(2, places) == order, values, 0)
