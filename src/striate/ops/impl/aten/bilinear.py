"""Reading, writing and comparing pixels at places between them: one trilinear form, three of its derivatives.

A table (Q x C) holds pixels as rows; a place is a row `base` and weights for the rows base + shifts[0] ... base +
shifts[3], its four corners. The form sum_r,j weights[r, j] <table[base[r] + shifts[j]], values[r]> is linear in the
table, the weights and the values (R x C), and each of

    gather   its derivative by values (R x C):  what the places read
    spread   its derivative by table  (Q x C):  values added up at the places' corners
    match    its derivative by weights (R x 4): how much each corner agrees with the values

has the other two for its gradients, to any order. A sum of weighted rows is what PyTorch's embedding bags are made for;
spreading is one too, once the places are sorted. They are operators of their own (`torch.library`): their gradients are
not those of embedding bags, which end at the first order.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("striate::bilinear_gather", mutates_args=())
def gather(table: Tensor, base: Tensor, weights: Tensor, shifts: list[int]) -> Tensor:
    """Return the weighted sum of the corners' rows, R x C."""
    if not len(base):
        return table.new_zeros(0, table.shape[1])
    return F.embedding_bag(_corners(base, shifts), table, mode="sum", per_sample_weights=weights.contiguous())


@torch.library.custom_op("striate::bilinear_spread", mutates_args=())
def spread(values: Tensor, base: Tensor, weights: Tensor, shifts: list[int], rows: int) -> Tensor:
    """Return a table of so many rows: the weighted values added up at their corners, Q x C."""
    table = values.new_zeros(rows, values.shape[1])
    if not len(base):
        return table
    values, weights = values.contiguous(), weights.t()
    _, order = base.sort()
    counts = torch.bincount(base, minlength=rows)
    starts = counts.cumsum(0) - counts
    for shift, weight in zip(shifts, weights, strict=True):
        bags = F.embedding_bag(order, values, starts, mode="sum", per_sample_weights=weight[order])
        table[shift:] += bags[: rows - shift]
    return table


@torch.library.custom_op("striate::bilinear_match", mutates_args=())
def match(table: Tensor, base: Tensor, values: Tensor, shifts: list[int]) -> Tensor:
    """Return the inner products of the values with their corners' rows, R x 4."""
    if not len(base):
        return table.new_zeros(0, len(shifts))
    corners = _corners(base, shifts)
    bag = torch.arange(len(base), device=base.device)
    products: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        values.contiguous(),
        table.contiguous(),
        corners.flatten(),
        bag * len(shifts),
        bag.repeat_interleave(len(shifts)),
        0,  # the bags are sums
    )
    return products.view(corners.shape)


def _corners(base: Tensor, shifts: list[int]) -> Tensor:
    return base[:, None] + torch.tensor(shifts, device=base.device)


@gather.register_fake
def _(table: Tensor, base: Tensor, _weights: Tensor, _shifts: list[int]) -> Tensor:
    return table.new_empty(base.shape[0], table.shape[1])


@spread.register_fake
def _(values: Tensor, _base: Tensor, _weights: Tensor, _shifts: list[int], rows: int) -> Tensor:
    return values.new_empty(rows, values.shape[1])


@match.register_fake
def _(table: Tensor, base: Tensor, _values: Tensor, shifts: list[int]) -> Tensor:
    return table.new_empty(base.shape[0], len(shifts))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, base, third, ctx.shifts, *_ = inputs
    ctx.save_for_backward(first, base, third)


def _gather_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (table, base, weights), (by_table, _, by_weights, _) = ctx.saved_tensors, ctx.needs_input_grad
    return (
        spread(grad, base, weights, ctx.shifts, table.shape[0]) if by_table else None,
        None,
        match(table, base, grad, ctx.shifts) if by_weights else None,
        None,
    )


def _spread_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (values, base, weights), (by_values, _, by_weights, _, _) = ctx.saved_tensors, ctx.needs_input_grad
    return (
        gather(grad, base, weights, ctx.shifts) if by_values else None,
        None,
        match(grad, base, values, ctx.shifts) if by_weights else None,
        None,
        None,
    )


def _match_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (table, base, values), (by_table, _, by_values, _) = ctx.saved_tensors, ctx.needs_input_grad
    return (
        spread(values, base, grad, ctx.shifts, table.shape[0]) if by_table else None,
        None,
        gather(table, base, grad, ctx.shifts) if by_values else None,
        None,
    )


gather.register_autograd(_gather_backward, setup_context=_save)
spread.register_autograd(_spread_backward, setup_context=_save)
match.register_autograd(_match_backward, setup_context=_save)


def _in_batch(info: Any, dims: tuple[Any, ...], *tensors: Tensor) -> list[Tensor]:
    """Return tensors with the mapped axis in front, there or not."""
    return [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=False)
    ]


def _shifted(base: Tensor, rows: int) -> Tensor:
    """Return the places of a batch of tables in one table, those tables one after the other."""
    return (base + torch.arange(len(base), device=base.device)[:, None] * rows).flatten()


@gather.register_vmap
def _(info: Any, dims: tuple[Any, ...], table: Tensor, base: Tensor, weights: Tensor, shifts: list[int]) -> Any:
    table, base, weights = _in_batch(info, dims, table, base, weights)
    flat = gather(table.flatten(0, 1), _shifted(base, table.shape[1]), weights.flatten(0, 1), shifts)
    return flat.unflatten(0, base.shape), 0


@spread.register_vmap
def _(
    info: Any, dims: tuple[Any, ...], values: Tensor, base: Tensor, weights: Tensor, shifts: list[int], rows: int
) -> Any:
    values, base, weights = _in_batch(info, dims, values, base, weights)
    flat = spread(values.flatten(0, 1), _shifted(base, rows), weights.flatten(0, 1), shifts, rows * len(base))
    return flat.unflatten(0, (len(base), rows)), 0


@match.register_vmap
def _(info: Any, dims: tuple[Any, ...], table: Tensor, base: Tensor, values: Tensor, shifts: list[int]) -> Any:
    table, base, values = _in_batch(info, dims, table, base, values)
    flat = match(table.flatten(0, 1), _shifted(base, table.shape[1]), values.flatten(0, 1), shifts)
    return flat.unflatten(0, base.shape), 0
