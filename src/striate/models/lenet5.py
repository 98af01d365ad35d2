"""LeNet-5 (LeCun, Bottou, Bengio, Haffner, 1998), section II.B and figure 2; the table of C3 is its table I.

Departures of `lenet5`: none in the network. (The paper trains it with a stochastic diagonal Levenberg-Marquardt
method; our recipes use first-order optimisers and say so.) `lenet5_modern` is the variant most people know; its card
lists what differs.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import nn

from striate.errors import InputError
from striate.nn import RBF, Conv, MaxPool, Negative, ScaledTanh, Subsample

INPUT_SIZE = (32, 32)

# Table I of the paper (figure 5.11 of the textbook): the row of each S2 map, X where a map of C3 looks at it.
C3_TABLE = """
    X . . . X X X . . X X X X . X X
    X X . . . X X X . . X X X X . X
    X X X . . . X X X . . X . X X X
    . X X X . . X X X X . . X . X X
    . . X X X . . X X X X . X X . X
    . . . X X X . . X X X X . X X X
"""

# Figure 3 of the paper: the digits of the 7 x 12 bitmaps that are the centres of the RBF units, # is +1 and . is -1.
# The bar above 0, 2, 4 and 5 is printed so in the figure.
DIGIT_BITMAPS = """
    .#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
    ....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
    ..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
    .##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
    ##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
    ##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
    ##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
    ##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
    .##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
    ..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
    ....... ....... ....... ....... .....## ....... ....... ....... ....... .......
    ....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""


class Layer(NamedTuple):
    """One layer of the paper's list: its name, what it is, how many maps (or units) of which window."""

    name: str
    kind: str
    maps: int
    kernel: int = 1
    table: str | None = None


LENET5 = (  # output 32 x 32 ->
    Layer("C1", "convolution", 6, 5),  # 6 @ 28 x 28
    Layer("S2", "subsampling", 6, 2),  # 6 @ 14 x 14
    Layer("C3", "convolution", 16, 5, C3_TABLE),  # 16 @ 10 x 10
    Layer("S4", "subsampling", 16, 2),  # 16 @ 5 x 5
    Layer("C5", "convolution", 120, 5),  # 120 @ 1 x 1
    Layer("F6", "dense", 84),
    Layer("output", "rbf", 10),
)

LENET5_MODERN = (
    Layer("C1", "convolution", 6, 5),
    Layer("S2", "max pooling", 6, 2),
    Layer("C3", "convolution", 16, 5),
    Layer("S4", "max pooling", 16, 2),
    Layer("C5", "convolution", 120, 5),
    Layer("F6", "dense", 84),
    Layer("output", "dense", 10),
)


class LeNet5(nn.Module):
    """LeNet-5 built from a table of layers: N x channels x 32 x 32 -> logits N x classes.

    With RBF units the logits are minus the squared Euclidean distances to the classes' bitmaps, so the nearest bitmap
    has the largest logit. Every layer but the last (and max pooling) is followed by the activation.
    """

    def __init__(self, table: tuple[Layer, ...], *, activation: nn.Module, classes: int, channels: int) -> None:
        super().__init__()
        self.input_size = (channels, *INPUT_SIZE)
        self.activation = activation
        maps = channels
        for row in table:
            out = classes if row is table[-1] else row.maps
            self.add_module(row.name, _layer(row, maps, out))
            maps = out
        self.squashed = frozenset(row.name for row in table[:-1] if row.kind != "max pooling")
        self.order = tuple(row.name for row in table)

    def sequence(self) -> list[nn.Module]:
        """Return the layers and activations that follow each other."""
        steps: list[nn.Module] = []
        for name in self.order:
            if name == "F6":
                steps.append(nn.Flatten())  # C5 is a convolution whose maps are 1 x 1
            steps.append(self.get_submodule(name))
            if name in self.squashed:
                steps.append(self.activation)
        return [*steps, Negative()] if isinstance(steps[-1], RBF) else steps

    def features(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return every layer's output by the paper's name (after the activation), the logits as "logits"."""
        seen: dict[str, torch.Tensor] = {}
        for name in self.order:
            if name == "F6":
                x = x.flatten(1)  # C5 is a convolution whose maps are 1 x 1
            x = self.get_submodule(name)(x)
            if name in self.squashed:
                x = self.activation(x)
            seen[name] = x
        seen["logits"] = -x if isinstance(self.get_submodule("output"), RBF) else x
        return seen

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, N x classes."""
        if x.shape[1:] != self.input_size:
            c, h, w = self.input_size
            raise InputError(f"lenet5: the input {tuple(x.shape)} is not N x {c} x {h} x {w}")
        return self.features(x)["logits"]


def lenet5(*, classes: int = 10, channels: int = 1, size: tuple[int, int] | None = None) -> LeNet5:
    """LeNet-5 of 1998: 60,000 trainable parameters and 340,908 connections for 10 classes of 32 x 32 grey images.

    Weights start uniform in +-2.4 / fan-in (section II and appendix A of the paper). Raises InputError for another
    input size or more than the 10 classes that have a bitmap.
    """
    _require_size("lenet5", size)
    if classes > 10:
        raise InputError(
            f"lenet5: the paper's RBF units have bitmaps for 10 classes, the data has {classes}; "
            "use the model 'lenet5-modern' or 'convnet'"
        )
    model = LeNet5(LENET5, activation=ScaledTanh(), classes=classes, channels=channels)
    initialize(model)
    return model


def lenet5_modern(*, classes: int = 10, channels: int = 1, size: tuple[int, int] | None = None) -> LeNet5:
    """LeNet-5 as usually written today: ReLU, max pooling, a dense C3, softmax; 61,706 parameters for 10 classes."""
    _require_size("lenet5-modern", size)
    model = LeNet5(LENET5_MODERN, activation=nn.ReLU(), classes=classes, channels=channels)
    for module in model.modules():
        if isinstance(module, Conv | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def c3_links() -> list[list[int]]:
    """Return the table of C3 as 16 rows (maps of C3) of 6 zeros and ones (maps of S2), the P x D table of (5.37)."""
    return _links(C3_TABLE)


def digit_bitmaps() -> torch.Tensor:
    """Return the RBF centres of the digits 0..9: 10 x 84 of -1 and +1, each a 12 x 7 bitmap row by row."""
    rows = [line.split() for line in DIGIT_BITMAPS.split("\n") if line.strip()]
    signs = [[1.0 if mark == "#" else -1.0 for row in rows for mark in row[digit]] for digit in range(10)]
    return torch.tensor(signs)


@torch.no_grad()
def initialize(model: LeNet5) -> None:
    """Draw every weight and bias uniformly from +-2.4 / fan-in of its unit, as the paper does."""
    for name in model.order:
        layer = model.get_submodule(name)
        if isinstance(layer, Conv):
            kernel = math.prod(layer.kernel)
            if layer.links is None:
                _uniform(layer.weight, layer.in_channels * kernel)
                _uniform(layer.bias, layer.in_channels * kernel)
                continue
            first = 0
            for p, row in enumerate(layer.links.tolist()):  # the fan-in differs from map to map
                count = int(sum(row))
                _uniform(layer.weight[first : first + count], count * kernel)
                _uniform(layer.bias[p] if layer.bias is not None else None, count * kernel)
                first += count
        elif isinstance(layer, Subsample):
            _uniform(layer.weight, math.prod(layer.kernel))
            _uniform(layer.bias, math.prod(layer.kernel))
        elif isinstance(layer, nn.Linear):
            _uniform(layer.weight, layer.in_features)
            _uniform(layer.bias, layer.in_features)


def _uniform(parameter: torch.Tensor | None, fan_in: int) -> None:
    if parameter is not None:
        parameter.uniform_(-2.4 / fan_in, 2.4 / fan_in)


def _links(table: str) -> list[list[int]]:
    rows = [[int(mark == "X") for mark in line.split()] for line in table.split("\n") if line.strip()]
    return [list(column) for column in zip(*rows, strict=True)]


def _layer(row: Layer, maps: int, out: int) -> nn.Module:
    makers: dict[str, Any] = {
        "convolution": lambda: Conv(maps, out, (row.kernel,) * 2, links=_links(row.table) if row.table else None),
        "subsampling": lambda: Subsample(maps, (row.kernel,) * 2, reduce="sum"),
        "max pooling": lambda: MaxPool((row.kernel,) * 2),
        "dense": lambda: nn.Linear(maps, out),
        "rbf": lambda: RBF(digit_bitmaps()[:out]),
    }
    layer: nn.Module = makers[row.kind]()
    return layer


def _require_size(name: str, size: tuple[int, int] | None) -> None:
    if size is not None and tuple(size) != INPUT_SIZE:
        raise InputError(
            f"{name}: takes 32 x 32 images, the data gives {size[0]} x {size[1]}; "
            "set data.size and data.border so that size + 2 * border is 32, or use the model 'convnet'"
        )
