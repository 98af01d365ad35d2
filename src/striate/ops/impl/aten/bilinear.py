"""Reading, writing and comparing pixels at places between them: one trilinear form, three of its derivatives.

A table (Q x C) holds pixels as rows; a place is a row `base` and weights for the rows base + shifts[0] ... base +
shifts[3], its four corners. The form sum_r,j weights[r, j] <table[base[r] + shifts[j]], values[r]> is linear in the
table, the weights and the values (R x C), and each of

    gather   its derivative by values (R x C):  what the places read
    spread   its derivative by table  (Q x C):  values added up at the places' corners
    match    its derivative by weights (R x 4): how much each corner agrees with the values

has the other two for its gradients, to any order. A sum of weighted rows is what PyTorch's embedding bags are made for;
spreading is one too, once the places are sorted. Their own gradients end at the first order and are slower.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Shifts = tuple[int, ...]


def gather(table: Tensor, base: Tensor, weights: Tensor, shifts: Shifts) -> Tensor:
    """Return what the places read, R x C: for each the weighted sum of its corners' rows."""
    return cast("Tensor", _Gather.apply(table, base, weights, shifts))  # type: ignore[no-untyped-call]


def spread(values: Tensor, base: Tensor, weights: Tensor, shifts: Shifts, rows: int) -> Tensor:
    """Return a table of so many rows, Q x C: the weighted values added up at their corners."""
    return cast("Tensor", _Spread.apply(values, base, weights, shifts, rows))  # type: ignore[no-untyped-call]


def match(table: Tensor, base: Tensor, values: Tensor, shifts: Shifts) -> Tensor:
    """Return the inner products of the values with their corners' rows, R x 4."""
    return cast("Tensor", _Match.apply(table, base, values, shifts))  # type: ignore[no-untyped-call]


class _Trilinear(Function):
    """What the three have in common: the inputs are a tensor, the places, a tensor, and the shifts."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        first, base, third, ctx.shifts, *_ = inputs
        ctx.save_for_backward(first, base, third)


class _Gather(_Trilinear):
    @staticmethod
    def forward(table: Tensor, base: Tensor, weights: Tensor, shifts: Shifts) -> Tensor:
        if not len(base):
            return table.new_zeros(0, table.shape[1])
        return F.embedding_bag(_corners(base, shifts), table, mode="sum", per_sample_weights=weights)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        table, base, weights = ctx.saved_tensors
        by_table, _, by_weights, _ = ctx.needs_input_grad
        return (
            spread(grad, base, weights, ctx.shifts, table.shape[0]) if by_table else None,
            None,
            match(table, base, grad, ctx.shifts) if by_weights else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, dims: Any, table: Tensor, base: Tensor, weights: Tensor, shifts: Shifts) -> Any:
        table, base, weights = _in_batch(info, dims, table, base, weights)
        flat = gather(table.flatten(0, 1), _shifted(base, table.shape[1]), weights.flatten(0, 1), shifts)
        return flat.view(*base.shape, -1), 0


class _Spread(_Trilinear):
    @staticmethod
    def forward(values: Tensor, base: Tensor, weights: Tensor, shifts: Shifts, rows: int) -> Tensor:
        table = values.new_zeros(rows, values.shape[1])
        if not len(base):
            return table
        values = values.contiguous()
        _, order = base.sort()
        counts = torch.bincount(base, minlength=rows)
        starts = counts.cumsum(0) - counts
        for shift, weight in zip(shifts, weights.t(), strict=True):
            bags = F.embedding_bag(order, values, starts, mode="sum", per_sample_weights=weight[order])
            table[shift:] += bags[: rows - shift]
        return table

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        values, base, weights = ctx.saved_tensors
        by_values, _, by_weights, _, _ = ctx.needs_input_grad
        return (
            gather(grad, base, weights, ctx.shifts) if by_values else None,
            None,
            match(grad, base, values, ctx.shifts) if by_weights else None,
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, dims: Any, values: Tensor, base: Tensor, weights: Tensor, shifts: Shifts, rows: int) -> Any:
        values, base, weights = _in_batch(info, dims, values, base, weights)
        flat = spread(values.flatten(0, 1), _shifted(base, rows), weights.flatten(0, 1), shifts, rows * len(base))
        return flat.view(len(base), rows, -1), 0


class _Match(_Trilinear):
    @staticmethod
    def forward(table: Tensor, base: Tensor, values: Tensor, shifts: Shifts) -> Tensor:
        if not len(base):
            return table.new_zeros(0, len(shifts))
        bag = torch.arange(len(base), device=base.device)
        # PyTorch has it for 16 bits on processors only
        precise = table.dtype if table.is_cpu else torch.promote_types(table.dtype, torch.float32)
        products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            values.to(precise).contiguous(),
            table.to(precise).contiguous(),
            _corners(base, shifts).flatten(),
            bag * len(shifts),
            bag.repeat_interleave(len(shifts)),
            0,  # the bags are sums
        )
        return cast("Tensor", products.view(-1, len(shifts)).to(table.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        table, base, values = ctx.saved_tensors
        by_table, _, by_values, _ = ctx.needs_input_grad
        return (
            spread(values, base, grad, ctx.shifts, table.shape[0]) if by_table else None,
            None,
            gather(table, base, grad, ctx.shifts) if by_values else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, dims: Any, table: Tensor, base: Tensor, values: Tensor, shifts: Shifts) -> Any:
        table, base, values = _in_batch(info, dims, table, base, values)
        flat = match(table.flatten(0, 1), _shifted(base, table.shape[1]), values.flatten(0, 1), shifts)
        return flat.view(*base.shape, -1), 0


def _corners(base: Tensor, shifts: Shifts) -> Tensor:
    return base[:, None] + torch.tensor(shifts, device=base.device)


def _in_batch(info: Any, dims: tuple[Any, ...], *tensors: Tensor) -> list[Tensor]:
    """Return tensors with the mapped axis in front, there or not."""
    return [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=False)
    ]


def _shifted(base: Tensor, rows: int) -> Tensor:
    """Return the places of a batch of tables in one table, those tables one after the other."""
    return (base + torch.arange(len(base), device=base.device)[:, None] * rows).flatten()
