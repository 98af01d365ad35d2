"""Maximum pooling by its definition."""

from typing import Any

from torch import Tensor

from striate import reference
from striate.ops._max_pool import MaxPoolForm
from striate.ops.impl.reference.autograd import apply


def supports(_form: MaxPoolForm, *_: Any) -> str | None:
    """Return None: every case is computed."""
    return None


def forward(form: MaxPoolForm, x: Tensor) -> Any:
    """Return N x C x outputs, and the switches if the form asks for them."""

    def grad_input(grad: reference.Array, x: reference.Array) -> reference.Array:
        _, switches = reference.max_pool(x, form.window, ceil=form.ceil)
        return reference.max_pool_grad_input(grad, switches, x.shape[2:])

    values, switches = apply(lambda x: reference.max_pool(x, form.window, ceil=form.ceil), (grad_input,), x)
    return (values, switches) if form.switches else values
