"""Convolution in any number of dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

from striate.errors import InputError
from striate.geometry import Padding, PerAxis, Window
from striate.ops._check import Shape, require_bool, require_spatial, require_tensors, require_window
from striate.ops._dispatch import compute, remembered

Links = Tensor | npt.NDArray[Any] | Sequence[Sequence[int]]


class LinkRows(tuple[tuple[int, ...], ...]):
    """The rows of a link table, checked; they remember their hash, by which every call looks up what it knows of them.

    A tuple computes its hash anew each time: for hundreds of channels that takes longer than a small convolution.
    """

    _hash: int

    def __hash__(self) -> int:
        if not hasattr(self, "_hash"):
            self._hash = super().__hash__()
        return self._hash


@dataclass(frozen=True)
class ConvForm:
    """The normal form of a convolution whose operands are x (N x C x spatial), w and b (P numbers or None).

    w is P x C/groups x kernel; with `links`, the rows of a P x C table of 0 and 1, it is K x kernel, the kernels of the
    table's ones in row-major order. `flip` turns the kernel around on every axis.
    """

    window: Window
    groups: int
    links: LinkRows | None
    flip: bool


def conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    upsample: PerAxis = 1,
    groups: int = 1,
    links: Links | None = None,
    flip: bool = False,
    impl: str = "auto",
) -> Tensor:
    """Slide the kernels w over x and add b per output channel: the convolutional layer's net input (5.20).

    x: N x D x spatial, one to three spatial axes (more by the reference). w: P x D/groups x kernel. b: P numbers.
    Returns N x P x outputs, where outputs is floor((n - m + p) / s) + 1 on each axis (`geometry.output_size`).

    stride, dilation, upsample: one integer or one per axis. upsample - 1 zeros stand between inputs (section 5.5.1).
    padding: "valid" (narrow), "same" (equal), "full" (wide), integers or (low, high) pairs; see `geometry.make_window`.
    links: P x D table of 0 and 1 (5.37): w is then K x kernel, the kernels of its ones in row-major order.
    flip: turn the kernel around, which makes the cross-correlation of (5.7) the convolution of (5.6).
    impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> conv(torch.ones(1, 1, 5), torch.tensor([[[-1.0, 0.0, 1.0]]]), padding="same")
    tensor([[[ 1.,  0.,  0.,  0., -1.]]])
    """
    form, operands = normal_form(x, w, b, stride, padding, dilation, upsample, groups, links, flip)
    return cast("Tensor", compute("conv", impl, form, operands))


def normal_form(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    upsample: PerAxis = 1,
    groups: int = 1,
    links: Links | None = None,
    flip: bool = False,
) -> tuple[ConvForm, tuple[Tensor, Tensor, Tensor | None]]:
    """Return what `conv` of these arguments is to compute, checked, and on which tensors."""
    require_tensors("conv", x, weight=w, bias=b)
    rows = links if links is None or isinstance(links, tuple) else link_rows(links)
    bias = None if b is None else b.shape
    form = _form(x.shape, w.shape, bias, stride, padding, dilation, upsample, groups, rows, flip)
    return form, (x, w, b)


def link_rows(links: Links) -> LinkRows:
    """Return a link table as rows of 0 and 1; raises InputError if it is none."""
    if isinstance(links, LinkRows):
        return links
    table: Any = links.tolist() if isinstance(links, Tensor | np.ndarray) else links
    try:
        rows = tuple(tuple(row) for row in table)
    except TypeError:
        rows = ()
    if not rows or len({len(row) for row in rows}) != 1 or not all(link in (0, 1) for row in rows for link in row):
        raise InputError(
            "conv: links must be a table of 0 and 1 with a row per output channel and a column per input channel, got "
            + repr(table)[:80]
        )
    return LinkRows(tuple(int(link) for link in row) for row in rows)


@remembered
def _form(
    x: Shape,
    w: Shape,
    b: Shape | None,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    upsample: PerAxis,
    groups: int,
    links: Links | None,
    flip: bool,
) -> ConvForm:
    """Check the shapes against each other and the words, once for each combination."""
    require_bool("conv", flip=flip)
    require_spatial("conv", x)
    rows = None if links is None else link_rows(links)
    outputs = _require_channels(x, w, groups) if rows is None else _require_links(x, w, groups, rows)
    if b is not None and b != (outputs,):
        raise InputError(f"conv: bias {tuple(b)} must be ({outputs},), a number for each output channel")
    kernel = tuple(w[2:] if rows is None else w[1:])
    window = require_window(
        "conv", x, kernel, stride=stride, padding=padding, dilation=dilation, upsample=upsample, ceil=False
    )
    return ConvForm(window, groups, rows, flip)


def _require_channels(x: Shape, w: Shape, groups: int) -> int:
    """Return the number of output channels of a dense or grouped weight."""
    if len(w) != len(x):
        raise InputError(
            f"conv: weight {tuple(w)} and input {tuple(x)} must have the same number of axes, output and input channels"
            " before the kernel, batch and channels before the image; a single image needs x[None]"
        )
    if min(w[:2]) < 1:
        raise InputError(f"conv: weight {tuple(w)} is empty: it needs at least one output and one input channel")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
        raise InputError(f"conv: groups must be an integer of 1 or more, got {groups!r}")
    if w[1] * groups != x[1]:
        raise InputError(
            f"conv: weight {tuple(w)} with groups={groups} needs {w[1] * groups} input channels, the input {tuple(x)}"
            f" has {x[1]}"
        )
    if w[0] % groups:
        raise InputError(f"conv: groups={groups} must divide the {w[0]} output channels of the weight {tuple(w)}")
    return w[0]


def _require_links(x: Shape, w: Shape, groups: int, rows: LinkRows) -> int:
    """Return the number of output channels of a link table."""
    table, kernels = (len(rows), len(rows[0])), sum(map(sum, rows))
    if groups != 1:
        raise InputError(f"conv: links and groups={groups} exclude each other: write the groups into the table")
    if table[1] != x[1]:
        raise InputError(f"conv: links {table} need {table[1]} input channels, the input {tuple(x)} has {x[1]}")
    if len(w) != len(x) - 1 or w[0] != kernels:
        raise InputError(
            f"conv: links with {kernels} ones need a weight of {kernels} kernels, ({kernels}, kernel of"
            f" {len(x) - 2} axes), got {tuple(w)}"
        )
    return table[0]
