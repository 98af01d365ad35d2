"""Unpooling by its definition."""

from typing import Any

import numpy as np
from torch import Tensor

from striate import reference
from striate.ops._max_unpool import MaxUnpoolForm, require_in_range
from striate.ops.impl.reference.autograd import apply


def supports(_form: MaxUnpoolForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: MaxUnpoolForm, x: Tensor, switches: Tensor) -> Tensor:
    """Return N x C x size."""

    def unpool(x: reference.Array, places: reference.Array) -> tuple[reference.Array]:
        require_in_range(places, form.size)
        return (reference.max_unpool(x, places.astype(np.int64), form.size),)

    (y,) = apply(
        unpool,
        (lambda grad, _x, places: reference.max_unpool_grad_input(grad, places.astype(np.int64)), None),
        x,
        switches,
    )
    return y
