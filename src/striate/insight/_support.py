"""What the units of one value depend on, and what views, sums and sliding windows make of it.

A value has dimensions, of which some walk along an axis of the input (height, width) and others not (channels). Views
merge and split them, so a dimension is a list of parts, outermost first; a part walks along one axis or none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import NamedTuple

from striate.geometry import Field


class Part(NamedTuple):
    """So many steps of a dimension, along an axis of the input or along none."""

    size: int
    axis: int | None = None


Dim = tuple[Part, ...]


@dataclass(frozen=True)
class Support:
    """What the units of a value depend on: its dimensions, and a field for each axis of the input."""

    dims: tuple[Dim, ...]
    fields: tuple[Field, ...]

    def stride(self) -> tuple[Fraction, ...]:
        """The effective stride on each axis, () if some axis has no dimension any more."""
        walked = {part.axis for dim in self.dims for part in dim}
        return tuple(f.stride for f in self.fields) if walked >= set(range(len(self.fields))) else ()


def join_fields(supports: Sequence[Support], result: Support) -> tuple[Field, ...]:
    """Join the fields of several supports at the units of `result`."""
    fields = []
    for axis in range(len(result.fields)):
        units = steps_of(result.dims, axis)
        found: Field | None = None
        for support in supports:
            own, steps = support.fields[axis], steps_of(support.dims, axis)
            if own.moves and steps != units:  # one unit for all places
                own = own.span(steps)
            found = own if found is None or found == own else found.join(own, units=units)
        assert found is not None
        fields.append(found)
    return tuple(fields)


def steps_of(dims: Sequence[Dim], axis: int) -> int:
    """How many steps a value walks along an axis."""
    return next((part.size for dim in dims for part in dim if part.axis == axis), 1)


def size_of(dim: Dim) -> int:
    size = 1
    for part in dim:
        size *= part.size
    return size


def mixed(support: Support, dims: Sequence[int]) -> Support:
    """Let every unit depend on all units along some dimensions, which remain."""
    fields = list(support.fields)
    for dim in dims:
        for part in support.dims[dim]:
            if part.axis is not None and fields[part.axis].moves:
                fields[part.axis] = fields[part.axis].span(part.size, keep_stride=True)
    return Support(support.dims, tuple(fields))


def dropped(support: Support, dims: Sequence[int], *, keep: bool = False) -> Support:
    """Sum over some dimensions: they go, or remain with a size of 1."""
    fields = list(support.fields)
    gone = {dim % len(support.dims) for dim in dims}
    for dim in gone:
        for part in support.dims[dim]:
            if part.axis is not None:
                fields[part.axis] = fields[part.axis].span(part.size)
    left = [_ones(dim) if i in gone else dim for i, dim in enumerate(support.dims) if keep or i not in gone]
    return Support(tuple(left), tuple(fields))


def _ones(dim: Dim) -> Dim:
    axes = [Part(1, part.axis) for part in dim if part.axis is not None]
    return tuple(axes) or (Part(1),)


def viewed(support: Support, shape: Sequence[int]) -> Support | None:
    """Give the same elements another shape; None where a dimension would be cut across."""
    fields = list(support.fields)
    parts = [part for dim in support.dims for part in dim if part.size > 1]
    for part in [part for dim in support.dims for part in dim]:
        if part.size == 1 and part.axis is not None:
            fields[part.axis] = fields[part.axis].span(1) if fields[part.axis].moves else fields[part.axis]
    dims: list[Dim] = []
    for size in shape:
        taken: list[Part] = []
        need = size
        while need > 1:
            if not parts:
                return None
            part = parts.pop(0)
            if need % part.size == 0:
                taken.append(part)
                need //= part.size
            elif part.size % need == 0:  # split: the outer steps here, the inner ones for what comes
                inner = part.size // need
                taken.append(Part(need, part.axis))
                if part.axis is not None:
                    fields[part.axis] = fields[part.axis].window(inner, units=need, stride=inner).bound()
                parts.insert(0, Part(inner))
                need = 1
            elif (common := gcd(part.size, need)) > 1 and part.axis is None:
                taken.append(Part(common))
                parts.insert(0, Part(part.size // common))
                need //= common
            else:
                return None
        dims.append(tuple(taken) or (Part(1),))
    return Support(tuple(dims), tuple(fields))


def walked(support: Support, dim: int) -> tuple[Support, int | None, bool]:
    """Bring a dimension over which something slides to one part: the support, its axis, and whether that is exact."""
    parts = [part for part in support.dims[dim] if part.size > 1] or list(support.dims[dim][:1])
    axes = [part.axis for part in parts if part.axis is not None]
    if len(parts) == 1:
        return support, parts[0].axis, True
    fields = list(support.fields)
    if len(axes) == 1 and parts[0].axis is not None:  # each unit repeated
        size, repeats = parts[0].size, size_of(support.dims[dim]) // parts[0].size
        fields[axes[0]] = fields[axes[0]].read(
            Fraction(1, repeats), lambda unit: [unit // repeats], units=size * repeats
        )
        dims = [*support.dims]
        dims[dim] = (Part(size * repeats, axes[0]),)
        return Support(tuple(dims), tuple(fields)), axes[0], True
    still = mixed(support, [dim])
    return Support(still.dims, tuple(f.bound() if i in axes else f for i, f in enumerate(still.fields))), None, False


Slide = Callable[[Field, int, int, int], Field]  # field, units before, units after, place among the axes -> field


def slid(support: Support, shape: Sequence[int], axes: int, slide: Slide, *, mixes: bool) -> Support:
    """Let something slide over the last `axes` dimensions, to a result of `shape`, and mix channels if it does so."""
    rank = len(shape)
    if mixes:
        support = mixed(support, [rank - axes - 1])
    dims = [*support.dims[: rank - axes - 1], (Part(shape[rank - axes - 1]),)]
    if not mixes:
        dims[-1] = support.dims[rank - axes - 1]
    for place, dim in enumerate(range(rank - axes, rank)):
        before = size_of(support.dims[dim])
        support, axis, _ = walked(support, dim)
        if axis is None:
            dims.append(support.dims[dim] if before == shape[dim] else (Part(shape[dim]),))
            continue
        fields = list(support.fields)
        field = slide(fields[axis], before, shape[dim], place)
        fields[axis] = field
        support = Support(support.dims, tuple(fields))
        dims.append((Part(shape[dim], axis),))
    return Support(tuple(dims), support.fields)
