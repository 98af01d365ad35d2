"""Unpooling by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._max_unpool import MaxUnpoolForm, require_in_range
from striate.ops.impl.reference.autograd import apply


def supports(_form: MaxUnpoolForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: MaxUnpoolForm, x: Tensor, switches: Tensor) -> Tensor:
    """Return N x C x size."""
    require_in_range(switches, form.size)
    places = switches.detach().cpu().numpy()
    (y,) = apply(
        lambda x: (reference.max_unpool(x, places, form.size),),
        (lambda grad, _x: reference.max_unpool_grad_input(grad, places),),
        x,
    )
    return y
