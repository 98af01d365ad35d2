"""Mean pooling by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._avg_pool import AvgPoolForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: AvgPoolForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: AvgPoolForm, x: Tensor) -> Tensor:
    """Return N x C x outputs."""
    window, size = form.window, x.shape[2:]
    how: dict[str, Any] = {"ceil": form.ceil, "count_padding": form.count_padding}
    (y,) = apply(
        lambda x: (reference.avg_pool(x, window, **how),),
        (lambda grad, _x: reference.avg_pool_grad_input(grad, window, size, **how),),
        x,
    )
    return y
