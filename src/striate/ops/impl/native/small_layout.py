"""How a small network stands in memory: the structures of `kernels.h` that `small_network.h` reads, filled in."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from striate.geometry import Window
from striate.ops._conv import LinkRows
from striate.ops.impl.native.library import address

Size = tuple[int, int, int]
Links = tuple[list[tuple[int, int, int, int]], list[tuple[int, int]], int]  # SmallBlocks, SmallLinks, weight step
_KINDS = ("input", "conv", "dense", "max pool", "avg pool", "subsample", "rbf", "same")  # SmallKind
_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")  # SmallActivation


@dataclass(frozen=True, eq=False)
class Stage:
    """One layer and the activation after it; what a kind does not use stays at its default.

    size: C x H x W of the output. amplitude, slope: amplitude * tanh(slope * x), amplitude * x for "linear". mean: pool
    the mean, not the sum. links, groups: of a convolution. weight, bias: parameters or constants, float32.
    """

    kind: Literal["conv", "dense", "max pool", "avg pool", "subsample", "rbf", "same"]
    size: Size
    activation: Literal["linear", "relu", "tanh", "sigmoid"] = "linear"
    amplitude: float = 1.0
    slope: float = 1.0
    window: Window | None = None
    mean: bool = False
    links: LinkRows | None = None
    groups: int = 1
    weight: Tensor | None = None
    bias: Tensor | None = None


class _Frame(ctypes.Structure):
    """`SmallFrame`."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("channels", "height", "width", "rows", "columns", "low_y", "low_x", "step_y", "step_x", "at")
    ]

    @property
    def places(self) -> int:
        return int(self.channels * self.rows * self.columns)


class _Layer(ctypes.Structure):
    """`SmallLayer`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("kind", "activation")),
        *((name, ctypes.c_float) for name in ("amplitude", "slope")),
        *((name, _Frame) for name in ("values", "grads")),
        *((f"{name}_{axis}", ctypes.c_int64) for name in ("kernel", "stride", "low", "dilation") for axis in "yx"),
        ("mean", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("blocks", "turned_blocks", "links", "turned_links")),
        *((name, ctypes.c_int64) for name in ("block_count", "turned_block_count", "weight_step")),
        ("turned_weight_step", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "grad_weight", "grad_bias")),
        *((name, ctypes.c_int64) for name in ("weights", "parts_at", "copies_at")),
    ]


class SmallShape(ctypes.Structure):
    """`SmallShape`."""

    _fields_ = [(name, ctypes.c_int64) for name in ("layers", "batch", "values", "grads", "parts", "lowest")]


class Layout:
    """Where a network's values, gradients and sums stand if the gradients by the output of layer `lowest` are wanted.

    Layer 0 is the input, stage i is layer i + 1. values, grads: places (vectors) that a block of images has for the
    layers' outputs and the gradients by them; parts: floats that it has for the gradients of the parameters.
    """

    def __init__(self, size: Size, stages: Sequence[Stage], lowest: int) -> None:
        self.stages, self.lowest = tuple(stages), lowest
        self.values = self.grads = self.parts = 0
        self._arrays: list[npt.NDArray[np.int64]] = []  # whose addresses the layers have
        self._layers = (_Layer * (len(stages) + 1))()
        before = size
        self._place(self._layers[0], 0, size, None, size, stages[0])
        for number, stage in enumerate(stages, 1):
            layer, after = self._layers[number], stages[number] if number < len(stages) else None
            layer.kind, layer.activation = _KINDS.index(stage.kind), _ACTIVATIONS.index(stage.activation)
            layer.amplitude, layer.slope, layer.mean = stage.amplitude, stage.slope, stage.mean
            if stage.window is not None:
                self._slide(layer, stage.window)
            if stage.kind == "conv":
                self._link(layer, stage, before[0])
            self._place(layer, number, stage.size, stage, before, after)
            layer.weights = 0 if stage.weight is None else stage.weight.numel()
            layer.parts_at = self.parts
            self.parts += (stage.kind != "dense") * layer.weights + (0 if stage.bias is None else stage.size[0])
            before = stage.size

    def shape(self, batch: int) -> SmallShape:
        """Return the structure for a batch of so many images."""
        return SmallShape(len(self._layers), batch, self.values, self.grads, self.parts, self.lowest)

    def layers(
        self, weights: Sequence[tuple[Tensor | None, Tensor | None]], grads: Sequence[tuple[Tensor | None, ...]] = ()
    ) -> Any:
        """Return the layers with the addresses of each stage's weight and bias, and of room for their gradients."""
        copy = type(self._layers).from_buffer_copy(self._layers)
        for layer, (weight, bias) in zip(copy[1:], weights, strict=True):
            layer.weight, layer.bias = address(weight), address(bias)
        for layer, (weight, bias) in zip(copy[1:], grads, strict=False):
            layer.grad_weight, layer.grad_bias = address(weight), address(bias)
        return copy

    def copies(self, layers: Any, images: int, panel: int) -> int:
        """Give the dense layers their room for copies of `images` inputs and gradients; returns the floats it takes."""
        total = 0
        for before, layer in pairwise(layers):
            if layer.kind == _KINDS.index("dense"):
                layer.copies_at = total
                inputs = before.values.channels * before.values.height * before.values.width
                total += images * (-(-inputs // panel) * panel + layer.values.channels)
        return total

    def _place(
        self, layer: _Layer, number: int, size: Size, stage: Stage | None, before: Size, after: Stage | None
    ) -> None:
        """Give a layer its frames: with the borders that the next convolution reads, and that its own gradient does."""
        pads = after.window.padding if after is not None and after.kind == "conv" and after.window else ((0, 0), (0, 0))
        rows, columns = (extent + low + high for extent, (low, high) in zip(size[1:], pads, strict=True))
        layer.values = _Frame(*size, rows, columns, pads[0][0], pads[1][0], 1, 1, self.values)
        self.values += layer.values.places
        layer.grads = _Frame(*size, *size[1:], 0, 0, 1, 1, self.grads)
        if stage is not None and stage.kind == "conv" and stage.window and number > self.lowest:
            window = stage.window
            reach = [extent - 1 for extent in window.effective_kernel]
            frame = [extent + more for extent, more in zip(before[1:], reach, strict=True)]
            lows = [more - low for more, (low, _) in zip(reach, window.padding, strict=True)]
            layer.grads = _Frame(*size, *frame, *lows, *window.stride, self.grads)
        if number >= self.lowest:
            self.grads += layer.grads.places

    def _slide(self, layer: _Layer, window: Window) -> None:
        layer.kernel_y, layer.kernel_x = window.kernel
        layer.stride_y, layer.stride_x = window.stride
        layer.dilation_y, layer.dilation_x = window.dilation
        layer.low_y, layer.low_x = (low for low, _ in window.padding)

    def _link(self, layer: _Layer, stage: Stage, inputs: int) -> None:
        assert stage.window is not None
        taps = prod(stage.window.kernel)
        forward, turned = (
            _by_groups(inputs, stage.size[0], stage.groups, taps)
            if stage.links is None
            else _by_table(stage.links, taps)
        )
        layer.blocks, layer.links = self._array(forward[0]), self._array(forward[1])
        layer.turned_blocks, layer.turned_links = self._array(turned[0]), self._array(turned[1])
        layer.block_count, layer.turned_block_count = len(forward[0]), len(turned[0])
        layer.weight_step, layer.turned_weight_step = forward[2], turned[2]

    def _array(self, rows: Sequence[tuple[int, ...]]) -> int:
        self._arrays.append(np.array(rows, dtype=np.int64))
        return self._arrays[-1].ctypes.data


def _by_groups(inputs: int, outputs: int, groups: int, taps: int) -> tuple[Links, Links]:
    """Return the links of a convolution in groups, from outputs to inputs and from inputs to outputs."""
    own, out = inputs // groups, outputs // groups
    forward = [(g * out, out, g * own, (g + 1) * own) for g in range(groups)]
    links = [(g * own + i, (g * out * own + i) * taps) for g in range(groups) for i in range(own)]
    turned = [(g * own, own, g * out, (g + 1) * out) for g in range(groups)]
    turned_links = [(o, o * own * taps) for o in range(outputs)]
    return (forward, links, own * taps), (turned, turned_links, taps)


def _by_table(table: LinkRows, taps: int) -> tuple[Links, Links]:
    """Return the same of a link table, whose kernels are in row-major order of its ones."""
    outputs, inputs = np.nonzero(np.array(table))
    found = list(zip(outputs.tolist(), inputs.tolist(), range(len(outputs)), strict=True))
    turned = sorted(found, key=lambda link: link[1])
    first = np.searchsorted(outputs, np.arange(len(table) + 1)).tolist()
    turned_first = np.searchsorted(np.sort(inputs), np.arange(len(table[0]) + 1)).tolist()
    return (
        ([(p, 1, *first[p : p + 2]) for p in range(len(table))], [(i, n * taps) for _, i, n in found], 0),
        ([(i, 1, *turned_first[i : i + 2]) for i in range(len(table[0]))], [(o, n * taps) for o, _, n in turned], 0),
    )
