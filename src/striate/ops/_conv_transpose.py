"""Transposed convolution in any number of dimensions."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from striate.errors import InputError
from striate.geometry import Padding, PerAxis, Window, make_window
from striate.ops._check import (
    Shape,
    require_bool,
    require_groups,
    require_per_axis,
    require_spatial,
    require_tensors,
)
from striate.ops._dispatch import compute, remembered


@dataclass(frozen=True)
class ConvTransposeForm:
    """The normal form of a transposed convolution: x N x D x spatial, w D x P/groups x kernel, b P numbers or None.

    `window` is that of the convolution from P to D channels whose transpose this is. It slides over the output, whose
    spatial size is `size`, and covers it exactly: nothing is left over.
    """

    window: Window
    size: tuple[int, ...]
    groups: int
    flip: bool


def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    flip: bool = False,
    impl: str = "auto",
) -> Tensor:
    """Return the transpose of `conv` with the same words, plus b per output channel (5.44), (5.45).

    For every a of the output's shape <conv(a, w), x> = <a, conv_transpose(x, w)>.

    x: N x D x spatial, one to three spatial axes (more by the reference). w: D x P/groups x kernel, the weight of a
    convolution from P to D channels. b: P numbers. Returns N x P x outputs, (n - 1) s + m - low - high + output_padding
    on each axis, m being the effective kernel (5.47).

    stride, dilation, padding, groups, flip: those of the convolution; its padding crops here. "same" gives n * stride
    outputs. output_padding: so many more outputs at the high end (a strided convolution makes one size of several).
    impl: how to compute it; see `use_impl`. Raises InputError.

    >>> import torch
    >>> conv_transpose(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 0.0, -1.0]]]), stride=2)
    tensor([[[ 1.,  0.,  1.,  0., -2.]]])
    """
    form, operands = normal_form(x, w, b, stride, padding, output_padding, dilation, groups, flip)
    return cast("Tensor", compute("conv_transpose", impl, form, operands))


def normal_form(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    output_padding: PerAxis = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    flip: bool = False,
) -> tuple[ConvTransposeForm, tuple[Tensor, Tensor, Tensor | None]]:
    """Return what `conv_transpose` of these arguments is to compute, checked, and on which tensors."""
    require_tensors("conv_transpose", x, weight=w, bias=b)
    bias = None if b is None else b.shape
    return _form(x.shape, w.shape, bias, stride, padding, output_padding, dilation, groups, flip), (x, w, b)


@remembered
def _form(
    x: Shape,
    w: Shape,
    b: Shape | None,
    stride: PerAxis,
    padding: Padding,
    output_padding: PerAxis,
    dilation: PerAxis,
    groups: int,
    flip: bool,
) -> ConvTransposeForm:
    require_bool("conv_transpose", flip=flip)
    require_spatial("conv_transpose", x)
    _require_channels(x, w, b, groups)
    extra = require_per_axis("conv_transpose", "output_padding", output_padding, len(x) - 2, least=0)
    window, size = _window(tuple(x[2:]), tuple(w[2:]), stride, padding, extra, dilation)
    return ConvTransposeForm(window, size, groups, flip)


def _require_channels(x: Shape, w: Shape, b: Shape | None, groups: int) -> None:
    if len(w) != len(x):
        raise InputError(
            f"conv_transpose: weight {tuple(w)} and input {tuple(x)} must have the same number of axes, input and"
            " output channels before the kernel, batch and channels before the image; a single image needs x[None]"
        )
    if min(w[:2]) < 1:
        raise InputError(f"conv_transpose: weight {tuple(w)} is empty: it needs at least one input and output channel")
    if w[0] != x[1]:
        hint = "; its first two axes are exchanged" if w[1] == x[1] else ""
        raise InputError(
            f"conv_transpose: weight {tuple(w)}, input channels first, needs {w[0]} input channels, the input"
            f" {tuple(x)} has {x[1]}{hint}"
        )
    require_groups("conv_transpose", "groups", groups, input=x[1])
    if b is not None and tuple(b) != (w[1] * groups,):
        raise InputError(
            f"conv_transpose: bias {tuple(b)} must be ({w[1] * groups},), a number for each output channel"
        )


def _window(
    inputs: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: PerAxis,
    padding: Padding,
    extra: tuple[int, ...],
    dilation: PerAxis,
) -> tuple[Window, tuple[int, ...]]:
    """Return the convolution's window, made exact for its input, and the size of that input, which is our output."""
    if min(inputs) < 1:
        raise InputError(f"conv_transpose: the input size must be 1 or more on every axis, got {inputs}")
    rank, same = len(inputs), padding in ("same", "equal")
    try:
        plain = make_window(rank, kernel, stride=stride, dilation=dilation)
        same_size = tuple(n * s for n, s in zip(inputs, plain.stride, strict=True))
        window = make_window(rank, kernel, stride=stride, padding=padding, dilation=dilation, size=same_size)
    except InputError as error:
        raise InputError(f"conv_transpose: {error}") from None
    spans = [(n - 1) * s + m for n, s, m in zip(inputs, window.stride, window.effective_kernel, strict=True)]
    if same:
        if any(extra):
            raise InputError(
                f"conv_transpose: padding {padding!r} gives n * stride outputs, {same_size} here, without"
                f" output_padding {extra}: leave that out"
            )
        size = same_size
    else:
        size = tuple(n - low - high + e for n, (low, high), e in zip(spans, window.padding, extra, strict=True))
    if min(size) < 1:
        raise InputError(
            f"conv_transpose: padding {window.padding} crops all of the {tuple(spans)} outputs that the input size"
            f" {inputs} and the kernel {kernel} make: take less padding"
        )
    exact = tuple((low, span - low - n) for (low, _), span, n in zip(window.padding, spans, size, strict=True))
    return Window(window.kernel, window.stride, exact, window.dilation, window.upsample), size
