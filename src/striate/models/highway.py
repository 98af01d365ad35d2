"""Convolutional highway networks (Srivastava, Greff, Schmidhuber, 2015).

"Highway Networks" (arXiv 1505.00387), table 1: rows cifar-1 to cifar-4 (cifar-1 and cifar-2 are Highway A and B of
"Training Very Deep Networks", NIPS 2015, table 2, and its Highway C has the size of cifar-4). From the latter also
cifar-19 (table 3) and mnist-16, mnist-32 (table 1). The papers print depths and numbers of parameters; the maps of
cifar-1 and cifar-2 are those of FitNets 1 and 4 (Romero et al. 2015, table 7), and cifar-19 and mnist-32 are described
in full by the network definitions that the authors released (github.com/flukeskywalker/highway-networks).

Departures:
- cifar-1, cifar-2: a stage has one number of maps, as in the released cifar-19 (FitNet 1 ends in 48, 48, 64, its
  highway network in 64, 64, 64). The width of the dense layer is in no source: 250 gives the ~236K parameters that are
  printed for cifar-1; cifar-2 takes the 100 of cifar-19.
- cifar-3, cifar-4: only depth, parameters and, for cifar-4, the alternating 3 x 3 and 1 x 1 windows are known; maps and
  dense widths are ours, chosen to give the ~1.4M and ~1.25M parameters that are printed.
- Dropout and the biases of the gates of cifar-1 to cifar-4 are those of the released cifar-19.
"""

from collections import OrderedDict
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from striate import ops
from striate.errors import InputError
from striate.geometry import make_window, output_size
from striate.models._chain import Chain, chosen_size, require_flag, require_fraction
from striate.nn import Conv, Dropout, Highway, MaxPool

ALTERNATING = (3, 1, 3, 1, 3, 1, 3, 1, 3, 1)


class Stage(NamedTuple):
    """The layers before one pooling: their maps, and the window of each."""

    maps: int
    kernels: tuple[int, ...]


class Row(NamedTuple):
    """A network: stages, the pooling after each but a global one, what follows, its width, gates and dropout.

    head "dense": global maximum, dense layer, softmax. "average": 1 x 1 convolution, global average, softmax (section
    3.3.2). "none": a pooling after the last stage too, softmax.
    """

    stages: tuple[Stage, ...]
    pool: int  # the window of the maxima, at stride 2
    head: Literal["dense", "average", "none"]
    width: int  # of the dense layer or the 1 x 1 convolution
    gate_bias: float
    dropout: tuple[float, ...]  # of the input, then after each pooling
    softmax_std: float  # of its weights at the start
    size: tuple[int, int] = (32, 32)
    channels: int = 3


TABLE = {  # each stage at 32 x 32, 16 x 16, 8 x 8
    "cifar-1": Row(
        (Stage(16, (3,) * 3), Stage(32, (3,) * 3), Stage(64, (3,) * 3)), 2, "dense", 250, -2.0, (0.2,) * 4, 0.05
    ),
    "cifar-2": Row(
        (Stage(32, (3,) * 5), Stage(80, (3,) * 6), Stage(128, (3,) * 6)), 2, "dense", 100, -2.0, (0.2,) * 4, 0.05
    ),
    "cifar-3": Row(
        (Stage(32, (3,) * 5), Stage(64, (3,) * 6), Stage(96, (3,) * 6)), 2, "dense", 100, -2.0, (0.2,) * 4, 0.05
    ),
    "cifar-4": Row(
        (Stage(48, ALTERNATING), Stage(64, ALTERNATING), Stage(88, ALTERNATING)),
        2,
        "dense",
        100,
        -2.0,
        (0.2,) * 4,
        0.05,
    ),
    "cifar-19": Row(
        (Stage(32, (3,) * 5), Stage(80, (3,) * 6), Stage(128, (3,) * 6)), 2, "average", 100, -2.0, (0.2,) * 4, 0.05
    ),
    # at 24 x 24, 12 x 12, 6 x 6: the first layer does not pad
    "mnist-16": Row(
        (Stage(16, (5, 3, 3)), Stage(16, (3,) * 3), Stage(16, (3,) * 3)),
        3,
        "none",
        0,
        -1.0,
        (0.2, 0.3, 0.4, 0.5),
        0.1,
        (28, 28),
        1,
    ),
    "mnist-32": Row(
        (Stage(32, (5, 3, 3)), Stage(32, (3,) * 3), Stage(32, (3,) * 3)),
        3,
        "none",
        0,
        -1.0,
        (0.2, 0.3, 0.4, 0.5),
        0.1,
        (28, 28),
        1,
    ),
}


class GlobalMax(nn.Module):
    """The maximum of every map, FitNets' pooling of 8 x 8 at any size: N x C x H x W -> N x C."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima."""
        return ops.max_pool(x, tuple(x.shape[2:])).flatten(1)


def highway(
    row: str,
    *,
    classes: int = 10,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    dropout: float | None = None,
    recompute: bool = False,
) -> Chain:
    """Build "cifar-1" to "cifar-4", "cifar-19", "mnist-16" or "mnist-32": N x channels x H x W -> N x classes.

    `channels` is 3 or 1 (MNIST) unless given. `dropout` replaces all the rates of the row. `recompute` runs each
    convolution again in the backward pass instead of keeping what it computed. The networks for CIFAR take inputs of
    any size from 4 x 4 on, whatever `size`; those for MNIST only `size`, from 12 x 12 on. Raises InputError.
    """
    if row not in TABLE:
        raise InputError(f"highway: the papers have the rows {', '.join(TABLE)}, got {row!r}")
    name, table = f"highway-{row}", TABLE[row]
    require_flag(name, "recompute", recompute)
    if dropout is not None:
        require_fraction(name, "dropout", dropout)
    smallest = (12, 12) if table.head == "none" else (4, 4)  # what leaves a position after all pooling
    height, width = chosen_size(name, size, table.size, smallest)
    inputs = table.channels if channels is None else channels
    parts = _parts(table, inputs, classes, (height, width), table.dropout if dropout is None else (dropout,) * 4)
    model = Chain(
        name,
        parts,
        input_size=(inputs, height, width),
        smallest=None if table.head == "none" else smallest,
        recompute=[part for part in parts if part.startswith("conv")] if recompute else (),
    )
    _initialize(model, table)
    return model


def _parts(
    table: Row, channels: int, classes: int, size: tuple[int, int], dropout: tuple[float, ...]
) -> dict[str, nn.Module]:
    """Return all layers in their order, named as in the released definition of cifar-19: drop1, conv1 ... ip2."""
    parts: dict[str, nn.Module] = {"drop1": Dropout(dropout[0])}
    inputs, layer = channels, 0
    for number, stage in enumerate(table.stages, 1):
        for kernel in stage.kernels:
            layer += 1
            parts[f"conv{layer}"] = _layer(inputs, stage.maps, kernel, table.gate_bias)
            inputs = stage.maps
        if number < len(table.stages):
            # "ceil" is how Caffe, in which the networks were trained, counts windows
            parts[f"pool{number}"] = MaxPool(table.pool, stride=2, ceil=table.head == "none")
            parts[f"drop{number + 1}"] = Dropout(dropout[number])
    if table.head == "average":
        parts[f"conv{layer + 1}"] = _plain(inputs, table.width, 1)
        parts["pool3"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    elif table.head == "dense":
        parts["pool3"] = GlobalMax()
    else:
        parts["pool3"] = nn.Sequential(MaxPool(2, ceil=True), nn.Flatten())
        rows, columns = _pooled(table, size)
        inputs *= rows * columns
    parts["drop4"] = Dropout(dropout[3])
    if table.head == "dense":
        parts["ip1"] = nn.Sequential(OrderedDict(dense=nn.Linear(inputs, table.width), relu=nn.ReLU(inplace=True)))
    parts["ip2"] = nn.Linear(table.width or inputs, classes)
    return parts


def _layer(inputs: int, maps: int, kernel: int, gate_bias: float) -> nn.Module:
    """Return a highway layer or, where the number of maps changes, a plain one (1505.00387, section 2.1)."""
    if inputs != maps:
        return _plain(inputs, maps, kernel)
    return Highway(_plain(maps, maps, kernel), Conv(maps, maps, kernel, padding="same"), gate_bias=gate_bias)


def _plain(inputs: int, maps: int, kernel: int) -> nn.Sequential:
    padding = "valid" if kernel == 5 else "same"
    return nn.Sequential(OrderedDict(conv=Conv(inputs, maps, kernel, padding=padding), relu=nn.ReLU(inplace=True)))


def _pooled(table: Row, size: tuple[int, int]) -> tuple[int, ...]:
    """Return the size that the first layer and the three poolings of a network for MNIST leave."""
    left: tuple[int, ...] = output_size(size, make_window(2, table.stages[0].kernels[0]))
    for kernel in (table.pool, table.pool, 2):
        left = output_size(left, make_window(2, kernel, stride=2), ceil=True)
    return left


@torch.no_grad()
def _initialize(model: Chain, table: Row) -> None:
    """Draw weights, those of the gates too, from N(0, 2 / fan-in); biases of all but the gates start at 0.

    Section 3 of both papers cites this (He et al. 2015), and the fillers of the released code compute it. (There, conv1
    alone starts at N(0, 1), through a field "value" that its filler does not read; we take the papers' word.)
    """
    for part in model.modules():
        if isinstance(part, Conv | nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in model.modules():
        if isinstance(part, Highway):
            nn.init.constant_(part.gate.get_parameter("bias"), table.gate_bias)
    softmax = model.get_submodule("ip2")
    nn.init.normal_(softmax.get_parameter("weight"), std=table.softmax_std)
